/**
 * Makes a request over each kind of connection, and over a pool of each; aborts the first request
 * over another connection before anything was sent; and leaves the connections open.
 */
import { Client, ConnectionPool, SSLClient } from "@degu/degu";

const [tcp, unix, tls, sslconfig] = Deno.args.map((text) => JSON.parse(text));
const clients = [new Client(tcp), new Client(unix), new SSLClient(sslconfig, tls)];
const kept: unknown[] = [];
for (const client of clients) {
  const connection = await client.connect();
  const pool = new ConnectionPool(client, { idleTimeout: null });
  const other = await client.connect();
  kept.push(connection, pool, other);
  for (const each of [connection, pool]) {
    console.log(await (await each.request("GET", "/", {}, null)).text());
  }
  const stop = new AbortController();
  const given = other.get("/", {}, { signal: stop.signal }).catch(() => "given up");
  stop.abort();
  console.log(await given, other.closed);
}
