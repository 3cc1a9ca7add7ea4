/**
 * download: whole files, options, broken connections, failures and targets that are links; other
 * calls that send requests to a server.
 */
import { type BodyOut, ChunkedBodyIter, type HeadersToSend } from "@degu/degu/base";
import { Client, isTransient, SSLClient } from "@degu/degu/client";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  fileUri,
  listDirectory,
  listTree,
  makeDirectory,
  remoteDigest,
  StatusError,
  TransferError,
  type TransferOptions,
  type TransferProgress,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { TempPKI } from "@degu/degu/misc";
import { sha256Of } from "./bundles.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import {
  createTempDir,
  fill,
  findPart,
  listNames,
  readMode,
  readPartSize,
  readTexts,
} from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { type ServedVersion, serveVersion } from "./served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import {
  assertTransferError,
  listParts,
  listVisible,
  randomBytes,
  serveFiles,
  serveFilesApp,
} from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeCopy } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { catchRejection } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { withRandom } from "@degu/testing/random.ts";

// download: whole files, arguments, results and leftovers.

const makeApp = (dir: string) => new FilesApp(dir, { list: true, write: true });
const BYTE = new Uint8Array(1);
const SIZES = [0, 1, 65535, 65536, 65537, 524288, 2_100_001];

Deno.test("files of every size are uploaded and downloaded, over a client and over a connection", async (t) => {
  await using files = await serveFiles(makeApp);
  const { client, serverDir, clientDir } = files;
  using conn = await client.connect();
  for (const [index, size] of SIZES.entries()) {
    await t.step(`${size} bytes`, async () => {
      // Use the client and the connection alternately, so that each has every second size.
      const peers = [client, conn];
      for (const [turn, options] of [{}, { resume: false }].entries()) {
        const peer = peers[(index + turn) % 2]!;
        const content = randomBytes(size);
        await Deno.writeFile(`${clientDir}/file`, content);
        const sha256 = sha256Of(content);
        const expected = { bytes: size, total: size, resumedFrom: 0, reused: 0, sha256, unset: [] };
        assertEquals(await upload(peer, `${clientDir}/file`, "/copy", options), expected);
        assertEquals(await Deno.readFile(`${serverDir}/copy`), content);
        assertEquals(await listParts(serverDir), []);
        assertEquals(await download(peer, "/copy", `${clientDir}/back`, options), expected);
        assertEquals(await Deno.readFile(`${clientDir}/back`), content);
        assertEquals(await listNames(clientDir), ["back", "file"]);
        await Deno.remove(`${serverDir}/copy`);
      }
      assertEquals(conn.closed, false);
    });
  }
});

Deno.test("local and remote file names may be in any language, and directories are created", async () => {
  await using files = await serveFiles(makeApp);
  const names = ["a b.txt", "Öl", "日本語.txt", "😀", "~", "%41", "a\nb", '"\\', "é".repeat(127)];
  // The name of a part, with its record, is too long for a file name of 236 bytes or more. Only
  // settled files that aren't small have a part.
  using _later = setClockAhead();
  for (const name of [...names, "x".repeat(235), "x".repeat(236), "x".repeat(255)]) {
    const content = `content of ${name}`.padEnd(65536);
    await Deno.writeTextFile(`${files.clientDir}/file`, content);
    await upload(files.client, `${files.clientDir}/file`, fileUri("d d", "ß", name));
    await download(files.client, fileUri("d d", "ß", name), `${files.clientDir}/${name}`);
    assertEquals(await Deno.readTextFile(`${files.serverDir}/d d/ß/${name}`), content);
    assertEquals(await Deno.readTextFile(`${files.clientDir}/${name}`), content);
  }
});

Deno.test("a file gets the specified time", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  await Deno.writeTextFile(`${files.clientDir}/file`, "content");
  const time = "2001-02-03T04:05:06.789Z";
  for (const [isUpload, path] of [[true, files.serverDir], [false, files.clientDir]] as const) {
    const modified = new Date(time);
    const transfer = isUpload
      ? upload(files.client, `${files.clientDir}/file`, "/copy", { modified })
      : download(files.client, "/copy", `${files.clientDir}/copy`, { modified });
    // The call has copied the date, so a later change has no effect.
    modified.setTime(0);
    await transfer;
    assertEquals((await Deno.stat(`${path}/copy`)).mtime, new Date(time));
  }
});

for (const direction of DIRECTIONS) {
  const time = new Date("2001-02-03T04:05:06.789Z");

  Deno.test(`${direction}: a file gets the time of the source, even an identical one that isn't sent`, async (t) => {
    for (const size of [0, 7, 300_000]) {
      await t.step(`${size} bytes`, async () => {
        await using files = await serveFilesApp({ write: true });
        const { sourceDir, targetDir, copy: copyFile } = makeCopy(direction, files);
        const copy = (options: TransferOptions = {}) => copyFile("a", options);
        const timeOfCopy = async () => (await Deno.stat(`${targetDir}/a`)).mtime;
        await Deno.writeFile(`${sourceDir}/a`, randomBytes(size));
        await Deno.utime(`${sourceDir}/a`, time, time);
        const first = await copy();
        assertEquals([first.bytes, await timeOfCopy()], [size, time]);

        await Deno.utime(`${targetDir}/a`, 1, 1);
        const { ino } = await Deno.stat(`${targetDir}/a`);
        const expectedRepeat = { ...first, bytes: 0, resumedFrom: size };
        assertEquals(await copy({ replace: false }), expectedRepeat);
        assertEquals(await timeOfCopy(), new Date(1000));
        assertEquals([await copy(), await timeOfCopy()], [expectedRepeat, time]);
        // An empty upload is always sent, because offset 0 also means that no file exists.
        if (size > 0) assertEquals((await Deno.stat(`${targetDir}/a`)).ino, ino);
        assertEquals((await copy({ resume: false })).bytes, size, "from the beginning");
      });
    }
  });
}

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: the time of an identical file is set only if it differs`, async () => {
    await using files = await serveFilesApp({ write: true });
    const { sourceDir, targetDir, copy } = makeCopy(direction, files);
    await Deno.writeTextFile(`${sourceDir}/a`, "hello");
    await copy("a");
    let setCount = 0;
    using _times = patch(
      Deno.FsFile.prototype,
      "utimeSync",
      (utimeSync) =>
        function (this: Deno.FsFile, ...times) {
          setCount++;
          utimeSync.apply(this, times);
        },
    );
    assertEquals([(await copy("a")).bytes, setCount], [0, 0]);
    await Deno.utime(`${targetDir}/a`, 1, 1);
    assertEquals([(await copy("a")).bytes, setCount], [0, 1]);
  });
}

Deno.test("an identical file of another user, who alone can set its time, isn't sent", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  const time = new Date("2001-02-03T04:05:06.789Z");
  for (const direction of DIRECTIONS) {
    const { sourceDir, targetDir, copy } = makeCopy(direction, files);
    await Deno.writeTextFile(`${sourceDir}/a`, "hello");
    await Deno.utime(`${sourceDir}/a`, time, time);
    await Deno.writeTextFile(`${targetDir}/a`, "hello");
    using _other = patch(Deno.FsFile.prototype, "utimeSync", () => () => {
      throw Object.assign(new Deno.errors.PermissionDenied("not permitted"), { code: "EPERM" });
    });
    const { bytes, unset } = await copy("a");
    assertEquals([bytes, unset], [0, ["time"]]);
    await Deno.remove(`${targetDir}/a`);
  }
});

Deno.test("without a file-stamp, a downloaded file gets the time of last-modified, or the current time", async () => {
  await using files = await serveVersion(300_000);
  const { servedFile, file } = files;
  const before = Date.now();
  await files.get();
  assert((await Deno.stat(file)).mtime!.getTime() > before - 2000);
  await Deno.remove(file);
  servedFile.headers = { "last-modified": "Sat, 03 Feb 2001 04:05:06 GMT" };
  await files.get();
  assertEquals((await Deno.stat(file)).mtime, new Date("2001-02-03T04:05:06Z"));
});

Deno.test("a local file that is touched during its comparison keeps its time", async () => {
  await using files = await serveVersion(300_000);
  const { servedFile, file } = files;
  await files.get();
  servedFile.headers = { "last-modified": "Sat, 03 Feb 2001 04:05:06 GMT" };
  servedFile.beforeDigest = () => Deno.utimeSync(file, 1, 1);
  assertEquals((await files.get()).bytes, 300_000);
  assertEquals((await Deno.stat(file)).mtime, new Date(1000));
});

/** All calls, with their arguments in the same order. */
const CALLS: Readonly<Record<string, (...args: [Client, string, string, object]) => unknown>> = {
  download: (peer, uri, path, options) => download(peer, uri, path, options),
  upload: (peer, uri, path, options) => upload(peer, path, uri, options),
  downloadTree: (peer, uri, path, options) => downloadTree(peer, uri, path, options),
  uploadTree: (peer, uri, path, options) => uploadTree(peer, path, uri, options),
  listTree: (peer, uri, _, options) => listTree(peer, uri, options),
  listDirectory: (peer, uri, _, options) => listDirectory(peer, uri, options),
  makeDirectory: (peer, uri, _, options) => makeDirectory(peer, uri, options),
  deleteEntry: (peer, uri, _, options) => deleteEntry(peer, uri, options),
  remoteDigest: (peer, uri, _, options) => remoteDigest(peer, uri, options),
};
const CALL_NAMES = Object.keys(CALLS);
const FILES = ["download", "upload"];
const TREES = ["downloadTree", "uploadTree"];

/** Invalid arguments, by the calls that reject them: peers, URIs, local paths and options. */
const REFUSED: readonly [
  names: readonly string[],
  wrong: { peer?: unknown; uri?: unknown; path?: unknown } | { options: unknown },
  Class: typeof TypeError | typeof RangeError,
  message: string,
][] = [
  [CALL_NAMES, { peer: {} }, TypeError, "must be a Client or a Connection"],
  [CALL_NAMES, { uri: 1 }, TypeError, "uri"],
  [CALL_NAMES, { uri: "f/" }, RangeError, "uri"],
  [CALL_NAMES.slice(2, 7), { uri: "/a" }, RangeError, 'must end with "/"'],
  [CALL_NAMES.slice(2, 5), { uri: "/a/?b" }, RangeError, 'must end with "/"'],
  [["upload"], { uri: "/" }, RangeError, "add the name of the file"],
  [["upload"], { uri: "/directory/?a=b" }, RangeError, "add the name of the file"],
  [
    FILES,
    { path: new URL("https://localhost/tmp/x") },
    TypeError,
    "file: must be the path of a file, a file: URL, or a stream; got ",
  ],
  [FILES, { path: "" }, RangeError, "file: must be the path of a file"],
  [TREES, { path: "" }, RangeError, "dir"],
  [FILES, { path: new URL("file://host/a") }, TypeError, "host"],
  [CALL_NAMES, { uri: ["a", "..", ""] }, RangeError, "refers to a directory"],
  [CALL_NAMES, { uri: ["a/b", ""] }, RangeError, "has a slash"],
  [[...FILES, ...TREES], { path: "a\0b" }, RangeError, "NUL"],
  [CALL_NAMES, { options: null }, TypeError, "options"],
  [CALL_NAMES, { options: { sginal: 1 } }, TypeError, '"sginal"'],
  [CALL_NAMES, { options: { signal: {} } }, TypeError, "signal: must be an AbortSignal"],
  [FILES, { options: { resume: null } }, TypeError, "resume: must be a boolean"],
  [FILES, { options: { modified: 0 } }, TypeError, "modified: must be a Date; got number"],
  [FILES, { options: { modified: new Date(NaN) } }, RangeError, "modified: must be a valid date"],
  [
    FILES,
    { options: { modified: new Date("+010000-01-01") } },
    RangeError,
    "in the years 0 to 9999",
  ],
  [[...FILES, ...TREES], { options: { modes: "yes" } }, TypeError, "modes"],
  [TREES, { options: { compare: "size" } }, RangeError, "compare"],
  [TREES, { options: { deleteAll: 1, delete: true } }, TypeError, "deleteAll"],
  [TREES, { options: { deleteAll: true } }, RangeError, "deleteAll: needs delete: true"],
  [TREES, { options: { connections: 0 } }, RangeError, "connections"],
  [TREES, { options: { connections: 65 } }, RangeError, "connections"],
  [TREES, { options: { settled: -1 } }, RangeError, "settled"],
  [TREES, { options: { settled: 901 } }, RangeError, "settled"],
  [TREES, { options: { settled: Infinity } }, RangeError, "settled"],
  [TREES, { options: { onEvent: {} } }, TypeError, "onEvent"],
];

Deno.test("every call checks its arguments before it connects, reads or writes", async () => {
  await using files = await serveFiles();
  const { client, clientDir } = files;
  for (const [names, invalid, Class, message] of REFUSED) {
    for (const name of names) {
      const isFile = FILES.includes(name);
      const validArguments = {
        peer: client,
        uri: "/f/",
        path: `${clientDir}/${isFile ? "file" : ""}`,
        options: {},
      };
      const { peer, uri, path, options } = {
        ...validArguments,
        ...invalid,
      } as typeof validArguments;
      const call = async () => await CALLS[name]!(peer, uri, path, options);
      await assertRejects(call, Class, message, `${name}: ${Deno.inspect(invalid)}`);
    }
  }
  // The server would have logged a connection.
  assertEquals([files.serving.logger.lines, await listNames(clientDir)], [[], []]);
});

// download: connections that break, and files that change at the server.

const SIZE = 3_000_000;

for (const direction of DIRECTIONS) {
  Deno.test(
    `${direction}: a file arrives over a connection that breaks repeatedly`,
    withRandom(async (random) => {
      using _clock = setClockAhead();
      await using files = await serveFiles(makeApp);
      const isUpload = direction === "upload";
      const { sourceDir, targetDir, copy } = makeCopy(direction, files);
      const content = randomBytes(SIZE);
      await Deno.writeFile(`${sourceDir}/file`, content);
      await using relay = new CuttingRelay(files.serving.address);
      const client = new Client(relay.address, { timeout: 60 });
      const partBytes = async () => await readPartSize(targetDir) ?? 0;
      let before = 0, resumed = 0;
      for (let calls = 1; resumed === 0; calls++) {
        assert(calls < 100, `no progress at ${before}`);
        relay.cutAfter(calls === 20 ? Infinity : 3000 + random.integer(SIZE / 5));
        try {
          const result = await copy("file", {}, client);
          resumed = result.resumedFrom;
          assert(resumed >= before, `${resumed} after ${before}`);
          assertEquals(result.sha256, sha256Of(content));
        } catch (error) {
          assert(!(error instanceof TransferError), Deno.inspect(error));
        }
        if (isUpload) continue;
        assert(resumed > 0 || await partBytes() >= before, `less than ${before}`);
        before = await partBytes();
      }
      assertEquals(await Deno.readFile(`${targetDir}/file`), content);
      assertEquals([await listVisible(targetDir), await listParts(files.serverDir)], [
        ["file"],
        [],
      ]);
    }),
  );
}

// download: failures and their leftovers.

Deno.test("a file that differs from the server's is not kept", async () => {
  for (const digest of ["get", "head"] as const) {
    await using files = await serveVersion(200_000);
    Object.assign(files.servedFile, { digest, sha256: "0".repeat(64) });
    await Deno.writeTextFile(files.file, "old");
    await assertTransferError(() => files.get(), "DIGEST_MISMATCH", "SHA-256");
    assertEquals(await readTexts(files.dir), { copy: "old" });
  }
});

/**
 * Changes of the file during a download, whether the connection is cut, and whether the change is
 * reported.
 */
const CHANGES: readonly [
  label: string,
  Partial<ServedVersion>,
  isCut: boolean,
  isChange: boolean,
][] = [
  ["another version", { content: randomBytes(200_000), etag: '"two"' }, false, true],
  ["another version without an etag", { content: randomBytes(200_000), etag: null }, false, true],
  ["the same version, cut", {}, true, false],
  ["another etag, cut", { etag: '"two"' }, true, true],
  ["a missing etag, cut", { etag: null }, true, true],
  ["another length, cut", { content: randomBytes(200_001) }, true, true],
  ["a HEAD that is refused, cut", { headStatus: 503 }, true, false],
];

Deno.test("a file that changes during a download is not kept, even if the connection breaks", async () => {
  for (const [label, change, isCut, isChange] of CHANGES) {
    await using files = await serveVersion(200_000);
    const { servedFile, client, dir, get } = files;
    if (isCut) servedFile.cutAfterBytes = 131_072;
    servedFile.beforePiece = (sent) => {
      if (sent >= 65536) Object.assign(servedFile, change);
    };
    const error = await get().catch((error) => error);
    assertEquals([error.code === "CHANGED", isTransient(error)], [isChange, !isChange], label);
    if (isChange) assert(error instanceof TransferError, label);
    if (isChange) assertStringIncludes(error.message, "changed during the transfer");
    assertEquals((await listNames(dir)).length, isChange ? 0 : 1, label);
    if (!isCut) {
      await get();
      assertEquals(await Deno.readFile(files.file), servedFile.content);
      continue;
    }
    // Over a Connection only the next call can detect the change.
    using connection = await client.connect();
    const connectionError = await download(connection, "/f", `${dir}/g`).catch((error) => error);
    assertEquals(isTransient(connectionError), true, label);
  }
});

Deno.test("download rejects unreliable responses of other servers", async () => {
  function* chunks() {
    yield [null, new Uint8Array(9)] as const;
    yield [null, new Uint8Array(0)] as const;
  }
  await using dir = await createTempDir();
  const zeros = `sha-256=:${"A".repeat(43)}=:`;
  const chunked = new ChunkedBodyIter(chunks());
  const rows: [GET: HeadersToSend, HEAD: HeadersToSend, body: BodyOut, message: string][] = [
    [{}, {}, chunked, "content-length"],
    [{}, {}, BYTE, 'HEAD "/f": the server does not report the SHA-256 of the file (repr-digest'],
    [{}, { "repr-digest": "sha-512=:AA==:" }, BYTE, "does not report the SHA-256 of the file"],
    [{ "repr-digest": "sha-256=:AA==:" }, {}, BYTE, 'GET "/f": the response has an invalid'],
    [{}, { "repr-digest": "sha-256" }, BYTE, 'HEAD "/f": the response has an invalid repr-digest'],
    [{ "repr-digest": "sha-256=0" }, { "repr-digest": zeros }, BYTE, "invalid repr-digest"],
  ];
  for (const [get, head, body, message] of rows) {
    await using serving = serve(({ method }) => {
      return method === "HEAD" ? [200, "OK", head, null] : [200, "OK", get, body];
    });
    using conn = await serving.makeClient().connect();
    const downloading = () => download(conn, "/f", `${dir.path}/f`);
    const error = await assertTransferError(downloading, "UNEXPECTED_RESPONSE", message);
    // The body of a rejected response is not read.
    assertEquals(conn.closed, body === chunked || "repr-digest" in get);
    assertEquals(error.cause instanceof RangeError, message.includes("invalid"));
    assertEquals(await listNames(dir.path), []);
  }
  await using serving = serve(({ method }) => {
    return method === "HEAD" ? [404, "Not Found", {}, null] : [200, "OK", {}, new Uint8Array(1)];
  });
  const downloadOnce = () => download(serving.makeClient(), "/f", `${dir.path}/f`);
  assertEquals((await assertRejects(downloadOnce, StatusError, "HEAD")).status, 404);
});

Deno.test("a signal aborts a download with its reason, and the received bytes are kept", async () => {
  await using files = await serveVersion(1_000_000);
  const { servedFile, dir, get } = files;
  // The code of a disk that refuses a name, and the names of the targets.
  const reason = Object.assign(new Error("f, copy, other: enough"), { code: "EINVAL" });
  const aborted = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => get({ signal: aborted }), Error), reason);
  assertEquals([servedFile.requests, await listNames(dir)], [[], []]);
  // The signal takes precedence over the missing directory.
  const downloadToMissing = download(files.client, "/f", `${dir}/none/copy`, { signal: aborted });
  assertEquals(await assertRejects(() => downloadToMissing, Error), reason);
  const controller = new AbortController();
  const never = Promise.withResolvers<void>();
  servedFile.beforePiece = (sent) => sent < 500_000 ? undefined : never.promise;
  const aborting = assertRejects(() => get({ signal: controller.signal }), Error);
  while ((await readPartSize(dir) ?? 0) < 524_288);
  controller.abort(reason);
  assertEquals(await aborting, reason);
  servedFile.beforePiece = () => {};
  never.resolve();
  assertEquals((await get()).resumedFrom, 524_288);
  assertEquals(await Deno.readFile(files.file), servedFile.content);
  // Abort while the file is synced to the disk.
  const last = new AbortController();
  using _aborting = patch(Deno.FsFile.prototype, "sync", (sync) => {
    return function (this: Deno.FsFile) {
      last.abort(reason);
      return sync.call(this);
    };
  });
  servedFile.digest = "get";
  const downloading = download(files.client, "/f", `${dir}/other`, { signal: last.signal });
  assertEquals(await assertRejects(() => downloading, Error), reason);
  assertEquals((await listNames(dir)).includes("other"), false);
});

Deno.test("replace: false keeps an existing file, even one that was created during the download", async () => {
  await using files = await serveVersion(300_000);
  const { servedFile, file } = files;
  const get = () => files.get({ replace: false });
  await get();
  assertEquals((await get()).resumedFrom, 300_000, "it is identical");
  servedFile.content = randomBytes(300_000);
  servedFile.requests.length = 0;
  await assertTransferError(get, "EXISTS", "already exists");
  assertEquals(servedFile.requests, ["HEAD", "HEAD"]);
  servedFile.beforeDigest = () => Deno.removeSync(file);
  await assertTransferError(get, "TARGET_CHANGED");
  servedFile.beforeDigest = () => {};
  servedFile.beforePiece = () => Deno.writeTextFileSync(file, "mine");
  await assertTransferError(get, "EXISTS", "already exists");
  assertEquals(await Deno.readTextFile(file), "mine");
  assertEquals(await readMode((await findPart(files.dir))!), 0o600, "the part stays private");
  assertEquals((await files.get()).resumedFrom, 300_000);
  assertEquals(await listNames(files.dir), ["copy"]);
});

// Options and progress of transfers.

Deno.test("progress is reported at most ten times a second, and at the end", async () => {
  await using files = await serveVersion(30 * 65536);
  // A server that sends about 2 MB a second.
  files.servedFile.beforePiece = () => new Promise((resolve) => setTimeout(resolve, 25));
  const reports: TransferProgress[] = [];
  const onProgress = (progress: TransferProgress) => void reports.push(progress);
  const begin = performance.now();
  const result = await files.get({ onProgress });
  const seconds = (performance.now() - begin) / 1000;
  const last = reports.pop()!;
  assertEquals([last.done, last.total, last.resumedFrom], [result.total, result.total, 0]);
  assert(reports.length >= 2, `${reports.length} reports`);
  assert(reports.length <= seconds * 10, `${reports.length} reports in ${seconds} s`);
  let before = 0;
  for (const { done } of reports) {
    assert(done > before && done < last.done, Deno.inspect(reports));
    before = done;
  }
});

// Error codes and messages of transfers.

Deno.test("the error for a status names the request and has advice, and the connection stays usable", async () => {
  const hints: [number, string, string][] = [
    [301, "Moved Permanently", "the URI belongs to a directory"],
    [400, "Bad Request", "did not accept"],
    [403, "Forbidden", "may not read"],
    [404, "Not Found", "the file does not exist, or this client may not access it"],
    [405, "Method Not Allowed", "has no FilesApp"],
    [412, "Precondition Failed", "is the server a FilesApp"],
    [500, "Internal Server Error", "check its log"],
    [206, "Partial Content", "is the server a FilesApp"],
  ];
  let statusLine: [number, string] = [200, "OK"];
  await using serving = serve(() => [...statusLine, {}, new TextEncoder().encode("why")]);
  await using dir = await createTempDir();
  const client = serving.makeClient();
  for (const [status, reason, hint] of hints) {
    statusLine = [status, reason];
    using conn = await client.connect();
    const failingCall = () => download(conn, "/a/b?key=secret", `${dir.path}/f`);
    const error = await assertRejects(failingCall, StatusError, hint);
    assert(!error.message.includes("list"), error.message);
    assertEquals([error.name, error.status], ["StatusError", status]);
    assertStringIncludes(error.message, 'GET "/a/b": ');
    assertStringIncludes(error.message, `${status} ${reason}`);
    assertEquals(await listNames(dir.path), []);
    // After most errors the server ends the connection.
    if (status < 400 || [404, 405, 412].includes(status)) assertEquals(conn.closed, false);
  }
  // An unwanted response is read up to 64 KiB.
  for (const [size, isClosed] of [[65_536, false], [65_537, true]] as const) {
    await using serving = serve(() => [206, "Partial Content", {}, new Uint8Array(size)]);
    using conn = await serving.makeClient().connect();
    await assertRejects(() => download(conn, "/a", `${dir.path}/f`), StatusError);
    assertEquals(conn.closed, isClosed);
  }
});

// Creating directories and deleting files on a server.

const write = (dir: string) => new FilesApp(dir, { write: true });

Deno.test("the error of an unsupported operation has the status of the response", async () => {
  await using files = await serveFiles(write);
  const { client, serverDir } = files;
  await Deno.mkdir(`${serverDir}/full/inside`, { recursive: true });
  await Deno.writeTextFile(`${serverDir}/file`, "text");
  const cases: [call: () => Promise<unknown>, status: number, hint: string][] = [
    [() => remoteDigest(client, "/none"), 404, "the file does not exist"],
    [() => deleteEntry(client, "/none"), 404, "no entry has this name"],
    [() => deleteEntry(client, "/full"), 409, "the directory is not empty"],
    [() => deleteEntry(client, "/file/"), 404, "no entry has this name"],
    [() => deleteEntry(client, "/file/none"), 409, "a file has the name of a parent directory"],
    [() => deleteEntry(client, "/"), 403, "may not write to this URI"],
  ];
  for (const [call, status, hint] of cases) {
    assertEquals((await assertRejects(call, StatusError, hint)).status, status);
  }
  assertEquals(await makeDirectory(client, "/"), false);
  const makeFileDirectory = () => makeDirectory(client, "/file/");
  const error = await assertTransferError(makeFileDirectory, "IN_THE_WAY", "a file has this name");
  assertEquals((error.cause as StatusError).status, 409);
  const signal = AbortSignal.abort(new Error("stop"));
  await assertRejects(() => deleteEntry(client, "/file", { signal }), Error, "stop");
  assertEquals(await listVisible(serverDir), ["file", "full"]);
});

Deno.test("deleteEntry deletes an empty directory, also if the server lists it", async () => {
  for (const list of [false, true]) {
    await using files = await serveFiles((dir) => new FilesApp(dir, { list, write: true }));
    for (const uri of ["/d", "/d/"]) {
      await Deno.mkdir(`${files.serverDir}/d`);
      await deleteEntry(files.client, uri);
      assertEquals(await listVisible(files.serverDir), [], uri);
    }
  }
});

// The connection of a transfer: its peer, and its reuse.

const LARGE_SIZE = 6_000_000;

Deno.test("both directions work over TLS, and a part of the same device at another address is resumed", async () => {
  await using pki = await TempPKI.create();
  await using files = await serveFiles(makeApp);
  const content = randomBytes(LARGE_SIZE);
  await Deno.writeFile(`${files.serverDir}/file`, content);
  using _clock = setClockAhead();
  await using firstServer = await startTls(pki, makeApp(files.serverDir));
  await using secondServer = await startTls(pki, makeApp(files.serverDir));
  await using relay = new CuttingRelay(firstServer.server.address);
  const config = { ...pki.clientSslconfig, checkHostname: false };
  const cutClient = new SSLClient(config, relay.address, { timeout: 60 });
  relay.cutAfter(LARGE_SIZE / 2);
  await assertRejects(() => download(cutClient, "/file", `${files.clientDir}/file`));
  const { resumedFrom } = await download(secondServer.client, "/file", `${files.clientDir}/file`);
  assert(resumedFrom > 0 && resumedFrom < LARGE_SIZE / 2, `${resumedFrom}`);
  assertEquals(await Deno.readFile(`${files.clientDir}/file`), content);

  relay.cutAfter(LARGE_SIZE / 2);
  await assertRejects(() => upload(cutClient, `${files.clientDir}/file`, "/copy"));
  const sent = await upload(firstServer.client, `${files.clientDir}/file`, "/copy");
  assertEquals(sent.sha256, sha256Of(content));
  assertEquals(await Deno.readFile(`${files.serverDir}/copy`), content);
});

// Downloads to a symbolic link: the link is resolved, and stays.

/** Serves a new `file`, for a client with links to an old file in another directory. */
async function serveLinks() {
  const files = await serveFiles();
  const { clientDir, serverDir } = files;
  await fill(serverDir, { file: "new" });
  await fill(clientDir, { "other/file": "old", "dir/x": "x" });
  const links = {
    link: "other/file",
    linkToLink: "link",
    directory: "dir",
    dangling: "other/missing",
    loop: "loopBack",
    loopBack: "loop",
    device: "/dev/null",
    fifo: "other/fifo",
    forbidden: `${Deno.cwd()}/deno.json`,
  };
  await makeLinks(
    Object.fromEntries(Object.entries(links).map(([at, to]) => [`${clientDir}/${at}`, to])),
  );
  const target = (name: string) => name.startsWith("/") ? name : `${clientDir}/${name}`;
  return {
    ...files,
    links,
    target,
    download: (name: string, options = {}) =>
      download(files.client, "/file", target(name), options),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

Deno.test("a download to a link replaces the file that the link leads to, in its directory, and the link stays", async () => {
  for (const name of ["link", "linkToLink"]) {
    await using files = await serveLinks();
    const { clientDir } = files;
    await Deno.chmod(`${clientDir}/other/file`, 0o600);
    assertEquals((await files.download(name, { modes: false })).bytes, 3);
    assertEquals(await Deno.readTextFile(`${clientDir}/other/file`), "new");
    assertEquals(Number((await Deno.lstat(`${clientDir}/other/file`)).mode) & 0o777, 0o600);
    assertEquals(await listNames(`${clientDir}/other`), ["file"]);
    for (const [link, to] of Object.entries(files.links)) {
      assertEquals(await Deno.readLink(`${clientDir}/${link}`), to);
    }
    assertEquals((await files.download(name)).bytes, 0);
  }
});

Deno.test("with followLink: false, the file replaces each link, and nothing that it leads to changes", async () => {
  await using files = await serveLinks();
  for (const name of Object.keys(files.links)) {
    await files.download(name, { followLink: false });
    const info = await Deno.lstat(files.target(name));
    assert(info.isFile && await Deno.readTextFile(files.target(name)) === "new", name);
  }
  assertEquals(await Deno.readTextFile(files.target("other/file")), "old");
  assertEquals(await listNames(files.target("dir")), ["x"]);
});

Deno.test("a target that is or leads to no regular file is refused, and no entry changes", async (t) => {
  await using files = await serveLinks();
  const before = await listNames(files.clientDir);
  const hasFifo = await makeFifo(files.target("other/fifo"));
  const rows: (readonly [rule: string, name: string, problem: string])[] = [
    ["a link to a missing file", "dangling", "is a symbolic link to a file that does not exist"],
    ["a link to itself", "loop", "is a symbolic link that leads back to itself"],
    ["a link to a directory", "directory", "is a directory"],
    ["a link to a device", "device", "exists and is not a regular file"],
    ...hasFifo ? [["a link to a FIFO", "fifo", "exists and is not a regular file"] as const] : [],
  ];
  await testEachRow(t, rows, async (_rule, name, problem) => {
    const error = await catchRejection(files.download(name), name) as Error & { code?: unknown };
    assertEquals(error.code, "IN_THE_WAY");
    assertStringIncludes(error.message, `file: ${files.target(name)} ${problem}`);
  });
  assertEquals(await listNames(files.clientDir), before);
  assertEquals(await listNames(files.target("other")), hasFifo ? ["fifo", "file"] : ["file"]);
});

Deno.test("a target that the program may not read or write is an error that names the target", async (t) => {
  await using files = await serveLinks();
  // The suite may write to a checkout below /tmp.
  const path = files.links.forbidden;
  const isForbidden = Deno.permissions.querySync({ name: "write", path }).state !== "granted";
  const rows: (readonly [rule: string, name: string])[] = [
    ...isForbidden
      ? [["a link to a file that the program may not write", "forbidden"] as const]
      : [],
    ["an open file of the process", "/dev/stdout"],
  ];
  await testEachRow(t, rows, async (_rule, name) => {
    const error = await catchRejection(files.download(name), name);
    assert(error instanceof Deno.errors.NotCapable, `${error}`);
    assertStringIncludes(error.message, name === "forbidden" ? files.links.forbidden : name);
  });
});

Deno.test("with replace: false a link leads to an existing file, which is kept", async () => {
  await using files = await serveLinks();
  const error = await catchRejection(files.download("link", { replace: false }), "replace: false");
  assertEquals((error as { code?: unknown }).code, "EXISTS");
  assertEquals(await Deno.readTextFile(files.target("other/file")), "old");
});
