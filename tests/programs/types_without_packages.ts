/** Serves a file without npm packages; prints the answers and the lines of the log. */
import { FilesApp } from "@degu/degu/files";
import { Client, Server } from "@degu/degu";

const dir = await Deno.makeTempDir();
await Deno.writeTextFile(`${dir}/page.html`, "hello");
const lines: string[] = [];
const add = (line: string) => void lines.push(line);
const logger = { debug: () => {}, info: add, warn: add, error: add };
const server = await Server.start(["127.0.0.1", 0], new FilesApp(dir), { logger });
const client = new Client(server.address);
for (let i = 0; i < 3; i++) {
  const { status, headers, body } = await client.request("GET", "/page.html");
  console.log(status, headers["content-type"], await body?.text());
}
console.log(JSON.stringify(lines));
server.close();
await Deno.remove(dir, { recursive: true });
