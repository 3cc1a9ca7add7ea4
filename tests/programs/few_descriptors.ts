/**
 * Serves with so few file descriptors that accept() fails; run with a low limit. The argument has
 * addresses, each with the TLS configurations of both ends, in JSON. Prints the findings for each
 * address as JSON.
 */

import type { Address } from "@degu/degu/base";
import { Client, type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { type App, Server, type ServerSslconfig, SSLServer } from "@degu/degu/server";
import { dial } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

interface Task {
  readonly address: Address;
  readonly trust?: { serverSslconfig: ServerSslconfig; clientSslconfig: ClientSslconfig };
}

async function measure({ address, trust }: Task) {
  const logger = new RecordingLogger();
  const app: App = () => [200, "OK", {}, null];
  const options = { logger, maxConnections: Infinity };
  const server = trust === undefined
    ? new Server(address, app, options)
    : new SSLServer(trust.serverSslconfig, address, app, options);
  const serving = server.serveForever();
  await server.ready;
  const client = trust === undefined
    ? new Client(server.address, { timeout: 5 })
    : new SSLClient(trust.clientSslconfig, server.address, { timeout: 5 });
  // Use everything that opens a descriptor at its first use now.
  await client.request("GET", "/");
  const first = await client.connect();

  // Each connection takes a descriptor on each side, until none is free.
  const conns: Deno.Conn[] = [];
  try {
    for (let i = 0; i < 1000; i++) conns.push(await dial(server.address));
  } catch {
    // No descriptor is free.
  }
  const opened = conns.length;
  if (trust === undefined || typeof address === "string") {
    await logger.waitFor("warn");
  } else {
    // `node:net` doesn't report the failure; some ticks of the event loop are enough.
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  // Connections with a slot are still served.
  const answered = (await first.get("/")).status;
  for (const conn of conns.splice(0, conns.length - 3)) conn.close();
  const { status } = await client.request("GET", "/");
  first.close();
  for (const conn of conns) conn.close();
  await server.shutdown();
  await serving;
  const [warnings, errors] = [logger.messagesOf("warn").length, logger.messagesOf("error")];
  return { opened, answered, status, warnings, errors };
}

// Without a descriptor for its signals, Deno ends the process.
Deno.addSignalListener("SIGUSR2", () => {});
const found = [];
for (const task of JSON.parse(Deno.args[0]!)) found.push(await measure(task));
console.log(JSON.stringify(found));
