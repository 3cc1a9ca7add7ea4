/** Pieces of a body belong to whoever took them: kept, transferred or overwritten, they affect nothing else. */
import { assert, assertEquals } from "@std/assert";
import type { Body, Chunk, ChunkedBody } from "@degu/degu/base";
import { serve } from "@degu/testing/serving.ts";
import { concat, cut } from "@degu/testing/streams.ts";

/** Bytes of each body: many pieces, and a last one that is short. */
const LENGTH = 1_000_003;
/** Bytes of one write, less and more than a piece has. */
const WRITES = [70_000, 30_001, 200_000];

type Piece = Uint8Array<ArrayBuffer>;

/** Bytes that differ from one position and one message to the next. */
function pattern(message: number): Piece {
  const bytes = new Uint8Array(LENGTH);
  for (let at = 0; at < LENGTH; at++) bytes[at] = at * 31 + (at >> 8) * 7 + message * 101;
  return bytes;
}

async function* reads(body: Body): AsyncGenerator<Piece> {
  for (let piece; (piece = await body.read(50_000)).length > 0;) yield piece;
}

async function* dataOf(chunks: AsyncIterable<Chunk>): AsyncGenerator<Piece> {
  for await (const [, data] of chunks) yield data as Piece;
}

async function* readChunks(body: ChunkedBody): AsyncGenerator<Piece> {
  for (let data; (data = (await body.readChunk())[1] as Piece).length > 0;) yield data;
}

/** A way to take the bodies that are at a path. Their class is the one that the path sends. */
type Way = readonly [path: "/length" | "/chunked", take: (body: never) => AsyncIterable<Piece>];

const ways: Record<string, Way> = {
  "an iterated Body": ["/length", (body: Body) => body],
  "the stream of a Body": ["/length", (body: Body) => body.readable],
  "reads of a Body": ["/length", reads],
  "an iterated ChunkedBody": ["/chunked", (body: ChunkedBody) => dataOf(body)],
  "the stream of a ChunkedBody": ["/chunked", (body: ChunkedBody) => body.readable],
  "chunks of a ChunkedBody": ["/chunked", readChunks],
};

/** Takes a body; transfers one piece of three at once, overwrites another, and keeps what each one was. */
async function* takeAll(pieces: AsyncIterable<Piece>): AsyncGenerator<() => Piece> {
  let index = 0;
  for await (const piece of pieces) {
    const turn = index++ % 3;
    if (turn === 0) {
      const moved = structuredClone(piece, { transfer: [piece.buffer] });
      assertEquals(piece.length, 0);
      yield () => moved;
    } else if (turn === 1) {
      const copy = piece.slice();
      new Uint8Array(piece.buffer).fill(255);
      yield () => copy;
    } else {
      yield () => piece;
    }
  }
  assert(index > 3, `${index} pieces`);
}

for (const [name, [path, take]] of Object.entries(ways)) {
  Deno.test(`pieces from ${name} keep their bytes, whatever is done with the others`, async () => {
    await using served = serve(({ uri }, _session, { BodyIter, ChunkedBodyIter }) => {
      const [, , message] = uri.split("/");
      const pieces = cut(pattern(Number(message)), ...WRITES);
      if (path === "/length") return [200, "OK", {}, new BodyIter(pieces, LENGTH)];
      const chunks = [...pieces, new Uint8Array(0)].map((data): Chunk => [null, data]);
      return [200, "OK", {}, new ChunkedBodyIter(chunks)];
    });
    using conn = await served.makeClient().connect();
    const taken: (() => Piece)[][] = [];
    // The next message goes through the same connection, and so through the same buffers.
    for (const message of [1, 2, 3]) {
      const { body } = await conn.get(`${path}/${message}`);
      taken.push(await Array.fromAsync(takeAll(take(body as never))));
    }
    for (const [index, pieces] of taken.entries()) {
      const got = concat(pieces.map((piece) => piece()));
      assertEquals(got.length, LENGTH);
      const expected = pattern(index + 1);
      assertEquals(got.findIndex((byte, at) => byte !== expected[at]), -1);
    }
  });
}
