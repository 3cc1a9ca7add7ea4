/** The requests of a client: writes, headers, bodies, and servers that refuse the body. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  EmptyPreambleError,
  type HeadersToSend,
} from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { type Portions, RecordingSocket } from "@degu/testing/recording_socket.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

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

const MEBIBYTE = 1048576;

for (const [transport, path] of [["TCP", null], ["a Unix socket", "socket"]] as const) {
  Deno.test(`an early response to an upload over ${transport} is delivered`, async () => {
    const total = 64 * MEBIBYTE;
    let readBytes = 0;
    function* makeZeros() {
      for (const piece = new Uint8Array(65536); readBytes < total; readBytes += piece.length) {
        yield piece;
      }
    }
    await using directory = await createTempDir();
    const address = path === null ? ["127.0.0.1", 0] as const : `${directory.path}/${path}`;
    for (const size of [2, 20_000]) {
      await using serving = serve(
        () => [413, "Content Too Large", { why: "size" }, new Uint8Array(size)],
        {},
        address,
      );
      for (let i = 0; i < 2; i++) {
        using conn = await serving.makeClient().connect();
        readBytes = 0;
        const upload = new BodyIter(makeZeros(), total);
        const { status, headers, body } = await conn.put("/", {}, upload);
        assertEquals([status, headers["why"]], [413, "size"]);
        assertEquals((await body?.bytes())?.length, size);
        assertEquals(conn.closed, true, "a connection with half a request is of no use");
        assert(readBytes < total, "too many bytes were sent");
      }
    }
  });
}

Deno.test("after an early response from a peer that keeps reading, the connection stays open unless the status is an error", async () => {
  for (const [status, isClosed] of [["200 OK", false], ["404 Not Found", true]] as const) {
    using pair = await connect();
    const rest = Promise.withResolvers<void>();
    const body = new BodyIter(
      (async function* () {
        yield new Uint8Array(MEBIBYTE);
        await rest.promise;
        yield new Uint8Array(MEBIBYTE);
      })(),
      2 * MEBIBYTE,
    );
    const responding = pair.conn.put("/", {}, body, { duplex: "full" });
    const preamble = await pair.peer.respond(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`);
    assertEquals(preamble, "PUT / HTTP/1.1\r\ncontent-length: 2097152\r\n\r\n");
    assertEquals((await responding).status, Number(status.slice(0, 3)));
    assertEquals(pair.conn.closed, isClosed);
    rest.resolve();
    if (isClosed) continue;
    await pair.peer.readExactly(2 * MEBIBYTE);
    assertEquals((await pair.answer("HTTP/1.1 204 No Content\r\n\r\n")).status, 204);
  }
});

Deno.test("a peer that closes without a response is an EmptyPreambleError, or the socket's own error", async () => {
  for (let i = 0; i < 2; i++) {
    using pair = await connect();
    const error = catchRejection(
      pair.conn.put("/", {}, new Uint8Array(16 * MEBIBYTE)),
      "an upload",
    );
    await pair.peer.readPreamble();
    pair.peer.close();
    assertInstanceOf(await error, EmptyPreambleError);
    assertEquals(pair.conn.closed, true);
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
    else assertStrictEquals(settledTo, outcome, `${i}`);
    assertEquals([conn.closed, socket.closeCount], [true, 1], `${i}`);
  }
});

Deno.test("a body that fails at its start rejects, and leaves no resource open", async () => {
  const failure = new Error("can't begin");
  const ways: readonly (() => Promise<never>)[] = [
    () => {
      throw failure;
    },
    () => Promise.reject(failure),
  ];
  for (const next of ways) {
    const source = { [Symbol.asyncIterator]: () => ({ next }) };
    for (const body of [new BodyIter(source, 5), new ChunkedBodyIter(source)]) {
      using pair = await connect();
      assertStrictEquals(await catchRejection(pair.conn.put("/", {}, body), "put"), failure);
      assertEquals(pair.conn.closed, true);
    }
  }
});

Deno.test("a reset by the source of a request's body is not reported as a reset by the server", async () => {
  using connected = await connect();
  await connected.answer("HTTP/1.1 204 No Content\r\n\r\n");
  const failure = new Deno.errors.ConnectionReset("the source of the body");
  let hasRead = false;
  const source = {
    read(into: Uint8Array): Promise<number | null> {
      if (hasRead) return Promise.reject(failure);
      hasRead = true;
      return Promise.resolve(into.length);
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

Deno.test("the error of a request names the character of its URI", async () => {
  using pair = await connect();
  const error = await catchRejection(pair.conn.get("/a b"), "a space");
  assertInstanceOf(error, RangeError);
  assertEquals(error.message.startsWith('uri: bad URI "/a b": " " is not allowed; '), true);
  assertEquals(pair.conn.closed, false);
});
