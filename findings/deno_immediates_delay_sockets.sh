#!/usr/bin/env bash
# While a program of Deno 2.9.6 always has another `setImmediate`, its event loop reads the sockets
# only in about every 61st turn. So a program that has computed, and lets the event loop turn once,
# doesn't see bytes that came meanwhile. A pool lets it turn 72 times (net/transport/turns.ts).
#
# Seen with the npm package deno 2.9.6, of bytes that came while the program computed for 60 ms, the
# number of immediates until a read of them has ended, in 20 tries:
#   57 to 66 immediates
#
# Needs npm (npx). Uses only a loopback address. Fails if the behaviour changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
cat > server.ts << 'PROGRAM'
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);
for await (const conn of listener) {
  setTimeout(() => conn.write(new Uint8Array(5)), 10);
  setTimeout(() => conn.close(), 1000);
}
PROGRAM
cat > client.ts << 'PROGRAM'
const counts = [];
for (let attempt = 0; attempt < 20; attempt++) {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(Deno.args[0]) });
  let hasRead = false;
  const reading = conn.read(new Uint8Array(5)).then(() => hasRead = true);
  await new Promise((resolve) => setTimeout(resolve, 1));
  for (const end = performance.now() + 60; performance.now() < end;);
  let count = 0;
  for (; !hasRead; count++) await new Promise<void>((resolve) => setImmediate(resolve));
  counts.push(count);
  await reading;
  conn.close();
}
console.error(...counts);
const median = counts.sort((a, b) => a - b)[10]!;
console.log(median >= 57 && median <= 66 ? "57 to 66 immediates" : `${median} immediates`);
PROGRAM
export NO_COLOR=1
npx -y "deno@$VERSION" run --no-config --allow-net=127.0.0.1 server.ts > port &
until [ -s port ]; do sleep 0.1; done
npx -y "deno@$VERSION" run --no-config --no-check --allow-net=127.0.0.1 client.ts "$(cat port)" > output
echo '57 to 66 immediates' > expected
diff expected output
