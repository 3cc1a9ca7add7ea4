/**
 * A secure, fast HTTP/1.1 client and server for device-to-device communication on a local network.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const hello = new TextEncoder().encode("hello, world");
 * await using server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, hello]);
 * server.serveForever();
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(await response.body?.text(), "hello, world");
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
export {
  isTransient,
  type Retry,
  retry,
  type RetryOptions,
  type RetryProgress,
} from "./net/retry.ts";
