/**
 * The bytes that clients and servers send or refuse to send (RFC 9112 §2 to §7), and the number of
 * writes. Bytes of one message are never part of another.
 */
import { type App, Client, Connection, createFetch, type Response } from "@degu/degu";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  type ByteSink,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
  type HeadersToSend,
  type Method,
  ProtocolError,
} from "@degu/degu/base";
import type { ResponseTuple } from "@degu/degu/server";
import { connect, requestWith } from "../client/connected.ts";
import { formatErrorResponse } from "../server/error_answers.ts";
import {
  assertProtocolRejection,
  catchRejection,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { exchange, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { concat, streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { patch } from "@degu/testing/patching.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { formatChunk } from "../../base/messages.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";

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

Deno.test("a client doesn't send CONNECT, TRACE or OPTIONS *", async (t) => {
  const rows = [["CONNECT", "a:80"], ["OPTIONS", "*"], ["TRACE", "/"], ["patch", "/"]] as const;
  for (const [method, uri] of rows) {
    await t.step(`${method} ${uri}`, () => assertUnsent(method, uri, {}, null));
  }
});

const makeHeaders = (count: number): HeadersToSend =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`a${i}`, "b"]));

Deno.test("a client sends no request with a body that isn't allowed, or that is too large", async (t) => {
  const rows: [label: string, method: string, uri: string, HeadersToSend, BodyOut][] = [
    ["GET with a body", "GET", "/", {}, encodeLatin1("x")],
    ["OPTIONS with a body", "OPTIONS", "/", {}, "{}"],
    ["GET with a length", "GET", "/", { "content-length": 0 }, null],
    ["a lone surrogate", "PUT", "/", {}, "a\ud800"],
    ["over 16 MiB", "PUT", "/", {}, new Uint8Array(16777217)],
    ["a preamble over 32768 bytes", "GET", `/${"a".repeat(32768)}`, {}, null],
    ["129 header lines", "GET", "/", makeHeaders(129), null],
    ["128 header lines and a content-length", "PUT", "/", makeHeaders(128), encodeLatin1("x")],
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

// ───────────────────────── sending bodies

const ENCODED = "5\r\nhello\r\n0\r\n\r\n";
const SMUGGLED = "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";

/** Returns the length of the preamble of a PUT request with this content-length. */
const countPreambleBytes = (length: number) =>
  `PUT / HTTP/1.1\r\ncontent-length: ${length}\r\n\r\n`.length;

/** A socket that responds to each request at its first write. */
class Recorder extends RecordingSocket {
  /** The promise that each write waits for. */
  ready: Promise<void> = Promise.resolve();
  #isRequested = false;

  override async write(bytes: Uint8Array): Promise<number> {
    const written = super.write(bytes);
    if (this.#isRequested) this.receive("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    this.#isRequested = false;
    await this.ready;
    return written;
  }

  /** Sends a request with a body; resolves to each write. */
  async put(conn: Connection, body: BodyOut): Promise<string[]> {
    const writeCount = this.writes.length;
    this.#isRequested = true;
    await conn.put("/", {}, body);
    return this.writes.slice(writeCount);
  }
}

function openRecorder() {
  const socket = new Recorder();
  const conn = new Connection(socket, null, undefined, null);
  return { socket, conn, put: (body: BodyOut) => socket.put(conn, body) };
}

Deno.test("a body that fits behind its preamble is sent with it in one write, and a longer body isn't copied whole", async () => {
  const maxLength = 65536 - countPreambleBytes(65000);
  const rows: [label: string, body: BodyOut, sizes: number[]][] = [
    ["none", null, ["PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n".length]],
    ["an array", encodeLatin1("hello"), [countPreambleBytes(5) + 5]],
    ["the largest array", new Uint8Array(maxLength), [65536]],
    ["one byte more", new Uint8Array(maxLength + 1), [
      1024,
      maxLength + 1 - 1024 + countPreambleBytes(65000),
    ]],
    ["a large one", new Uint8Array(70_000), [1024, 70_000 + countPreambleBytes(70_000) - 1024]],
  ];
  for (const [label, body, sizes] of rows) {
    const writes = await openRecorder().put(body);
    assertEquals(writes.map(({ length }) => length), sizes, label);
  }
  for (const length of [65_400, maxLength, maxLength + 1, 70_000, 1_000_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => 97 + i % 26);
    const written = (await openRecorder().put(bytes)).join("");
    assert(written.endsWith(`\r\n\r\n${decodeLatin1(bytes)}`), `${length}, in order`);
  }
});

Deno.test("a preamble is sent even if the body waits for its source, and an empty write sends no byte", async () => {
  const { socket, put } = openRecorder();
  const source = Promise.withResolvers<Uint8Array>();
  async function* makeItems() {
    yield new Uint8Array(0);
    yield await source.promise;
    yield new Uint8Array(0);
  }
  const sending = put(new BodyIter(makeItems(), 5));
  while (socket.writes.length === 0) await waitForTick();
  assertEquals(socket.writes.map(({ length }) => length), [countPreambleBytes(5)]);
  source.resolve(encodeLatin1("hello"));
  await sending;
  assertEquals(socket.writes.slice(1), ["hello"]);
});

// ───────────────────────── bodies of derived classes, and imitations

/** Asserts that a body is sent encoded or cut, and never followed by another message. */
async function assertHarmless(body: BodyOut, label: string): Promise<void> {
  const { socket, conn } = openRecorder();
  const error = await socket.put(conn, body).then(() => null, (error) => error);
  const isHarmless = error === null || error instanceof BodyError || error instanceof TypeError;
  assert(isHarmless, `${label}: ${error}`);
  assert(!socket.writes.join("").includes("smuggled"), `${label}: ${socket.writes.join("")}`);
  conn.close();
}

const smuggle = (sink: ByteSink) => sink.write(encodeLatin1(SMUGGLED));
const makeChunks = (): Chunk[] => [[null, encodeLatin1("hello")], [null, new Uint8Array(0)]];
const makers: Record<string, [make: () => ChunkedBody, Base: typeof ChunkedBody]> = {
  ChunkedBody: [() => new ChunkedBody(streamOf(encodeLatin1(ENCODED))), ChunkedBody],
  // Both classes have the methods that the test uses.
  ChunkedBodyIter: [
    () => new ChunkedBodyIter(makeChunks()) as unknown as ChunkedBody,
    ChunkedBodyIter as unknown as typeof ChunkedBody,
  ],
};

for (const [name, [make, Base]] of Object.entries(makers)) {
  Deno.test(`an object that imitates a ${name} can't smuggle a request`, async () => {
    const impostors: Record<string, () => BodyOut> = {
      "with its own writeTo": () => Object.assign(make(), { writeTo: smuggle }) as ChunkedBody,
      "with a getter for writeTo that returns another function later": () => {
        let readCount = 0;
        const body = make();
        const { writeTo } = body;
        const get = () => readCount++ === 0 ? writeTo : smuggle;
        return Object.defineProperty(body, "writeTo", { get });
      },
      "with another prototype": () =>
        Object.setPrototypeOf(make(), { writeTo: smuggle, chunked: true, used: false }),
      "behind an object that inherits from it": () =>
        Object.create(make(), { writeTo: { value: smuggle } }),
      "behind a Proxy": () =>
        new Proxy(make(), {
          get: (body, key) => key === "writeTo" ? smuggle : Reflect.get(body, key, body),
        }),
      "of a class that extends it": () =>
        new class extends Base {
          override async writeTo(sink: ByteSink): Promise<number> {
            await smuggle(sink);
            return SMUGGLED.length;
          }
        }((name === "ChunkedBody" ? streamOf(encodeLatin1(ENCODED)) : makeChunks()) as never),
    };
    for (const [label, impostor] of Object.entries(impostors)) {
      await assertHarmless(impostor(), label);
    }
    using _smuggling = patch(Base.prototype, "writeTo", () => smuggle as never);
    await assertHarmless(make(), "whose prototype has another writeTo");
  });
}

Deno.test("a body of known length that claims to be chunked, or to be longer, is sent with its actual length", async () => {
  const falseProperties: PropertyDescriptorMap[] = [
    { chunked: { value: true } },
    { contentLength: { value: SMUGGLED.length - 1 } },
    { contentLength: { value: SMUGGLED.length + 1 } },
  ];
  for (const lie of falseProperties) {
    const bodies = [
      new Body(streamOf(encodeLatin1(SMUGGLED)), SMUGGLED.length),
      new BodyIter([encodeLatin1(SMUGGLED)], SMUGGLED.length),
    ];
    for (const body of bodies) {
      Object.defineProperties(body, lie);
      const { socket, conn } = openRecorder();
      await socket.put(conn, body);
      const sent = socket.writes.join("");
      assert(sent.includes(`content-length: ${SMUGGLED.length}\r\n`));
      assert(sent.endsWith(SMUGGLED));
    }
  }
});

// ───────────────────────── messages of several connections

/** An app that responds with its URI and headers. */
const headerApp: App = ({ uri, headers }) => {
  return [200, "OK", { "x-seen": `${uri} ${headers["x-name"]}` }, null];
};

Deno.test("a header getter that makes a request over another connection affects neither message", async () => {
  await using serving = serve(headerApp);
  const client = new Client(serving.address);
  using outerConn = await client.connect();
  using innerConn = await client.connect();
  let otherResponse: Promise<Response> | null = null;
  const headers = {
    "x-first": "read before the other headers are formatted",
    get "x-name"() {
      otherResponse ??= innerConn.get("/inner", {
        "x-name": "a longer value than the other one has",
      });
      return "outer";
    },
  };
  for (let count = 0; count < 3; count++) {
    otherResponse = null;
    const response = await outerConn.get("/outer", headers);
    assertEquals(response.headers["x-seen"], "/outer outer");
    const { headers: otherHeaders } = await otherResponse!;
    assertEquals(otherHeaders["x-seen"], "/inner a longer value than the other one has");
  }
});

// ───────────────────────── chunks

const MAX_JOINED_BYTES = 1024 * await readStatedNumber(
  "docs/bodies.md",
  /sends up to (\d+) KiB of them in the next write/,
);
const MAX_JOINED_CHUNKS = await readStatedNumber(
  "docs/bodies.md",
  /in the next write, at most (\d+) chunks/,
);
const END: Chunk = [null, new Uint8Array(0)];

/** A sink whose writes wait until the test lets each continue. */
class GatedSink {
  /** The bytes of each write that has begun. */
  readonly writes: string[] = [];
  #gate = Promise.withResolvers<void>();
  #writeBegun = Promise.withResolvers<void>();

  async write(bytes: Uint8Array): Promise<void> {
    this.writes.push(decodeLatin1(bytes));
    this.#writeBegun.resolve();
    await this.#gate.promise;
  }

  /** Ends the pending write, and waits for the next write. */
  async passToNextWrite(): Promise<void> {
    this.#writeBegun = Promise.withResolvers();
    this.pass();
    await withTimeout(this.#writeBegun.promise, "the next write");
  }

  /** Ends the pending write. */
  pass(): void {
    const gate = this.#gate;
    this.#gate = Promise.withResolvers();
    gate.resolve();
  }

  /** Ends each write until all are done. */
  async passAll(writing: Promise<unknown>): Promise<void> {
    let isDone = false;
    const done = writing.finally(() => isDone = true);
    for (; !isDone; await waitForTick()) this.pass();
    await done;
  }

  fail(error: unknown): void {
    this.#gate.reject(error);
  }
}

/** An asynchronous iterable, or a stream of it. */
type Wrap = (items: AsyncGenerator<Chunk>) => AsyncIterable<Chunk>;

const wraps: [kind: string, wrap: Wrap][] = [
  ["a generator", (items) => items],
  ["a stream", (items) => ReadableStream.from(items)],
];

const chunkOf = (text: string): Chunk => [null, encodeLatin1(text)];
const encodedText = (...texts: string[]) =>
  texts.map((text) => decodeLatin1(formatChunk(chunkOf(text)))).join("");

Deno.test("during a write, chunks are requested and joined up to the stated number of bytes", async () => {
  const size = 16384;
  const encodedSize = formatChunk([null, new Uint8Array(size)]).length;
  const joinedCount = Math.floor(MAX_JOINED_BYTES / encodedSize);
  let requestedCount = 0;
  function* makeChunks(): Generator<Chunk> {
    const buffer = new Uint8Array(size);
    for (; requestedCount < 40;) {
      buffer.fill(requestedCount++);
      yield [null, buffer];
    }
    yield END;
  }
  const sink = new GatedSink();
  const writing = new ChunkedBodyIter(makeChunks()).writeTo(sink);
  await waitForTick();
  // One chunk is being written, one more waits for room.
  assertEquals(requestedCount, 1 + joinedCount + 1);
  assertEquals(sink.writes.map(({ length }) => length), [encodedSize]);
  await sink.passToNextWrite();
  await waitForTick();
  assertEquals(requestedCount, 1 + 2 * joinedCount + 1);
  assertEquals(sink.writes.map(({ length }) => length), [encodedSize, joinedCount * encodedSize]);
  await sink.passAll(writing);
  const chunks = Array.from({ length: 40 }, (_, i): Chunk => [null, new Uint8Array(size).fill(i)]);
  const expected = decodeLatin1(concat([...chunks, END].map(formatChunk)));
  assert(sink.writes.join("") === expected, "each chunk in order, with its bytes");
});

Deno.test("a write has at most the stated number of chunks, so that other requests continue", async (t) => {
  await testEachRow(t, wraps, async (_kind, wrap) => {
    const totalCount = 3 * MAX_JOINED_CHUNKS;
    async function* makeChunks(): AsyncGenerator<Chunk> {
      for (let i = 0; i < totalCount; i++) yield chunkOf("a");
      yield END;
    }
    const sink = new GatedSink();
    const writing = new ChunkedBodyIter(wrap(makeChunks())).writeTo(sink);
    for (let i = 0; i < 3; i++) {
      await waitForTick();
      await sink.passToNextWrite();
    }
    await sink.passAll(writing);
    const encodedSize = encodedText("a").length;
    const chunkCounts = sink.writes.map(({ length }) => Math.floor(length / encodedSize));
    assertEquals(Math.max(...chunkCounts), MAX_JOINED_CHUNKS, `${chunkCounts}`);
    const expected = encodedText("a").repeat(totalCount) + encodedText("");
    assert(sink.writes.join("") === expected, "each chunk in order");
  });
});

Deno.test("a sequential body requests each chunk after the previous chunk was written", async () => {
  const events: string[] = [];
  async function* makeChunks(): AsyncGenerator<Chunk> {
    for (const chunk of ["a", "b", ""].map(chunkOf)) {
      await Promise.resolve();
      events.push("item");
      yield chunk;
    }
  }
  const write = async () => {
    events.push("write");
    await waitForTick();
    events.push("written");
  };
  await new ChunkedBodyIter(makeChunks(), { sequential: true }).writeTo({ write });
  assertEquals(events, Array(3).fill(["item", "write", "written"]).flat());
});

Deno.test("a write that fails while the next item is awaited ends the body with its error, and closes the source", async () => {
  using unhandled = recordUnhandledRejections();
  const failures = [new Error("the sink broke"), "no error"];
  for (const failure of failures) {
    const item = Promise.withResolvers<never>();
    const closed = Promise.withResolvers<void>();
    const makeChunks = async function* (): AsyncGenerator<Chunk> {
      try {
        yield chunkOf("a");
        yield await item.promise;
      } finally {
        closed.resolve();
      }
    };
    const sink = new GatedSink();
    const writing = catchRejection(new ChunkedBodyIter(makeChunks()).writeTo(sink), "a sink");
    while (sink.writes.length === 0) await waitForTick();
    // The next item is requested now.
    await waitForTick();
    sink.fail(failure);
    assertStrictEquals(await withTimeout(writing, "the body doesn't wait for the item"), failure);
    item.reject(new Error("the source fails later"));
    await withTimeout(closed.promise, "the source is closed");
    await waitForTick();
    assertEquals(sink.writes, [encodedText("a")]);
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("a source that fails while chunks are joined fails the body after these chunks are sent", async (t) => {
  const failure = new Error("the disk is gone");
  const rows: [fault: string, fail: () => Chunk, isExpected: (error: unknown) => boolean][] = [
    ["an error", () => {
      throw failure;
    }, (error) => error === failure],
    [
      "an invalid chunk",
      () => [["", ""], new Uint8Array(1)],
      (error) => error instanceof BodyError,
    ],
    ["no last chunk", () => chunkOf("c"), (error) => error instanceof BodyError],
  ];
  await testEachRow(t, rows, async (_fault, fail, isExpected) => {
    const makeChunks = async function* () {
      yield chunkOf("a");
      yield chunkOf("b");
      yield await Promise.resolve().then(fail);
    };
    const sink = new GatedSink();
    const writing = catchRejection(
      new ChunkedBodyIter(makeChunks()).writeTo(sink),
      "a failed source",
    );
    while (sink.writes.length === 0) await waitForTick();
    await waitForTick();
    assertEquals(sink.writes, [encodedText("a")]);
    await sink.passToNextWrite();
    assert(sink.writes[1]!.startsWith(encodedText("b")));
    sink.pass();
    assert(isExpected(await writing));
    assertEquals(sink.writes.length, 2);
    assert(!sink.writes.join("").includes("\n0\r\n"), "the message is incomplete");
  });
});
