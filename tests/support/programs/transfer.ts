/** Moves a file or a tree, or serves a directory, as its arguments say: prints a line when it begins, and then what that has done. */
import { Client } from "@degu/degu/client";
import { download, downloadTree, FilesApp, upload, uploadTree } from "@degu/degu/files";
import { Server } from "@degu/degu/server";

const [task = "", port, path = "", uri = ""] = Deno.args;
if (task === "serve") {
  const server = new Server(["127.0.0.1", 0], new FilesApp(path, { list: true, write: true }));
  console.log(JSON.stringify(server.address));
  await server.serveForever();
}
const client = new Client(["127.0.0.1", Number(port)], { timeout: 10 });
const tasks: Readonly<Record<string, () => Promise<unknown>>> = {
  download: () => download(client, uri, path),
  upload: () => upload(client, path, uri),
  downloadTree: () => downloadTree(client, uri, path, { delete: true }),
  uploadTree: () => uploadTree(client, path, uri, { delete: true }),
};
console.log("ready");
console.log(JSON.stringify(await tasks[task]!()));
