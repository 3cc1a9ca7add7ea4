#!/usr/bin/env bash
# `deno test --ignore=FOLDER` of Deno 2.9.6 runs the modules of that folder if the paths contain both
# the folder's parent and a module inside of the parent. To start a slow module first, it must be
# named, and then the ignored folder runs too.
#
# Seen with the npm package deno 2.9.6, of two modules with a test each:
#   deno test --ignore=tests/long tests: tests/a_test.ts
#   deno test --ignore=tests/long tests/a_test.ts tests: tests/a_test.ts tests/long/b_test.ts
#
# Needs npm (npx). Fails if the behaviour changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir -p tests/long
echo 'Deno.test("a", () => {});' > tests/a_test.ts
echo 'Deno.test("b", () => {});' > tests/long/b_test.ts

cat > expected << 'EXPECTED'
deno test --ignore=tests/long tests: tests/a_test.ts
deno test --ignore=tests/long tests/a_test.ts tests: tests/a_test.ts tests/long/b_test.ts
EXPECTED
for paths in tests "tests/a_test.ts tests"; do
  modules=$(NO_COLOR=1 npx -y "deno@$VERSION" test --no-config --ignore=tests/long $paths |
    sed -n 's|^running .* from \./||p' | sort)
  echo "deno test --ignore=tests/long $paths:" $modules
done | tee actual
diff expected actual
