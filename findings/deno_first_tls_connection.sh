#!/usr/bin/env bash
# In Deno 2.9.6 the first call of connect() of node:tls blocks the event loop for 25 to 60 ms, most
# of the time of a short program; later calls take less than 1 ms. It is probably the time in which
# AWS-LC, the cryptography below rustls, seeds its random numbers: strace shows no system call in it,
# and getrandom() at its end; and a P-256 key that Web Crypto has generated before, in another thread,
# has already taken it.
#
# Seen with the npm package deno 2.9.6, as the medians of five programs:
#   first connect(): more than 10 ms
#   second connect(): less than 5 ms
#   first connect() after a P-256 key: less than 5 ms
#
# Needs npm and openssl. Fails if the behaviour changes; times are those of a quiet machine.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
server=
trap 'kill $server 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
openssl req -x509 -newkey ed25519 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost 2> /dev/null
npm install --silent --no-audit --no-fund --prefix . "deno@$VERSION"
deno() { node_modules/.bin/deno "$@"; }

cat > server.mjs << 'SCRIPT'
import { createServer } from "node:tls";
const [cert, key] = ["ca.pem", "key.pem"].map((path) => Deno.readTextFileSync(path));
const server = createServer({ cert, key }, (socket) => socket.end()).listen(0, "127.0.0.1", () => {
  Deno.writeTextFileSync("port", `${server.address().port}`);
});
SCRIPT
cat > client.mjs << 'SCRIPT'
import { connect as connectTcp } from "node:net";
import { connect } from "node:tls";
const [name] = Deno.args;
const ca = Deno.readTextFileSync("ca.pem");
if (name.endsWith("key")) {
  await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
}
async function measureConnect() {
  const tcp = connectTcp(Number(Deno.readTextFileSync("port")), "127.0.0.1");
  await new Promise((resolve) => tcp.once("connect", resolve));
  const start = performance.now();
  const socket = connect({ socket: tcp, ca, servername: "localhost" });
  const milliseconds = performance.now() - start;
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  socket.destroy();
  return milliseconds;
}
if (name.startsWith("second")) await measureConnect();
console.log(await measureConnect());
SCRIPT
node_modules/.bin/deno run --no-config --allow-read=. --allow-write=. --allow-net=127.0.0.1 server.mjs &
server=$!
until [ -s port ]; do sleep 0.1; done

cat > expected << 'EXPECTED'
first connect(): more than 10 ms
second connect(): less than 5 ms
first connect() after a P-256 key: less than 5 ms
EXPECTED
for name in "first connect()" "second connect()" "first connect() after a P-256 key"; do
  for _ in 1 2 3 4 5; do
    deno run --no-config --allow-read=. --allow-net=127.0.0.1 client.mjs "$name"
  done | sort -g | sed -n 3p | awk -v name="$name" \
    '{ print name ": " ($1 > 10 ? "more than 10 ms" : $1 < 5 ? "less than 5 ms" : $1 " ms") }'
done | tee actual
diff expected actual
