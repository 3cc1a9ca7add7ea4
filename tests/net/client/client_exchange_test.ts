/**
 * A client's exchange: the bytes of its requests, the bytes that it accepts as responses, and small
 * bodies of one-shot requests, which are prefetched. Headers in both directions: lines of one name
 * (RFC 9110 §5.3), `set-cookie`, which is no list, and ranges (§14.2, §15.3.7).
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionError,
  ContentRange,
  EmptyPreambleError,
  type HeadersToSend,
  type Method,
  ProtocolError,
  Range,
} from "@degu/degu/base";
import { Client, Connection, ConnectionPool, isTransient } from "@degu/degu/client";
import { captureIntervals } from "@degu/testing/clock.ts";
import { connect, readSentRequest, requestWith } from "./connected.ts";
import {
  assertProtocolRejection,
  catchRejection,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { exchange, isBroken, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { type Portions, RecordingSocket } from "../recording_socket.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { type App, Server } from "@degu/degu/server";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { receiveResponse } from "../../fuzz/received.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectThrough } from "../../apps/proxies.ts";
import { ProxyApp, reply, wrapApp } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";

const CHUNKED = "5;k=v\r\nhello\r\n0\r\n\r\n";

/** The kinds of body, each with its content and its header. */
const LENGTH = { header: "content-length: 5", bytes: "hello" };
const CODING = { header: "transfer-encoding: chunked", bytes: CHUNKED };
const kinds: readonly { name: string; make: () => BodyOut; header: string; bytes: string }[] = [
  { name: "Uint8Array", make: () => encodeLatin1("hello"), ...LENGTH },
  { name: "text", make: () => "hello", ...LENGTH },
  { name: "Body", make: () => new Body(streamOf(encodeLatin1("hello")), 5), ...LENGTH },
  { name: "BodyIter", make: () => new BodyIter([encodeLatin1("hello")], 5), ...LENGTH },
  { name: "ChunkedBody", make: () => new ChunkedBody(streamOf(encodeLatin1(CHUNKED))), ...CODING },
  {
    name: "ChunkedBodyIter",
    make: () =>
      new ChunkedBodyIter([[["k", "v"], encodeLatin1("hello")], [null, encodeLatin1("")]]),
    ...CODING,
  },
  {
    name: "ReadableStream",
    make: () => streamOf(encodeLatin1("hello")),
    header: "transfer-encoding: chunked",
    bytes: "5\r\nhello\r\n0\r\n\r\n",
  },
];

/** Makes a request over a new socket. Returns the written bytes. */
async function recordWrites(
  headers: HeadersToSend,
  body: BodyOut,
  portions?: Portions,
  baseHeaders: HeadersToSend | null = null,
): Promise<string> {
  const socket = new RecordingSocket(portions);
  using conn = new Connection(socket, baseHeaders);
  const nextWrite = socket.waitForWrite();
  const responding = conn.put("/", headers, body);
  await nextWrite;
  socket.receive("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await responding;
  return socket.writes.join("");
}

Deno.test("a request with any kind of body has one header that frames it, and is written whole, however few bytes the socket accepts at a time", async (t) => {
  for (const { name, make, header, bytes } of kinds) {
    const lines = [header, "host: example.com"].toSorted().join("\r\n");
    const message = `PUT / HTTP/1.1\r\n${lines}\r\n\r\n${bytes}`;
    for (const perWrite of [1, 7, 100, message.length - 1]) {
      await t.step(`${perWrite} bytes at a time: ${name}`, async () => {
        const base = { host: "example.com" };
        assertEquals(await recordWrites({}, make(), { perWrite }, base), message);
      });
    }
  }
});

const { BrokenPipe, ConnectionReset } = Deno.errors;
const cable = new Error("the cable was cut");
const brokenPipe = new BrokenPipe("EPIPE");

/**
 * Errors of a write, the following behavior of the peer, and the status of the response, the error,
 * or its class.
 */
const refusals: readonly (readonly [
  error: Error,
  then: (socket: RecordingSocket) => void,
  outcome: unknown,
])[] = [
  [
    cable,
    (socket) => socket.receive("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
    cable,
  ],
  ...[brokenPipe, new ConnectionReset("ECONNRESET")].flatMap((error) =>
    [
      [error, (socket) => socket.receive("HTTP/1.1 400 xx\r\ncontent-length: 2\r\n\r\nno"), 400],
      [error, (socket) => socket.receive("HTTP/1.1 400 xx\r\ncontent-length: 0\r\n\r\n"), 400],
      [error, (socket) => socket.receive("HTTP/1.1 399 xx\r\ncontent-length: 0\r\n\r\n"), 399],
      [error, (socket) => socket.receive("HTTP/1.1 200 xx\r\ncontent-length: 0\r\n\r\n"), 200],
      [error, (socket) => socket.end(), EmptyPreambleError],
      [error, (socket) => socket.fail(new ConnectionReset("reset")), EmptyPreambleError],
      [error, (socket) => socket.fail(cable), error],
    ] as [Error, (socket: RecordingSocket) => void, unknown][]
  ),
];

Deno.test("after a write that fails because the peer has closed, one attempt to read a response is made", async () => {
  for (const [i, [error, behavior, outcome]] of refusals.entries()) {
    const socket = new RecordingSocket();
    socket.writeFailure = error;
    using conn = new Connection(socket, null);
    const nextWrite = socket.waitForWrite();
    const result = conn.put("/", {}, encodeLatin1("hello")).then(async ({ status, body }) => {
      if (body !== null) assertEquals(await body.text(), "no");
      return status;
    }, (error) => error);
    await nextWrite;
    behavior(socket);
    const settledTo = await withTimeout(result, "the request settles");
    if (outcome === EmptyPreambleError) assertInstanceOf(settledTo, EmptyPreambleError, `${i}`);
    else assertStrictEquals(settledTo.cause ?? settledTo, outcome, `${i}`);
    assertEquals([conn.closed, socket.closeCount], [true, 1], `${i}`);
  }
});

Deno.test("a reset by the source of a request's body is not reported as a reset by the server", async () => {
  using connected = await connect();
  await connected.answer("HTTP/1.1 204 No Content\r\n\r\n");
  const failure = new Deno.errors.ConnectionReset("the source of the body");
  let hasRead = false;
  const source = {
    read(): Promise<number | null> {
      if (hasRead) return Promise.reject(failure);
      hasRead = true;
      return Promise.resolve(1);
    },
  };
  const body = new Body(source, 1_000_000);
  const putting = catchRejection(connected.conn.put("/", {}, body), "the upload");
  await connected.peer.readPreamble();
  // A buffered response is not returned as the response to an incomplete request.
  await connected.peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
  assertEquals(await putting, failure);
  assertEquals(connected.conn.closed, true);
});

// ───────────────────────── responses

const lengthResponse = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello";
const chunkedResponse =
  "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3;k=v\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const bareResponse = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx: y\r\n\r\n";

/** Makes a request over a socket of the test, which returns these bytes as the response. */
async function respondWith(bytes: string, portions?: Portions) {
  const socket = new RecordingSocket(portions);
  const conn = new Connection(socket, null);
  const nextWrite = socket.waitForWrite();
  const responding = conn.get("/");
  await nextWrite;
  socket.receive(bytes);
  return { socket, conn, responding, [Symbol.dispose]: () => conn.close() };
}

Deno.test("a response is parsed the same byte by byte; a response that is cut after any byte is an error, and closes the connection", async (t) => {
  for (const bytes of [lengthResponse, chunkedResponse, bareResponse]) {
    await t.step(formatLabel(bytes), async () => {
      using wholePair = await connect();
      const expected = await receiveResponse(await wholePair.answer(bytes));
      using slow = await respondWith(bytes, { perRead: 1 });
      assertEquals(await slow.responding.then(receiveResponse), expected);
      const preambleEnd = bytes.indexOf("\r\n\r\n") + 4;
      for (let at = 0; at < bytes.length; at++) {
        using pair = await connect();
        const responding = catchRejection(
          pair.conn.get("/").then(receiveResponse),
          `cut after ${at} bytes`,
        );
        await pair.peer.respond(bytes.slice(0, at));
        await pair.peer.closeWrite();
        const error = await responding;
        assertInstanceOf(error, ConnectionError);
        const code = at < preambleEnd ? "PREAMBLE_INCOMPLETE" : "BODY_INCOMPLETE";
        assertEquals(error.code, at === 0 ? "EMPTY_PREAMBLE" : code, `cut after ${at} bytes`);
        assertEquals(error instanceof EmptyPreambleError, at === 0);
        assertEquals(pair.conn.closed, true);
        await pair.peer.assertClosedSilently();
      }
    });
  }
});

Deno.test("only a reset, an abort and a broken pipe before a response mean that the peer has left", async (t) => {
  const { ConnectionReset, ConnectionAborted, BrokenPipe, TimedOut, BadResource, Interrupted } =
    Deno.errors;
  const peerErrors = [ConnectionReset, ConnectionAborted, BrokenPipe].map((Class) =>
    new Class("x")
  );
  const timedOut = new TimedOut("reset");
  const otherErrors = [BadResource, Interrupted, Error].map((Class) => new Class("reset"));
  for (const failure of [...peerErrors, timedOut, ...otherErrors, "ConnectionReset"]) {
    await t.step(Deno.inspect(failure).split("\n")[0]!, async () => {
      for (const isSent of [false, true]) {
        const socket = new RecordingSocket();
        if (!isSent) socket.fail(failure);
        using conn = new Connection(socket, null);
        const nextWrite = socket.waitForWrite();
        const result = conn.get("/").catch((error) => error);
        if (isSent) await nextWrite.then(() => socket.fail(failure));
        const error = await result;
        if (peerErrors.includes(failure as Error)) assertInstanceOf(error, EmptyPreambleError);
        else assertStrictEquals(failure === timedOut ? error.cause : error, failure);
        assertEquals([conn.closed, socket.closeCount], [true, 1]);
      }
    });
  }
});

Deno.test("an invalid first byte of a response is an error at once, without waiting for the rest", async () => {
  for (let byte = 0; byte < 256; byte++) {
    const first = String.fromCharCode(byte);
    if ("H\r".includes(first)) continue;
    using exchange = await respondWith(first);
    const handshakeFailure = catchRejection(
      exchange.responding,
      `a response that begins with ${formatLabel(first)}`,
    );
    const error = await withTimeout(handshakeFailure, `an error for ${formatLabel(first)}`);
    assertInstanceOf(error, ProtocolError);
    assertEquals(error.code, "BAD_STATUS_LINE");
    assertEquals(error.message.includes("TLS"), byte === 0x15 || byte === 0x16);
    assertEquals(exchange.conn.closed, true);
  }
});

Deno.test("if a plain server refuses a request, the server's log has the reason", async () => {
  const logger = new RecordingLogger();
  const app: App = { onConnect: () => false, handle: () => [200, "OK", {}, null] };
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  using connection = await new Client(server.address).connect();
  const error = await assertRejects(() => connection.get("/"), EmptyPreambleError);
  assertEquals(error.message, "the server closed the connection before it sent a response");
  assertMatch(logger.messagesOf("info")[0] ?? "", /refused by onConnect$/);
});

// ───────────────────────── small bodies of one-shot requests

const MAX_PREFETCHED_BYTES = 65_536;

Deno.test("a body of up to 64 KiB with a length is read at once, and any other body on demand", async (t) => {
  const rows: [string, body: () => Uint8Array | BodyIter | null, isClosed: boolean][] = [
    ["none", () => null, true],
    ["the largest", () => new Uint8Array(MAX_PREFETCHED_BYTES), true],
    ["in pieces", () => new BodyIter([new Uint8Array(9), new Uint8Array(9)], 18), true],
    ["one byte more", () => new Uint8Array(MAX_PREFETCHED_BYTES + 1), false],
  ];
  await testEachRow(t, rows, async (_label, make, isClosed) => {
    await using serving = serve(() => [200, "OK", {}, make()]);
    const { sessions } = serving.server;
    const response = await serving.makeClient().get("/");
    if (isClosed) {
      await withTimeout(
        (async () => {
          while (sessions.size > 0) await waitForTick();
        })(),
        "the connection closes",
      );
    } else {
      for (let i = 0; i < 5; i++) await waitForTick();
      assertEquals(sessions.size, 1);
    }
    const { length } = await response.bytes();
    const body = make();
    assertEquals(length, body instanceof BodyIter ? 18 : body?.length ?? 0);
  });
});

Deno.test("the response does not wait for a prefetched body, and an error while reading rejects only the body", async () => {
  using unhandled = recordUnhandledRejections();
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 60 });
  for (const isRead of [true, false]) {
    const responding = client.get("/");
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    const { body } = await responding;
    peer.close();
    await waitForTick();
    if (!isRead) continue;
    await assertProtocolRejection(body!.text(), ["BODY_INCOMPLETE"], "a body that is cut");
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("a peer that sends a byte now and then keeps a connection open only while the program reads the body", async () => {
  using server = new RawServer();
  const seconds = 0.2;
  const client = new Client(server.address, { timeout: seconds });
  const LENGTH = 60_000;
  for (const isRead of [true, false]) {
    const responding = client.get("/");
    const peer = await server.respond(`HTTP/1.1 200 OK\r\ncontent-length: ${LENGTH}\r\n\r\n`);
    const { body } = await responding;
    let sent = 0;
    const drip = async (isEnough: () => boolean) => {
      while (!isEnough()) {
        await peer.send("x");
        sent++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    if (isRead) {
      const text = body!.text();
      const end = performance.now() + seconds * 3000;
      await drip(() => performance.now() > end);
      await peer.send("x".repeat(LENGTH - sent));
      assertEquals((await text).length, LENGTH);
    } else {
      const error = await catchRejection(
        withTimeout(drip(() => sent === LENGTH), "the connection closes"),
        "a drip",
      );
      assert(isBroken(error), String(error));
      assertInstanceOf(await catchRejection(body!.text(), "later"), ConnectionError);
    }
  }
});

Deno.test("a prefetched body times out, and doesn't keep the process alive, until the program waits for it", async () => {
  const seconds = 8;
  using intervals = captureIntervals(seconds * 1000 / 8);
  for (const isRead of [true, false]) {
    const socket = new RecordingSocket();
    let isReferenced = true;
    Object.assign(socket, {
      ref: () => void (isReferenced = true),
      unref: () => void (isReferenced = false),
    });
    const connect = () => Promise.resolve(new Connection(socket, null, undefined, null));
    await using pool = new ConnectionPool(Object.assign({ connect }, { timeout: seconds }));
    const requested = socket.waitForWrite();
    const responding = pool.get("/");
    await requested;
    socket.receive("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
    const response = await responding;
    for (let i = 0; i < 8; i++) intervals.tick();
    assertEquals(isReferenced, false);
    if (isRead) {
      const text = response.text();
      await waitForTick();
      for (let i = 0; i < 9; i++) intervals.tick();
      assertEquals(isReferenced, true);
      socket.receive("llo");
      assertEquals(await text, "hello");
    } else {
      intervals.tick();
      const error = await catchRejection(response.text(), "later");
      assertInstanceOf(error, ConnectionError);
      assertEquals([error.fault, isTransient(error)], ["timed out", false]);
    }
  }
});

Deno.test("a prefetched body keeps the process alive only while the process waits for it", async () => {
  using server = new RawServer();
  const running = runProgram("unread_body.ts", {
    flags: ["--allow-net"],
    args: [JSON.stringify(server.address)],
  });
  const firstPeer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  for (let i = 0; i < 20; i++) await waitForTick();
  await firstPeer.send("llo");
  await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  assertEquals(await running, "hello\n200\n");
});

Deno.test("an abort, or a cancellation, before the last byte ends a prefetched body, and closes the connection", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 60 });
  for (const method of ["abort", "cancel"]) {
    const aborting = new AbortController();
    const responding = client.get("/", {}, { signal: aborting.signal });
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    const { body } = await responding;
    const reason = new Error("enough");
    if (method === "abort") aborting.abort(reason);
    else await body!.cancel(reason);
    await peer.assertClosedSilently();
    const error = await catchRejection(body!.text(), method);
    if (method === "cancel") assertInstanceOf(error, BodyError);
    else {
      assertStrictEquals(error, reason);
      assertStrictEquals(await catchRejection(body!.text(), "again"), reason);
    }
  }
});

// ───────────────────────── headers of both directions

Deno.test("set-cookie is sent as a line for each item of a list, or one for a text", async () => {
  const rows: readonly (readonly [HeadersToSend["set-cookie"], lines: string])[] = [
    [
      ["a=1; expires=Wed, 21 Oct 2026", "b=2"],
      "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n",
    ],
    [["a=1"], "set-cookie: a=1\r\n"],
    ["a=1, b=2", "set-cookie: a=1, b=2\r\n"],
    [[], ""],
    [undefined, ""],
  ];
  for (const [value, lines] of rows) {
    await using serving = serve(() => [204, "No Content", { "set-cookie": value }, null]);
    const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
    assertEquals(received, `HTTP/1.1 204 No Content\r\n${lines}\r\n`);
    using pair = await connect();
    const responding = pair.conn.get("/", { "set-cookie": value });
    assertEquals(
      await pair.peer.respond("HTTP/1.1 204 No Content\r\n\r\n"),
      `GET / HTTP/1.1\r\n${lines}\r\n`,
    );
    await responding;
  }
});

Deno.test("ProxyApp forwards the lines of a request joined, and each line of a response", async () => {
  await using pair = await connectThrough();
  await pair.clientPeer.send(
    "GET / HTTP/1.1\r\ncookie: a=1\r\ncookie: b=2\r\naccept: a\r\naccept: b\r\n\r\n",
  );
  const cookies = "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n";
  const peer = await pair.upstream.accept();
  assertEquals(
    await peer.respond(`HTTP/1.1 204 No Content\r\n${cookies}vary: a\r\nvary: b\r\n\r\n`),
    "GET / HTTP/1.1\r\naccept: a, b\r\ncookie: a=1; b=2\r\n\r\n",
  );
  assertEquals(
    await pair.clientPeer.readPreamble(),
    `HTTP/1.1 204 No Content\r\n${cookies}vary: a\r\nvary: b\r\n\r\n`,
  );
});

// ───────────────────────── ranges

Deno.test("a client requests one range, and can't request several", async () => {
  using pair = await connect();
  const sentRequest = await readSentRequest(pair, pair.conn.get("/", { range: new Range(2, 5) }));
  assertEquals(sentRequest, "GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n");
  const requesting = requestWith(pair.conn, "GET", "/", { range: "bytes=0-1,3-4" }, null);
  assertInstanceOf(await catchRejection(requesting, "several"), TypeError);
  pair.conn.close();
  await pair.peer.assertClosedSilently();
});

Deno.test("a 206 whose content-range contradicts the length of its body is refused when it is received", async () => {
  const rows: [method: Method, headers: string, body: string, problem: string | null][] = [
    ["GET", "content-range: bytes 0-4/9|content-length: 5", "hello", null],
    ["HEAD", "content-range: bytes 0-4/9|content-length: 5", "", null],
    ["GET", "content-length: 3", "hel", null],
    ["GET", "content-range: bytes 0-4/9|content-length: 3", "hel", "5 bytes, and the body has 3"],
    ["GET", "content-length: 6|content-range: bytes 0-4/9", "hello!", "and the body has 6"],
    ["GET", "content-range: bytes 0-4/9|content-length: 0", "", "and the body has 0"],
    ["HEAD", "content-range: bytes 0-4/9|content-length: 9", "", "and the body has 9"],
  ];
  for (const [method, headers, body, problem] of rows) {
    using pair = await connect();
    const asking = pair.conn.request(method, "/");
    await pair.peer.readPreamble();
    const lines = headers.replace("|", "\r\n");
    await pair.peer.send(`HTTP/1.1 206 Partial Content\r\n${lines}\r\n\r\n${body}`);
    if (problem === null) assertEquals(await (await asking).text(), body);
    else {
      const error = await assertRejects(() => asking, ProtocolError, problem);
      assertEquals(error.code, "CONFLICTING_HEADERS");
    }
  }
});

/** Bodies with the range of bytes 0 to 4, without a length, and what contradicts the range. */
const UNMEASURED_BODIES: readonly (readonly [
  headers: string,
  body: string,
  problem: string | null,
])[] = [
  ["transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", null],
  ["transfer-encoding: chunked\r\n", "2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\na: b\r\n\r\n", null],
  ["transfer-encoding: chunked\r\n", "3\r\nhel\r\n0\r\n\r\n", "and the body has 3"],
  ["transfer-encoding: chunked\r\n", "0\r\n\r\n", "and the body has 0"],
  ["transfer-encoding: chunked\r\n", "6\r\nhello!\r\n0\r\n\r\n", "and the body has at least 6"],
  ["transfer-encoding: chunked\r\n", "5\r\nhello\r\n1\r\n!\r\n", "and the body has at least 6"],
  // The close of the connection ends the body.
  ["", "hello", null],
  ["", "hel", "and the body has 3"],
  ["", "hello!", "and the body has at least 6"],
];

Deno.test("a 206 in chunks, or up to the end of the connection, is complete only with the bytes of its content-range", async () => {
  for (const [headers, body, problem] of UNMEASURED_BODIES) {
    for (const read of ["text", "chunks", "stream", "relay"] as const) {
      using pair = await connect();
      const asking = pair.conn.get("/");
      await pair.peer.readPreamble();
      const range = "content-range: bytes 0-4/9\r\n";
      await pair.peer.send(`HTTP/1.1 206 Partial Content\r\n${range}${headers}\r\n${body}`);
      if (headers === "") await pair.peer.conn.closeWrite();
      const response = await asking;
      const reading = async () => {
        if (read === "text") return await response.text();
        const { body } = response;
        assertInstanceOf(body, ChunkedBody);
        if (read === "stream") return await new Response(body.readable).text();
        const pieces: Uint8Array<ArrayBuffer>[] = [];
        if (read === "chunks") { for await (const [, data] of body) pieces.push(data); }
        else {
          const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
          const sent = new ChunkedBody(readable).text();
          sent.catch(() => {});
          try {
            await body.writeTo(writable);
            await writable.close();
          } catch (error) {
            await writable.abort(error);
            throw error;
          }
          return await sent;
        }
        return await new Blob(pieces).text();
      };
      const label = `${read} ${headers}${body}`;
      if (problem === null) {
        assertEquals(await reading(), "hello", label);
        continue;
      }
      const error = await assertRejects(reading, ProtocolError, problem, label);
      assertEquals(error.code, "CONFLICTING_HEADERS");
      assert(pair.conn.closed);
    }
  }
});

Deno.test("a 206 in chunks with other bytes than those of its content-range is cut when it is sent, also behind a proxy and for HTTP/1.0", async () => {
  const rows: [text: string, problem: string | null][] = [
    ["hello", null],
    ["hel", "and the body has 3"],
    ["hello!", "and the body has at least 6"],
  ];
  for (const [text, problem] of rows) {
    const app: App = () => {
      const headers = { "content-range": new ContentRange(0, 5, 9) };
      return [206, "Partial Content", headers, streamOf(encodeLatin1(text))];
    };
    await using serving = serve(app);
    await using proxy = serve(new ProxyApp(serving.makeClient()));
    for (const { makeClient, address } of [serving, proxy]) {
      const response = await makeClient().request("GET", "/");
      if (problem === null) assertEquals(await response.text(), text);
      else await assertRejects(() => response.text(), ConnectionError);
      const { received } = await exchange(address, "GET / HTTP/1.0\r\n\r\n");
      assertEquals(received.includes("hello"), problem === null, received);
    }
    if (problem !== null) await serving.logger.waitFor("error", problem);
  }
});

Deno.test("a 206 whose content-range contradicts the length of its body is refused when it is sent", async () => {
  const range = new ContentRange(0, 5, 9);
  const headers = { "content-range": range };
  const rows: [body: BodyOut | (() => BodyOut), isRefused: boolean][] = [
    ["hello", false],
    [() => new BodyIter([encodeLatin1("hello")], 5), false],
    ["hell", true],
    [new Uint8Array(6), true],
    [new Blob(["hello!"]), true],
    [() => new BodyIter([encodeLatin1("hi")], 2), true],
    [null, true],
    ["", true],
  ];
  for (const [body, isRefused] of rows) {
    const app: App = () => reply(206, typeof body === "function" ? body() : body, headers);
    await using serving = serve(wrapApp(app, (next) => next()));
    for (const method of ["GET", "HEAD"] as const) {
      if (method === "HEAD" && body === null) continue; // The length isn't announced.
      const { status } = await serving.makeClient().request(method, "/");
      assertEquals(status, isRefused ? 500 : 206, `${method} ${body}`);
      if (!isRefused) continue;
      const problem = 'headers["content-range"]: must be the range of the body: "bytes 0-4/9" is';
      assertStringIncludes((await serving.logger.waitFor("error")).at(-1)!, problem);
    }
    if (isRefused) {
      await assertRejects(
        () => callApp(app, mkreq("GET", "/")),
        RangeError,
      );
    }
  }
  for (const [length, status] of [[5, 206], [6, 500]] as const) {
    // The length of the body that GET would get.
    const announced = { ...headers, "content-length": length };
    await using serving = serve(() => [206, "Partial Content", announced, null]);
    assertEquals((await serving.makeClient().request("HEAD", "/")).status, status);
  }
  const ok: App = () => reply(200, "hi", headers);
  assertEquals((await callApp(ok, mkreq("GET", "/"))).status, 200);
});
