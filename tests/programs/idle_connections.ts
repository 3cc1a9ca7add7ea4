/**
 * Makes a request over each kind of connection, and over a pool of each; aborts the first request
 * over another connection before anything was sent; and leaves the connections open.
 */
import { Client, ConnectionPool, SSLClient } from "@degu/degu";

const [tcp, unix, tls, sslconfig] = Deno.args.map((text) => JSON.parse(text));
const clients = [new Client(tcp), new Client(unix), new SSLClient(sslconfig, tls)];
const references: unknown[] = [];
for (const client of clients) {
  const connection = await client.connect();
  const pool = new ConnectionPool(client, { idleTimeout: null });
  const otherConnection = await client.connect();
  references.push(connection, pool, otherConnection);
  for (const each of [connection, pool]) {
    console.log(await (await each.request("GET", "/", {}, null)).text());
  }
  const stop = new AbortController();
  const abortedRequest = otherConnection.get("/", {}, { signal: stop.signal }).catch(() =>
    "given up"
  );
  stop.abort();
  console.log(await abortedRequest, otherConnection.closed);
}
