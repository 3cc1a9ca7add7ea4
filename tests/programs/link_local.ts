/**
 * Connects over link-local addresses, in a network namespace that it configures; run it through
 * `unshare -rn`. The argument has the TLS configurations of both ends, in JSON. Prints the findings
 * as JSON.
 */

import { Client, SSLClient } from "@degu/degu/client";
import { type Address, ConnectionError } from "@degu/degu/base";
import { Server, type Session, SSLServer } from "@degu/degu/server";
import { createCable, runIp, scopeOf } from "@degu/testing/namespaces.ts";

await createCable();
const scopeid = scopeOf("left");

const findings: Record<string, unknown> = { scopeid };
const sessions: Session[] = [];
const server = new Server(["fe80::1", 0, 0, scopeid], async ({ headers, body }, session) => {
  sessions.push(session);
  await body?.read();
  return [200, "OK", { host: String(headers["host"]) }, null];
});
const serving = server.serveForever();
const { address } = server;
const port = Number(address[1]);
findings["address"] = address;

const clients = {
  ownAddress: new Client(address),
  zoneByName: new Client(["fe80::1%left", port]),
  zoneByNumber: new Client([`fe80::1%${scopeid}`, port]),
};
for (const [name, client] of Object.entries(clients)) {
  const { status, headers } = await client.request("PUT", "/", {}, new Uint8Array(100_000));
  findings[name] = [status, headers["host"]];
}
const [session] = sessions;
findings["session"] = [session?.address, `${session}`];
const forms: Record<string, unknown> = {};
for (const zone of ["left", String(scopeid)]) {
  const inPair = new Server([`fe80::1%${zone}`, 0], (_request, session) => {
    sessions.push(session);
    return [200, "OK", {}, null];
  });
  const served = inPair.serveForever();
  const { status } = await new Client(inPair.address).request("GET", "/");
  const peer = sessions.at(-1)?.address ?? [];
  forms[zone] = [status, inPair.address[0], peer[0], peer.length, `${sessions.at(-1)}`];
  inPair.close();
  await served;
}
findings["forms"] = forms;
let error = null;
try {
  new Server(address, () => [200, "OK", {}, null]).close();
} catch (taken) {
  error = taken;
}
findings["taken"] = error instanceof Deno.errors.AddrInUse;
server.close();
await serving;
new Server(address, () => [200, "OK", {}, null]).close();

const { serverSslconfig, clientSslconfig } = JSON.parse(Deno.args[0]!);
const secured: unknown[] = [];
for (const remoteAddress of [["fe80::1", 0, 0, scopeid], ["fe80::1%left", 0]] as const) {
  const secure = new SSLServer(
    serverSslconfig,
    remoteAddress,
    (_request, { peerCertificate, address }) => {
      secured.push([peerCertificate?.subject, address]);
      return [200, "OK", {}, null];
    },
  );
  const served = secure.serveForever();
  await secure.ready;
  const port = Number(secure.address[1]);
  const rightScope = scopeOf("right");
  for (const to of [["fe80::1", port, 0, rightScope], ["fe80::1%right", port]] as Address[]) {
    await new SSLClient(clientSslconfig, to).request("GET", "/");
  }
  secure.close();
  await served;
}
findings["secured"] = secured;

// An address without a host, so packets to it are lost without an error.
await runIp("address", "add", "10.9.8.1/24", "dev", "left");
await runIp("neighbour", "add", "10.9.8.7", "lladdr", "02:00:00:00:00:07", "dev", "left");
const start = performance.now();
const timeoutError = await new Client(["10.9.8.7", 80], { timeout: 0.4 }).connect().catch((error) =>
  error
);
findings["lost"] = [
  timeoutError instanceof ConnectionError,
  (performance.now() - start) / 1000,
];
console.log(JSON.stringify(findings));
