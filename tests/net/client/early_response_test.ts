/** Responses that arrive while a client sends its request: refusals, and two-way streams. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import {
  Body,
  ChunkedBodyIter,
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  ProtocolError,
  type Response,
} from "@degu/degu/base";
import { Client, Connection, ConnectionPool, isTransient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { connect } from "./connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { Upload } from "./upload.ts";

const MEBIBYTE = 1048576;
const FULL = { duplex: "full" } as const;
const NO_CONTENT = "HTTP/1.1 204 No Content\r\n\r\n";
const EMPTY_200 = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const CHUNKED_200 = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const PARTIAL_200 = CHUNKED_200 + "2\r\nhi\r\n";

/** An endless body, and the number of times that its iterator was ended. */
function makeEndless() {
  const counts = { items: 0, returns: 0 };
  const iterator: AsyncIterator<Uint8Array> = {
    next: () => {
      counts.items++;
      return Promise.resolve({ done: false, value: new Uint8Array(65536) });
    },
    return: () => {
      counts.returns++;
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  return { counts, body: { [Symbol.asyncIterator]: () => iterator } };
}

/** Sends a request whose body has begun, and the start of its response. */
async function put(
  duplex: "half" | "full",
  early = "",
  { timeout = 60, signal = new AbortController().signal } = {},
) {
  const pair = await connect({ timeout });
  const upload = new Upload();
  upload.send("hello");
  const responding = pair.conn.put("/", {}, upload.stream, { duplex, signal });
  await pair.peer.readUntil("hello\r\n");
  await pair.peer.send(early);
  return { ...pair, [Symbol.dispose]: () => pair[Symbol.dispose](), upload, responding };
}

// ───────────────────────── refusals

Deno.test("a 400 is heard while the source of the request's body is silent, and cancels it once", async () => {
  using test = await put("half");
  await test.peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno");
  const response = await withTimeout(test.responding, "the early response");
  assertEquals(response.status, 400);
  await test.upload.waitForCancel();
  assertEquals(await response.text(), "no");
  assertEquals(test.conn.closed, true);
  await test.peer.assertClosedSilently();
  assertEquals(test.upload.cancelReasons.length, 1);
  assert(/status 400/.test(`${test.upload.cancelReasons[0]}`));
  const error = await catchRejection(test.conn.get("/"), "the next request");
  assert(/refused the body/.test((error as Error).message), `${error}`);
});

Deno.test("an early refusal ends an endless upload, whose write is blocked, and a body without a source", async () => {
  await using dir = await createTempDir();
  for (const kind of ["iterable", "bytes"]) {
    using pair = await connect({ timeout: 0.4 }, `${dir.path}/${kind}`);
    const { counts, body } = makeEndless();
    const given = kind === "bytes" ? new Uint8Array(16 * MEBIBYTE) : body;
    const responding = pair.conn.put("/", {}, given);
    await pair.peer.readPreamble();
    // The peer reads nothing more, so the write is blocked.
    await pair.peer.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\n");
    const response = await withTimeout(responding, "the early response", 10);
    assertEquals(response.status, 403);
    const text = response.text();
    // The blocked write has no time-out any more, but each wait for the body has one.
    for (const byte of "nope") {
      await new Promise((resolve) => setTimeout(resolve, 200));
      await pair.peer.send(byte);
    }
    assertEquals(await text, "nope");
    assertEquals(pair.conn.closed, true);
    if (kind === "iterable") assertEquals(counts.returns, 1);
  }
});

Deno.test("an early refusal ends an upload whose source and socket never make it wait", async () => {
  const socket = new RecordingSocket();
  socket.write = (bytes) => Promise.resolve(bytes.length);
  using conn = new Connection(socket, null);
  let cancelCount = 0;
  const endTime = performance.now() + 5000;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(new Uint8Array(65536));
      if (performance.now() > endTime) controller.close();
    },
    cancel: () => void cancelCount++,
  });
  setTimeout(() => socket.receive("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno"));
  const response = await conn.put("/", {}, stream);
  assertEquals([response.status, await response.text(), cancelCount], [413, "no", 1]);
});

Deno.test("an error status to a request that was sent whole leaves the connection open, over TCP and TLS", async (t) => {
  await using pki = await TempPKI.create();
  const app = async (request: { readonly body: { bytes(): Promise<unknown> } | null }) => {
    await request.body?.bytes();
    return [404, "Not Found", {}, null] as const;
  };
  await using plain = serve(app as never);
  await using tls = await startTls(pki, app as never);
  for (const [name, client] of [["TCP", plain.makeClient()], ["TLS", tls.client]] as const) {
    await t.step(name, async () => {
      using conn = await client.connect();
      for (let i = 0; i < 50; i++) {
        const chunks = new ChunkedBodyIter([[null, encodeLatin1("hello")], [
          null,
          new Uint8Array(0),
        ]]);
        const body = i % 2 === 0 ? chunks : new Body(new Blob(["hello"]).stream(), 5);
        assertEquals((await conn.put("/", {}, body)).status, 404);
        assertEquals(conn.closed, false, `${i}`);
      }
    });
  }
});

Deno.test("an error status to a request whose last write has not ended leaves the connection open", async () => {
  const socket = new RecordingSocket();
  socket.write = async (bytes) => {
    const text = decodeLatin1(bytes);
    if (text.endsWith("0\r\n\r\n")) {
      socket.receive("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
      for (let microtask = 0; microtask < 100; microtask++) await null;
    }
    return text.length;
  };
  using conn = new Connection(socket, null);
  const empty = new Uint8Array(0);
  const body = new ChunkedBodyIter([[null, encodeLatin1("hello")], [null, empty]]);
  assertEquals([(await conn.put("/", {}, body)).status, conn.closed], [404, false]);
});

Deno.test("an early 200, followed by a close, is delivered", async () => {
  for (const closing of ["connection: close\r\n", ""]) {
    using pair = await connect();
    const { counts, body } = makeEndless();
    const responding = pair.conn.put("/", {}, body);
    await pair.peer.respond(`HTTP/1.1 200 OK\r\n${closing}content-length: 5\r\n\r\nhello`);
    pair.peer.close();
    const response = await withTimeout(responding, "the early response");
    assertEquals([response.status, await response.text()], [200, "hello"]);
    while (counts.returns === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals([pair.conn.closed, counts.returns], [true, 1]);
  }
});

Deno.test("a close by the peer is heard while the source of the request's body is silent", async () => {
  using test = await put("half");
  test.peer.close();
  const error = await withTimeout(catchRejection(test.responding, "the request"), "the close");
  assertInstanceOf(error, EmptyPreambleError);
  assertEquals(isTransient(error), false, "the server may have processed the request");
  await test.upload.waitForCancel();
  assertEquals([test.conn.closed, test.upload.cancelReasons.length], [true, 1]);
});

// ───────────────────────── below 400, without the option

Deno.test("below 400 a request resolves when it was sent, unless the caller passes the option duplex", async () => {
  for (const early of [NO_CONTENT, EMPTY_200, CHUNKED_200 + "2\r\nhi\r\n0\r\n\r\n"]) {
    using test = await put("half", early);
    let isResolved = false;
    const responding = test.responding.finally(() => isResolved = true);
    for (let i = 0; i < 5; i++) {
      test.upload.send("world");
      await test.peer.readUntil("world\r\n");
      await waitForTick();
    }
    assertEquals(isResolved, false);
    test.upload.end();
    await test.peer.readUntil("0\r\n\r\n");
    const response = await responding;
    assertEquals(response.ok, true);
    await response.discard();
    assertEquals([test.conn.closed, test.upload.cancelReasons], [false, []]);
    assertEquals((await test.answer(NO_CONTENT)).status, 204);
  }
});

Deno.test("a response that arrives in parts while its request is sent is read to its end afterward", async () => {
  using test = await put("half", PARTIAL_200);
  test.upload.send("world");
  await test.peer.readUntil("world\r\n");
  const piece = "x".repeat(4000);
  const chunk = `fa0\r\n${piece}\r\n`;
  // More than the client buffers.
  const count = 100;
  const sending = test.peer.send(chunk.repeat(count));
  await waitForTick();
  test.upload.end();
  await test.peer.readUntil("0\r\n\r\n");
  const response = await withTimeout(test.responding, "the response");
  const text = response.text();
  await sending;
  await test.peer.send("0\r\n\r\n");
  assertEquals(await text, "hi" + piece.repeat(count));
  assertEquals((await test.answer(NO_CONTENT)).status, 204);
});

Deno.test("after an early response and its request, no read changes the bytes that a sink writes", async () => {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null);
  const upload = new Upload();
  const responding = conn.put("/", {}, upload.stream);
  const text = Array.from({ length: 15_000 }, (_, i) => `${i}`.padStart(8)).join("");
  await waitForTick();
  socket.receive(`HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n`);
  await waitForTick();
  upload.end();
  const { body } = await responding;
  // A later piece would fit into the buffer only if its bytes were moved.
  const pieces = text.match(/.{40000}/g)!;
  socket.receive(pieces.shift()!);
  let written = "";
  await body!.writeTo({
    async write(bytes) {
      if ((written.length + bytes.length) % 40_000 === 0) socket.receive(pieces.shift() ?? "");
      await waitForTick();
      written += decodeLatin1(bytes);
    },
  });
  assertEquals(written === text, true);
});

Deno.test("a request that rests after its early response times out, and the error names the option", async (t) => {
  const checkError = (error: unknown) => {
    assertInstanceOf(error, ConnectionError);
    assert(
      /more of the request.* 0\.4 s.*pass the option duplex: "full"/.test(error.message),
      `${error}`,
    );
    assertEquals(isTransient(error), false, "the next attempt would wait as long");
  };
  await t.step("the source waits for the response", async () => {
    using test = await put("half", EMPTY_200, { timeout: 0.4 });
    const failure = catchRejection(test.responding, "the request");
    checkError(await withTimeout(failure, "the time-out", 10));
    await test.upload.waitForCancel();
    assertEquals([test.conn.closed, test.upload.cancelReasons.length], [true, 1]);
  });
  await t.step("each write restarts the time-out", async () => {
    using test = await put("half", EMPTY_200, { timeout: 0.4 });
    for (let i = 0; i < 8; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      test.upload.send("x");
    }
    test.upload.end();
    assertEquals((await test.responding).status, 200);
    assertEquals(test.conn.closed, false);
  });
});

Deno.test("an error of the source, an abort and a close end a request that has its early response already", async () => {
  const reason = new Error("enough");
  for (const way of ["source", "abort", "close"] as const) {
    const controller = new AbortController();
    using test = await put("half", EMPTY_200, controller);
    const failure = catchRejection(test.responding, "the request");
    await waitForTick();
    if (way === "source") test.upload.fail(reason);
    else if (way === "abort") controller.abort(reason);
    else test.conn.close();
    const error = await withTimeout(failure, way);
    if (way === "close") assertInstanceOf(error, ConnectionClosedError);
    else assertStrictEquals(error, reason);
    assertEquals(test.conn.closed, true);
    if (way !== "source") await test.upload.waitForCancel();
    assertEquals(test.upload.cancelReasons.length, way === "source" ? 0 : 1);
  }
});

Deno.test("the option duplex is half or full", async () => {
  using pair = await connect();
  for (const duplex of ["none", true] as never[]) {
    await assertRejects(() => pair.conn.put("/", {}, "", { duplex }), Error, "duplex");
  }
  assertEquals(pair.conn.closed, false);
});

// ───────────────────────── two-way streams

Deno.test("after an early response the request is sent on, and the next request follows it", async () => {
  for (const early of [EMPTY_200, NO_CONTENT, CHUNKED_200 + "0\r\n\r\n"]) {
    using test = await put("full");
    await test.peer.send(early);
    await (await withTimeout(test.responding, "the early response")).discard();
    assertEquals(test.conn.closed, false);
    const next = test.conn.get("/next");
    test.upload.send("world");
    await test.peer.readUntil("world\r\n");
    test.upload.end();
    // Nothing but the end of the body precedes the next request.
    assertEquals(await test.peer.readPreamble(), "0\r\n\r\n");
    assertEquals(await test.peer.readPreamble(), "GET /next HTTP/1.1\r\n\r\n");
    await test.peer.send(NO_CONTENT);
    assertEquals((await next).status, 204);
    assertEquals([test.conn.closed, test.upload.cancelReasons], [false, []]);
  }
});

Deno.test("a request that waits for the end of the previous one can be aborted", async () => {
  using test = await put("full");
  await test.peer.send(EMPTY_200);
  await test.responding;
  const reason = new Error("too slow");
  const signal = AbortSignal.any([AbortSignal.abort(reason)]);
  const controller = new AbortController();
  const next = catchRejection(test.conn.get("/", {}, { signal: controller.signal }), "next");
  assertStrictEquals(await catchRejection(test.conn.get("/", {}, { signal }), "aborted"), reason);
  controller.abort(reason);
  assertStrictEquals(await withTimeout(next, "the abort"), reason);
  assertEquals(test.conn.closed, false);
  test.upload.end();
  await test.peer.readUntil("0\r\n\r\n");
  assertEquals((await test.answer(NO_CONTENT)).status, 204);
});

Deno.test("requests that were aborted while they waited for the previous one leave nothing behind", async () => {
  using test = await put("full", EMPTY_200);
  assertEquals(await (await test.responding).text(), "");
  // As many listeners, each called by the next, would exceed the stack.
  for (let i = 0; i < 20_000; i++) {
    const controller = new AbortController();
    const waiting = test.conn.get("/", {}, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await assertRejects(() => waiting, Error, "enough");
  }
  const next = test.conn.get("/next");
  test.upload.end();
  await test.peer.readUntil("0\r\n\r\n");
  await test.peer.respond(NO_CONTENT);
  assertEquals((await withTimeout(next, "the next request")).status, 204);
});

Deno.test("connection: close in an early 200 ends the request with the response's body", async () => {
  using test = await put("full");
  await test.peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhe");
  const response = await test.responding;
  test.upload.send("more");
  await test.peer.readUntil("more\r\n");
  assertEquals(test.upload.cancelReasons.length, 0);
  await test.peer.send("llo");
  assertEquals(await response.text(), "hello");
  await test.upload.waitForCancel();
  await test.peer.assertClosedSilently();
  assertEquals([test.conn.closed, test.upload.cancelReasons.length], [true, 1]);
});

// ───────────────────────── errors, aborts, time-outs

Deno.test("an error of the body's source ends the request, or the body of a response that has begun, with that error", async () => {
  const failure = new Error("the source has failed");
  {
    using test = await put("full");
    test.upload.fail(failure);
    assertStrictEquals(await catchRejection(test.responding, "the request"), failure);
    assertEquals(test.conn.closed, true);
  }
  {
    using test = await put("full", PARTIAL_200);
    const response = await test.responding;
    const text = catchRejection(response.text(), "the response's body");
    test.upload.fail(failure);
    assertStrictEquals(await withTimeout(text, "the failure"), failure);
    assertEquals(test.conn.closed, true);
    const { received } = await test.peer.readToEnd();
    assertEquals(received, "", "the request has no end");
  }
});

Deno.test("an abort after an early response ends both bodies with its reason", async () => {
  for (const early of [PARTIAL_200, EMPTY_200]) {
    const controller = new AbortController();
    using test = await put("full", early, controller);
    const response = await test.responding;
    const text = early === EMPTY_200 ? null : catchRejection(response.text(), "the body");
    const reason = new Error("enough");
    controller.abort(reason);
    await test.upload.waitForCancel();
    assertEquals([test.conn.closed, test.upload.cancelReasons], [true, [reason]]);
    assertStrictEquals(test.upload.cancelReasons[0], reason);
    if (text !== null) assertStrictEquals(await text, reason);
  }
});

type Ending = (test: Awaited<ReturnType<typeof put>>, response: Response) => unknown;
/** What ends a connection after an early response. */
const ENDINGS: readonly (readonly [name: string, early: string, end: Ending])[] = [
  ["a close by the peer", EMPTY_200, ({ peer }) => peer.closeWrite()],
  ["bytes without a request", EMPTY_200, ({ peer }) => peer.send("x")],
  ["a close by the client", PARTIAL_200, ({ conn }) => conn.close()],
  ["a canceled body", PARTIAL_200, (_test, response) => response.readable.cancel()],
];

Deno.test("the end of the connection after an early response cancels what is left of the request", async (t) => {
  await testEachRow(t, ENDINGS, async (_name, early, end) => {
    using test = await put("full", early);
    const response = await test.responding;
    assertEquals(response.status, 200);
    await end(test, response);
    await test.upload.waitForCancel();
    assertEquals([test.conn.closed, test.upload.cancelReasons.length], [true, 1]);
  });
});

Deno.test("the time-out for the response begins when the request has been sent", async () => {
  using test = await put("half", "", { timeout: 0.4 });
  const failure = catchRejection(test.responding, "the request");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assertEquals(test.conn.closed, false, "the source isn't bounded");
  test.upload.end();
  const error = await withTimeout(failure, "the time-out", 5);
  assertInstanceOf(error, ConnectionError);
  assert(/kept the connection waiting/.test(error.message), error.message);
});

Deno.test("a preamble that begins early, and isn't completed, times out, although the request is being sent", async () => {
  using test = await put("half", "HTTP/1.1 200 OK\r\n", { timeout: 0.4 });
  const failure = catchRejection(test.responding, "the request");
  const error = await withTimeout(failure, "the time-out", 5);
  assertInstanceOf(error, ConnectionError);
  assertEquals(error.fault, "timed out");
  await test.upload.waitForCancel();
});

Deno.test("an invalid early response ends the request", async () => {
  for (const bytes of ["HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"]) {
    using test = await put("full");
    await test.peer.send(bytes);
    assertInstanceOf(await catchRejection(test.responding, bytes), ProtocolError);
    await test.upload.waitForCancel();
    assertEquals(test.conn.closed, true);
  }
});

Deno.test("the rest of a small request that the socket takes in parts is sent while the response arrives", async () => {
  const socket = new RecordingSocket({ perWrite: 60 });
  using conn = new Connection(socket, null);
  const nextWrite = socket.waitForWrite();
  const responding = conn.put("/", {}, encodeLatin1("x".repeat(200)));
  await nextWrite;
  socket.receive(EMPTY_200);
  assertEquals((await responding).status, 200);
});

Deno.test("a client's single request is sent to its end after an early response, then its connection closes", async () => {
  using server = new RawServer();
  const upload = new Upload();
  upload.send("hello");
  const responding = new Client(server.address, { host: null }).put("/", {}, upload.stream, FULL);
  using peer = await server.accept();
  await peer.readUntil("hello\r\n");
  await peer.send(EMPTY_200);
  assertEquals((await withTimeout(responding, "the early response")).status, 200);
  upload.send("world");
  upload.end();
  await peer.readUntil("world\r\n");
  assertEquals(await peer.readExactly(5), "0\r\n\r\n");
  assertEquals(await peer.readToEnd(), { received: "", kind: "end" });
});

// ───────────────────────── owners of connections

Deno.test("a pool's slot becomes free when the response has been read and the request has been sent", async () => {
  const responses = [EMPTY_200, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"];
  for (const early of responses) {
    using server = new RawServer();
    const client = new Client(server.address, { host: null });
    await using pool = new ConnectionPool(client, { maxConnections: 1 });
    const upload = new Upload();
    upload.send("hello");
    const responding = pool.put("/", {}, upload.stream, FULL);
    using peer = await server.accept();
    await peer.readUntil("hello\r\n");
    await peer.send(early);
    await (await withTimeout(responding, "the early response")).bytes();
    assertEquals(pool.inUse, 1);
    let isWaiting = true;
    const next = pool.get("/next").finally(() => isWaiting = false);
    upload.send("world");
    await peer.readUntil("world\r\n");
    assertEquals([pool.inUse, isWaiting], [1, true]);
    upload.end();
    // Over the same connection.
    assertEquals(await peer.readPreamble(), "0\r\n\r\n");
    await peer.respond(NO_CONTENT);
    assertEquals((await next).status, 204);
    assertEquals(pool.inUse, 0);
  }
});
