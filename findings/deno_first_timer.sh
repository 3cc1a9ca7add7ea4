#!/usr/bin/env bash
# In Deno 2.9.6 the first setTimeout() or setInterval() of a program takes 5 to 18 ms: the functions
# are made when they are first used, and a CPU profile shows that this loads node:timers with Node's
# async_hooks and errors. A later timer takes less than 1 ms, and so does the first one after an
# import of node:timers.
#
# Seen with the npm package deno 2.9.6, as the medians of five programs:
#   first setInterval(): more than 3 ms
#   second setInterval(): less than 1 ms
#   first setInterval() after node:timers: less than 1 ms
#
# Because of it, docs/performance.md names the first requests of a program, whose server makes its
# first timer when a client connects.
#
# Needs npm. Fails if the behaviour changes; times are those of a quiet machine.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix . "deno@$VERSION"

cat > timer.mjs << 'SCRIPT'
const [name] = Deno.args;
if (name.endsWith("node:timers")) await import("node:timers");
function measureInterval() {
  const start = performance.now();
  const timer = setInterval(() => {}, 1000);
  const milliseconds = performance.now() - start;
  clearInterval(timer);
  return milliseconds;
}
if (name.startsWith("second")) measureInterval();
console.log(measureInterval());
SCRIPT

cat > expected << 'EXPECTED'
first setInterval(): more than 3 ms
second setInterval(): less than 1 ms
first setInterval() after node:timers: less than 1 ms
EXPECTED
for name in "first setInterval()" "second setInterval()" "first setInterval() after node:timers"; do
  for _ in 1 2 3 4 5; do
    node_modules/.bin/deno run --no-config timer.mjs "$name"
  done | sort -g | sed -n 3p | awk -v name="$name" \
    '{ print name ": " ($1 > 3 ? "more than 3 ms" : $1 < 1 ? "less than 1 ms" : $1 " ms") }'
done | tee actual
diff expected actual
