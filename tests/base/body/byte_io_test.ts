/** Readers of bytes and of bodies. */
import { ChunkDecoder } from "@degu/internal/base/body/body_framing.ts";
import { BodyReader, type BodySource } from "@degu/internal/base/body/body_reader.ts";
import { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { concat, cutBytes, PieceSource } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { Buffer } from "node:buffer";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";

// The buffer that reads ahead.

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
