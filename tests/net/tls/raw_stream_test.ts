/** The stream under a TLS connection: reading can be paused, and both end together. */
import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { createServer, type Socket as NetSocket } from "node:net";
import type { Duplex } from "node:stream";
import { freeMemory, makeDuplex, makeNetStream } from "@degu/internal/net/tls/raw_stream.ts";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";

/** A socket of node:net, and its peer. */
async function connectedNode() {
  const server = createServer();
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const accepted = once(server, "connection");
  const peer = await RawPeer.connect(["127.0.0.1", port]);
  const [socket]: [NetSocket] = await accepted as [NetSocket];
  return {
    peer,
    socket,
    async [Symbol.asyncDispose]() {
      peer.close();
      socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

Deno.test("the stream reports whether the peer has sent a byte", async () => {
  await using ends = await connectedNode();
  const rawStream = makeNetStream(ends.socket);
  assertEquals([rawStream.hasReceived, rawStream.conn, rawStream.stream === ends.socket], [
    false,
    null,
    true,
  ]);
  const arrived = once(ends.socket, "data");
  await ends.peer.send("x");
  await within(arrived, "a byte arrives");
  assertEquals(rawStream.hasReceived, true);
});

Deno.test("nothing is read while the stream is held, and nothing is lost afterwards", async () => {
  await using ends = await connectedNode();
  const rawStream = makeNetStream(ends.socket);
  let received = "";
  ends.socket.on("data", (bytes: Uint8Array) => received += new TextDecoder().decode(bytes));
  // The socket begins to read in the next turn.
  await turnOfEventLoop();
  rawStream.hold();
  await ends.peer.send("hello");
  for (let i = 0; i < 3; i++) await turnOfEventLoop();
  assertEquals(received, "");
  rawStream.release();
  while (received.length < 5) await within(once(ends.socket, "data"), "the rest arrives");
  assertEquals(received, "hello");
});

Deno.test("holding, releasing and closing a closed stream is not an error", async () => {
  await using ends = await connectedNode();
  const rawStream = makeNetStream(ends.socket);
  const closed = once(ends.socket, "close");
  rawStream.close();
  await within(closed, "the socket is closed");
  rawStream.hold();
  rawStream.release();
  rawStream.close();
  assert(ends.socket.destroyed);
  assertEquals((await ends.peer.readToEnd()).received, "");
});

Deno.test("memory that was freed can't be used any more; parts of a buffer and small ones are not freed", () => {
  const rows: readonly [Uint8Array<ArrayBuffer>, number][] = [
    [new Uint8Array(4096), 0],
    [new Uint8Array(100_000), 0],
    [new Uint8Array(4095), 4095],
    [new Uint8Array(0), 0],
    [new Uint8Array(8192).subarray(1), 8191],
    [new Uint8Array(8192).subarray(0, 8191), 8191],
  ];
  for (const [piece, left] of rows) {
    freeMemory(piece);
    assertEquals(piece.length, left);
  }
});

Deno.test("once memory is reused, what arrived is gone as soon as it was passed on", async () => {
  await using ends = await connectedNode();
  const rawStream = makeNetStream(ends.socket);
  const kept: Uint8Array[] = [];
  let received = "";
  ends.socket.on("data", (piece: Uint8Array) => {
    kept.push(piece);
    received += new TextDecoder().decode(piece);
  });
  // The socket begins to read in the next turn.
  await turnOfEventLoop();
  rawStream.reuseMemory();
  const text = "x".repeat(100_000) + "y".repeat(100_000);
  const sent = ends.peer.send(text);
  while (received.length < text.length) await within(once(ends.socket, "data"), "the rest arrives");
  await sent;
  assertEquals(received, text);
  await turnOfEventLoop();
  assert(kept.every(({ length }) => length < 4096));
  rawStream.close();
  rawStream.reuseMemory();
});

/** A stream, and its peer. */
async function connectedDeno() {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [peer, conn] = await Promise.all([
    RawPeer.connect(["127.0.0.1", listener.addr.port]),
    listener.accept(),
  ]);
  const rawStream = makeDuplex(conn);
  return {
    peer,
    conn,
    rawStream,
    async [Symbol.asyncDispose]() {
      peer.close();
      const { stream } = rawStream;
      if (!stream.closed) {
        const closed = once(stream, "close");
        rawStream.close();
        await closed;
      }
    },
  };
}

Deno.test("bytes arrive unchanged in both directions, however large the pieces", async () => {
  await using ends = await connectedDeno();
  const { stream } = ends.rawStream;
  const pieces = [1, 65535, 65536, 300_000].map((length, i) => "abcd"[i]!.repeat(length));
  const text = pieces.join("");
  for (const piece of pieces) stream.write(piece);
  assertEquals(await ends.peer.readExactly(text.length), text);
  let received = "";
  stream.on("data", (bytes: Uint8Array) => received += new TextDecoder().decode(bytes));
  await ends.peer.send(text);
  while (received.length < text.length) await within(once(stream, "data"), "the rest arrives");
  assertEquals(received, text);
  assertEquals([ends.rawStream.hasReceived, ends.rawStream.conn === ends.conn], [true, true]);
});

Deno.test("pieces that were returned keep their bytes while others arrive", async () => {
  await using ends = await connectedDeno();
  const { stream } = ends.rawStream;
  const kept: Uint8Array[] = [];
  stream.on("data", (bytes: Uint8Array) => kept.push(bytes));
  for (const letter of "abcdefgh") {
    const arrived = once(stream, "data");
    await ends.peer.send(letter.repeat(20_000));
    await within(arrived, "a piece arrives");
  }
  while (kept.reduce((sum, { length }) => sum + length, 0) < 160_000) await once(stream, "data");
  const text = kept.map((bytes) => new TextDecoder().decode(bytes)).join("");
  assertEquals(text, [..."abcdefgh"].map((letter) => letter.repeat(20_000)).join(""));
});

Deno.test("nothing is read while the stream is held, and nothing is lost afterwards", async () => {
  await using ends = await connectedDeno();
  const { stream } = ends.rawStream;
  ends.rawStream.hold();
  let received = "";
  stream.on("data", (bytes: Uint8Array) => received += new TextDecoder().decode(bytes));
  await ends.peer.send("hello");
  for (let i = 0; i < 3; i++) await turnOfEventLoop();
  assertEquals([received, ends.rawStream.hasReceived], ["", false]);
  ends.rawStream.release();
  while (received.length < 5) await within(once(stream, "data"), "the rest arrives");
  assertEquals(received, "hello");
});

Deno.test("each end notices the end of the other", async () => {
  {
    await using ends = await connectedDeno();
    const { stream } = ends.rawStream;
    const ended = once(stream, "end");
    stream.resume();
    ends.peer.close();
    await within(ended, "the stream ends");
  }
  await using ends = await connectedDeno();
  ends.rawStream.stream.end("bye");
  const { received } = await ends.peer.readToEnd();
  assertEquals(received, "bye");
});

Deno.test("close() closes the connection, even while it is held or read", async () => {
  for (const isHeld of [false, true]) {
    await using ends = await connectedDeno();
    if (isHeld) ends.rawStream.hold();
    ends.rawStream.stream.resume();
    const closed = once(ends.rawStream.stream, "close");
    ends.rawStream.close();
    await within(closed, "the stream is closed");
    assertEquals((await ends.peer.readToEnd()).received, "");
    ends.rawStream.close();
  }
});

Deno.test("a reset by the peer is an error of the stream only", async () => {
  await using ends = await connectedDeno();
  const { stream } = ends.rawStream;
  const failed = once(stream, "close");
  stream.resume();
  // What was not read makes the system send a reset in place of an end.
  stream.write("x".repeat(10));
  await turnOfEventLoop();
  ends.peer.close();
  await within(failed, "the stream is closed");
  assert(stream.destroyed);
});

/** Collects what arrives; each piece is used in its event only, as TLS does. */
function collect(stream: Duplex) {
  const buffers = new Set<ArrayBufferLike>();
  let text = "";
  stream.on("data", (piece: Uint8Array) => {
    buffers.add(piece.buffer);
    text += new TextDecoder().decode(piece);
  });
  return {
    buffers,
    text: () => text,
    async upTo(length: number) {
      while (text.length < length) await within(once(stream, "data"), "the rest arrives");
    },
  };
}

Deno.test("once memory is reused, pieces that wait keep their bytes", async () => {
  await using ends = await connectedDeno();
  const { rawStream, peer } = ends;
  rawStream.reuseMemory();
  const received = collect(rawStream.stream);
  rawStream.stream.pause();
  for (const letter of "abc") {
    await peer.send(letter.repeat(10_000));
    for (let i = 0; i < 5; i++) await turnOfEventLoop();
  }
  assertEquals(rawStream.stream.readableLength, 30_000);
  rawStream.stream.resume();
  await received.upTo(30_000);
  assertEquals(received.text(), [..."abc"].map((letter) => letter.repeat(10_000)).join(""));
});

Deno.test("once memory is reused, all that is passed on at once comes in one buffer", async () => {
  await using ends = await connectedDeno();
  const { rawStream, peer } = ends;
  rawStream.reuseMemory();
  const received = collect(rawStream.stream);
  const text = [..."abcdefgh"].map((letter) => letter.repeat(50_000)).join("");
  const sent = peer.send(text);
  await received.upTo(text.length);
  await sent;
  assertEquals(received.text(), text);
  assertEquals(received.buffers.size, 1);
});

Deno.test("once memory is reused, what was written is freed, and arrives unchanged", async () => {
  await using ends = await connectedDeno();
  const { rawStream, peer } = ends;
  rawStream.reuseMemory();
  const piece = new Uint8Array(200_000).fill(120);
  const written = Promise.withResolvers<void>();
  rawStream.stream.write(piece, () => written.resolve());
  assertEquals(await peer.readExactly(200_000), "x".repeat(200_000));
  await within(written.promise, "the write settles");
  assertEquals(piece.length, 0);
});
