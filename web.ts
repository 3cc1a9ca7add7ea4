/**
 * A bridge to fetch: handlers of `Request` and `Response`, and `fetch` itself.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { createFetch, fromFetchHandler } from "@degu/degu/web";
 * import { assertEquals } from "@std/assert";
 *
 * const app = fromFetchHandler((request) => Response.json({ url: request.url }));
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 * const fetch = createFetch(client);
 * const response = await fetch("/hello?name=world");
 * assertEquals(await response.json(), { url: `http://${client.host}/hello?name=world` });
 * ```
 *
 * @module
 */

export {
  type FetchHandler,
  type FetchHandlerInfo,
  fromFetchHandler,
  type FromFetchHandlerOptions,
} from "./web/from_fetch_handler.ts";
export { type ChooseCookie } from "./web/headers.ts";
export { type ErrorLogger, type PeerInfo } from "./web/fetch_session.ts";
export { toFetchHandler, type ToFetchHandlerOptions } from "./web/to_fetch_handler.ts";
export { createFetch } from "./web/create_fetch.ts";
export type * from "./base/app/app_types.ts";
export type { Client, ClientOptions, Connection, RequestOptions } from "./client.ts";
export type { Logger } from "./server.ts";
