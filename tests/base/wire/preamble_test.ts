/** Preambles, parsed and formatted. */
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
} from "@degu/degu/base";
import { formatRequest, formatResponse, parseRequest, parseResponse } from "@degu/degu/misc";
import {
  assertProtocolError,
  assertRangeError,
  callWith,
  catchThrown,
  flatten,
  formatLabel,
  parseOrNull,
} from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  checkRequestPrefix,
  checkResponsePrefix,
  formatRequestPreamble,
} from "@degu/internal/base/wire/preamble.ts";
import { PieceSource, streamOf } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1, limits, methods } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { acceptedStatusLines } from "./preamble.rows.ts";
import { acceptedUris, refusedAbsoluteTargets, refusedUris } from "./uri.rows.ts";

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
  for (const headers of [{ ...range, ...lengthOfFive }, { ...zeroLength, ...chunked }]) {
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

Deno.test("formatRequest refuses a method or URI that could not be read back", () => {
  for (const { text } of [...refusedUris, ...refusedAbsoluteTargets]) {
    assertRangeError(() => formatRequest("GET", text, {}), formatLabel(text));
  }
  for (const [target] of acceptedUris) formatRequest("GET", target, {});
  for (const target of ["/\u0141", "/\u010d\u010a", "/?\u212a", "/ HTTP/1.1\r\nevil: 1\r\n"]) {
    assertRangeError(() => formatRequest("GET", target, {}), formatLabel(target));
  }
  for (const method of ["", "get", "PATCH", "GET\r\n", "constructor"]) {
    assertRangeError(() => callWith(formatRequest, method, "/", {}), formatLabel(method));
  }
});

Deno.test("formatResponse refuses a status or reason that could not be read back", () => {
  for (const status of [99, 600, 200.5, NaN]) {
    assertRangeError(() => formatResponse(status, "OK", {}), `${status}`);
  }
  for (const reason of ["O\0", "OK\r\nevil: 1", "OK\n", "é€", "\u0141\u0141"]) {
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
  "Body": { make: () => new Body(new PieceSource([]), 5), line: "content-length: 5" },
  "empty Body": { make: () => new Body(streamOf(), 0), line: "content-length: 0" },
  "BodyIter": { make: () => new BodyIter([encodeLatin1("hello")], 5), line: "content-length: 5" },
  "ChunkedBody": { make: () => new ChunkedBody(streamOf()), line: "transfer-encoding: chunked" },
  "ChunkedBodyIter": { make: () => new ChunkedBodyIter([]), line: "transfer-encoding: chunked" },
};

Deno.test("formatRequest and formatResponse announce 0 bytes for a null body, where a body may be", () => {
  for (const method of methods) {
    const line = method === "PUT" || method === "POST" ? "content-length: 0\r\n" : "";
    const text = decodeLatin1(formatRequest(method, "/", {}, null));
    assertEquals(text, `${method} / HTTP/1.1\r\n${line}\r\n`);
  }
  for (const status of [200, 204, 205, 304, 404]) {
    const line = status === 204 || status === 304 ? "" : "content-length: 0\r\n";
    const text = decodeLatin1(formatResponse(status, "xx", {}, null));
    assertEquals(text, `HTTP/1.1 ${status} xx\r\n${line}\r\n`);
  }
});

Deno.test("formatRequest and formatResponse set the header that describes the body, or require it to agree", async (t) => {
  const makeLengthHeaders = (n: number): HeadersToSend => ({ "content-length": n });
  await testEachRow(t, Object.entries(bodyKinds), (_kind, { make, line }) => {
    const isChunked = line === "transfer-encoding: chunked";
    const framingHeaders = isChunked ? chunked : makeLengthHeaders(Number(line.slice(16)));
    for (const givenHeaders of [{}, framingHeaders]) {
      for (const method of ["PUT", "POST"] as const) {
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
      if (isEmpty && (method === "PUT" || method === "POST")) {
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
