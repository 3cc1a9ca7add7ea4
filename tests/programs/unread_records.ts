/**
 * Serves over TLS an app that reads bodies slowly or not at all, and prints its address as JSON.
 * The arguments are the configuration and the address, both in JSON, and `slowly` or `never`.
 */

import type { Address } from "@degu/degu/base";
import { type App, SSLServer } from "@degu/degu/server";

const [sslconfig, address, reads] = Deno.args as [string, string, string];

const app: App = async ({ body }, session) => {
  const sessionEnded = new Promise<void>((resolve) => {
    session.signal.addEventListener("abort", () => resolve());
  });
  if (body !== null && reads === "never") await sessionEnded;
  while (body !== null && (await body.read(100)).length > 0) {
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return [204, "No Content", {}, null];
};
const logger = { debug() {}, info() {}, warn: console.error, error: console.error };
const options = { timeout: null, maxRequests: Infinity, logger };
const server = new SSLServer(JSON.parse(sslconfig), JSON.parse(address) as Address, app, options);
server.serveForever();
await server.ready;
console.log(JSON.stringify(server.address));
