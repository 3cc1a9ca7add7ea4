// Serves a directory, downloads a file from it, and uploads another.
import { Client, Server } from "@degu/degu";
import { FilesApp, fileUri, listDirectory, upload } from "@degu/degu/files";
import { assertEquals } from "@std/assert";

const dir = await Deno.makeTempDir();
await Deno.mkdir(`${dir}/served`);
await Deno.writeTextFile(`${dir}/served/a.txt`, "hello");
await Deno.writeTextFile(`${dir}/b b.txt`, "world");

const app = new FilesApp(`${dir}/served`, { list: true, write: true });
await using server = new Server(["127.0.0.1", 0], app);
server.serveForever();
const client = new Client(server.address);
const response = await client.request("GET", "/a.txt");
assertEquals(response.headers["content-type"], "text/plain");
assertEquals(await response.body?.text(), "hello");

await upload(client, `${dir}/b b.txt`, fileUri("b b.txt"));
const names = await Array.fromAsync(listDirectory(client, fileUri("")), ({ name }) => name);
assertEquals(names.toSorted(), ["a.txt", "b b.txt"]);
await Deno.remove(dir, { recursive: true });
console.log("one file was downloaded, and another was uploaded");
