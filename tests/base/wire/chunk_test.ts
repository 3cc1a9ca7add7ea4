/**
 * The chunked coding (RFC 9112 §7.1): chunk headers, the scanner, and the validator for pieces of
 * any size. The rows are in chunk.rows.ts.
 */
import { type Chunk, ProtocolError } from "@degu/degu/base";
import { formatChunk, parseChunkHeader } from "@degu/degu/misc";
import { Collector } from "@degu/internal/base/body/byte_io.ts";
import { ChunkedValidator, type ChunkPhase, ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import {
  assertProtocolError,
  assertRangeError,
  catchThrown,
  formatLabel,
  parseOrNull,
} from "@degu/testing/expectations.ts";
import { concat, splitEverywhere } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1, limits } from "@degu/testing/wire_grammar.ts";
import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";

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

/** Returns the phases and positions of a scan in which the bytes up to each of `ends` arrive. */
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

Deno.test("ChunkScanner refuses an invalid end as soon as one byte shows it", () => {
  const invalidEnds = [["1\r\nxy", 5], ["1\r\nx\ry", 6]] as const;
  for (const [text, available] of invalidEnds) {
    const error = catchThrown(() => scan(encodeLatin1(text), [available]), text);
    assertInstanceOf(error, ProtocolError);
    assertEquals(error.code, "BAD_CHUNK_END");
  }
  const { message } = assertThrows(() => scan(encodeLatin1("1\r\nxyzw"), [7]), ProtocolError);
  assertEquals(message, 'no CR LF after a chunk\'s data, but "yz"');
  // The scanner must not read beyond the available bytes.
  for (const [text, available] of [["1\r\nxZZ", 4], ["1\r\nx\rZ", 5]] as const) {
    assertEquals(scan(encodeLatin1(text), [available]).at(-1), ["crlf", 4]);
  }
});

Deno.test("ChunkScanner refuses an invalid line of a trailer as soon as it ends, or as a bare CR or LF shows it", () => {
  const codes = ["BAD_CHUNK_END", "BAD_HEADER_LINE", "BAD_HEADER_NAME", "BAD_HEADER_VALUE"];
  for (const text of ["0\r\nx\r\n", "0\r\na : b\r\n", "0\r\n\rx", "0\r\n\n", "0\r\na: b\n"]) {
    const bytes = encodeLatin1(text);
    const ends = Array.from(bytes, (_, i) => i + 1);
    for (const list of [[bytes.length], ends]) {
      assertProtocolError(() => scan(bytes, list), codes, formatLabel(text));
    }
  }
});

const ENCODED = "5;key=value\r\nhello\r\n1\r\nx\r\n0;a=b\r\n\r\n";

/** Validates the pieces; returns the reported chunks and the valid bytes. */
function validateAll(
  pieces: Iterable<Uint8Array>,
): { chunks: Chunk[]; valid: Uint8Array; end: () => void } {
  const validator = new ChunkedValidator();
  const chunks: Chunk[] = [];
  const valid: Uint8Array[] = [];
  let data = new Collector(0);
  for (const piece of pieces) {
    const checked = validator.validate(piece, (part, { size, extension }, bytes) => {
      if (part === "header") data = new Collector(size);
      else if (part === "data") data.append(bytes);
      else chunks.push([extension, data.toBytes()]);
    });
    valid.push(checked.slice());
  }
  return { chunks, valid: concat(valid), end: () => validator.finish() };
}

Deno.test("ChunkedValidator returns the valid part of each piece, and keeps an incomplete line", () => {
  for (const pieces of splitEverywhere(encodeLatin1(ENCODED))) {
    assertEquals(decodeLatin1(validateAll(pieces).valid), ENCODED);
  }
  const validator = new ChunkedValidator();
  const rows = [["5;key=va", ""], ["lue\r\nhel", "5;key=value\r\nhel"], ["lo\r", "lo"], [
    "\n0",
    "\r\n",
  ]];
  for (const [piece, valid] of rows) {
    assertEquals(decodeLatin1(validator.validate(encodeLatin1(piece!))), valid);
  }
});
