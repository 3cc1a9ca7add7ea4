/**
 * Listens at `::` in a network namespace in which sockets of IPv6 may accept no IPv4; run it
 * through `unshare -rn`. The argument has the TLS configurations of both ends, in JSON. Prints the findings
 * as JSON.
 */

import { Client, SSLClient } from "@degu/degu/client";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { runIp } from "@degu/testing/namespaces.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

await runIp("link", "set", "lo", "up");
const { serverSslconfig, clientSslconfig } = JSON.parse(Deno.args[0]!);

const app: App = (_request, session) => [200, "OK", { peer: `${session.address?.[0]}` }, null];
const findings: unknown[] = [];
for (const isEncrypted of [false, true]) {
  const logger = new RecordingLogger();
  await using server = isEncrypted
    ? new SSLServer(serverSslconfig, ["::", 0], app, { logger })
    : new Server(["::", 0], app, { logger });
  server.serveForever();
  await server.ready;
  const peers: unknown[] = [];
  for (const host of ["127.0.0.1", "::1", "127.0.0.1"]) {
    const address = [host, server.address[1] as number] as const;
    const client = isEncrypted ? new SSLClient(clientSslconfig, address) : new Client(address);
    peers.push(await client.request("GET", "/").then(({ headers }) => headers["peer"], String));
  }
  findings.push([peers, logger.messagesOf("info")]);
}
console.log(JSON.stringify(findings));
