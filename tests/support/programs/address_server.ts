/**
 * Serves at the addresses in its argument, as JSON (an array of bytes for an abstract name), prints them as
 * JSON, and ends when its standard input does.
 */

import { type App, Server } from "@degu/degu/server";

/** An address in JSON. */
export type Place = string | readonly [host: string, ...number[]] | { readonly name: number[] };

const app: App = async (request) => {
  const bytes = await request.body?.bytes();
  return [200, "OK", { pid: `${Deno.pid}` }, bytes ?? null];
};
const places: Place[] = JSON.parse(Deno.args[0] ?? "");
const servers = places.map((place) => {
  const isName = typeof place === "object" && "name" in place;
  return new Server(isName ? Uint8Array.from(place.name) : place as [string, number], app);
});
const serving = servers.map((server) => server.serveForever());
const bound = servers.map(({ address }) =>
  address instanceof Uint8Array ? { name: [...address] } : address
);
console.log(JSON.stringify(bound));
while (await Deno.stdin.read(new Uint8Array(1000)) !== null);
await Promise.all(servers.map((server) => server.shutdown()));
await Promise.all(serving);
