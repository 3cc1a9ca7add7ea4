/**
 * A pool with TLS that shuts down when its standard input ends. Its argument is the address and its
 * *sslconfig*, in JSON; it prints the address.
 */

import { ServerPool } from "@degu/degu/pool";
import { appOf } from "@degu/testing/pools.ts";

const { address, sslconfig } = JSON.parse(Deno.args[0]!);
const pool = await ServerPool.start(address, appOf("app"), { workers: 2, sslconfig });
console.log(JSON.stringify(pool.address));
for await (const _ of Deno.stdin.readable);
await pool.shutdown();
