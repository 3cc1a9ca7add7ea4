/**
 * Serves with so few file descriptors that accepting fails; run with a low limit. Its argument are addresses, each
 * with the configurations of both ends for TLS, in JSON. Prints its findings about each as JSON.
 */

import type { Address } from "@degu/degu/base";
import { Client, type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { type App, Server, type ServerSslconfig, SSLServer } from "@degu/degu/server";

interface Task {
  readonly address: Address;
  readonly trust?: { serverSslconfig: ServerSslconfig; clientSslconfig: ClientSslconfig };
}

async function measure({ address, trust }: Task) {
  const warnings: string[] = [];
  const errors: string[] = [];
  const warned = Promise.withResolvers<void>();
  const logger = {
    debug() {},
    info() {},
    warn(message: string) {
      warnings.push(message);
      warned.resolve();
    },
    error: (message: string) => void errors.push(message),
  };
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

  function dial(): Promise<Deno.Conn> {
    if (typeof server.address === "string") {
      return Deno.connect({ transport: "unix", path: server.address });
    }
    const [hostname, port] = server.address as [string, number];
    return Deno.connect({ hostname, port });
  }

  // Each connection takes a descriptor at either end, until there is none.
  const conns: Deno.Conn[] = [];
  try {
    for (let i = 0; i < 1000; i++) conns.push(await dial());
  } catch {
    // There is none.
  }
  const opened = conns.length;
  if (trust === undefined || typeof address === "string") {
    await warned.promise;
  } else {
    // `node:net` gives no sign of it; some turns of the event loop are enough.
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  // Those that are served go on being served.
  const answered = (await first.get("/")).status;
  for (const conn of conns.splice(0, conns.length - 3)) conn.close();
  const { status } = await client.request("GET", "/");
  first.close();
  for (const conn of conns) conn.close();
  await server.shutdown();
  await serving;
  return { opened, answered, status, warnings: warnings.length, errors };
}

// Deno ends the process where there is no descriptor for its signals.
Deno.addSignalListener("SIGUSR2", () => {});
const found = [];
for (const task of JSON.parse(Deno.args[0]!)) found.push(await measure(task));
console.log(JSON.stringify(found));
