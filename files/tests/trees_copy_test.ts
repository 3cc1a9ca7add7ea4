/** downloadTree and uploadTree: copied and unchanged files, events, filters and signals. */
import { Client } from "@degu/degu";
import {
  downloadTree,
  type DownloadTreeOptions,
  FilesApp,
  type FilesOptions,
  StatusError,
  TransferError,
  type TreeEntry,
  type TreeEvent,
  uploadTree,
} from "@degu/degu/files";
import { speedUpClock } from "@degu/testing/clock.ts";
import { createTempDir, fill, readMode, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { copyTree, DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { listText, NAMES } from "./directory_entries.ts";
import { testEachRow } from "@degu/testing/rows.ts";

/** Registers a test in both directions; Deno reports it at the line of the call. */
const test = Deno.test.each(DIRECTIONS);

test("%s: files and directories may have any name", async (direction) => {
  const files = Object.fromEntries(NAMES.map((name) => [`${name}/${name}`, name]));
  await using trees = await makeTrees(direction, files);
  assertEquals((await trees.copy()).result.files, NAMES.length);
  assertEquals(await readTree(trees.target), await readTree(trees.source));
  assertEquals((await trees.copy({ delete: true })).result.unchanged, NAMES.length);
});

Deno.test("download: a missing target is created, also through a link", async () => {
  await using trees = await makeTrees("download", { "d/a": "a" });
  await using remoteDir = await createTempDir();
  await makeLinks({ [`${trees.target}/link`]: remoteDir.path });
  await downloadTree(trees.client, "/tree/", `${trees.target}/link/new/tree`);
  assertEquals(await readTree(`${remoteDir.path}/new/tree`), { d: null, "d/a": "a" });
});

test("%s: many files are copied over the requested number of connections, 512 small ones in a request", async (direction) => {
  const texts: Record<string, string> = {};
  for (let i = 0; i < 513; i++) texts[`${i % 7}/${i}`] = `text ${i}`;
  for (let i = 0; i < 4; i++) texts[`large ${i}`] = `${i}`.repeat(70_000);
  let bundles = 0, maxSessions = 0;
  // A bundle that takes long ends early: time stands still.
  using _clock = patch(performance, "now", () => () => 0);
  await using trees = await makeTrees(direction, texts, {}, ({ method }) => {
    if (method === "POST") bundles++;
    maxSessions = Math.max(maxSessions, trees.serving.server.sessions.size);
    return null;
  });
  const { result, outcomes, events } = await trees.copy({ connections: 3 });
  assertEquals(events.filter(({ type }) => type === "progress").length, 1, "at the end");
  // An upload creates the seven directories by a request of its own.
  assertEquals([bundles, maxSessions], [direction === "download" ? 2 : 3, 3]);
  assertEquals([result.files, Object.keys(outcomes).length], [517, 517]);
  assertEquals(await readTree(trees.target), await readTree(trees.source));
  assert(await waitForCondition(() => trees.serving.server.sessions.size === 0));
});

test("%s: the small files of a request have about 4 MiB", async (direction) => {
  let bundles = 0;
  using _clock = patch(performance, "now", () => () => 0);
  const files = Array.from({ length: 66 }, (_, i) => [`${i}`, "x".repeat(65_000)]);
  await using trees = await makeTrees(direction, Object.fromEntries(files), {}, ({ method }) => {
    if (method === "POST") bundles++;
    return null;
  });
  assertEquals([(await trees.copy()).result.files, bundles], [66, 2]);
});

Deno.test("download: while a disk is slow, as many bytes are read ahead as docs/security.md names", async () => {
  const row = /read ahead of a slow disk +\| (\d+) MiB/;
  const limit = 1_048_576 * await readStatedNumber("docs/security.md", row);
  using _clock = patch(performance, "now", () => () => 0);
  const names = Array.from({ length: 512 }, (_, i) => `${i}`);
  const source = Object.fromEntries(names.map((name) => [name, "1"]));
  // The files grow after the list, so that one request has 30 MB.
  await using trees = await makeTrees("download", source, {}, ({ method }) => {
    if (method !== "POST") return null;
    for (const name of names) Deno.writeTextFileSync(`${trees.source}/${name}`, "x".repeat(60_000));
    return null;
  });
  const disk = Promise.withResolvers<void>();
  using _slow = patch(Deno.FsFile.prototype, "sync", () => () => disk.promise);
  let receivedBytes = 0;
  const client = new Client(trees.serving.address, {
    async dial() {
      const port = trees.serving.server.port!;
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      return {
        async read(into) {
          const count = await conn.read(into);
          receivedBytes += count ?? 0;
          return count;
        },
        write: (bytes) => conn.write(bytes),
        close: () => conn.close(),
      };
    },
  });
  const copying = trees.copy({}, client);
  for (let quietTicks = 0; quietTicks < 100; quietTicks++) {
    const previousBytes = receivedBytes;
    await waitForTick();
    if (receivedBytes <= limit || receivedBytes > previousBytes) quietTicks = 0;
  }
  // Up to 130 files wait for the disk.
  assert(receivedBytes < limit + 130 * 60_200 + 262_144, `${receivedBytes}`);
  disk.resolve();
  assertEquals((await copying).result.files, 512);
});

test("%s: each directory in which a call has made or deleted an entry is synced to the disk", async (direction) => {
  const target = { same: "1", "k/x": "2", "k/y": "3" };
  await using trees = await makeTrees(direction, { "d/e": null, "f/a": "1", "k/y": "3" }, target);
  const synced = await recordSyncedPaths(trees.target, () => trees.copy({ delete: true }));
  assertSynced(trees.target, synced, [".", "./d", "./d/e", "./f", "./f/a", "./k"]);
});

/** Waits until a condition is true; resolves to false after a time-out. */
async function waitForCondition(condition: () => boolean): Promise<boolean> {
  for (const deadline = performance.now() + 60_000; !condition() && performance.now() < deadline;) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return condition();
}

test("%s: progress is reported while a large file is sent", async (direction) => {
  const size = 3_000_000;
  await using trees = await makeTrees(direction, { large: "x".repeat(size) });
  using _slow = speedUpClock();
  const { events } = await trees.copy();
  assertEquals(events[0], { type: "progress", done: 0, total: 0 }, "while the list arrives");
  const reportedBytes = events.flatMap((event) => event.type === "progress" ? event.done : []);
  assert(reportedBytes.some((bytes) => bytes > 0 && bytes < size), `${reportedBytes}`);
});

test("%s: a dry run doesn't create the target; a missing source is an error", async (direction) => {
  await using trees = await makeTrees(direction);
  await Deno.remove(trees.target);
  await trees.copy({ dryRun: true });
  await assertRejects(() => Deno.stat(trees.target), Deno.errors.NotFound);
  await Deno.mkdir(trees.target);
  if (direction === "download") {
    await copyTree(direction, trees.client, `${trees.target}/x/y`, "/tree/");
    assertEquals(await readTree(trees.target), { x: null, "x/y": null });
    await Deno.remove(`${trees.target}/x`, { recursive: true });
  }
  await Deno.remove(trees.source);
  await Deno.writeTextFile(`${trees.target}/a`, "");
  const missing = direction === "download" ? StatusError : Deno.errors.NotFound;
  const error = await assertRejects(() => trees.copy({ delete: true }), missing);
  if (direction === "upload") {
    assertMatch(
      (error as Error).message,
      /^dir: there is no directory "\/.*; is its disk mounted\?$/,
    );
  }
  await Deno.writeTextFile(trees.source, "");
  const file = direction === "download" ? StatusError : Deno.errors.NotADirectory;
  await assertRejects(() => trees.copy({ delete: true }), file);
  assertEquals(await readTree(trees.target), { a: "" });
});

Deno.test("download: a temporary file for a small file that replaces another has mode 0600", async () => {
  await using trees = await makeTrees("download", { a: "new", b: "new" }, { a: "older" });
  const createdModes: number[] = [];
  using _seen = patch(Deno, "openSync", (openSync) => (path, options) => {
    const file = openSync(path, options);
    if (`${path}`.includes("/.small-")) createdModes.push(file.statSync().mode! & 0o777);
    return file;
  });
  await trees.copy({ modes: false });
  const defaultMode = await readMode(`${trees.target}/b`);
  // The first file is empty: it shows which permission bits new files get.
  assertEquals(createdModes.map((bits) => bits & 0o666), [defaultMode, 0o600, defaultMode]);
});

test("%s: an error of filter or onEvent rejects the whole call, and so does a filter that returns no boolean", async (direction) => {
  const texts = { a: "a", b: "b".repeat(70_000) };
  await using trees = await makeTrees(direction, texts, { c: "c" });
  const thrown = new Error("thrown");
  const fail = () => {
    throw thrown;
  };
  assertEquals(await assertRejects(() => trees.copy({ filter: { file: fail } }), Error), thrown);
  for (const [result, type] of [[undefined, "undefined"], [Promise.resolve(false), "Promise"]]) {
    const filter = { file: (() => result) as unknown as () => boolean };
    const message = `filter.file: what it returns: must be a boolean; got ${type}`;
    await assertRejects(() => trees.copy({ delete: true, filter }), TypeError, message);
  }
  assertEquals(await readTree(trees.target), { c: "c" });
  for (const type of ["plan", "copied", "progress"]) {
    // Report progress also during and after a large file.
    using _slow = speedUpClock();
    const filter = { file: ({ name }: TreeEntry) => type === "plan" || name !== "a" };
    const onEvent = (event: TreeEvent) => event.type === type ? fail() : undefined;
    assertEquals(await assertRejects(() => trees.copy({ filter, onEvent }), Error), thrown);
  }
  assertEquals((await trees.copy()).result.failed, 0);
});

const DAY = 86_400_000;

for (const ahead of [DAY, -DAY]) {
  test(`%s: settled: a file that was just modified is pending, and copied later; the peer's clock is ${ahead} ms ahead`, async (direction) => {
    const files = { "fresh": "new", "d/fresh": "2", "old": "3", "later": "4" };
    const target = { "fresh": "kept", "superfluous": "6", "d/other": "7" };
    await using trees = await makeTrees(direction, files, target, async (_, respond) => {
      const [status, reason, headers, body] = await respond();
      const { date } = headers;
      if (date === undefined) return [status, reason, headers, body];
      const dateHeader = new Date(Date.parse(`${date}`) + ahead).toUTCString();
      return [status, reason, { ...headers, date: dateHeader }, body];
    });
    const now = Date.now() + (direction === "download" ? ahead : 0);
    const setTime = (path: string, time: number) =>
      Deno.utime(`${trees.source}/${path}`, new Date(time), new Date(time));
    // The running time of this process must not affect the time of a list.
    using _clock = patch(performance, "now", (now) => () => now.call(performance) + 1e9);
    const ages = { "fresh": 0, "d/fresh": 58_000, "old": 63_000, "later": -60_000 };
    for (const [path, age] of Object.entries(ages)) await setTime(path, now - age);
    const options = { settled: 60, delete: true } as const;
    const outcomes = {
      ...{ "fresh": "pending", "d/fresh": "pending" },
      ...{ "old": "copied", "later": "copied" },
    };
    const dryRun = await trees.copy({ ...options, dryRun: true });
    assertEquals([dryRun.outcomes, dryRun.deletedPaths.toSorted()], [outcomes, [
      "d/other",
      "superfluous",
    ]]);
    const first = await trees.copy(options);
    assertEquals([first.outcomes, first.deletedPaths.toSorted()], [outcomes, [
      "d/other",
      "superfluous",
    ]]);
    const { complete, pending, skipped, deletionsSkipped } = first.result;
    assertEquals([complete, pending, skipped, deletionsSkipped], [false, 2, 0, null]);
    assertEquals(await readTree(trees.target), {
      ...omit(files, "d/fresh"),
      "fresh": "kept",
      "d": null,
    });
    for (const path of ["fresh", "d/fresh"]) await setTime(path, now - 63_000);
    const second = await trees.copy(options);
    assertEquals([second.result.files, second.result.pending], [2, 0]);
    assertEquals(await readTree(trees.target), await readTree(trees.source));
  });
}

function omit<T>(record: Readonly<Record<string, T>>, name: string): Record<string, T> {
  const { [name]: _, ...others } = record;
  return others;
}

test("%s: a copy in which one file fails and another is pending is not complete", async (direction) => {
  await using trees = await makeTrees(direction, { a: "1", b: "2" }, { "a/x": "3" });
  await Deno.utime(`${trees.source}/a`, 1, 1);
  const { complete, failed, pending } = (await trees.copy({ settled: 900 })).result;
  assertEquals([complete, failed, pending], [false, 1, 1]);
});

test("%s: a source whose files are still being written doesn't count as empty, so superfluous files are deleted", async (direction) => {
  await using trees = await makeTrees(direction, { "log": "1" }, { "log/a": "2", "old": "3" });
  const { result, deletedPaths } = await trees.copy({ settled: 900, delete: true });
  assertEquals([result.pending, result.deletionsSkipped, deletedPaths], [1, null, ["old"]]);
  // A directory of the target with the name of a source file is not superfluous.
  assertEquals(await readTree(trees.target), { "log": null, "log/a": "2" });
});

test("%s: of files with one size and different times, the contents decide, also of one byte", async (direction) => {
  const source = { one: "a", same: "a", none: "" };
  await using trees = await makeTrees(direction, source, { one: "b", same: "a", none: "" });
  for (const name of Object.keys(source)) await Deno.utime(`${trees.target}/${name}`, 1, 1);
  const { outcomes } = await trees.copy();
  assertEquals(outcomes, { one: "copied", same: "unchanged", none: "unchanged" });
  assertEquals(await readTree(trees.target), source);
});

test("%s: a large file whose digest the server refuses is copied", async (direction) => {
  const [text, other] = ["a".repeat(70_000), "b".repeat(70_000)];
  let digests = 0;
  await using trees = await makeTrees(direction, { a: text }, { a: other }, ({ headers }) => {
    if (headers["want-repr-digest"] === undefined || digests++ > 0) return null;
    return [403, "Forbidden", {}, null];
  });
  await Deno.utime(`${trees.target}/a`, 1, 1);
  assertEquals((await trees.copy()).outcomes, { a: "copied" });
  assertEquals(await readTree(trees.target), { a: text });
});

test("%s: small files are copied if the server can't compare them, and has only this problem", async (direction) => {
  let comparisons = 0;
  await using trees = await makeTrees(
    direction,
    { a: "1", b: "2" },
    { a: "1", b: "1" },
    (request) => {
      if (request.query !== "bundle=digest") return null;
      comparisons++;
      return [500, "Internal Server Error", {}, null];
    },
  );
  const { outcomes } = await trees.copy({ compare: "digest" });
  assertEquals([comparisons, outcomes], [1, { a: "copied", b: "copied" }]);
  assertEquals(await readTree(trees.target), { a: "1", b: "2" });
});

Deno.test("upload: a file that a link replaces after the list isn't compared with the file at the link", async () => {
  await using trees = await makeTrees("upload", { a: "1" }, { a: "1" });
  await using otherDir = await createTempDir();
  await fill(otherDir.path, { b: "1" });
  await makeLinks({ [`${otherDir.path}/link`]: `${otherDir.path}/b` });
  const replaceByLink = () => {
    Deno.renameSync(`${otherDir.path}/link`, `${trees.source}/a`);
    return true;
  };
  const { outcomes } = await trees.copy({ compare: "digest", filter: { file: replaceByLink } });
  assertEquals(outcomes, { a: "failed" });
});

Deno.test("download: a list may have its entries in any order, after their directories", async () => {
  const files = { "a/x": "1", "b/x": "2", "a/below/z": "3", c: "4", "b/y": "5", "a/b": "6" };
  await using trees = await makeTrees("download", files, {}, (request) => {
    if (request.query !== "tree") return null;
    const paths = ["b", "a", "a/x", "b/y", "a/below", "c", "b/x", "a/below/z", "a/b"];
    const elements = paths.map((path) => {
      const { isFile, mtime } = Deno.statSync(`${trees.source}/${path}`);
      const kind = isFile ? "file" : "directory";
      return { path: path.split("/"), kind, size: 1, modified: mtime!.toISOString() };
    });
    const text = listText([...elements, { end: true }]);
    return [200, "OK", { "content-type": "application/json" }, text];
  });
  assertEquals((await trees.copy()).result.files, 6);
  assertEquals(await readTree(trees.target), await readTree(trees.source));
  assertEquals((await trees.copy({ delete: true })).result.unchanged, 6);
});

Deno.test("upload: a file replaces one that the server can't read", async () => {
  const modified = "2026-01-02T03:04:05.678Z";
  for (const text of ["1", "1".repeat(70_000)]) {
    await using trees = await makeTrees("upload", { a: text }, { a: "old" }, ({ query }) => {
      if (query !== "tree") return null;
      const entry = { path: ["a"], kind: "other", reason: "unreadable", size: 0, modified };
      return [200, "OK", { "content-type": "application/json" }, listText([entry, { end: true }])];
    });
    assertEquals((await trees.copy()).outcomes, { a: "copied" });
    assertEquals(await readTree(trees.target), { a: text });
  }
});

Deno.test("download: other work of the program runs while the times of many files are set", async () => {
  const names = ["a", "b", "c"];
  const files = Object.fromEntries(names.map((name) => [name, name]));
  await using trees = await makeTrees("download", files);
  await trees.copy();
  for (const name of names) await Deno.utime(`${trees.source}/${name}`, 1, 1);
  let milliseconds = 0;
  using _clock = patch(performance, "now", () => () => milliseconds += 5);
  using _disk = patch(Deno, "lstat", (lstat) => async (path) => {
    await waitForTick();
    return lstat(path);
  });
  let hasRun = false;
  const states: boolean[] = [];
  const onEvent = ({ type }: TreeEvent) => {
    if (type !== "unchanged") return;
    if (states.push(hasRun) === 1) void waitForTick().then(() => hasRun = true);
  };
  await trees.copy({ connections: 1, onEvent });
  assertEquals([states.length, states.at(-1)], [3, true]);
  for (const name of names) {
    assertEquals((await Deno.stat(`${trees.target}/${name}`)).mtime, new Date(1000));
  }
});

Deno.test("download: settled needs the date of the list", async () => {
  await using trees = await makeTrees("download", { "a": "1" }, {}, async (_request, respond) => {
    const [status, reason, { date: _, ...headers }, body] = await respond();
    return [status, reason, headers, body];
  });
  assertEquals((await trees.copy({ dryRun: true })).result.files, 1);
  await assertRejects(() => trees.copy({ settled: 1 }), TransferError, "no date");
});

Deno.test("upload: parents of the target are created; an unsupported operation rejects the whole call", async () => {
  await using dir = await createTempDir();
  await using localDir = await createTempDir();
  await fill(localDir.path, { a: "a" });
  const copyTo = async (uri: string, app: FilesOptions, options: DownloadTreeOptions = {}) => {
    await using serving = serve(new FilesApp(dir.path, app));
    const { files, failed } = await uploadTree(serving.makeClient(), localDir.path, uri, options);
    return [files, failed];
  };
  assertEquals(await copyTo("/x/y/z/", { list: true, write: true }), [1, 0]);
  const treeBefore = { x: null, "x/y": null, "x/y/z": null, "x/y/z/a": "a" };
  assertEquals(await readTree(dir.path), treeBefore);
  for (const uri of ["/", "/x/", "/new/"]) {
    const error = await assertRejects(() => copyTo(uri, { list: true }), StatusError);
    assertEquals(error.status, 405);
  }
  // A server that doesn't list accepts all files, but no deletions.
  for (const uri of ["/", "/x/", "/new/"]) {
    const copying = () => copyTo(uri, { write: true }, { delete: true });
    await assertRejects(copying, StatusError, "list: true");
  }
  assertEquals(await readTree(dir.path), treeBefore);
  assertEquals(await copyTo("/new/", { write: true }), [1, 0]);
  assertEquals(await copyTo("/", { write: true }), [1, 0]);
});

test("%s: a file below the size that files/docs/trees.md names shares a request, and one of that size doesn't", async (direction) => {
  const size = 1024 *
    await readStatedNumber(
      "files/docs/trees.md",
      /Files of less than (\d+) KiB\*\* are combined/,
    );
  const texts = { a: "a".repeat(size - 1), b: "b".repeat(size - 1), c: "c".repeat(size) };
  const requests: string[] = [];
  await using trees = await makeTrees(direction, texts, {}, ({ method, path }) => {
    const name = path.at(-1) ?? "";
    if (method !== "HEAD" && (name in texts || method === "POST")) {
      requests.push(`${method} ${name}`);
    }
    return null;
  });
  const { result } = await trees.copy();
  assertEquals([result.files, await readTree(trees.target)], [3, await readTree(trees.source)]);
  assertEquals(
    requests.toSorted(),
    direction === "upload" ? ["POST ", "PUT c"] : ["GET c", "POST "],
  );
});

Deno.test("upload: files of a server that doesn't list are replaced, or compared with replace: false", async () => {
  await using dir = await createTempDir();
  const large = "x".repeat(70_000);
  await fill(dir.path, { "source/a": "1", "source/d/b": "2", "source/d/e": null });
  await fill(dir.path, { "source/large": large, served: null });
  await using serving = serve(new FilesApp(`${dir.path}/served`, { write: true }));
  const upload = (options: DownloadTreeOptions = {}) => {
    return uploadTree(serving.makeClient(), `${dir.path}/source`, "/", options);
  };
  assertEquals((await upload()).files, 3);
  await fill(dir.path, { "source/a": "3", "source/new": "4" });
  const { files, failed } = await upload();
  assertEquals([files, failed], [4, 0]);
  assertEquals(await readTree(`${dir.path}/served`), await readTree(`${dir.path}/source`));
  await fill(dir.path, { "source/a": "5", "source/newer": "6" });
  const lastResult = await upload({ replace: false, partial: true });
  assertEquals([lastResult.files, lastResult.failed, lastResult.bytes], [4, 1, 1]);
});

for (const deletes of [false, true]) {
  const name =
    `with delete: ${deletes}, a file that appears in a missing target after the list is not replaced`;
  Deno.test(`upload: ${name}`, async () => {
    const source = { small: "1", large: "1".repeat(70_000) };
    await using trees = await makeTrees("upload", source, {}, async ({ method, path }) => {
      if (method === "PUT" && path.join("/") === "tree/") {
        await fill(trees.target, { small: "2", large: "2" });
      }
      return null;
    });
    await Deno.remove(trees.target);
    const { outcomes, errors } = await trees.copy({ delete: deletes });
    assertEquals(outcomes, { small: "failed", large: "failed" });
    for (const error of Object.values(errors)) {
      assert(error instanceof TransferError);
      assertEquals(error.code, "TARGET_CHANGED");
    }
    assertEquals(await readTree(trees.target), { large: "2", small: "2" });
  });
}

// The option `filter`.

test("%s: a file that filter excludes isn't reported with the unchanged files of its directory", async (direction) => {
  await using trees = await makeTrees(direction, { "d/a": "1", "d/b": "2" });
  await trees.copy();
  const filter = { file: ({ name }: TreeEntry) => name !== "b" };
  assertEquals((await trees.copy({ filter })).outcomes, { "d/a": "unchanged" });
});

test("%s: a filter may be an object of a class, and its functions use it as `this`", async (direction) => {
  class Extension {
    extension = ".jpg";
    file({ name }: TreeEntry) {
      return name.endsWith(this.extension);
    }
  }
  await using trees = await makeTrees(direction, { "d/1.jpg": "1", "d/1.txt": "1" });
  assertEquals((await trees.copy({ filter: new Extension() })).result.files, 1);
  const filter = { file: undefined, directory: undefined };
  assertEquals((await trees.copy({ filter })).result.files, 1);
});

Deno.test("an invalid filter is refused before the first request", async (t) => {
  await using trees = await makeTrees("upload");
  const accept = () => true;
  const rows: [string, filter: unknown, message: string][] = [
    ["a function", accept, "filter: must be an object, { file, directory }; got a function"],
    ["an async function", async () => {}, "which would also be called for directories"],
    [
      "a pattern",
      /\.jpg$/,
      "filter: must be an object with the function `file` or `directory`; got RegExp",
    ],
    ["a misspelt name", { files: accept }, 'filter: unknown option "files"'],
    ["a pattern of files", { file: "*.jpg" }, "filter.file: must be a function; got string"],
  ];
  await testEachRow(t, rows, async (_name, filter, message) => {
    const options = { filter: filter as NonNullable<DownloadTreeOptions["filter"]> };
    await assertRejects(() => trees.copy(options), TypeError, message);
  });
});

Deno.test("an unreadable entry is passed to the function of its kind, or to both", async () => {
  const modified = "2026-01-02T03:04:05.678Z";
  const unreadable = { kind: "other", size: 0, modified, reason: "unreadable" };
  const entries = [
    { path: ["d"], ...unreadable, isDirectory: true },
    { path: ["f"], ...unreadable, isDirectory: false },
    { path: ["unknown"], ...unreadable },
    { path: ["odd"], ...unreadable, isDirectory: "yes" },
    { path: ["unnamed"], ...unreadable, reason: "name", isDirectory: true },
    { path: ["link"], ...unreadable, reason: "link" },
  ];
  await using trees = await makeTrees("download", {}, {}, async ({ query }, respond) => {
    if (query !== "tree") return null;
    const [status, reason, headers] = await respond();
    return [status, reason, headers, listText([...entries, { end: true }])];
  });
  const run = async (refused: readonly ("file" | "directory")[]) => {
    const calls = { file: [] as string[], directory: [] as string[] };
    const makeFilter = (name: "file" | "directory") => (entry: TreeEntry) => {
      calls[name].push(entry.name);
      return !refused.includes(name);
    };
    const filter = { file: makeFilter("file"), directory: makeFilter("directory") };
    const { outcomes } = await trees.copy({ filter });
    return { calls, reported: Object.keys(outcomes).sort() };
  };
  assertEquals(await run(["file", "directory"]), {
    calls: {
      directory: ["d", "odd", "unknown", "unnamed"],
      file: ["f", "link", "odd", "unknown", "unnamed"],
    },
    reported: [],
  });
  const { reported: reportedWithoutFiles } = await run(["file"]);
  assertEquals(reportedWithoutFiles, ["d", "odd", "unknown", "unnamed"]);
  const { reported: reportedWithoutDirectories } = await run(["directory"]);
  assertEquals(reportedWithoutDirectories, ["f", "link", "odd", "unknown", "unnamed"]);
});
