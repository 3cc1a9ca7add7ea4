/**
 * The bytes that clients and servers send or refuse to send (RFC 9112 §2 to §7). Bytes of one message
 * are never part of another.
 */
import { createFetch } from "@degu/degu";
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
  type HeadersToSend,
  type Method,
  ProtocolError,
} from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { ResponseTuple } from "@degu/degu/server";
import { connect, requestWith } from "@degu/testing/connected.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import {
  assertProtocolRejection,
  catchRejection,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { exchange, RawServer, waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** Asserts that a client rejects a request before it sends a byte. */
async function assertUnsent(...request: readonly unknown[]): Promise<void> {
  using pair = await connect();
  await assertRejects(() => requestWith(pair.conn, ...request), RangeError);
  assertEquals(pair.conn.closed, false);
  pair.conn.close();
  await pair.peer.assertClosedSilently();
}

/** Asserts that a server sends 500 and no other byte in place of a response. */
async function assertNotSent(response: ResponseTuple): Promise<void> {
  await using serving = serve(() => response);
  const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
  assertEquals(received, formatErrorResponse(500));
  assertEquals(serving.logger.messagesOf("error").length, 1);
}

Deno.test("a client sends no byte before, between or after its requests, and adds no header but the framing", async () => {
  using pair = await connect();
  const requests: [method: Method, uri: string, headers: HeadersToSend, BodyOut, sent: string][] = [
    ["GET", "/a?b", {}, null, "GET /a?b HTTP/1.1\r\n\r\n"],
    ["POST", "/", {}, "a\r\n", "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\na\r\n"],
    ["HEAD", "/", { b: "1", a: "2" }, null, "HEAD / HTTP/1.1\r\na: 2\r\nb: 1\r\n\r\n"],
    ["PUT", "/", {}, null, "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"],
    ["DELETE", "/", {}, null, "DELETE / HTTP/1.1\r\n\r\n"],
  ];
  for (const [method, uri, headers, body, sent] of requests) {
    const response = pair.conn.request(method, uri, headers, body);
    assertEquals(await pair.peer.readExactly(sent.length), sent);
    await pair.peer.send(OK);
    await response;
    await waitForTick();
    assertEquals(pair.peer.text, "");
  }
  pair.conn.close();
  await pair.peer.assertClosedSilently();
});

Deno.test("a server sends no byte between its responses, and adds no header but the framing", async () => {
  await using serving = serve(({ uri }) => [200, "OK", { "x-b": "1", "x-a": "2" }, uri]);
  const sent = "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
  const { received } = await exchange(serving.address, sent);
  const preamble = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 2\r\nx-b: 1\r\n\r\n";
  assertEquals(received, `${preamble}/a${preamble}${preamble}/c`);
});

const VALUES = [
  "b\rc",
  "b\nc",
  "b\r\nc: d",
  "b\r\n c",
  "b\r\n\tc",
  "\rb",
  "b\r",
  "b\0",
  "caf\u0119",
];

Deno.test("neither a client nor a server sends a bare CR, a line end, NUL or a character above U+00FF in a header", async (t) => {
  await testEachRow(
    t,
    VALUES.map((value) => [formatLabel(value), value] as const),
    async (_label, value) => {
      await assertUnsent("GET", "/", { a: value }, null);
      await assertNotSent([200, "OK", { a: value }, null]);
      await assertNotSent([200, `O${value}K`, {}, null]);
    },
  );
});

Deno.test("a client and a server send the characters U+0080 to U+00FF as one byte each", async () => {
  const value = "caf\xe9\t\x80 \xff";
  await using serving = serve(({ headers }) => [200, value, { b: headers["a"] as string }, null]);
  using pair = await connect();
  const response = pair.conn.get("/", { a: value });
  assertEquals(await pair.peer.readPreamble(), `GET / HTTP/1.1\r\na: ${value}\r\n\r\n`);
  await pair.peer.send(OK);
  await response;
  const { received } = await exchange(serving.address, `GET / HTTP/1.1\r\na: ${value}\r\n\r\n`);
  assertEquals(received, `HTTP/1.1 200 ${value}\r\nb: ${value}\r\ncontent-length: 0\r\n\r\n`);
  const { status, reason, headers } = await serving.makeClient().get("/", { a: value });
  assertEquals([status, reason, headers["b"]], [200, value, value]);
});

Deno.test("neither a client nor a server sends headers that don't frame the body that it sends", async (t) => {
  const makeChunks = () => new ChunkedBodyIter([[null, new Uint8Array(0)]]);
  const rows: [label: string, HeadersToSend, () => BodyOut][] = [
    ["both", { "content-length": 5, "transfer-encoding": "chunked" }, () => "hello"],
    ["both, with chunks", { "content-length": 5, "transfer-encoding": "chunked" }, makeChunks],
    ["another length", { "content-length": 6 }, () => "hello"],
    ["a length, and chunks", { "content-length": 5 }, makeChunks],
    ["chunks, and a length", { "transfer-encoding": "chunked" }, () => "hello"],
    ["chunks, and no body", { "transfer-encoding": "chunked" }, () => null],
    ["another coding", { "transfer-encoding": "gzip" }, makeChunks],
    ["another coding before chunked", { "transfer-encoding": "gzip, chunked" }, makeChunks],
    ["chunked twice", { "transfer-encoding": "chunked, chunked" }, makeChunks],
  ];
  await testEachRow(t, rows, async (_label, headers, makeBody) => {
    await assertUnsent("PUT", "/", headers, makeBody());
    await assertNotSent([200, "OK", headers, makeBody()]);
  });
});

Deno.test("neither a client nor a server sends a header in two spellings of its name", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { host: null, headers: { "x-a": "1" } });
  using conn = await client.connect();
  const response = conn.get("/", { "x-a": "2" });
  const peer = await server.accept();
  assertEquals(await peer.readPreamble(), "GET / HTTP/1.1\r\nx-a: 2\r\n\r\n");
  await peer.send(OK);
  await response;
  const twoSpellings = { "x-a": "1", "X-A": "2" };
  await assertUnsent("GET", "/", twoSpellings, null);
  await assertNotSent([200, "OK", twoSpellings, null]);
});

Deno.test("a client sends a path and a query as the target, and no other form", async (t) => {
  const targets = [
    ...["http://a/", "a:80", "*"],
    ...["", "?a", "a", "/a#b", "//a", "/a b", "/%41", "/a/../b", "/a/./b", "/."],
  ];
  await testEachRow(
    t,
    targets.map((uri) => [formatLabel(uri), uri] as const),
    async (_label, uri) => {
      await assertUnsent("GET", uri, {}, null);
    },
  );
  using server = new RawServer();
  const [host, port] = server.address as readonly [string, number];
  const response = createFetch(new Client(server.address))(`http://${host}:${port}`);
  const peer = await server.accept();
  assertEquals((await peer.readPreamble()).split("\r\n")[0], "GET / HTTP/1.1");
  await peer.send(OK);
  await response;
});

Deno.test("a client doesn't send CONNECT, OPTIONS or TRACE", async (t) => {
  const rows = [["CONNECT", "a:80"], ["OPTIONS", "*"], ["OPTIONS", "/"], ["TRACE", "/"]] as const;
  for (const [method, uri] of rows) {
    await t.step(`${method} ${uri}`, () => assertUnsent(method, uri, {}, null));
  }
});

Deno.test("a client sends no request with a body that isn't allowed, or that is too large", async (t) => {
  const rows: [label: string, method: string, uri: string, HeadersToSend, BodyOut][] = [
    ["GET with a body", "GET", "/", {}, encodeLatin1("x")],
    ["GET with a length", "GET", "/", { "content-length": 0 }, null],
    ["a lone surrogate", "PUT", "/", {}, "a\ud800"],
    ["over 16 MiB", "PUT", "/", {}, new Uint8Array(16777217)],
    ["a preamble over 32768 bytes", "GET", `/${"a".repeat(32768)}`, {}, null],
  ];
  await testEachRow(t, rows, (_label, ...request) => assertUnsent(...request));
});

Deno.test("a client sends chunks in its first request, and rejects a response of another version", async () => {
  for (const coding of ["content-length: 0", "transfer-encoding: chunked"]) {
    using pair = await connect();
    const response = catchRejection(
      pair.conn.put("/", {}, streamOf(encodeLatin1("hello"))),
      "HTTP/2.0",
    );
    const sent = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assertEquals(await pair.peer.readExactly(sent.length), sent);
    await pair.peer.send(`HTTP/2.0 200 OK\r\n${coding}\r\n\r\n0\r\n\r\n`);
    const error = await response;
    assertInstanceOf(error, ProtocolError);
    assertEquals([error.code, pair.conn.closed], ["BAD_STATUS_LINE", true]);
  }
});

// ───────────────────────── bytes of one message are never part of another

const hello = encodeLatin1("hello");
const CHUNK = "5\r\nhello\r\n";
const LAST = "0\r\n\r\n";
const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n";
const makeFailingStream = () =>
  new TrackedStream([encodeLatin1("he")], { failure: new Error("no") });
const makeChunkedBody = (bytes: string) => new ChunkedBody(streamOf(encodeLatin1(bytes)));

/** The allowed output for a body that breaks its framing: no bytes, or its first bytes. */
const [noBytes, chunk] = [/^$/, /^(5\r\nhello\r\n)?$/];

/** Bodies that break their framing after the preamble could be sent, and the allowed output. */
const brokenBodies: readonly (readonly [label: string, make: () => BodyOut, sent: RegExp])[] = [
  ["a stream that is too short", () => new Body(streamOf(encodeLatin1("hell")), 5), /^(hell)?$/],
  ["a stream that is too long", () => new Body(streamOf(hello, encodeLatin1("!")), 5), noBytes],
  ["an item that is too long", () => new Body(streamOf(encodeLatin1("hello!")), 5), noBytes],
  ["a stream that fails", () => new Body(makeFailingStream().stream, 5), /^(he)?$/],
  ["an iterable that is too short", () => new BodyIter([encodeLatin1("hell")], 5), /^(hell)?$/],
  ["an iterable that is too long", () => new BodyIter([hello, encodeLatin1("!")], 5), noBytes],
  [
    "a last item that is too long",
    () => new BodyIter([encodeLatin1("hell"), encodeLatin1("o!")], 5),
    /^(hell)?$/,
  ],
  ["an iterable that fails", () => new BodyIter(makeFailingStream().stream, 5), /^(he)?$/],
  ["chunks without a last chunk", () => new ChunkedBodyIter([[null, hello]]), chunk],
  [
    "a chunk after the last chunk",
    () => new ChunkedBodyIter([[null, encodeLatin1("")], [null, hello]]),
    noBytes,
  ],
  ["encoded chunks without a last chunk", () => makeChunkedBody(CHUNK), chunk],
  ["an encoded chunk that is cut", () => makeChunkedBody("5\r\nhe"), /^(5\r\nhe)?$/],
  [
    "bytes after encoded chunks",
    () => makeChunkedBody(`${CHUNK}${LAST}GET / HTTP/1.1\r\n\r\n`),
    chunk,
  ],
  ["bytes that are not encoded chunks", () => makeChunkedBody("hello"), noBytes],
];

/** Returns the bytes of the body in a message. */
const getBodyBytes = (message: string) =>
  message.replace(/^(PUT \/ HTTP\/1\.1|HTTP\/1\.1 200 OK)\r\n[^\r]*\r\n\r\n/, "");

Deno.test("a body that breaks its framing is cut, and the connection closes", async (t) => {
  for (const [label, make, sent] of brokenBodies) {
    await t.step(`server: ${label}`, async () => {
      const requests = "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
      await using pair = await connectRawPeer(() => [200, "OK", {}, make()], requests);
      await pair.peer.closeWrite();
      const { received } = await pair.peer.readToEnd();
      assertMatch(getBodyBytes(received), sent);
      assertEquals((await pair.logger.waitFor("error")).length, 1);
    });
    await t.step(`client: ${label}`, async () => {
      using pair = await connect({ timeout: 1 });
      await assertRejects(() => pair.conn.put("/", {}, make()));
      assertEquals(pair.conn.closed, true);
      assertMatch(getBodyBytes((await pair.peer.readToEnd()).received), sent);
    });
  }
});

Deno.test("client connection: bytes that arrive before a request is sent are never its response", async (t) => {
  const forgedBytes = encodeLatin1(FORGED);
  const responses = {
    "before the first request": null,
    "between two requests": "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "between the response and the reading of its body":
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
  };
  await testEachRow(t, Object.entries(responses), async (_when, responseText) => {
    using pair = await connect();
    const response = responseText === null ? null : await pair.answer(responseText);
    const sending = await pair.peer.conn.write(forgedBytes);
    await waitForTick();
    await response?.body?.text();
    await assertProtocolRejection(pair.conn.get("/"), ["EXCESS_BYTES"], "the next request");
    assertEquals([sending, pair.conn.closed], [forgedBytes.length, true]);
  });
});

Deno.test("client connection: closing the connection during the check for early bytes ends the request, which is not sent", async () => {
  using pair = await connect();
  const responding = catchRejection(pair.conn.get("/"), "a request on a closed connection");
  await null;
  pair.conn.close();
  assertInstanceOf(await responding, ConnectionClosedError);
  await pair.peer.assertClosedSilently();
});
