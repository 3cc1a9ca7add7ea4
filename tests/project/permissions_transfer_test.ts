/** The permissions of transfers in docs/permissions.md. */
import { join } from "@std/path";
import { FilesApp } from "@degu/degu/files";
import { Server } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { runCases } from "@degu/testing/permission_cases.ts";

Deno.test("transfers need the permissions in the table", async () => {
  await using dir = await tempDir();
  const there = join(dir.path, "there");
  const here = join(dir.path, "here");
  for (const path of [there, here]) await Deno.mkdir(path);
  await Deno.writeTextFile(join(there, "file"), "hello");
  await Deno.writeTextFile(join(here, "file"), "hello");
  const app = new FilesApp(there, { list: true, write: true });
  await using server = new Server(["127.0.0.1", 0], app);
  server.serveForever();
  const [, port] = server.address as readonly [string, number];
  const connects = `net=127.0.0.1:${port}`;
  const script = (work: string) =>
    `import { Client } from "./client.ts";
import * as files from "./files.ts";
const { deleteFile, download, downloadTree, listDirectory, listTree, makeDirectory, remoteDigest, upload, uploadTree } = files;
const client = new Client(["127.0.0.1", ${port}]);
${work}`;
  await runCases([
    {
      name: "listDirectory",
      permissions: [connects],
      script: script(`for await (const { name } of listDirectory(client, "/")) console.log(name);`),
    },
    {
      name: "listTree",
      permissions: [connects],
      script: script(`for await (const { path } of listTree(client, "/")) console.log(path);`),
    },
    {
      name: "remoteDigest, makeDirectory, deleteFile",
      permissions: [connects],
      script: script(`console.log(await remoteDigest(client, "/file"));
await makeDirectory(client, "/new/");
await deleteFile(client, "/new");`),
    },
    {
      name: "download",
      permissions: [connects, `read=${here}`, `write=${here}`],
      script: script(`await download(client, "/file", ${JSON.stringify(join(here, "copy"))});`),
    },
    {
      name: "upload",
      permissions: [connects, `read=${join(here, "file")}`],
      script: script(`await upload(client, ${JSON.stringify(join(here, "file"))}, "/copy");`),
    },
    {
      name: "downloadTree",
      permissions: [connects, `read=${join(here, "tree")}`, `write=${join(here, "tree")}`],
      script: script(
        `await downloadTree(client, "/", ${
          JSON.stringify(join(here, "tree"))
        }, { compare: "nothing", delete: true });`,
      ),
    },
    {
      name: "uploadTree",
      permissions: [connects, `read=${here}`],
      script: script(
        `await uploadTree(client, ${JSON.stringify(here)}, "/tree/", { delete: true });`,
      ),
    },
  ]);
});
