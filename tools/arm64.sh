#!/usr/bin/env bash
# Runs tests with Deno for arm64 on x86-64, by emulation: tools/arm64.sh [PATH...], or tests/base. All
# other arguments of `deno task test` are taken, too.
#
# Deno comes from npm; qemu and the C library come from Debian's packages, which are unpacked but not
# installed. Everything is kept in ~/.cache/degu-arm64, which may be removed at any time. Linux starts
# the arm64 programs with qemu, by binfmt_misc in a namespace that ends with this script, so nothing of
# the machine changes. Needs Linux 6.7 or later on x86-64, and npm, apt-get and dpkg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'tools/arm64.sh: %s\n' "$1" >&2
  exit 1
}

# newest_deno: prints the directory of the newest Deno for arm64 that npm has, and fetches it if it is new
newest_deno() {
  local version directory
  version=$(npm view --silent @deno/linux-arm64-glibc@latest version) || fail "npm doesn't reach a registry"
  directory=$cache/deno-$version
  if [ ! -x "$directory/deno" ]; then
    npm pack --silent --pack-destination "$cache" "@deno/linux-arm64-glibc@$version" >&2
    mkdir -p "$directory"
    tar -xzf "$cache/deno-linux-arm64-glibc-$version.tgz" -C "$directory" --strip-components=1
    rm "$cache/deno-linux-arm64-glibc-$version.tgz"
    chmod +x "$directory/deno"
  fi
  printf '%s\n' "$directory"
}

# fetch_emulator: unpacks qemu, and the libraries that Deno is linked with
fetch_emulator() {
  if [ -x "$cache/qemu" ]; then return; fi
  local unpacked=$cache/unpacked package
  rm -rf "$unpacked"
  mkdir -p "$unpacked"
  cd "$unpacked"
  apt-get -qq download qemu-user-static libc6-arm64-cross libgcc-s1-arm64-cross ||
    fail "apt-get can't download Debian's packages; does it need apt-get update?"
  for package in *.deb; do dpkg -x "$package" .; done
  cp -r usr/aarch64-linux-gnu/. "$cache/root"
  cp usr/bin/qemu-aarch64-static "$cache/qemu-aarch64"
  cd "$OLDPWD"
  rm -rf "$unpacked"
  # binfmt_misc gives an interpreter no options, and a test may start a program without environment.
  printf '#!/bin/sh\nexec "%s" -L "%s" "$@"\n' "$cache/qemu-aarch64" "$cache/root" > "$cache/qemu"
  chmod +x "$cache/qemu"
}

# The rest, within the namespace: tools/arm64.sh --inside QEMU DENO [ARGUMENT...]
if [ "${1:-}" = --inside ]; then
  qemu=$2 deno=$3
  shift 3
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2> /dev/null ||
    fail "Linux doesn't allow binfmt_misc in a namespace: that needs version 6.7 or later, and this is $(uname -r)"
  # The first bytes of an ELF file: 64 bits, little-endian, a program or a library, for AArch64.
  magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf ':arm64:M::%s:%s:%s:' "$magic" "$mask" "$qemu" > /proc/sys/fs/binfmt_misc/register

  version=$("$deno/deno" eval --quiet 'console.log(Deno.version.deno)')
  least=$(sed -n 's/^export const MIN_DENO_VERSION = "\(.*\)";$/\1/p' net/deno_version.ts)
  printf 'Deno %s, %s\n' "$version" "$("$deno/deno" eval --quiet 'console.log(Deno.build.target)')"
  if [ "$(printf '%s\n' "$least" "$version" | sort -V | head -n 1)" != "$least" ]; then
    printf 'That is older than %s, the minimum: the tests see a net/deno_version.ts that accepts it.\n' "$least"
    sed "s/^\(export const MIN_DENO_VERSION = \).*/\1\"$version\";/" net/deno_version.ts > "$deno/deno_version.ts"
    mount --bind "$deno/deno_version.ts" net/deno_version.ts
  fi
  exec env PATH="$deno:$PATH" DENO_DIR="$deno/cache" DENO_NO_UPDATE_CHECK=1 "$deno/deno" task test "$@"
fi

[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm), but the emulation is for Linux on x86_64"
for program in npm apt-get dpkg unshare; do
  command -v "$program" > /dev/null || fail "$program is missing"
done
unshare --user --map-root-user --mount true 2> /dev/null ||
  fail "this machine doesn't allow unprivileged namespaces (unshare --user --map-root-user --mount)"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/degu-arm64
mkdir -p "$cache"
fetch_emulator
deno=$(newest_deno)
if [ "$#" -eq 0 ]; then set -- tests/base; fi
exec unshare --user --map-root-user --mount "$PWD/tools/arm64.sh" --inside "$cache/qemu" "$deno" "$@"
