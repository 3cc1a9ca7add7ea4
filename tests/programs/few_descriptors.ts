/**
 * Serves with so few file descriptors that accepting fails; run with a low limit. Its argument are addresses, each
 * with the configurations of both ends for TLS, in JSON. Prints its findings about each as JSON.
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
  // Everything that needs a descriptor of its own when it is used first is used now.
  await client.request("GET", "/");
  const first = await client.connect();

  // Each connection takes a descriptor on each side, until none is free.
  const conns: Deno.Conn[] = [];
  try {
    for (let i = 0; i < 1000; i++) conns.push(await dial(server.address));
  } catch {
    // There is none.
  }
  const opened = conns.length;
  if (trust === undefined || typeof address === "string") {
    await logger.waitFor("warn");
  } else {
    // `node:net` gives no sign of it; some turns of the event loop are enough.
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

// Deno ends the process where there is no descriptor for its signals.
Deno.addSignalListener("SIGUSR2", () => {});
const found = [];
for (const task of JSON.parse(Deno.args[0]!)) found.push(await measure(task));
console.log(JSON.stringify(found));
