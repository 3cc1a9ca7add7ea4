/**
 * Servers on more than one core.
 *
 * @module
 */

export type { PoolApp, PoolExport, PoolOptions } from "./pool/pool_options.ts";
export { ServerPool } from "./pool/server_pool.ts";
