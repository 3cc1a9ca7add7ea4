/** Makes requests over one connection of a pool; the small response bodies arrive in two pieces. */
import { Client, ConnectionPool } from "@degu/degu";

const pool = new ConnectionPool(new Client(JSON.parse(Deno.args[0]!)), { maxConnections: 1 });

async function main(): Promise<void> {
  // The second request waits for the connection of the first one.
  const texts = ["/awaited", "/late"].map(async (uri) => await (await pool.get(uri)).text());
  for (const text of await Promise.all(texts)) console.log(text);
  console.log((await pool.get("/unread")).status);
}

// Without a top-level await, only a pending read keeps the process alive.
main();
