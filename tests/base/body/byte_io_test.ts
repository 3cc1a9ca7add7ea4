/** The buffers of bytes that are read, and the sizes of reads and writes. */
import { BodyError } from "@degu/degu/base";
import { ChunkDecoder, LengthDecoder } from "@degu/internal/base/body/body_framing.ts";
import {
  BodyReader,
  type BodySource,
  MemorySource,
  openSource,
} from "@degu/internal/base/body/body_reader.ts";
import { MAX_PIECE_BYTES, openSink, ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { assertCutShort, catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { concat, cutBytes, PieceSource, RecordingSink, streamOf } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";

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

/** A source whose reads the test settles, one at a time. */
class ManualSource {
  readonly rooms: Uint8Array[] = [];
  #settle: PromiseWithResolvers<number | null> | null = null;

  read(into: Uint8Array): Promise<number | null> {
    this.rooms.push(into);
    this.#settle = Promise.withResolvers();
    return this.#settle.promise;
  }

  async deliver(text: string | null): Promise<void> {
    if (text !== null) this.rooms.at(-1)!.set(encodeLatin1(text));
    this.#settle!.resolve(text === null ? null : text.length);
    for (let microtask = 0; microtask < 5; microtask++) await null;
  }

  async fail(error: unknown): Promise<void> {
    this.#settle!.reject(error);
    for (let microtask = 0; microtask < 5; microtask++) await null;
  }
}

function readBufferedText(reader: ReadBuffer): string {
  return decodeLatin1(reader.bytes.subarray(reader.start, reader.end));
}

/** Makes a reader of 8 bytes with this text in its buffer. */
async function makeReader(text: string, capacity = 8): Promise<ReadBuffer> {
  const reader = new ReadBuffer(null, capacity);
  if (text !== "") await reader.fill(new PieceSource([encodeLatin1(text)]));
  return reader;
}

Deno.test("ReadBuffer returns the bytes in order, however they are read, consumed, moved and grown", async () => {
  const operation = fc.oneof(
    fc.record({ fill: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ take: fc.nat(20) }),
    fc.record({ grow: fc.nat(40) }),
    fc.constant("shrink" as const),
    fc.constant("ahead" as const),
    fc.constant("lent" as const),
  );
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => i);
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { maxLength: 40 }),
      fc.nat(12),
      async (operations, size) => {
        const source = new PieceSource(cutBytes(bytes, size + 1));
        const reader = new ReadBuffer(null, 16);
        const pieces: Uint8Array[] = [];
        for (const step of operations) {
          if (step === "shrink") reader.shrink();
          else if (step === "ahead") await reader.readAhead(source, false);
          else if (step === "lent") await reader.readAhead(source, true);
          else if ("grow" in step) reader.grow(step.grow);
          else if ("fill" in step) {
            if (reader.bufferedBytes < 16) await reader.fill(source, step.fill);
          } else {
            const into = new Uint8Array(step.take);
            pieces.push(into.subarray(0, reader.copyTo(into)));
          }
          const consumed = pieces.reduce((sum, { length }) => sum + length, 0);
          const buffered = reader.bytes.subarray(reader.start, reader.end);
          assertEquals(buffered, bytes.subarray(consumed, source.readCount));
        }
        const remainder = new Uint8Array(300);
        for (let count = 0; (count = reader.copyTo(remainder)) > 0;) {
          pieces.push(remainder.slice(0, count));
        }
        assertEquals(concat(pieces), bytes.subarray(0, source.readCount));
      },
    ),
  );
});

Deno.test("ReadBuffer does not grow or shrink while a read is pending", async () => {
  const source = new ManualSource();
  const reader = new ReadBuffer(null, 8);
  reader.readAhead(source, false);
  const { bytes } = reader;
  reader.grow(16);
  assertStrictEquals(reader.bytes, bytes);
  await source.deliver("abc");
  reader.grow(16);
  reader.readAhead(source, false);
  const grownBytes = reader.bytes;
  reader.shrink();
  reader.shrinkToUse();
  assertStrictEquals(reader.bytes, grownBytes);
  await source.deliver("def");
  assertEquals(readBufferedText(reader), "abcdef");
});

Deno.test("a read-ahead is in the buffer once it has settled, and no other read begins before", async () => {
  const source = new ManualSource();
  const reader = new ReadBuffer(null, 8);
  const reading = reader.readAhead(source, false);
  assertStrictEquals(reader.pendingRead, reading);
  assertEquals(reader.readAhead(source, false), null);
  const filling = reader.fill(source);
  await source.deliver("abc");
  assertEquals([await reading, await filling, reader.pendingRead, readBufferedText(reader)], [
    3,
    3,
    null,
    "abc",
  ]);
  assertEquals([await reader.settleReadAhead(), source.rooms.length], [3, 1]);
});

Deno.test("a read-ahead does not move views that the caller still uses", async () => {
  const reader = await makeReader("12345678");
  const view = reader.bytes.subarray(0, 4);
  reader.start = 4;
  const source = new ManualSource();
  reader.readAhead(source, true);
  await source.deliver("xyz");
  assertEquals([decodeLatin1(view), readBufferedText(reader)], ["1234", "5678xyz"]);
  // A buffer that was grown isn't kept for an idle connection.
  const grownReader = await makeReader("12");
  grownReader.grow(100);
  grownReader.readAhead(source, true);
  await source.deliver("3");
  assertEquals([grownReader.bytes.length, readBufferedText(grownReader)], [8, "123"]);
});

Deno.test("the next read rejects with the failure of a read-ahead", async () => {
  const failure = new Error("reset");
  const faults: ((source: ManualSource) => Promise<void>)[] = [
    (source) => source.fail(failure),
    (source) => source.deliver("x".repeat(0)),
  ];
  for (const fault of faults) {
    const source = new ManualSource();
    const reader = new ReadBuffer(null, 8);
    const reading = reader.readAhead(source, false)!;
    reading.catch(() => {});
    await fault(source);
    const thrown = catchThrown(() => reader.checkFailure(), "a failed reader");
    assert(thrown === failure || thrown instanceof BodyError);
    assertEquals(reader.pendingRead, null, "it has settled");
    assertStrictEquals(await catchRejection(reader.fill(source), "a read"), thrown);
    assertStrictEquals(await catchRejection(reader.settleReadAhead(), "a wait"), thrown);
  }
  const throws = {
    read() {
      throw failure;
    },
  };
  const reader = new ReadBuffer(null, 8);
  await catchRejection(reader.readAhead(throws, false)!, "a source that throws");
  assertStrictEquals(await catchRejection(reader.fill(throws), "a read"), failure);
});

Deno.test("a read that ends after the buffer was closed rejects, and adds no bytes", async () => {
  const reason = new Error("closed");
  const ways: Record<string, (reader: ReadBuffer, source: ManualSource) => Promise<unknown>> = {
    "a read": (reader, source) => reader.fill(source),
    "a piece": (reader, source) => {
      const room = new Uint8Array(8);
      const readPiece = () => source.read(room).then(() => room);
      return reader.fill({ read: (into) => source.read(into), readPiece });
    },
    "a read-ahead": (reader, source) => {
      reader.readAhead(source, false)!.catch(() => {});
      return reader.fill(source);
    },
    "a read-ahead with a time-out": (reader, source) => {
      const reading = reader.readAhead(source, false)!;
      const waitForReadAhead = () => reading.then(() => {}, () => {});
      return reader.fill({ read: (into) => source.read(into), waitForReadAhead });
    },
  };
  for (const [way, read] of Object.entries(ways)) {
    for (const end of ["deliver", "fail"]) {
      const events: unknown[] = [];
      const onReadAhead = (...event: unknown[]) => void events.push(event);
      const reader = new ReadBuffer({ onReadAhead }, 8);
      const source = new ManualSource();
      const rejection = catchRejection(read(reader, source), way);
      reader.close(reason);
      if (end === "deliver") await source.deliver("abc");
      else await source.fail(reason);
      assertStrictEquals(await rejection, reason, way);
      assertEquals([reader.bufferedBytes, reader.pendingRead, events], [0, null, []], way);
      assertStrictEquals(catchThrown(() => reader.checkFailure(), way), reason);
    }
  }
});

Deno.test("a listener gets the bytes that a read-ahead adds, or its error", async () => {
  const events: unknown[] = [];
  const onReadAhead = (...event: unknown[]) => void events.push(event);
  const reader = new ReadBuffer({ onReadAhead }, 8);
  const source = new ManualSource();
  const failure = new Error("reset");
  reader.readAhead(source, false);
  await source.deliver("abc");
  reader.readAhead(source, false)!.catch(() => {});
  await source.fail(failure);
  const invalidReader = new ReadBuffer({ onReadAhead }, 8);
  invalidReader.readAhead(source, false);
  await source.deliver("");
  const countError = catchThrown(() => invalidReader.checkFailure(), "a read of no bytes");
  assertInstanceOf(countError, BodyError);
  assertEquals(events, [[3, null], [0, failure], [0, countError]]);
});

Deno.test("a full ReadBuffer isn't read ahead", async () => {
  const reader = await makeReader("12345678");
  assertEquals(reader.readAhead(new ManualSource(), false), null);
  reader.start = 1;
  assert(reader.readAhead(new ManualSource(), false) !== null);
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
    [[100], [1024]],
    // A full buffer grows fourfold, up to its capacity.
    ...[[1023, 1024], [1025, 4096], [4097, 16384], [16385, 65536], [65536, 65536]]
      .map(([size, length]): [number[], number[]] => [[size!], [length!]]),
    [
      [1024, 10, 10, 65536, 16385, 16384, 4097, 4096, 10, 1],
      [1024, 4096, 1024, 65536, 65536, 65536, 16384, 16384, 4096, 1024],
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
  assertEquals(messages.reader.bytes.length, 1024);
  assertEquals(await messages.receive(10), 1024);
});

Deno.test("a ReadBuffer that shrinks keeps its bytes, and its memory if they don't fit into less", async () => {
  for (const [count, length] of [[0, 8], [7, 8], [8, 8], [9, 100]] as const) {
    const reader = await makeReader("");
    reader.grow(100);
    await reader.fill(new PieceSource([encodeLatin1("1".repeat(count + 1))]));
    reader.start = 1;
    reader.shrink();
    assertEquals([reader.bytes.length, readBufferedText(reader)], [length, "1".repeat(count)]);
  }
  // Without a body for which it has grown, the next message may need its memory.
  const messages = new MessageReader();
  await messages.receive(65536);
  messages.reader.shrink();
  assertEquals(messages.reader.bytes.length, 65536);
});

Deno.test("after a body for which a ReadBuffer has grown, the bytes of the next message decide its size", async () => {
  const reader = new ReadBuffer();
  reader.grow(2 ** 20);
  await reader.fill(new PieceSource([new Uint8Array(2 ** 20)]));
  reader.start = reader.end - 2000;
  reader.shrink();
  assertEquals(reader.bytes.length, 65536);
  reader.start = reader.end;
  reader.shrinkToUse();
  assertEquals(reader.bytes.length, 16384);
});

// The sizes of reads of a chunked body.

/** Returns the lengths of the pieces in which a chunk of 4 MiB is written. */
async function measurePieces(pieceBytes?: number): Promise<number[]> {
  const size = 4194304;
  const [head, tail] = ["400000\r\n", "\r\n0\r\n\r\n"];
  const pieces = [encodeLatin1(head), new Uint8Array(size), encodeLatin1(tail)];
  const source = openSource(new PieceSource(pieces));
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
    assert(sizes.indexOf(16384) < sizes.indexOf(65536), `${sizes}`);
    assert(sizes.indexOf(65536) < sizes.indexOf(maxSize), `${sizes}`);
  }
  assertEquals(Math.max(...await measurePieces(1000)), 1000);
});

Deno.test("BodyReader returns the bytes in its buffer before it reads more", async () => {
  const rows = [
    ["hello", " world", new LengthDecoder(11)],
    ["5\r\nhello\r\n", "6\r\n world\r\n0\r\n\r\n", new ChunkDecoder()],
  ] as const;
  for (const [buffered, unread, decoder] of rows) {
    const pieces = new PieceSource([encodeLatin1(unread)]);
    const read = (into: Uint8Array) => pieces.read(into);
    const buffer = await makeReader(buffered, 1024);
    const reader = new BodyReader({ kind: "request", buffer, read, onEnd: () => {} }, decoder);
    for (const text of [buffered, unread]) {
      assertEquals(decodeLatin1(await reader.readPiece({ keepsBytes: false })), text);
    }
    assert(reader.isDone);
  }
});

Deno.test("BodyReader returns all bytes in its buffer at once, unless the sink keeps them", async () => {
  for (const [keepsBytes, length] of [[false, 100_000], [true, 65_536]] as const) {
    const source = new MemorySource(new Uint8Array(100_000), "request");
    const reader = new BodyReader(source, new LengthDecoder(100_000));
    assertEquals((await reader.readPiece({ keepsBytes })).length, length);
  }
});

Deno.test("BodyReader reads 64 KiB of a body of known length at once", async () => {
  const source = openSource(streamOf(new Uint8Array(200_000)));
  const reader = new BodyReader(source, new LengthDecoder(200_000));
  assertEquals((await reader.readPiece({ keepsBytes: false })).length, 65_536);
});

Deno.test("BodyReader does not enlarge its buffer for a source that does not fill it", async () => {
  const chunk = encodeLatin1("1\r\nx\r\n");
  const list = Array.from({ length: 100 }, () => chunk);
  const pieces = new PieceSource([...list, encodeLatin1("0\r\n\r\n")]);
  const buffer = new ReadBuffer();
  const read = (into: Uint8Array) => pieces.read(into);
  const source: BodySource = { kind: "request", buffer, read, onEnd: () => {} };
  const reader = new BodyReader(source, new ChunkDecoder());
  while (!reader.isDone) await reader.readPiece({ keepsBytes: false, pieceBytes: 16777216 });
  assertEquals([pieces.bufferLengths[0], buffer.bytes.length], [1024, 1024]);
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

Deno.test("BodyReader that is canceled while it lets the event loop turn reads no further", async () => {
  const pieces = new PieceSource([encodeLatin1("1\r\nx\r\n".repeat(1000))]);
  const read = (into: Uint8Array) => pieces.read(into);
  const source: BodySource = { kind: "request", buffer: new ReadBuffer(), read, onEnd: () => {} };
  const reader = new BodyReader(source, new ChunkDecoder());
  const reading = catchRejection(reader.readRemaining(null, (bytes) => bytes), "a read");
  // The second read receives so many chunks that the third waits for a timer.
  for (let microtask = 0; microtask < 100; microtask++) await null;
  assertEquals(pieces.bufferLengths.length, 2);
  const reason = new Error("enough");
  await reader.cancel(reason);
  assertStrictEquals(await reading, reason);
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(pieces.bufferLengths.length, 2);
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
  for (const bufferBytes of [0, 65536]) {
    const chunks = Array.from("abc", (letter) => `1388\r\n${letter.repeat(5000)}\r\n`);
    const pieces = chunks.map(encodeLatin1);
    const last = encodeLatin1("0\r\n\r\n");
    const text = [...pieces, last].map(decodeLatin1).join("");
    const source = sourceOfPieces([...pieces, last]);
    source.buffer.bytes = new Uint8Array(bufferBytes);
    assertEquals(await readAllPieces(source), text);
    assertEquals(pieces.map(({ length }) => length), [0, 0, 0]);
    assertStrictEquals(source.buffer.bytes.buffer, last.buffer);
  }
});

Deno.test("a body whose pieces end too early is cut short", async () => {
  await assertCutShort(readAllPieces(sourceOfPieces([encodeLatin1("3\r\nab")])), "two bytes of 3");
});

Deno.test("a stream gives all data that has arrived as one piece", async () => {
  const chunk = `4000\r\n${"x".repeat(16_384)}\r\n`;
  const source = sourceOfPieces([encodeLatin1(chunk.repeat(5)), encodeLatin1(`${chunk}0\r\n\r\n`)]);
  const sizes: number[] = [];
  for await (const piece of new BodyReader(source, new ChunkDecoder()).makeStream()) {
    sizes.push(piece.length);
  }
  assertEquals(sizes, [5 * 16_384, 16_384]);
});

Deno.test("BodyReader reads pieces that are parts of one buffer, which it doesn't free", async () => {
  const chunks = Array.from("ab", (letter) => `1388\r\n${letter.repeat(5000)}\r\n`);
  const bytes = encodeLatin1(`${chunks.join("")}0\r\n\r\n`);
  const parts = [0, 5008, 10_016].map((start) => bytes.subarray(start, start + 5008));
  const reader = new BodyReader(sourceOfPieces(parts), new ChunkDecoder());
  const data = await reader.readRemaining(null, decodeLatin1);
  assertEquals(data, "a".repeat(5000) + "b".repeat(5000));
  assert(bytes.length > 10_000);
});

Deno.test("kept bytes have memory of their own if the pieces are Buffers of Node", async () => {
  const chunks = ["x", "y"].map((letter) => Buffer.from(`3\r\n${letter.repeat(3)}\r\n`));
  const reader = new BodyReader(
    sourceOfPieces([...chunks, Buffer.from("0\r\n\r\n")]),
    new ChunkDecoder(),
  );
  const keptPieces: Uint8Array[] = [];
  while (!reader.isDone) keptPieces.push(await reader.readPiece({ keepsBytes: true }));
  for (const chunk of chunks) chunk.fill(0);
  assertEquals(keptPieces.map(decodeLatin1), ["3\r\nxxx\r\n", "3\r\nyyy\r\n", "0\r\n\r\n"]);
});
