/**
 * upload: results, progress, files that change, resuming, and responses of other servers. The
 * arguments and connections of all transfers.
 */
import { type FileHandle, open } from "node:fs/promises";
import { BodyIter, EmptyPreambleError, type HeadersToSend } from "@degu/degu/base";
import {
  Client,
  ConnectionPool,
  type ConnectionPoolOptions,
  isTimeout,
  isTransient,
} from "@degu/degu/client";
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
  type TransferProgress,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { readUploadHeaders } from "@degu/internal/files/serve/put_request.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import {
  HELD_BYTE_INTERVAL_MILLISECONDS,
  SourceFile,
} from "@degu/internal/files/transfer/source_file.ts";
import { sha256Of } from "./bundles.ts";
import { captureTimeouts, setClockAhead, speedUpClock } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { HAS_LINKS, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import {
  assertTransferError,
  listParts,
  listVisible,
  randomBytes,
  serveFiles,
  serveFilesApp,
} from "@degu/testing/transferring.ts";
import { digestOf } from "./written_directory.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import type { AppFunction, Session } from "@degu/degu/server";
import { TransferClient } from "@degu/internal/files/transfer/client.ts";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { type RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { makeRequesters } from "../../tests/net/client/requesters.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { toFileUrl } from "@std/path";

const writable = (dir: string) => new FilesApp(dir, { write: true });

Deno.test("upload reports its progress also at the end, with the bytes of this call apart", async () => {
  await using files = await serveFiles(writable);
  await Deno.writeFile(`${files.clientDir}/file`, randomBytes(3_000_000));
  const reports: TransferProgress[] = [];
  const onProgress = (progress: TransferProgress) => void reports.push(progress);
  {
    using _slow = speedUpClock();
    await upload(files.client, `${files.clientDir}/file`, "/copy", { onProgress });
  }
  const total = 3_000_000;
  const end = { done: total, total, transferred: total, resumedFrom: 0, reused: 0 };
  assertEquals(reports.at(-1), end);
  const bytes = reports.map(({ done }) => done);
  assert(bytes.length > 1 && bytes.every((count, i) => count > (bytes[i - 1] ?? 0)), `${bytes}`);
  reports.length = 0;
  await upload(files.client, `${files.clientDir}/file`, "/copy", { onProgress });
  // The start and the end are reported even if no byte is sent.
  const report = { ...end, transferred: 0, resumedFrom: total };
  assertEquals(reports, [report, report]);
});

Deno.test("upload rejects a missing file, a directory, and a special file before it connects", async () => {
  await using files = await serveFiles(writable);
  const { client, clientDir } = files;
  const file = `${clientDir}/file`;
  await Deno.writeTextFile(file, "content");
  if (HAS_LINKS) await makeLinks({ [`${clientDir}/link`]: "file", [`${clientDir}/up`]: "." });
  for (const directory of HAS_LINKS ? [clientDir, `${clientDir}/up`] : [clientDir]) {
    const uploadDirectory = () => upload(client, directory, "/f");
    await assertRejects(uploadDirectory, Deno.errors.IsADirectory, "uploadTree()");
  }
  const uploadMissing = () => upload(client, `${clientDir}/none`, "/f");
  await assertRejects(uploadMissing, Deno.errors.NotFound, `stat '${clientDir}/none'`);
  if (await makeFifo(`${clientDir}/fifo`)) {
    const uploadFifo = () => upload(client, `${clientDir}/fifo`, "/f");
    await assertRejects(uploadFifo, RangeError, "a regular file");
  }
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  for (const path of [file, `${clientDir}/none`]) {
    assertEquals(await assertRejects(() => upload(client, path, "/f", { signal }), Error), reason);
  }
  assertEquals(await listVisible(files.serverDir), []);
  if (HAS_LINKS) assertEquals((await upload(client, `${clientDir}/link`, "/f")).total, 7);
});

const SIZE = 20_000_000;
const CONTENT = randomBytes(SIZE);

Deno.test("upload sends a file that grows, even if reading it again exceeds the server's time-out", async () => {
  await using dir = await createTempDir();
  const file = `${dir.path}/file`;
  // All pieces have the maximal length, except for the last one.
  const content = randomBytes(2 * 2_097_152 + 1);
  await Deno.writeFile(file, content);
  await Deno.mkdir(`${dir.path}/there`);
  const app = new FilesApp(`${dir.path}/there`, { write: true });
  await using serving = serve(app, { timeout: 1 });
  using _clock = setClockAhead();
  let bytes = 0;
  let hasGrown = false;
  // One piece alone exceeds the time-out, and so do the others together.
  let pauseMilliseconds = 1500;
  using _readPatch = patch(Deno.FsFile.prototype, "read", (read) => {
    return async function (this: Deno.FsFile, into) {
      // The first piece is read before the version is taken.
      if (bytes > 0 && !hasGrown) {
        hasGrown = true;
        await Deno.writeFile(file, new Uint8Array(100), { append: true });
      }
      if (bytes >= content.length) {
        await new Promise((resolve) => setTimeout(resolve, pauseMilliseconds));
        pauseMilliseconds = 200;
      }
      const count = await read.call(this, into);
      bytes += count ?? 0;
      return count;
    };
  });
  const { total, sha256 } = await upload(serving.makeClient(), file, "/copy");
  assertEquals([total, sha256], [content.length, sha256Of(content)]);
  assertEquals(bytes, 2 * content.length);
  assertEquals(Buffer.compare(await Deno.readFile(`${dir.path}/there/copy`), content), 0);
});

Deno.test("upload sends the only byte of a file once, even if reading it again takes long", async () => {
  using _clock = setClockBack();
  await using files = await serveFiles(writable);
  await Deno.writeTextFile(`${files.clientDir}/file`, "x");
  using timeouts = captureTimeouts(HELD_BYTE_INTERVAL_MILLISECONDS);
  let isFirst = true;
  using _readPatch = patch(Deno.FsFile.prototype, "read", (read) => {
    return async function (this: Deno.FsFile, into) {
      while (!isFirst && timeouts.end() === 0) await waitForTick();
      isFirst = false;
      return await read.call(this, into);
    };
  });
  await upload(files.client, `${files.clientDir}/file`, "/copy");
  assertEquals(await Deno.readTextFile(`${files.serverDir}/copy`), "x");
});

Deno.test("a signal aborts an upload with its reason, and the next call resumes it", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  await using files = await serveFilesApp({ write: true }, ({ method }) => {
    if (method === "PUT") controller.abort(reason);
    return null;
  });
  const path = `${files.clientDir}/file`;
  await Deno.writeFile(path, CONTENT);
  const { signal } = controller;
  const aborted = () => upload(files.client, path, "/f", { signal });
  assertEquals(await assertRejects(aborted), reason);
  assertEquals(await listVisible(files.serverDir), []);
  const { total, sha256 } = await upload(files.client, path, "/f");
  assertEquals([total, sha256?.length], [SIZE, 64]);
});

// ───────────────────────── resumed uploads

const RESUMED_SIZE = 3_000_000;
/** Sets the clock back, so that each file seems just changed, however long the test takes. */
const setClockBack = () => setClockAhead(-3_600_000);

/** Starts an upload through a relay that cuts the connection after half of the file. */
async function interruptUpload(files: Awaited<ReturnType<typeof serveFiles>>, file: string) {
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(RESUMED_SIZE / 2);
  const client = new Client(relay.address, { timeout: 60 });
  const error = await upload(client, file, "/copy").catch((error) => error);
  assert(error instanceof Error && !(error instanceof TransferError), Deno.inspect(error));
  // The server stores what it has received, also after the client has failed.
  await files.becomeIdle();
}

/** Counts the bytes that are read from files during `work`. */
async function countReadBytes(work: () => Promise<unknown>): Promise<number> {
  let bytes = 0;
  using _readPatch = patch(Deno.FsFile.prototype, "read", (read) => {
    return async function (this: Deno.FsFile, into) {
      const count = await read.call(this, into);
      bytes += count ?? 0;
      return count;
    };
  });
  await work();
  return bytes;
}

Deno.test("a file is settled two seconds after its last change, and two files have different versions", async () => {
  await using dir = await createTempDir();
  const versions = new Set<string>();
  for (const name of ["a", "b"]) {
    const path = `${dir.path}/${name}`;
    await Deno.writeTextFile(path, "12345");
    await Deno.utime(path, 1, 1);
    const changeTime = (await Deno.stat(path)).ctime!.getTime();
    const { now } = Date;
    try {
      for (const [age, isSettled] of [[1999, false], [2000, true]] as const) {
        Date.now = () => changeTime + age;
        await using source = SourceFile.open(path);
        versions.add(source.version);
        const bytes = await countReadBytes(() => source.hash(undefined));
        assertEquals([source.isSettled, bytes], [isSettled, isSettled ? 5 : 10], `${age}`);
      }
    } finally {
      Date.now = now;
    }
  }
  assertEquals(versions.size, 2);
});

Deno.test("a signal ends the second reading of a file that has just changed", async () => {
  using _clock = setClockBack();
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeFile(path, randomBytes(RESUMED_SIZE));
  const controller = new AbortController();
  let readBytes = 0;
  using _reads = patch(Deno.FsFile.prototype, "read", (read) => {
    return async function (this: Deno.FsFile, into) {
      const count = await read.call(this, into);
      readBytes += count ?? 0;
      if (readBytes > RESUMED_SIZE) controller.abort(new Error("enough"));
      return count;
    };
  });
  await using source = SourceFile.open(path);
  await assertRejects(() => source.hash(controller.signal), Error, "enough");
  assert(readBytes < 2 * RESUMED_SIZE, `${readBytes} bytes were read`);
});

Deno.test("upload doesn't resume a file that has just changed", async () => {
  using _clock = setClockBack();
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  await Deno.writeFile(file, randomBytes(RESUMED_SIZE));
  await interruptUpload(files, file);
  const parts = await listParts(files.serverDir);
  assertEquals(parts.filter((name) => name.startsWith("part-")), []);
  assertEquals((await upload(files.client, file, "/copy")).resumedFrom, 0);
});

const REWRITE_METHODS: [
  name: string,
  rewrite: (file: string, content: Uint8Array) => Promise<void>,
][] = [
  ["in place", (file, content) => Deno.writeFile(file, content)],
  ["by another file", async (file, content) => {
    await Deno.writeFile(`${file}.new`, content);
    await Deno.rename(`${file}.new`, file);
  }],
];

Deno.test("upload sends the new content of a file rewritten with the same size and mtime after an interruption", async () => {
  // Every file seems settled to the client, so only the digests detect the change.
  using _clock = setClockAhead();
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  for (const [name, rewrite] of REWRITE_METHODS) {
    await Deno.writeFile(file, randomBytes(RESUMED_SIZE));
    const { atime, mtime } = await Deno.stat(file);
    await interruptUpload(files, file);
    const content = randomBytes(RESUMED_SIZE);
    await rewrite(file, content);
    await Deno.utime(file, atime!, mtime!);
    const result = await upload(files.client, file, "/copy").catch((error) => error);
    if (result instanceof Error) {
      assertEquals((result as StatusError).status, 400, name);
      assertEquals(await listVisible(files.serverDir), [], name);
      await upload(files.client, file, "/copy");
    }
    assertEquals(await Deno.readFile(`${files.serverDir}/copy`), content, name);
    await Deno.remove(`${files.serverDir}/copy`);
  }
});

// ───────────────────────── responses of other servers

const OFFSET = { "upload-offset": "0", "file-stamp": "none" };

/** Responses to one method, by another server than a FilesApp, and the error of the upload. */
const REFUSED_RESPONSES: readonly (readonly [
  method: "HEAD" | "PUT",
  status: number,
  headers: HeadersToSend,
  code: string | null,
  message: string,
])[] = [
  ["HEAD", 200, {}, "UNEXPECTED_RESPONSE", "does not accept files"],
  ["HEAD", 200, { "upload-offset": "0" }, "UNEXPECTED_RESPONSE", "does not accept files"],
  ...["6", "-1", ""].map((offset) =>
    [
      "HEAD",
      200,
      { ...OFFSET, "upload-offset": offset },
      "UNEXPECTED_RESPONSE",
      "does not accept files",
    ] as const
  ),
  ["HEAD", 404, {}, null, "write: true"],
  ["HEAD", 301, {}, null, "301"],
  [
    "HEAD",
    507,
    { "upload-offset": "2" },
    "DISK_FULL",
    "too little space for the remaining 3 bytes",
  ],
  ["PUT", 201, {}, "UNEXPECTED_RESPONSE", "does not report its SHA-256"],
  ["PUT", 201, { "repr-digest": "sha-256=:AA==:" }, "UNEXPECTED_RESPONSE", "invalid repr-digest"],
  ["PUT", 201, { "repr-digest": `sha-256=:${"A".repeat(43)}=:` }, "DIGEST_MISMATCH", "SHA-256"],
  ["PUT", 400, {}, null, "if the file changed while it was sent"],
  ["PUT", 403, {}, null, "may not write"],
  [
    ...["HEAD", 409, {}, "IN_THE_WAY"] as const,
    "a directory has this name, or a file has the name of a parent directory",
  ],
  ["PUT", 409, {}, "IN_THE_WAY", "a directory has this name"],
  ["PUT", 409, { "retry-after": "1" }, "IN_USE", "or a disk is mounted there"],
  ["PUT", 409, { allow: "GET, PUT" }, "ONLY_ADDS", "the server only adds files"],
  ["PUT", 409, OFFSET, "IN_USE", "another upload"],
  ["PUT", 412, {}, "TARGET_CHANGED", "the server's file changed during the call"],
  ["PUT", 412, { allow: ",GET ,PUT," }, "ONLY_ADDS", "the server only adds files"],
  ["PUT", 413, {}, null, "maxBytes"],
  ["PUT", 503, { "refusal-reason": "root-gone" }, "ROOT_GONE", "is its disk mounted?"],
  ["PUT", 503, {}, null, "can't respond now"],
  ["PUT", 503, { "retry-after": "1" }, null, "too many open files"],
  ["PUT", 507, {}, "DISK_FULL", "no space left"],
];

Deno.test("an upload replaces a file that the server's disk can't read", async () => {
  for (const bytes of [100, 100_000]) {
    for (const call of ["upload", "uploadTree"]) {
      await using files = await serveFilesApp({ list: true, write: true, reuse: true });
      const { client, clientDir, serverDir } = files;
      const content = randomBytes(bytes);
      for (const [dir, each] of [[clientDir, content], [serverDir, randomBytes(bytes)]] as const) {
        await Deno.mkdir(`${dir}/tree`);
        await Deno.writeFile(`${dir}/tree/a`, each);
      }
      // Otherwise both files may have the same time, so that a tree takes them for the same file.
      await Deno.utime(`${serverDir}/tree/a`, 1, 1);
      await using handle = await open(import.meta.filename!);
      const prototype = Object.getPrototypeOf(handle) as FileHandle;
      {
        using _damaged = patch(prototype, "read", () => () => {
          return Promise.reject(Object.assign(new Error("i/o error, read"), { code: "EIO" }));
        });
        if (call === "upload") await upload(client, `${clientDir}/tree/a`, "/tree/a");
        else await uploadTree(client, `${clientDir}/tree`, "/tree/");
      }
      const stored = Buffer.from(await Deno.readFile(`${serverDir}/tree/a`));
      assert(stored.equals(content), `${call} ${bytes}`);
    }
  }
});

Deno.test("upload rejects unreliable responses of other servers", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/f`, "hello");
  for (const [refusedMethod, status, refusedHeaders, code, message] of REFUSED_RESPONSES) {
    let puts = 0;
    await using serving = serve(async ({ method, body }) => {
      if (method === "PUT") puts++;
      await body?.bytes();
      const response = method === refusedMethod
        ? [status, refusedHeaders] as const
        : [200, OFFSET] as const;
      return [response[0], "Answer", response[1], method === "HEAD" ? null : new Uint8Array(3)];
    });
    const error = await assertRejects(() => upload(serving.makeClient(), `${dir.path}/f`, "/f"));
    assert(error instanceof TransferError || error instanceof StatusError, `${error}`);
    // PUT is repeated only after a response with another offset.
    assertEquals(puts, refusedMethod === "HEAD" ? 0 : message === "another upload" ? 2 : 1);
    assert(error.message.includes(message) && error.message.includes('"/f"'), error.message);
    assert(!/"\/f"|; /.test(error.problem), error.problem);
    if (error instanceof StatusError) {
      assertEquals([code, error.status], [null, status]);
      assertEquals(error.retryAfter, message === "too many open files" ? 1 : null);
    } else assertEquals(error.code, code, error.message);
  }
});

Deno.test("upload without resuming and replacing sends one request", async () => {
  const methods: string[] = [];
  await using files = await serveFilesApp({ write: true }, ({ method }) => {
    methods.push(method);
    return null;
  });
  await Deno.writeTextFile(`${files.clientDir}/file`, "content");
  const options = { resume: false, replace: false };
  await upload(files.client, `${files.clientDir}/file`, "/file", options);
  assertEquals(methods, ["PUT"]);
});

Deno.test("upload uses a different offset of the server once", async () => {
  using _clock = setClockAhead();
  const digest = digestOf(new TextEncoder().encode("hello"));
  const offsets: string[] = [];
  let remainingConflicts = 1;
  await using serving = serve(async ({ method, body, headers }) => {
    const bytes = await body?.bytes();
    if (method === "HEAD") return [200, "OK", { ...OFFSET, "upload-offset": "4" }, null];
    offsets.push(`${headers["upload-offset"]} ${bytes?.length}`);
    if (remainingConflicts-- > 0) {
      return [409, "Conflict", { "upload-offset": "2" }, new Uint8Array(3)];
    }
    return [201, "Created", { "repr-digest": digest }, new Uint8Array(3)];
  });
  await using dir = await createTempDir();
  const file = `${dir.path}/f`;
  await Deno.writeTextFile(file, "hello");
  const result = await upload(serving.makeClient(), file, "/f");
  assertEquals([result.bytes, result.resumedFrom, offsets], [3, 2, ["4 33", "2 35"]]);
  remainingConflicts = 1;
  using conn = await serving.makeClient().connect();
  assertEquals((await upload(conn, file, "/f")).resumedFrom, 2);
  assertEquals((await conn.head("/f")).status, 200, "all responses are read");
  for (const [options, requests] of [[{}, 2], [{ resume: false }, 1]] as const) {
    remainingConflicts = 2;
    offsets.length = 0;
    const uploadFile = () => upload(serving.makeClient(), file, "/f", options);
    await assertTransferError(uploadFile, "IN_USE");
    assertEquals(offsets.length, requests);
  }
});

Deno.test("the error of a malformed header names the header", () => {
  const malformedCounts = ["", "-1", "01", "1.0", "1e3", "9007199254740992"];
  const malformedHeaders: Record<string, string[]> = {
    "repr-digest": ["", "sha-256=AA==", "sha-256=:AA==:"],
    "upload-modified": [
      ...["", "2024-02-29", "2024-02-30T00:00:00Z", "2024-02-29T00:00:00+01:00"],
      "Thu, 29 Feb 2024 00:00:00 GMT",
    ],
    "upload-offset": malformedCounts,
    "upload-length": malformedCounts,
    "upload-version": ["", "A", "g", "a".repeat(65)],
  };
  for (const [name, values] of Object.entries(malformedHeaders)) {
    for (const value of values) {
      const parseHeaders = () => readUploadHeaders({ [name]: value });
      assertEquals(assertThrows(parseHeaders, Refusal, name, `${name}: ${value}`).status, 400);
    }
  }
});

// The arguments and connections of transfers: over a client, over a pool, and over a connection of
// the caller.

/** A server that counts its sessions, and a pool of connections to it. */
function setUp(
  handle: AppFunction = () => [204, "No Content", {}, null],
  options: ConnectionPoolOptions = {},
) {
  const sessions: Session[] = [];
  const onConnect = (session: Session) => sessions.push(session) > 0;
  const serving = serve({ handle, onConnect });
  const client = serving.makeClient();
  const pool = new ConnectionPool(client, options);
  return {
    sessions,
    client,
    pool,
    /** Makes requests over this many simultaneous clients. */
    ask: (clients: number) =>
      Promise.all(Array.from({ length: clients }, async () => {
        using client = new TransferClient("from", pool, {});
        return (await client.request("GET", "/", {})).status;
      })),
    async [Symbol.asyncDispose]() {
      await pool.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a request is repeated over a new connection if the server has closed all connections of a pool", async () => {
  await using test = setUp();
  await test.ask(3);
  for (const session of test.sessions.splice(0)) session.close();
  assertEquals(await test.ask(1), [204]);
  assertEquals(test.sessions.length, 1);
});

Deno.test("a request is repeated at most once, and not after a new connection has failed", async () => {
  using server = new RawServer();
  let connections = 0;
  const client = new Client(server.address, { onConnect: () => ++connections > 0 });
  await using pool = new ConnectionPool(client);
  const request = async () => {
    using client = new TransferClient("from", pool, {});
    return await client.request("GET", "/", {});
  };
  const receiveRequest = async (peer: RawPeer) => {
    await peer.readPreamble();
    return peer;
  };
  const closeAfterRequest = async (peer: Promise<RawPeer>) =>
    (await receiveRequest(await peer)).close();
  await Promise.all([
    closeAfterRequest(server.accept()),
    assertRejects(request, EmptyPreambleError),
  ]);
  assertEquals(connections, 1);

  const answering = server.accept().then(receiveRequest);
  const responsePromise = request();
  const peer = await answering;
  await peer.send("HTTP/1.1 204 No Content\r\n\r\n");
  await responsePromise;
  const secondAttempt = assertRejects(request, EmptyPreambleError);
  await closeAfterRequest(Promise.resolve(peer));
  await closeAfterRequest(server.accept());
  await secondAttempt;
  assertEquals(connections, 3);
});

const STAMP = "5,2020-02-29T12:34:56.789Z";

Deno.test("a lost response to makeDirectory or deleteEntry, which repeats its request once, is transient only over a pool that repeats every request", async () => {
  using server = new RawServer();
  const client = new Client(server.address);
  await using pool = new ConnectionPool(client);
  await using repeating = new ConnectionPool(client, { repeat: "any" });
  for (const connector of [client, pool, repeating]) {
    for (
      const call of [() => makeDirectory(connector, ["a", ""]), () => deleteEntry(connector, ["a"])]
    ) {
      const rejected = assertRejects(call, EmptyPreambleError);
      let requestCount = 1;
      if (`${call}`.includes("deleteEntry")) {
        if (connector !== repeating) requestCount = 2;
        // The client first requests the file's stamp.
        const headPeer = await server.accept();
        await headPeer.readPreamble();
        await headPeer.send(
          `HTTP/1.1 200 OK\r\nconnection: close\r\nfile-stamp: ${STAMP}\r\ncontent-length: 0\r\n\r\n`,
        );
        headPeer.close();
      }
      for (let i = 0; i < requestCount; i++) {
        const peer = await server.accept();
        await peer.readPreamble();
        peer.close();
      }
      assertEquals(isTransient(await rejected), connector === repeating);
    }
  }
});

Deno.test("an unneeded response body leaves a connection of the caller usable", async () => {
  await using serving = serve(async ({ method, body }) => {
    if (body?.chunked) { for await (const _ of body); }
    const reason = method === "PUT" ? "Created" : "OK";
    const digest = { "repr-digest": digestOf(new Uint8Array(5)) };
    const headers = { "file-stamp": STAMP, "upload-offset": "0", ...digest };
    return [method === "PUT" ? 201 : 200, reason, headers, new BodyIter([new Uint8Array(5)], 5)];
  });
  using conn = await serving.makeClient().connect();
  assertEquals(await makeDirectory(conn, ["a", ""]), true);
  await assertRejects(() => deleteEntry(conn, ["a"]), StatusError, "200");
  assertEquals((await upload(conn, streamOf(new Uint8Array(5)), "/a")).total, 5);
  assertEquals((await conn.get("/")).status, 200);
});

Deno.test("a connection whose last response was not read is closed, and frees its slot in a pool", async () => {
  // More bytes than a pool reads at once.
  const body = () => new BodyIter([new Uint8Array(100_000)], 100_000);
  await using test = setUp(() => [200, "OK", {}, body()], { maxConnections: 1 });
  await withTimeout(test.ask(1), "the first");
  await withTimeout(test.ask(1), "the second");
  assertEquals(test.sessions.length, 2);
  using client = new TransferClient("from", test.pool, {});
  for (let i = 0; i < 2; i++) {
    await withTimeout(client.request("GET", "/", {}), "over the same client");
  }
  assertEquals(test.sessions.length, 4);
});

Deno.test("a transfer over a client closes its connection at the end, and one over a pool leaves it open", async () => {
  await using test = setUp();
  for (const target of [test.client, test.pool]) {
    {
      using client = new TransferClient("from", target, {});
      for (let i = 0; i < 2; i++) await client.request("GET", "/", {});
    }
  }
  const [clientSession, pooled] = test.sessions;
  await withTimeout(waitForAbort(clientSession!.signal), "the session of the client ends");
  assertEquals([test.sessions.length, pooled!.signal.aborted], [2, false]);
});

Deno.test("files and trees are transferred over every kind of requester", async (t) => {
  await using remoteDir = await createTempDir();
  await using localDir = await createTempDir();
  await using serving = serve(new FilesApp(remoteDir.path, { write: true, list: true }));
  await Deno.mkdir(`${localDir.path}/tree`);
  await Deno.writeTextFile(`${localDir.path}/tree/a`, "hello");
  using shapes = await makeRequesters(serving.makeClient());
  await testEachRow(t, shapes, async (name, target) => {
    // A path is an array of names, which are escaped, or a URI.
    const file = [name, "a b%?"];
    assertEquals(await makeDirectory(target, [name]), true);
    assertEquals(await makeDirectory(target, [name, ""]), false);
    assertEquals((await upload(target, `${localDir.path}/tree/a`, file)).bytes, 5);
    assertEquals(await Deno.readTextFile(`${remoteDir.path}/${file.join("/")}`), "hello");
    assertEquals((await remoteDigest(target, file)).slice(0, 8), "2cf24dba");
    assertEquals((await download(target, file, `${localDir.path}/copy of ${name}`)).bytes, 5);
    const tree = fileUri(name, "tree", "");
    assertEquals((await uploadTree(target, `${localDir.path}/tree`, tree)).files, 1);
    const entries = await Array.fromAsync(listDirectory(target, [name]));
    assertEquals(entries.map(({ name }) => name).toSorted(), ["a b%?", "tree"]);
    assertEquals((await Array.fromAsync(listTree(target, [name]))).length, 3);
    const copied = await downloadTree(target, [name, "tree"], `${localDir.path}/tree of ${name}`);
    assertEquals(copied.files, 1);
    await deleteEntry(target, file);
    assertEquals((await Array.fromAsync(listDirectory(target, [name, ""]))).length, 1);
  });
});

Deno.test("transfers refuse a response that only the end of the connection ends", async (t) => {
  await using dir = await createTempDir();
  const etag = 'etag: "1"\r\n';
  const list = "content-type: application/json\r\n";
  const rows: Record<string, [lines: string, transfer: (client: Client) => Promise<unknown>]> = {
    "download over a connection": [etag, async (client) => {
      using conn = await client.connect();
      await download(conn, "/a", `${dir.path}/a`).finally(() => assertEquals(conn.closed, true));
    }],
    "download": [etag, (client) => download(client, "/a", `${dir.path}/a`)],
    "downloadTree": [list, (client) => downloadTree(client, "/", `${dir.path}/tree`)],
    "listDirectory": [list, (client) => Array.fromAsync(listDirectory(client, "/"))],
    "listTree": [list, (client) => Array.fromAsync(listTree(client, "/"))],
  };
  await testEachRow(t, Object.entries(rows), async (_label, [lines, transfer]) => {
    using server = new RawServer();
    const failed = assertRejects(
      async () => await transfer(new Client(server.address)),
      TransferError,
    );
    const peer = await server.respond(`HTTP/1.1 200 OK\r\n${lines}\r\n[]`);
    peer.close();
    const error = await failed;
    assertEquals(error.code, "UNEXPECTED_RESPONSE");
    assertMatch(error.message, /only the end of the connection ends the response/);
  });
});

Deno.test("a close without a response to an upload is transient", async (t) => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "hello");
  await using serving = serve((request, session) => {
    const partHeaders = { "upload-offset": "0", "file-stamp": "5,2020-02-29T12:34:56.789Z" };
    if (request.method === "HEAD") return [200, "OK", partHeaders, null];
    if (request.method === "GET") return [404, "Not Found", {}, ""];
    session.close();
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient();
  const rows: [string, () => Promise<unknown>, boolean][] = [
    ["upload", () => upload(client, `${dir.path}/a`, "/a"), true],
    ["uploadTree", () => uploadTree(client, dir.path, "/"), true],
    ["deleteEntry", () => deleteEntry(client, "/a"), false],
  ];
  await testEachRow(t, rows, async (_name, call, expected) => {
    assertEquals(
      isTransient(await catchRejection(call(), "a transfer without an answer")),
      expected,
    );
  });
});

Deno.test("isTimeout is true for a time limit of a transfer, of its client or of its signal", async () => {
  await using dir = await createTempDir();
  await using silent = serve(() => new Promise(() => {}));
  const hasty = new Client(silent.address, { timeout: 0.05 });
  const patient = new Client(silent.address);
  const downloads = [
    () => download(hasty, "/a", `${dir.path}/a`),
    () => download(patient, "/a", `${dir.path}/b`, { signal: AbortSignal.timeout(50) }),
  ];
  for (const start of downloads) {
    assertEquals(isTimeout(await catchRejection(start(), "a download")), true);
  }
});

const serveWritable = () => serveFilesApp({ write: true, list: true });

Deno.test("file and dir accept file: URLs", async () => {
  await using files = await serveWritable();
  const { client, clientDir: localDir } = files;
  const url = (path: string) => toFileUrl(`${localDir}/${path}`);
  await Deno.mkdir(`${localDir}/a tree%41`);
  await Deno.writeTextFile(`${localDir}/a tree%41/ä #1`, "hello");
  assertEquals((await upload(client, url("a tree%41/ä #1"), ["a"])).bytes, 5);
  assertEquals((await download(client, ["a"], url("ö %20"))).bytes, 5);
  assertEquals(await Deno.readTextFile(`${localDir}/ö %20`), "hello");
  assertEquals((await uploadTree(client, url("a tree%41"), [])).files, 1);
  assertEquals((await downloadTree(client, [], url("copy"))).files, 2);
  assertEquals(await Deno.readTextFile(`${localDir}/copy/ä #1`), "hello");
});
