#!/bin/sh
# Installs degu for this user, from an unpacked archive: sh install.sh
set -eu
if [ $# -gt 0 ]; then
  echo 'usage: sh install.sh
Installs degu for this user, in $DENO_INSTALL_ROOT or ~/.deno.'
  [ "$1" = --help ] || [ "$1" = -h ] # Otherwise the script fails.
  exit
fi
source=$(dirname -- "$0")/agent
root=${DENO_INSTALL_ROOT:-$HOME/.deno}
case $root in
/*) ;;
*) root=$PWD/$root ;;
esac
# This also checks that Deno runs the program.
name=degu-$(deno run --no-config "$source/main.ts" --version)
target=$root/lib/$name
rm -rf "$target.new"
mkdir -p "$root/bin" "$target.new"
cp -R "$source/." "$target.new"
chmod +x "$target.new/degu"
# An earlier installation may have modules of other names.
rm -rf "$target"
mv "$target.new" "$target"
ln -sf "$target/degu" "$root/bin/degu"
echo "installed $root/bin/degu"
case :$PATH: in
*:"$root/bin":*) ;;
*) echo "add $root/bin to PATH" ;;
esac
