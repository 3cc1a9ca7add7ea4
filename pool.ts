/**
 * Servers on more than one core.
 *
 * @module
 */

export type { PoolApp, PoolOptions } from "./pool/pool_options.ts";
export { ServerPool } from "./pool/server_pool.ts";
