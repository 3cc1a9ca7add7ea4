/**
 * The chunked coding (RFC 9112 §7.1): chunk headers, the scanner, and the validator for pieces of
 * any size. The rows are in chunk.rows.ts.
 */
import { formatChunk, parseChunkHeader } from "@degu/degu/misc";
import { assertProtocolError, assertRangeError, parseOrNull } from "@degu/testing/expectations.ts";
import { decodeLatin1, encodeLatin1, limits } from "@degu/testing/wire_grammar.ts";
import { assertEquals } from "@std/assert";

/** Parses a chunk line to a value that can be compared; `null` if the line is refused. */
function parse(line: string) {
  const parsed = parseOrNull(() => parseChunkHeader(encodeLatin1(line)), line);
  return parsed && { size: parsed.size, extension: parsed.extension && [...parsed.extension] };
}

Deno.test("parseChunkHeader allows lines of 4094 bytes", () => {
  for (const size of [4093, 4094]) {
    const value = "v".repeat(size - 4);
    assertEquals(parse(`5;k=${value}`), { size: 5, extension: ["k", value] });
    const key = "k".repeat(size - 4);
    assertEquals(parse(`5;${key}=v`), { size: 5, extension: [key, "v"] });
  }
  for (const size of [4095, 4096, 5000]) {
    const line = encodeLatin1(`5;k=${"v".repeat(size - 4)}`);
    assertProtocolError(() => parseChunkHeader(line), ["CHUNK_LINE_TOO_LONG"], `${size}`);
  }
});

Deno.test("formatChunk allows 16 MiB of data", () => {
  const data = new Uint8Array(limits.chunkData + 1);
  const bytes = formatChunk([null, data.subarray(1)]);
  assertEquals(decodeLatin1(bytes.subarray(0, 9)), "1000000\r\n");
  assertEquals(bytes.length, 9 + limits.chunkData + 2);
  assertRangeError(() => formatChunk([null, data]), "one byte more");
});

Deno.test("formatChunk allows lines of 4096 bytes with their CR LF", () => {
  const maxValueLength = 4096 - "0;k=\r\n".length;
  const empty = new Uint8Array(0);
  assertEquals(formatChunk([["k", "v".repeat(maxValueLength)], empty]).length, 4096 + 2);
  assertRangeError(() => formatChunk([["k", "v".repeat(maxValueLength + 1)], empty]), "value");
  assertRangeError(() => formatChunk([["k".repeat(maxValueLength + 1), "v"], empty]), "key");
  const longer = new Uint8Array(16);
  assertEquals(formatChunk([["k", "v".repeat(maxValueLength - 1)], longer]).length, 4096 + 16 + 2);
  assertRangeError(() => formatChunk([["k", "v".repeat(maxValueLength)], longer]), "two digits");
});
