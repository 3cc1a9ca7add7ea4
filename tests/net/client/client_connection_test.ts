/**
 * The methods of a client's connection, their checks before a byte is sent, supported sockets, and
 * the ways to read the body of a response.
 */
import {
  bodies,
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ConnectionClosedError,
  type HeadersToSend,
  type Socket,
} from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import { connect, type ConnectedClient, readSentRequest, requestWith } from "./connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { concat, cutBytes, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { toText } from "@std/streams";

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

Deno.test("headers that aren't a plain object are refused, also beside the client's own", async () => {
  for (const options of [{}, { headers: { "x-kind": "default" } }]) {
    using pair = await connect(options);
    for (const headers of [new Headers({ a: "b" }), new Map([["a", "b"]]), null, 5] as unknown[]) {
      const error = await catchRejection(pair.conn.get("/", headers as HeadersToSend), "headers");
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, "must be a plain object");
    }
    assertEquals(pair.conn.closed, false);
  }
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
  using pair = await connect();
  const refused: Promise<unknown>[] = [];
  const headers = {
    get "x-header"() {
      if (refused.length === 0) refused.push(catchRejection(pair.conn.get("/inner"), "the second"));
      return "value";
    },
  };
  const outerRequest = pair.conn.post("/outer", headers, null);
  assertStringIncludes(await pair.peer.readPreamble(), "POST /outer HTTP/1.1\r\n");
  await pair.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
  assertEquals((await outerRequest).status, 204);
  assertStringIncludes(String(await refused[0]), "in flight");
  // Refused arguments have no lasting effect.
  assertEquals(await readSentRequest(pair, pair.conn.get("/next")), "GET /next HTTP/1.1\r\n\r\n");
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

// ───────────────────────── bodies of responses

const kinds: readonly (readonly [kind: string, preamble: string, half: string, rest: string])[] = [
  ["a length body", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "hello", "world"],
  [
    "a chunked body",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "5\r\nworld\r\n0\r\n\r\n",
  ],
];

type AnyBody = Body | ChunkedBody;

/** Returns the body of a response of which half has arrived. */
async function receiveHalf(
  pair: ConnectedClient,
  preamble: string,
  half: string,
): Promise<AnyBody> {
  const { body } = await pair.answer(preamble + half);
  assert(body !== null);
  return body;
}

const failure = new Error("not wanted");

/** The ways in which a response's body ends early, after a part of it has arrived. */
const endings: Readonly<
  Record<string, (body: AnyBody, ends: ConnectedClient) => Promise<unknown>>
> = {
  "close()": async (body, { conn }) => {
    const reading = catchRejection(body.read(), "a read that waits");
    await waitForTick();
    conn.close();
    assertInstanceOf(await reading, ConnectionClosedError);
  },
  "an abandoned iteration": async (body) => {
    for await (const _ of body as AsyncIterable<unknown>) break;
  },
  "a canceled stream": (body) => body.readable.cancel("no longer wanted"),
  "a failing sink": async (body) => {
    const writing = body.writeTo({ write: () => Promise.reject(failure) });
    assertStrictEquals(await catchRejection(writing, "writeTo"), failure);
  },
  "a peer that cuts it": async (body, { peer }) => {
    await peer.closeWrite();
    await assertProtocolRejection(body.read(), ["BODY_INCOMPLETE"], "a cut body");
  },
};

for (const [kind, preamble, half, rest] of kinds) {
  Deno.test(`${kind}: ending a body early closes the connection, and later reads reject`, async (t) => {
    await testEachRow(t, Object.entries(endings), async (_label, end) => {
      using pair = await connect();
      const body = await receiveHalf(pair, preamble, half);
      await end(body, pair);
      assertEquals(pair.conn.closed, true);
      for (const read of [() => body.read(), () => body.text(), () => pair.conn.get("/")]) {
        await assertRejects(async () => await read());
      }
      await pair.peer.assertClosedSilently();
    });
  });

  Deno.test(`${kind}: every way to read to the end leaves the connection usable`, async () => {
    const ways: readonly ((body: AnyBody) => Promise<unknown>)[] = [
      (body) => body.read(),
      (body) => body.bytes(),
      (body) => body.text(),
      (body) => Array.fromAsync<unknown>(body),
      (body) => toText(body.readable),
      (body) => body.readable.pipeTo(new WritableStream()),
      (body) => body.writeTo(new WritableStream()),
      (body) => body.writeTo({ write: () => Promise.resolve() }),
      (body) => assertRejects(() => body.json(), SyntaxError),
    ];
    using pair = await connect();
    for (const consume of ways) {
      const consuming = consume(await receiveHalf(pair, preamble, half));
      await waitForTick();
      await pair.peer.send(rest);
      await consuming;
      assertEquals(pair.conn.closed, false);
    }
    assertEquals((await pair.answer("HTTP/1.1 204 No Content\r\n\r\n")).status, 204);
  });
}

Deno.test("a body whose class throws an error can still end, after it has ended its connection", async () => {
  const reads: Promise<Chunk>[] = [];
  class FailingBody extends ChunkedBody {
    constructor(...args: ConstructorParameters<typeof ChunkedBody>) {
      super(...args);
      reads.push(this.readChunk());
      throw failure;
    }
  }
  using pair = await connect({ bodies: { ...bodies, ChunkedBody: FailingBody } });
  const responding = pair.answer(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  );
  assertStrictEquals(await catchRejection(responding, "the response"), failure);
  assertEquals([pair.conn.closed, await reads[0]], [true, [null, new Uint8Array(0)]]);
});

/** The length of each body: many pieces, the last of which is short. */
const LENGTH = 1_000_003;
/** The lengths of writes, shorter and longer than a piece. */
const WRITES = [70_000, 30_001, 200_000];

type Piece = Uint8Array<ArrayBuffer>;

/** Returns bytes that differ by position and by message. */
function makePattern(message: number): Piece {
  const bytes = new Uint8Array(LENGTH);
  for (let at = 0; at < LENGTH; at++) bytes[at] = at * 31 + (at >> 8) * 7 + message * 101;
  return bytes;
}

async function* readData(chunks: AsyncIterable<Chunk>): AsyncGenerator<Piece> {
  for await (const [, data] of chunks) yield data as Piece;
}

/** A way to read the bodies at a path, which determines their class. */
type Way = readonly [path: "/length" | "/chunked", take: (body: never) => AsyncIterable<Piece>];

const ways: Record<string, Way> = {
  "an iterated Body": ["/length", (body: Body) => body],
  "the stream of a Body": ["/length", (body: Body) => body.readable],
  "an iterated ChunkedBody": ["/chunked", (body: ChunkedBody) => readData(body)],
  "the stream of a ChunkedBody": ["/chunked", (body: ChunkedBody) => body.readable],
};

/** Of each three pieces, transfers one and overwrites one; yields functions that return the pieces. */
async function* readAndChange(pieces: AsyncIterable<Piece>): AsyncGenerator<() => Piece> {
  let index = 0;
  for await (const piece of pieces) {
    const remainder = index++ % 3;
    if (remainder === 0) {
      const transferred = structuredClone(piece, { transfer: [piece.buffer] });
      assertEquals(piece.length, 0);
      yield () => transferred;
    } else if (remainder === 1) {
      const copy = piece.slice();
      new Uint8Array(piece.buffer).fill(255);
      yield () => copy;
    } else {
      yield () => piece;
    }
  }
  assert(index > 3, `${index} pieces`);
}

for (const [name, [path, take]] of Object.entries(ways)) {
  Deno.test(`pieces from ${name} keep their bytes when other pieces change`, async () => {
    await using served = serve(({ uri }, _session, { BodyIter, ChunkedBodyIter }) => {
      const [, , message] = uri.split("/");
      const pieces = cutBytes(makePattern(Number(message)), ...WRITES);
      if (path === "/length") return [200, "OK", {}, new BodyIter(pieces, LENGTH)];
      const chunks = [...pieces, new Uint8Array(0)].map((data): Chunk => [null, data]);
      return [200, "OK", {}, new ChunkedBodyIter(chunks)];
    });
    using conn = await served.makeClient().connect();
    const copies: (() => Piece)[][] = [];
    // The next message goes through the same connection, and so through the same buffers.
    for (const message of [1, 2, 3]) {
      const { body } = await conn.get(`${path}/${message}`);
      copies.push(await Array.fromAsync(readAndChange(take(body as never))));
    }
    for (const [index, pieces] of copies.entries()) {
      const receivedBytes = concat(pieces.map((piece) => piece()));
      assertEquals(receivedBytes.length, LENGTH);
      const expected = makePattern(index + 1);
      assertEquals(receivedBytes.findIndex((byte, at) => byte !== expected[at]), -1);
    }
  });
}

Deno.test("a socket that returns no piece of bytes is blamed, and not its peer", async (t) => {
  const preamble = new TextEncoder().encode(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
  );
  const rows: readonly (readonly [string, unknown])[] = [
    ["number", 5],
    ["undefined", undefined],
    ["an empty one", new Uint8Array(0)],
  ];
  await testEachRow(t, rows, async (label, piece) => {
    const requestSent = Promise.withResolvers<void>();
    const socket = {
      async read(into: Uint8Array) {
        await requestSent.promise;
        into.set(preamble);
        return preamble.length;
      },
      readPiece: () => Promise.resolve(piece as Uint8Array<ArrayBuffer>),
      write(bytes: Uint8Array) {
        requestSent.resolve();
        return Promise.resolve(bytes.length);
      },
      close() {},
    };
    using conn = new Connection(socket, null);
    const { body } = await conn.get("/");
    const problem = `the source must return a piece of bytes, or null; got ${label}`;
    await assertRejects(() => body!.text(), BodyError, problem);
    assert(conn.closed);
  });
});
