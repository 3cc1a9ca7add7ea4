/** Peers and transfers can't delete files on Windows, where deletion has not been tested. */
import { Client, Server } from "@degu/degu";
import {
  deleteEntry,
  downloadTree,
  FilesApp,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/files";
import { windowsDeletions } from "@degu/internal/files/disk/names.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertEquals, assertRejects } from "@std/assert";

Deno.test("on Windows neither peers nor transfers delete files", async () => {
  using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
  using _deleting = patch(windowsDeletions, "areTested", () => false);
  await using dir = await createTempDir();
  const tree = { "served/a": "1", "served/d": null, "own/b": "2" };
  await fill(dir.path, tree);
  const warnings: string[] = [];
  const logger = { warn: (message: string) => void warnings.push(message) };
  const app = new FilesApp(`${dir.path}/served`, { list: true, write: true, logger });
  await using server = new Server(["127.0.0.1", 0], app);
  server.serveForever();
  const client = new Client(server.address);

  for (const uri of ["/a", "/d", "/d/"]) {
    const response = await client.request("DELETE", uri);
    await response.discard();
    assertEquals(response.status, 403);
  }
  assertEquals(warnings.map((line) => line.slice(line.indexOf("DELETE"))), [
    'DELETE "/a": deleting: not tested on Windows yet',
    'DELETE "/d": deleting: not tested on Windows yet',
    'DELETE "/d/": deleting: not tested on Windows yet',
  ]);
  await assertRejects(
    () => deleteEntry(client, "/a"),
    Deno.errors.NotSupported,
    "deleting: not tested on Windows yet",
  );
  const ownDir = `${dir.path}/own`;
  const refusedOptions: UploadTreeOptions[] = [
    { delete: true },
    { delete: true, deleteAll: true },
    { delete: true, dryRun: true },
    { move: true },
  ];
  for (const options of refusedOptions) {
    const problem = `${options.move ? "move" : "delete"}: not tested on Windows yet; omit it`;
    await assertRejects(() => uploadTree(client, ownDir, "/", options), RangeError, problem);
    const { move: _, ...remainingOptions } = options;
    if (options.move) continue;
    await assertRejects(
      () => downloadTree(client, "/", ownDir, remainingOptions as never),
      RangeError,
      problem,
    );
  }
  const { files } = await downloadTree(client, "/", ownDir);
  assertEquals(files, 1);
  assertEquals(await readTree(dir.path), {
    ...{ "own": null, "own/a": "1", "own/b": "2", "own/d": null },
    ...{ "served": null, "served/a": "1", "served/d": null },
  });
});
