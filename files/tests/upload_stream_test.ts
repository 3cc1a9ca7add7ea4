/** upload of a stream: the digest comes last, and a source that breaks leaves no file. */
import type { BodyOut, ChunkedBody, HeadersToSend } from "@degu/degu/base";
import { Client, ConnectionPool, isTransient, retry } from "@degu/degu/client";
import {
  FilesApp,
  type FilesOptions,
  StatusError,
  TransferError,
  type TransferErrorCode,
  type TransferOptions,
  upload,
} from "@degu/degu/files";
import type { AppFunction } from "@degu/degu/server";
import { assertReason, makeAbortController, makePendingPromise } from "@degu/testing/aborts.ts";
import { sha256Of } from "./bundles.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { callWith, catchRejection } from "@degu/testing/expectations.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { concat, cutBytes, streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import {
  assertTransferError,
  type ChangeResponse,
  listParts,
  listVisible,
  randomBytes,
  serveFilesApp,
} from "@degu/testing/transferring.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { digestOf, makeChunkedBody } from "./written_directory.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { withRandom } from "@degu/testing/random.ts";

/** The number of bytes that a client holds back. */
const HELD_BACK_BYTES = 65536;
const SHA256_BYTES = 32;
/** More bytes than a client reads before it begins to send. */
const CONTENT = randomBytes(700_000);

/** Serves an empty directory for uploads. */
async function serveUploads(options: FilesOptions = {}, change: ChangeResponse = () => null) {
  const requests: string[] = [];
  const files = await serveFilesApp({ write: true, ...options }, (request, respond, session) => {
    requests.push(request.method);
    return change(request, respond, session);
  });
  const { serverDir: dir } = files;
  return {
    ...files,
    dir,
    requests,
    address: files.serving.address,
    read: (name: string) => Deno.readFile(`${dir}/${name}`),
    /** Waits until all connections have ended; returns the names of all files and parts. */
    async listAll(): Promise<string[]> {
      await files.becomeIdle();
      return [...await listVisible(dir), ...await listParts(dir)];
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

/** Makes a stream of bytes, and then calls a function before it ends. */
function streamThen(bytes: Uint8Array, action: () => unknown): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      if (bytes.length > 0) controller.enqueue(bytes);
      await action();
      controller.close();
    },
  }, { highWaterMark: 0 });
}

Deno.test(
  "streams of random sizes in random pieces arrive byte for byte, over TCP and TLS",
  withRandom(async (random) => {
    await using files = await serveUploads();
    await using tls = await startTls(
      await openSharedPki(),
      new FilesApp(files.dir, { write: true }),
    );
    const bounds = [0, 1, 2].map((pieces) => HELD_BACK_BYTES + pieces * 524_288);
    const sizes = [
      ...[0, 1],
      ...bounds.flatMap((bound) => [bound - 1, bound, bound + 1]),
      ...Array.from({ length: 10 }, () => Math.floor(random.next() ** 3 * 1_500_000)),
    ];
    for (const [index, size] of sizes.entries()) {
      const content = randomBytes(size);
      const maxLength = Math.max(size / 300, 10 ** (1 + random.next() * 6));
      const lengths = Array.from({ length: 7 }, () => random.integer(maxLength));
      const pieces = cutBytes(content, ...lengths, Math.ceil(maxLength));
      const client = index % 2 === 0 ? files.client : tls.client;
      const modified = new Date(Date.UTC(2020, 0, 2, 3, 4, index, 678));
      const { stream } = new TrackedStream(pieces);
      let progress: unknown;
      const onProgress = (event: unknown) => progress = event;
      const result = await upload(client, stream, ["sub", "file"], { modified, onProgress });
      const counts = { done: size, total: size, transferred: size };
      assertEquals(progress, { ...counts, resumedFrom: 0, reused: 0 });
      const sha256 = sha256Of(content);
      assertEquals(result, {
        bytes: size,
        total: size,
        resumedFrom: 0,
        reused: 0,
        sha256,
        unset: [],
      });
      assertEquals(await files.read("sub/file"), content, `${size} in ${lengths}`);
      assertEquals((await Deno.stat(`${files.dir}/sub/file`)).mtime, modified);
    }
    assertEquals(await files.listAll(), ["sub"]);
  }),
);

Deno.test("a stream arrives as it was read, even if the source uses its memory again", async () => {
  await using files = await serveUploads();
  const buffer = new Uint8Array(200_000);
  const pieces: Uint8Array[] = [];
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      buffer.fill(pieces.length);
      if (pieces.length === 10) return controller.close();
      pieces.push(buffer.slice());
      controller.enqueue(buffer);
    },
  }, { highWaterMark: 0 });
  await upload(files.client, source, "/file");
  assertEquals(await files.read("file"), concat(pieces));
});

Deno.test("an item whose buffer is transferred is stored whole, or the upload rejects", async () => {
  const late = randomBytes(8_000_000);
  const content = late.slice();
  await using files = await serveUploads({}, ({ method }) => {
    if (method === "PUT") late.buffer.transfer();
    return null;
  });
  await upload(files.client, streamOf(late), "/late");
  assertEquals(await files.read("late"), content);
  const early = streamThen(encodeLatin1("lost"), () => {});
  const transferred = early.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>({
      transform(item, controller) {
        const copy = item.slice();
        controller.enqueue(copy);
        copy.buffer.transfer();
      },
    }),
  );
  await catchRejection(upload(files.client, transferred, "/early"), "the upload");
  assertEquals(await files.listAll(), ["late"]);
});

Deno.test(
  "a source that breaks after any byte leaves no file and no part, and its error is final",
  withRandom(async (random) => {
    await using files = await serveUploads();
    const positions = [
      ...[0, 1, 9],
      ...[HELD_BACK_BYTES - 1, HELD_BACK_BYTES, HELD_BACK_BYTES + 1],
      ...[589_823, 589_824, 589_825, CONTENT.length],
      ...Array.from({ length: 10 }, () => random.integer(CONTENT.length)),
    ];
    for (const position of positions) {
      const failure = new Deno.errors.ConnectionReset("the source broke");
      const items = cutBytes(CONTENT.subarray(0, position), 50_000);
      const { stream } = new TrackedStream(items, { failure });
      await assertReason(upload(files.client, stream, "/file"), failure, `${position}`);
      assertEquals(isTransient(failure), false);
      assertEquals(await files.listAll(), [], `${position}`);
      // The client reads what it would hold back before it sends the request.
      const methods = ["HEAD", ...position > HELD_BACK_BYTES ? ["PUT"] : []];
      assertEquals(files.requests.splice(0), methods, `${position}`);
    }
    const textStream = streamOf<unknown>(CONTENT, "text");
    const uploadText = () =>
      callWith(upload, files.client, textStream, "/file") as Promise<unknown>;
    await assertRejects(uploadText, TypeError, "file: must be a stream of bytes; got ");
    assertEquals(await files.listAll(), []);
  }),
);

Deno.test(
  "a connection that breaks after any byte leaves no file, unless the server has all bytes",
  withRandom(async (random) => {
    await using files = await serveUploads();
    await using relay = new CuttingRelay(files.address);
    const client = new Client(relay.address, { timeout: 30 });
    for (let bytes = 1, isComplete = false; !isComplete; bytes += 11) {
      await Deno.remove(`${files.dir}/file`).catch(() => {});
      // The bytes of both directions.
      relay.cutEachAfter(bytes);
      const conn = await client.connect();
      const stream = streamOf(CONTENT.subarray(0, 100));
      const result = await upload(conn, stream, "/file").catch((error) => error);
      conn.close();
      isComplete = !(result instanceof Error);
      if (!isComplete) assert(isTransient(result) !== stream.locked, `${bytes}: ${result}`);
      const names = await files.listAll();
      if (names.length > 0) {
        assertEquals([names, await files.read("file")], [["file"], CONTENT.slice(0, 100)]);
      }
      assert(!isComplete || names.length === 1);
      assert(bytes < 5000);
    }
    relay.cutEachAfter(Infinity);
    for (let attempt = 0; attempt < 10; attempt++) {
      await Deno.remove(`${files.dir}/file`).catch(() => {});
      relay.cutAfter(2000 + random.integer(CONTENT.length - 2000));
      const stream = streamOf(...cutBytes(CONTENT, 10_000));
      const error = await catchRejection(upload(client, stream, "/file"), "the upload");
      assertEquals([isTransient(error), stream.locked], [false, true], `${error}`);
      assertEquals(await files.listAll(), []);
    }
  }),
);

Deno.test("no layer sends a stream twice: retry repeats only what fails before the first byte is read", async () => {
  await using files = await serveUploads();
  await using relay = new CuttingRelay(files.address);
  const client = new Client(relay.address, { timeout: 30 });
  for (const makePool of [false, true]) {
    const pool = makePool ? new ConnectionPool(client, { repeat: "any" }) : null;
    const target = pool ?? client;
    // The HEAD request is repeated.
    relay.cutAfter(50);
    const stream = streamOf(...cutBytes(CONTENT, 10_000));
    const onRetry = () => relay.cutAfter(Infinity);
    await retry(() => upload(target, stream, "/file"), { seconds: 0, onRetry });
    assertEquals(await files.read("file"), CONTENT);
    await Deno.remove(`${files.dir}/file`);
    files.requests.length = 0;
    relay.cutAfter(300_000);
    const cutSource = new TrackedStream(cutBytes(CONTENT, 10_000));
    const cutStream = cutSource.stream;
    let attempts = 0;
    const uploadCut = () => {
      attempts++;
      return upload(target, cutStream, "/file");
    };
    const error = await catchRejection(retry(uploadCut, { seconds: 0 }), "the upload");
    assertEquals([attempts, files.requests], [1, ["HEAD", "PUT"]]);
    assertEquals(cutSource.isSettled, true, `${error}`);
    // A canceled stream looks like an empty one.
    await assertRejects(() => upload(target, cutStream, "/file"), TypeError, "an unlocked stream");
    pool?.close();
    assertEquals(await files.listAll(), []);
  }
});

Deno.test("a stream that was stored counts as uploaded, although the response was lost", async () => {
  let isBodyRead = false;
  await using files = await serveUploads({}, async ({ method }, respond, session) => {
    if (method === "PUT" && !isBodyRead) session.close();
    const response = await respond();
    if (method === "PUT") session.close();
    return response;
  });
  const unended = streamThen(CONTENT, makePendingPromise);
  await assertRejects(() => upload(files.client, unended, "/file"));
  assertEquals(files.requests.splice(0), ["HEAD", "PUT"]);
  isBodyRead = true;
  const { total } = await upload(files.client, streamOf(CONTENT), "/file");
  assertEquals(total, CONTENT.length);
  assertEquals(files.requests, ["HEAD", "PUT", "HEAD"]);
  using conn = await files.client.connect();
  const error = await catchRejection(upload(conn, streamOf(CONTENT), "/file"), "over a connection");
  assertEquals(isTransient(error), false);
});

/** Returns the code of a `TransferError`, or the status of a `StatusError`. */
function codeOf(error: unknown): TransferErrorCode | number | false {
  return error instanceof StatusError ? error.status : error instanceof TransferError && error.code;
}

Deno.test("a refused stream is not read, and can be used again", async () => {
  await using files = await serveUploads({ write: "add" });
  await Deno.mkdir(`${files.dir}/dir`);
  await Deno.writeFile(`${files.dir}/file`, CONTENT);
  const refusals: [string, TransferOptions, TransferErrorCode | number][] = [
    ["/file", { replace: false }, "ONLY_ADDS"],
    ["/file", {}, "ONLY_ADDS"],
    ["/dir", {}, "IN_THE_WAY"],
    ["/file/below", {}, "IN_THE_WAY"],
    ["/.degu-files", {}, "BAD_NAME"],
  ];
  let pulls = 0;
  const { stream } = new TrackedStream(cutBytes(CONTENT, 1000), { onPull: () => pulls++ });
  for (const [uri, options, code] of refusals) {
    const error = await catchRejection(upload(files.client, stream, uri, options), uri);
    assertEquals([codeOf(error), pulls, stream.locked], [code, 0, false], `${uri}: ${error}`);
  }
  assertEquals(await listParts(files.dir), []);
  await Deno.remove(`${files.dir}/.degu-files`, { recursive: true }).catch(() => {});
  await Deno.writeTextFile(`${files.dir}/.degu-files`, "no directory");
  const error = await catchRejection(upload(files.client, stream, "/new"), "no directory");
  assert(error instanceof StatusError && error.status === 403, `${error}`);
  assertEquals([pulls, stream.locked], [0, false]);
  await Deno.remove(`${files.dir}/.degu-files`);
  assertEquals(files.requests.includes("PUT"), false);
  await using reader = await serveUploads({ write: false });
  for (const uri of ["/file", "/none"]) {
    await Deno.writeTextFile(`${reader.dir}/file`, "content");
    const error = await catchRejection(upload(reader.client, stream, uri), uri);
    assertMatch(`${error}`, /does not accept streams|write: true/);
  }
  const cut = new TypeError("unused");
  const { signal } = makeAbortController();
  const calls: (() => Promise<unknown>)[] = [
    () => upload(files.client, stream, "/dir/"),
    () => callWith(upload, files.client, stream, "/new", { signal, other: 1 }) as Promise<unknown>,
    () => upload(files.client, stream, "/new", { signal: AbortSignal.abort(cut) }),
  ];
  for (const call of calls) await catchRejection(call(), `${call}`);
  assertEquals([pulls, stream.locked], [0, false]);
  await upload(files.client, stream, "/new");
  assertEquals(await files.read("new"), CONTENT);
});

Deno.test("a stream replaces only the file that was there before it was read", async () => {
  await using files = await serveUploads();
  const path = `${files.dir}/file`;
  const change = (text: string) => () => Deno.writeTextFile(path, text);
  const send = (action: () => unknown, options: TransferOptions = {}) =>
    upload(files.client, streamThen(CONTENT, action), "/file", options);
  for (
    const [before, options, code] of [
      [null, {}, "TARGET_CHANGED"],
      ["old", {}, "TARGET_CHANGED"],
      [null, { replace: false }, "EXISTS"],
    ] as const
  ) {
    await Deno.remove(path).catch(() => {});
    if (before !== null) await change(before)();
    const error = await assertTransferError(() => send(change("another"), options), code);
    assertEquals(isTransient(error), false);
    assertEquals(await Deno.readTextFile(path), "another");
    // The same content is no conflict.
    await Deno.remove(path);
    if (before !== null) await change(before)();
    await send(async () => {
      // The server has checked the condition, and so reads the whole stream.
      while ((await listParts(files.dir)).length === 0) await waitForTick();
      await Deno.writeFile(path, CONTENT);
    }, options);
    assertEquals(await files.listAll(), ["file"]);
  }
  await Deno.remove(path);
  await send(() => Deno.mkdir(path)).catch((error) => assertEquals(error.code, "IN_THE_WAY"));
  assertEquals(await files.listAll(), ["file"]);
});

Deno.test("of two streams that are uploaded to one name at once, one is stored, and the other is refused", async () => {
  await using files = await serveUploads();
  for (const replace of [true, false]) {
    const isFirstRead = Promise.withResolvers<void>();
    const other = randomBytes(CONTENT.length);
    // Both calls have sent their HEAD requests before either has ended.
    const streams = [
      streamThen(CONTENT, () => isFirstRead.promise),
      streamThen(other, () => isFirstRead.resolve()),
    ];
    const results = await Promise.allSettled(
      streams.map((stream) => upload(files.client, stream, "/file", { replace })),
    );
    const refused = results.filter((result) => result.status === "rejected");
    assertEquals(refused.map(({ reason }) => reason.code), [replace ? "TARGET_CHANGED" : "EXISTS"]);
    const stored = results[0]!.status === "fulfilled" ? CONTENT : other;
    assertEquals(await files.read("file"), stored);
    assertEquals(await files.listAll(), ["file"]);
    await Deno.remove(`${files.dir}/file`);
  }
});

Deno.test("a refusal ends an upload at once, although its stream is silent", async () => {
  const rows: readonly [number, TransferErrorCode | number, readBytes: number][] = [
    [409, "IN_USE", CONTENT.length],
    [413, 413, HELD_BACK_BYTES + 5000],
  ];
  for (const [status, code, readBytes] of rows) {
    await using files = await serveUploads({}, async ({ method, body }) => {
      if (method !== "PUT") return null;
      // All bytes but the held ones arrive, even if they are few.
      const [, bytes] = await (body as ChunkedBody).readChunk();
      assertEquals(bytes.length, Math.min(readBytes - HELD_BACK_BYTES, 524_288));
      return [status, "Refused", { "retry-after": "1" }, null];
    });
    const items = cutBytes(CONTENT.subarray(0, readBytes), 1000);
    const cancelReasons: unknown[] = [];
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        const item = items.shift();
        return item === undefined ? makePendingPromise() : controller.enqueue(item);
      },
      cancel: (reason) => void cancelReasons.push(reason),
    });
    const error = await withTimeout(
      catchRejection(upload(files.client, stream, "/file", { replace: true }), "the upload"),
      "the refusal",
    );
    assertEquals(error instanceof StatusError ? error.status : (error as TransferError).code, code);
    assertEquals(cancelReasons.length, 1, `${status}`);
    assertEquals(await files.listAll(), []);
  }
});

/** The responses of a server that is no FilesApp, or that lies. */
interface LyingResponses {
  readonly head?: readonly [status: number, headers: HeadersToSend];
  readonly put?: readonly [status: number, headers: HeadersToSend];
  /** Whether the server responds before it reads the body. */
  readonly isEarly?: boolean;
}

Deno.test("upload of a stream rejects unreliable responses of other servers", async () => {
  const head = { "upload-offset": "0", "file-stamp": "none" };
  const digest = digestOf(CONTENT);
  const rows: [LyingResponses, TransferErrorCode | number][] = [
    [{ head: [200, {}] }, "UNEXPECTED_RESPONSE"],
    [{ head: [200, { "file-stamp": "none" }] }, "UNEXPECTED_RESPONSE"],
    [{ head: [200, { ...head, "upload-offset": "1" }] }, "UNEXPECTED_RESPONSE"],
    [{ head: [404, {}] }, 404],
    [{ put: [201, {}] }, "UNEXPECTED_RESPONSE"],
    [{ put: [201, { "repr-digest": "sha-256=:AA==:" }] }, "UNEXPECTED_RESPONSE"],
    [{ put: [204, { "repr-digest": digestOf(CONTENT.subarray(1)) }] }, "DIGEST_MISMATCH"],
    [{ put: [200, { "repr-digest": digest }] }, 200],
    [{ put: [412, {}], isEarly: true }, "TARGET_CHANGED"],
    [{ put: [409, { "retry-after": "1" }] }, "IN_USE"],
    [{ put: [507, {}] }, "DISK_FULL"],
  ];
  for (const [responses, code] of rows) {
    const { head: headResponse = [200, head], put, isEarly = false } = responses;
    await using serving = serve(async ({ method, body }) => {
      const [status, headers] = method === "HEAD" ? headResponse : put!;
      if (!isEarly && body?.chunked) { for await (const _ of body); }
      return [status, "Answer", headers, null];
    });
    // Without an end, so that an early response comes first.
    const stream = isEarly
      ? new ReadableStream({ pull: (controller) => controller.enqueue(CONTENT) })
      : streamOf(CONTENT);
    const error = await catchRejection(upload(serving.makeClient(), stream, "/f"), `${code}`);
    assertEquals(codeOf(error), code, `${error}`);
    assertEquals(isTransient(error), false, `${error}`);
  }
});

Deno.test("a PUT with upload-complete: ?1 stores the body only with its digest at the end", async () => {
  await using files = await serveUploads();
  const content = new TextEncoder().encode("content");
  const sha256 = sha256Of(content);
  const stream = { "upload-complete": "?1" };
  const put = async (headers: HeadersToSend, body: BodyOut) => {
    const response = await files.client.request("PUT", "/file", headers, body);
    await response.discard();
    return response;
  };
  const digest = Uint8Array.fromHex(sha256);
  const otherDigest = Uint8Array.fromHex(sha256Of(digest));
  for (
    const parts of [[], [content], [digest], [digest, content], [content, otherDigest], [
      content,
      digest.subarray(1),
    ]]
  ) {
    assertEquals((await put(stream, makeChunkedBody(...parts))).status, 400, `${parts}`);
    assertEquals((await put(stream, concat(parts))).status, 400, `${parts}`);
  }
  for (
    const [name, value] of [
      ["upload-length", "7"],
      ["upload-offset", "0"],
      ["upload-version", "0"],
      ["repr-digest", digestOf(content)],
      ["reuse", '"/file";length=7'],
    ] as const
  ) {
    const status =
      (await put({ ...stream, [name]: value }, makeChunkedBody(content, digest))).status;
    assertEquals(status, name === "reuse" ? 201 : 400, name);
  }
  assertEquals(await files.listAll(), ["file"]);
  // A proxy may join and split chunks, and send the body with content-length.
  const bytes = [...concat([content, digest])].map((byte) => new Uint8Array([byte]));
  for (const body of [makeChunkedBody(content, digest), makeChunkedBody(...bytes), concat(bytes)]) {
    await Deno.remove(`${files.dir}/file`);
    const response = await put(stream, body);
    assertEquals([response.status, response.headers["repr-digest"]], [201, digestOf(content)]);
    assertEquals(await files.read("file"), content);
  }
  assertEquals(await files.listAll(), ["file"]);
});

Deno.test("a source that begins late or pauses outlasts the time-out of the server", async () => {
  const pieceSizes: number[] = [];
  const pausedLong = Promise.withResolvers<void>();
  const connectionClosed = Promise.withResolvers<void>();
  const app: AppFunction = async ({ method, body }, session) => {
    if (method === "HEAD") {
      session.signal.addEventListener("abort", () => connectionClosed.resolve());
      return [200, "OK", { "upload-offset": "0", "file-stamp": "none" }, null];
    }
    const pieces: Uint8Array[] = [];
    for await (const [, bytes] of body as ChunkedBodyIterable) {
      pieces.push(bytes);
      pieceSizes.push(bytes.length);
      // Single bytes have come for longer than the time-out.
      if (pieceSizes.filter((size) => size === 1).length === 4) pausedLong.resolve();
    }
    const content = concat(pieces).subarray(0, -SHA256_BYTES);
    return [201, "Created", { "repr-digest": digestOf(content) }, null];
  };
  await using serving = serve(app, { timeout: 1 });
  const items = [CONTENT, CONTENT.subarray(0, 100)];
  const source = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const item = items.shift();
      await (item === CONTENT ? connectionClosed : pausedLong).promise;
      // The client has read the end of the connection.
      await waitForTick();
      if (item === undefined) controller.close();
      else controller.enqueue(item);
    },
  }, { highWaterMark: 0 });
  const { total } = await upload(serving.makeClient(), source, "/file");
  assertEquals(total, CONTENT.length + 100);
  assert(pieceSizes.every((size) => size <= 524_288), `${pieceSizes}`);
});

type ChunkedBodyIterable = AsyncIterable<readonly [unknown, Uint8Array]>;

Deno.test("a signal aborts the upload of a stream in each phase, and leaves no file", async () => {
  for (const phase of ["announcing", "beginning", "reading", "sending", "storing"] as const) {
    const { signal, abort } = makeAbortController();
    const reason = new DOMException(phase, "TimeoutError");
    const reach = (reached: typeof phase) => {
      if (reached === phase) abort(reason);
    };
    await using files = await serveUploads({}, async ({ method }, respond) => {
      reach(method === "HEAD" ? "announcing" : "sending");
      const response = await respond();
      if (method === "PUT") reach("storing");
      return response;
    });
    let pulls = 0;
    const cancelReasons: unknown[] = [];
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulls++;
        if (phase === "beginning" || phase === "reading" && pulls > 1) {
          setTimeout(() => reach(phase));
          // The source never delivers another byte.
          return new Promise(() => {});
        }
        if (pulls === 10) return controller.close();
        controller.enqueue(CONTENT);
      },
      cancel: (cancelReason) => void cancelReasons.push(cancelReason),
    }, { highWaterMark: 0 });
    await assertReason(upload(files.client, stream, "/file", { signal }), reason, phase);
    const isRead = phase !== "announcing";
    assertEquals([pulls > 0, stream.locked], [isRead, isRead], phase);
    assertEquals(isTransient(reason), true, "the caller's error stays as it was");
    const isCanceled = isRead && phase !== "storing";
    assertEquals(cancelReasons, isCanceled ? [reason] : [], phase);
    assertEquals(await files.listAll(), phase === "storing" ? ["file"] : [], phase);
  }
});
