/** Work on many small files yields to the event loop between two files. */
import { realPath } from "@degu/internal/files/disk/paths.ts";
import { Body, type Method } from "@degu/degu/base";
import { FilesApp } from "@degu/files";
import { mkreq } from "@degu/degu/misc";
import { formatPaths } from "@degu/internal/files/bundle.ts";
import { makeBundle } from "@degu/testing/bundles.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeTrees } from "@degu/testing/trees.ts";
import { assertEquals, assertRejects } from "@std/assert";

/**
 * Counts how often an operation yields, with time slices that end at once. After each slice the
 * operation calls lstat() for the directory.
 */
async function countSlices(
  directory: string,
  work: () => Promise<unknown>,
  onSlice = () => {},
): Promise<number> {
  let time = performance.now();
  let expectedSlices = 0;
  using _clock = patch(performance, "now", () => () => time += 10);
  using _counted = patch(Deno, "lstat", (lstat) => (path) => {
    if (path === directory) {
      expectedSlices++;
      onSlice();
    }
    return lstat(path);
  });
  await work();
  return expectedSlices;
}

const NAMES = Array.from({ length: 5 }, (_, i) => `${i}`);
const FILES = Object.fromEntries(NAMES.map((name) => [name, name]));

const REQUESTS: readonly [Method, uri: string, turns: number, body?: Uint8Array<ArrayBuffer>][] = [
  ["GET", "/many/", 300],
  ["GET", "/d/?tree", 5],
  ["POST", "/d/?bundle=get", 10, formatPaths(NAMES.map((name) => [name]))],
  ["POST", "/d/?bundle=put", 9, makeBundle(NAMES.map((name) => [name, name]))],
];

for (const [method, uri, expectedSlices, body] of REQUESTS) {
  Deno.test(`the event loop isn't blocked: ${method} ${uri}`, async () => {
    await using dir = await createTempDir();
    const root = await realPath(dir.path);
    await fill(root, Object.fromEntries(NAMES.map((name) => [`d/${name}`, name])));
    const many = Array.from({ length: 300 }, (_, i) => [`many/${i}`, ""]);
    if (uri === "/many/") await fill(root, Object.fromEntries(many));
    const app = new FilesApp(root, { list: true, write: true });
    const sliceCount = await countSlices(root, async () => {
      const sent = body === undefined ? null : new Body(new Blob([body]).stream(), body.length);
      const [status, , , responseBody] = await app.handle(mkreq(method, uri, {}, sent));
      assertEquals(status < 300, true, `${status}`);
      if (typeof responseBody === "object" && responseBody !== null && "writeTo" in responseBody) {
        await responseBody.writeTo(new WritableStream());
      }
    });
    // Windows has names that must not be looked up, so the first lookup is that of the root.
    const firstLooks = Deno.build.os === "windows" ? 1 : 0;
    assertEquals(sliceCount, expectedSlices + firstLooks);
  });
}

for (const [direction, expectedSlices] of [["download", 15], ["upload", 14]] as const) {
  Deno.test(`the event loop isn't blocked: a tree, ${direction}`, async () => {
    await using trees = await makeTrees(direction, { ...FILES, a: null, b: null }, {
      c: "",
      d: "",
    });
    const localDir = await realPath(direction === "download" ? trees.target : trees.source);
    assertEquals(
      await countSlices(localDir, () => trees.copy({ delete: true, connections: 1 })),
      expectedSlices,
    );
  });
}

Deno.test("a signal that aborts while a call yields ends the creation of directories, and deletions", async () => {
  const reason = new Error("enough");
  const rows = [
    { source: { a: null, b: null, c: null }, target: {}, abortedSlice: 3, remaining: 1 },
    // The list of the target yields for each entry.
    { source: { x: "" }, target: FILES, abortedSlice: 7, remaining: 6 },
  ];
  for (const { source, target, abortedSlice, remaining } of rows) {
    await using trees = await makeTrees("download", source, target);
    const localDir = await realPath(trees.target);
    const controller = new AbortController();
    let count = 0;
    const copying = () => trees.copy({ delete: true, connections: 1, signal: controller.signal });
    const rejects = () => assertRejects(copying, Error, "enough");
    await countSlices(
      localDir,
      rejects,
      () => ++count === abortedSlice && controller.abort(reason),
    );
    const remainingCount = Object.keys(await readTree(trees.target)).length;
    assertEquals(remainingCount, remaining, "no entry is changed after the abort");
  }
});
