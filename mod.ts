/**
 * A secure, fast HTTP/1.1 client and server for device-to-device communication on a local network.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], () => [200, "OK", { hello: "world" }, null]);
 * const serving = server.serveForever();
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 * server.close();
 * await serving;
 * ```
 *
 * @module
 */

export * from "./base.ts";
export * from "./client.ts";
export * from "./server.ts";
export * from "./rgi.ts";
export * from "./applib.ts";
export * from "./web.ts";
