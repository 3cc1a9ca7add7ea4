#!/usr/bin/env bash
# node:tls of Deno 2.9.6 accepts a certificate that its TLS library can't use, here one with a
# critical certificatePolicies, for which RFC 5280 section 4.2 lets a program refuse it. Neither
# createSecureContext() nor createServer() throws. Then each handshake fails: the server reports
# "unsupported protocol", and sends no alert, so the client blames the network. Deno.listenTls and
# Deno.createHttpClient refuse the same certificate at once, with the reason.
#
# Seen with the npm package deno 2.9.6:
#   createServer: no error
#   server: unsupported protocol
#   client: Client network socket disconnected before secure TLS connection was established
#   createHttpClient: invalid peer certificate: Other(OtherError(UnsupportedCriticalExtension))
#
# Needs npm (npx) and openssl. Uses only loopback addresses. Fails if the behaviour changes.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 -subj /CN=localhost \
  -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost \
  -addext certificatePolicies=critical,1.2.3.4 -keyout key.pem -out cert.pem 2> /dev/null

cat > script.mjs << 'SCRIPT'
import tls from "node:tls";
const cert = Deno.readTextFileSync("cert.pem");
const key = Deno.readTextFileSync("key.pem");
const server = tls.createServer({ cert, key });
console.log("createServer: no error");
const serverFailed = new Promise((resolve) => server.on("tlsClientError", resolve));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const client = tls.connect({ port: server.address().port, host: "127.0.0.1", ca: cert });
const clientFailed = new Promise((resolve) => client.on("error", resolve));
console.log("server:", (await serverFailed).message);
console.log("client:", (await clientFailed).message);
server.close();
try {
  Deno.createHttpClient({ cert, key }).close();
  console.log("createHttpClient: no error");
} catch (error) {
  console.log("createHttpClient:", error.message);
}
SCRIPT

cat > expected << 'EXPECTED'
createServer: no error
server: unsupported protocol
client: Client network socket disconnected before secure TLS connection was established
createHttpClient: invalid peer certificate: Other(OtherError(UnsupportedCriticalExtension))
EXPECTED
npx -y "deno@$VERSION" run --no-config --allow-read=. --allow-net=127.0.0.1 script.mjs | tee actual
diff expected actual
