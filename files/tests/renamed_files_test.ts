/** `delete`: a file that the source has renamed is renamed at the target, or else copied. */
import { Body, type HeadersToSend } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { makeKeySession } from "@degu/testing/peer_sessions.ts";
import { FilesApp, type UploadTreeOptions } from "@degu/files";
import { BUNDLE_TYPE } from "@degu/internal/files/wire/bundle.ts";
import { readPutStatuses, sha256Of } from "@degu/testing/bundles.ts";
import { listNames, readMode } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { type ChangeResponse, randomBytes } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { serveWritableDirectory } from "@degu/testing/written_directory.ts";
import { assert, assertEquals } from "@std/assert";
import { existsSync } from "node:fs";

/** Registers a test in both directions; Deno reports it at the line of the call. */
const test = Deno.test.each(DIRECTIONS);

const OLD = new Date("2026-01-02T03:04:05.678Z");
const NEW = new Date("2026-02-03T04:05:06.789Z");
const SIZE = 70_000;
const [A, B] = [randomBytes(SIZE), randomBytes(SIZE)];
const SMALL = new TextEncoder().encode("small");

/** The contents of files, with their times; by default {@linkcode OLD}. */
type Content = Readonly<Record<string, Uint8Array | readonly [Uint8Array, Date]>>;

async function writeFiles(dir: string, content: Content): Promise<void> {
  for (const [path, value] of Object.entries(content)) {
    const [bytes, modified] = value instanceof Uint8Array ? [value, OLD] : value;
    await Deno.mkdir(`${dir}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeFile(`${dir}/${path}`, bytes);
    await Deno.utime(`${dir}/${path}`, modified, modified);
  }
}

/** Returns the digest and the inode of each file of a directory, by path. */
function readTree(dir: string, below = ""): Record<string, [sha256: string, inode: number | null]> {
  const files: Record<string, [string, number | null]> = {};
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(`${dir}/${below}`)) {
    const path = `${below}${name}`;
    if (isSymlink) continue;
    if (isDirectory) Object.assign(files, readTree(dir, `${path}/`));
    else files[path] = [sha256Of(Deno.readFileSync(`${dir}/${path}`)), inodeOf(`${dir}/${path}`)];
  }
  return files;
}

const inodeOf = (path: string) => Deno.lstatSync(path).ino;

async function makeRenamed(
  direction: "download" | "upload",
  source: Content,
  target: Content,
  change?: ChangeResponse,
) {
  const trees = await makeTrees(direction, {}, {}, change, { reuse: true });
  await writeFiles(trees.source, source);
  await writeFiles(trees.target, target);
  return trees;
}

interface Row {
  readonly name: string;
  readonly source: Content;
  readonly target: Content;
  readonly options?: UploadTreeOptions;
  /** The new path of each file that is renamed and not copied. */
  readonly renamed: Readonly<Record<string, string>>;
  /** The paths that stay although the source does not have them. */
  readonly kept?: readonly string[];
  readonly failed?: number;
}

const ROWS: readonly Row[] = [
  { name: "a file", source: { new: A }, target: { old: A }, renamed: { new: "old" } },
  {
    name: "a directory, with its small files",
    source: { "new/sub/a": A, "new/sub/b": B, "new/small": SMALL },
    target: { "old/sub/a": A, "old/sub/b": B, "old/small": SMALL },
    renamed: { "new/sub/a": "old/sub/a", "new/sub/b": "old/sub/b" },
  },
  {
    name: "out of a directory whose other files are unchanged",
    source: { "from/same": SMALL, new: A },
    target: { "from/same": SMALL, "from/old": A },
    renamed: { new: "from/old" },
  },
  {
    name: "two files of one size and time whose names changed places",
    source: { "new/a": B, "new/b": A },
    target: { "old/a": A, "old/b": B },
    renamed: { "new/a": "old/b", "new/b": "old/a" },
  },
  {
    name: "two of three wrongly guessed files; the third is copied",
    source: { "new/a": B, "new/b": A, "new/c": [A, NEW] },
    target: { "old/a": A, "old/b": B, "old/c": [B, NEW] },
    renamed: { "new/a": "old/b", "new/b": "old/a" },
  },
  {
    name: "one of two copies; the other is copied before",
    source: { b: A, c: A },
    target: { a: A },
    renamed: { b: "a" },
  },
  {
    name: "the files of a chain are copied",
    source: { b: [A, NEW], c: B },
    target: { a: [A, NEW], b: B },
    renamed: {},
  },
  {
    name: "other bytes of the same size and time",
    source: { new: B },
    target: { old: A },
    renamed: {},
  },
  {
    name: "a file that stays is not renamed",
    source: { new: A, old: A },
    target: { old: A },
    renamed: {},
  },
  {
    name: "an excluded file is not renamed",
    source: { new: A },
    target: { old: A },
    options: { filter: { file: ({ name }) => name !== "old" } },
    renamed: {},
    kept: ["old"],
  },
  {
    name: "above maxDelete the file is copied",
    source: { new: A },
    target: { old: A, other: SMALL },
    options: { maxDelete: 1 },
    renamed: {},
    kept: ["old", "other"],
    failed: 1,
  },
];

for (const { name, source, target, options = {}, renamed, kept = [], failed = 0 } of ROWS) {
  test(`%s: renaming at the target: ${name}`, async (direction) => {
    await using trees = await makeRenamed(direction, source, target);
    const before = readTree(trees.target);
    const copy = () => trees.copy({ delete: true, connections: 2, ...options });
    const { result, outcomes, deletedPaths } = await copy();
    const after = readTree(trees.target);
    const expected = Object.keys(source);
    assertEquals(Object.keys(after).sort(), [...expected, ...kept].sort());
    for (const path of expected) {
      assertEquals(after[path]![0], readTree(trees.source)[path]![0], path);
      const modified = Deno.lstatSync(`${trees.source}/${path}`).mtime;
      assertEquals(Deno.lstatSync(`${trees.target}/${path}`).mtime, modified, path);
    }
    const oldInodes = new Map(Object.entries(before).map(([path, [, inode]]) => [inode, path]));
    const kinds = Object.entries(after).flatMap(([path, [, inode]]) => {
      const oldPath = oldInodes.get(inode);
      return oldPath === undefined || oldPath === path ? [] : [[path, oldPath] as const];
    });
    // One of several equal files is renamed.
    if (name.startsWith("one of two")) assertEquals(kinds.map(([, oldPath]) => oldPath), ["a"]);
    else assertEquals(Object.fromEntries(kinds), renamed);
    for (const [path, oldPath] of kinds) {
      assertEquals(outcomes[path], "copied");
      assert(deletedPaths.includes(oldPath), `${oldPath} is reported as deleted`);
    }
    assertEquals(result.failed, failed);
    const again = await copy();
    assertEquals([again.result.files, again.result.deleted], [0, 0]);
    assertEquals(readTree(trees.target), after);
  });
}

test("%s: a renamed file gets the permission bits of the source", async (direction) => {
  if (Deno.build.os === "windows") return;
  await using trees = await makeRenamed(direction, { new: A }, { old: A });
  await Deno.chmod(`${trees.source}/new`, 0o600);
  await Deno.chmod(`${trees.target}/old`, 0o644);
  const inode = inodeOf(`${trees.target}/old`);
  const { result, events } = await trees.copy({ delete: true });
  assertEquals([inodeOf(`${trees.target}/new`), await readMode(`${trees.target}/new`)], [
    inode,
    0o600,
  ]);
  assertEquals([result.files, result.bytes, result.reused, result.deleted], [1, 0, SIZE, 1]);
  const copied = events.find((event) => event.type === "copied");
  assertEquals(copied, {
    type: "copied",
    path: ["new"],
    bytes: 0,
    total: SIZE,
    resumedFrom: 0,
    reused: SIZE,
    sha256: sha256Of(A),
  });
});

test("%s: no file is renamed if the copy of another file has failed", async (direction) => {
  const source = { new: A, way: SMALL };
  await using trees = await makeRenamed(direction, source, { old: A, "way/in": SMALL });
  const options: UploadTreeOptions = {
    delete: true,
    filter: { directory: ({ name }) => name !== "way" },
  };
  const { result } = await trees.copy(options);
  assertEquals([result.failed, result.deletionsSkipped], [1, "failed"]);
  assertEquals(Object.keys(readTree(trees.target)).sort(), ["new", "old", "way/in"]);
});

test("%s: a file that changes before it is renamed is copied, and kept", async (direction) => {
  await using trees = await makeRenamed(direction, { new: A, other: SMALL }, { old: A });
  let hasChanged = false;
  const { result } = await trees.copy({
    delete: true,
    onEvent: ({ type }) => {
      if (type !== "plan" || hasChanged) return;
      hasChanged = true;
      Deno.writeFileSync(`${trees.target}/old`, SMALL, { append: true });
    },
  });
  const files = readTree(trees.target);
  assertEquals([files["new"]![0], result.failed], [sha256Of(A), 1]);
  assertEquals(Deno.lstatSync(`${trees.target}/old`).size, SIZE + SMALL.length);
});

test("%s: a name that appears before the rename is not replaced", async (direction) => {
  await using trees = await makeRenamed(direction, { new: A }, { old: A });
  let hasChanged = false;
  const { result, outcomes } = await trees.copy({
    delete: true,
    onEvent: ({ type }) => {
      if (type !== "plan" || hasChanged) return;
      hasChanged = true;
      Deno.writeFileSync(`${trees.target}/new`, B);
    },
  });
  assertEquals([outcomes["new"], result.deletionsSkipped], ["failed", "failed"]);
  const files = readTree(trees.target);
  assertEquals([files["new"]![0], files["old"]![0]], [sha256Of(B), sha256Of(A)]);
});

const isRename: (request: { readonly query?: string | null }) => boolean = ({ query }) =>
  query === "bundle=put";

for (const status of [403, 503] as const) {
  for (const isRenamed of [false, true]) {
    const text = isRenamed ? "after the rename" : "in place of the rename";
    Deno.test(`upload: a file is at its new name if the server responds with ${status} ${text}`, async () => {
      await using trees = await makeRenamed(
        "upload",
        { new: A },
        { old: A },
        async (request, callApp) => {
          if (!isRename(request)) return null;
          if (isRenamed) await callApp();
          return [status, "Refused", {}, null];
        },
      );
      const { result } = await trees.copy({ delete: true });
      const files = readTree(trees.target);
      assertEquals([Object.keys(files), files["new"]![0]], [["new"], sha256Of(A)]);
      assertEquals(result.failed, 0);
    });
  }
}

Deno.test("upload: a lost response to a rename is requested again", async () => {
  let count = 0;
  await using trees = await makeRenamed(
    "upload",
    { new: A },
    { old: A },
    async (request, callApp, session) => {
      if (!isRename(request) || ++count > 1) return null;
      await callApp();
      session.close();
      return null;
    },
  );
  const inode = inodeOf(`${trees.target}/old`);
  const { result, outcomes, deletedPaths } = await trees.copy({ delete: true });
  assertEquals([inodeOf(`${trees.target}/new`), outcomes, deletedPaths], [
    inode,
    { new: "copied" },
    ["old"],
  ]);
  assertEquals([result.reused, count], [SIZE, 2]);
});

// The request.

/** A record that renames `file`, whose content is `public`. */
async function makeRenameRecord(root: string, fields: Record<string, unknown> = {}) {
  const { size, mtime } = await Deno.stat(`${root}/file`);
  const sha256 = sha256Of(new TextEncoder().encode("public"));
  return { path: ["new"], from: ["file"], sha256, seen: [size, mtime!.getTime()], ...fields };
}

const HEADERS: HeadersToSend = { "content-type": BUNDLE_TYPE };
const encodeBundle = (record: unknown) =>
  new TextEncoder().encode(`${JSON.stringify(record)}\n{"end":true}\n`);

const BAD_RECORDS: readonly [name: string, fields: Record<string, unknown>, status: number][] = [
  ["another digest", { sha256: "0".repeat(64) }, 412],
  ["another size", { seen: [7, 0] }, 412],
  ["a missing file", { from: ["none"] }, 412],
  ["a name that exists", { path: ["sub", "file"] }, 412],
  ["the name of a directory", { path: ["sub"] }, 409],
  ["a name below a file", { path: ["file", "new"] }, 409],
  ["a reserved name", { path: [".degu-files"] }, 403],
  ["the name of a part", { path: [".x.degu-part"] }, 403],
  ["a name of dots", { path: [".."] }, 404],
  ["a file outside", { from: ["..", "secret"] }, 404],
];

for (const [name, fields, status] of BAD_RECORDS) {
  Deno.test(`a request renames a file only to a free name: ${name}`, async () => {
    await using files = await serveWritableDirectory();
    const before = readTree(files.root);
    const record = await makeRenameRecord(files.root, fields);
    const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
    assertEquals(await readPutStatuses(response), [status]);
    assertEquals(readTree(files.root), before);
    assertEquals(files.warnings, []);
  });
}

Deno.test("synced before the response: both directories of a renamed file", async () => {
  await using files = await serveWritableDirectory();
  const record = await makeRenameRecord(files.root, { path: ["sub", "new"] });
  const syncedPaths = await recordSyncedPaths(files.root, async () => {
    const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
    assertEquals(await readPutStatuses(response), [201]);
  });
  assertSynced(files.root, syncedPaths, [".", "./sub"]);
});

Deno.test("a file that changes is not taken for renamed if another client has created the new name", async () => {
  await using files = await serveWritableDirectory();
  const record = await makeRenameRecord(files.root);
  await Deno.copyFile(`${files.root}/file`, `${files.root}/new`);
  const modified = new Date(record.seen[1]!);
  await Deno.utime(`${files.root}/new`, modified, modified);
  await Deno.writeTextFile(`${files.root}/file`, "edited");
  const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
  assertEquals(await readPutStatuses(response), [412]);
});

/** Calls a function before the next change of a name. */
function beforeNextChange(change: () => void): Disposable {
  let isDone = false;
  const changeOnce = () => {
    if (isDone) return;
    isDone = true;
    change();
  };
  const patches = new DisposableStack();
  patches.use(patch(Deno, "linkSync", (linkSync) => (from, to) => {
    changeOnce();
    linkSync(from, to);
  }));
  patches.use(patch(Deno, "renameSync", (renameSync) => (from, to) => {
    changeOnce();
    renameSync(from, to);
  }));
  return patches;
}

Deno.test("a rename replaces no file that another process has just created, and removes none", async () => {
  await using files = await serveWritableDirectory();
  const { root } = files;
  const rename = async (change: () => void) => {
    using _ = beforeNextChange(change);
    const record = await makeRenameRecord(root);
    const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
    const contents = ["file", "new"].map((name) => {
      return existsSync(`${root}/${name}`) ? Deno.readTextFileSync(`${root}/${name}`) : null;
    });
    return [await readPutStatuses(response), ...contents];
  };
  const createNew = () => Deno.writeTextFileSync(`${root}/new`, "other");
  assertEquals(await rename(createNew), [[412], "public", "other"]);
  await Deno.remove(`${root}/new`);
  const replaceOld = () => {
    Deno.writeTextFileSync(`${root}/other`, "edited");
    Deno.renameSync(`${root}/other`, `${root}/file`);
  };
  assertEquals(await rename(replaceOld), [[409], "edited", null]);
});

const BAD_BUNDLES: readonly [name: string, fields: Record<string, unknown>][] = [
  ["no version", { seen: undefined }],
  ["no digest", { sha256: undefined }],
  ["content", { size: 6 }],
  ["a path that is a text", { from: "file" }],
];

for (const [name, fields] of BAD_BUNDLES) {
  Deno.test(`a request to rename a file is refused: ${name}`, async () => {
    await using files = await serveWritableDirectory();
    const before = readTree(files.root);
    const record = await makeRenameRecord(files.root, fields);
    const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
    assertEquals(await readPutStatuses(response), 400);
    assertEquals(readTree(files.root), before);
  });
}

for (const write of [true, "add", false] as const) {
  Deno.test(`a request renames a file of an app with write: ${write}`, async () => {
    await using files = await serveWritableDirectory({ write });
    const record = await makeRenameRecord(files.root);
    const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
    const statuses = await readPutStatuses(response);
    assertEquals(statuses, write === true ? [201] : write === "add" ? [403] : 405);
    assertEquals((await listNames(files.root)).includes("new"), write === true);
    assertEquals((await listNames(files.root)).includes("file"), write !== true);
  });
}

Deno.test({
  name: "a request renames no link, and nothing through a link",
  ignore: !HAS_LINKS,
  fn: async () => {
    await using files = await serveWritableDirectory();
    const links = { link: "file", "to-sub": "sub" };
    await makeLinks(
      Object.fromEntries(Object.entries(links).map(([name, to]) => [`${files.root}/${name}`, to])),
    );
    const before = readTree(files.root);
    for (
      const fields of [
        { from: ["link"] },
        { from: ["to-sub", "file"] },
        { path: ["link"] },
        { path: ["to-sub", "new"] },
      ]
    ) {
      const record = await makeRenameRecord(files.root, fields);
      const response = await files.request("POST", "/?bundle=put", HEADERS, encodeBundle(record));
      const [status] = await readPutStatuses(response) as number[];
      assert(status === 403 || status === 412, `${JSON.stringify(fields)}: ${status}`);
      assertEquals(readTree(files.root), before);
    }
  },
});

Deno.test("a peer that is no longer trusted can't rename a file, or change its permission bits", async () => {
  await using files = await serveWritableDirectory();
  const app = new FilesApp(files.root, { write: true });
  const session = makeKeySession("1", "A", () => Promise.resolve(false));
  const bundle = encodeBundle(await makeRenameRecord(files.root));
  const body = new Body(ReadableStream.from([bundle]), bundle.length);
  const rename = mkreq("POST", "/?bundle=put", HEADERS, body);
  const modeHeaders = { "file-mode": "0700", "upload-offset": "6", "upload-length": "6" };
  const before = readTree(files.root);
  const mode = await readMode(`${files.root}/file`);
  const response = await callApp(app, rename, { session });
  assertEquals(await readPutStatuses(response), [403]);
  const setMode = mkreq("PUT", "/file", modeHeaders, null);
  assertEquals((await callApp(app, setMode, { session })).status, 403);
  assertEquals([readTree(files.root), await readMode(`${files.root}/file`)], [before, mode]);
});
