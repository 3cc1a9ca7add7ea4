/**
 * Behavior of disks on Windows: locked and read-only files, junctions, and deletions.
 */
import { Client, Server } from "@degu/degu";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  TransferError,
  upload,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/files";
import { windowsDeletions } from "@degu/internal/files/disk/names.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir, fill, listNames, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { chmodSync } from "node:fs";

// Replacing files that Windows refuses to replace at first.

const LARGE = "l".repeat(70_000);

/** Copies the file `file` of a tree alone. */
function copyFile(direction: TreeDirection, client: Client, dir: string): Promise<unknown> {
  const uri = "/tree/file";
  return direction === "download"
    ? download(client, uri, `${dir}/file`)
    : upload(client, `${dir}/file`, uri);
}

for (const [size, text] of Object.entries({ small: "newer", large: LARGE })) {
  Deno.test.each(DIRECTIONS)(
    `%s: a ${size} file that is read-only is replaced, alone and in a tree`,
    async (direction) => {
      for (const isAlone of [true, false]) {
        await using trees = await makeTrees(direction, { file: text }, { file: "old" });
        chmodSync(`${trees.target}/file`, 0o444);
        if (isAlone) {
          const dir = direction === "download" ? trees.target : trees.source;
          await copyFile(direction, trees.client, dir);
        } else assertEquals((await trees.copy()).errors, {});
        assertEquals(await readTree(trees.target), { file: text });
      }
    },
  );

  Deno.test.each(DIRECTIONS)(
    `%s: a ${size} file that another program has open is replaced once it is closed, or fails alone with this reason`,
    async (direction) => {
      for (const attempts of [3, Infinity]) {
        for (const isAlone of [true, false]) {
          const oldFiles = { file: "old", other: "old", superfluous: "1" };
          await using trees = await makeTrees(direction, { file: text, other: text }, oldFiles);
          using lock = lockFile(`${trees.target}/file`, attempts);
          const isReplaced = attempts < Infinity;
          if (isAlone) {
            const dir = direction === "download" ? trees.target : trees.source;
            const copying = copyFile(direction, trees.client, dir);
            if (isReplaced) await copying;
            else assertEquals((await assertRejects(() => copying, TransferError)).code, "IN_USE");
          } else {
            const { errors, outcomes, result } = await trees.copy({ delete: true });
            if (!isReplaced) assertEquals((errors["file"] as TransferError).code, "IN_USE");
            assertEquals(outcomes, { file: isReplaced ? "copied" : "failed", other: "copied" });
            assertEquals(result.deletionsSkipped, isReplaced ? null : "failed");
          }
          assert(isReplaced ? lock.attempts === 4 : lock.attempts >= 20, `${lock.attempts}`);
          const { file, other: otherContent, superfluous } = await readTree(trees.target);
          assertEquals(file, isReplaced ? text : "old");
          assertEquals(otherContent, isAlone ? "old" : text);
          assertEquals(superfluous === undefined, !isAlone && isReplaced);
        }
      }
    },
  );
}

/**
 * Makes the next attempts to replace a file fail, as on Windows while another program has it open.
 */
function lockFile(path: string, attempts: number) {
  const stack = new DisposableStack();
  stack.use(patch(Deno, "build", (build) => ({ ...build, os: "windows" as const })));
  stack.use(patch(windowsDeletions, "areTested", () => true));
  stack.use(speedUpTimeouts((milliseconds) => milliseconds === 30));
  const lock = { attempts: 0, [Symbol.dispose]: () => stack.dispose() };
  stack.use(patch(Deno, "renameSync", (rename) => (from, to) => {
    if (to === path && ++lock.attempts <= attempts) {
      const message = `Access is denied. (os error 5): rename '${from}' -> '${to}'`;
      throw Object.assign(new Deno.errors.PermissionDenied(message), { code: "EACCES" });
    }
    rename(from, to);
  }));
  return lock;
}

Deno.test({
  name: "a junction is a link: it is not followed, written through, or copied",
  ignore: Deno.build.os !== "windows",
  async fn() {
    await using trees = await makeTrees("upload", { "sub/x": "1", "y": "2" }, { "sub": null });
    await using outside = await createTempDir();
    await Deno.remove(`${trees.target}/sub`);
    for (const path of [`${trees.source}/junction`, `${trees.target}/sub`]) {
      await Deno.symlink(outside.path, path, { type: "junction" });
    }
    const { outcomes } = await trees.copy({ delete: true });
    assertEquals([outcomes["junction"], outcomes["y"]], ["skipped: link", "copied"]);
    assert(outcomes["sub/x"] !== "copied");
    assertEquals(await listNames(outside.path), []);
  },
});

// Deletion has not been tested on Windows.

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
    const { status, headers: { "refusal-reason": reason } } = response;
    assertEquals([status, reason], [403, "no-deletions"]);
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
