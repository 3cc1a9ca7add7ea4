/** The requests of a client: writes, headers, bodies, and servers that refuse the body. */
import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
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
import { catchRejection } from "@degu/testing/expectations.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { type Portions, RecordingSocket } from "@degu/testing/recording_socket.ts";
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
