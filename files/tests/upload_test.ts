/** upload: results, progress, files that change, resuming, and responses of other servers. */
import type { HeadersToSend } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { FilesApp, StatusError, TransferError, type TransferProgress, upload } from "@degu/files";
import { readUploadHeaders } from "@degu/internal/files/serve/put_request.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { SourceFile } from "@degu/internal/files/transfer/source_file.ts";
import { sha256Of } from "@degu/testing/bundles.ts";
import { setClockAhead, speedUpClock } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";
import { HAS_LINKS, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import {
  assertTransferError,
  listParts,
  listVisible,
  randomBytes,
  serveFiles,
  serveFilesApp,
} from "@degu/testing/transferring.ts";
import { digestOf } from "@degu/testing/written_directory.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";

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
  await assertRejects(uploadMissing, Deno.errors.NotFound, `file: ${clientDir}/none: `);
  if (await makeFifo(`${clientDir}/fifo`)) {
    const uploadFifo = () => upload(client, `${clientDir}/fifo`, "/f");
    await assertRejects(uploadFifo, RangeError, "a regular file");
  }
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => upload(client, file, "/f", { signal }), Error), reason);
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
  ["HEAD", 200, {}, "UNEXPECTED_RESPONSE", "write: true"],
  ...["6", "-1"].map((offset) =>
    ["HEAD", 200, { "upload-offset": offset }, "UNEXPECTED_RESPONSE", "how many bytes"] as const
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
  ["PUT", 409, { "retry-after": "1" }, "IN_USE", "uses the file"],
  ["PUT", 409, { allow: "GET, PUT" }, "ONLY_ADDS", "the server only adds files"],
  ["PUT", 409, OFFSET, "IN_USE", "another upload"],
  ["PUT", 412, {}, "TARGET_CHANGED", "the server's file changed during the call"],
  ["PUT", 412, { allow: "GET, PUT" }, "ONLY_ADDS", "the server only adds files"],
  ["PUT", 413, {}, null, "maxBytes"],
  ["PUT", 503, { "refusal-reason": "root-gone" }, "ROOT_GONE", "is its disk mounted?"],
  ["PUT", 503, {}, null, "is overloaded"],
  ["PUT", 503, { "retry-after": "1" }, null, "too many open files"],
  ["PUT", 507, {}, "DISK_FULL", "no space left"],
];

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
