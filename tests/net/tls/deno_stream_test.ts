/** A Deno connection as a stream of node:stream. */
import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { makeDuplex } from "@degu/internal/net/tls/deno_stream.ts";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";

/** A stream, and its peer. */
async function connected() {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [peer, conn] = await Promise.all([
    RawPeer.connect(["127.0.0.1", listener.addr.port]),
    listener.accept(),
  ]);
  const below = makeDuplex(conn);
  return {
    peer,
    conn,
    below,
    async [Symbol.asyncDispose]() {
      peer.close();
      const { stream } = below;
      if (!stream.closed) {
        const closed = once(stream, "close");
        below.close();
        await closed;
      }
    },
  };
}

Deno.test("bytes arrive unchanged in both directions, however large the pieces", async () => {
  await using ends = await connected();
  const { stream } = ends.below;
  const pieces = [1, 65535, 65536, 300_000].map((length, i) => "abcd"[i]!.repeat(length));
  const text = pieces.join("");
  for (const piece of pieces) stream.write(piece);
  assertEquals(await ends.peer.readExactly(text.length), text);
  let received = "";
  stream.on("data", (bytes: Uint8Array) => received += new TextDecoder().decode(bytes));
  await ends.peer.send(text);
  while (received.length < text.length) await within(once(stream, "data"), "the rest arrives");
  assertEquals(received, text);
  assertEquals([ends.below.heard, ends.below.conn === ends.conn], [true, true]);
});

Deno.test("pieces that were returned keep their bytes while others arrive", async () => {
  await using ends = await connected();
  const { stream } = ends.below;
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
  await using ends = await connected();
  const { stream } = ends.below;
  ends.below.hold();
  let received = "";
  stream.on("data", (bytes: Uint8Array) => received += new TextDecoder().decode(bytes));
  await ends.peer.send("hello");
  for (let i = 0; i < 3; i++) await turnOfEventLoop();
  assertEquals([received, ends.below.heard], ["", false]);
  ends.below.release();
  while (received.length < 5) await within(once(stream, "data"), "the rest arrives");
  assertEquals(received, "hello");
});

Deno.test("each end notices the end of the other", async () => {
  {
    await using ends = await connected();
    const { stream } = ends.below;
    const ended = once(stream, "end");
    stream.resume();
    ends.peer.close();
    await within(ended, "the stream ends");
  }
  await using ends = await connected();
  ends.below.stream.end("bye");
  const { received } = await ends.peer.readToEnd();
  assertEquals(received, "bye");
});

Deno.test("close() closes the connection, even while it is held or read", async () => {
  for (const isHeld of [false, true]) {
    await using ends = await connected();
    if (isHeld) ends.below.hold();
    ends.below.stream.resume();
    const closed = once(ends.below.stream, "close");
    ends.below.close();
    await within(closed, "the stream is closed");
    assertEquals((await ends.peer.readToEnd()).received, "");
    ends.below.close();
  }
});

Deno.test("a reset by the peer is an error of the stream only", async () => {
  await using ends = await connected();
  const { stream } = ends.below;
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
  await using ends = await connected();
  const { below, peer } = ends;
  below.reuseMemory();
  const received = collect(below.stream);
  below.stream.pause();
  for (const letter of "abc") {
    await peer.send(letter.repeat(10_000));
    for (let i = 0; i < 5; i++) await turnOfEventLoop();
  }
  assertEquals(below.stream.readableLength, 30_000);
  below.stream.resume();
  await received.upTo(30_000);
  assertEquals(received.text(), [..."abc"].map((letter) => letter.repeat(10_000)).join(""));
});

Deno.test("once memory is reused, all that is passed on at once comes in one buffer", async () => {
  await using ends = await connected();
  const { below, peer } = ends;
  below.reuseMemory();
  const received = collect(below.stream);
  const text = [..."abcdefgh"].map((letter) => letter.repeat(50_000)).join("");
  const sent = peer.send(text);
  await received.upTo(text.length);
  await sent;
  assertEquals(received.text(), text);
  assertEquals(received.buffers.size, 1);
});

Deno.test("once memory is reused, what was written is freed, and arrives unchanged", async () => {
  await using ends = await connected();
  const { below, peer } = ends;
  below.reuseMemory();
  const piece = new Uint8Array(200_000).fill(120);
  const written = Promise.withResolvers<void>();
  below.stream.write(piece, () => written.resolve());
  assertEquals(await peer.readExactly(200_000), "x".repeat(200_000));
  await within(written.promise, "the write settles");
  assertEquals(piece.length, 0);
});
