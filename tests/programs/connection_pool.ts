/** Leaves a pool, one of its responses and its timers as they are. */
import { Client, ConnectionPool } from "@degu/degu";

const pool = new ConnectionPool(new Client(["127.0.0.1", Number(Deno.args[0])]));
const signal = AbortSignal.timeout(1_000_000);
const response = await pool.request("GET", "/", {}, null, { signal });
console.log(await response.text());
const { status } = await pool.request("GET", "/");
console.log(status);
