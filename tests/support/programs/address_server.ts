/**
 * Serves at the address in its argument, as JSON (an array of bytes for an abstract name), prints the
 * address as JSON, and ends when its standard input does.
 *
 * @module
 */

import type { Address } from "@degu/degu/base";
import { Server } from "@degu/degu/server";

interface Place {
  readonly address: Exclude<Address, Uint8Array>;
  readonly name?: number[];
}

const { address, name }: Place = JSON.parse(Deno.args[0] ?? "");
const server = new Server(name === undefined ? address : Uint8Array.from(name), async (request) => {
  const bytes = await request.body?.bytes();
  return [200, "OK", { pid: `${Deno.pid}` }, bytes ?? null];
});
const serving = server.serveForever();
const bound = server.address;
console.log(
  JSON.stringify(bound instanceof Uint8Array ? { name: [...bound] } : { address: bound }),
);
while (await Deno.stdin.read(new Uint8Array(1000)) !== null);
await server.shutdown();
await serving;
