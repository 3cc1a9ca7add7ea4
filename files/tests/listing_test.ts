/**
 * Lists of directories and trees: the responses of a server, how a client parses them, and invalid
 * lists.
 */
import type { App } from "@degu/degu";
import { BodyError, ChunkedBodyIter, type Response } from "@degu/degu/base";
import {
  type DirectoryEntry,
  download,
  type FileLogDetails,
  FilesApp,
  fileUri,
  listDirectory,
  listTree,
  StatusError,
  type TreeEntry,
} from "@degu/degu/files";
import { isTransient } from "@degu/degu/client";
import { mkreq } from "@degu/degu/misc";
import type { Session } from "@degu/degu/server";
import { TimeSlice } from "@degu/internal/files/disk/files.ts";
import { EntryParser, formatEntry, ListError } from "@degu/internal/files/wire/entries.ts";
import { isFileName } from "@degu/internal/files/wire/file_name.ts";
import { makeListRoot, readTree } from "@degu/internal/files/listing.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { Root } from "@degu/internal/files/root.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serveDirectory, summarize } from "./served_directory.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks, makeNonUtf8Name } from "@degu/testing/special_files.ts";
import { assertTransferError } from "@degu/testing/transferring.ts";
import { makeChunkedBody } from "./written_directory.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { dirname, join, realPath } from "@degu/internal/internal/paths.ts";
import fc from "fast-check";
import { entry, listText, NAMES } from "./directory_entries.ts";

/** Creates many empty files, as links to one file because that is much faster. */
function makeEmptyFiles(dir: string, names: readonly string[]): void {
  const [firstPath = "", ...otherPaths] = names.map((name) => join(dir, name));
  Deno.createSync(firstPath).close();
  for (const path of otherPaths) Deno.linkSync(firstPath, path);
}

// Listings of directories.

const listing = (dir: string) => new FilesApp(dir, { list: true });

interface Entry {
  readonly name: string;
  readonly kind: string;
  readonly size: number;
  readonly modified: string;
  readonly reason?: string;
}

type ListedEntry = Omit<TreeEntry, "name" | "modified"> & { readonly modified: string };

const JSON_ACCEPTED = { accept: "application/json" };

/** The entries of a response, by name. */
async function entriesOf(response: Response): Promise<Entry[]> {
  assertEquals([response.status, response.headers["content-type"]], [200, "application/json"]);
  const entries = JSON.parse(new TextDecoder().decode(await response.body!.bytes())) as Entry[];
  return entries.toSorted((a, b) => a.name < b.name ? -1 : 1);
}

Deno.test("a listing has the name, kind, size and time of each entry", async () => {
  await using files = await serveDirectory(listing);
  assertEquals(await entriesOf(await files.conn.get("/", JSON_ACCEPTED)), []);
  await files.write("a.txt", "12345");
  await files.write("index.html", "<p>");
  await files.mkdir("sub");
  const time = new Date("2020-02-29T12:34:56.789Z");
  for (const name of ["a.txt", "index.html", "sub"]) {
    await Deno.utime(`${files.path}/${name}`, time, time);
  }
  const modified = time.toISOString();
  assertEquals(await entriesOf(await files.conn.get("/?query", JSON_ACCEPTED)), [
    { name: "a.txt", kind: "file", size: 5, modified },
    { name: "index.html", kind: "file", size: 3, modified },
    { name: "sub", kind: "directory", size: 0, modified },
  ]);
  assertEquals(await entriesOf(await files.conn.get("/sub/", JSON_ACCEPTED)), []);
  assertEquals((await Array.fromAsync(listDirectory(files.conn, "/?query"))).length, 3);
  const head = await files.conn.head("/", JSON_ACCEPTED);
  assertEquals([...head], [200, "OK", head.headers, null]);
  assertEquals(head.headers["content-type"], "application/json");
});

Deno.test("the date of a list is the time of the server's clock", async () => {
  await using files = await serveDirectory(listing);
  for (const query of ["", "?tree"]) {
    const earliest = Math.floor(Date.now() / 1000) * 1000;
    const { headers } = await files.conn.head(`/${query}`);
    const date = Date.parse(`${headers["date"]}`);
    assert(date >= earliest && date <= Date.now(), `${headers["date"]}`);
  }
});

Deno.test("a name that is not UTF-8 is listed as such, next to a valid name that Deno shows in the same way", async () => {
  await using files = await serveDirectory(listing);
  if (!await makeNonUtf8Name(files.path)) return console.log("python3 is missing: not tested");
  const listNamesAndKinds = async () => {
    const entries = await entriesOf(await files.conn.get("/", JSON_ACCEPTED));
    return entries.map(({ kind, name, size, reason }) => [kind, name, size, reason]);
  };
  const unnamedEntry = ["other", "\ufffd", 0, "name"];
  assertEquals(await listNamesAndKinds(), [unnamedEntry]);
  await files.write("\ufffd", "123");
  assertEquals((await listNamesAndKinds()).toSorted(), [
    ["file", "\ufffd", 3, undefined],
    unnamedEntry,
  ]);
});

Deno.test("10,000 entries are listed in chunks, even if some vanish meanwhile", async () => {
  await using files = await serveDirectory(listing);
  const count = 10_000;
  const names = Array.from({ length: count }, (_, i) => `${"n".repeat(100)}-${i}`);
  makeEmptyFiles(files.path, names);
  const { body } = await files.conn.get("/", JSON_ACCEPTED);
  assert(body?.chunked);
  let text = "";
  let largest = 0;
  let removed = false;
  for await (const [, data] of body) {
    largest = Math.max(largest, data.length);
    text += new TextDecoder().decode(data);
    if (removed) continue;
    removed = true;
    for (let i = 0; i < count; i += 2) Deno.removeSync(`${files.path}/${"n".repeat(100)}-${i}`);
  }
  const entries = JSON.parse(text) as Entry[];
  assert(entries.length >= count / 2 && entries.length <= count, `${entries.length}`);
  assertEquals(new Set(entries.map(({ name }) => name)).size, entries.length);
  assert(largest < 65536, `a chunk of ${largest} bytes`);
  for (const { name } of entries) assert(isFileName(name), name);
});

/** Formats the entries of a tree, by path. */
function linesOf(entries: readonly Omit<TreeEntry, "name" | "modified">[]) {
  const lines = entries.map(({ path, kind, size, reason }) => [path.join("/"), kind, size, reason]);
  return lines.toSorted(([a], [b]) => `${a}` < `${b}` ? -1 : 1);
}

/** Returns the entries of a tree in the order of the response, which has one entry in each line. */
async function treeOf(response: Response): Promise<ListedEntry[]> {
  assertEquals([response.status, response.headers["content-type"]], [200, "application/json"]);
  const text = new TextDecoder().decode(await response.body!.bytes());
  const elements = JSON.parse(text) as ListedEntry[];
  assertEquals(text, `[\n${elements.map((element) => JSON.stringify(element)).join(",\n")}\n]\n`);
  assertEquals(elements.pop(), { end: true } as never);
  return elements;
}

Deno.test("the work of listing nested directories is proportional to their depth", async () => {
  const calls: number[] = [];
  for (const depth of [60, 240]) {
    await using files = await serveDirectory(listing);
    await files.mkdir(new Array(depth).fill("d").join("/"));
    let count = 0;
    using _lstat = patch(Deno, "lstatSync", (look) => (path) => (count++, look(path)));
    using _realPath = patch(Deno, "realPathSync", (look) => (path) => (count++, look(path)));
    assertEquals((await treeOf(await files.conn.get("/?tree"))).length, depth);
    calls.push(count);
  }
  const [shallowCalls, deepCalls] = calls as [number, number];
  // Four times the depth takes four times the work, with some calls to lstat() at random moments,
  // and not sixteen times.
  assert(deepCalls < 6 * shallowCalls, `${calls}`);
});

Deno.test("the list of a tree is complete, has directories before their entries, and ends with the last element", async () => {
  await using files = await serveDirectory(listing);
  assertEquals(await treeOf(await files.conn.get("/?tree")), []);
  for (const dir of ["a/b c/d", "a/é", "empty", `a/${RESERVED_DIRECTORY_NAME}`]) {
    await files.mkdir(dir);
  }
  for (const file of ["top", "a/one", "a/b c/two", "a/b c/d/three"]) await files.write(file, file);
  await files.write(`a/${RESERVED_DIRECTORY_NAME}/part`, "");
  await files.write("a/.x.degu-part", "");
  await makeLinks({
    [`${files.path}/a/up`]: "..",
    [`${files.path}/a/b c/one`]: "../one",
    [`${files.path}/a/none`]: "nothing",
  });
  const tree = await treeOf(await files.conn.get("/?tree"));
  const seenPaths = new Set([""]);
  for (const { path, kind } of tree) {
    assert(seenPaths.has(path.slice(0, -1).join("/")), `${path} before its parent`);
    if (kind === "directory") seenPaths.add(path.join("/"));
  }
  const expected = [
    ["a", "directory", 0, undefined],
    ["a/b c", "directory", 0, undefined],
    ["a/b c/d", "directory", 0, undefined],
    ["a/b c/d/three", "file", 13, undefined],
    ["a/b c/one", "other", 0, "link"],
    ["a/b c/two", "file", 9, undefined],
    ["a/none", "other", 0, "link"],
    ["a/one", "file", 5, undefined],
    ["a/up", "other", 0, "link"],
    ["a/é", "directory", 0, undefined],
    ["empty", "directory", 0, undefined],
    ["top", "file", 3, undefined],
  ];
  assertEquals(linesOf(tree), expected);
  const { mtime } = await Deno.stat(`${files.path}/a/one`);
  assertEquals(tree.find(({ path }) => path.at(-1) === "one")?.modified, mtime?.toISOString());
  const below = await Array.fromAsync(listTree(files.conn, fileUri("a", "b c", "")));
  assertEquals(below.map(({ path }) => path.join("/")).sort(), ["d", "d/three", "one", "two"]);
  assertEquals(linesOf(await Array.fromAsync(listTree(files.conn, "/"))), expected);
  assertEquals((await files.conn.head("/?tree")).status, 200);
  for (const dir of ["/none/", "/top/", "/a/up/x/", `/a/${RESERVED_DIRECTORY_NAME}/`]) {
    for (const uri of [dir, `${dir}?tree`]) {
      assertEquals((await files.conn.get(uri)).status, 404, uri);
    }
  }
  assertEquals(await summarize(await files.conn.get("/a"), "location"), [301, "/a/", null]);
  await using plainFiles = await serveDirectory();
  assertEquals((await plainFiles.conn.get("/?tree")).status, 404);
});

// Lists of trees during a change: removed entries are omitted, but a replaced directory makes the
// list fail.

/** Lists a tree, and calls a function during the listing; resolves to the paths. */
async function listPathsDuring(
  path: string,
  isLocal: boolean,
  meanwhile: () => unknown,
): Promise<string[]> {
  const paths: string[] = [];
  const root = new Root(isLocal ? path : dirname(path));
  const listRoot = makeListRoot(path, Deno.lstatSync(path));
  const options = { root, timeSlice: new TimeSlice(), isLocal };
  for await (const { names, entries } of readTree(options, listRoot)) {
    for (const { name, reason } of entries) {
      assertEquals(reason, undefined);
      paths.push([...names, name].join("/"));
    }
    if (entries.some(({ name }) => name === "top")) await meanwhile();
  }
  return paths;
}

const DIRECTORIES = ["a", "b", "c"];

const rows: readonly [label: string, isRefused: boolean, change: (root: string) => unknown][] = [
  ["the root is replaced", true, (root) => {
    Deno.renameSync(root, `${root}.away`);
    Deno.mkdirSync(root);
  }],
  ["the parent of the directories is created again", true, (root) => {
    Deno.renameSync(`${root}/top`, `${root}.away`);
    Deno.mkdirSync(`${root}/top`);
  }],
  ["the parent of the directories is replaced by a file", true, (root) => {
    Deno.renameSync(`${root}/top`, `${root}.away`);
    Deno.writeTextFileSync(`${root}/top`, "");
  }],
  ["the parent of the directories is replaced by a link", true, async (root) => {
    Deno.renameSync(`${root}/top`, `${root}.away`);
    for (const name of DIRECTORIES) Deno.mkdirSync(`${root}.other/${name}`, { recursive: true });
    await makeLinks({ [`${root}/top`]: `${root}.other` });
  }],
  ["the parent of the directories is removed", false, (root) => {
    Deno.renameSync(`${root}/top`, `${root}.away`);
  }],
  ["the directories are removed", false, (root) => {
    for (const name of DIRECTORIES) Deno.renameSync(`${root}/top/${name}`, `${root}.${name}`);
  }],
];

for (const isLocal of [false, true]) {
  for (const [label, isRefused, change] of rows) {
    const name = `of ${isLocal ? "this device" : "a server"}`;
    Deno.test(`a list ${name} while ${label} is ${isRefused ? "refused" : "complete"}`, async () => {
      await using dir = await createTempDir();
      const root = `${dir.path}/root`;
      for (const name of DIRECTORIES) {
        await Deno.mkdir(`${root}/top/${name}`, { recursive: true });
        makeEmptyFiles(`${root}/top/${name}`, Array.from({ length: 200 }, (_, i) => `${i}`));
      }
      let isChanged = false;
      const listingPaths = listPathsDuring(await realPath(root), isLocal, () => {
        isChanged = true;
        return change(root);
      });
      if (isRefused) await assertRejects(() => listingPaths, Error, "while it was listed");
      else assert((await listingPaths).length < 604);
      assertEquals(isChanged, true);
    });
  }
}

/** Errors of a single entry, as Deno reports them: many have no code. */
const DAMAGES: readonly [code: string | undefined, message: string][] = [
  ...["EIO", "EACCES"].map((code): [string, string] => [code, code]),
  // EUCLEAN and ESTALE.
  ...[117, 116].map((number): [undefined, string] => {
    return [undefined, `Some error (os error ${number}): lstat 'a'`];
  }),
];

/** Lists the entries of a directory. */
async function listAll(path: string): Promise<DirectoryEntry[]> {
  const options = { root: new Root(path), path, timeSlice: new TimeSlice() };
  return (await Array.fromAsync(readTree(options), ({ entries }) => entries)).flat();
}

Deno.test("an entry whose lstat fails is listed as unreadable; without file descriptors the list is cut", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "");
  const listReasons = async (code: string | undefined, message: string) => {
    using _damaged = patch(Deno, "lstatSync", (lstatSync) => (path) => {
      if (path === `${dir.path}/a`) throw Object.assign(new Error(message), { code });
      return lstatSync(path);
    });
    return (await listAll(dir.path)).map(({ reason }) => reason);
  };
  for (const [code, message] of DAMAGES) {
    assertEquals(await listReasons(code, message), ["unreadable"], message);
  }
  assertEquals(await listReasons("ENAMETOOLONG", ""), ["name"]);
  // The disk still lists the entry, so it was not removed.
  assertEquals(await listReasons("ENOENT", ""), ["unreadable"]);
  for (const [code, message] of [["EMFILE", "full"], [undefined, "(os error 23)"]] as const) {
    await assertRejects(() => listReasons(code, message), Error, message);
  }
});

/** Makes an error of a lookup; a directory that is replaced makes the list itself fail. */
const LIST_FAILURES: readonly [
  uri: string,
  label: string,
  fail: (dir: string) => void,
  isEnded: boolean,
  logged: number | undefined,
][] = [
  ["/?tree", "too many files are open", failWith("EMFILE"), false, 503],
  ["/?tree", "the session has ended", failWith("EMFILE"), true, undefined],
  ["/?tree", "a bug", failWith(undefined), false, undefined],
  ["/?tree", "a directory is replaced", replace, false, 409],
  ["/d/", "a directory is replaced before the response", replace, false, 409],
];

function failWith(code: string | undefined) {
  return () => {
    throw Object.assign(new TypeError("failed"), code && { code });
  };
}

function replace(dir: string): void {
  Deno.renameSync(`${dir}/d`, `${dir}/away`);
  Deno.mkdirSync(`${dir}/d`);
}

Deno.test("a list is cut by an error, which is logged as a refusal, except a bug, and except after the session", async () => {
  for (const [uri, label, fail, isEnded, logged] of LIST_FAILURES) {
    await using dir = await createTempDir();
    await Deno.mkdir(`${dir.path}/d`);
    await Deno.writeTextFile(`${dir.path}/d/x`, "");
    const root = await realPath(dir.path);
    const statuses: unknown[] = [];
    const record = (_level: string, _line: string, { refusal }: FileLogDetails) =>
      void statuses.push(refusal?.status);
    const app = new FilesApp(root, { list: true, logger: { warn: () => {}, record } });
    const controller = new AbortController();
    const session = { user: null, signal: controller.signal } as unknown as Session;
    using _lstat = patch(Deno, "lstatSync", (lstatSync) => (path) => {
      if (path === `${root}/d/x`) fail(root);
      return lstatSync(path);
    });
    const [status, , , body] = await app.handle(mkreq("GET", uri, JSON_ACCEPTED), session);
    if (isEnded) controller.abort();
    const error = await assertRejects(() =>
      (body as ChunkedBodyIter).writeTo(new WritableStream())
    );
    const isListError = fail === replace
      ? error instanceof BodyError
      : `${error}`.includes("failed");
    assertEquals([status, isListError, statuses], [200, true, logged ? [logged] : []], label);
  }
});

Deno.test("a name without an entry is looked up in the directory again: omitted if it is gone, or else listed", async () => {
  const rows: [label: string, change: (path: string) => void, found: string[]][] = [
    ["removed", Deno.removeSync, ["b"]],
    ["found by a later lstat", () => {}, ["a", "b"]],
  ];
  for (const [label, change, expected] of rows) {
    await using dir = await createTempDir();
    for (const name of ["a", "b"]) await Deno.writeTextFile(`${dir.path}/${name}`, "");
    let hasThrown = false;
    using _missing = patch(Deno, "lstatSync", (lstatSync) => (path) => {
      if (path !== `${dir.path}/a` || hasThrown) return lstatSync(path);
      hasThrown = true;
      change(path);
      throw Object.assign(new Error("none"), { code: "ENOENT" });
    });
    const entries = await listAll(dir.path);
    assertEquals(entries.map(({ name }) => name).toSorted(), expected, label);
  }
});

Deno.test("a name that the disk lists twice is one entry; two names that only look the same are two", async () => {
  await using dir = await createTempDir();
  for (const name of ["a", "\ufffd"]) await Deno.writeTextFile(`${dir.path}/${name}`, "");
  using _twice = patch(Deno, "readDir", (readDir) =>
    async function* (path) {
      for await (const entry of readDir(path)) yield* [entry, entry];
    });
  const entries = await listAll(dir.path);
  const descriptions = entries.map(({ name, reason = "" }) => `${name} ${reason}`);
  assertEquals(descriptions.toSorted(), ["a ", "\ufffd ", "\ufffd name"]);
});

// listDirectory and listTree: entries before the end of the list, and invalid responses.

/** An app that responds with this text, in chunks of `length` bytes. */
function answering(text: string, length = 7): App {
  const bytes = new TextEncoder().encode(text);
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.length; offset += length) {
    pieces.push(bytes.subarray(offset, offset + length));
  }
  return () => [200, "OK", { "content-type": "application/json" }, makeChunkedBody(...pieces)];
}

Deno.test("the error for a response that is not a list says what the server needs", async () => {
  await using files = await serveDirectory();
  await files.mkdir("d");
  await files.write("d/index.html", "[]");
  for (const list of [listDirectory, listTree]) {
    const listAll = (uri: string) => Array.fromAsync<unknown>(list(files.conn, uri));
    const error = await assertRejects(() => listAll("/e/"), StatusError, "with list: true");
    assertEquals(error.status, 404);
  }
  const listDirectoryOnce = () => Array.fromAsync(listDirectory(files.conn, "/d/"));
  await assertTransferError(listDirectoryOnce, "UNEXPECTED_RESPONSE", "not a directory listing");
  assertEquals((await files.conn.get("/d/index.html")).status, 200);
});

Deno.test("an abandoned or aborted list closes the connection; a complete list keeps it open", async () => {
  const manyEntries = new Array(10_000).fill(entry());
  await using serving = serve(answering(listText(manyEntries), 65536));
  const client = serving.makeClient();
  using conn = await client.connect();
  const list = listDirectory(conn, "/");
  // Each iteration is a request.
  for (let i = 0; i < 2; i++) {
    assertEquals((await Array.fromAsync(list)).length, manyEntries.length);
  }
  assertEquals(conn.closed, false);
  for await (const _entry of list) {
    // A connection has one request at a time.
    await assertRejects(() => download(conn, "/a", "/tmp/never"), BodyError);
    break;
  }
  assertEquals(conn.closed, true);
  const controller = new AbortController();
  const reason = new Error("enough");
  let count = 0;
  const error = await assertRejects(async () => {
    for await (const _entry of listDirectory(client, "/", { signal: controller.signal })) {
      count++;
      controller.abort(reason);
    }
  }, Error);
  assertEquals([error, count], [reason, 1]);
  const aborted = listDirectory(client, "/", { signal: AbortSignal.abort(reason) });
  assertEquals(await assertRejects(() => Array.fromAsync(aborted), Error), reason);
});

Deno.test("listTree rejects a list that is cut, an entry without its directory, and a repeated path", async () => {
  const element = (path: string[], kind = "file") => {
    return { ...entry({ kind }), name: undefined, path };
  };
  const lastElement = { end: true };
  const rows: [unknown[], string | null][] = [
    [[element(["a"], "directory"), element(["a", "a"]), lastElement], null],
    [[element(["a"])], "complete"],
    [[element(["a"]), element(["a", "b"]), lastElement], "without its directory"],
    [[element(["a"]), element(["a"]), lastElement], '"a" twice'],
    [[element(["a"], "directory"), element(["a"]), lastElement], '"a" twice'],
    [[
      element(["b"], "directory"),
      element(["a"]),
      element(["b", "a"]),
      element(["a"]),
      lastElement,
    ], '"a" twice'],
    [[element(["a", "b"]), element(["a"], "directory"), lastElement], "without its directory"],
    [[entry()], "path"],
  ];
  for (const [elements, message] of rows) {
    await using serving = serve(answering(listText(elements)));
    const listAll = () => Array.fromAsync(listTree(serving.makeClient(), "/"));
    if (message === null) {
      assertEquals((await listAll()).map(({ path }) => path.join("/")), ["a", "a/a"]);
      continue;
    }
    await assertTransferError(listAll, "BAD_LIST", message);
  }
});

Deno.test("the error of an incomplete list names the directory, and is transient", async () => {
  const cutBody = async function* (): AsyncGenerator<[null, Uint8Array], void, void> {
    yield [null, new TextEncoder().encode("[\n")];
    await Promise.reject(new BodyError("replaced while it was listed"));
  };
  const headers = { "content-type": "application/json" };
  await using serving = serve(() => [200, "OK", headers, new ChunkedBodyIter(cutBody())]);
  for (const list of [listDirectory, listTree]) {
    const listAll = () => Array.fromAsync(list(serving.makeClient(), "/photos/"));
    const error = await assertTransferError(listAll, "BAD_LIST", 'the list of "/photos/');
    assert(error.message.includes("is incomplete: the directory was removed,"), error.message);
    assertEquals(isTransient(error), true);
  }
});

// Directory entries, parsed piece by piece.

/** Parses a text, in pieces of `length` bytes, and adds its entries to a list. */
function parseWith<E>(
  parser: { push(bytes: Uint8Array): Iterable<E>; checkEnd(): void },
  text: string | Uint8Array,
  length = 7,
  parsed: E[] = [],
): E[] {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  for (let offset = 0; offset < bytes.length; offset += length) {
    // A piece is only valid until the next piece.
    const piece = bytes.slice(offset, offset + length);
    for (const entry of parser.push(piece)) parsed.push(entry);
    piece.fill(0);
  }
  parser.checkEnd();
  return parsed;
}

const parse = (text: string | Uint8Array, length?: number, parsed?: DirectoryEntry[]) =>
  parseWith<DirectoryEntry>(EntryParser.ofDirectory(), text, length, parsed);
const parseTree = (text: string, length?: number) =>
  parseWith<TreeEntry>(EntryParser.ofTree(), text, length);

Deno.test("entries of directories and of trees are parsed, however the bytes are split", () => {
  const name = fc.constantFrom(...NAMES, "}", "{", "[", "]", '\\"}', "],");
  const makeEntry = fc.record({
    path: fc.array(name, { minLength: 1 }),
    kind: fc.constantFrom("file" as const, "directory" as const),
    size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    modified: fc.date({
      min: new Date("0000-01-01T00:00:00.000Z"),
      max: new Date("9999-12-31T23:59:59.999Z"),
      noInvalidDate: true,
    }),
  });
  const property = fc.property(
    fc.array(makeEntry, { maxLength: 5 }),
    fc.integer({ min: 1, max: 300 }),
    (entries, splits) => {
      const namedEntries = entries.map(({ path, ...entry }) => ({ name: path.at(-1)!, ...entry }));
      assertEquals(parse(listText(namedEntries), splits), namedEntries);
      const text = listText([...entries, { end: true }]);
      const expected = entries.map((entry) => ({ ...entry, name: entry.path.at(-1)! }));
      assertEquals(parseTree(text, splits), expected);
    },
  );
  fc.assert(property, { numRuns: 200 });
});

Deno.test("an entry with an invalid name, kind, size or time is an error, and earlier entries are returned", () => {
  const long = "x".repeat(256);
  const makeOther = (reason: unknown) => ({ kind: "other", reason });
  const invalidEntries: Readonly<Record<string, unknown>>[] = [
    ...["", ".", "..", "a/b", "a\0b", long, "\ud800", 1, null, undefined].map((name) => ({ name })),
    ...["symlink", "", "File", null, undefined, 1].map((kind) => ({ kind })),
    ...[-1, 1.5, "1", null, undefined].map((size) => ({ size })),
    ...["", "today", "2024-05-06", 0, null, undefined].map((modified) => ({ modified })),
    ...["2024-05-06T07:08:09Z", "2024-13-06T07:08:09.123Z"].map((modified) => ({ modified })),
    ...["link", "name", "", null, 1].map((reason) => ({ reason })),
    ...["", "x y", "LINK", null, undefined, ["link"]].map(makeOther),
    { ...makeOther("link"), name: long },
    { more: "x".repeat(65_536) },
  ];
  for (const fields of invalidEntries) {
    const validEntry = entry({ name: "good" });
    const text = listText([validEntry, entry(fields)]);
    const parsed: DirectoryEntry[] = [];
    assertThrows(() => parse(text, 7, parsed), ListError, "bad entry");
    const names = parsed.map(({ name }) => name);
    assertEquals(names, ["good"], text.slice(0, 200));
  }
});

Deno.test("rejects a list that is not an array of objects, one in each line, and a tree without its last element", () => {
  const entryText = JSON.stringify(entry());
  const texts: Readonly<Record<string, readonly string[]>> = {
    "no array": ["", "\n", "{}\n", "null\n", `${entryText}\n`, "\ufeff[\n]\n"],
    "no end": [
      ...["[", "[\n", `[\n${entryText.slice(0, 5)}`, `[\n${entryText}`, `[\n${entryText}\n`],
      ...[`[\n${entryText},\n`, "[\n]"],
    ],
    "no comma, or one too many": [
      ...["[\n,\n]\n", `[\n${entryText},\n]\n`, `[\n${entryText}\n${entryText}\n]\n`],
      `[\n${entryText},,\n${entryText}\n]\n`,
    ],
    "not one object in each line": [
      ...["[]\n", "[\n\n]\n", `[${entryText}]\n`, `[\n${entryText},${entryText}\n]\n`, "[\r\n]\n"],
    ],
    "more after the end": [`[\n${entryText}\n]\n]`, "[\n]\n]\n", "[\n]\n[\n]\n", "[\n]\n\n"],
    "no objects": ["[\n1\n]\n", '[\n"a"\n]\n', `[\n[${entryText}]\n]\n`, "[\nnull\n]\n"],
    "no JSON": [
      "[\n{]\n]\n",
      '[\n{"a":1 "b":2}\n]\n',
      `[\n${entryText.replace("file", "fi\\le")}\n]\n`,
    ],
  };
  const treeEntry = JSON.stringify({ ...entry(), name: undefined, path: ["a"] });
  const lastElement = '{"end":true}';
  const trees: typeof texts = {
    "no array": ["", "{}\n"],
    "no last element": [
      ...["[\n", "[\n]\n", `[\n${treeEntry}\n]\n`, `[\n${treeEntry},\n]\n`],
      '[\n{"end":false}\n]\n',
    ],
    "no end": [`[\n${treeEntry},\n${lastElement}\n`],
    "more after the end": [treeEntry, lastElement].map((more) => `[\n${lastElement},\n${more}\n]\n`)
      .concat(`[\n${lastElement}\n]\n]\n`),
  };
  for (const [parseAny, invalidTexts] of [[parse, texts], [parseTree, trees]] as const) {
    for (const [rule, invalid] of Object.entries(invalidTexts)) {
      for (const text of invalid) {
        assertThrows(() => parseAny(text), ListError, "", `${rule}: ${text}`);
      }
    }
  }
  assertEquals(parseTree(`[\n${treeEntry},\n${lastElement}\n]\n`).length, 1);
  assertEquals(parseTree(listText([{ end: true }])), []);
  assertEquals(parse(listText([])), []);
  const long = "é".repeat(127);
  const escaped = listText([entry({ name: long })]).replaceAll("é", "\\u00e9");
  assertEquals(parse(escaped).map(({ name }) => name), [long]);
  const bytes = new Uint8Array([0x5b, 0x0a, 0x7b, 0x22, 0xff, 0x22, 0x7d, 0x0a]);
  assertThrows(() => parse(bytes), ListError, "not UTF-8");
});

Deno.test("an entry that can't be downloaded has a reason, and may have an invalid name if that is the reason", () => {
  const modified = new Date(0);
  for (const reason of ["link", "special", "unreadable", "name"] as const) {
    for (const name of reason === "name" ? ["a", "\ufffd".repeat(255), "a\ufffd"] : ["a"]) {
      const text = formatEntry({ name }, { kind: "other", size: 0, modified, reason });
      assertEquals(parse(`[\n${text}\n]\n`), [{ name, kind: "other", size: 0, modified, reason }]);
    }
  }
  const [newer] = parse(listText([entry({ kind: "other", reason: "new-reason" })]));
  assertEquals(newer?.reason, "unreadable");
  const path = ["sub", "a b"];
  assertEquals(
    formatEntry({ path }, { kind: "file", size: 5, modified }),
    '{"path":["sub","a b"],"kind":"file","size":5,"modified":"1970-01-01T00:00:00.000Z"}',
  );
});

Deno.test("an entry has at most 2⁵³ − 1 bytes, and a year in 0 to 9999", () => {
  const sizes = [2 ** 53, 2 ** 63, 1e300].map((size) => ({ size }));
  const times = ["+010000-01-01T00:00:00.000Z", "-000001-12-31T23:59:59.999Z"];
  for (const fields of [...sizes, ...times.map((modified) => ({ modified }))]) {
    assertThrows(() => parse(listText([entry(fields)])), ListError, "bad");
  }
  for (const modified of ["0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]) {
    const [parsed] = parse(listText([entry({ size: 2 ** 53 - 1, modified })]));
    assertEquals([parsed?.kind, parsed?.size], ["file", 2 ** 53 - 1]);
    assertEquals(parsed?.modified.toISOString(), modified);
  }
});

Deno.test("a path of a tree is an array of names, of at most 4,096 bytes, and 256 names that can be requested", () => {
  const parseOne = (path: unknown, fields = {}) => {
    return parseTree(listText([{ ...entry(), ...fields, path }, { end: true }]));
  };
  const longest = [...new Array(16).fill("x".repeat(255)), "x"];
  assertEquals(longest.join("/").length, 4097);
  assertEquals(parseOne(longest.slice(1)).length, 1);
  assertThrows(() => parseOne(longest), ListError, "more than 4096 bytes");
  for (const path of [undefined, null, "a", [], [1], ["a", ""], ["a", ".."], [["a"]], { a: 1 }]) {
    assertThrows(() => parseOne(path), ListError, "bad entry");
  }
  const otherFields = { kind: "other", reason: "name" };
  assertThrows(() => parseOne([...longest, "z"], otherFields), ListError, "4096 bytes");
  assertEquals(parseOne([...longest.slice(1), "x".repeat(300)], otherFields).length, 1);
  assertThrows(() => parseOne(["a".repeat(70_000)], otherFields), ListError, "65536 bytes");
  for (const [maxNames, fields] of [[256, {}], [257, otherFields]] as const) {
    assertEquals(parseOne(new Array(maxNames).fill("a"), fields).length, 1);
    const parseDeeper = () => parseOne(new Array(maxNames + 1).fill("a"), fields);
    assertThrows(parseDeeper, ListError, "more than 256 names");
  }
});

Deno.test("a line of a list has at most 65,536 bytes, in one piece or many", () => {
  const rows = [[parse, {}], [parseTree, { path: ["a"] }]] as const;
  for (const [parseAny, fields] of rows) {
    const text = (length: number) => {
      const element = { ...entry(), ...fields, pad: "" };
      const pad = "x".repeat(length - JSON.stringify(element).length - 1);
      return listText([{ ...element, pad }, ..."path" in fields ? [{ end: true }] : []]);
    };
    // The comma after an element of a tree belongs to its line.
    const maxLength = "path" in fields ? 65_535 : 65_536;
    for (const pieceLength of [1000, 200_000]) {
      assertEquals(parseAny(text(maxLength), pieceLength).length, 1);
      const parseLonger = () => parseAny(text(maxLength + 1), pieceLength);
      assertThrows(parseLonger, ListError, "more than 65536 bytes");
    }
    const parseEndless = () => parseAny(`[\n{"a":"${'\\"'.repeat(200_000)}`, 16_777_216);
    assertThrows(parseEndless, ListError, "more than 65536 bytes");
  }
});
