/** ChunkScanner: each part of the coding is read once, however much of it is buffered. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import fc from "fast-check";
import { ProtocolError } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { type ChunkPhase, ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import * as arbitrary from "@degu/testing/arbitraries.ts";
import { thrownBy } from "@degu/testing/expectations.ts";
import { concat } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** The phases and positions of a scan of bytes of which `ends` are there, one after the other. */
function scan(bytes: Uint8Array, ends: Iterable<number>, at = 0): [ChunkPhase, number][] {
  const scanner = new ChunkScanner();
  const parts: [ChunkPhase, number][] = [];
  for (const end of ends) {
    for (;;) {
      const { phase } = scanner;
      const next = scanner.advance(bytes, at, end);
      if (next === -1) break;
      parts.push([phase, next]);
      at = next;
    }
  }
  parts.push([scanner.phase, at]);
  return parts;
}

Deno.test("ChunkScanner consumes a line, data or an end, one at a time", () => {
  const bytes = latin1("??5;a=b\r\nhello\r\n0\r\n\r\n!");
  assertEquals(scan(bytes, [bytes.length], 2), [
    ["line", 9],
    ["data", 14],
    ["end", 16],
    ["line", 19],
    ["end", 21],
    ["done", 21],
  ]);
});

Deno.test("ChunkScanner consumes data as it arrives, and lines and ends as a whole", () => {
  const bytes = latin1("5\r\nhello\r\n0\r\n\r\n");
  const everyEnd = Array.from(bytes, (_, i) => i + 1);
  const single = scan(bytes, everyEnd).filter(([phase]) => phase !== "data");
  assertEquals(single, scan(bytes, [bytes.length]).filter(([phase]) => phase !== "data"));
  assertEquals(scan(bytes, everyEnd).filter(([phase]) => phase === "data").length, 5);
});

Deno.test("ChunkScanner reaches the end of any chunks, however many bytes are available", () => {
  fc.assert(
    fc.property(
      arbitrary.chunks,
      fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
      (chunks, steps) => {
        const bytes = concat(chunks.map(formatChunk));
        const ends: number[] = [];
        for (let end = 0; end < bytes.length; end += steps.next().value) ends.push(end);
        const parts = scan(bytes, [...ends, bytes.length]);
        assertEquals(parts.at(-1), ["done", bytes.length]);
        assertEquals(parts.filter(([phase]) => phase === "line").length, chunks.length);
      },
    ),
  );
});

Deno.test("ChunkScanner counts the data it is told to skip", () => {
  const scanner = new ChunkScanner();
  assertEquals(scanner.advance(latin1("a\r\n"), 0, 3), 3);
  assertEquals([scanner.phase, scanner.remaining], ["data", 10]);
  scanner.skipData(4);
  assertEquals([scanner.phase, scanner.remaining], ["data", 6]);
  assertEquals(scanner.advance(latin1("123456789"), 0, 9), 6);
  assertEquals([scanner.phase, scanner.remaining], ["end", 0]);
});

Deno.test("ChunkScanner never requests more bytes than the coding must still have", () => {
  fc.assert(fc.property(arbitrary.chunks, (chunks) => {
    const bytes = concat(chunks.map(formatChunk));
    const scanner = new ChunkScanner();
    let at = 0;
    let end = 0;
    while (scanner.phase !== "done") {
      end += scanner.leastToCome(end - at);
      if (end > bytes.length) throw new Error(`${end} of ${bytes.length} bytes`);
      let next;
      while ((next = scanner.advance(bytes, at, end)) >= 0) at = next;
    }
    assertEquals([at, end, scanner.leastToCome(0)], [bytes.length, bytes.length, 0]);
  }));
});

Deno.test("ChunkScanner refuses an invalid end as soon as one byte shows it", () => {
  for (
    const [text, there] of [["1\r\nxy", 5], ["1\r\nx\ry", 6], ["0\r\nx", 4], [
      "0\r\n\rx",
      5,
    ]] as const
  ) {
    const error = thrownBy(() => scan(latin1(text), [there]), text);
    assertInstanceOf(error, ProtocolError);
    assertEquals(error.code, "BAD_CHUNK_END");
  }
});
