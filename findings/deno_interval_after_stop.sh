#!/usr/bin/env bash
# `setInterval` of Deno 2.9.6 doesn't catch up: the ticks of the time for which the process was
# stopped, as by Ctrl-Z, are one tick. `performance.now()` counts this time. So time-outs and
# silences that are counted in ticks (net/transport/deadline.ts) don't blame the peer after `fg`.
#
# Seen with the npm package deno 2.9.6, of an interval of 100 ms and a stop of 3 s in 6 s:
#   ticks: about 30
#   clock: about 6 s
#
# Needs npm (npx). Fails if the behaviour changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > ticks.ts << 'PROGRAM'
console.log(Deno.pid);
const start = performance.now();
let ticks = 0;
const timer = setInterval(() => {
  ticks++;
  const seconds = (performance.now() - start) / 1000;
  if (seconds < 6) return;
  clearInterval(timer);
  console.log(`ticks: ${ticks >= 20 && ticks <= 40 ? "about 30" : ticks}`);
  console.log(`clock: ${seconds < 7 ? "about 6 s" : `${seconds} s`}`);
}, 100);
PROGRAM
NO_COLOR=1 npx -y "deno@$VERSION" run --no-config ticks.ts > output &
program=$!
until [ -s output ]; do sleep 0.1; done
read -r pid < output
sleep 1
kill -STOP "$pid"
sleep 3
kill -CONT "$pid"
wait "$program"
cat > expected << 'EXPECTED'
ticks: about 30
clock: about 6 s
EXPECTED
tail -n +2 output | tee actual
diff expected actual
