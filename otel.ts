/**
 * Traces and metrics by OpenTelemetry, with the HTTP semantic conventions: a span and a duration
 * for each request, on both sides, in one trace. Deno's own exporter sends them (`OTEL_DENO=true`).
 *
 * {@linkcode tracedApp} is for servers, {@linkcode tracedClient} for clients. Every other name is a
 * type that these refer to.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { tracedApp, tracedClient } from "@degu/degu/otel";
 * import { assertEquals } from "@std/assert";
 *
 * const app = tracedApp(() => [200, "OK", {}, null]);
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = tracedClient(new Client(server.address));
 * assertEquals((await client.request("GET", "/")).status, 200);
 * ```
 *
 * @module
 */

export { tracedApp, tracedClient } from "./otel/traced.ts";
export type * from "./base/app/app_types.ts";
export type {
  Client,
  ClientOptions,
  Connection,
  ConnectOptions,
  Connector,
  Requester,
  RequestOptions,
} from "./client.ts";
