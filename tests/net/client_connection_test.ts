/**
 * The methods of a client's connection, their checks before a byte is sent, and supported sockets.
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ConnectionClosedError,
  ContentRange,
  type HeadersToSend,
  Range,
  type Socket,
} from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import {
  connect,
  type ConnectedClient,
  readSentRequest,
  requestWith,
} from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("a request while another is pending rejects, and the other continues", async () => {
  using pair = await connect();
  const first = pair.conn.get("/first");
  await assertRejects(() => pair.conn.get("/second"));
  assertEquals(await readSentRequest(pair, first), "GET /first HTTP/1.1\r\n\r\n");
  assertEquals(pair.conn.closed, false);
  assertEquals(await readSentRequest(pair, pair.conn.get("/third")), "GET /third HTTP/1.1\r\n\r\n");
});

Deno.test("a request before the previous body is consumed rejects, and after that succeeds", async (t) => {
  const preamble = "HTTP/1.1 200 OK\r\n";
  const responses = [
    `${preamble}content-length: 5\r\n\r\nhello`,
    `${preamble}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  ];
  for (const response of responses) {
    await t.step(JSON.stringify(response), async () => {
      using pair = await connect();
      const { body } = await pair.answer(response);
      await assertRejects(() => pair.conn.get("/"), BodyError);
      if (body instanceof Body) await body.read(4);
      else await body?.readChunk();
      await assertRejects(() => pair.conn.get("/"), BodyError);
      if (body instanceof ChunkedBody) await body.readChunk();
      else await body?.read();
      assertEquals((await pair.answer("HTTP/1.1 204 No Content\r\n\r\n")).status, 204);
    });
  }
});

Deno.test("a method that returns a promise rejects and never throws", async () => {
  using pair = await connect();
  const hostile: readonly unknown[] = [
    Object.defineProperty({}, "chunked", { get: () => fail() }),
    new Proxy({}, { get: () => fail() }),
  ];
  function fail(): never {
    throw new Error("no");
  }
  for (const body of hostile) {
    for (const method of ["GET", "PUT"]) {
      const headers = method === "GET" ? {} : { A: "wrong" };
      const result = requestWith(pair.conn, method, "/", headers, body);
      await assertRejects(() => result);
    }
  }
  assertEquals(pair.conn.closed, false);
});

Deno.test("close() is final and idempotent, and `using` calls it", async () => {
  const pair = await connect();
  using _server = pair;
  {
    using conn = pair.conn;
    assertEquals(conn.closed, false);
  }
  assertEquals(pair.conn.closed, true);
  pair.conn.close();
  await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
  await assertRejects(() => pair.conn.getRange("/", {}, 0, 1), ConnectionClosedError);
  await pair.peer.assertClosedSilently();
});

Deno.test("a request that is made while another request is checked is refused", async () => {
  const makes: Record<string, (inner: () => void) => readonly [HeadersToSend, BodyOut]> = {
    "a header's getter": (innerConn) => [{
      get "x-header"() {
        innerConn();
        return "value";
      },
    }, null],
    "a body's getter": (innerConn) => {
      const body = new class extends BodyIter {
        override get used() {
          innerConn();
          return false;
        }
      }([encodeLatin1("hello")], 5);
      return [{}, body];
    },
  };
  for (const make of Object.values(makes)) {
    using pair = await connect();
    const refused: Promise<unknown>[] = [];
    const [headers, body] = make(() => {
      if (refused.length === 0) refused.push(catchRejection(pair.conn.get("/inner"), "the second"));
    });
    const outerRequest = pair.conn.post("/outer", headers, body);
    assertStringIncludes(await pair.peer.readPreamble(), "POST /outer HTTP/1.1\r\n");
    if (body !== null) assertEquals(await pair.peer.readExactly(5), "hello");
    await pair.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
    assertEquals((await outerRequest).status, 204);
    assertStringIncludes(String(await refused[0]), "in flight");
    // Refused arguments have no lasting effect.
    assertEquals(await readSentRequest(pair, pair.conn.get("/next")), "GET /next HTTP/1.1\r\n\r\n");
  }
});

/**
 * A caller's mistake against each rule, and its error. tests/base/ tests every byte of each part;
 * sent_messages_test.ts has the rules that a server shares.
 */
const mistakes: readonly (readonly [label: string, args: readonly unknown[], Class: ErrorClass])[] =
  [
    ["method unknown", ["FOO", "/", {}, null], RangeError],
    ["uri relative", ["GET", "foo", {}, null], RangeError],
    ["uri with a line", ["GET", "/ HTTP/1.1\r\na: b\r\n\r\nGET /", {}, null], RangeError],
    ["GET with a body", ["GET", "/", {}, encodeLatin1("x")], RangeError],
    ["headers Headers", ["GET", "/", new Headers(), null], TypeError],
    ["value null", ["GET", "/", { a: null }, null], TypeError],
    ["range as text", ["GET", "/", { range: "bytes=0-1" }, null], TypeError],
    ["content-length in GET", ["GET", "/", { "content-length": 0 }, null], RangeError],
    ["body of a lone surrogate", ["PUT", "/", {}, "a\ud800"], RangeError],
    ["body over 16 MiB", ["PUT", "/", {}, new Uint8Array(16777217)], RangeError],
    ["preamble over 32768 bytes", ["GET", `/${"a".repeat(32768)}`, {}, null], RangeError],
  ];

type ErrorClass = typeof TypeError | typeof RangeError;

Deno.test("an invalid argument sends no byte and leaves the connection unchanged", async (t) => {
  using pair = await connect();
  await testEachRow(t, mistakes, async (label, args, Class) => {
    await assertRejects(() => requestWith(pair.conn, ...args), Class, "", label);
    assertEquals(pair.conn.closed, false);
    assertEquals(await readSentRequest(pair, pair.conn.get("/")), "GET / HTTP/1.1\r\n\r\n");
  });
});

Deno.test("a body that was passed is canceled if a check fails", async (t) => {
  using closed = await connect();
  closed.conn.close();
  using unread = await connect();
  await unread.answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
  using idlePair = await connect();
  using excessPair = await connect();
  await excessPair.peer.send("x");
  await waitForTick();
  const rows: readonly (readonly [label: string, ConnectedClient, args: readonly unknown[]])[] = [
    ["unrequested bytes", excessPair, ["PUT", "/", {}]],
    ["closed", closed, ["PUT", "/", {}]],
    ["previous body unread", unread, ["PUT", "/", {}]],
    ["uri", idlePair, ["PUT", "", {}]],
    ["content-length", idlePair, ["PUT", "/", { "content-length": 6 }]],
  ];
  await testEachRow(t, rows, async (_label, { conn }, args) => {
    const stream = new TrackedStream([new Uint8Array(5)]);
    const items = new TrackedItems([new Uint8Array(5)]);
    await assertRejects(() => requestWith(conn, ...args, new Body(stream.stream, 5)));
    await assertRejects(() => requestWith(conn, ...args, new BodyIter(items.toAsyncIterable(), 5)));
    assert(stream.isSettled, "the stream was not canceled");
    assert(items.isSettled || items.hasReturned, "the iterator was not returned");
  });
});

Deno.test("getRange() requests the bytes from start up to, but not including, stop", async () => {
  const content = new TextEncoder().encode("0123456789");
  await using serving = serve(({ headers }) => {
    const { range } = headers;
    if (!(range instanceof Range)) return [200, "OK", {}, content];
    const part = content.slice(range.start, Math.min(range.stop, content.length));
    const contentRange = range.contentRange(content.length);
    return [206, "Partial Content", { "content-range": contentRange }, part];
  });
  using conn = await serving.makeClient().connect();
  const { status, headers, body } = await conn.getRange("/", { accept: "text/plain" }, 2, 5);
  assertEquals(status, 206);
  assertInstanceOf(headers["content-range"], ContentRange);
  assertEquals(String(headers["content-range"]), "bytes 2-4/10");
  assertEquals(await body?.text(), "234");
  assertEquals(await (await conn.getRange("/", {}, 8, 20)).body?.text(), "89");
});

// ───────────────────────── custom sockets that misbehave, and closing a connection at any moment

/** Makes a valid socket, except for the given methods. */
function makeFaultySocket(
  faults: Partial<Socket>,
): { socket: Socket; innerSocket: RecordingSocket } {
  const innerSocket = new RecordingSocket();
  const socket: Socket = {
    read: (into) => innerSocket.read(into),
    write: (bytes) => innerSocket.write(bytes),
    close: () => innerSocket.close(),
    ...faults,
  };
  return { socket, innerSocket };
}

Deno.test("a socket that reports an impossible count is an error, and is closed", async (t) => {
  for (const count of [-1, 0.5, NaN, 65537, Infinity, 2 ** 40]) {
    for (const isSent of [false, true]) {
      await t.step(`a read of ${count} bytes, after the request was sent: ${isSent}`, async () => {
        const lateRead = Promise.withResolvers<number>();
        const { socket, innerSocket } = makeFaultySocket({ read: () => lateRead.promise });
        using conn = new Connection(socket, null);
        const nextWrite = innerSocket.waitForWrite();
        if (!isSent) lateRead.resolve(count);
        const rejection = catchRejection(conn.get("/"), `${count}`);
        if (isSent) await nextWrite;
        lateRead.resolve(count);
        assertInstanceOf(await withTimeout(rejection, "the request rejects"), Error);
        assertEquals([conn.closed, innerSocket.closeCount], [true, 1]);
      });
    }
  }
  for (const count of [-1, 0, 0.5, NaN, Infinity, 2 ** 40]) {
    await t.step(`a write of ${count} bytes`, async () => {
      const { socket, innerSocket } = makeFaultySocket({ write: () => Promise.resolve(count) });
      using conn = new Connection(socket, null);
      const error = await catchRejection(
        conn.put("/", {}, encodeLatin1("hello")),
        "the request rejects",
      );
      assertInstanceOf(error, BodyError);
      assertStringIncludes(error.message, `claims to have written ${count} of`);
      assertEquals([conn.closed, innerSocket.closeCount], [true, 1]);
    });
  }
});

Deno.test("a connection is closed even if its socket's close() throws", async () => {
  const { socket, innerSocket } = makeFaultySocket({
    close: () => {
      innerSocket.close();
      throw new Error("closed already");
    },
  });
  const conn = new Connection(socket, null);
  const error = catchRejection(conn.get("/"), "a request that waits");
  conn.close();
  conn.close();
  assertInstanceOf(await error, ConnectionClosedError);
  assertEquals([conn.closed, innerSocket.closeCount], [true, 1]);
});

Deno.test("a connection that is closed while a read completes never returns stale bytes of its buffer", async () => {
  const response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r";
  for (let microtasks = 0; microtasks < 60; microtasks++) {
    const sent = Promise.withResolvers<void>();
    const pieces = [response, "\n5", "\r\nwo", "rld\r", "\n0\r", "\n\r", "\n"];
    const socket: Socket = {
      async read(into) {
        await sent.promise;
        const piece = pieces.shift();
        if (piece === undefined) return null;
        const { written } = new TextEncoder().encodeInto(piece, into);
        if (written < piece.length) pieces.unshift(piece.slice(written));
        return written;
      },
      write(bytes) {
        sent.resolve();
        return Promise.resolve(bytes.length);
      },
      close() {},
    };
    using conn = new Connection(socket, null, undefined, null);
    const { body } = await conn.get("/");
    const results: string[] = [];
    const reading = (async () => {
      if (body === null || !body.chunked) return;
      for await (const [, data] of body) results.push(new TextDecoder().decode(data));
    })().catch((error) => assertInstanceOf(error, ConnectionClosedError));
    for (let microtask = 0; microtask < microtasks; microtask++) await null;
    conn.close();
    await reading;
    assert("helloworld".startsWith(results.join("")), `after ${microtasks} turns: ${results}`);
  }
});

Deno.test("a caller's connection: close closes the connection after the response", async (t) => {
  const close = { connection: "close" };
  const OK = "HTTP/1.1 200 OK\r\n";
  type Row = [label: string, base: HeadersToSend | null, headers: HeadersToSend, closes: boolean];
  const rows: Row[] = [
    ["close", null, close, true],
    ["another case, in a list", null, { connection: "te, Close" }, true],
    ["in baseHeaders", close, {}, true],
    ["in baseHeaders, which override the other", close, { connection: "keep-alive" }, true],
    ["keep-alive", null, { connection: "keep-alive" }, false],
    ["an option that resembles close", null, { connection: "closed, x-close" }, false],
  ];
  await testEachRow(t, rows, async (_label, base, headers, closes) => {
    for (const responseBytes of ["HTTP/1.1 204 xx\r\n\r\n", `${OK}content-length: 0\r\n\r\n`]) {
      using pair = await connect();
      using conn = new Connection(pair.conn.sock, base);
      await sendAndAnswer(pair, conn.get("/", headers), responseBytes);
      assertEquals(conn.closed, closes);
    }
    using bodyPair = await connect();
    using conn = new Connection(bodyPair.conn.sock, base);
    const putting = conn.put("/", headers, encodeLatin1("hello"));
    const response = await sendAndAnswer(bodyPair, putting, `${OK}content-length: 5\r\n\r\nworld`);
    // The body must still be read, and no request may be sent before.
    assertEquals(conn.closed, false);
    assertEquals(await response.body?.text(), "world");
    assertEquals(conn.closed, closes);
  });
  await t.step("not if the request was refused, or aborted before it was sent", async () => {
    using pair = await connect();
    await assertRejects(() => pair.conn.get("/", { ...close, "A": "b" }), RangeError);
    const aborter = new AbortController();
    const abortedRequest = catchRejection(
      pair.conn.get("/", close, { signal: aborter.signal }),
      "aborted",
    );
    aborter.abort("not wanted");
    assertEquals(await abortedRequest, "not wanted");
    assertEquals(await readSentRequest(pair, pair.conn.get("/")), "GET / HTTP/1.1\r\n\r\n");
    assertEquals(pair.conn.closed, false);
  });
  await t.step("a server of the library also closes the connection", async () => {
    await using serving = serve(() => [200, "OK", {}, null]);
    using conn = await serving.makeClient().connect();
    await conn.get("/", close);
    assertEquals(conn.closed, true);
    await assertRejects(() => conn.get("/"), ConnectionClosedError);
  });
});

/** Waits for the preamble of a request, sends these bytes, and returns the response. */
async function sendAndAnswer<T>(
  pair: ConnectedClient,
  request: Promise<T>,
  bytes: string,
): Promise<T> {
  await pair.peer.respond(bytes);
  return await request;
}

Deno.test("peer() has the verified certificate and the address of the server, also after the close", async () => {
  await using endpoint = await startTls(await openSharedPki(), () => [200, "OK", {}, null]);
  const { client, server } = endpoint;
  const conn = await client.connect();
  const peer = conn.peer();
  assert(peer.certificate?.authority);
  assertEquals(peer, { certificate: conn.sock.peerCertificate!, address: server.address });
  conn.close();
  assertEquals(conn.peer(), peer);
});

Deno.test("peer() of a socket without a certificate and an address is null, not undefined", async () => {
  using pair = await connect();
  assertEquals(pair.conn.peer().certificate, null);
  const fail = () => Promise.reject(new Error("unused"));
  using conn = new Connection({ read: fail, write: fail, close() {} }, null);
  assertEquals(conn.peer(), { certificate: null, address: null });
});
