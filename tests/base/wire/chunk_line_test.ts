/** Chunk lines: their limits, wherever they are split, and the minimum that must follow them. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  ChunkScanner,
  encodeChunk,
  makeSendable,
  parseChunkLine,
} from "@degu/internal/base/wire/chunk.ts";
import { assertProtocolError } from "@degu/testing/expectations.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { BodyError, type Chunk } from "@degu/degu/base";

const encoded = "3;key=value\r\nabc\r\n10\r\n0123456789abcdef\r\n0;last=1\r\n\r\n";

/** Scans as far as the bytes go. */
function scan(scanner: ChunkScanner, bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  for (;;) {
    const next = scanner.advance(bytes, at, end);
    if (next < 0) return at;
    at = next;
  }
}

Deno.test("ChunkScanner has the same result however the bytes are split", () => {
  // What precedes the coding in the buffer looks like the end of a line.
  const before = "\r\n\r\n";
  const bytes = latin1(`${before}${encoded}`);
  for (let cut = before.length; cut <= bytes.length; cut++) {
    const scanner = new ChunkScanner();
    const at = scan(scanner, bytes, before.length, cut);
    assertEquals(scan(scanner, bytes, at, bytes.length), bytes.length, `cut at ${cut}`);
    assertEquals(scanner.phase, "done", `cut at ${cut}`);
    assertEquals(scanner.header, { size: 0, extension: ["last", "1"] });
  }
  const scanner = new ChunkScanner();
  let at = before.length;
  for (let end = at; end <= bytes.length; end++) at = scan(scanner, bytes, at, end);
  assertEquals([at, scanner.phase], [bytes.length, "done"], "byte by byte");
});

Deno.test("leastToCome returns the size of all that must follow in the shortest coding", () => {
  const rows: [seen: string, least: number][] = [
    ["", 5],
    ["0", 3],
    ["0\r\n", 2],
    ["0\r\n\r", 1],
    ["0\r\n\r\n", 0],
    ["3\r\n", 3 + 2 + 5],
    ["3\r\nab", 1 + 2 + 5],
    ["3\r\nabc", 2 + 5],
    ["3\r\nabc\r", 1 + 5],
    ["3\r\nabc\r\n", 5],
  ];
  for (const [seen, least] of rows) {
    const bytes = latin1(seen);
    const scanner = new ChunkScanner();
    const at = scan(scanner, bytes, 0, bytes.length);
    assertEquals(scanner.leastToCome(bytes.length - at), least, JSON.stringify(seen));
  }
});

Deno.test("a size has at most seven digits, whatever its value", () => {
  const parse = (line: string) => () => parseChunkLine(latin1(line), 0, line.length);
  assertEquals(parse("1000000")(), { size: 16777216, extension: null });
  assertProtocolError(parse("1000001"), ["CHUNK_TOO_LARGE"], "seven digits");
  assertProtocolError(parse("10000000"), ["BAD_CHUNK_LINE"], "eight digits");
});

Deno.test("a chunk line has at most 4096 bytes with its CR LF, even if it is still incomplete", () => {
  const start = "1;k=";
  const lineOf = (length: number) => `${start}${"v".repeat(length - start.length - 2)}\r\n`;
  const longest = latin1(lineOf(4096));
  assertEquals(new ChunkScanner().advance(longest, 0, longest.length), 4096);
  for (const text of [lineOf(4097), `${start}${"v".repeat(4092)}`]) {
    const bytes = latin1(text);
    const advance = () => new ChunkScanner().advance(bytes, 0, bytes.length);
    assertProtocolError(advance, ["CHUNK_LINE_TOO_LONG"], `${text.length} bytes`);
  }
  const unfinished = latin1(`${start}${"v".repeat(4091)}`);
  assertEquals(new ChunkScanner().advance(unfinished, 0, unfinished.length), -1);
});

Deno.test("a chunk must be a pair", () => {
  const data = latin1("abc");
  for (const chunk of [[null], [null, data, data], { 0: null, 1: data, length: 2 }, "ab"]) {
    assertThrows(() => makeSendable(chunk as unknown as Chunk), TypeError, "[extension, data]");
  }
});

Deno.test("data that was transferred after its line was written is not encoded", () => {
  const data = latin1("abc");
  const sendable = makeSendable([null, data]);
  data.buffer.transfer();
  assertThrows(() => encodeChunk(sendable), BodyError);
});
