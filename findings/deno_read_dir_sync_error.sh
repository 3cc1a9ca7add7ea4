#!/usr/bin/env bash
# Deno.readDirSync() and the readdirSync() of node:fs of Deno 2.9.6 return only some of the names of
# a directory if the disk fails while the directory is read, and throw no error: the system call
# getdents64() of Linux has returned some names, and then EIO. A program that deletes files without a
# counterpart in this list deletes too many. Deno.readDir() rejects.
#
# Seen with the npm package deno 2.9.6, of a directory of 2,000 files:
#   Deno.readDirSync: no error, some names
#   node:fs readdirSync: no error, some names
#   Deno.readDir: Input/output error (os error 5)
#
# Needs Linux, npm (npx) and strace, which makes the second call of getdents64() fail. Fails if the
# behaviour changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir many
seq 2000 | sed 's|^|many/a file with a long name |' | tr '\n' '\0' | xargs -0 touch

cat > script.mjs << 'SCRIPT'
import { readdirSync } from "node:fs";
const describe = ({ length }) => `no error, ${length > 0 && length < 2000 ? "some" : length} names`;
const [functionName] = Deno.args;
const functions = {
  "Deno.readDirSync": () => [...Deno.readDirSync("many")],
  "node:fs readdirSync": () => readdirSync("many"),
  "Deno.readDir": () => Array.fromAsync(Deno.readDir("many")),
};
try {
  console.log(`${functionName}: ${describe(await functions[functionName]())}`);
} catch (error) {
  console.log(`${functionName}: ${error.message.split(":")[0]}`);
}
SCRIPT

cat > expected << 'EXPECTED'
Deno.readDirSync: no error, some names
node:fs readdirSync: no error, some names
Deno.readDir: Input/output error (os error 5)
EXPECTED
for name in "Deno.readDirSync" "node:fs readdirSync" "Deno.readDir"; do
  strace -f -o /dev/null -P "$dir/many" -e trace=getdents64 -e inject=getdents64:error=EIO:when=2 \
    npx -y "deno@$VERSION" run --no-config --allow-read=. script.mjs "$name"
done | tee actual
diff expected actual
