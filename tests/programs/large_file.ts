/**
 * Transfers the file `large` of the directory in its first argument through a server and a client,
 * and prints the number of bytes and the growth of the resident memory as JSON. Memory is counted
 * per process, so this is a separate program.
 */

import { Client } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { Server } from "@degu/degu/server";

const server = new Server(["127.0.0.1", 0], new FilesApp(Deno.args[0]!));
const serving = server.serveForever();
const conn = await new Client(server.address).connect();
let received = 0, maxRss = 0;
const rssBefore = Deno.memoryUsage().rss;
const { body } = await conn.get("/large");
await body!.writeTo({
  write(bytes) {
    received += bytes.length;
    maxRss = Math.max(maxRss, Deno.memoryUsage().rss - rssBefore);
    return Promise.resolve();
  },
});
console.log(JSON.stringify({ received, most: maxRss }));
conn.close();
server.close();
await serving;
