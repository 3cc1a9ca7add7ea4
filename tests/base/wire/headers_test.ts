import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { ContentRange, type HeaderDict, Range } from "@degu/degu/base";
import { formatHeaders, parseHeaders } from "@degu/degu/misc";
import { damaged, requestHeaders, responseHeaders } from "@degu/testing/arbitraries.ts";
import {
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  flatten,
  parsedOrNull,
  shown,
} from "@degu/testing/expectations.ts";
import {
  acceptedContentLengths,
  acceptedContentRanges,
  acceptedRanges,
  refusedContentRanges,
  refusedRanges,
} from "./range.rows.ts";
import {
  allowedBytes,
  consistsOf,
  fromLatin1,
  latin1,
  limits,
  mutations,
  referenceHeaders,
} from "@degu/testing/wire_grammar.ts";
import { acceptedBlocks, refusedBlocks } from "./headers.rows.ts";
import { connectionOptions } from "@degu/internal/base/wire/headers.ts";

/** The block that formatHeaders gives: lines joined by CR LF, none before the first or after the last. */
function formatBlock(headers: HeaderDict): string {
  return fromLatin1(formatHeaders(headers));
}

Deno.test("parseHeaders reads header lines in requests and responses alike", async (t) => {
  for (const { rule, rfc, text: block, headers } of acceptedBlocks) {
    await t.step(`${rule} (${rfc}): ${shown(block)}`, () => {
      for (const isResponse of [false, true]) {
        const parsed = parseHeaders(latin1(block), isResponse);
        assertEquals(flatten(parsed), headers);
        assertStrictEquals(Object.getPrototypeOf(parsed), null);
      }
      assertEquals(flatten(parseHeaders(latin1(block))), headers);
    });
  }
});

Deno.test("the headers of each message are an object of their own, even after a refused message", () => {
  const seen: HeaderDict[] = [];
  for (let count = 0; count < 300; count++) {
    assertProtocolError(() => parseHeaders(latin1("a: secret\r\nb")), ["BAD_HEADER_LINE"], "b");
    const headers = parseHeaders(latin1(`n: ${count}`));
    headers[`own-${count}`] = "changed";
    seen.push(headers);
  }
  assertEquals(new Set(seen).size, 300);
  for (const [count, headers] of seen.entries()) {
    assertStrictEquals(Object.getPrototypeOf(headers), null);
    assertEquals(Object.entries(headers), [["n", `${count}`], [`own-${count}`, "changed"]]);
  }
});

Deno.test("parseHeaders refuses what is not allowed in any message", async (t) => {
  for (const { rule, rfc, text: block, codes } of refusedBlocks) {
    await t.step(`${rule} (${rfc}): ${shown(block)}`, () => {
      for (const isResponse of [false, true]) {
        const what = `${shown(block)} isResponse ${isResponse}`;
        assertProtocolError(() => parseHeaders(latin1(block), isResponse), codes, what);
      }
    });
  }
});

Deno.test("parseHeaders returns a dictionary with only the received names", () => {
  const parsed: Record<string, unknown> = parseHeaders(latin1("a: b"));
  for (const name of ["constructor", "toString", "hasOwnProperty", "__proto__", "valueOf"]) {
    assertStrictEquals(parsed[name], undefined);
  }
  assertEquals(Object.keys(parseHeaders(latin1("Constructor: x"))), ["constructor"]);
});

Deno.test("parseHeaders returns content-length as a number", () => {
  for (const [text, length] of acceptedContentLengths) {
    for (const name of ["content-length", "Content-Length", "CONTENT-LENGTH"]) {
      const parsed = parseHeaders(latin1(`${name}: ${text}`), true);
      assertStrictEquals(parsed["content-length"], length);
    }
  }
});

Deno.test("parseHeaders returns range as a Range, in requests only", () => {
  for (const [text, start, stop] of acceptedRanges) {
    const { range } = parseHeaders(latin1(`Range: ${text}`));
    assert(range instanceof Range);
    assertEquals([range.start, range.stop], [start, stop]);
    assertProtocolError(
      () => parseHeaders(latin1(`range: ${text}`), true),
      ["FORBIDDEN_HEADER"],
      "range in a response",
    );
  }
  for (const { text } of refusedRanges) {
    const codes = ["BAD_RANGE"];
    if (!consistsOf(text, allowedBytes.headerValue, 1)) {
      codes.push("BAD_HEADER_VALUE", "BAD_HEADER_LINE");
    }
    assertProtocolError(() => parseHeaders(latin1(`range: ${text}`)), codes, shown(text));
  }
});

Deno.test("parseHeaders returns content-range as a ContentRange, in responses only", () => {
  for (const [text, start, stop, total] of acceptedContentRanges) {
    const parsed = parseHeaders(latin1(`Content-Range: ${text}`), true)["content-range"];
    assert(parsed instanceof ContentRange);
    assertEquals([parsed.start, parsed.stop, parsed.total], [start, stop, total]);
    assertProtocolError(
      () => parseHeaders(latin1(`content-range: ${text}`)),
      ["FORBIDDEN_HEADER"],
      "content-range in a request",
    );
  }
  for (const { text } of refusedContentRanges) {
    const codes = ["BAD_CONTENT_RANGE"];
    if (!consistsOf(text, allowedBytes.headerValue, 1)) {
      codes.push("BAD_HEADER_VALUE", "BAD_HEADER_LINE");
    }
    const block = latin1(`content-range: ${text}`);
    assertProtocolError(() => parseHeaders(block, true), codes, shown(text));
  }
});

Deno.test("parseHeaders agrees with the grammar for every byte at every position", () => {
  for (const sample of ["Na-0: v;e", "a: b\r\nc: d", "range: bytes=0-5"]) {
    for (const text of mutations(sample)) {
      const parsed = parsedOrNull(() => parseHeaders(latin1(text)), text);
      const expected = referenceHeaders(text, "request with body");
      assertEquals(parsed && flatten(parsed), expected, text);
    }
  }
});

Deno.test("parseHeaders agrees with the grammar on damaged blocks", () => {
  for (const isResponse of [false, true]) {
    const rules = isResponse ? "response" : "request with body";
    const block = (isResponse ? responseHeaders : requestHeaders).map((headers) =>
      Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\r\n")
    );
    fc.assert(
      fc.property(damaged(block), (bytes) => {
        const text = fromLatin1(bytes);
        const parsed = parsedOrNull(() => parseHeaders(bytes, isResponse), text);
        assertEquals(parsed && flatten(parsed), referenceHeaders(text, rules), text);
      }),
      { numRuns: 300 },
    );
  }
});

Deno.test("parseHeaders allows names of 1 to 32 bytes", () => {
  for (const length of [1, 2, 31, 32]) {
    const name = "n".repeat(length);
    assertEquals(flatten(parseHeaders(latin1(`${name}: v`))), { [name]: "v" });
    assertEquals(formatBlock({ [name]: "v" }), `${name}: v`);
  }
  for (const length of [33, 34, 64, 1000]) {
    const name = "n".repeat(length);
    assertProtocolError(() => parseHeaders(latin1(`${name}: v`)), ["BAD_HEADER_NAME"], name);
    assertRangeError(() => formatHeaders({ [name]: "v" }), name);
  }
});

Deno.test("parseHeaders and formatHeaders allow 32764 bytes", () => {
  const filled = (size: number) => `a: ${"v".repeat(size - 3)}`;
  for (const size of [32763, 32764]) {
    assert(parseHeaders(latin1(filled(size))).a === "v".repeat(size - 3), `${size}`);
    assert(formatBlock({ a: "v".repeat(size - 3) }) === filled(size), `${size}`);
  }
  for (const size of [32765, 32766, 32768, 40000]) {
    assertProtocolError(
      () => parseHeaders(latin1(filled(size))),
      ["PREAMBLE_TOO_LARGE"],
      `${size}`,
    );
    assertRangeError(() => formatHeaders({ a: "v".repeat(size - 3) }), `${size}`);
  }
});

Deno.test("parseHeaders and formatHeaders do not limit the number of lines", () => {
  const names = Array.from({ length: 3600 }, (_, i) => i.toString(36).padStart(3, "0"));
  const headers = Object.fromEntries(names.map((name) => [`n${name}`, "v"]));
  const block = names.toSorted().map((name) => `n${name}: v`).join("\r\n");
  assert(block.length <= limits.preamble - 4);
  assert(formatBlock(headers) === block);
  assertEquals(Object.keys(parseHeaders(latin1(block))).length, names.length);
});

Deno.test("parseHeaders returns the same for names in any case, however often it has seen them", () => {
  const names = Array.from({ length: 700 }, (_, i) => `n-${i.toString(36)}`);
  const cases = [(name: string) => name, (name: string) => name.toUpperCase()];
  for (const inCase of [...cases, ...cases]) {
    for (const name of names) {
      assertEquals(Object.keys(parseHeaders(latin1(`${inCase(name)}: v`))), [name]);
    }
  }
});

Deno.test("parseHeaders refuses arguments of the wrong type", () => {
  const values = [null, undefined, "a: b", 5, [], [97], {}, new ArrayBuffer(4), new Uint16Array(4)];
  for (const value of [...values, new DataView(new ArrayBuffer(4)), new Headers()]) {
    assertTypeError(() => callWith(parseHeaders, value), Deno.inspect(value));
  }
  for (const isResponse of [null, 1, 0, "true", {}]) {
    const what = `isResponse ${Deno.inspect(isResponse)}`;
    assertTypeError(() => callWith(parseHeaders, latin1("a: b"), isResponse), what);
  }
});

Deno.test("parseHeaders reads a view into a larger buffer and leaves it unchanged", () => {
  const buffer = latin1("x: y\r\na: b\r\n\r\nc: d");
  const copy = buffer.slice();
  assertEquals(flatten(parseHeaders(buffer.subarray(6, 10))), { a: "b" });
  assertEquals(buffer, copy);
});

Deno.test("connectionOptions are the elements of connection in lower case", () => {
  assertEquals(connectionOptions({ connection: "a, Close ,X-b" }), ["a", "close", "x-b"]);
  assertEquals(connectionOptions({}), []);
});
