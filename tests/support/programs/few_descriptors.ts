/**
 * Serves with so few file descriptors that accepting fails; run with a low limit. Prints what was found as JSON.
 *
 * @module
 */

import { Client } from "../../../client.ts";
import { Server } from "../../../server.ts";

const get = new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n");
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
const server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, null], {
  logger,
  maxConnections: Infinity,
});
const serving = server.serveForever();
const port = Number(server.address[1]);
const conns: Deno.Conn[] = [];
let answered = 0;

// Each connection takes a descriptor at either end, until there is none.
try {
  for (let i = 0; i < 1000; i++) conns.push(await Deno.connect({ hostname: "127.0.0.1", port }));
} catch {
  // There is none.
}
await warned.promise;
const opened = conns.length;

// Those that are served go on being served.
const [first] = conns;
await first?.write(get);
if (await first?.read(new Uint8Array(1000)) === 19) answered++;
for (const conn of conns.splice(0, conns.length - 3)) conn.close();
const { status } = await new Client(server.address, { timeout: 5 }).request("GET", "/");
for (const conn of conns) conn.close();
await server.shutdown();
await serving;
console.log(JSON.stringify({ opened, answered, status, warnings: warnings.length, errors }));
