// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp examples/deno_tls.ts

import { type App, Connection, SSLServer } from "@degu/degu";
import { TempPKI } from "@degu/degu/misc";

// A connection over Deno's own TLS. SSLClient is the usual way: docs/tls.md says when this one is better.
await using pki = await TempPKI.create();

// The server asks for a certificate, and sends back what it receives.
const app: App = async (request, { peerCertificate }) => {
  const body = await request.body?.bytes() ?? new Uint8Array(0);
  return [200, "OK", { subject: peerCertificate?.subject ?? "nobody" }, body];
};
await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);

const { caFile, certFile, keyFile } = pki.clientSslconfig;
const [ca, cert, key] = await Promise.all(
  [caFile, certFile, keyFile].map((path) => Deno.readTextFile(path ?? "")),
);
const [hostname, port] = server.address as [string, number];
const sock = await Deno.connectTls({ hostname, port, caCerts: [ca!], cert: cert!, key: key! });
using conn = new Connection(sock, { host: `${hostname}:${port}` }); // closes the socket, too
await sock.handshake(); // rejects unless the server's certificate is trusted, and for this host

const sent = crypto.getRandomValues(new Uint8Array(65536));
const response = await conn.put("/", {}, sent);
const received = await response.body?.bytes();
const same = received?.every((byte, i) => byte === sent[i]) ?? false;
console.log(response.headers["subject"], received?.length, same ? "equal" : "different");
