/**
 * Servers on more than one core: workers that share a port.
 *
 * {@linkcode ServerPool} starts them, with {@linkcode PoolOptions}, from a {@linkcode PoolApp}.
 * Every other name is a type that these refer to.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu";
 * import { ServerPool } from "@degu/degu/pool";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program of your own: { module: import.meta.resolve("./app.ts"), name: "app" }
 * const app = { module: import.meta.resolve("@degu/degu"), name: "Router", args: [new Map()] };
 * await using pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 1 });
 * assertEquals((await new Client(pool.address).request("GET", "/")).status, 410);
 * ```
 *
 * @module
 */

export { type PoolApp, type PoolExport, type PoolOptions, ServerPool } from "./pool/server_pool.ts";
export { DeguError } from "./base/errors.ts";
