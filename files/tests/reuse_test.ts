/** Reuse of bytes that the target already has, for grown and renamed files. */
import type { HeadersToSend } from "@degu/degu/base";
import { Client, ConnectionError, type Connector, type Requester } from "@degu/degu/client";
import {
  download,
  FilesApp,
  type FilesOptions,
  upload,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { sha256Of } from "./bundles.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { listNames, listNamesWithoutVersions, waitForFile } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { concat } from "@degu/testing/streams.ts";
import {
  assertTransferError,
  type ChangeResponse,
  listParts,
  randomBytes,
  serveFiles,
  serveFilesApp,
} from "@degu/testing/transferring.ts";
import {
  DIRECTIONS,
  lastProgress,
  makeCopy,
  makeTrees,
  type TreeDirection,
} from "@degu/testing/trees.ts";
import { digestOf, makeUploadHeaders } from "./written_directory.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** Makes the files count as settled, even though Deno reports their changes in whole seconds. */
const LATER = 10_000;
const KIBIBYTE = 1024;
const SIZE = 200 * KIBIBYTE;
const OLD = new Date("2026-01-02T03:04:05.678Z");
const NEW = new Date("2026-02-03T04:05:06.789Z");
const LINE = new TextEncoder().encode("a line\n");

/** Files with their times. */
type Content = Readonly<Record<string, readonly [Uint8Array, Date]>>;

async function writeFiles(dir: string, content: Content): Promise<void> {
  for (const [path, [bytes, modified]] of Object.entries(content)) {
    const fullPath = `${dir}/${path}`;
    await Deno.mkdir(fullPath.slice(0, fullPath.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(fullPath, bytes);
    await Deno.utime(fullPath, modified, modified);
  }
}

/** Returns the SHA-256 of each file in a directory, by path. */
function readDigests(dir: string, below = ""): Record<string, string> {
  const digestsByPath: Record<string, string> = {};
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(`${dir}/${below}`)) {
    const path = `${below}${name}`;
    if (name === RESERVED_DIRECTORY_NAME || name === "closed" || isSymlink) continue;
    if (isDirectory) Object.assign(digestsByPath, readDigests(dir, `${path}/`));
    else digestsByPath[path] = sha256Of(Deno.readFileSync(`${dir}/${path}`));
  }
  return digestsByPath;
}

function digests(content: Content): Record<string, string> {
  return Object.fromEntries(
    Object.entries(content).map(([path, [bytes]]) => [path, sha256Of(bytes)]),
  );
}

/** Makes two trees with a server that reuses bytes. */
async function makeReusing(
  direction: TreeDirection,
  source: Content,
  target: Content,
  change?: ChangeResponse,
  options: FilesOptions = {},
) {
  const allOptions = { reuse: true, ...options };
  const trees = await makeTrees(direction, {}, {}, change, allOptions);
  await writeFiles(trees.source, source);
  await writeFiles(trees.target, target);
  const copy = async (options: UploadTreeOptions = {}) => {
    const copied = await trees.copy(options);
    const { bytes, reused, files, failed } = copied.result;
    return { ...copied, moved: { files, failed, bytes, reused } };
  };
  const copyOver = (client: Connector, options: UploadTreeOptions = {}) =>
    trees.copy(options, client);
  return { ...trees, copy, copyOver };
}

const BYTES = randomBytes(SIZE);
const OTHER = randomBytes(SIZE);
const GROWN = concat([BYTES, LINE]);
/** A file of the source, and a file with its content and another name at the target. */
const SAME: Content = { new: [BYTES, OLD] };
const RENAMED: Content = { old: [BYTES, OLD] };

Deno.test.each(DIRECTIONS)(
  "%s: a rotated log is copied before the new log replaces it",
  async (direction) => {
    const source: Content = { log: [OTHER.subarray(0, 70_000), NEW], "log.1": [BYTES, OLD] };
    await using trees = await makeReusing(direction, source, { log: [BYTES, OLD] });
    const { moved: summary } = await trees.copy({ connections: 1 });
    assertEquals([summary.bytes, summary.reused], [70_000, SIZE]);
    assertEquals(readDigests(trees.target), digests(source));
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: of two files of one size and time, one of the same name is reused, or else one that the source lacks",
  async (direction) => {
    const rows: readonly (readonly [source: Content, target: Content])[] = [
      [{ "d/a": [OTHER, OLD], new: [BYTES, OLD] }, { "d/a": [OTHER, OLD], "d/b": [BYTES, OLD] }],
      [{ b: [OTHER, OLD], new: [BYTES, OLD] }, { a: [BYTES, OLD], b: [OTHER, OLD] }],
      [{ "new/b": [BYTES, OLD] }, { "old/a": [OTHER, OLD], "old/b": [BYTES, OLD] }],
    ];
    for (const [source, target] of rows) {
      await using trees = await makeReusing(direction, source, target);
      const { moved: { files, bytes, reused } } = await trees.copy();
      assertEquals([files, bytes, reused], [1, 0, SIZE], Object.keys(target).join());
    }
  },
);

/** Changes of a basis file after its comparison, so that the server can't copy it. */
const BASIS_CHANGES: readonly [label: string, change: (dir: string) => void | Promise<void>][] = [
  ["is gone", (dir) => Deno.removeSync(`${dir}/old`)],
  ["is shorter", (dir) => Deno.truncateSync(`${dir}/old`, SIZE - 1)],
  ["has other bytes", (dir) => Deno.writeFileSync(`${dir}/old`, OTHER)],
  ["is a link", (dir) => {
    Deno.renameSync(`${dir}/old`, `${dir}/other`);
    return makeLinks({ [`${dir}/old`]: "other" });
  }],
];

for (const [label, change] of BASIS_CHANGES) {
  Deno.test(`upload: a file is sent whole, once, if its basis file ${label} when it is copied`, async () => {
    const puts: unknown[] = [];
    await using trees = await makeReusing("upload", SAME, RENAMED, async (request) => {
      if (request.method !== "PUT" || request.path.at(-1) !== "new") return null;
      if (puts.length === 0) await change(trees.target);
      puts.push(request.headers["reuse"]);
      return null;
    });
    const { target } = trees;
    const { moved: summary, events } = await trees.copy();
    assertEquals(summary, { files: 1, failed: 0, bytes: SIZE, reused: 0 });
    assertEquals(puts, ['"/tree/old";length=204800', undefined]);
    assertEquals(lastProgress(events), [SIZE, SIZE]);
    assertEquals(sha256Of(await Deno.readFile(`${target}/new`)), sha256Of(BYTES));
    assertEquals(await listParts(`${target}/..`), []);
  });
}

Deno.test("download: a file is requested whole, once, if its basis file has changed when it is copied", async () => {
  await using trees = await makeReusing("download", SAME, RENAMED, async ({ headers }, respond) => {
    if (headers["digest-length"] === undefined) return null;
    const answered = await respond();
    // The server has hashed the file, and the client may have hashed its own.
    Deno.writeFileSync(`${trees.target}/old`, OTHER);
    return answered;
  });
  const { target } = trees;
  const { moved: summary } = await trees.copy();
  assertEquals(summary, { files: 1, failed: 0, bytes: SIZE, reused: 0 });
  assertEquals(sha256Of(await Deno.readFile(`${target}/new`)), sha256Of(BYTES));
  assertEquals((await listNamesWithoutVersions(target)).toSorted(), ["new", "old"]);
});

Deno.test("download: a copied prefix that can't be synced to a full disk is not kept", async () => {
  await using trees = await makeReusing("download", { log: [GROWN, NEW] }, { log: [BYTES, OLD] });
  const { client, target } = trees;
  using _clock = setClockAhead(LATER);
  // Only the first sync fails, as with a real loss: the next one does not report it.
  using failingSync = patch(Deno.FsFile.prototype, "sync", () => () => {
    failingSync[Symbol.dispose]();
    return Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }));
  });
  const get = () => download(client, "/tree/log", `${target}/log`);
  await assertTransferError(get, "DISK_FULL");
  const parts = (await listNames(target)).filter((name) => name !== "log");
  assertEquals(parts.map((name) => Deno.statSync(`${target}/${name}`).size), [0]);
  assertEquals((await get()).reused, SIZE);
});

Deno.test("download: a file that becomes shorter before it is verified is copied in its new version", async () => {
  let verified = 0;
  const source: Content = { log: [GROWN, NEW] };
  await using trees = await makeReusing("download", source, {}, ({ method, path }) => {
    if (method !== "HEAD" || path.at(-1) !== "log") return null;
    if (verified++ === 0) Deno.writeFileSync(`${trees.source}/log`, OTHER);
    return null;
  });
  const { moved: summary } = await trees.copy();
  assertEquals([summary.files, summary.failed], [1, 0]);
  assertEquals(readDigests(trees.target), { log: sha256Of(OTHER) });
});

/** An app that serves a directory `tree` with a file `old`, and entries that no peer can read. */
async function makeApp(options: FilesOptions = {}) {
  const files = await serveFiles();
  const dir = `${files.serverDir}/root`;
  await Deno.mkdir(`${dir}/sub/${RESERVED_DIRECTORY_NAME}`, { recursive: true });
  await writeFiles(files.serverDir, {
    "root/old": [BYTES, OLD],
    [`root/sub/${RESERVED_DIRECTORY_NAME}/part`]: [BYTES, OLD],
    "root/.a.degu-part": [BYTES, OLD],
    "root/closed": [BYTES, OLD],
    outside: [BYTES, OLD],
    "root-too": [BYTES, OLD],
  });
  await Deno.chmod(`${dir}/closed`, 0);
  const links = { [`${dir}/link`]: "old", [`${dir}/way`]: "sub", [`${dir}/out`]: "../outside" };
  if (HAS_LINKS) await makeLinks(links);
  const log: string[] = [];
  const logger = { warn: (line: string) => void log.push(line) };
  const app = new FilesApp(dir, { write: true, reuse: true, logger, ...options });
  return { ...files, dir, app, log };
}

/** The headers of a whole file that reuses bytes. */
function makeReuseHeaders(reuse: string, moreHeaders: HeadersToSend = {}): HeadersToSend {
  return { ...makeUploadHeaders(BYTES, SIZE), reuse, ...moreHeaders };
}

const mayReadAll = Deno.uid() === 0 || Deno.build.os === "windows";

const REFUSED: readonly (readonly [label: string, reuse: string, status: number])[] = [
  ["a missing file", `"/none";length=${SIZE}`, 404],
  ["a directory", `"/sub";length=${SIZE}`, 404],
  ["a file outside", `"/../outside";length=${SIZE}`, 404],
  ["a file outside, escaped", `"/%2E%2E/outside";length=${SIZE}`, 404],
  ["the root", `"/";length=${SIZE}`, 404],
  ["a path that is not UTF-8", `"/old%ff";length=${SIZE}`, 404],
  ["a sibling whose name has the root's name as its prefix", `"/../root-too";length=${SIZE}`, 404],
  ["a link", `"/link";length=${SIZE}`, 404],
  ["a link to the outside", `"/out";length=${SIZE}`, 404],
  ["a file through a link", `"/way/old";length=${SIZE}`, 404],
  ["a part of an upload", `"/sub/${RESERVED_DIRECTORY_NAME}/part";length=${SIZE}`, 404],
  ["a part of a download", `"/.a.degu-part";length=${SIZE}`, 404],
  ...mayReadAll ? [] : [["an unreadable file", `"/closed";length=${SIZE}`, 404] as const],
  ["more bytes than the file has", `"/old";length=${SIZE + 1}`, 400],
  ["a length that differs from the offset", `"/old";length=${SIZE - 1}`, 400],
  ["a length of 0", `"/old";length=0`, 400],
  ["no length", `"/old"`, 400],
];

for (const [label, reuse, status] of REFUSED) {
  const ignore = !HAS_LINKS && label.includes("link");
  Deno.test(`a peer can't reuse ${label}: ${status}`, { ignore }, async () => {
    await using files = await makeApp();
    const digestsBefore = readDigests(files.serverDir);
    const request = mkreq("PUT", "/new", makeReuseHeaders(reuse), null);
    const [answered, , headers] = await files.app.handle(request);
    assertEquals([answered, headers["upload-offset"]], [status, undefined]);
    assertEquals(readDigests(files.serverDir), digestsBefore);
    assertEquals(await listNames(`${files.dir}/${RESERVED_DIRECTORY_NAME}`).catch(() => []), []);
  });
}

Deno.test("if too many files are open, a peer is told to try again, and not that the file to reuse is missing", async () => {
  await using files = await makeApp();
  using _full = patch(Deno, "lstatSync", (lstatSync) => (path) => {
    if (!`${path}`.endsWith("/old")) return lstatSync(path);
    throw Object.assign(new Error("full"), { code: "EMFILE" });
  });
  const request = mkreq("PUT", "/new", makeReuseHeaders(`"/old";length=${SIZE}`), null);
  assertEquals((await files.app.handle(request))[0], 503);
});

Deno.test("a peer can reuse a file that it may read", async () => {
  await using files = await makeApp();
  const headers = makeReuseHeaders(`"/old";length=${SIZE}`);
  const [status] = await files.app.handle(mkreq("PUT", "/deep/new", headers, null));
  assertEquals([status, readDigests(files.dir)["deep/new"]], [201, sha256Of(BYTES)]);
});

Deno.test("a PUT that reuses bytes honors its preconditions", async () => {
  await using files = await makeApp();
  await writeFiles(files.dir, { new: [OTHER, OLD] });
  const headers = makeReuseHeaders(`"/old";length=${SIZE}`, { "if-none-match": "*" });
  const [status] = await files.app.handle(mkreq("PUT", "/new", headers, null));
  assertEquals([status, readDigests(files.dir)["new"]], [412, sha256Of(OTHER)]);
});

Deno.test("reused bytes count for maxBytes", async () => {
  await using files = await makeApp({ maxBytes: SIZE - 1 });
  const headers = makeReuseHeaders(`"/old";length=${SIZE}`);
  assertEquals((await files.app.handle(mkreq("PUT", "/new", headers, null)))[0], 413);
});

Deno.test("an app without reuse ignores reuse requests, and sends no reuse headers", async () => {
  await using files = await makeApp({ reuse: false, list: true });
  const headers = makeReuseHeaders(`"/old";length=${SIZE}`);
  const [status, , putHeaders] = await files.app.handle(mkreq("PUT", "/new", headers, null));
  assertEquals([status, putHeaders["upload-offset"]], [409, "0"]);
  const digestHeaders = { "want-repr-digest": "sha-256=10", "digest-length": "1" };
  for (const [method, uri] of [["HEAD", "/old"], ["GET", "/"], ["HEAD", "/new"]] as const) {
    const versionHeaders = { "upload-length": "1", "upload-version": "a" };
    const request = mkreq(method, uri, uri === "/new" ? versionHeaders : digestHeaders);
    const [, , { reuse, "digest-length": digestLength }] = await files.app.handle(request);
    assertEquals([reuse, digestLength], [undefined, undefined]);
  }
});

Deno.test("HEAD returns the digest of a prefix, and its length", async () => {
  await using files = await makeApp();
  const requestDigest = async (length: string) => {
    const requestHeaders = { "want-repr-digest": "sha-256=10", "digest-length": length };
    const [, , headers] = await files.app.handle(mkreq("HEAD", "/old", requestHeaders));
    return [headers["digest-length"], headers["repr-digest"], headers["reuse"]];
  };
  const digest = (length: number) => digestOf(BYTES.subarray(0, length));
  for (const length of [0, 1, SIZE - 1, SIZE]) {
    assertEquals(await requestDigest(`${length}`), [`${length}`, digest(length), "/old"]);
  }
  assertEquals(await requestDigest(`${SIZE + 1}`), [undefined, undefined, "/old"]);
  for (const invalid of ["-1", "01", "a"]) {
    assertEquals(await requestDigest(invalid), [undefined, digest(SIZE), "/old"]);
  }
});

for (const options of [{}, { resume: false }]) {
  const suffix = "resume" in options ? ", without resuming" : "";
  for (const isSettled of [true, false]) {
    const condition = isSettled ? "" : ", and has just changed,";
    for (const [direction, verb] of [["upload", "sent"], ["download", "received"]] as const) {
      Deno.test(`${direction}: only the new bytes of a file that has grown${condition} are ${verb}${suffix}`, async () => {
        await using files = await serveFilesApp({ write: true, reuse: true });
        const { sourceDir, targetDir, copy } = makeCopy(direction, files);
        await writeFiles(targetDir, { log: [BYTES, OLD] });
        await writeFiles(sourceDir, { log: [GROWN, NEW] });
        using _clock = setClockAhead(isSettled ? LATER : 0);
        const reports: unknown[] = [];
        const onProgress = (progress: unknown) => void reports.push(progress);
        const result = await copy("log", { ...options, onProgress });
        const { bytes, reused, resumedFrom, total, sha256 } = result;
        assertEquals([bytes, reused, resumedFrom], [LINE.length, SIZE, 0]);
        assertEquals([total, sha256], [GROWN.length, sha256Of(GROWN)]);
        const progress = { done: total, total, transferred: bytes, resumedFrom: 0, reused };
        assertEquals(reports.at(-1), progress);
        assertEquals(readDigests(targetDir), { log: sha256Of(GROWN) });
      });
    }
  }
}

Deno.test("a comparison or a copy whose connection breaks rejects, and no whole file is sent instead", async (t) => {
  const rows: [label: string, TreeDirection, source: Uint8Array, header: string][] = [
    ["download, of equal lengths", "download", OTHER, "want-repr-digest"],
    ["download, of a prefix", "download", GROWN, "digest-length"],
    ["upload, of a prefix", "upload", GROWN, "digest-length"],
    ["upload, of a copied prefix", "upload", GROWN, "reuse"],
  ];
  await testEachRow(t, rows, async (_label, direction, source, header) => {
    const transfers: string[] = [];
    const options = { write: true, reuse: true };
    await using files = await serveFilesApp(options, ({ method, headers }, _respond, session) => {
      if (headers[header] !== undefined) session.close();
      else if (method !== "HEAD") transfers.push(method);
      return null;
    });
    const { sourceDir, targetDir, copy } = makeCopy(direction, files);
    await writeFiles(targetDir, { log: [BYTES, OLD] });
    await writeFiles(sourceDir, { log: [source, NEW] });
    await assertRejects(() => copy("log"), ConnectionError);
    assertEquals(transfers, []);
    assertEquals(readDigests(targetDir), { log: sha256Of(BYTES) });
  });
});

Deno.test("upload: a file is sent whole, once, if the server refuses to copy its prefix", async () => {
  const puts: unknown[] = [];
  await using files = await serveFilesApp({ write: true, reuse: true }, ({ method, headers }) => {
    if (method === "PUT") puts.push(headers["reuse"]);
    return headers["reuse"] === undefined ? null : [400, "Bad Request", {}, null];
  });
  const { clientDir, serverDir, client } = files;
  await writeFiles(serverDir, { log: [BYTES, OLD] });
  await writeFiles(clientDir, { log: [GROWN, NEW] });
  assertEquals((await upload(client, `${clientDir}/log`, "/log")).reused, 0);
  assertEquals(puts, ['"/log";length=204800', undefined]);
  assertEquals(readDigests(serverDir), { log: sha256Of(GROWN) });
});

Deno.test.each(DIRECTIONS)(
  "%s: bytes of a file at the target that is newer are not reused",
  async (direction) => {
    await using files = await serveFilesApp({ write: true, reuse: true });
    const { sourceDir, targetDir, copy } = makeCopy(direction, files);
    await writeFiles(targetDir, { log: [BYTES, NEW] });
    await writeFiles(sourceDir, { log: [GROWN, OLD] });
    const { bytes, reused } = await copy("log");
    assertEquals([bytes, reused], [GROWN.length, 0]);
  },
);

Deno.test("download: a file that becomes shorter before its prefix is copied has changed, and is kept", async () => {
  await using files = await serveFilesApp({ reuse: true });
  const { clientDir, serverDir, client } = files;
  await writeFiles(clientDir, { log: [BYTES, OLD] });
  await writeFiles(serverDir, { log: [GROWN, NEW] });
  using conn = await client.connect();
  const from: Requester & Pick<typeof conn, "peer"> = {
    request: (...args) => conn.request(...args),
    // The last call before the copy.
    peer() {
      Deno.truncateSync(`${clientDir}/log`, 5);
      return conn.peer();
    },
  };
  await assertTransferError(() => download(from, "/log", `${clientDir}/log`), "TARGET_CHANGED");
  assertEquals(readDigests(clientDir).log, sha256Of(BYTES.subarray(0, 5)));
});

Deno.test("download: of a file that changes after its prefix was copied, the new version replaces the part", async () => {
  const files = await serveFilesApp({ reuse: true }, ({ method }) => {
    if (method === "GET") Deno.writeFileSync(`${files.serverDir}/log`, LARGE);
    return null;
  });
  await using _files = files;
  const { clientDir, serverDir, client } = files;
  await writeFiles(clientDir, { log: [BYTES, OLD] });
  await writeFiles(serverDir, { log: [GROWN, NEW] });
  using _clock = setClockAhead(LATER);
  const { reused } = await download(client, "/log", `${clientDir}/log`);
  assertEquals([reused, await listNames(clientDir)], [0, ["log"]]);
  assertEquals(readDigests(clientDir), { log: sha256Of(LARGE) });
});

/** A file whose prefix is at the target, and whose remaining bytes suffice for a cut. */
const LARGE = concat([BYTES, randomBytes(3_000_000)]);

Deno.test.each(DIRECTIONS)(
  "%s: bytes that were copied or sent before an interruption are not sent again",
  async (direction) => {
    await using trees = await makeReusing(direction, { log: [LARGE, NEW] }, { log: [BYTES, OLD] });
    using _clock = setClockAhead(LATER);
    await using relay = new CuttingRelay(trees.serving.address);
    const copyOverRelay = async () => {
      const { events } = await trees.copyOver(new Client(relay.address));
      return events.find((event) => event.type === "copied")!;
    };
    relay.stallAfter(1_500_000);
    const interrupted = assertRejects(copyOverRelay);
    // A cut can discard sent bytes that the other side has not read.
    await waitForFile(`${trees.target}/..`, (_name, size) => size > SIZE);
    relay.cutAfter(0);
    relay.closeAll();
    await interrupted;
    relay.cutAfter(Infinity);
    const { bytes, resumedFrom, reused, total } = await copyOverRelay();
    assert(resumedFrom > SIZE, `${resumedFrom}`);
    assertEquals([reused, bytes + resumedFrom, total], [0, LARGE.length, LARGE.length]);
    assertEquals(readDigests(trees.target), { log: sha256Of(LARGE) });
  },
);

Deno.test("with write: add a new file can reuse bytes, and an existing file stays", async () => {
  const source: Content = { new: [BYTES, OLD], log: [GROWN, NEW] };
  const target: Content = { old: [BYTES, OLD], log: [BYTES, OLD] };
  await using trees = await makeReusing("upload", source, target, undefined, { write: "add" });
  const { moved: summary, outcomes } = await trees.copy();
  assertEquals(summary, { files: 1, failed: 1, bytes: 0, reused: SIZE });
  assertEquals(outcomes, { new: "copied", log: "failed" });
  assertEquals(readDigests(trees.target), digests({ ...target, new: [BYTES, OLD] }));
});

/**
 * Makes a function that detects requests to compare or copy a prefix, before the file itself is
 * requested.
 */
function makeReuseDetector(): (method: string, uri: string, headers: HeadersToSend) => boolean {
  const requested = new Set<string>();
  return (method, uri, headers) => {
    if (method === "GET") requested.add(uri);
    const isComparison = headers["digest-length"] !== undefined && !requested.has(uri);
    return isComparison || headers["reuse"] !== undefined;
  };
}

/** A client whose requests time out if they match. */
class ImpatientClient implements Connector {
  timeouts = 0;
  readonly #client: Connector;
  readonly #isOfReuse = makeReuseDetector();
  readonly #isTooSlow: (headers: HeadersToSend) => boolean;

  constructor(client: Connector, isTooSlow: (headers: HeadersToSend) => boolean) {
    this.#client = client;
    this.#isTooSlow = isTooSlow;
  }

  readonly connect: Connector["connect"] = async (options) => {
    const conn = await this.#client.connect(options);
    const request: typeof conn.request = async (method, uri, headers = {}, ...args) => {
      const isOfReuse = this.#isOfReuse(method, uri, headers) && this.#isTooSlow(headers);
      if (!isOfReuse) return await conn.request(method, uri, headers, ...args);
      this.timeouts++;
      conn.close();
      throw new ConnectionError("the peer kept the connection waiting", {
        fault: "timed out",
      });
    };
    return {
      request,
      get closed() {
        return conn.closed;
      },
      close: () => conn.close(),
    };
  };
}

const TOO_SLOW: readonly [label: string, header: string, TreeDirection][] = [
  ["compares", "digest-length", "download"],
  ["compares", "digest-length", "upload"],
  ["copies", "reuse", "upload"],
];

for (const [action, header, direction] of TOO_SLOW) {
  Deno.test(`${direction}: whole files are sent if the disk ${action} more slowly than the client waits`, async () => {
    const source: Content = { new: [OTHER, OLD], log: [GROWN, NEW] };
    const target: Content = { old: [OTHER, OLD], log: [BYTES, OLD] };
    await using trees = await makeReusing(direction, source, target);
    using _clock = setClockAhead(LATER);
    const isTooSlow = (headers: HeadersToSend) => headers[header] !== undefined;
    const client = new ImpatientClient(trees.client, isTooSlow);
    const { result, events } = await trees.copyOver(client, { delete: true });
    assertEquals([result.files, result.failed, result.deletionsSkipped], [2, 0, null]);
    assertEquals(result.bytes + result.reused, GROWN.length + SIZE);
    assert(client.timeouts > 0);
    assertEquals(lastProgress(events), [result.bytes, result.bytes]);
    assertEquals(readDigests(trees.target), digests(source));
  });
}
