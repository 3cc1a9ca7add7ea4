/**
 * Data survives a power failure: files and their directories are synced to the disk before the
 * response.
 */
import type { BodyOut, HeadersToSend, Method } from "@degu/degu/base";
import type { Client } from "@degu/degu/client";
import { download, downloadTree, FilesApp, type TreeEvent, uploadTree } from "@degu/files";
import { BackgroundSync } from "@degu/internal/files/disk/files.ts";
import {
  replacePrivateFile,
  writePrivateFile,
} from "@degu/internal/device/identity/private_files.ts";
import { makeBundle } from "@degu/testing/bundles.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { serveFiles } from "@degu/testing/transferring.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  makeUploadHeaders,
  readStatus,
  serveWritableDirectory,
} from "@degu/testing/written_directory.ts";
import { assert, assertEquals } from "@std/assert";
import { open } from "node:fs/promises";

const SENT = makeBundle([["a/b/small", "1"], ["sub/small", "2"], ["empty/dir", null]]);
const RESUMED = makeUploadHeaders(encodeLatin1("12345"), 0);

/** Requests, and the paths that must be synced for each; `.` is the served directory. */
const ROWS: readonly [Method, uri: string, HeadersToSend, BodyOut, synced: readonly string[]][] = [
  ["PUT", "/new", {}, encodeLatin1("1"), [".", "./new"]],
  ["PUT", "/file", {}, encodeLatin1("1"), [".", "./file"]],
  ["PUT", "/x/y/new", {}, encodeLatin1("1"), [".", "./x", "./x/y", "./x/y/new"]],
  ["PUT", "/x/new", RESUMED, encodeLatin1("12345"), [".", "./x", "./x/new"]],
  ["PUT", "/sub/new", { "if-none-match": "*" }, encodeLatin1("1"), ["./sub", "./sub/new"]],
  ["PUT", "/x/y/", {}, null, [".", "./x", "./x/y"]],
  ["DELETE", "/sub/file", {}, null, ["./sub"]],
  ["DELETE", "/empty", {}, null, ["."]],
  ["POST", "/?bundle=put", {}, SENT, [
    ...[".", "./a", "./a/b", "./a/b/small"],
    ...["./empty", "./empty/dir", "./sub", "./sub/small"],
  ]],
];

for (const [method, uri, headers, body, synced] of ROWS) {
  Deno.test(`synced before the response: ${method} ${uri}${headers === RESUMED ? ", resumed" : ""}`, async () => {
    await using files = await serveWritableDirectory();
    await Deno.mkdir(`${files.root}/empty`);
    const syncedPaths = await recordSyncedPaths(files.root, async () => {
      const status = await readStatus(await files.request(method, uri, headers, body));
      assert(status < 300, `${status}`);
    });
    assertSynced(files.root, syncedPaths, synced);
  });
}

Deno.test("synced before the response: an upload of an identical file", async () => {
  await using files = await serveWritableDirectory();
  await files.put("/sub/new", encodeLatin1("12345"), RESUMED);
  const syncedPaths = await recordSyncedPaths(files.root, async () => {
    const headers = makeUploadHeaders(encodeLatin1("12345"), 5);
    assertEquals(await readStatus(await files.request("PUT", "/sub/new", headers)), 204);
  });
  assertSynced(files.root, syncedPaths, [".", "./sub"]);
});

Deno.test("a resumable file with its final name is complete, even if its directory can't be synced", async () => {
  await using files = await serveWritableDirectory();
  await using handle = await open(files.root);
  const error = Object.assign(new Error("a bad sector"), { code: "EIO" });
  using _failing = patch(Object.getPrototypeOf(handle), "sync", () => () => Promise.reject(error));
  assertEquals(await files.put("/new", encodeLatin1("12345"), RESUMED), 500);
  assertEquals(await files.read("new"), "12345");
});

const LARGE = "l".repeat(70_000);

/**
 * Operations on a local directory with a server of another one, and the paths that must be synced.
 */
const OPERATIONS: Readonly<
  Record<string, [(here: string, from: Client, there: string) => Promise<unknown>, string[]]>
> = {
  "a private file": [(localDir) => writePrivateFile(`${localDir}/key`, "x"), ["./key"]],
  "a private file that is replaced": [
    (localDir) => replacePrivateFile(`${localDir}/key`, "x", `${localDir}/new`),
    ["./key"],
  ],
  "a file, after many of its bytes were written": [async (localDir) => {
    await Deno.writeTextFile(`${localDir}/file`, "x");
    const sync = new BackgroundSync(`${localDir}/file`, 0);
    await sync.add(100_000_000);
    await sync.waitUntilIdle();
  }, ["./file"]],
  "a download": [async (localDir, client, remoteDir) => {
    await Deno.writeTextFile(`${remoteDir}/x`, "x");
    await download(client, "/x", `${localDir}/x`);
  }, [".", "./x"]],
  "small files of a tree": tree({ "a/b/x": "x", y: "y" }, {}, [
    ".",
    "./a",
    "./a/b",
    "./a/b/x",
    "./y",
  ]),
  "a small file in an existing directory": tree({ "a/x": "x" }, { a: null }, ["./a", "./a/x"]),
  "a large file of a tree": tree({ "a/b": LARGE }, {}, [".", "./a", "./a/b"]),
  "a large file in an existing directory": tree({ "a/b": LARGE }, { a: null }, ["./a", "./a/b"]),
  "a large file whose directory was removed during the call": [
    async (localDir, client, remoteDir) => {
      await fill(`${remoteDir}/tree`, { "0": LARGE, "a/c/b": LARGE });
      await fill(localDir, { "a/c": null });
      const onEvent = (event: TreeEvent) => {
        if (event.type === "copied" && event.path[0] === "0") Deno.removeSync(`${localDir}/a/c`);
      };
      await downloadTree(client, "/tree/", localDir, { connections: 1, onEvent });
    },
    [".", "./0", "./a", "./a/c", "./a/c/b"],
  ],
  "files that a move has removed": [async (localDir, client) => {
    await fill(localDir, { "a/b": "x", "c/d": LARGE, "e/f": null });
    using _later = setClockAhead(10_000);
    await uploadTree(client, localDir, ["moved", ""], { move: true });
  }, ["./a", "./c"]],
  "directories of a tree": tree({ "a/b": null }, {}, [".", "./a", "./a/b"]),
  "deletions": tree({ "a/x": "x" }, { "a/x": "x", "a/y": "y" }, ["./a"]),
};

/** Copies a tree, and deletes superfluous entries of the target. */
function tree(
  source: Readonly<Record<string, string | null>>,
  target: Readonly<Record<string, string | null>>,
  synced: string[],
): (typeof OPERATIONS)[string] {
  return [async (localDir, client, remoteDir) => {
    await fill(`${remoteDir}/tree`, source);
    await fill(localDir, target);
    await downloadTree(client, "/tree/", localDir, { delete: true, compare: "digest" });
  }, synced];
}

for (const [label, [work, synced]] of Object.entries(OPERATIONS)) {
  Deno.test(`synced before a call returns: ${label}`, async () => {
    await using files = await serveFiles((dir) => new FilesApp(dir, { list: true, write: true }));
    const { clientDir, serverDir, client } = files;
    const syncedPaths = await recordSyncedPaths(
      clientDir,
      () => work(clientDir, client, serverDir),
    );
    assertSynced(clientDir, syncedPaths, synced);
  });
}
