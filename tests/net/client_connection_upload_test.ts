/** Request bodies that don't arrive: refused by the peer, broken by their source, cut by the socket. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  EmptyPreambleError,
} from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { callWith, rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const MEBIBYTE = 1048576;

/** Zeros, in pieces, and how many were asked for. */
class Zeros {
  taken = 0;

  *pieces(total: number): Generator<Uint8Array> {
    const piece = new Uint8Array(65536);
    while (this.taken < total) {
      this.taken += piece.length;
      yield piece;
    }
  }
}

for (const [place, path] of [["TCP", null], ["a Unix socket", "socket"]] as const) {
  Deno.test(`an early response to an upload over ${place} is delivered`, async () => {
    await using directory = await tempDir();
    const address = path === null ? ["127.0.0.1", 0] as const : `${directory.path}/${path}`;
    for (const size of [2, 20_000]) {
      await using serving = serve(
        () => [413, "Content Too Large", { why: "size" }, new Uint8Array(size)],
        {},
        address,
      );
      for (let i = 0; i < 5; i++) {
        using conn = await serving.makeClient().connect();
        const zeros = new Zeros();
        const total = 64 * MEBIBYTE;
        const { status, headers, body } = await conn.put(
          "/",
          {},
          new BodyIter(zeros.pieces(total), total),
        );
        assertEquals([status, headers["why"]], [413, "size"]);
        assertEquals((await body?.bytes())?.length, size);
        assertEquals(conn.closed, true, "a connection with half a request is of no use");
        assert(zeros.taken < total, "nobody wanted that much");
      }
    }
  });
}

Deno.test("an early response to a one-shot request is delivered, including its chunked body", async () => {
  await using serving = serve(() => [507, "Insufficient Storage", {}, null]);
  const zeros = new Zeros();
  function* chunks(): Generator<Chunk> {
    for (const piece of zeros.pieces(64 * MEBIBYTE)) yield [null, piece];
    yield [null, new Uint8Array(0)];
  }
  const response = await serving.makeClient().request(
    "POST",
    "/",
    {},
    new ChunkedBodyIter(chunks()),
  );
  assertEquals([response.status, response.body], [507, null]);
});

Deno.test("an early response below 400 is not delivered if the request was cut", async () => {
  for (
    const answer of [
      "HTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 399 xx\r\n\r\n",
      "HTTP/1.1 100 xx\r\n\r\n",
    ]
  ) {
    using ends = await connect();
    const error = rejectionOf(ends.conn.put("/", {}, new Uint8Array(16 * MEBIBYTE)), answer);
    await ends.peer.readPreamble();
    await ends.peer.send(answer);
    ends.peer.close();
    assertInstanceOf(await error, Error);
    assertEquals(ends.conn.closed, true);
  }
});

Deno.test("an early response from a peer that keeps reading is delivered like any other", async () => {
  using ends = await connect();
  const responding = ends.conn.put("/", {}, new Uint8Array(4 * MEBIBYTE));
  const preamble = await ends.peer.readPreamble();
  await ends.peer.send("HTTP/1.1 404 Not Found\r\n\r\n");
  await ends.peer.readExactly(4 * MEBIBYTE);
  assertEquals(preamble, "PUT / HTTP/1.1\r\ncontent-length: 4194304\r\n\r\n");
  assertEquals((await responding).status, 404);
  assertEquals(ends.conn.closed, false);
  assertEquals((await ends.answer("HTTP/1.1 204 No Content\r\n\r\n")).status, 204);
});

Deno.test("a peer that closes without a response is an EmptyPreambleError, or the socket's own error", async () => {
  for (let i = 0; i < 5; i++) {
    using ends = await connect();
    const error = rejectionOf(ends.conn.put("/", {}, new Uint8Array(16 * MEBIBYTE)), "an upload");
    await ends.peer.readPreamble();
    ends.peer.close();
    assertInstanceOf(await error, EmptyPreambleError);
    assertEquals(ends.conn.closed, true);
  }
});

Deno.test("a write error unrelated to a closed peer is passed on unchanged", async () => {
  const socket = new RecordingSocket();
  socket.writeFailure = new Error("the cable was cut");
  using conn = new Connection(socket, null);
  const error = rejectionOf(conn.put("/", {}, latin1("hello")), "an upload");
  assertStrictEquals(await within(error, "the request rejects", 1), socket.writeFailure);
  assertEquals([conn.closed, socket.closings], [true, 1]);
});

Deno.test("after a write that fails because the peer has closed, one attempt to read a response is made", async (t) => {
  const failures = [
    new Deno.errors.BrokenPipe("EPIPE"),
    new Deno.errors.ConnectionReset("ECONNRESET"),
  ];
  for (const failure of failures) {
    await t.step(failure.name, async () => {
      const socket = new RecordingSocket();
      socket.writeFailure = failure;
      using conn = new Connection(socket, null);
      const responding = conn.put("/", {}, latin1("hello"));
      await Promise.resolve();
      setTimeout(() => socket.give("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"));
      const { status, body } = await responding;
      assertEquals([status, await body?.text(), conn.closed], [400, "no", true]);

      const silent = new RecordingSocket();
      silent.writeFailure = failure;
      using other = new Connection(silent, null);
      const error = rejectionOf(other.put("/", {}, latin1("hello")), "no answer");
      setTimeout(() => silent.end());
      assertInstanceOf(await error, EmptyPreambleError);
      assertEquals(other.closed, true);
    });
  }
});

/** Sources that break their promise after the preamble could be sent; each is called to make a new body. */
const wrongSources: readonly (readonly [what: string, make: () => BodyOut, complete: RegExp])[] = [
  ["a stream that is too short", () => new Body(streamOf(latin1("hell")), 5), /hello/],
  ["a stream that is too long", () => new Body(streamOf(latin1("hello"), latin1("!")), 5), /hello/],
  ["an item that is too long", () => new Body(streamOf(latin1("hello!")), 5), /hello/],
  ["an iterable that is too short", () => new BodyIter([latin1("hell")], 5), /hello/],
  ["an iterable that is too long", () => new BodyIter([latin1("hello"), latin1("!")], 5), /hello/],
  [
    "a stream that fails",
    () => new Body(new TrackedStream([latin1("he")], { failure: new Error("no") }).stream, 5),
    /hello/,
  ],
  [
    "an iterable that fails",
    () => new BodyIter(new TrackedItems([latin1("he")], { failure: new Error("no") }).async(), 5),
    /hello/,
  ],
  [
    "chunks without a last one",
    () => new ChunkedBodyIter([[null, latin1("hello")]]),
    /0\r\n\r\n/,
  ],
  [
    "a chunk after the last",
    () => new ChunkedBodyIter([[null, latin1("")], [null, latin1("hello")]]),
    /0\r\n\r\n/,
  ],
  [
    "coded chunks that are cut",
    () => new ChunkedBody(streamOf(latin1("5\r\nhello\r\n"))),
    /0\r\n\r\n/,
  ],
  [
    "coded chunks with more behind",
    () => new ChunkedBody(streamOf(latin1("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"))),
    /0\r\n\r\n|GET/,
  ],
  ["no chunks at all", () => new ChunkedBody(streamOf(latin1("hello"))), /0\r\n\r\n|hello/],
];

Deno.test("a source that yields another length than announced closes, and the peer sees a truncated message", async (t) => {
  for (const [what, make, complete] of wrongSources) {
    await t.step(`client: ${what}`, async () => {
      using ends = await connect();
      await assertRejects(() => ends.conn.put("/", {}, make()));
      assertEquals(ends.conn.closed, true);
      const { received } = await ends.peer.readToEnd();
      const body = received.slice(received.indexOf("\r\n\r\n") + 4);
      assert(!complete.test(body), `the peer got ${JSON.stringify(received)}`);
    });
  }
});

Deno.test("a file and a byte source are read exactly up to content-length", async () => {
  await using directory = await tempDir();
  const path = `${directory.path}/file`;
  await Deno.writeTextFile(path, "0123456789");
  using file = await Deno.open(path, { read: true });
  await file.seek(2, Deno.SeekMode.Start);
  using ends = await connect();
  const responding = ends.conn.put("/", {}, new Body(file, 3));
  await ends.peer.readPreamble();
  assertEquals(await ends.peer.readExactly(3), "234");
  await ends.peer.send("HTTP/1.1 200 OK\r\n\r\n");
  await responding;
  assertEquals(await file.seek(0, Deno.SeekMode.Current), 5, "the rest is left alone");

  const short = await rejectionOf(ends.conn.put("/", {}, new Body(file, 6)), "a file too short");
  assertInstanceOf(short, Error);
  assertEquals(ends.conn.closed, true);
  assertEquals(await file.seek(0, Deno.SeekMode.Start), 0, "the file is still open");
});

Deno.test("a body that was sent can't be sent again", async () => {
  using ends = await connect();
  const body = new Body(streamOf(latin1("hello")), 5);
  const responding = ends.conn.put("/", {}, body);
  await ends.peer.readUntil("hello");
  await ends.peer.send("HTTP/1.1 200 OK\r\n\r\n");
  await responding;
  await assertRejects(() => ends.conn.put("/", {}, body), BodyError);
  assertEquals(ends.conn.closed, false);
});

Deno.test("a response's body can be the next request's body on another connection", async () => {
  using from = await connect();
  using to = await connect();
  for (
    const answer of [
      "content-length: 5\r\n\r\nhello",
      "transfer-encoding: chunked\r\n\r\n0;k=v\r\n\r\n",
    ]
  ) {
    const { body } = await from.answer(`HTTP/1.1 200 OK\r\n${answer}`);
    const responding = to.conn.put("/", {}, body);
    const received = await to.peer.readUntil(answer.slice(-4));
    const rest = received.endsWith(answer) ? "" : await to.peer.readUntil(answer.slice(-5));
    assertEquals(received + rest, `PUT / HTTP/1.1\r\n${answer}`);
    await to.peer.send("HTTP/1.1 200 OK\r\n\r\n");
    await responding;
    assertEquals([from.conn.closed, to.conn.closed], [false, false]);
  }
});

Deno.test("a body that fails at its start rejects, and nothing is left behind", async () => {
  const failure = new Error("can't begin");
  const shapes = [{ chunked: true }, { chunked: false, contentLength: 5 }];
  const ways: readonly (() => unknown)[] = [
    () => {
      throw failure;
    },
    () => Promise.reject(failure),
  ];
  for (const shape of shapes) {
    for (const writeTo of ways) {
      using ends = await connect();
      const putting = callWith(ends.conn.put.bind(ends.conn), "/", {}, { ...shape, writeTo });
      assert(putting instanceof Promise);
      assertStrictEquals(await rejectionOf(putting, "put"), failure);
      assertEquals(ends.conn.closed, true);
    }
  }
});

Deno.test("a reset of the body's own source is not a refusal by the server", async () => {
  using connected = await connect();
  const failure = new Deno.errors.ConnectionReset("the source of the body");
  let given = false;
  const source = {
    read(into: Uint8Array): Promise<number | null> {
      if (given) return Promise.reject(failure);
      given = true;
      return Promise.resolve(into.length);
    },
  };
  const body = new Body(source, 1_000_000);
  const putting = rejectionOf(connected.conn.put("/", {}, body), "the upload");
  await connected.peer.readPreamble();
  // An answer that is there is not taken for the answer to a request that was never whole.
  await connected.peer.send("HTTP/1.1 413 Content Too Large\r\n\r\n");
  assertEquals(await putting, failure);
  assertEquals(connected.conn.closed, true);
});

Deno.test("an upload that was refused by a reset without a response is an EmptyPreambleError", async () => {
  const socket = new RecordingSocket();
  socket.writeFailure = new Deno.errors.BrokenPipe("EPIPE");
  using conn = new Connection(socket, null);
  const written = socket.written();
  const error = rejectionOf(conn.put("/", {}, latin1("hello")), "the upload");
  await written;
  socket.fail(new Deno.errors.ConnectionReset("ECONNRESET"));
  assertInstanceOf(await within(error, "the request rejects"), EmptyPreambleError);
  assertEquals(conn.closed, true);
});

Deno.test("a response below 400 to an upload that was refused is not returned", async () => {
  for (const [status, isAnswer] of [[200, false], [399, false], [400, true]] as const) {
    const failure = new Deno.errors.BrokenPipe("EPIPE");
    const socket = new RecordingSocket();
    socket.writeFailure = failure;
    using conn = new Connection(socket, null);
    const written = socket.written();
    const asking = conn.put("/", {}, latin1("hello"));
    const settled = asking.then((response) => response.status, (error) => error);
    await written;
    socket.give(`HTTP/1.1 ${status} xx\r\n\r\n`);
    assertStrictEquals(await within(settled, "the request settles"), isAnswer ? status : failure);
    assertEquals(conn.closed, true);
  }
});
