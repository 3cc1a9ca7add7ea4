/** download to a stream: it continues after lost connections, and the digest is checked at the end. */
import { Client, ConnectionPool, isTransient, retry } from "@degu/degu/client";
import { download, FilesApp, StatusError, type TransferProgress } from "@degu/files";
import { assertReason, makeAbortController } from "@degu/testing/aborts.ts";
import { sha256Of } from "@degu/testing/bundles.ts";
import { speedUpClock, speedUpTimeouts } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { serveVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { concat, RecordingStream } from "@degu/testing/streams.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assertTransferError, randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** The pauses before the download continues pass faster, but no time limit of a test. */
const skipPauses = () => speedUpTimeouts((ms) => [1000, 2000, 4000].includes(ms), 1000);

Deno.test("files of random sizes are written to a stream byte for byte, over TCP and TLS, and it is closed", async () => {
  await using files = await serveFiles();
  const app = new FilesApp(files.serverDir);
  await using tls = await startTls(await openSharedPki(), app);
  const sizes = [
    ...[0, 1, 65_535, 65_536, 65_537, 262_144, 262_145],
    ...Array.from({ length: 10 }, () => Math.floor(Math.random() ** 3 * 1_500_000)),
  ];
  for (const [index, size] of sizes.entries()) {
    const content = randomBytes(size);
    await Deno.writeFile(`${files.serverDir}/file`, content);
    const client = index % 2 === 0 ? files.client : tls.client;
    const target = new RecordingStream();
    const result = await download(client, ["file"], target.writable);
    const sha256 = sha256Of(content);
    assertEquals(result, {
      bytes: size,
      total: size,
      resumedFrom: 0,
      reused: 0,
      sha256,
      unset: [],
    });
    assertEquals(target.bytes, content);
    assertEquals([target.isClosed, target.isAborted], [true, false]);
  }
});

Deno.test("the pieces of a stream stay valid after the download", async () => {
  await using files = await serveVersion(3_000_000);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(
    {},
    { highWaterMark: 0 },
    { highWaterMark: 100 },
  );
  await download(files.client, "/file", writable);
  const pieces = await Array.fromAsync(readable);
  assertEquals(sha256Of(concat(pieces)), sha256Of(files.servedFile.content));
  assert(pieces.length > 1);
});

Deno.test("a download to a stream continues over new connections, and writes no byte twice", async () => {
  using _fast = skipPauses();
  for (const etag of ['"one"', null]) {
    await using files = await serveVersion(1_000_000);
    const { servedFile, client } = files;
    servedFile.etag = etag;
    servedFile.cutAfterBytes = 300_000;
    await using pool = new ConnectionPool(client);
    for (const target of [client, pool]) {
      servedFile.requests.length = 0;
      const stream = new RecordingStream();
      const reports: TransferProgress[] = [];
      using _slow = speedUpClock();
      const onProgress = (progress: TransferProgress) => void reports.push(progress);
      const result = await download(target, "/file", stream.writable, { onProgress });
      assertEquals(result.sha256, servedFile.computeSha256());
      assertEquals(stream.bytes, servedFile.content);
      const ranges = servedFile.requests.slice(1, -1);
      assert(ranges.length >= 3 && ranges.every((text) => /^GET bytes=/.test(text)), `${ranges}`);
      assertEquals([servedFile.requests[0], servedFile.requests.at(-1)], ["GET", "HEAD"]);
      const [done, total] = [1_000_000, 1_000_000];
      const progress = { done, total, transferred: done, resumedFrom: 0, reused: 0 };
      assertEquals(reports.at(-1), progress);
      const positions = reports.map(({ done }) => done);
      assertEquals(positions, positions.toSorted((a, b) => a - b));
    }
  }
});

Deno.test("a download to a stream that makes no progress gives up with a final error, and aborts the stream", async () => {
  using _fast = skipPauses();
  await using files = await serveVersion(1_000_000);
  const { servedFile, client } = files;
  let cuts = 0;
  servedFile.cutAfterBytes = 300_000;
  servedFile.beforePiece = (sentBytes) => {
    if (sentBytes === 0 && cuts++ > 0) servedFile.cutAfterBytes = 0;
  };
  const stream = new RecordingStream();
  const downloading = retry(() => download(client, "/file", stream.writable));
  const error = await catchRejection(downloading, "the download");
  assertEquals([isTransient(error), stream.isAborted, cuts], [false, true, 4], `${error}`);
  assertEquals(stream.bytes, servedFile.content.slice(0, stream.bytes.length));
  // Without resumption, and over a connection, the first cut ends the call.
  using conn = await client.connect();
  for (const [target, resume] of [[client, false], [conn, true]] as const) {
    servedFile.cutAfterBytes = 300_000;
    servedFile.beforePiece = () => {};
    servedFile.requests.length = 0;
    const { writable } = new RecordingStream();
    await assertRejects(() => download(target, "/file", writable, { resume }));
    assertEquals(servedFile.requests, ["GET"]);
  }
});

Deno.test("a file that changes between two connections is not mixed: the download rejects, and the stream is aborted", async () => {
  using _fast = skipPauses();
  const other = randomBytes(1_000_000);
  for (
    const [etag, content, newEtag] of [
      ['"one"', other, '"two"'],
      ['"one"', other.slice(0, 100), '"two"'],
      [null, other, null],
      [null, other.slice(0, 100), null],
      [null, other, '"two"'],
    ] as const
  ) {
    await using files = await serveVersion(1_000_000);
    const { servedFile } = files;
    servedFile.etag = etag;
    servedFile.cutAfterBytes = 300_000;
    servedFile.beforePiece = (sentBytes) => {
      if (sentBytes < 200_000 || servedFile.cutAfterBytes === Infinity) return;
      servedFile.content = content;
      servedFile.etag = newEtag;
      queueMicrotask(() => servedFile.cutAfterBytes = Infinity);
    };
    const stream = new RecordingStream();
    const downloading = () => download(files.client, "/file", stream.writable);
    const error = await assertTransferError(downloading, "CHANGED");
    assertEquals(isTransient(error), false, `${error}`);
    assertEquals([stream.isClosed, stream.isAborted], [false, true]);
  }
});

Deno.test("a server that lies about the digest, or has none, aborts the stream after the last byte", async () => {
  for (
    const [change, code] of [
      [{ sha256: "0".repeat(64) }, "DIGEST_MISMATCH"],
      [{ sha256: "0".repeat(64), digest: "get" }, "DIGEST_MISMATCH"],
      [{ digest: "never" }, "UNEXPECTED_RESPONSE"],
    ] as const
  ) {
    await using files = await serveVersion(500_000);
    Object.assign(files.servedFile, change);
    const stream = new RecordingStream();
    const downloading = () => download(files.client, "/file", stream.writable);
    assertEquals(isTransient(await assertTransferError(downloading, code)), false);
    assertEquals([stream.bytes.length, stream.isClosed, stream.isAborted], [500_000, false, true]);
  }
});

Deno.test("a download that fails before the first byte leaves the stream as it was", async () => {
  await using files = await serveFiles();
  await Deno.writeTextFile(`${files.serverDir}/file`, "content");
  const stream = new RecordingStream();
  const { writable } = stream;
  const getMissing = () => download(files.client, "/none", writable);
  assertEquals((await assertRejects(getMissing, StatusError)).status, 404);
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  await assertReason(download(files.client, "/file", writable, { signal }), reason);
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(50);
  let retries = 0;
  const onRetry = () => {
    retries++;
    relay.cutAfter(Infinity);
  };
  const client = new Client(relay.address, { timeout: 30 });
  assertEquals([writable.locked, stream.isAborted], [false, false]);
  await retry(() => download(client, "/file", writable), { seconds: 0, onRetry });
  assertEquals([retries, new TextDecoder().decode(stream.bytes)], [1, "content"]);
});

Deno.test("a stream that fails ends the download with its error, and the file is not requested again", async () => {
  await using files = await serveVersion(1_000_000);
  // An error that would be transient if it were that of the connection.
  const failure = new Deno.errors.ConnectionReset("the stream broke");
  for (const failAt of [0, 1, 2, "close"] as const) {
    files.servedFile.requests.length = 0;
    let writes = 0;
    const writable = new WritableStream<Uint8Array>({
      write: () => {
        if (writes++ === failAt) throw failure;
      },
      close: () => {
        if (failAt === "close") throw failure;
      },
    });
    await assertReason(retry(() => download(files.client, "/file", writable)), failure);
    const requests = failAt === "close" ? ["GET", "HEAD"] : ["GET"];
    assertEquals([files.servedFile.requests, isTransient(failure)], [requests, false]);
  }
});

Deno.test("a slow stream slows down the download, and outlasts the time-out of the server", async () => {
  using _fast = skipPauses();
  await using files = await serveFiles();
  // More than the buffers of the sockets hold.
  const content = randomBytes(16_000_000);
  await Deno.writeFile(`${files.serverDir}/file`, content);
  const sessionEnd = Promise.withResolvers<void>();
  const app = new FilesApp(files.serverDir);
  await using serving = serve((request, session, api) => {
    session.signal.addEventListener("abort", () => sessionEnd.resolve());
    return app.handle(request, session, api);
  }, { timeout: 1 });
  const stream = new RecordingStream();
  const recorder = stream.writable.getWriter();
  const writable = new WritableStream<Uint8Array>({
    async write(bytes) {
      // The server gives up, because the client does not read.
      await sessionEnd.promise;
      await recorder.write(bytes);
    },
  });
  const { bytes } = await download(serving.makeClient(), "/file", writable);
  assertEquals([bytes, sha256Of(stream.bytes)], [content.length, sha256Of(content)]);
});

Deno.test("a signal aborts a download to a stream in each phase, and the stream with it", async () => {
  for (const phase of ["requesting", "writing", "resuming", "verifying", "closing"] as const) {
    const { signal, abort } = makeAbortController();
    const reason = new Error(phase);
    /** Aborts in this phase, which then never ends. */
    const reach = (reached: typeof phase) => {
      if (reached !== phase) return;
      abort(reason);
      return new Promise<void>(() => {});
    };
    await using files = await serveVersion(1_000_000);
    const { servedFile, client } = files;
    if (phase === "requesting") servedFile.beforePiece = () => abort(reason);
    if (phase === "resuming") servedFile.cutAfterBytes = 300_000;
    servedFile.beforeDigest = () => void reach("verifying");
    let isAborted = false;
    const writable = new WritableStream<Uint8Array>({
      write: () => reach("writing"),
      close: () => reach("closing"),
      abort: () => void (isAborted = true),
    });
    // The pause before the download continues.
    using _timeouts = speedUpTimeouts((milliseconds) => {
      if (milliseconds === 1000) reach("resuming");
      return false;
    });
    await assertReason(download(client, "/file", writable, { signal }), reason, phase);
    // A pending write or close must end before the stream is told.
    const isTold = phase === "resuming" || phase === "verifying";
    assertEquals([isAborted, writable.locked], [isTold, false], phase);
  }
});
