/** The buffers of bytes that are read, and the sizes of reads and writes. */
import { ChunkDecoder } from "@degu/internal/base/body/body_framing.ts";
import { BodyReader, type BodySource, openSource } from "@degu/internal/base/body/body_reader.ts";
import { MAX_PIECE_BYTES, openSink, ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { concat, PieceSource, RecordingSink, streamOf } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";

Deno.test("openSink locks a stream until it is released, and limits the size of writes to a sink", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const streamSink = openSink(writable);
  assertEquals([writable.locked, streamSink.keepsBytes, streamSink.pieceBytes], [
    true,
    true,
    undefined,
  ]);
  assertThrows(() => openSink(writable), TypeError);
  streamSink.release();
  assertEquals(writable.locked, false);
  await readable.cancel();
  for (const pieceBytes of [1, MAX_PIECE_BYTES, MAX_PIECE_BYTES + 1]) {
    const sink = openSink({ pieceBytes, write: () => Promise.resolve() });
    const usedBytes = Math.min(pieceBytes, MAX_PIECE_BYTES);
    assertEquals([sink.pieceBytes, sink.keepsBytes], [usedBytes, false]);
  }
  for (const pieceBytes of [0, -1, 1.5, NaN, Infinity, "9"]) {
    const sink = { pieceBytes: pieceBytes as number, write: () => Promise.resolve() };
    assertEquals(openSink(sink).pieceBytes, undefined);
  }
  const recording = new RecordingSink();
  await openSink(recording).write(encodeLatin1("hello"));
  assertEquals(decodeLatin1(recording.bytes), "hello");
  for (const value of [null, undefined, 5, {}, { write: "no" }]) {
    assertThrows(() => openSink(value as never), TypeError, "sink: must be a WritableStream");
  }
});

class MessageReader {
  /** The remaining bytes of the source, which returns as many as fit. */
  #remainingBytes = 0;
  readonly reader: ReadBuffer = new ReadBuffer();

  read(into: Uint8Array): Promise<number> {
    const count = Math.min(this.#remainingBytes, into.length);
    this.#remainingBytes -= count;
    return Promise.resolve(count);
  }

  /** Receives a whole message of `size` bytes; resolves to the size of the buffer. */
  async receive(size: number): Promise<number> {
    this.reader.shrinkToUse();
    this.#remainingBytes = size;
    while (this.#remainingBytes > 0) await this.reader.fill(this);
    const { length } = this.reader.bytes;
    assertEquals(this.reader.bufferedBytes, size);
    this.reader.start = this.reader.end;
    return length;
  }
}

Deno.test("a ReadBuffer is small at first, grows if the last message filled it, and else shrinks by a step", async () => {
  assertEquals(new MessageReader().reader.bytes.length, 0);
  const rows: [sizes: number[], lengths: number[]][] = [
    [[100], [2048]],
    // A full buffer grows fourfold, up to its capacity.
    ...[[2047, 2048], [2049, 8192], [8193, 32768], [32769, 65536], [65536, 65536]]
      .map(([size, length]): [number[], number[]] => [[size!], [length!]]),
    [
      [2048, 10, 10, 65536, 16385, 16384, 4097, 4096, 10, 1],
      [2048, 8192, 2048, 65536, 65536, 65536, 16384, 16384, 4096, 2048],
    ],
  ];
  for (const [sizes, lengths] of rows) {
    const messages = new MessageReader();
    const capacities: number[] = [];
    for (const size of sizes) capacities.push(await messages.receive(size));
    assertEquals(capacities, lengths);
  }
});

Deno.test("a ReadBuffer shrinks after a body for which it has grown", async () => {
  const messages = new MessageReader();
  await messages.receive(65536);
  messages.reader.grow(2 ** 20);
  messages.reader.shrink();
  assertEquals(messages.reader.bytes.length, 2048);
  assertEquals(await messages.receive(10), 2048);
});

// The sizes of reads of a chunked body.

/** Returns the lengths of the pieces in which a chunk of 4 MiB is written. */
async function measurePieces(pieceBytes?: number): Promise<number[]> {
  const size = 4194304;
  const [head, tail] = ["400000\r\n", "\r\n0\r\n\r\n"];
  const parts = [
    new PieceSource([encodeLatin1(head)]),
    new PieceSource([new Uint8Array(size)]),
    new PieceSource([encodeLatin1(tail)]),
  ];
  const source = openSource({
    async read(into) {
      for (const part of parts) {
        const count = await part.read(into);
        if (count !== null) return count;
      }
      return null;
    },
  });
  const reader = new BodyReader(source, new ChunkDecoder());
  const sizes: number[] = [];
  while (!reader.isDone) {
    sizes.push(
      (await reader.readPiece({ keepsBytes: false, ...pieceBytes && { pieceBytes } })).length,
    );
  }
  assertEquals(sizes.reduce((sum, length) => sum + length, 0), head.length + size + tail.length);
  return sizes;
}

Deno.test("BodyReader enlarges its buffer step by step, unless the sink prefers small writes", async () => {
  const maxSize = 524288;
  for (const pieceBytes of [undefined, maxSize, 16777216]) {
    const sizes = await measurePieces(pieceBytes);
    assertEquals(Math.max(...sizes), maxSize);
    assert(sizes.indexOf(32768) < sizes.indexOf(131072), `${sizes}`);
    assert(sizes.indexOf(131072) < sizes.indexOf(maxSize), `${sizes}`);
  }
  assertEquals(Math.max(...await measurePieces(1000)), 1000);
});

Deno.test("BodyReader does not enlarge its buffer for a source that does not fill it", async () => {
  const chunk = encodeLatin1("1\r\nx\r\n");
  const list = Array.from({ length: 100 }, () => chunk);
  const source = openSource(streamOf(...list, encodeLatin1("0\r\n\r\n")));
  const reader = new BodyReader(source, new ChunkDecoder());
  while (!reader.isDone) await reader.readPiece({ keepsBytes: false, pieceBytes: 16777216 });
  assertEquals(source.buffer.bytes.length, 2048);
});

Deno.test("BodyReader reads several small chunks at a time, and large ones past its buffer", async () => {
  const encode = (size: number, count: number) =>
    concat(Array(count).fill(encodeLatin1(`${size.toString(16)}\r\n${"x".repeat(size)}\r\n`)));
  const countReads = async (chunks: Uint8Array, operation: (reader: BodyReader) => unknown) => {
    const pieces = new PieceSource([chunks, encodeLatin1("0\r\n\r\n")]);
    const reader = new BodyReader(
      {
        kind: "request",
        buffer: new ReadBuffer(),
        read: (into) => pieces.read(into),
        onEnd: () => {},
      },
      new ChunkDecoder(),
    );
    await operation(reader);
    assert(reader.isDone);
    return pieces.bufferLengths;
  };
  const operations = [
    (reader: BodyReader) => Array.fromAsync(reader.makeStream()),
    (reader: BodyReader) => reader.readRemaining(null, (bytes) => bytes),
  ];
  for (const operation of operations) {
    // The first reads enlarge the buffer.
    const small = await countReads(encode(1000, 1000), operation);
    assert(small.length < 30, `${small.length} reads of 1,000 chunks`);
    const large = await countReads(encode(1_000_000, 1), operation);
    assert(large.some((length) => length > 60_000), `${large}`);
  }
});

// Pieces, whose memory belongs to the reader.

/** Makes a source whose pieces are read by `readPiece` only. */
const sourceOfPieces = (pieces: readonly Uint8Array<ArrayBuffer>[]): BodySource => {
  const remainingPieces = [...pieces];
  return {
    kind: "request",
    buffer: new ReadBuffer(),
    read: () => Promise.reject(new Error("a read instead of a piece")),
    readPiece: () => Promise.resolve(remainingPieces.shift() ?? null),
    onEnd: () => {},
  };
};

const readAllPieces = async (source: BodySource): Promise<string> => {
  const reader = new BodyReader(source, new ChunkDecoder());
  let text = "";
  while (!reader.isDone) text += decodeLatin1(await reader.readPiece({ keepsBytes: false }));
  return text;
};

Deno.test("BodyReader frees each piece when it reads the next, and makes no buffer in between", async () => {
  const pieces = Array.from("abc", (letter) => encodeLatin1(`1388\r\n${letter.repeat(5000)}\r\n`));
  const last = encodeLatin1("0\r\n\r\n");
  const text = [...pieces, last].map(decodeLatin1).join("");
  const source = sourceOfPieces([...pieces, last]);
  assertEquals(await readAllPieces(source), text);
  assertEquals(pieces.map(({ length }) => length), [0, 0, 0]);
  assertStrictEquals(source.buffer.bytes.buffer, last.buffer);
});
