// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp examples/deno_tls.ts

import { type App, Connection, SSLServer } from "@degu/degu";
import { TempPKI } from "@degu/degu/misc";

// A connection over Deno's own TLS. Usually, use SSLClient: docs/tls.md has the exceptions.
await using pki = await TempPKI.create();

// The server requests a client certificate, and returns the received bytes.
const app: App = async (request, { peerCertificate }) => {
  const body = await request.body?.bytes() ?? new Uint8Array(0);
  return [200, "OK", { subject: peerCertificate?.subject ?? "anonymous" }, body];
};
await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);

const { caFile, certFile, keyFile } = pki.clientSslconfig;
const [ca, cert, key] = await Promise.all(
  [caFile, certFile, keyFile].map((path) => Deno.readTextFile(path ?? "")),
);
const [hostname, port] = server.address as [string, number];
const sock = await Deno.connectTls({ hostname, port, caCerts: [ca!], cert: cert!, key: key! });
using conn = new Connection(sock, { host: `${hostname}:${port}` }); // also closes the socket
await sock.handshake(); // rejects unless the server's certificate is trusted and valid for this host

const sentBytes = crypto.getRandomValues(new Uint8Array(65536));
const response = await conn.put("/", {}, sentBytes);
const receivedBytes = await response.body?.bytes();
const isEqual = receivedBytes?.every((byte, i) => byte === sentBytes[i]) ?? false;
console.log(response.headers["subject"], receivedBytes?.length, isEqual ? "equal" : "different");
