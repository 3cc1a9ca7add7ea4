/** Moves a tree, or serves a directory, as its arguments say: prints a line when it begins, and then what that has done. */
import { Client } from "@degu/degu/client";
import { downloadTree, FilesApp, uploadTree } from "@degu/degu/files";
import { Server } from "@degu/degu/server";

const [task, port, dir = "", uri = ""] = Deno.args;
if (task === "serve") {
  const server = new Server(["127.0.0.1", 0], new FilesApp(dir, { list: true, write: true }));
  console.log(JSON.stringify(server.address));
  await server.serveForever();
}
const client = new Client(["127.0.0.1", Number(port)], { timeout: 10 });
console.log("ready");
const result = task === "upload"
  ? await uploadTree(client, dir, uri, { delete: true })
  : await downloadTree(client, uri, dir, { delete: true });
console.log(JSON.stringify(result));
