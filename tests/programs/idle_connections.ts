/** Makes a request over each kind of connection and over a pool of each, and leaves them open. */
import { Client, ConnectionPool, SSLClient } from "@degu/degu";

const [tcp, unix, tls, sslconfig] = Deno.args.map((text) => JSON.parse(text));
const clients = [new Client(tcp), new Client(unix), new SSLClient(sslconfig, tls)];
const kept: unknown[] = [];
for (const client of clients) {
  const connection = await client.connect();
  const pool = new ConnectionPool(client, { idle: null });
  kept.push(connection, pool);
  for (const each of [connection, pool]) {
    console.log(await (await each.request("GET", "/", {}, null)).text());
  }
}
