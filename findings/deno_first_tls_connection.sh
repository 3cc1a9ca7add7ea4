#!/usr/bin/env bash
# In Deno 2.9.6 the first TLS connection of a program takes 25 to 60 ms of processor time, most of
# that of a short program, by connect() of node:tls, which blocks the event loop meanwhile, and by
# Deno.startTls(); later ones take 1 ms. It is probably the time in which AWS-LC, the
# cryptography below rustls, seeds its random numbers: strace shows no system call in it, and
# getrandom() at its end; and a P-256 key that Web Crypto has generated before, in another thread,
# has already taken it.
#
# Seen with the npm package deno 2.9.6, as the medians of five programs, of processor time:
#   first connect(): more than 20 ms
#   second connect(): less than 15 ms
#   first connect() after a P-256 key: less than 15 ms
#   first Deno.startTls(): more than 20 ms
#   second Deno.startTls(): less than 15 ms
#
# Because of it, docs/performance.md names the first TLS connection of a program, and
# files/docs/performance.md says why `degu put` of a small file takes longer than `scp`.
#
# Needs npm and openssl. Fails if the behaviour changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
server=
trap 'kill $server 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
openssl req -x509 -newkey ed25519 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2> /dev/null
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
import process from "node:process";
import { connect } from "node:tls";
const [name] = Deno.args;
const ca = Deno.readTextFileSync("ca.pem");
const port = Number(Deno.readTextFileSync("port"));
if (name.endsWith("key")) {
  await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
}
async function connectNode() {
  const tcp = connectTcp(port, "127.0.0.1");
  await new Promise((resolve) => tcp.once("connect", resolve));
  const start = process.cpuUsage();
  const socket = connect({ socket: tcp, ca, servername: "localhost" });
  const { user, system } = process.cpuUsage(start);
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  socket.destroy();
  return user + system;
}
async function connectDeno() {
  const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
  const start = process.cpuUsage();
  const connection = await Deno.startTls(tcp, { hostname: "localhost", caCerts: [ca] });
  await connection.handshake();
  const { user, system } = process.cpuUsage(start);
  connection.close();
  return user + system;
}
const measure = name.includes("startTls") ? connectDeno : connectNode;
if (name.startsWith("second")) await measure();
console.log(await measure() / 1000);
SCRIPT
node_modules/.bin/deno run --no-config --allow-read=. --allow-write=. --allow-net=127.0.0.1 server.mjs &
server=$!
until [ -s port ]; do sleep 0.1; done

cat > expected << 'EXPECTED'
first connect(): more than 20 ms
second connect(): less than 15 ms
first connect() after a P-256 key: less than 15 ms
first Deno.startTls(): more than 20 ms
second Deno.startTls(): less than 15 ms
EXPECTED
for name in "first connect()" "second connect()" "first connect() after a P-256 key" \
  "first Deno.startTls()" "second Deno.startTls()"; do
  for _ in 1 2 3 4 5; do
    deno run --no-config --allow-read=. --allow-net=127.0.0.1 client.mjs "$name"
  done | sort -g | sed -n 3p | awk -v name="$name" \
    '{ print name ": " ($1 > 20 ? "more than 20 ms" : $1 < 15 ? "less than 15 ms" : $1 " ms") }'
done | tee actual
diff expected actual
