import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Chunk } from "@degu/degu/base";
import { formatChunk, parseChunkHeader } from "@degu/degu/misc";
import { chunk as chunkArbitrary, damaged, extension } from "@degu/testing/arbitraries.ts";
import {
  assertCallerError,
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  parsedOrNull,
  shown,
} from "@degu/testing/expectations.ts";
import {
  allowedBytes,
  consistsOf,
  fromLatin1,
  latin1,
  limits,
  mutations,
  referenceChunkLine,
} from "@degu/testing/wire_grammar.ts";
import { acceptedChunkLines, refusedChunkLines } from "./chunk.rows.ts";

/** What a chunk line says, in a shape that compares; null where it is refused. */
function parse(line: string) {
  const parsed = parsedOrNull(() => parseChunkHeader(latin1(line)), line);
  return parsed && { size: parsed.size, extension: parsed.extension && [...parsed.extension] };
}

function format(chunk: Chunk): string {
  return fromLatin1(formatChunk(chunk));
}

Deno.test("parseChunkHeader reads size and extension", async (t) => {
  for (const [line, size, extension] of acceptedChunkLines) {
    await t.step(shown(line), () => {
      assertEquals(parse(line), { size, extension: extension && [...extension] });
    });
  }
});

Deno.test("parseChunkHeader refuses an invalid chunk line", async (t) => {
  for (const { rule, rfc, text, codes } of refusedChunkLines) {
    await t.step(`${rule} (${rfc}): ${shown(text)}`, () => {
      assertProtocolError(() => parseChunkHeader(latin1(text)), codes, shown(text));
    });
  }
});

Deno.test("parseChunkHeader agrees with the grammar for every byte at every position", () => {
  for (const sample of ["0", "1aF", "a;k-1=v~2", "1000000", "ffffff;k=v;w"]) {
    for (const line of mutations(sample)) {
      assertEquals<unknown>(parse(line), referenceChunkLine(line), line);
    }
  }
});

Deno.test("parseChunkHeader agrees with the grammar on damaged lines", () => {
  const line = fc.tuple(fc.nat({ max: limits.chunkData }), extension).map(([size, pair]) =>
    size.toString(16) + (pair ? `;${pair[0]}=${pair[1]}` : "")
  );
  fc.assert(
    fc.property(damaged(line), (bytes) => {
      const text = fromLatin1(bytes);
      assertEquals<unknown>(parse(text), referenceChunkLine(text), text);
    }),
    { numRuns: 500 },
  );
});

Deno.test("parseChunkHeader reads every hex digit of either case", () => {
  for (const digit of "0123456789abcdefABCDEF") {
    assertEquals(parse(`1${digit}`)?.size, 16 + parseInt(digit, 16));
    assertEquals(parse(digit)?.size, parseInt(digit, 16));
  }
});

Deno.test("parseChunkHeader allows sizes up to 16777216", () => {
  for (const size of [limits.chunkData - 1, limits.chunkData]) {
    assertEquals(parse(size.toString(16))?.size, size);
    assertEquals(parse(size.toString(16).toUpperCase())?.size, size);
  }
  for (const size of [limits.chunkData + 1, 0x1ffffff, 0xfffffff]) {
    const line = latin1(size.toString(16));
    assertProtocolError(() => parseChunkHeader(line), ["CHUNK_TOO_LARGE"], size.toString(16));
  }
});

Deno.test("parseChunkHeader allows lines of 4094 bytes", () => {
  for (const size of [4093, 4094]) {
    const value = "v".repeat(size - 4);
    assertEquals(parse(`5;k=${value}`), { size: 5, extension: ["k", value] });
    const key = "k".repeat(size - 4);
    assertEquals(parse(`5;${key}=v`), { size: 5, extension: [key, "v"] });
  }
  for (const size of [4095, 4096, 5000]) {
    const line = latin1(`5;k=${"v".repeat(size - 4)}`);
    assertProtocolError(() => parseChunkHeader(line), ["CHUNK_LINE_TOO_LONG"], `${size}`);
  }
});

Deno.test("formatChunk writes size, extension and data", async (t) => {
  const rows: [chunk: Chunk, text: string][] = [
    [[null, latin1("hello")], "5\r\nhello\r\n"],
    [[["k", "v"], latin1("hello")], "5;k=v\r\nhello\r\n"],
    [[["K-9", "v;w"], latin1("\r\n")], "2;K-9=v;w\r\n\r\n\r\n"],
    [[null, new Uint8Array(0)], "0\r\n\r\n"],
    [[["k", "v"], new Uint8Array(0)], "0;k=v\r\n\r\n"],
    [[null, latin1("a".repeat(10))], `a\r\n${"a".repeat(10)}\r\n`],
    [[null, latin1("a".repeat(255))], `ff\r\n${"a".repeat(255)}\r\n`],
    [[null, latin1("a".repeat(256))], `100\r\n${"a".repeat(256)}\r\n`],
  ];
  for (const [chunk, text] of rows) {
    await t.step(shown(text), () => assertEquals(format(chunk), text));
  }
});

Deno.test("formatChunk writes lines that parseChunkHeader reads back", () => {
  fc.assert(fc.property(chunkArbitrary, (chunk) => {
    const text = format(chunk);
    const end = text.indexOf("\r\n");
    const [pair, data] = chunk;
    assertEquals(parse(text.slice(0, end)), { size: data.length, extension: pair && [...pair] });
    assertEquals(text.slice(end), `\r\n${fromLatin1(data)}\r\n`);
  }));
});

Deno.test("formatChunk allows 16 MiB of data", () => {
  const data = new Uint8Array(limits.chunkData + 1);
  const bytes = formatChunk([null, data.subarray(1)]);
  assertEquals(fromLatin1(bytes.subarray(0, 9)), "1000000\r\n");
  assertEquals(bytes.length, 9 + limits.chunkData + 2);
  assertRangeError(() => formatChunk([null, data]), "one byte more");
});

Deno.test("formatChunk allows lines of 4096 bytes with their CR LF", () => {
  const room = 4096 - "0;k=\r\n".length;
  const empty = new Uint8Array(0);
  assertEquals(formatChunk([["k", "v".repeat(room)], empty]).length, 4096 + 2);
  assertRangeError(() => formatChunk([["k", "v".repeat(room + 1)], empty]), "value");
  assertRangeError(() => formatChunk([["k".repeat(room + 1), "v"], empty]), "key");
  const longer = new Uint8Array(16);
  assertEquals(formatChunk([["k", "v".repeat(room - 1)], longer]).length, 4096 + 16 + 2);
  assertRangeError(() => formatChunk([["k", "v".repeat(room)], longer]), "two digits");
});

Deno.test("formatChunk agrees with the grammar for every byte in an extension", () => {
  const data = latin1("a");
  for (let byte = 0; byte < 256; byte++) {
    const character = String.fromCharCode(byte);
    for (const text of [character, `${character}a`, `a${character}`, `a${character}b`]) {
      if (consistsOf(text, allowedBytes.extensionKey)) {
        assertEquals(format([[text, "v"], data]), `1;${text}=v\r\na\r\n`);
      } else {
        assertRangeError(() => formatChunk([[text, "v"], data]), `key ${shown(text)}`);
      }
      if (consistsOf(text, allowedBytes.extensionValue)) {
        assertEquals(format([["k", text], data]), `1;k=${text}\r\na\r\n`);
      } else {
        assertRangeError(() => formatChunk([["k", text], data]), `value ${shown(text)}`);
      }
    }
  }
  for (const text of ["", "\u0141", "\u010d\u010a", "\u212a", "\ud800", "😀"]) {
    assertRangeError(() => formatChunk([[text, "v"], data]), `key ${shown(text)}`);
    assertRangeError(() => formatChunk([["k", text], data]), `value ${shown(text)}`);
  }
});

Deno.test("formatChunk refuses an invalid chunk", () => {
  const data = latin1("a");
  const chunks = [
    ...[null, undefined, "a", 5, {}, data, { 0: null, 1: data, length: 2 }, [], [null], [data]],
    ...[[data, null], [undefined, data], ["k=v", data], [5, data], [{ k: "v" }, data], [
      true,
      data,
    ]],
    ...[[[], data], [["k"], data], [[null, "v"], data], [["k", null], data], [["k", 5], data]],
    ...[[[5, "v"], data], [["k", ["v"]], data], [["k", new String("v")], data]],
    ...[[null, "a"], [null, null], [null, undefined], [null, [97]], [null, new ArrayBuffer(1)]],
    ...[[null, new Uint16Array(1)], [null, new DataView(new ArrayBuffer(1))], [null, 5]],
  ];
  for (const chunk of chunks) {
    assertTypeError(() => callWith(formatChunk, chunk), Deno.inspect(chunk));
  }
  assertCallerError(() => callWith(formatChunk, [["k", "v", "w"], data]), "three in an extension");
});

Deno.test("formatChunk can't be made to forge a line by an extension that changes while it is read", () => {
  for (const index of [0, 1]) {
    const pair: [string, string] = ["k", "v"];
    let reads = 0;
    Object.defineProperty(pair, index, { get: () => reads++ === 0 ? "x" : "x\r\nevil" });
    let text = "";
    try {
      text = format([pair, latin1("a")]);
    } catch (error) {
      assertCallerError(() => {
        throw error;
      }, "a changing extension");
    }
    assert(!text.includes("evil"), shown(text));
  }
});

Deno.test("formatChunk returns one whole chunk even if the data changes while it is read", () => {
  for (const [first, later] of [["123", "123456789"], ["123456789", "1"], ["1", ""]] as const) {
    const chunk: [null, Uint8Array] = [null, latin1(first)];
    let reads = 0;
    Object.defineProperty(chunk, 1, { get: () => latin1(reads++ === 0 ? first : later) });
    let text = "";
    try {
      text = format(chunk);
    } catch (error) {
      assertCallerError(() => {
        throw error;
      }, "a changing chunk");
      continue;
    }
    const data = text.slice(text.indexOf("\r\n") + 2, -2);
    assertEquals(parse(text.slice(0, text.indexOf("\r\n")))?.size, data.length, shown(text));
  }
});

Deno.test("formatChunk copies the data and leaves the chunk unchanged", () => {
  const data = latin1("hello");
  const chunk: Chunk = Object.freeze([Object.freeze(["k", "v"] as const), data] as const);
  const bytes = formatChunk(chunk);
  data.fill(0);
  assertEquals(fromLatin1(bytes), "5;k=v\r\nhello\r\n");
});

Deno.test("parseChunkHeader refuses arguments of the wrong type", () => {
  const values = [null, undefined, "5", 5, [], {}, new ArrayBuffer(1), new Uint16Array(1)];
  for (const value of values) {
    assertTypeError(() => callWith(parseChunkHeader, value), Deno.inspect(value));
  }
});

Deno.test("parseChunkHeader reads a view into a larger buffer", () => {
  const buffer = latin1("ff\r\n5;k=v\r\nhello");
  assertEquals(parseChunkHeader(buffer.subarray(4, 9)).size, 5);
});
