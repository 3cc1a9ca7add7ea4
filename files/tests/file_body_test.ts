/** The body of a file: ranges, pieces, digests, and files that change while they are sent. */
import {
  BodyError,
  BodyIter,
  ConnectionError,
  type HeadersToSend,
  Range,
  SuffixRange,
  UnsatisfiedRange,
} from "@degu/degu/base";
import { ProxyApp } from "@degu/degu";
import {
  download,
  type FileEvent,
  type FileLogDetails,
  FilesApp,
  remoteDigest,
} from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import {
  DigestCache,
  formatReprDigest,
  isDigestRequested,
  parseReprDigest,
  WANT_SHA256,
} from "@degu/internal/files/wire/digest.ts";
import {
  type FileStats,
  isOverwritten,
  isUnchanged,
  POOLED_BYTES,
  readPieces,
  readSmallFile,
} from "@degu/internal/files/disk/file_pieces.ts";
import { openServedFile } from "@degu/internal/files/serve/resolve_path.ts";
import { Root } from "@degu/internal/files/root.ts";
import { sha256Of } from "./bundles.ts";
import { api, makeSession } from "@degu/testing/sessions.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertRangeError } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { exchange, waitForTick } from "@degu/testing/raw_peer.ts";
import {
  makePattern,
  makeTree,
  serveDirectory,
  serveLargeFile,
  summarize,
} from "./served_directory.ts";
import { type LogLevel, RecordingLogger, serve } from "@degu/testing/serving.ts";
import { listOpenFiles } from "@degu/testing/special_files.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { assertTransferError } from "@degu/testing/transferring.ts";
import { digestOf } from "./written_directory.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { open } from "node:fs/promises";

/** Writes ten bytes into a file without changing its size. */
async function overwrite(path: string, position: number): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(position, Deno.SeekMode.Start);
  await file.write(new Uint8Array(10).fill(2));
}

// FilesApp: ranges of files, and the pieces that a body is sent in.

Deno.test("FilesApp serves every form of a single range", async () => {
  await using files = await serveDirectory();
  for (const size of [1, 10, 2_000_000]) {
    const content = makePattern(size);
    await files.write("file", content);
    const property = fc.asyncProperty(
      fc.nat(size - 1),
      fc.integer({ min: 1, max: size + 10 }),
      async (start, length) => {
        const response = await files.conn.getRange("/file", {}, start, start + length);
        const stop = Math.min(start + length, size);
        assertEquals([response.status, response.reason], [206, "Partial Content"]);
        const contentRange = String(response.headers["content-range"]);
        assertEquals(contentRange, `bytes ${start}-${stop - 1}/${size}`);
        assertEquals(response.headers["content-length"], stop - start);
        const bytes = await response.body!.bytes();
        assertEquals(Buffer.compare(bytes, content.subarray(start, stop)), 0);
      },
    );
    await fc.assert(property, { numRuns: 20 });
  }
});

Deno.test("FilesApp serves open, suffix and huge ranges, also through two proxies", async () => {
  await using files = await serveDirectory();
  await files.write("ten", "0123456789");
  await using proxy = serve(new ProxyApp(files.serving.makeClient()));
  await using secondProxy = serve(new ProxyApp(proxy.makeClient()));
  const rows: readonly (readonly [range: string, status: number, range: string, text: string])[] = [
    ["bytes=0-", 206, "bytes 0-9/10", "0123456789"],
    ["bytes=5-", 206, "bytes 5-9/10", "56789"],
    ["bytes=2-9223372036854775807", 206, "bytes 2-9/10", "23456789"],
    ["bytes=-9223372036854775807", 206, "bytes 0-9/10", "0123456789"],
    ["bytes=-3", 206, "bytes 7-9/10", "789"],
    ["bytes=10-", 416, "bytes */10", ""],
    ["bytes=18446744073709551615-", 416, "bytes */10", ""],
    ["bytes=-0", 416, "bytes */10", ""],
  ];
  for (const { address } of [files.serving, proxy, secondProxy]) {
    for (const [range, status, contentRange, text] of rows) {
      const request = `GET /ten HTTP/1.1\r\nrange: ${range}\r\nconnection: close\r\n\r\n`;
      const { received } = await exchange(address, request);
      const [preamble = "", content] = received.split("\r\n\r\n");
      const lines = preamble.split("\r\n");
      assertEquals(lines[0]?.slice(9, 12), `${status}`, range);
      assert(lines.includes(`content-range: ${contentRange}`), received);
      assertEquals(content, text, range);
    }
  }
});

Deno.test("a partial response has every header of the whole file, and content-range", async () => {
  await using files = await serveDirectory();
  await files.write("ten.html", "0123456789");
  const old = new Date("2020-01-01T00:00:00Z");
  await Deno.utime(`${files.path}/ten.html`, old, old);
  using _clock = setClockAhead();
  const headersOf = async (headers: HeadersToSend) => {
    const response = await files.conn.get("/ten.html", headers);
    await response.body?.bytes();
    return { ...response.headers };
  };
  const wholeHeaders = await headersOf({});
  const partialHeaders = await headersOf({ range: new Range(2, 5) });
  assertEquals(String(partialHeaders["content-range"]), "bytes 2-4/10");
  assertEquals([wholeHeaders["content-length"], partialHeaders["content-length"]], [10, 3]);
  const { "content-length": _length, ...commonHeaders } = wholeHeaders;
  assertEquals({ ...partialHeaders, ...commonHeaders }, partialHeaders);
  for (const name of ["accept-ranges", "content-type", "etag", "last-modified"]) {
    assert(name in wholeHeaders, name);
  }
});

Deno.test("a range without a byte of the file is answered with 416 and the size, and has no effect on HEAD", async () => {
  await using files = await serveDirectory();
  const contents = { ten: "0123456789", one: "0", empty: "" };
  for (const [name, content] of Object.entries(contents)) await files.write(name, content);
  const cases: [name: keyof typeof contents, range: Range | SuffixRange, ...answer: unknown[]][] = [
    ["ten", new Range(10, 11), 416, undefined, "bytes */10", null],
    ["ten", new Range(2 ** 53 - 2, 2 ** 53 - 1), 416, undefined, "bytes */10", null],
    ["ten", new SuffixRange(0), 416, undefined, "bytes */10", null],
    ["empty", new SuffixRange(1), 416, undefined, "bytes */0", null],
    // All bytes of an empty file.
    ["empty", new Range(0, 1), 200, undefined, undefined, null],
    ["empty", new Range(0, Infinity), 200, undefined, undefined, null],
    ["empty", new Range(2 ** 53 - 1, Infinity), 416, undefined, "bytes */0", null],
    ["ten", new Range(2 ** 53 - 1, Infinity), 416, undefined, "bytes */10", null],
    ["ten", new Range(2, Infinity), 206, 8, "bytes 2-9/10", "23456789"],
    ["ten", new Range(2, 5), 206, 3, "bytes 2-4/10", "234"],
    ["one", new SuffixRange(1), 206, 1, "bytes 0-0/1", "0"],
    ["ten", new SuffixRange(3), 206, 3, "bytes 7-9/10", "789"],
    ["ten", new SuffixRange(2 ** 53 - 1), 206, 10, "bytes 0-9/10", "0123456789"],
  ];
  for (const [name, range, ...expected] of cases) {
    using conn = await files.serving.makeClient().connect();
    const names = ["content-length", "content-range"];
    const head = await summarize(await conn.head(`/${name}`, { range }), ...names);
    assertEquals(head, [200, contents[name].length, undefined, null]);
    const response = await conn.get(`/${name}`, { range });
    const { "content-range": contentRange } = response.headers;
    const [status, length, , text] = await summarize(response, ...names);
    assertEquals([status, length, contentRange && `${contentRange}`, text], expected);
    if (status === 416) assertInstanceOf(contentRange, UnsatisfiedRange);
  }
});

Deno.test("several ranges, and a range of another unit, are answered with the whole file", async () => {
  await using files = await serveDirectory();
  await files.write("ten", "0123456789");
  for (const range of ["bytes=0-1,3-4", "bytes=-1, 0-0", "items=0-1"]) {
    const request = `GET /ten HTTP/1.1\r\nrange: ${range}\r\nconnection: close\r\n\r\n`;
    const { received } = await exchange(files.serving.address, request);
    assert(received.startsWith("HTTP/1.1 200 OK\r\n"), received);
    assert(received.endsWith("\r\n\r\n0123456789"), received);
  }
});

Deno.test("a piece of a file keeps its bytes until it has been written", async () => {
  await using dir = await createTempDir();
  const content = makePattern(3_000_000);
  await Deno.writeFile(`${dir.path}/file`, content);
  const [, , , body] = await new FilesApp(dir.path).handle(mkreq("GET", "/file"));
  assert(typeof body === "object" && body !== null && "writeTo" in body);
  let position = 0;
  await body.writeTo({
    async write(bytes) {
      // Wait until the next piece has been read.
      for (let round = 0; round < 3; round++) await waitForTick();
      const expected = content.subarray(position, position += bytes.length);
      assertEquals(Buffer.compare(bytes, expected), 0);
    },
  });
  assertEquals(position, content.length);
});

// FilesApp: files that change while they are sent.

const linux = Deno.build.os === "linux";

/** Opens a file of a served directory. */
async function openFile(root: string, name: string) {
  const file = await openServedFile(new Root(root), [name]);
  assert(file !== null && file !== "directory");
  return file;
}

/** Sets the time of the large file to the past, so that later writes have another time. */
async function setOldTime(root: string): Promise<void> {
  await Deno.utime(`${root}/large`, new Date(0), new Date(0));
}

Deno.test("a file that is overwritten in place cuts the response", async () => {
  await using large = await serveLargeFile();
  // More bytes than all buffers of the connection hold.
  await Deno.truncate(`${large.root}/large`, 64 * 1048576);
  await setOldTime(large.root);
  for (const offset of [0, 30 * 1048576, 64 * 1048576 - 10]) {
    using conn = await large.serving.makeClient().connect();
    const { body } = await conn.get("/large");
    await overwrite(`${large.root}/large`, offset);
    const error = await assertRejects(() => body!.writeTo(new WritableStream()), ConnectionError);
    assertEquals(error.code, "BODY_INCOMPLETE", `${offset}`);
  }
  const [logged = ""] = await large.serving.logger.waitFor("info");
  assertStringIncludes(
    logged,
    `: GET "/large": ${large.root}/large was overwritten while it was sent`,
  );
  assertEquals([logged.split("\n").length, large.serving.logger.messagesOf("error")], [1, []]);
  if (linux) assertEquals(await listOpenFiles(large.root), []);
});

Deno.test("an error of the disk in the middle of a file is reported with its path, and not as an error of the app", async () => {
  for (const isOwnLogger of [false, true]) {
    const logger = new RecordingLogger();
    const refusals: FileLogDetails["refusal"][] = [];
    const record = (level: LogLevel, line: string, { refusal }: FileLogDetails) => {
      logger[level](line);
      refusals.push(refusal);
    };
    await using tree = await makeTree();
    await Deno.writeFile(`${tree.root}/large`, new Uint8Array(4_000_000));
    const options = isOwnLogger ? { logger: { ...logger, record } } : {};
    await using serving = serve(new FilesApp(tree.root, options));
    const handle = await open(`${tree.root}/large`);
    const FileHandle = Object.getPrototypeOf(handle) as typeof handle;
    await handle.close();
    let readCount = 0;
    using _read = patch(FileHandle, "read", (read) =>
      function (this: unknown, ...args: []) {
        if (++readCount < 3) return Reflect.apply(read, this, args);
        const fields = { code: "EIO", syscall: "read" };
        return Promise.reject(Object.assign(new Error("EIO: i/o error, read"), fields));
      } as typeof read);
    const { body } = await serving.makeClient().request("GET", "/large");
    const error = await assertRejects(() => body!.bytes(), ConnectionError);
    assertEquals(error.code, "BODY_INCOMPLETE");
    const problem = `Error: EIO: i/o error, read '${tree.root}/large'`;
    const lines = isOwnLogger ? logger.messagesOf("warn") : await serving.logger.waitFor("info");
    assertEquals(lines.map((line) => line.replace(/^[^ ]+ /, "")), [`GET "/large": ${problem}`]);
    const { action, path, status } = refusals[0] ?? {};
    const details = isOwnLogger ? ["get", "large", 403] : [undefined, undefined, undefined];
    assertEquals([action, path?.join("/"), status], details);
    assertEquals(serving.logger.messagesOf("error"), []);
    await serving.logger.waitFor("debug", "the response was cut: ");
  }
});

/** Changes a file in the next second: Deno reports the time of a change in seconds. */
async function changeLater(change: () => Promise<void>): Promise<void> {
  // The clock of the file system may be some milliseconds behind.
  await new Promise((resolve) => setTimeout(resolve, 1050 - new Date().getMilliseconds()));
  await change();
}

/** Changes of a file between its opening and its last byte, and whether they cut the response. */
const CHANGES: Record<string, readonly [change: (path: string) => Promise<void>, cut: boolean]> = {
  "left alone": [() => Promise.resolve(), false],
  "overwritten at its end": [(path) => overwrite(path, 39_990), true],
  "rewritten and shorter": [(path) => Deno.writeFile(path, new Uint8Array(39_999)), true],
  "touched": [(path) => Deno.utime(path, new Date(), new Date()), true],
  "appended to": [
    (path) => Deno.writeFile(path, new Uint8Array(10).fill(2), { append: true }),
    false,
  ],
  "removed": [(path) => Deno.remove(path), false],
  "given a hard link": [
    (path) => changeLater(() => Deno.link(path, `${path}.${Date.now()}`)),
    false,
  ],
  "overwritten, with its time set back": [
    (path) =>
      changeLater(async () => {
        await overwrite(path, 0);
        await Deno.utime(path, new Date(0), new Date(0));
      }),
    true,
  ],
  "replaced": [async (path) => {
    await Deno.writeFile(`${path}.new`, new Uint8Array(40_000).fill(2));
    await Deno.rename(`${path}.new`, path);
  }, false],
};

for (const [label, [change, cut]] of Object.entries(CHANGES)) {
  Deno.test(`a file that is ${label} is ${cut ? "never completed" : "sent in its old version"}`, async () => {
    await using tree = await makeTree();
    const path = `${tree.root}/large`;
    // A file of one piece, and a file of several pieces, whose first may be sent before the last is
    // read.
    for (const size of [40_000, 2_000_000]) {
      await Deno.writeFile(path, new Uint8Array(size).fill(1));
      await setOldTime(tree.root);
      const [, , , body] = await new FilesApp(tree.root).handle(mkreq("GET", "/large"));
      assert(typeof body === "object" && body !== null && "writeTo" in body);
      await change(path);
      let writtenBytes = 0;
      const writing = body.writeTo({
        write(bytes) {
          writtenBytes += bytes.length;
          assert(cut || bytes.every((byte) => byte === 1));
          return Promise.resolve();
        },
      });
      if (cut) {
        await assertRejects(() => writing, BodyError, "was overwritten");
        assert(writtenBytes < size, `${writtenBytes} of ${size} bytes`);
      } else {
        assertEquals(await writing, size);
      }
      if (linux) assertEquals(await listOpenFiles(tree.root), []);
    }
  });
}

Deno.test("a small file that is overwritten while it is served gets 409 without a stack in the log, and download rejects with CHANGED", async () => {
  await using tree = await makeTree();
  await using target = await createTempDir();
  const path = `${tree.root}/file`;
  await Deno.writeTextFile(path, "public");
  await using serving = serve(new FilesApp(tree.root));
  const handle = await open(path);
  const FileHandle = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  // Write in place after each read, with another time.
  let writeCount = 0;
  using _read = patch(FileHandle, "read", (read) =>
    async function (this: unknown, ...args: []) {
      const result = await Reflect.apply(read, this, args);
      Deno.writeTextFileSync(path, "PUBLIC");
      Deno.utimeSync(path, new Date(), new Date(++writeCount * 1000));
      return result;
    } as typeof read);
  const response = await serving.makeClient().request("GET", "/file");
  assertEquals(response.status, 409);
  const downloading = () => download(serving.makeClient(), "/file", `${target.path}/copy`);
  await assertTransferError(downloading, "CHANGED");
  assertEquals(serving.logger.messagesOf("error"), []);
});

Deno.test("a small file that is emptied before it is read is sent empty", async () => {
  await using tree = await makeTree();
  const path = `${tree.root}/file`;
  const handle = await open(path);
  const FileHandle = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  using _read = patch(FileHandle, "read", (read) =>
    function (this: unknown, ...args: []) {
      Deno.truncateSync(path);
      return Reflect.apply(read, this, args);
    } as typeof read);
  const [status, , , body] = await new FilesApp(tree.root).handle(mkreq("GET", "/file"));
  assertEquals([status, body], [200, new Uint8Array(0)]);
});

// Files that are read piece by piece.

Deno.test("buffers are used again for other files, and never while a piece is in use", async () => {
  await using dir = await createTempDir();
  const size = 2 * POOLED_BYTES + 100_000;
  const files = await Promise.all([1, 2, 3].map(async (value) => {
    await Deno.writeFile(`${dir.path}/${value}`, new Uint8Array(size).fill(value));
    return await Deno.open(`${dir.path}/${value}`);
  }));
  using _files = new DisposableStack();
  for (const file of files) _files.use(file);
  const buffers = new Set<ArrayBufferLike>();
  const readAll = (file: Deno.FsFile, isPooled: boolean) => {
    return readPieces(file, 0, size, () => new Error("too short"), { isPooled });
  };
  const readings = files.slice(0, 2).map((file) => readAll(file, true));
  for (let ended = 0; ended < readings.length;) {
    const results = await Promise.all(readings.map((reading) => reading.next()));
    ended = results.filter(({ done }) => done).length;
    for (const [i, { value: piece }] of results.entries()) {
      if (!piece) continue;
      buffers.add(piece.buffer);
      assertEquals(piece.find((byte) => byte !== i + 1), undefined);
    }
  }
  for await (const piece of readAll(files[2]!, true)) {
    assert(buffers.has(piece.buffer));
    assertEquals(piece.find((byte) => byte !== 3), undefined);
    // An early end also returns the buffers.
    break;
  }
  for await (const piece of readAll(files[2]!, true)) assert(buffers.has(piece.buffer));
  // A body may still be in use after the file was read.
  for await (const piece of readAll(files[2]!, false)) assert(!buffers.has(piece.buffer));
});

Deno.test("a small file that changed in the last two seconds is read twice, and must be equal both times", async () => {
  await using tree = await makeTree();
  const path = `${tree.root}/file`;
  const stats = Deno.lstatSync(path);
  const readFile = (age: number) => {
    using _clock = patch(Date, "now", () => () => Number(stats.ctime) + age);
    return readSmallFile(path, stats, new Uint8Array(6)) !== null;
  };
  assertEquals([readFile(0), readFile(1999), readFile(2000)], [true, true, true]);
  using _differing = patch(Buffer, "compare", () => () => 1);
  assertEquals([readFile(0), readFile(1999), readFile(2000)], [false, false, true]);
});

// Metadata that shows a change since a file was opened.

const [EARLIER, LATER, INVALID] = [new Date(1000), new Date(2000), new Date(NaN)];

const first: FileStats = {
  dev: 1,
  ino: 2,
  nlink: 1,
  size: 100,
  blocks: 8,
  mtime: EARLIER,
  ctime: EARLIER,
};

const STATES: readonly (readonly [label: string, now: Partial<FileStats>, overwritten: boolean])[] =
  [
    ["unchanged", {}, false],
    ["appended to", { size: 101, mtime: LATER, ctime: LATER }, false],
    ["cut", { size: 99 }, true],
    ["written at the same size", { mtime: LATER, ctime: LATER }, true],
    ["its time set back", { ctime: LATER }, true],
    ["its time set to an earlier one", { mtime: new Date(0), ctime: LATER }, true],
    ["its time set to one that can't be represented", { mtime: INVALID, ctime: LATER }, true],
    ["given a hard link", { nlink: 2, ctime: LATER }, false],
    ["renamed over, or deleted", { nlink: 0, ctime: LATER }, false],
    ["deleted and written", { nlink: 0, mtime: LATER, ctime: LATER }, true],
    ["cut and deleted", { nlink: 0, size: 0 }, true],
  ];

Deno.test("a change of a file is detected by its metadata", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeTextFile(path, "");
  const { dev, ino } = await Deno.lstat(path);
  for (const [label, now, overwritten] of STATES) {
    const stats = { ...first, dev, ino };
    assertEquals(isOverwritten(stats, { ...stats, ...now }, path), overwritten, label);
    const elsewhere = isOverwritten(stats, { ...stats, ...now }, `${dir.path}/none`);
    assertEquals(elsewhere, overwritten && label !== "its time set back", `renamed, ${label}`);
  }
  const changes = { dev: 2, ino: 3, size: 101, mtime: LATER, ctime: LATER, nlink: 2 };
  for (const [field, value] of Object.entries(changes)) {
    assertEquals(isUnchanged(first, { ...first, [field]: value }), field === "nlink", field);
  }
  const odd = { ...first, mtime: INVALID, ctime: INVALID };
  assertEquals([isUnchanged(odd, { ...odd }), isUnchanged(odd, first)], [true, false]);
});

// repr-digest and want-repr-digest.

// SHA-256 of the empty string.
const HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const BASE64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

Deno.test("a digest is formatted as in RFC 9530, and parsed", () => {
  assertEquals(formatReprDigest(HEX), `sha-256=:${BASE64}:`);
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
    assertEquals(parseReprDigest(formatReprDigest(bytes.toHex())), bytes.toHex());
  }));
});

Deno.test("a digest is found among digests of other algorithms", () => {
  const digestField = `sha-256=:${BASE64}:`;
  const cases: [value: string, expected: string | null][] = [
    [digestField, HEX],
    [`${digestField},sha-512=:AA==:`, HEX],
    [`${digestField} , x.y_z*-1=::`, HEX],
    ["sha-512=:AAAA:", null],
    ["md5=:AAA=:", null],
  ];
  for (const [value, expected] of cases) assertEquals(parseReprDigest(value), expected, value);
});

Deno.test("an invalid digest is refused", () => {
  const values = [
    ...["", " ", ",", "sha-256", "sha-256=", `sha-256=${BASE64}`, `sha-256="${BASE64}"`, HEX],
    ...[`sha-256=:${HEX}:`, `sha-256=:${BASE64}`, `sha-256=${BASE64}:`, `SHA-256=:${BASE64}:`],
    ...[`sha-256=:${BASE64}:;a=1`, `sha-256=:${BASE64}:,`, `,sha-256=:${BASE64}:`, "sha-256=::"],
    ...[`sha-256=:${BASE64}:, sha-256=:${BASE64}:`, `sha-256=:${BASE64}:\xa0`],
    // Missing padding, invalid bits in the last character, and another alphabet.
    ...[`sha-256=:${BASE64.slice(0, -1)}:`, `sha-256=:${BASE64.slice(0, -2)}V=:`],
    ...[`sha-256=:${BASE64.replace("/", "_")}:`, `sha-256=: ${BASE64}:`],
    ...[`sha-256=(:${BASE64}:)`, `sha-256=:${BASE64}:\n`, "sha-512=1, sha-256=2", "é=:AAAA:"],
  ];
  for (const value of values) assertRangeError(() => parseReprDigest(value), value);
});

Deno.test("a digest is requested by a preference from 1 to 10", () => {
  const isRequested = (value: string) => isDigestRequested({ "want-repr-digest": value });
  for (const value of [WANT_SHA256, "sha-256=1", "sha-512=10, sha-256=3", "sha-256=3,md5=0"]) {
    assertEquals(isRequested(value), true, value);
  }
  const invalidValues = [
    ...["", "sha-256", "1", ",", "md5=10", "sha-256=:AAAA:", "SHA-256=1", "x-sha-256=1"],
    ...["", "0", "11", "-1", "+1", "01", "1.0", "1;q=1"].map((number) => `sha-256=${number}`),
    ...["\xa0", "\n"].flatMap((space) => [`md5=1,${space}sha-256=1`, `sha-256=1${space}`]),
  ];
  for (const value of invalidValues) assertEquals(isRequested(value), false, value);
});

// Digests of served files.

const WANT_DIGEST: HeadersToSend = { "want-repr-digest": WANT_SHA256 };
type Files = Awaited<ReturnType<typeof serveDirectory>>;

async function digestSent(files: Files, uri: string, headers: HeadersToSend = WANT_DIGEST) {
  const { headers: sent, body } = await files.conn.request("GET", uri, headers, null);
  await body?.bytes();
  return sent["repr-digest"];
}

Deno.test("HEAD returns the digest of a file of any size, if it is requested", async () => {
  await using files = await serveDirectory();
  for (const size of [0, 1, 524289]) {
    await files.write("file", makePattern(size));
    for (let round = 0; round < 2; round++) {
      const { status, headers } = await files.conn.head("/file", WANT_DIGEST);
      assertEquals([status, headers["repr-digest"]], [200, digestOf(makePattern(size))], `${size}`);
      assertEquals(headers["content-length"], size);
    }
    assertEquals(await remoteDigest(files.conn, "/file"), sha256Of(makePattern(size)));
  }
  const unwanted = ["sha-256=0", "sha-512=10", "sha-256", "x", "sha-256=11"];
  for (const value of unwanted) {
    const { headers } = await files.conn.head("/file", { "want-repr-digest": value });
    assertEquals(headers["repr-digest"], undefined, value);
  }
  assertEquals((await files.conn.head("/file")).headers["repr-digest"], undefined);
  assertEquals((await files.conn.head("/none", WANT_DIGEST)).headers["repr-digest"], undefined);
});

Deno.test("GET returns the digest of a file that was sent whole, or hashed, before", async () => {
  await using files = await serveDirectory();
  for (const name of ["sent", "hashed", "in part", "not wanted", "changed"]) {
    await files.write(name.replaceAll(" ", "+"), makePattern(100_000));
  }
  await files.write("small", makePattern(1000));
  assertEquals(await digestSent(files, "/small"), undefined, "it has just been changed");
  using _clock = setClockAhead();
  // The server hashes the file while it sends it.
  assertEquals(await digestSent(files, "/small"), digestOf(makePattern(1000)));
  const digest = digestOf(makePattern(100_000));
  assertEquals(await digestSent(files, "/sent"), undefined);
  assertEquals(await digestSent(files, "/sent"), digest);
  assertEquals(await digestSent(files, "/sent", {}), undefined);
  const rangeHeaders = { ...WANT_DIGEST, range: new Range(5, 10) };
  const partialResponse = await files.conn.request("GET", "/sent", rangeHeaders, null);
  assertEquals([partialResponse.status, partialResponse.headers["repr-digest"]], [206, digest]);
  await partialResponse.body?.bytes();

  await files.conn.head("/hashed", WANT_DIGEST);
  assertEquals(await digestSent(files, "/hashed"), digest);

  for (const range of [new Range(1, 100_000), new Range(0, 99_999)]) {
    assertEquals(await digestSent(files, "/in+part", { ...WANT_DIGEST, range }), undefined);
  }
  assertEquals(await digestSent(files, "/in+part"), undefined);
  await digestSent(files, "/not+wanted", {});
  assertEquals(await digestSent(files, "/not+wanted"), undefined);

  assertEquals(await digestSent(files, "/changed"), undefined);
  assertEquals(await digestSent(files, "/changed"), digest);
  await files.write("changed", makePattern(100_001));
  assertEquals(await digestSent(files, "/changed"), undefined);
});

Deno.test("the digest of a file that changed while it was sent, or just before, is not cached", async () => {
  await using files = await serveDirectory();
  await files.write("file", makePattern(2_000_000));
  const app = new FilesApp(files.path);
  const get = async (change: () => Promise<void>) => {
    const [, , headers, body] = await app.handle(mkreq("GET", "/file", WANT_DIGEST));
    assert(typeof body === "object" && body !== null && "writeTo" in body);
    await change();
    await body.writeTo(new WritableStream());
    return headers["repr-digest"];
  };
  const append = () => Deno.writeFile(`${files.path}/file`, new Uint8Array(1), { append: true });
  {
    using _clock = setClockAhead();
    assertEquals(await get(append), undefined);
  }
  assertEquals(await get(() => Promise.resolve()), undefined, "after a change");
  assertEquals(await get(() => Promise.resolve()), undefined, "too short after it");
});

Deno.test("hashing ends if its peer leaves, and has no result if the file changes", async () => {
  await using tree = await makeTree();
  await Deno.writeFile(`${tree.root}/large`, makePattern(3_000_000));
  const file = await openFile(tree.root, "large");
  const reason = new Error("the peer has left");
  const digests = new DigestCache();
  const aborted = AbortSignal.abort(reason);
  const failure = await digests.findOrCompute(file, aborted).catch((error) => error);
  assertEquals(failure, reason);
  await Deno.truncate(`${tree.root}/large`, 1000);
  assertEquals(await digests.findOrCompute(file), null);
  await file.handle.close();
  const secondFile = await openFile(tree.root, "large");
  assertEquals(await digests.findOrCompute(secondFile), sha256Of(makePattern(1000)));
  // The file changes while it is hashed.
  const touch = () => Deno.utimeSync(`${tree.root}/large`, 5, 5);
  const signal = { throwIfAborted: touch } as unknown as AbortSignal;
  assertEquals(await digests.findOrCompute(secondFile, signal), null);
  await secondFile.handle.close();
  if (Deno.build.os === "linux") assertEquals(await listOpenFiles(tree.root), []);
});

Deno.test("the cache of digests has a limit", () => {
  const cache = new DigestCache();
  const openFile = (ino: number) => ({
    path: "/file",
    stats: { dev: 1, ino, nlink: 1, size: 1, blocks: 8, mtime: new Date(0), ctime: new Date(0) },
    checkedAt: Date.now(),
  });
  for (let i = 0; i < 10_001; i++) cache.add(openFile(i), `${i}`);
  assertEquals([cache.find(openFile(0)), cache.find(openFile(1))], [null, "1"]);
  assertEquals(cache.find(openFile(10_000)), "10000");
  const recentFile = { ...openFile(5), checkedAt: 1999 };
  const otherFile = { ...recentFile, stats: { ...recentFile.stats, size: 2 } };
  cache.add(otherFile, "x");
  assertEquals(cache.find(otherFile), null);
  cache.add({ ...otherFile, checkedAt: 2000 }, "x");
  assertEquals(cache.find(otherFile), "x");
  // Deno rounds large inode numbers, so two files may have the same metadata.
  assertEquals(cache.find({ ...otherFile, path: "/other" }), null);
});

Deno.test("onFile is called at the response for a file up to the documented size, and after the last byte of a larger one", async () => {
  const size = 1024 *
    await readStatedNumber("files/serve/files_app.ts", /A file of up to (\d+) KiB/);
  await using dir = await createTempDir();
  for (const [bytes, isAtOnce] of [[size, true], [size + 1, false]] as const) {
    await Deno.writeFile(`${dir.path}/file`, makePattern(bytes));
    const events: FileEvent[] = [];
    const app = new FilesApp(dir.path, { onFile: (event) => events.push(event) });
    const [status, , , body] = await app.handle(mkreq("GET", "/file"), makeSession(), api);
    assertEquals([status, events.length], [200, isAtOnce ? 1 : 0]);
    if (body instanceof BodyIter) await body.writeTo({ write: () => Promise.resolve() });
    assertEquals(events.map(({ bytes, complete }) => [bytes, complete]), [[bytes, true]]);
  }
});
