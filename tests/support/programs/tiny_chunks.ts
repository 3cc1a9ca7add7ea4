/**
 * Collects a body that arrives in chunks of one byte, and measures the memory that is held just before its
 * end. Prints, for each way to collect it, the bytes of data and the bytes that were held, as JSON.
 *
 * @module
 */

import { ChunkedBody } from "@degu/degu/base";

const CHUNKS = 1_000_000;
const PIECE_CHUNKS = 5_000;
const chunk = new TextEncoder().encode("1;k=v\r\n0\r\n");
const end = new TextEncoder().encode("0\r\n\r\n");

declare function gc(): void;

function held(): number {
  gc();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** The chunks, and the memory that is held before the last one is given. */
class TinyChunks {
  readonly before = held();
  atEnd = 0;
  readonly stream: ReadableStream<Uint8Array> = ReadableStream.from(this.#pieces());

  *#pieces(): Generator<Uint8Array> {
    const piece = new Uint8Array(PIECE_CHUNKS * chunk.length);
    for (let i = 0; i < PIECE_CHUNKS; i++) piece.set(chunk, i * chunk.length);
    for (let i = 0; i < CHUNKS / PIECE_CHUNKS; i++) yield piece;
    this.atEnd = held();
    yield end;
  }
}

const ways = {
  read: (body: ChunkedBody) => body.read(),
  bytes: (body: ChunkedBody) => body.bytes(),
  text: (body: ChunkedBody) => body.text(),
  json: (body: ChunkedBody) => body.json().catch(() => {}),
};

const found: Record<string, { data: number; held: number }> = {};
for (const [way, collect] of Object.entries(ways)) {
  const source = new TinyChunks();
  await collect(new ChunkedBody(source.stream));
  found[way] = { data: CHUNKS, held: source.atEnd - source.before };
}
console.log(JSON.stringify(found));
