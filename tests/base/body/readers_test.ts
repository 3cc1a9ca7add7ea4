/** How chunked bodies are read from a source, and how bytes are collected: the same, however the source delivers them. */
import * as arbitrary from "@degu/testing/arbitraries.ts";
import fc from "fast-check";
import { BodyError, type Chunk, ProtocolError } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { openSource } from "@degu/internal/base/body/byte_io.ts";
import { ChunkedReader, Collector } from "@degu/internal/base/body/readers.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { concat, cut, PieceSource, streamOf, ZeroSource } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";

const ENCODED = "5;key=value\r\nhello\r\n1\r\nx\r\n0;a=b\r\n\r\n";

/** Both kinds of sources, of pieces of these lengths. */
const sources = {
  stream: (bytes: Uint8Array, ...lengths: number[]) =>
    openSource(streamOf(...cut(bytes, ...lengths))),
  "byte source": (bytes: Uint8Array, ...lengths: number[]) =>
    openSource(new PieceSource(cut(bytes, ...lengths))),
};

async function chunksOf(reader: ChunkedReader): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  while (!reader.done) chunks.push(await reader.nextChunk());
  return chunks;
}

async function dataOf(reader: ChunkedReader, room: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const into = new Uint8Array(room);
    const count = await reader.read(into);
    pieces.push(into.subarray(0, count));
    if (count === 0 || reader.done) return concat(pieces);
  }
}

async function encodedOf(reader: ChunkedReader, pieceBytes?: number): Promise<string[]> {
  const pieces: string[] = [];
  while (!reader.done) pieces.push(fromLatin1(await reader.nextEncoded(pieceBytes)));
  return pieces;
}

for (const [kind, make] of Object.entries(sources)) {
  Deno.test(`ChunkedReader reads the same from a ${kind}, however it is split`, async () => {
    await fc.assert(
      fc.asyncProperty(
        arbitrary.chunks,
        fc.oneof(arbitrary.pieceLengths, fc.constant([1000])),
        fc.integer({ min: 1, max: 60 }),
        async (chunks, lengths, room) => {
          const bytes = concat(chunks.map(formatChunk));
          const reader = () => new ChunkedReader(make(bytes, ...lengths));
          assertEquals(await chunksOf(reader()), chunks);
          assertEquals(await dataOf(reader(), room), concat(chunks.map(([, data]) => data)));
          assertEquals((await encodedOf(reader())).join(""), fromLatin1(bytes));
        },
      ),
    );
  });

  Deno.test(`ChunkedReader fails in the same way whichever operation reads a ${kind}`, async () => {
    const text = arbitrary.chunks.map((chunks) => fromLatin1(concat(chunks.map(formatChunk))));
    await fc.assert(
      fc.asyncProperty(arbitrary.damaged(text), arbitrary.pieceLengths, async (bytes, lengths) => {
        const outcomes = [];
        for (const read of [chunksOf, encodedOf, (it: ChunkedReader) => dataOf(it, 7)]) {
          outcomes.push(
            await read(new ChunkedReader(make(bytes, ...lengths))).then(
              () => "complete",
              (error) => error instanceof ProtocolError ? error.code : (error as Error).name,
            ),
          );
        }
        assertEquals(new Set(outcomes).size, 1, `${outcomes}`);
      }),
    );
  });
}

Deno.test("ChunkedReader reads nothing after the last chunk of a byte source", async () => {
  const readers = [chunksOf, encodedOf, (it: ChunkedReader) => dataOf(it, 100)];
  for (const read of readers) {
    const source = new PieceSource([latin1(ENCODED + "what follows it")]);
    await read(new ChunkedReader(openSource(source)));
    assertEquals(source.taken, ENCODED.length);
  }
});

Deno.test("ChunkedReader reads as much of a stream as is available", async () => {
  const pieces = await encodedOf(new ChunkedReader(openSource(streamOf(latin1(ENCODED)))));
  assertEquals(pieces, [ENCODED]);
});

Deno.test("ChunkedReader reads unbuffered data directly into the array", async () => {
  const source = new PieceSource([latin1("30d40\r\n"), new Uint8Array(200_000)]);
  const reader = new ChunkedReader(openSource(source));
  while (source.taken < 200_000) await reader.read(new Uint8Array(150_000));
  assert(source.offered.includes(150_000), `${source.offered}`);
});

Deno.test("ChunkedReader returns data without waiting for more", async () => {
  const never = new Promise<null>(() => {});
  const first = new PieceSource([latin1("5\r\nhello\r\n5\r\nwo")]);
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const into = new Uint8Array(100);
      const count = await first.read(into) ?? await never;
      controller.enqueue(into.subarray(0, count!));
    },
  });
  const reader = new ChunkedReader(openSource(stream));
  const into = new Uint8Array(100);
  assertEquals(fromLatin1(into.subarray(0, await reader.read(into))), "hellowo");
});

Deno.test("ChunkedReader refuses bytes of a stream after the last chunk", async () => {
  for (const read of [chunksOf, encodedOf, (it: ChunkedReader) => dataOf(it, 100)]) {
    for (const pieces of [[ENCODED + "x"], [ENCODED, "x"]]) {
      const reader = new ChunkedReader(openSource(streamOf(...pieces.map(latin1))));
      assertInstanceOf(await rejectionOf(read(reader), "a byte too many"), BodyError);
    }
  }
});

Deno.test("ChunkedReader changes sizes to lower case, and nothing else", async () => {
  const data = "ABCDEF".repeat(2);
  for (const [sent, relayed] of [["C", "c"], ["C;C=C", "c;C=C"]]) {
    const source = streamOf(latin1(`${sent}\r\n${data}\r\n0;A=B\r\n\r\n`));
    const encoded = await encodedOf(new ChunkedReader(openSource(source)));
    assertEquals(encoded.join(""), `${relayed}\r\n${data}\r\n0;A=B\r\n\r\n`);
  }
  const big = streamOf(latin1(`ABC\r\n${"x".repeat(0xabc)}\r\n0\r\n\r\n`));
  assert((await encodedOf(new ChunkedReader(openSource(big))))[0]!.startsWith("abc\r\n"));
});

/** The lengths of the pieces in which a chunk of 4 MiB is passed on. */
async function sizesFor(pieceBytes?: number): Promise<number[]> {
  const size = 4194304;
  const [head, tail] = ["400000\r\n", "\r\n0\r\n\r\n"];
  const parts = [
    new PieceSource([latin1(head)]),
    new ZeroSource(size),
    new PieceSource([latin1(tail)]),
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
  const reader = new ChunkedReader(source);
  const sizes: number[] = [];
  while (!reader.done) sizes.push((await reader.nextEncoded(pieceBytes)).length);
  assertEquals(sizes.reduce((sum, each) => sum + each, 0), head.length + size + tail.length);
  return sizes;
}

Deno.test("ChunkedReader enlarges its buffer step by step for a sink that prefers large writes", async () => {
  const steps = (sizes: number[]) => [...new Set(sizes.slice(1, -1))];
  assertEquals(steps(await sizesFor()).filter((size) => size > 65536), []);
  const most = 524288;
  for (const pieceBytes of [most, 16777216]) {
    const sizes = await sizesFor(pieceBytes);
    assertEquals(Math.max(...sizes), most);
    assert(sizes.indexOf(32768) < sizes.indexOf(131072), `${sizes}`);
    assert(sizes.indexOf(131072) < sizes.indexOf(most), `${sizes}`);
  }
});

Deno.test("ChunkedReader does not enlarge its buffer for a source that does not fill it", async () => {
  const chunk = latin1("1\r\nx\r\n");
  const list = Array.from({ length: 100 }, () => chunk);
  const source = openSource(streamOf(...list, latin1("0\r\n\r\n")));
  const reader = new ChunkedReader(source);
  while (!reader.done) await reader.nextEncoded(16777216);
  assertEquals(source.reader.bytes.length, 2048);
});

const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 });

Deno.test("Collector returns what was appended, in order", () => {
  fc.assert(
    fc.property(pieces, fc.nat(200), fc.integer({ min: 1, max: 50 }), (list, more, first) => {
      const whole = concat(list);
      const collector = new Collector(whole.length + more, first, 2);
      let length = 0;
      for (const piece of list) {
        collector.append(piece);
        length += piece.length;
        assertEquals([collector.length, collector.missing], [length, whole.length + more - length]);
      }
      assertEquals(collector.collected(), whole);
    }),
  );
});

Deno.test("Collector accepts bytes that are written into its free space", () => {
  const collector = new Collector(10, 4, 2);
  const rooms: number[] = [];
  for (let i = 0; collector.missing > 0; i++) {
    const room = collector.room();
    rooms.push(room.length);
    room[0] = i;
    collector.add(1);
  }
  assertEquals(rooms, [4, 3, 2, 1, 4, 3, 2, 1, 2, 1]);
  assertEquals([...collector.collected()], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

Deno.test("Collector allocates in proportion to what has arrived, and never more than announced", () => {
  const sizes = (collector: Collector, most: number) => {
    const seen = new Set<number>();
    while (collector.missing > 0) {
      const room = collector.room();
      seen.add(room.buffer.byteLength);
      collector.add(room.length);
    }
    assert([...seen].every((size) => size <= most));
    return [...seen];
  };
  assertEquals(sizes(new Collector(10), 10), [10]);
  assertEquals(sizes(new Collector(16777216), 16777216), [65536, 524288, 4194304, 16777216]);
  assertEquals(sizes(Collector.upTo(20_000), 20_000), [4096, 8192, 16384, 20_000]);
});

Deno.test("Collector returns an array that has its own buffer", () => {
  const full = new Collector(3);
  full.append(new Uint8Array([1, 2, 3]));
  assertEquals(full.collected().buffer.byteLength, 3);
  const part = new Collector(100);
  part.append(new Uint8Array([1, 2, 3]));
  assertEquals(part.collected().buffer.byteLength, 3);
  assertEquals(new Collector(0).collected(), new Uint8Array(0));
});
