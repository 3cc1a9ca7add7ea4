/** What preambles are sent, and how they describe their bodies. */
import fc from "fast-check";
import { acceptedUris, refusedUris } from "./uri.rows.ts";
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  ContentRange,
  type HeaderDict,
  Range,
} from "@degu/degu/base";
import { formatRequest, formatResponse, parseRequest, parseResponse } from "@degu/degu/misc";
import {
  methodAndHeaders,
  reason,
  responseHeaders,
  status,
  uri,
} from "@degu/testing/arbitraries.ts";
import {
  assertCallerError,
  assertRangeError,
  assertTypeError,
  callWith,
  flatten,
  shown,
} from "@degu/testing/expectations.ts";
import { PieceSource, streamOf, TrackedItems } from "@degu/testing/streams.ts";
import {
  fromLatin1,
  latin1,
  limits,
  methods,
  mutations,
  referenceStatusLine,
  referenceUri,
} from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";

Deno.test("formatRequest writes the line, the sorted headers and the empty line", () => {
  assertEquals(fromLatin1(formatRequest("GET", "/", {})), "GET / HTTP/1.1\r\n\r\n");
  const headers = { b: "2", "a-b": "3", a: "1", range: new Range(0, 2) };
  assertEquals(
    fromLatin1(formatRequest("HEAD", "/a/?q=1", headers, null)),
    "HEAD /a/?q=1 HTTP/1.1\r\na: 1\r\na-b: 3\r\nb: 2\r\nrange: bytes=0-1\r\n\r\n",
  );
  assertEquals(Object.keys(headers), ["b", "a-b", "a", "range"]);
});

Deno.test("formatResponse writes the line, the sorted headers and the empty line", () => {
  assertEquals(fromLatin1(formatResponse(200, "OK", {})), "HTTP/1.1 200 OK\r\n\r\n");
  const headers = { z: "1", "content-range": new ContentRange(0, 2, 4), "content-length": 2 };
  assertEquals(
    fromLatin1(formatResponse(206, "Partial Content", headers)),
    "HTTP/1.1 206 Partial Content\r\ncontent-length: 2\r\ncontent-range: bytes 0-1/4\r\nz: 1\r\n\r\n",
  );
});

Deno.test("formatRequest refuses headers that its method does not allow", () => {
  for (const method of ["GET", "HEAD", "DELETE"] as const) {
    const rows = [{ "content-length": 0 }, { "content-length": 5 }, {
      "transfer-encoding": "chunked",
    }];
    for (const headers of rows) {
      assertRangeError(
        () => formatRequest(method, "/", headers),
        `${method} ${Deno.inspect(headers)}`,
      );
    }
  }
  for (const method of methods) {
    const headers = { "content-range": new ContentRange(0, 1, 2) };
    assertRangeError(() => formatRequest(method, "/", headers), `${method} content-range`);
  }
  for (const other of [{ "content-length": 0 }, { "transfer-encoding": "chunked" }]) {
    const headers = { range: new Range(0, 1), ...other };
    assertRangeError(() => formatRequest("PUT", "/", headers), Deno.inspect(headers));
  }
  const range = { range: new Range(0, 1) };
  assertRangeError(() => formatResponse(200, "OK", range), "range in a response");
  const both = { "content-length": 0, "transfer-encoding": "chunked" };
  assertRangeError(() => formatRequest("PUT", "/", both), "both in a request");
  assertRangeError(() => formatResponse(200, "OK", both), "both in a response");
});

Deno.test("formatRequest and parseRequest undo each other", () => {
  fc.assert(fc.property(methodAndHeaders, uri, ([method, headers], target) => {
    const bytes = formatRequest(method, target, headers);
    const parsed = parseRequest(bytes.slice(0, -4));
    assertEquals([parsed.method, parsed.uri, flatten(parsed.headers)], [
      method,
      target,
      flatten(headers),
    ]);
    assertEquals(formatRequest(parsed.method, parsed.uri, parsed.headers), bytes);
  }));
});

Deno.test("formatResponse and parseResponse undo each other", () => {
  fc.assert(fc.property(status, reason, responseHeaders, (code, phrase, headers) => {
    const bytes = formatResponse(code, phrase, headers);
    const parsed = parseResponse("GET", bytes.slice(0, -4));
    assertEquals([parsed.status, parsed.reason, flatten(parsed.headers)], [
      code,
      phrase,
      flatten(headers),
    ]);
    assertEquals(formatResponse(parsed.status, parsed.reason, parsed.headers), bytes);
  }));
});

Deno.test("formatRequest refuses a method or URI that could not be read back", () => {
  for (const { text } of refusedUris) {
    assertRangeError(() => formatRequest("GET", text, {}), shown(text));
  }
  for (const [target] of acceptedUris) formatRequest("GET", target, {});
  for (const target of ["/\u0141", "/\u010d\u010a", "/?\u212a", "/ HTTP/1.1\r\nevil: 1\r\n"]) {
    assertRangeError(() => formatRequest("GET", target, {}), shown(target));
  }
  for (
    const method of ["", "get", "PATCH", "GET ", " GET", "GET\r\n", "constructor", "__proto__"]
  ) {
    assertRangeError(() => callWith(formatRequest, method, "/", {}), shown(method));
  }
});

Deno.test("formatRequest agrees with the grammar for every byte at every position of a URI", () => {
  for (const target of mutations("/a.?b=1")) {
    if (referenceUri(target) === null) {
      assertRangeError(() => formatRequest("GET", target, {}), shown(target));
    } else {
      assertEquals(fromLatin1(formatRequest("GET", target, {})), `GET ${target} HTTP/1.1\r\n\r\n`);
    }
  }
});

Deno.test("formatResponse refuses a status or reason that could not be read back", () => {
  for (const status of [0, 99, 600, 1000, -200, 200.5, NaN, Infinity]) {
    assertRangeError(() => formatResponse(status, "OK", {}), `${status}`);
  }
  for (
    const reason of ["", "O", " ", "O.K", "Don't", "OK\r\nevil: 1", "OK\n", "é€", "\u0141\u0141"]
  ) {
    assertRangeError(() => formatResponse(200, reason, {}), shown(reason));
  }
  for (const reason of mutations("Not-OK 1")) {
    if (referenceStatusLine(`HTTP/1.1 200 ${reason}`) !== null) {
      assertEquals(fromLatin1(formatResponse(200, reason, {})), `HTTP/1.1 200 ${reason}\r\n\r\n`);
    } else {
      assertRangeError(() => formatResponse(200, reason, {}), shown(reason));
    }
  }
});

Deno.test("formatRequest and formatResponse refuse arguments of the wrong type", () => {
  for (const value of [null, undefined, 5, ["GET"], {}, new String("GET"), Symbol("GET")]) {
    const what = Deno.inspect(value);
    assertTypeError(() => callWith(formatRequest, value, "/", {}), `method ${what}`);
    assertTypeError(() => callWith(formatRequest, "GET", value, {}), `uri ${what}`);
    assertTypeError(() => callWith(formatResponse, 200, value, {}), `reason ${what}`);
  }
  for (const value of ["200", null, undefined, 200n, [200], {}, new Number(200)]) {
    assertTypeError(() => callWith(formatResponse, value, "OK", {}), Deno.inspect(value));
  }
  for (const value of [null, "a: b", 5, [], new Headers(), new Map()]) {
    const what = `headers ${Deno.inspect(value)}`;
    assertTypeError(() => callWith(formatRequest, "GET", "/", value), what);
    assertTypeError(() => callWith(formatRequest, "GET", "/", value, null), what);
    assertTypeError(() => callWith(formatResponse, 200, "OK", value), what);
  }
});

Deno.test("formatRequest and formatResponse allow 32768 bytes", () => {
  const room = 32768 - "GET / HTTP/1.1\r\na: \r\n\r\n".length;
  assertEquals(formatRequest("GET", "/", { a: "v".repeat(room) }).length, 32768);
  assertRangeError(() => formatRequest("GET", "/", { a: "v".repeat(room + 1) }), "request");
  const uriRoom = 32768 - "GET / HTTP/1.1\r\n\r\n".length;
  assertEquals(formatRequest("GET", `/${"a".repeat(uriRoom)}`, {}).length, 32768);
  assertRangeError(() => formatRequest("GET", `/${"a".repeat(uriRoom + 1)}`, {}), "URI");
  const put = 32768 - "PUT / HTTP/1.1\r\na: \r\ncontent-length: 5\r\n\r\n".length;
  assertEquals(formatRequest("PUT", "/", { a: "v".repeat(put) }, latin1("hello")).length, 32768);
  const tooLong = { a: "v".repeat(put + 1) };
  assertRangeError(() => formatRequest("PUT", "/", tooLong, latin1("hello")), "with a body");
  const answer = 32768 - "HTTP/1.1 200 OK\r\na: \r\n\r\n".length;
  assertEquals(formatResponse(200, "OK", { a: "v".repeat(answer) }).length, 32768);
  assertRangeError(() => formatResponse(200, "OK", { a: "v".repeat(answer + 1) }), "response");
  assertRangeError(() => formatResponse(200, "R".repeat(32768), {}), "reason");
});

/** A body of each kind with the header that it sets. */
const bodyKinds: Record<string, { make: () => NonNullable<BodyOut>; line: string }> = {
  "Uint8Array": { make: () => latin1("hello"), line: "content-length: 5" },
  "empty Uint8Array": { make: () => new Uint8Array(0), line: "content-length: 0" },
  "Body": { make: () => new Body(new PieceSource([]), 5), line: "content-length: 5" },
  "empty Body": { make: () => new Body(streamOf(), 0), line: "content-length: 0" },
  "BodyIter": { make: () => new BodyIter([latin1("hello")], 5), line: "content-length: 5" },
  "ChunkedBody": {
    make: () => new ChunkedBody(new PieceSource([])),
    line: "transfer-encoding: chunked",
  },
  "ChunkedBodyIter": { make: () => new ChunkedBodyIter([]), line: "transfer-encoding: chunked" },
};

Deno.test("formatRequest and formatResponse set the header that describes the body", async (t) => {
  for (const [kind, { make, line }] of Object.entries(bodyKinds)) {
    await t.step(kind, () => {
      for (const method of ["PUT", "POST"] as const) {
        const headers = Object.freeze({ a: "1", z: "2" });
        assertEquals(
          fromLatin1(formatRequest(method, "/", headers, make())),
          `${method} / HTTP/1.1\r\na: 1\r\n${line}\r\nz: 2\r\n\r\n`,
        );
        assertEquals(Object.keys(headers), ["a", "z"]);
      }
      assertEquals(
        fromLatin1(formatResponse(200, "OK", {}, make())),
        `HTTP/1.1 200 OK\r\n${line}\r\n\r\n`,
      );
    });
  }
});

Deno.test("formatRequest and formatResponse add no header for a null body", () => {
  for (const method of methods) {
    assertEquals(fromLatin1(formatRequest(method, "/", {}, null)), `${method} / HTTP/1.1\r\n\r\n`);
  }
  for (const status of [200, 204, 304, 404]) {
    assertEquals(
      fromLatin1(formatResponse(status, "xx", {}, null)),
      `HTTP/1.1 ${status} xx\r\n\r\n`,
    );
  }
});

Deno.test("formatRequest and formatResponse require a body and its header to agree", async (t) => {
  const lengthHeaders = (n: number): HeaderDict => ({ "content-length": n });
  const chunked: HeaderDict = { "transfer-encoding": "chunked" };
  for (const [kind, { make, line }] of Object.entries(bodyKinds)) {
    await t.step(kind, () => {
      const isChunked = line === "transfer-encoding: chunked";
      const own = isChunked ? chunked : lengthHeaders(Number(line.slice(16)));
      const whole = `PUT / HTTP/1.1\r\n${line}\r\n\r\n`;
      assertEquals(fromLatin1(formatRequest("PUT", "/", own, make())), whole);
      const answer = `HTTP/1.1 200 OK\r\n${line}\r\n\r\n`;
      assertEquals(fromLatin1(formatResponse(200, "OK", own, make())), answer);
      const wrong = isChunked ? [lengthHeaders(0), lengthHeaders(5)] : [
        ...[chunked, lengthHeaders(4), lengthHeaders(6), { ...own, ...chunked }],
      ];
      for (const headers of wrong) {
        const what = Deno.inspect(headers);
        assertRangeError(() => formatRequest("PUT", "/", headers, make()), what);
        assertRangeError(() => formatResponse(200, "OK", headers, make()), what);
      }
      const range = { range: new Range(0, 1) };
      assertRangeError(() => formatRequest("PUT", "/", range, make()), "range beside a body");
    });
  }
});

Deno.test("formatRequest and formatResponse refuse a framing header with a null body", () => {
  const rows: HeaderDict[] = [{ "content-length": 0 }, { "content-length": 5 }, {
    "transfer-encoding": "chunked",
  }];
  for (const headers of rows) {
    const what = Deno.inspect(headers);
    for (const method of methods) {
      assertRangeError(() => formatRequest(method, "/", headers, null), `${method} ${what}`);
    }
    for (const status of [200, 201, 204, 404, 500]) {
      assertRangeError(() => formatResponse(status, "xx", headers, null), `${status} ${what}`);
    }
    const [[name, value] = []] = Object.entries(headers);
    assertEquals(
      fromLatin1(formatResponse(304, "Not Modified", headers, null)),
      `HTTP/1.1 304 Not Modified\r\n${name}: ${value}\r\n\r\n`,
    );
  }
  const both = { "content-length": 5, "transfer-encoding": "chunked" };
  assertRangeError(() => formatResponse(304, "Not Modified", both, null), "both in a 304");
  assertRangeError(() => formatResponse(304, "Not Modified", { "content-length": -1 }, null), "-1");
});

Deno.test("formatRequest and formatResponse send the headers as given if the body is omitted", () => {
  for (const headers of [{ "content-length": 0 }, { "content-length": 5 }]) {
    const line = `content-length: ${headers["content-length"]}`;
    assertEquals(
      fromLatin1(formatRequest("PUT", "/", headers)),
      `PUT / HTTP/1.1\r\n${line}\r\n\r\n`,
    );
    assertEquals(
      fromLatin1(formatResponse(200, "OK", headers)),
      `HTTP/1.1 200 OK\r\n${line}\r\n\r\n`,
    );
  }
});

Deno.test("formatRequest refuses a body that its method does not allow", () => {
  for (const method of ["GET", "HEAD", "DELETE"] as const) {
    for (const [kind, { make }] of Object.entries(bodyKinds)) {
      assertRangeError(() => formatRequest(method, "/", {}, make()), `${method} ${kind}`);
    }
  }
});

Deno.test("formatRequest and formatResponse refuse an invalid body", () => {
  const writeTo = () => Promise.resolve(0);
  const values = [
    ...["hello", 5, true, {}, [], [latin1("a")], new ArrayBuffer(4), new Uint16Array(4)],
    ...[new DataView(new ArrayBuffer(4)), new Blob(["a"]), streamOf(latin1("a")), () => {}],
    ...[{ contentLength: 5 }, { chunked: false, contentLength: 5 }, { chunked: true }, { writeTo }],
    ...[{ chunked: "yes", writeTo }, { chunked: false, contentLength: "5", writeTo }],
    ...[{ chunked: false, writeTo }, { chunked: false, contentLength: 5, writeTo: "no" }],
    ...[{ contentLength: 5, writeTo }],
  ];
  for (const value of values) {
    const what = Deno.inspect(value);
    assertTypeError(() => callWith(formatRequest, "PUT", "/", {}, value), what);
    assertTypeError(() => callWith(formatResponse, 200, "OK", {}, value), what);
  }
  for (const contentLength of [-1, 1.5, NaN, 2 ** 53]) {
    const body = { chunked: false, contentLength, writeTo };
    assertCallerError(() => callWith(formatRequest, "PUT", "/", {}, body), `${contentLength}`);
  }
});

Deno.test("formatRequest and formatResponse recognize bodies by their shape", () => {
  const writeTo = () => Promise.resolve(0);
  const rows = [
    [{ chunked: false, contentLength: 7, writeTo }, "content-length: 7"],
    [{ chunked: true, writeTo }, "transfer-encoding: chunked"],
  ] as const;
  for (const [body, line] of rows) {
    const request = callWith(formatRequest, "PUT", "/", {}, body);
    assert(request instanceof Uint8Array);
    assertEquals(fromLatin1(request), `PUT / HTTP/1.1\r\n${line}\r\n\r\n`);
    const response = callWith(formatResponse, 200, "OK", {}, body);
    assert(response instanceof Uint8Array);
    assertEquals(fromLatin1(response), `HTTP/1.1 200 OK\r\n${line}\r\n\r\n`);
  }
});

Deno.test("formatRequest and formatResponse leave the body untouched", async () => {
  const items = new TrackedItems([latin1("hello")]);
  const body = new BodyIter(items.async(), 5);
  formatRequest("PUT", "/", {}, body);
  formatResponse(200, "OK", {}, body);
  assertThrows(() => formatRequest("GET", "/", {}, body), RangeError);
  assertEquals(items.settled, false);
  assertEquals(await body.writeTo(new WritableStream<Uint8Array>()), 5);
});

Deno.test("formatRequest and formatResponse allow a Uint8Array of 16 MiB", () => {
  const whole = new Uint8Array(limits.collected + 1);
  const most = whole.subarray(1);
  assertEquals(
    fromLatin1(formatRequest("PUT", "/", {}, most)),
    "PUT / HTTP/1.1\r\ncontent-length: 16777216\r\n\r\n",
  );
  assertRangeError(() => formatRequest("PUT", "/", {}, whole), "request");
  assertRangeError(() => formatResponse(200, "OK", {}, whole), "response");
});
