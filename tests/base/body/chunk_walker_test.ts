/** ChunkWalker: the same parts, however the coding is split into pieces. */
import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BodyError, type Chunk, ProtocolError } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { ChunkWalker } from "@degu/internal/base/wire/chunk.ts";
import { Collector } from "@degu/internal/base/body/readers.ts";
import * as arbitrary from "@degu/testing/arbitraries.ts";
import { thrownBy } from "@degu/testing/expectations.ts";
import { concat, cut, everySplit } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

const ENCODED = "5;key=value\r\nhello\r\n1\r\nx\r\n0;a=b\r\n\r\n";

/** Walks over the pieces; returns the chunks that were reported and the bytes that were valid. */
function walk(
  pieces: Iterable<Uint8Array>,
): { chunks: Chunk[]; valid: Uint8Array; end: () => void } {
  const walker = new ChunkWalker();
  const chunks: Chunk[] = [];
  const valid: Uint8Array[] = [];
  let data = new Collector(0);
  for (const piece of pieces) {
    const checked = walker.walk(piece, (part, { size, extension }, bytes) => {
      if (part === "line") data = new Collector(size);
      else if (part === "data") data.append(bytes);
      else chunks.push([extension, data.collected()]);
    });
    valid.push(checked.slice());
  }
  return { chunks, valid: concat(valid), end: () => walker.end() };
}

Deno.test("ChunkWalker reports the same chunks however they are split", () => {
  fc.assert(fc.property(arbitrary.chunks, arbitrary.pieceLengths, (chunks, lengths) => {
    const bytes = concat(chunks.map(formatChunk));
    const { chunks: reported, valid, end } = walk(cut(bytes, ...lengths));
    assertEquals(reported, chunks);
    assertEquals(valid, bytes);
    end();
  }));
});

Deno.test("ChunkWalker returns the valid part of each piece, and keeps an incomplete line", () => {
  for (const pieces of everySplit(latin1(ENCODED))) {
    assertEquals(fromLatin1(walk(pieces).valid), ENCODED);
  }
  const walker = new ChunkWalker();
  const rows = [["5;key=va", ""], ["lue\r\nhel", "5;key=value\r\nhel"], ["lo\r", "lo"], [
    "\n0",
    "\r\n",
  ]];
  for (const [piece, valid] of rows) {
    assertEquals(fromLatin1(walker.walk(latin1(piece!))), valid);
  }
});

Deno.test("ChunkWalker keeps no view of a piece, because the piece may change", () => {
  const walker = new ChunkWalker();
  const piece = latin1("5\r\nhello\r\n0");
  walker.walk(piece);
  piece.fill(0x78);
  assertEquals(fromLatin1(walker.walk(latin1("\r\n\r\n"))), "0\r\n\r\n");
});

Deno.test("ChunkWalker refuses a coding that ended before its last chunk", () => {
  for (let length = 0; length < ENCODED.length; length++) {
    const { end } = walk([latin1(ENCODED.slice(0, length))]);
    assertInstanceOf(thrownBy(end, `${length} bytes`), ProtocolError);
  }
  walk([latin1(ENCODED)]).end();
});

Deno.test("ChunkWalker refuses bytes after the last chunk, in its piece or the next one", () => {
  for (const pieces of everySplit(latin1(`${ENCODED}x`))) {
    assertThrows(() => walk(pieces), BodyError, "after the last chunk");
  }
  assertEquals(walk([latin1(ENCODED), new Uint8Array(0)]).valid.length, ENCODED.length);
});

Deno.test("ChunkWalker refuses the same invalid codings in one piece and in many", () => {
  const text = arbitrary.chunks.map((chunks) => fromLatin1(concat(chunks.map(formatChunk))));
  fc.assert(fc.property(arbitrary.damaged(text), arbitrary.pieceLengths, (bytes, lengths) => {
    const outcome = (pieces: Uint8Array[]) => {
      try {
        const { chunks, end } = walk(pieces);
        end();
        return chunks;
      } catch (error) {
        return error instanceof ProtocolError ? error.code : "excess";
      }
    };
    assertEquals(outcome(cut(bytes, ...lengths)), outcome([bytes]));
  }));
});
