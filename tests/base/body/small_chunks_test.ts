/** Bodies in very small chunks, which must not keep the event loop from serving other connections. */
import { assert, assertEquals } from "@std/assert";
import { ChunkedBody } from "@degu/degu/base";
import { testEachRow } from "@degu/testing/rows.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const CHUNK_COUNT = 20_000;

function makeBody(pieceChunks: number): ChunkedBody {
  const piece = "1\r\nx\r\n".repeat(pieceChunks);
  const texts = [...new Array<string>(CHUNK_COUNT / pieceChunks).fill(piece), "0\r\n\r\n"];
  return new ChunkedBody(ReadableStream.from(texts.map(encodeLatin1)));
}

/** The ways to read a body; each returns the number of bytes of its data. */
const READERS: Record<string, (body: ChunkedBody) => Promise<number>> = {
  async iterate(body) {
    let count = 0;
    for await (const [, data] of body) count += data.length;
    return count;
  },
  async readChunk(body) {
    for (let count = 0;;) {
      const { length } = (await body.readChunk())[1];
      if (length === 0) return count;
      count += length;
    }
  },
  bytes: async (body) => (await body.bytes()).length,
  async readable(body) {
    let count = 0;
    for await (const piece of body.readable) count += piece.length;
    return count;
  },
  async writeTo(body) {
    const byteCount = await body.writeTo({ pieceBytes: 2 ** 21, write: () => Promise.resolve() });
    return (byteCount - 5) / 6;
  },
};

Deno.test("while bodies in chunks of a byte are read, the event loop turns", async (t) => {
  await testEachRow(t, Object.entries(READERS), async (_label, read) => {
    for (const pieceChunks of [1000, 10_000]) {
      let turnCount = 0;
      let timer = setTimeout(function count() {
        turnCount++;
        timer = setTimeout(count);
      });
      const bodies = Array.from({ length: 4 }, () => makeBody(pieceChunks));
      const counts = await Promise.all(bodies.map(read));
      clearTimeout(timer);
      assertEquals(counts, bodies.map(() => CHUNK_COUNT));
      assert(turnCount > 1, `${turnCount} turns`);
    }
  });
});
