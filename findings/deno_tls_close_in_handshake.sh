#!/usr/bin/env bash
# In Deno 2.9.6, close() of a TlsConn whose handshake has not ended leaves the connection open until
# the peer closes it: a silent peer gets no end, and the socket stays in use. A client that gives up
# the handshakes of silent servers runs out of descriptors. The close of a TCP connection reaches
# the peer at once.
#
# Seen with the npm package deno 2.9.6:
#   Deno.connect: closed
#   Deno.connectTls: open after 2 s
#   Deno.connectTls, after handshake(): open after 2 s
#   Deno.startTls, after handshake(): open after 2 s
#   sockets of closed clients: 3
#
# Needs npm, and Linux for the count of sockets. Uses only loopback addresses. Fails if the behaviour
# changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix . "deno@$VERSION"

cat > script.mjs << 'SCRIPT'
// Accepts connections, and sends nothing.
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const address = { hostname: "127.0.0.1", port: listener.addr.port };
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

function countSockets() {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith("socket:")) count++;
    } catch {
      // The descriptor of the directory is closed.
    }
  }
  return count;
}

async function waitForEnd(conn) {
  const buffer = new Uint8Array(65536);
  while (await conn.read(buffer) !== null);
  return "closed";
}

async function run(name, connect) {
  const accepting = listener.accept();
  const client = await connect();
  const server = await accepting;
  await pause(0.1);
  client.close();
  console.log(`${name}: ${await Promise.race([waitForEnd(server), pause(2)]) ?? "open after 2 s"}`);
  return server;
}

async function beginHandshake(conn) {
  conn.handshake().catch(() => {});
  return conn;
}

(await run("Deno.connect", () => Deno.connect(address))).close();
const servers = [
  await run("Deno.connectTls", () => Deno.connectTls(address)),
  await run(
    "Deno.connectTls, after handshake()",
    async () => beginHandshake(await Deno.connectTls(address)),
  ),
  await run("Deno.startTls, after handshake()", async () => {
    return beginHandshake(await Deno.startTls(await Deno.connect(address), address));
  }),
];
const count = countSockets();
for (const server of servers) server.close();
await pause(0.5);
console.log(`sockets of closed clients: ${count - countSockets() - servers.length}`);
Deno.exit();
SCRIPT

cat > expected << 'EXPECTED'
Deno.connect: closed
Deno.connectTls: open after 2 s
Deno.connectTls, after handshake(): open after 2 s
Deno.startTls, after handshake(): open after 2 s
sockets of closed clients: 3
EXPECTED
node_modules/.bin/deno run --no-config --allow-all script.mjs | tee actual
diff expected actual
