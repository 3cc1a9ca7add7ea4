/** Preambles, header lines and ranges, parsed and formatted. The rows are in *.rows.ts. */
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  ContentRange,
  EmptyPreambleError,
  type HeadersToSend,
  ProtocolError,
  Range,
  SuffixRange,
  UnsatisfiedRange,
} from "@degu/degu/base";
import {
  formatHeaders,
  formatRequest,
  formatResponse,
  parseContentRange,
  parseHeaders,
  parseRange,
  parseRequest,
  parseResponse,
} from "../messages.ts";
import {
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  catchThrown,
  constructWith,
  flatten,
  formatLabel,
  parseOrNull,
} from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import {
  checkRequestPrefix,
  checkResponsePrefix,
  findPreambleEnd,
  formatRequestPreamble,
  parseRequestPreamble,
  parseResponsePreamble,
} from "@degu/internal/base/wire/preamble.ts";
import { PieceSource, streamOf } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1, limits, methods } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { acceptedHosts, acceptedStatusLines, refusedHosts } from "./preamble.rows.ts";
import { acceptedUris, refusedAbsoluteTargets, refusedUris } from "./uri.rows.ts";
import { acceptedBlocks } from "./headers.rows.ts";
import { acceptedContentRanges, acceptedRanges } from "./range.rows.ts";

/** Parses a request preamble to a value that can be compared; `null` if it is refused. */
function parseRequestOrNull(text: string) {
  const parsed = parseOrNull(() => parseRequest(encodeLatin1(text)), text);
  return parsed && { ...parsed, headers: flatten(parsed.headers) };
}

/** Parses a response preamble to a value that can be compared; `null` if it is refused. */
function parseResponseOrNull(text: string) {
  const parsed = parseOrNull(() => parseResponse("GET", encodeLatin1(text)), text);
  return parsed && { ...parsed, headers: flatten(parsed.headers) };
}

const parsersByStart = [["GET / HTTP/1.1", parseRequestOrNull], [
  "HTTP/1.1 200 OK",
  parseResponseOrNull,
]] as const;

Deno.test("parseRequest and parseResponse refuse an empty line anywhere", () => {
  for (const [start, parse] of parsersByStart) {
    for (const suffix of ["\r\n", "\r\n\r\na: b", "\r\na: b\r\n"]) {
      assertEquals(parse(start + suffix), null, formatLabel(start + suffix));
    }
    assertEquals(parse(`\r\n${start}`), null);
  }
});

Deno.test("parseRequest and parseResponse refuse an empty preamble with a separate error", () => {
  for (const parse of [parseRequest, (bytes: Uint8Array) => parseResponse("GET", bytes)]) {
    const error = catchThrown(() => parse(new Uint8Array(0)), "nothing");
    assertInstanceOf(error, EmptyPreambleError);
    assertEquals(error.code, "EMPTY_PREAMBLE");
  }
});

Deno.test("parseRequest and parseResponse allow 32764 bytes", () => {
  for (const [start, parse] of parsersByStart) {
    const makePreamble = (size: number) => {
      const block = `${start}\r\na: `;
      return block + "v".repeat(size - block.length);
    };
    assert(parse(makePreamble(32764)) !== null);
    for (const size of [32765, 100000]) {
      const preamble = encodeLatin1(makePreamble(size));
      const parsing = () =>
        parse === parseRequestOrNull ? parseRequest(preamble) : parseResponse("GET", preamble);
      assertProtocolError(parsing, ["PREAMBLE_TOO_LARGE"], `${size}`);
    }
  }
  const longUri = `/${"a".repeat(32764 - "GET / HTTP/1.1".length)}`;
  assertEquals(parseRequestOrNull(`GET ${longUri} HTTP/1.1`)?.uri, longUri);
  assertEquals(
    parseResponseOrNull(`HTTP/1.1 200 ${"R".repeat(32764 - 13)}`)?.reason.length,
    32764 - 13,
  );
});

Deno.test("a first byte that can't begin a message is refused, with a hint if it may begin a TLS record", () => {
  for (let byte = 0; byte < 256; byte++) {
    const character = String.fromCharCode(byte);
    const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const checks: [check: typeof checkRequestPrefix, starts: string, hint: string][] = [
      // A CR may begin an empty line.
      [checkRequestPrefix, `${token}\r`, "SSLServer"],
      [checkResponsePrefix, "H\r", "SSLClient"],
    ];
    const bytes = Uint8Array.of(0x47, byte);
    for (const [check, starts, hint] of checks) {
      if (starts.includes(character)) check(bytes, 1, 1, 2);
      else {
        const error = catchThrown(() => check(bytes, 1, 1, 2), character);
        assertInstanceOf(error, ProtocolError);
        // An alert and a handshake (RFC 8446 §5.1).
        assertEquals(error.message.includes(hint), byte === 0x15 || byte === 0x16, `${byte}`);
      }
    }
  }
});

Deno.test("a bare CR or LF is refused with the first byte that proves it, and not before", () => {
  for (const check of [checkRequestPrefix, checkResponsePrefix]) {
    const line = check === checkRequestPrefix ? "GET / HTTP/1.1" : "HTTP/1.1 200 OK";
    for (const start of [line.slice(0, 6), line, `${line}\r\na: b`]) {
      for (const [lineEnd, proof] of [["\r", "\r"], ["\r", "x"], ["", "\n"]] as const) {
        const bytes = encodeLatin1(start + lineEnd + proof);
        const label = formatLabel(decodeLatin1(bytes));
        check(bytes, 0, 0, bytes.length - 1);
        for (const searchStart of [0, start.length, bytes.length - 1]) {
          const refuse = () => check(bytes, 0, searchStart, bytes.length);
          assertInstanceOf(catchThrown(refuse, label), ProtocolError);
        }
      }
    }
  }
});

Deno.test("a preamble has the same values wherever it begins in a buffer", () => {
  for (const offset of [1, 100]) {
    const shift = (text: string) => {
      const bytes = encodeLatin1("x".repeat(offset) + text + "\r\n\r\n");
      return [bytes, offset, bytes.length] as const;
    };
    for (const [uri] of acceptedUris) {
      const text = `GET ${uri} HTTP/1.1\r\na: \xe9`;
      const { method, target, headers } = parseRequestPreamble(...shift(text));
      const expected = parseRequestOrNull(text);
      assertEquals({ method, ...target, headers: flatten(headers) }, expected);
    }
    for (const [line] of acceptedStatusLines) {
      const text = `${line}\r\na: \xe9`;
      const { status, reason, headers } = parseResponsePreamble("GET", ...shift(text));
      assertEquals({ status, reason, headers: flatten(headers) }, parseResponseOrNull(text));
    }
  }
});

Deno.test("the end of a preamble is found at every position, and not in the bytes after the available ones", () => {
  for (let length = 0; length < 12; length++) {
    const bytes = encodeLatin1(`${"x".repeat(length)}\r\n\r\n\r\n`);
    for (let end = 0; end <= bytes.length; end++) {
      const expected = end < length + 4 ? -1 : length + 4;
      assertEquals(findPreambleEnd(bytes, 0, end), expected, `${length}, ${end}`);
    }
  }
});

// Formatted preambles, and their framing.

const chunked: HeadersToSend = { "transfer-encoding": "chunked" };

Deno.test("formatRequest and formatResponse refuse headers that their message may not have", () => {
  const range = { range: new Range(0, 1) };
  const contentRange = { "content-range": new ContentRange(0, 1, 2) };
  const [zeroLength, lengthOfFive] = [{ "content-length": 0 }, { "content-length": 5 }];
  for (const method of ["GET", "HEAD", "DELETE"] as const) {
    for (const headers of [lengthOfFive, chunked]) {
      const format = () => formatRequest(method, "/", headers);
      assertThrows(format, RangeError, `the header ${Object.keys(headers)} is not`);
    }
  }
  for (const method of methods) {
    assertRangeError(() => formatRequest(method, "/", contentRange), `${method} content-range`);
  }
  const excludingHeaders = [{ ...range, ...lengthOfFive }, { ...range, ...chunked }];
  for (const headers of [...excludingHeaders, { ...zeroLength, ...chunked }]) {
    assertRangeError(() => formatRequest("PUT", "/", headers), Deno.inspect(headers));
  }
  for (const headers of [range, { ...zeroLength, ...chunked }]) {
    assertRangeError(() => formatResponse(200, "OK", headers), Deno.inspect(headers));
  }
});

Deno.test("a request's base headers replace the caller's headers, whose object doesn't change", () => {
  const into = new Uint8Array(limits.preamble);
  const headers = Object.freeze({ host: "its", a: "b" });
  const length = formatRequestPreamble(into, "GET", "/", headers, { host: "my", c: "d" }, null);
  const expected = "GET / HTTP/1.1\r\na: b\r\nc: d\r\nhost: my\r\n\r\n";
  assertEquals(decodeLatin1(into.subarray(0, length)), expected);
});

Deno.test("formatRequest refuses a host that a server refuses", () => {
  for (const host of acceptedHosts) formatRequest("GET", "/", { host });
  for (const host of refusedHosts) {
    assertRangeError(() => formatRequest("GET", "/", { host }), formatLabel(host));
  }
});

Deno.test("formatRequest refuses a method or URI that could not be read back", () => {
  for (const { text } of [...refusedUris, ...refusedAbsoluteTargets]) {
    assertRangeError(() => formatRequest("GET", text, {}), formatLabel(text));
  }
  for (const [target] of acceptedUris) formatRequest("GET", target, {});
  for (const target of ["/\u0141", "/\u010d\u010a", "/?\u212a", "/ HTTP/1.1\r\nevil: 1\r\n"]) {
    assertRangeError(() => formatRequest("GET", target, {}), formatLabel(target));
  }
  for (
    const method of ["", "get", "TRACE", "GET ", " GET", "GET\r\n", "constructor", "__proto__"]
  ) {
    assertRangeError(() => callWith(formatRequest, method, "/", {}), formatLabel(method));
  }
});

Deno.test("formatResponse refuses a status or reason that could not be read back", () => {
  for (const status of [99, 600, 200.5, NaN]) {
    assertRangeError(() => formatResponse(status, "OK", {}), `${status}`);
  }
  for (const reason of ["O\0", "OK\r\nevil: 1", "OK\n", "OK\r", "é€", "\u0141\u0141"]) {
    assertRangeError(() => formatResponse(200, reason, {}), formatLabel(reason));
  }
});

Deno.test("formatResponse writes each reason that parseResponse reads", () => {
  for (const [line, status, reason] of acceptedStatusLines) {
    const text = decodeLatin1(formatResponse(status, reason, {}));
    assertEquals(text, `${line.replace("HTTP/1.0", "HTTP/1.1")}\r\n\r\n`);
  }
});

Deno.test("formatRequest and formatResponse allow 32768 bytes", () => {
  const maxValueLength = 32768 - "GET / HTTP/1.1\r\na: \r\n\r\n".length;
  assertEquals(formatRequest("GET", "/", { a: "v".repeat(maxValueLength) }).length, 32768);
  assertRangeError(
    () => formatRequest("GET", "/", { a: "v".repeat(maxValueLength + 1) }),
    "request",
  );
  const uriRoom = 32768 - "GET / HTTP/1.1\r\n\r\n".length;
  assertEquals(formatRequest("GET", `/${"a".repeat(uriRoom)}`, {}).length, 32768);
  assertRangeError(() => formatRequest("GET", `/${"a".repeat(uriRoom + 1)}`, {}), "URI");
  const overhead = 32768 - "PUT / HTTP/1.1\r\na: \r\ncontent-length: 5\r\n\r\n".length;
  assertEquals(
    formatRequest("PUT", "/", { a: "v".repeat(overhead) }, encodeLatin1("hello")).length,
    32768,
  );
  const tooLong = { a: "v".repeat(overhead + 1) };
  assertRangeError(() => formatRequest("PUT", "/", tooLong, encodeLatin1("hello")), "with a body");
  const maxResponseValue = 32768 - "HTTP/1.1 200 OK\r\na: \r\n\r\n".length;
  assertEquals(formatResponse(200, "OK", { a: "v".repeat(maxResponseValue) }).length, 32768);
  assertRangeError(
    () => formatResponse(200, "OK", { a: "v".repeat(maxResponseValue + 1) }),
    "response",
  );
  assertRangeError(() => formatResponse(200, "R".repeat(32768), {}), "reason");
});

/** A body of each kind with the header that it sets. */
const bodyKinds: Record<string, { make: () => NonNullable<BodyOut>; line: string }> = {
  "Uint8Array": { make: () => encodeLatin1("hello"), line: "content-length: 5" },
  "empty Uint8Array": { make: () => new Uint8Array(0), line: "content-length: 0" },
  "Body": { make: () => new Body(new PieceSource([]), 5), line: "content-length: 5" },
  "empty Body": { make: () => new Body(streamOf(), 0), line: "content-length: 0" },
  "BodyIter": { make: () => new BodyIter([encodeLatin1("hello")], 5), line: "content-length: 5" },
  "ChunkedBody": { make: () => new ChunkedBody(streamOf()), line: "transfer-encoding: chunked" },
  "ChunkedBodyIter": { make: () => new ChunkedBodyIter([]), line: "transfer-encoding: chunked" },
};

const WITH_BODY: readonly (typeof methods)[number][] = ["PUT", "POST", "PATCH"];

Deno.test("formatRequest and formatResponse announce 0 bytes for a null body, where a body may be", () => {
  for (const method of methods) {
    const line = WITH_BODY.includes(method) ? "content-length: 0\r\n" : "";
    const text = decodeLatin1(formatRequest(method, "/", {}, null));
    assertEquals(text, `${method} / HTTP/1.1\r\n${line}\r\n`);
  }
  for (const status of [200, 204, 205, 304, 404]) {
    const line = status === 204 || status === 304 ? "" : "content-length: 0\r\n";
    const text = decodeLatin1(formatResponse(status, "xx", {}, null));
    assertEquals(text, `HTTP/1.1 ${status} xx\r\n${line}\r\n`);
  }
});

Deno.test("parseResponse drops what a 204 announces, and keeps what a 304 or a response to HEAD announces", () => {
  const rows = [["GET", 204, false], ["HEAD", 204, false], ["GET", 304, true], [
    "HEAD",
    200,
    true,
  ]] as const;
  for (const [method, status, isKept] of rows) {
    for (const line of ["content-length: 5", "transfer-encoding: chunked"]) {
      const { headers } = parseResponse(
        method,
        encodeLatin1(`HTTP/1.1 ${status} xx\r\n${line}\r\na: b`),
      );
      const names = isKept ? ["a", line.split(":")[0]] : ["a"];
      assertEquals(Object.keys(headers).sort(), names.sort(), `${method} ${status} ${line}`);
    }
  }
});

Deno.test("formatRequest and formatResponse set the header that describes the body, or require it to agree", async (t) => {
  const makeLengthHeaders = (n: number): HeadersToSend => ({ "content-length": n });
  await testEachRow(t, Object.entries(bodyKinds), (_kind, { make, line }) => {
    const isChunked = line === "transfer-encoding: chunked";
    const framingHeaders = isChunked ? chunked : makeLengthHeaders(Number(line.slice(16)));
    for (const givenHeaders of [{}, framingHeaders]) {
      for (const method of WITH_BODY) {
        const headers = Object.freeze({ a: "1", ...givenHeaders, z: "2" });
        const names = Object.keys(headers);
        const message = `${method} / HTTP/1.1\r\na: 1\r\n${line}\r\nz: 2\r\n\r\n`;
        assertEquals(decodeLatin1(formatRequest(method, "/", headers, make())), message);
        assertEquals(Object.keys(headers), names);
      }
      const responsePreamble = `HTTP/1.1 200 OK\r\n${line}\r\n\r\n`;
      assertEquals(decodeLatin1(formatResponse(200, "OK", givenHeaders, make())), responsePreamble);
    }
    const wrongHeaders = isChunked
      ? [makeLengthHeaders(0), makeLengthHeaders(5)]
      : [chunked, makeLengthHeaders(4), makeLengthHeaders(6), { ...framingHeaders, ...chunked }];
    for (const headers of wrongHeaders) {
      const label = Deno.inspect(headers);
      assertRangeError(() => formatRequest("PUT", "/", headers, make()), label);
      assertRangeError(() => formatResponse(200, "OK", headers, make()), label);
    }
    const range = { range: new Range(0, 1) };
    const format = () => formatRequest("PUT", "/", range, make());
    if (line === "content-length: 0") format();
    else assertRangeError(format, "range beside a body");
  });
});

Deno.test("formatRequest and formatResponse refuse a framing header with a null body, but for 0 bytes and to 304", () => {
  for (const headers of [{ "content-length": 0 }, { "content-length": 5 }, chunked]) {
    const label = Deno.inspect(headers);
    const isEmpty = "content-length" in headers && headers["content-length"] === 0;
    for (const method of methods) {
      const format = () => formatRequest(method, "/", headers, null);
      if (isEmpty && WITH_BODY.includes(method)) {
        assertEquals(format(), formatRequest(method, "/", {}, null));
      } else assertRangeError(format, `${method} ${label}`);
    }
    for (const status of [200, 201, 204, 404, 500]) {
      const format = () => formatResponse(status, "xx", headers, null);
      if (isEmpty && status !== 204) assertEquals(format(), formatResponse(status, "xx", {}, null));
      else assertRangeError(format, `${status} ${label}`);
    }
    const line = Object.entries(headers)[0]!.join(": ");
    const text = decodeLatin1(formatResponse(304, "Not Modified", headers, null));
    assertEquals(text, `HTTP/1.1 304 Not Modified\r\n${line}\r\n\r\n`);
  }
  for (const headers of [{ "content-length": 5, ...chunked }, { "content-length": -1 }]) {
    const format = () => formatResponse(304, "Not Modified", headers, null);
    assertRangeError(format, Deno.inspect(headers));
  }
});

// Header lines.

/** Formats headers as lines that are joined by CR LF. */
function formatBlock(headers: HeadersToSend): string {
  return decodeLatin1(formatHeaders(headers));
}

Deno.test("each message has its own object of headers, even after a refused message", () => {
  const blocks: HeadersToSend[] = [];
  for (let count = 0; count < 300; count++) {
    assertProtocolError(
      () => parseHeaders(encodeLatin1("a: secret\r\nb")),
      ["BAD_HEADER_LINE"],
      "b",
    );
    const headers: HeadersToSend = parseHeaders(encodeLatin1(`n: ${count}`));
    headers[`own-${count}`] = "changed";
    blocks.push(headers);
  }
  assertEquals(new Set(blocks).size, 300);
  for (const [count, headers] of blocks.entries()) {
    assertStrictEquals(Object.getPrototypeOf(headers), null);
    assertEquals(Object.entries(headers), [["n", `${count}`], [`own-${count}`, "changed"]]);
  }
});

Deno.test("parseHeaders and formatHeaders allow names of 1 to 256 bytes", () => {
  for (const length of [1, 256]) {
    const name = "n".repeat(length);
    assertEquals(flatten(parseHeaders(encodeLatin1(`${name}: v`))), { [name]: "v" });
    assertEquals(formatBlock({ [name]: "v" }), `${name}: v`);
  }
  assertRangeError(() => formatHeaders({ ["n".repeat(257)]: "v" }), "257 bytes");
});

Deno.test("parseHeaders and formatHeaders allow 32764 bytes", () => {
  const makeBlock = (size: number) => `a: ${"v".repeat(size - 3)}`;
  for (const size of [32764]) {
    assert(parseHeaders(encodeLatin1(makeBlock(size))).a === "v".repeat(size - 3), `${size}`);
    assert(formatBlock({ a: "v".repeat(size - 3) }) === makeBlock(size), `${size}`);
  }
  for (const size of [32765, 40000]) {
    const parse = () => parseHeaders(encodeLatin1(makeBlock(size)));
    assertProtocolError(parse, ["PREAMBLE_TOO_LARGE"], `${size}`);
    assertRangeError(() => formatHeaders({ a: "v".repeat(size - 3) }), `${size}`);
  }
});

Deno.test("parseHeaders and formatHeaders allow as many lines as docs/base.md says", async () => {
  const maxLines = await readStatedNumber("docs/base.md", /header lines of a message[^|]+\| (\d+)/);
  assertEquals(maxLines, limits.headerLines);
  const names = Array.from({ length: maxLines }, (_, i) => i.toString(36).padStart(3, "0"));
  const headers = Object.fromEntries(names.map((name) => [`n${name}`, "v"]));
  const block = names.toSorted().map((name) => `n${name}: v`).join("\r\n");
  assert(formatBlock(headers) === block);
  assertEquals(Object.keys(parseHeaders(encodeLatin1(block))).length, names.length);
  const longerBlock = encodeLatin1(`${block}\r\na: b`);
  assertProtocolError(() => parseHeaders(longerBlock), ["PREAMBLE_TOO_LARGE"], "129 lines");
  assertRangeError(() => formatBlock({ ...headers, a: "b" }), "at most 128 lines; got 129 lines");
  // A response leaves a line for the `connection: close` that a server may add.
  const lists = { "set-cookie": ["a=b"], a: new Array(maxLines - 2).fill("b") };
  assertEquals(formatResponse(200, "OK", lists).length > 0, true);
  lists["set-cookie"].push("c=d");
  assertRangeError(() => formatResponse(200, "OK", lists), "at most 127 lines; got 128 lines");
});

Deno.test("parseHeaders returns the same for names in any case, whether or not they are cached", () => {
  const names = Array.from({ length: 700 }, (_, i) => `n-${i.toString(36)}`);
  const cases = [(name: string) => name, (name: string) => name.toUpperCase()];
  for (const inCase of [...cases, ...cases]) {
    for (const name of names) {
      assertEquals(Object.keys(parseHeaders(encodeLatin1(`${inCase(name)}: v`))), [name]);
    }
  }
});

Deno.test("formatHeaders sorts lines by name in byte order", async (t) => {
  const rows: string[][] = [
    ["a", "a-b", "a0", "ab", "b"],
    ["content-length", "content-length2", "content-type", "cookie"],
    Array.from({ length: 60 }, (_, i) => `h${(i * 37) % 60}`).sort(),
  ];
  for (const names of rows) {
    await t.step(names.join(" ").slice(0, 60), () => {
      const expected = names.map((name) => `${name}: ${name === "content-length" ? 1 : "v"}`);
      for (const order of [names, names.toReversed(), names.toSorted(() => 0)]) {
        const headers: HeadersToSend = Object.fromEntries(
          order.map((name) => [name, name === "content-length" ? 1 : "v"]),
        );
        assertEquals(formatBlock(headers).split("\r\n"), expected);
      }
    });
  }
});

Deno.test("formatHeaders writes a number and a range as parseHeaders reads it", () => {
  const lines: [line: string, headers: HeadersToSend][] = [
    ["content-length: 5", { "content-length": 5 }],
    ["range: bytes=2-4", { range: new Range(2, 5) }],
    ["range: bytes=-3", { range: new SuffixRange(3) }],
    ["content-range: bytes 2-4/10", { "content-range": new ContentRange(2, 5, 10) }],
    ["content-range: bytes 2-4/*", { "content-range": new ContentRange(2, 5, null) }],
    ["content-range: bytes */10", { "content-range": new UnsatisfiedRange(10) }],
  ];
  for (const [line, headers] of lines) {
    assertEquals(formatBlock(headers), line);
    if (!line.startsWith("content-range")) continue;
    for (const status of [200, 206, 416]) {
      const text = decodeLatin1(formatResponse(status, "xx", headers));
      assertEquals(text, `HTTP/1.1 ${status} xx\r\n${line}\r\n\r\n`);
    }
  }
});

Deno.test("formatHeaders never writes properties of Object.prototype, also if other code has added some", () => {
  const evil = { value: "1", enumerable: true, configurable: true };
  Object.defineProperty(Object.prototype, "evil", evil);
  try {
    assertEquals(formatBlock({ a: "b" }), "a: b");
  } finally {
    Reflect.deleteProperty(Object.prototype, "evil");
  }
});

Deno.test("formatHeaders writes every value that parseHeaders returns", async (t) => {
  for (const { text, headers } of acceptedBlocks) {
    await t.step(formatLabel(text), () => {
      const parsed = parseHeaders(encodeLatin1(text));
      assertEquals(flatten(parseHeaders(formatHeaders(parsed))), headers);
    });
  }
});

Deno.test("formatHeaders writes a line for each item of set-cookie, and lists of no other header", () => {
  assertEquals(formatBlock({ "set-cookie": "a=b" }), "set-cookie: a=b");
  assertEquals(
    formatBlock({ a: "1", "set-cookie": ["c=d, e", "", "a=b"], z: "2" }),
    "a: 1\r\nset-cookie: c=d, e\r\nset-cookie: \r\nset-cookie: a=b\r\nz: 2",
  );
  assertEquals(formatBlock({ a: "1", "set-cookie": [] }), "a: 1");
  for (const cookies of [["a=b", " c"], ["a\r\nb: c"], ["a\0"]]) {
    assertRangeError(() => formatHeaders({ "set-cookie": cookies }), formatLabel(cookies.join()));
  }
  for (const cookies of [[5], [null], [["a"]], ["a", undefined], new Array(1), {}]) {
    assertTypeError(
      () => callWith(formatHeaders, { "set-cookie": cookies }),
      Deno.inspect(cookies),
    );
  }
  assertTypeError(() => callWith(formatHeaders, { cookie: ["a", "b"] }), "cookie");
});

Deno.test("repeated lines of a request are one line of a response with the same headers", () => {
  const headers: HeadersToSend = parseHeaders(encodeLatin1("a: b\r\na: c"));
  const text = decodeLatin1(formatResponse(200, "OK", headers));
  assertEquals(text, "HTTP/1.1 200 OK\r\na: b, c\r\n\r\n");
});

Deno.test("a received set-cookie is a list of its own", () => {
  const bytes = encodeLatin1("set-cookie: a\r\nset-cookie: b");
  const cookies = parseHeaders(bytes)["set-cookie"];
  assertEquals(cookies, ["a", "b"]);
  assert(parseHeaders(bytes)["set-cookie"] !== cookies);
});

Deno.test("formatHeaders refuses a value that begins or ends with a space or a tab, and names it", () => {
  for (const value of [" ", " admin", "admin "]) {
    const { message } = assertThrows(() => formatHeaders({ a: value }), RangeError);
    assertEquals(
      message,
      `headers["a"]: must not begin or end with a space or a tab; got "${value}"`,
    );
    assertRangeError(() => formatHeaders({ cookie: value }), value);
  }
  for (const value of ["a\t", "\ta"]) {
    assertRangeError(() => formatHeaders({ a: value }), formatLabel(value));
  }
  const { message } = assertThrows(() => formatHeaders({ cookie: "secret " }), RangeError);
  assert(!message.includes("secret"), message);
});

Deno.test("formatHeaders advises lower case if a name is valid in lower case", () => {
  const rows: [name: string, advice: string][] = [
    ["Content-Type", '; write it in lower case: "content-type"'],
    ["a b", ""],
    ["A B", ""],
    ["n".repeat(257), ""],
  ];
  for (const [name, advice] of rows) {
    const { message } = assertThrows(() => formatHeaders({ [name]: "v" }), RangeError);
    assertEquals(message.split("` | ~")[1], advice);
  }
});

Deno.test("formatHeaders refuses wrong values of the headers that have a typed value", () => {
  for (const length of [-1, 1.5, NaN, Infinity, 2 ** 53, 1e300]) {
    assertRangeError(() => formatHeaders({ "content-length": length }), `${length}`);
  }
  for (const encoding of ["gzip", "Chunked", "", "chunked ", "gzip, chunked", "identity"]) {
    assertRangeError(() => formatHeaders({ "transfer-encoding": encoding }), encoding);
  }
});

Deno.test("formatHeaders refuses values of the wrong type", () => {
  const range = new Range(0, 1);
  const contentRange = new ContentRange(0, 1, 2);
  const invalidValues = [null, true, 1n, [], ["a"], new String("a"), { toString: () => "a" }];
  const rows: [name: string, values: unknown[]][] = [
    ["a", [5, range, contentRange, ...invalidValues]],
    ["content-length", [range, "5", new Number(5), { valueOf: () => 5 }, ...invalidValues]],
    ["transfer-encoding", [5, range, ...invalidValues]],
    ["range", ["bytes=0-1", 5, contentRange, ...invalidValues]],
    ["content-range", ["bytes 0-1/2", 5, range, ...invalidValues]],
  ];
  for (const [name, values] of rows) {
    for (const value of values) {
      const start = `headers[${JSON.stringify(name)}]: must be a`;
      assertThrows(() => callWith(formatHeaders, { [name]: value }), TypeError, start);
    }
  }
});

Deno.test("formatHeaders skips headers that are undefined, with any name", () => {
  const headers = {
    a: "b",
    c: undefined,
    "content-length": undefined,
    "transfer-encoding": undefined,
    range: undefined,
    "Not A Name": undefined,
  };
  assertEquals(new TextDecoder().decode(formatHeaders(headers)), "a: b");
  assertEquals(formatHeaders({ a: undefined }).length, 0);
});

Deno.test("formatHeaders writes each name with its own value, also if the object changes while it is read", () => {
  const removing = {
    get a() {
      Reflect.deleteProperty(this, "b");
      return "of a";
    },
    b: "of b",
    c: "of c",
  };
  assertEquals(decodeLatin1(formatHeaders(removing)), "a: of a\r\nc: of c");
  const names = ["a", "b", "c"];
  const proxy = new Proxy<Record<string, string>>({}, {
    ownKeys: () => names.reverse(),
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    get: (_target, name) => `of ${String(name)}`,
  });
  for (let i = 0; i < 3; i++) {
    assertEquals(decodeLatin1(formatHeaders(proxy)), "a: of a\r\nb: of b\r\nc: of c");
  }
});

// Ranges.

const MAX = limits.number;
const NOT_INTEGERS = [-1, 0.5, NaN, Infinity, 2 ** 53];
const NOT_NUMBERS: unknown[] = ["1", null, undefined, { valueOf: () => 1 }];

Deno.test("Range keeps start and stop and converts to the value of its header", () => {
  for (const [text, start, stop] of acceptedRanges) {
    const range = new Range(start, stop);
    assertEquals([range.start, range.stop, `${range}`], [start, stop, text]);
    assertInstanceOf(parseRange(text), Range);
  }
});

Deno.test("ContentRange keeps start, stop and total and converts to the value of its header", () => {
  for (const [text, start, stop, total] of acceptedContentRanges) {
    const contentRange = new ContentRange(start, stop, total);
    assertEquals({ ...contentRange, text: `${contentRange}` }, { start, stop, total, text });
    assertInstanceOf(parseContentRange(text), ContentRange);
  }
});

Deno.test("Range and SuffixRange refuse invalid values", () => {
  const rows = [[0, 0], [2, 1], [-1, 1], [MAX, MAX]] as const;
  for (const [start, stop] of rows) {
    assertRangeError(() => new Range(start, stop), `${start}, ${stop}`);
  }
  for (const value of NOT_INTEGERS) {
    assertRangeError(() => new Range(value, Infinity), `start ${value}`);
    // The stop of the rest is infinite.
    if (value !== Infinity) assertRangeError(() => new Range(0, value), `stop ${value}`);
    assertRangeError(() => new SuffixRange(value), `length ${value}`);
  }
  assertRangeError(() => new SuffixRange(-1), "length -1");
});

Deno.test("ContentRange refuses values that are not a part of a whole", () => {
  const empty = [[0, 0, 0], [0, 0, 1], [1, 1, 1], [2, 1, 3]] as const;
  const rows = [...empty, [0, 2, 1], [0, 1, 0], [5, 6, 5]] as const;
  for (const [start, stop, total] of rows) {
    assertRangeError(() => new ContentRange(start, stop, total), `${start}, ${stop}, ${total}`);
  }
  for (const value of NOT_INTEGERS) {
    assertRangeError(() => new ContentRange(value, MAX, MAX), `start ${value}`);
    assertRangeError(() => new ContentRange(0, value, MAX), `stop ${value}`);
    assertRangeError(() => new ContentRange(0, 1, value), `total ${value}`);
  }
});

Deno.test("Range, SuffixRange and ContentRange refuse values that are not numbers", () => {
  for (const value of NOT_NUMBERS) {
    const label = Deno.inspect(value);
    assertTypeError(() => constructWith(Range, value, 5), `Range start ${label}`);
    assertTypeError(() => constructWith(Range, 0, value), `Range stop ${label}`);
    assertTypeError(() => constructWith(SuffixRange, value), `SuffixRange length ${label}`);
    assertTypeError(() => constructWith(ContentRange, value, 5, 9), `ContentRange start ${label}`);
    assertTypeError(() => constructWith(ContentRange, 0, value, 9), `ContentRange stop ${label}`);
    // The total may be unknown.
    if (value === null) continue;
    assertTypeError(() => constructWith(ContentRange, 0, 5, value), `ContentRange total ${label}`);
  }
});

Deno.test("Range.contentLength and contentRange limit the range to the end of the whole", async (t) => {
  const rows = [
    { start: 2, stop: 5, total: 10, length: 3, text: "bytes 2-4/10" },
    { start: 2, stop: 5, total: 5, length: 3, text: "bytes 2-4/5" },
    { start: 2, stop: 5, total: 4, length: 2, text: "bytes 2-3/4" },
    { start: 0, stop: MAX, total: MAX, length: MAX, text: `bytes 0-${MAX - 1}/${MAX}` },
    { start: 2, stop: Infinity, total: 10, length: 8, text: "bytes 2-9/10" },
    {
      start: MAX - 1,
      stop: Infinity,
      total: MAX,
      length: 1,
      text: `bytes ${MAX - 1}-${MAX - 1}/${MAX}`,
    },
  ];
  for (const { start, stop, total, length, text } of rows) {
    await t.step(`${start}-${stop} of ${total}`, () => {
      const range = new Range(start, stop);
      assertEquals(range.contentLength(total), length);
      assertInstanceOf(range.contentRange(total), ContentRange);
      assertEquals(`${range.contentRange(total)}`, text);
    });
  }
});

Deno.test("SuffixRange.contentLength and contentRange cover the end of the whole, and refuse an empty whole or suffix", () => {
  const range = new SuffixRange(3);
  for (const [total, length, text] of [[10, 3, "bytes 7-9/10"], [2, 2, "bytes 0-1/2"]] as const) {
    assertEquals(range.contentLength(total), length);
    assertEquals(`${range.contentRange(total)}`, text);
  }
  for (const [length, total] of [[3, 0], [0, 3], [0, 0]] as const) {
    const range = new SuffixRange(length);
    assertRangeError(() => range.contentLength(total), `${length} of ${total}`);
    assertRangeError(() => range.contentRange(total), `${length} of ${total}`);
  }
  for (const total of NOT_INTEGERS) {
    assertRangeError(() => range.contentLength(total), `3 of ${total}`);
    assertRangeError(() => range.contentRange(total), `3 of ${total}`);
  }
  for (const total of NOT_NUMBERS) {
    assertTypeError(() => callWith(range.contentLength.bind(range), total), Deno.inspect(total));
  }
});

Deno.test("Range.contentLength and contentRange refuse a whole that ends before the start", () => {
  const range = new Range(2, 5);
  for (const total of [2, 1, 0, ...NOT_INTEGERS]) {
    for (const badRange of [range, new Range(2, Infinity), new Range(MAX, Infinity)]) {
      assertRangeError(() => badRange.contentLength(total), `contentLength(${total})`);
      assertRangeError(() => badRange.contentRange(total), `contentRange(${total})`);
    }
  }
  for (const total of NOT_NUMBERS) {
    const label = Deno.inspect(total);
    assertTypeError(() => callWith(range.contentLength.bind(range), total), label);
    assertTypeError(() => callWith(range.contentRange.bind(range), total), label);
  }
});
