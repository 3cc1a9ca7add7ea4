/**
 * Building blocks for apps: routing, allowed methods, a reverse proxy, an access log.
 *
 * @example
 * ```ts
 * import { AllowedMethods, ProxyApp, Router } from "@degu/degu/applib";
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using backend = new Server(["127.0.0.1", 0], () => [200, "OK", {}, null]);
 * backend.serveForever();
 *
 * const proxy = new ProxyApp(new Client(backend.address));
 * const router = new Router(new Map([["api", new AllowedMethods("GET").wrap(proxy)]]));
 * await using server = new Server(["127.0.0.1", 0], router);
 * server.serveForever();
 *
 * assertEquals((await new Client(server.address).request("GET", "/api")).status, 200);
 * ```
 *
 * @module
 */

export { accessLog, type AccessLogOptions } from "./apps/access_log.ts";
export { AllowedMethods, MethodFilter } from "./apps/method_filter.ts";
export { type AppMap, Router } from "./apps/router.ts";
export { ProxyApp, type ProxyOptions } from "./apps/proxy.ts";
export type * from "./base/app/app_types.ts";
export type { Client, ClientOptions, Connection, RequestOptions } from "./client.ts";
export type { Exchange, Logger } from "./server.ts";
