/**
 * Requests for bundles, and uploads of bundles: each file in a bundle is handled like a single
 * file.
 */
import {
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionError,
  formatAddress,
  Range,
  type Response,
} from "@degu/degu/base";
import { type FileEvent, FilesApp, type FilesOptions } from "@degu/degu/files";
import { mkreq, mkSession } from "@degu/degu/misc";
import {
  BUNDLE_END,
  BUNDLE_TYPE,
  DIGEST_RESPONSE,
  formatPaths,
  GET_RESPONSE,
  PROGRESS_RECORD,
  PUT_RESPONSE,
} from "@degu/internal/files/wire/bundle.ts";
import { diskSyncQueue } from "@degu/internal/files/disk/files.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import {
  makeBundle,
  makeRecord,
  parseBundle,
  readPutStatuses,
  readRecords,
  type SentRecord,
  sha256Of,
} from "./bundles.ts";
import { speedUpTimeouts, stopPerformanceClock } from "@degu/testing/clock.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { createTempDir, fill, listNames, readMode } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makePattern } from "./served_directory.ts";
import { makeLinks, waitForNoOpenFiles } from "@degu/testing/special_files.ts";
import { concat } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { makeChunkedBody, readStatus, serveWritableDirectory } from "./written_directory.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Buffer } from "node:buffer";

const encode = (text: string) => new TextEncoder().encode(text);

/** Serves a writable directory, with functions that send requests for bundles. */
async function serveBundles(options: FilesOptions = {}) {
  const files = await serveWritableDirectory(options);
  const get = (uri: string, paths: readonly string[]) =>
    files.request("POST", uri, {}, formatPaths(paths.map((path) => path.split("/"))));
  return {
    ...files,
    get,
    getStatuses: async (uri: string, ...paths: string[]) => {
      const records = await readRecords(GET_RESPONSE, await get(uri, paths));
      return records.map(({ record }) => record.status);
    },
    sendAll: async (sent: readonly SentRecord[], uri = "/?bundle=put", end = BUNDLE_END) =>
      await readPutStatuses(await files.request("POST", uri, {}, makeBundle(sent, end))),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

Deno.test("a bundle has each requested file, or its error status, in the order of the request", async () => {
  await using files = await serveBundles({ write: false });
  const { root } = files;
  const contents = [0, 1, 40_000, 65_535, 65_536].map((size): [string, Uint8Array] => {
    return [`size-${size}`, makePattern(size)];
  });
  for (const [name, content] of contents) await Deno.writeFile(`${root}/${name}`, content);
  await Deno.writeTextFile(`${root}/sub/é "quoted"\n`, "unusual");
  await fill(root, { "other/file": "another" });
  const old = new Date("1960-01-01T00:00:00.001Z");
  await Deno.utime(`${root}/size-1`, old, old);
  const targets = ["size-65535", "sub", "none"];
  await makeLinks(Object.fromEntries(targets.map((name) => [`${root}/to-${name}`, name])));
  const expected: [path: string, content: Uint8Array | string | number][] = [
    ["to-size-65535", 404],
    ["to-sub", 404],
    ["to-none", 404],
    ["file", "public"],
    ...contents.slice(0, 4),
    ["size-65536", 413],
    ["sub/file", "public"],
    ["sub/none", 404],
    ['sub/é "quoted"\n', "unusual"],
    ["sub", 404],
    ["file", "public"],
    ["sub/file", "public"],
    ["other/file", "another"],
  ];
  const paths = expected.map(([path]) => path);
  for (const [kind, format] of [["get", GET_RESPONSE], ["digest", DIGEST_RESPONSE]] as const) {
    const records = await readRecords(format, await files.get(`/?bundle=${kind}`, paths));
    assertEquals(records.length, expected.length);
    for (const [i, [path, expectedRecord]] of expected.entries()) {
      const { record, content } = records[i]!;
      const expectedStatus = typeof expectedRecord === "number" ? expectedRecord : 200;
      assertEquals([record.path.join("/"), record.status], [path, expectedStatus]);
      if (record.status !== 200 || typeof expectedRecord === "number") continue;
      const bytes = typeof expectedRecord === "string"
        ? encodeLatin1(expectedRecord)
        : expectedRecord;
      assertEquals([record.size, record.sha256], [bytes.length, sha256Of(bytes)]);
      assertEquals(content, format.hasContent ? bytes : new Uint8Array(0));
    }
    const sizeOneRecord = records[paths.indexOf("size-1")]!.record;
    assertEquals(sizeOneRecord.status === 200 && sizeOneRecord.modified, old);
  }
  assertEquals(await files.getStatuses("/sub/?bundle=get", "file", "none"), [200, 404]);
  assertEquals(await files.getStatuses("/gone/?bundle=get", "a"), [404]);
});

const paths = (count: number, name = "n".repeat(200)) =>
  formatPaths(Array.from({ length: count }, () => ["..", name]));
const manyChunks = (count: number) => makeChunkedBody(...Array(count).fill(paths(1000)));
const longest = (length: number) => formatPaths([["a".repeat(length)]]);
/** The longest accepted list of paths: 4 MiB. */
const FULL = concat(Array(128).fill(longest(32763)));
const manySent = (count: number) =>
  concat([...Array(count).fill(makeRecord(["..", null])), encode(BUNDLE_END)]);
Deno.test("a bundle is cut if the served directory is missing, and reports no file as missing", async () => {
  await using files = await serveBundles();
  using _gone = patch(Deno, "lstatSync", (lstatSync) => (path) => {
    if (path === `${files.root}/sub`) Deno.renameSync(files.root, `${files.root}.moved`);
    return lstatSync(path);
  });
  const response = await files.get("/?bundle=get", ["file", "sub/file"]);
  await assertRejects(async () => await response.body?.bytes(), ConnectionError);
});

const GOOD = makeBundle([["good", "1"]]);

/** Requests for bundles and uploads of bundles, with the status of the response or of each file. */
const REQUESTS: readonly (readonly [
  rule: string,
  uri: string,
  body: () => BodyOut,
  expected: number | number[],
])[] = [
  ["a request without paths", "/?bundle=get", () => null, 200],
  ["10,000 paths", "/?bundle=get", () => paths(10_000, "n"), 200],
  ["more than 10,000 paths", "/?bundle=get", () => paths(10_001, "n"), 413],
  ["more than 10,000 paths in chunks", "/?bundle=get", () => manyChunks(11), 413],
  ["4 MiB", "/?bundle=get", () => FULL, 200],
  ["more than 4 MiB in chunks", "/?bundle=get", () => makeChunkedBody(FULL, longest(1)), 413],
  ["the longest line", "/?bundle=get", () => longest(32763), 200],
  ["a longer line", "/?bundle=get", () => longest(32764), 400],
  ["a path without a line end", "/?bundle=get", () => encodeLatin1('["a"]'), 400],
  ["an empty path", "/?bundle=get", () => encodeLatin1("[]\n"), 400],
  ["white space behind a path", "/?bundle=get", () => encodeLatin1('["a"] \n'), 400],
  ["an empty line", "/?bundle=get", () => encodeLatin1("\n"), 400],
  ["an end record in a list of paths", "/?bundle=get", () => encodeLatin1(BUNDLE_END), 400],
  ["a path that is not UTF-8", "/?bundle=get", () => encodeLatin1('["\xff"]\n'), 400],
  ...["/sub?bundle=get", "/file?bundle=get", `/${"n".repeat(256)}/?bundle=get`].map((uri) =>
    ["a URI that is not of a directory", uri, () => paths(1), 404] as const
  ),
  ...["/", "/?bundle=all", "/?bundle=get&x"].map((uri) =>
    ["another query", uri, () => paths(1), 405] as const
  ),
  ["a bundle to the URI of a file", "/sub?bundle=put", () => GOOD, 404],
  ["a bundle to an invalid name", `/${"n".repeat(256)}/?bundle=put`, () => GOOD, 404],
  ["a bundle to the reserved directory", "/.degu-files/?bundle=put", () => GOOD, [403]],
  ["a bundle below a file", "/file/?bundle=put", () => GOOD, [409]],
  ["no bundle", "/?bundle=put", () => null, 400],
  ["10,000 records", "/?bundle=put", () => manySent(10_000), Array(10_000).fill(404)],
  ["more than 10,000 records", "/?bundle=put", () => manySent(10_001), 413],
];

Deno.test("a request for a bundle has at most 10,000 paths in 4 MiB; an uploaded bundle is complete, with at most 10,000 records", async (t) => {
  await using files = await serveBundles();
  await testEachRow(t, REQUESTS, async (_, uri, body, expected) => {
    const response = await files.request("POST", uri, {}, body());
    const isPut = uri.endsWith("=put");
    assertEquals(await (isPut ? readPutStatuses(response) : readStatus(response)), expected, uri);
  });
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("an unreadable file of a bundle gets the status of its error, and is read at most three times", async () => {
  await using files = await serveBundles();
  const statuses = (...paths: string[]) => files.getStatuses("/?bundle=get", ...paths);
  const failure = (code: string) => Object.assign(new Error(code), { code });
  const rows: [error: Error, status: number][] = [
    [new Deno.errors.NotCapable(), 404],
    [failure("ENOENT"), 404],
    ...["EPERM", "EACCES", "ENXIO", "EIO"].map((code): [Error, number] => [failure(code), 403]),
  ];
  for (const [error, status] of rows) {
    const path = `${files.root}/file`;
    using _damaged = patch(Deno, "lstatSync", (lstatSync) => (lstatPath) => {
      if (lstatPath === path) throw error;
      return lstatSync(lstatPath);
    });
    assertEquals(await statuses("file", "sub/file"), [status, 200], String(error));
  }
  assertEquals(files.warnings.length, 2, "one for each unreadable file");
  // A file whose content differs at each read.
  let compareCount = 0;
  using _differing = patch(Buffer, "compare", () => () => {
    compareCount++;
    return 1;
  });
  assertEquals([...await statuses("sub/file"), compareCount], [409, 3]);
});

Deno.test("a file that is overwritten repeatedly gets 409, or is sent as one of its versions", async () => {
  await using files = await serveBundles();
  const versions = [1, 2].map((value) => new Uint8Array(60_000).fill(value));
  for (let round = 0; round < 30; round++) {
    const writePromise = Deno.writeFile(`${files.root}/a`, versions[round % 2]!);
    const [record] = await readRecords(GET_RESPONSE, await files.get("/?bundle=get", ["a"]));
    await writePromise;
    if (record!.record.status !== 200) continue;
    assertEquals(new Set(record!.content).size <= 1, true, "bytes of two versions");
  }
});

/** Makes many records. */
const makeSent = (length: number, make: (index: number) => SentRecord): SentRecord[] =>
  Array.from({ length }, (_, index) => make(index));

const SENT_TIME = new Date("2020-02-29T12:34:56.789Z");
const IS_NEW = { "if-none-match": "*" };

/** The records of one bundle, in this order, for an app that accepts files of up to 1,000 bytes. */
const SENT: readonly [rule: string, sent: SentRecord, status: number][] = [
  ["a new file", ["new", "1", { modified: SENT_TIME }], 201],
  ["an existing file", ["file", "2"], 204],
  ["a file in new directories", ["deep/er/a b", "3"], 201],
  ["another file in the same directory", ["deep/er/c", ""], 201],
  ["the same once more", ["deep/er/c", ""], 204],
  ["a directory whose name has another name as its prefix", ["deeper/d", ""], 201],
  ["the same once more", ["deeper/d", ""], 204],
  ["a file that replaces one of the same bundle", ["new", "4"], 204],
  ["if-none-match, a new file", ["once", "5", IS_NEW], 201],
  ["if-none-match, a file of the same bundle", ["once", "6", IS_NEW], 412],
  ["if-none-match, an existing file", ["file", "7", IS_NEW], 412],
  ["seen, a file of another size", ["file", "7", { seen: [70_000, 0] }], 412],
  ["seen, no file", ["not there", "7", { seen: [0, 0] }], 412],
  ["a new directory", ["empty/dir", null], 201],
  ["an existing directory", ["empty/dir", null], 204],
  ["a directory that an earlier file has created", ["empty", null], 204],
  ["content that doesn't match its digest", ["wrong", "8", { sha256: "0".repeat(64) }], 400],
  ["more than maxBytes", ["large", makePattern(1001)], 413],
  ["maxBytes", ["largest", makePattern(1000)], 201],
  ["a file below a file", ["new/below", "9"], 409],
  ["a directory with the name of a file", ["file", null], 409],
  ["the parent directory", ["..", "9"], 404],
  ["a file outside of the root", ["../outside/new", "9"], 404],
  ["a directory outside of the root", ["../outside/new", null], 404],
  ["an empty name", ["", "9"], 404],
  ["an empty name at the end", ["sub/", "9"], 404],
  ["a name with a NUL", ["a\0", "9"], 404],
  ["a name that is too long", ["n".repeat(256), "9"], 404],
  ["a path that is too deep", ["d/".repeat(256) + "a", "9"], 404],
  ["a file after refused ones", ["sub/last", "10"], 201],
];

Deno.test("each record of a bundle gets a status, and a refused record changes no file", async (t) => {
  await using files = await serveBundles({ maxBytes: 1000 });
  const { path, root } = files;
  await Deno.chmod(`${root}/file`, 0o600);
  const statuses = await files.sendAll(SENT.map(([, sent]) => sent)) as number[];
  assertEquals(statuses.length, SENT.length);
  await testEachRow(
    t,
    SENT.map(([rule, , status], i) => [rule, status, statuses[i]] as const),
    (_, status, actual) => assertEquals(actual, status),
  );
  assertEquals(await files.listUnfinished(), []);
  const read = async (path: string) => await files.read(path);
  assertEquals(await read("new"), "4");
  assertEquals([await read("file"), await readMode(`${root}/file`)], ["2", 0o600]);
  assertEquals([await read("deep/er/a b"), await read("deep/er/c")], ["3", ""]);
  assertEquals([await read("once"), await read("sub/last")], ["5", "10"]);
  assertEquals(await listNames(`${root}/empty`), ["dir"]);
  const names = ["deep", "deeper", "empty", "file", "largest", "new", "once", "sub"];
  assertEquals(await listNames(root), [RESERVED_DIRECTORY_NAME, ...names]);
  assertEquals(await listNames(`${root}/sub`), ["file", "last"]);
  assertEquals((await Deno.stat(`${root}/new`)).mtime, new Date(0));
  const [[, firstRecord]] = SENT as [typeof SENT[0]];
  assertEquals(await files.sendAll([firstRecord], "/sub/deeper/?bundle=put"), [201]);
  assertEquals((await Deno.stat(`${root}/sub/deeper/new`)).mtime, SENT_TIME);
  assertEquals(await readMode(`${root}/sub/deeper/new`), await readMode(`${root}/largest`));
  const refusedCount = SENT.filter(([, , status]) => status >= 400).length;
  assertEquals(files.warnings.length, refusedCount);
  assert(!files.warnings.some((line) => line.includes("\n")));
  assertEquals(await Deno.readTextFile(`${path}/outside/secret`), "secret");
});

Deno.test("the log names the reason why a file of a bundle doesn't replace the listed file", async () => {
  const rows: readonly (readonly [FilesOptions, reason: string])[] = [
    [{ write: true }, "the file is not the version that the client has listed"],
    [{ write: "add" }, "this app only adds files"],
  ];
  for (const [options, reason] of rows) {
    await using files = await serveBundles(options);
    assertEquals(await files.sendAll([["file", "new", { seen: [70_000, 0] }]]), [412]);
    const [line = "", ...furtherLines] = files.warnings;
    assertStringIncludes(line, reason);
    assertEquals(furtherLines, []);
  }
});

Deno.test("only a writable app accepts a bundle; complete files of a bundle without a valid end stay", async () => {
  await using files = await serveBundles();
  for (const end of ["", "{}\n", '{"end":1}\n', '{"end":true}', BUNDLE_END + "\n", '["a"]\n']) {
    // The client continues to send after the end of the bundle.
    assertEquals(await files.sendAll([["kept", "1"]], "/?bundle=put", end), 400, end);
    assertEquals(await files.read("kept"), "1");
    await Deno.remove(`${files.root}/kept`);
  }
  await using reader = await serveBundles({ write: false });
  const response = await reader.request("POST", "/?bundle=put", {}, GOOD);
  assertEquals(response.headers["allow"], "GET, HEAD");
  assertEquals(await readStatus(response), 405);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("a web page of another origin can't send a bundle, which browsers let each page POST", async () => {
  await using files = await serveBundles();
  const names = await listNames(files.root);
  const send = async (origin: string) =>
    await readStatus(await files.request("POST", "/?bundle=put", { origin }, GOOD));
  const host = formatAddress(files.serving.address);
  const origins = [
    ...["http://evil.example", `http://x${host}`, `http://${host}0`, `http://${host}.evil.example`],
    ...["http://127.0.0.1", "http://127.0.0.1:1", "null", "", "http://", `ftp://${host}`],
  ];
  for (const origin of origins) assertEquals(await send(origin), 403, origin);
  assertEquals(await listNames(files.root), names);
  for (const scheme of ["http", "https"]) assertEquals(await send(`${scheme}://${host}`), 200);
});

Deno.test("a bundle that is cut at any byte leaves only complete files", async () => {
  const first = makeRecord(["new/first", "12345"]);
  const second = makeRecord(["new/second", "67890"]);
  const lengths = [0, 5, first.length - 1, first.length, first.length + 5, first.length + 100];
  for (const length of [...lengths, first.length + second.length - 1]) {
    await using files = await serveBundles();
    using peer = await RawPeer.connect(files.serving.address);
    await peer.send("POST /?bundle=put HTTP/1.1\r\ncontent-length: 100000\r\n\r\n");
    await peer.send(new Uint8Array([...first, ...second]).subarray(0, length));
    await peer.closeWrite();
    await peer.readToEnd();
    await files.serving.server.shutdown();
    assertEquals(await files.listUnfinished(), []);
    const names = await listNames(`${files.root}/new`).catch(() => []);
    assertEquals(names, length >= first.length ? ["first"] : [], `${length}`);
    if (names.length > 0) assertEquals(await files.read("new/first"), "12345");
  }
});

Deno.test("a repeated name in a bundle counts as an existing file, even if the server lists the directory", async () => {
  await using files = await serveBundles();
  const manyRecords = makeSent(40, (i) => [`sub/${i}a`, `${i}`]);
  const sent: SentRecord[] = [
    ...manyRecords,
    ["sub/3a", "again"],
    ["sub/4a", "never", IS_NEW],
    // On a disk that distinguishes case, this is a new file.
    ["sub/5A", "other", IS_NEW],
  ];
  assertEquals(await files.sendAll(sent), [...manyRecords.map(() => 201), 204, 412, 201]);
  assertEquals(await files.read("sub/3a"), "again");
  assertEquals(await files.read("sub/4a"), "4");
  assertEquals([await files.read("sub/5a"), await files.read("sub/5A")], ["5", "other"]);
});

Deno.test("if too many files are open, received files of a bundle get their names before the next are written", async () => {
  await using files = await serveBundles();
  for (const code of ["EMFILE", "ENFILE"]) {
    const sent = makeSent(5, (i) => [`${code}/${i}`, `${i}`]);
    let maxWaiting = 2;
    using _limited = patch(Deno, "openSync", (openSync) => (path, options) => {
      const waiting = [...Deno.readDirSync(`${files.root}/${RESERVED_DIRECTORY_NAME}`)];
      if (waiting.length >= maxWaiting) {
        throw Object.assign(new Error("too many open files"), { code });
      }
      return openSync(path, options);
    });
    assertEquals(await files.sendAll(sent), sent.map(() => 201));
    // Too many files stay open, whatever the app closes.
    maxWaiting = 0;
    assertEquals(await files.sendAll(sent), sent.map(() => 503));
  }
});

Deno.test("a file of a bundle that can't be synced to the disk gets no name, and the other files get theirs", async () => {
  await using files = await serveBundles();
  let count = 0;
  using _full = patch(Deno.FsFile.prototype, "sync", (sync) => {
    return function (this: Deno.FsFile) {
      const diskFullError = Object.assign(new Error("full"), { code: "ENOSPC" });
      return ++count === 2 ? Promise.reject(diskFullError) : sync.call(this);
    };
  });
  assertEquals(await files.sendAll([["a", "1"], ["b", "2"], ["c", "3"]]), [201, 507, 201]);
  assertEquals(await listNames(files.root), [RESERVED_DIRECTORY_NAME, "a", "c", "file", "sub"]);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("on a slow disk, the response to a bundle begins before its last file is written, and has records of progress", async () => {
  await using files = await serveBundles();
  using _records = speedUpTimeouts((milliseconds) => milliseconds === 1000);
  const slowSync = Promise.withResolvers<void>();
  let count = 0;
  using _slow = patch(Deno.FsFile.prototype, "sync", (sync) => {
    return async function (this: Deno.FsFile) {
      if (++count > 70) await slowSync.promise;
      await sync.call(this);
    };
  });
  const sent = makeSent(150, (i) => [i === 3 ? "../x" : `${i}`, "1"]);
  const response = await files.request("POST", "/?bundle=put", {}, makeBundle(sent));
  assertEquals([response.status, response.headers["content-type"]], [200, BUNDLE_TYPE]);
  assert(response.body?.chunked);
  let text = "";
  let firstCount = 0;
  for await (const piece of response.body.readable) {
    text += new TextDecoder().decode(piece);
    const lineCount = text.replaceAll(PROGRESS_RECORD, "").split("\n").length - 1;
    // Files get their names at least 16 at a time. On a busy machine, progress may come first.
    if (firstCount === 0 && lineCount >= 16 && text.endsWith(PROGRESS_RECORD.repeat(3))) {
      firstCount = lineCount;
      slowSync.resolve();
    }
  }
  const statuses = parseBundle(PUT_RESPONSE, encode(text)).map(({ record }) => record.status);
  assertEquals(statuses, sent.map(([path]) => path === "../x" ? 404 : 201));
  // The 71st file waits for the disk.
  assert(firstCount >= 16 && firstCount <= 71, `${firstCount}`);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("a disk error that concerns more than one file ends a bundle, and is logged", async () => {
  await using files = await serveBundles();
  using _broken = patch(Deno, "openSync", () => () => {
    throw Object.assign(new Error("the disk is broken"), { code: "EIO" });
  });
  assertEquals(await files.sendAll([["a", "1"]]), 500);
  assertMatch(files.warnings.join(), /the disk is broken/);
  assertEquals(files.serving.logger.messagesOf("error"), []);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("on a slow disk, a disk error that concerns more than one file cuts the response to a bundle", async () => {
  await using files = await serveBundles();
  using _records = speedUpTimeouts((milliseconds) => milliseconds === 1000);
  const slowSync = Promise.withResolvers<void>();
  using _slow = patch(Deno.FsFile.prototype, "sync", () => () => slowSync.promise);
  const sent = makeBundle(makeSent(150, (i) => [`${i}`, "1"]));
  const response = await files.request("POST", "/?bundle=put", {}, sent);
  assertEquals(response.status, 200);
  using _broken = patch(Deno, "openSync", () => () => {
    throw Object.assign(new Error("the disk is broken"), { code: "EIO" });
  });
  slowSync.resolve();
  await assertRejects(() => response.body!.bytes(), ConnectionError);
  assertMatch(files.warnings.join(), /the disk is broken/);
});

Deno.test("on a slow disk, the response to a request for a bundle has no silence of several files", async () => {
  await using files = await serveBundles();
  for (const name of ["1", "2", "3"]) await Deno.writeTextFile(`${files.root}/${name}`, name);
  using clock = stopPerformanceClock();
  using _slow = patch(Deno, "lstatSync", (lstatSync) => (path) => {
    if (/\/\d$/.test(`${path}`)) clock.pass(1.1);
    return lstatSync(path);
  });
  const paths = formatPaths([["1"], ["2"], ["3"]]);
  const { body } = await files.request("POST", "/?bundle=get", {}, paths);
  assert(body?.chunked);
  const lengths = await Array.fromAsync(body, ([, data]) => data.length);
  assertEquals(lengths.filter((length) => length > 0).length, 3, `${lengths}`);
});

Deno.test("a stalled bundle has no open file (Linux)", async () => {
  await using files = await serveBundles();
  using peer = await RawPeer.connect(files.serving.address);
  await peer.send("POST /?bundle=put HTTP/1.1\r\ncontent-length: 100000\r\n\r\n");
  for (let i = 0; i < 40; i++) await peer.send(makeRecord([`${i}`, "x"]));
  const countReceived = async () => {
    // On a busy machine, some files get their names before the others arrive.
    const names = (await listNames(files.root)).filter((name) => /^\d+$/.test(name));
    return names.length + (await files.listUnfinished()).length;
  };
  while (await countReceived() < 40) assertEquals(files.warnings, []);
  // The server may still be writing the last file.
  if (Deno.build.os === "linux") await waitForNoOpenFiles(files.root);
  await peer.closeWrite();
  await peer.readToEnd();
  await files.serving.server.shutdown();
});

Deno.test("a link that replaces a directory between the arrival of a file and its rename is not followed", async () => {
  for (const target of ["../outside", "."]) {
    await using files = await serveBundles();
    const { root } = files;
    const body = new ChunkedBodyIter(
      (async function* () {
        yield [null, makeRecord(["sub/new", "12345"])] as const;
        while ((await files.listUnfinished()).length === 0);
        await Deno.rename(`${root}/sub`, `${root}/kept`);
        await makeLinks({ [`${root}/sub`]: target });
        yield [null, makeBundle([["sub/other", "1"], ["file", "2"]])] as const;
        yield [null, new Uint8Array(0)] as const;
      })(),
    );
    const response = await files.request("POST", "/?bundle=put", {}, body);
    assertEquals(await readPutStatuses(response), [403, 403, 204]);
    assertEquals(await listNames(`${root}/kept`), ["file"]);
    assertEquals(await files.listUnfinished(), []);
  }
});

Deno.test("a link that replaces a directory after files of a bundle were renamed to it is not followed", async () => {
  using _limit = fixBatchSize();
  for (const [directory, target] of [["sub", "../outside"], ["sub", "."], ["sub/deep", "."]]) {
    await using files = await serveBundles();
    const { root } = files;
    await Deno.mkdir(`${root}/sub/deep`);
    await Deno.mkdir(`${root}/deep`);
    const body = new ChunkedBodyIter(
      (async function* () {
        for (const [path, text] of makeSent(BATCH_FILES, (i) => [`${directory}/new${i}`, "1"])) {
          yield [null, makeRecord([path, text])] as const;
        }
        while (!(await listNames(`${root}/${directory}`)).includes(`new${BATCH_FILES - 1}`));
        await Deno.rename(`${root}/sub`, `${root}/kept`);
        await makeLinks({ [`${root}/sub`]: target! });
        yield [null, makeBundle([[`${directory}/other`, "1"], ["file", "2"]])] as const;
        yield [null, new Uint8Array(0)] as const;
      })(),
    );
    const response = await files.request("POST", "/?bundle=put", {}, body);
    const statuses = [...new Array(BATCH_FILES).fill(201), 403, 204];
    assertEquals(await readPutStatuses(response), statuses);
    assert(!(await listNames(`${root}/${directory!.replace("sub", "kept")}`)).includes("other"));
    assertEquals(await listNames(`${root}/deep`), []);
    assertEquals(await files.listUnfinished(), []);
  }
});

/** The number of files of a bundle that get their names together. */
const BATCH_FILES = 64;

/** A disk on which many syncs have taken long gets smaller batches of files. */
function fixBatchSize(): Disposable {
  Object.defineProperty(diskSyncQueue, "limit", { value: BATCH_FILES, configurable: true });
  return { [Symbol.dispose]: () => void Reflect.deleteProperty(diskSyncQueue, "limit") };
}

Deno.test("a peer that is forgotten while its bundle arrives can't write further files", async () => {
  // On a slow machine, the response would begin before the files have their names.
  using _time = new FakeTime();
  await using dir = await createTempDir();
  const app = new FilesApp(dir.path, { write: true });
  let isPeerTrusted = true;
  const isTrusted = () => Promise.resolve(isPeerTrusted);
  const session = mkSession({ user: "peer", isTrusted });
  using _limit = fixBatchSize();
  const body = new ChunkedBodyIter(
    (async function* () {
      for (let i = 0; i < BATCH_FILES; i++) yield [null, makeRecord([`first/${i}`, "1"])] as const;
      while ((await listNames(`${dir.path}/first`).catch(() => [])).length < BATCH_FILES);
      isPeerTrusted = false;
      yield [null, makeRecord(["second", "2"])] as const;
      yield [null, makeBundle([["third", "3"]])] as const;
      yield [null, new Uint8Array(0)] as const;
    })(),
  );
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sending = body.writeTo(writable).finally(() => writable.close());
  const request = mkreq("POST", "/?bundle=put", {}, new ChunkedBody(readable));
  const [status] = await app.handle(request, session);
  assertEquals(status, 403);
  await sending;
  assertEquals(await listNames(dir.path), [RESERVED_DIRECTORY_NAME, "first"]);
  assertEquals((await listNames(`${dir.path}/first`)).length, BATCH_FILES);
  assertEquals(await listNames(`${dir.path}/${RESERVED_DIRECTORY_NAME}`), []);
});

Deno.test("two simultaneous bundles with the same new file get 201 and 412", async () => {
  await using files = await serveBundles();
  const sent = makeSent(100, (i) => [`new/${i}`, `${i}`, IS_NEW]);
  const [first, second] = await Promise.all([files.sendAll(sent), files.sendAll(sent)]);
  for (let i = 0; i < sent.length; i++) {
    const statusPair = [(first as number[])[i], (second as number[])[i]].toSorted();
    assertEquals(statusPair, [201, 412], `${i}`);
  }
});

Deno.test("onFile is called for each file that is sent, written or removed, and may throw", async () => {
  for (const throws of [false, true]) {
    const events: FileEvent[] = [];
    const onFile = (event: FileEvent) => {
      events.push(event);
      if (throws) throw new Error("from onFile");
    };
    await using files = await serveBundles({ list: true, onFile });
    await Deno.writeFile(`${files.root}/large`, makePattern(3_000_000));
    const request = (...args: Parameters<typeof files.request>) => () => files.request(...args);
    const get = (uri: string, ...paths: string[]) => () => files.get(uri, paths);
    const sent = makeBundle([["x", "123"], ["dir", null], ["sub", "1"]]);
    const rows: [ask: () => Promise<Response>, ...events: string[]][] = [
      [request("GET", "/file"), "get file 6 200"],
      [request("GET", "/file", { range: new Range(2, 5) }), "get file 3 206"],
      [request("GET", "/sub/")],
      [request("GET", "/?tree")],
      [request("HEAD", "/file")],
      [request("GET", "/none")],
      [request("GET", "/sub/file", { "if-none-match": "*" })],
      [request("GET", "/large"), "get large 3000000 200"],
      [get("/sub/?bundle=get", "file", "none"), "get sub/file 6 200"],
      [get("/?bundle=digest", "file")],
      [request("PUT", "/a%20b", {}, encodeLatin1("12345")), "put a b 5 201"],
      [request("PUT", "/file", {}, encodeLatin1("1")), "put file 1 204"],
      [request("PUT", "/new/")],
      [request("PUT", "/sub", {}, encodeLatin1("1"))],
      [request("POST", "/sub/?bundle=put", {}, sent), "put sub/x 3 201", "put sub/sub 1 201"],
      [request("DELETE", "/a%20b"), "delete a b 0 204"],
      [request("DELETE", "/new")],
      [request("DELETE", "/none")],
    ];
    for (const [ask, ...expected] of rows) {
      await readStatus(await ask());
      const lines = events.splice(0).map(({ action, path, bytes, complete, status, session }) => {
        assert(complete && session !== undefined);
        return `${action} ${path.join("/")} ${bytes} ${status}`;
      });
      assertEquals(lines, expected);
    }
    const thrownCount = files.warnings.filter((line) => line.includes("from onFile")).length;
    assertEquals(thrownCount, throws ? 9 : 0);
    assertEquals(files.serving.logger.messagesOf("error"), []);
  }
});

Deno.test("an error of onFile is logged, and doesn't affect the response", async () => {
  const failingCallbacks: readonly (() => unknown)[] = [
    () => {
      throw new Error("full\n\x1b[31m");
    },
    () => Promise.reject(new Error("full\n\x1b[31m")),
  ];
  for (const onFile of failingCallbacks) {
    await using files = await serveBundles({ onFile });
    for (let i = 0; i < 2; i++) assertEquals((await files.request("GET", "/file")).status, 200);
    await waitForTick();
    const [line, ...more] = files.warnings;
    assertEquals([line, more.length], ["onFile: Error: full\\u{a}\\u{1b}[31m", 1]);
  }
});

Deno.test("onFile is called for a file whose response was cut", async () => {
  const { promise, resolve } = Promise.withResolvers<FileEvent>();
  await using files = await serveBundles({ onFile: resolve });
  // The buffers of TCP grow up to 36 MiB.
  const size = 128 * 1048576;
  await Deno.writeFile(`${files.root}/large`, new Uint8Array(0));
  await Deno.truncate(`${files.root}/large`, size);
  {
    using peer = await RawPeer.connect(files.serving.address);
    await peer.send("GET /large HTTP/1.1\r\n\r\n");
    await peer.readPreamble();
  }
  const { action, bytes, complete, status } = await withTimeout(promise, "an event");
  assertEquals([action, complete, status], ["get", false, 200]);
  assert(bytes < size);
});

/** Requests files, and prints their sizes and times. */
const BUNDLE_READER = `\
import hashlib, http.client, json, sys

host, port, *paths = sys.argv[1:]
compact = {"separators": (",", ":"), "ensure_ascii": False}
lines = "".join(json.dumps(path.split("/"), **compact) + "\\n" for path in paths)
conn = http.client.HTTPConnection(host, int(port))
conn.request("POST", "/?bundle=get", lines.encode())
response = conn.getresponse()
while not (record := json.loads(response.readline())).get("end"):
    name = "/".join(record["path"])
    if record["status"] != 200:
        print(name, record["status"])
        continue
    content = response.read(record["size"])
    assert hashlib.sha256(content).hexdigest() == record["sha256"]
    print(name, len(content), record["modified"])
`;

Deno.test("a program in Python reads a bundle (needs python3)", async () => {
  await using files = await serveBundles({ write: false });
  await Deno.mkdir(`${files.root}/é`);
  await Deno.writeFile(`${files.root}/é/a "b"`, makePattern(60_000));
  const time = new Date("2026-01-02T03:04:05.678Z");
  for (const name of ["file", 'é/a "b"']) await Deno.utime(`${files.root}/${name}`, time, time);
  const [, port] = files.serving.address as [string, number];
  const args = ["127.0.0.1", `${port}`, "file", "none", 'é/a "b"'];
  const env = { PYTHONIOENCODING: "utf-8" };
  const { code, stdout, stderr } = await runCommand(["python3", "-c", BUNDLE_READER, ...args], {
    env,
  });
  if (code === 127) return console.log("python3 is missing: its program is not tested");
  const modified = time.toISOString();
  assertEquals([stdout, stderr], [`file 6 ${modified}\nnone 404\né/a "b" 60000 ${modified}\n`, ""]);
});
