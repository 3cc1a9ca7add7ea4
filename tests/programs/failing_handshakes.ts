/**
 * Makes handshakes fail in each way, and prints the growth of the heap and of the buffers after two
 * seconds as JSON. Run with `--v8-flags=--expose-gc`. The argument has the configurations of both
 * ends and the timeouts of the servers, in JSON.
 */

import { type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { type ServerSslconfig, SSLServer } from "@degu/degu/server";

declare const gc: () => void;

const { serverSslconfig, clientSslconfig, timeouts }: {
  serverSslconfig: ServerSslconfig;
  clientSslconfig: ClientSslconfig;
  timeouts: (number | null)[];
} = JSON.parse(Deno.args[0]!);

const EACH = 60;
const SIDE_BY_SIDE = 20;

let failedCount = 0;
const logger = { debug() {}, info: () => void failedCount++, warn() {}, error: console.error };
const servers = timeouts.map((timeout) =>
  new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => [204, "No Content", {}, null], {
    timeout,
    logger,
  })
);
const serving = servers.map((server) => server.serveForever());
await Promise.all(servers.map(({ ready }) => ready));

/** Sends bytes, and then ends the connection or waits until it is closed. */
async function send(
  { address: [hostname, port] }: SSLServer,
  bytes: Uint8Array,
  ending: "end" | "wait",
): Promise<void> {
  using conn = await Deno.connect({ hostname: String(hostname), port: Number(port) });
  await conn.write(bytes).catch(() => {});
  if (ending === "end") await conn.closeWrite().catch(() => {});
  await conn.read(new Uint8Array(1000)).catch(() => {});
}

const anonymous = { caFile: clientSslconfig.caFile!, checkHostname: false };
const ways = servers.flatMap((server): (() => Promise<unknown>)[] => {
  const client = new SSLClient(anonymous, server.address);
  return [
    // No certificate, plain HTTP, and an incomplete handshake.
    () => client.request("GET", "/").catch(() => {}),
    () => send(server, new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), "wait"),
    () => send(server, Uint8Array.of(0x16, 3, 1, 2, 0, 1), "end"),
  ];
});

async function fail(way: () => Promise<unknown>, count: number): Promise<void> {
  for (let i = 0; i < count; i += SIDE_BY_SIDE) {
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, way));
  }
}

async function measure(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

for (const way of ways) await fail(way, 20);
const memoryBefore = await measure();
const wanted = failedCount + ways.length * EACH;
for (const way of ways) await fail(way, EACH);
// Delayed releases may take two seconds.
for (let i = 0; i < 20 && failedCount < wanted; i++) await new Promise((r) => setTimeout(r, 20));
await new Promise((resolve) => setTimeout(resolve, 1900));
const growth = await measure() - memoryBefore;
for (const server of servers) server.close();
await Promise.all(serving);
console.log(JSON.stringify({ failed: failedCount - wanted, growth }));
