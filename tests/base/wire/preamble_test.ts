import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { EmptyPreambleError, ProtocolError } from "@degu/degu/base";
import { parseRequest, parseResponse } from "@degu/degu/misc";
import {
  bodilessHeaders,
  damaged,
  methodAndHeaders,
  reason,
  status,
  uri,
} from "@degu/testing/arbitraries.ts";
import {
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  flatten,
  parsedOrNull,
  shown,
  thrownBy,
} from "@degu/testing/expectations.ts";
import {
  latin1,
  methods,
  mutations,
  referenceHeaders,
  referenceRequestLine,
  referenceStatusLine,
  referenceUri,
} from "@degu/testing/wire_grammar.ts";
import { acceptedBlocks, refusedBlocks } from "./headers.rows.ts";
import { acceptedStatusLines, refusedRequestLines, refusedStatusLines } from "./preamble.rows.ts";
import { acceptedUris, refusedUris } from "./uri.rows.ts";

/** What a request preamble says, in a shape that compares; null where it is refused. */
function request(text: string) {
  const parsed = parsedOrNull(() => parseRequest(latin1(text)), text);
  return parsed && { ...parsed, headers: flatten(parsed.headers) };
}

/** What a response preamble says, in a shape that compares; null where it is refused. */
function response(text: string) {
  const parsed = parsedOrNull(() => parseResponse("GET", latin1(text)), text);
  return parsed && { ...parsed, headers: flatten(parsed.headers) };
}

/** What the grammar says of a request preamble. */
function referenceRequest(text: string): ReturnType<typeof request> {
  const [line = "", ...rest] = text.split("\r\n");
  const start = referenceRequestLine(line);
  if (start === null) return null;
  const withBody = start.method === "PUT" || start.method === "POST";
  const rules = withBody ? "request with body" : "request without body";
  // A preamble that ends in CR LF has an empty last line, which no header block without lines has.
  const headers = rest.length === 1 && rest[0] === ""
    ? null
    : referenceHeaders(rest.join("\r\n"), rules);
  const parts = referenceUri(start.uri);
  const method = methods.find((name) => name === start.method);
  if (headers === null || parts === null || method === undefined) return null;
  return { method, uri: start.uri, headers, ...parts };
}

/** What the grammar says of a response preamble. */
function referenceResponse(text: string): ReturnType<typeof response> {
  const [line = "", ...rest] = text.split("\r\n");
  const start = referenceStatusLine(line);
  const headers = rest.length === 1 && rest[0] === ""
    ? null
    : referenceHeaders(rest.join("\r\n"), "response");
  return start && headers && { ...start, headers };
}

Deno.test("parseRequest reads every method with every form of URI", async (t) => {
  for (const [uri, path, query] of acceptedUris) {
    await t.step(shown(uri), () => {
      for (const method of methods) {
        const expected = { method, uri, headers: {}, path: [...path], query };
        assertEquals(request(`${method} ${uri} HTTP/1.1`), expected);
      }
    });
  }
});

Deno.test("parseRequest refuses an invalid request line", async (t) => {
  const uris = refusedUris.filter(({ text }) => text !== "")
    .map((row) => ({ ...row, text: `GET ${row.text} HTTP/1.1` }));
  for (const { rule, rfc, text: line, codes } of [...refusedRequestLines, ...uris]) {
    await t.step(`${rule} (${rfc}): ${shown(line)}`, () => {
      // A CR LF in the row makes its rest a header line.
      const all = line.includes("\r\n") ? [...codes, "BAD_HEADER_LINE", "BAD_REQUEST_LINE"] : codes;
      assertProtocolError(() => parseRequest(latin1(line)), all, shown(line));
      assertProtocolError(() => parseRequest(latin1(`${line}\r\na: b`)), all, "with a header");
    });
  }
});

Deno.test("parseResponse reads status lines", async (t) => {
  for (const [line, status, reason] of acceptedStatusLines) {
    await t.step(shown(line), () => {
      for (const method of methods) {
        const parsed = parseResponse(method, latin1(line));
        assertEquals({ ...parsed, headers: { ...parsed.headers } }, {
          status,
          reason,
          headers: {},
        });
      }
    });
  }
});

Deno.test("parseResponse accepts every status from 100 to 599 and no other", () => {
  for (let status = 0; status < 1000; status++) {
    const line = `HTTP/1.1 ${String(status).padStart(3, "0")} OK`;
    if (status >= 100 && status < 600) assertEquals(response(line)?.status, status);
    else assertProtocolError(() => parseResponse("GET", latin1(line)), ["BAD_STATUS"], line);
  }
});

Deno.test("parseResponse refuses an invalid status line", async (t) => {
  for (const { rule, rfc, text: line, codes } of refusedStatusLines) {
    await t.step(`${rule} (${rfc}): ${shown(line)}`, () => {
      assertProtocolError(() => parseResponse("GET", latin1(line)), codes, shown(line));
      const preamble = latin1(`${line}\r\na: b`);
      assertProtocolError(() => parseResponse("GET", preamble), codes, "with a header");
    });
  }
});

Deno.test("parseRequest and parseResponse read the headers after the first line", async (t) => {
  for (const { rule, text: block, headers } of acceptedBlocks.filter(({ text }) => text !== "")) {
    await t.step(`${rule}: ${shown(block)}`, () => {
      for (const method of methods) {
        assertEquals(request(`${method} / HTTP/1.1\r\n${block}`)?.headers, headers);
      }
      assertEquals(response(`HTTP/1.1 200 OK\r\n${block}`)?.headers, headers);
    });
  }
  const parsed = parseRequest(latin1("GET / HTTP/1.1"));
  assertStrictEquals(Object.getPrototypeOf(parsed.headers), null);
  const answer = parseResponse("GET", latin1("HTTP/1.1 200 OK\r\na: b"));
  assertStrictEquals(Object.getPrototypeOf(answer.headers), null);
});

Deno.test("parseRequest and parseResponse refuse bad headers after the first line", async (t) => {
  for (const { rule, text: block, codes } of refusedBlocks) {
    await t.step(`${rule}: ${shown(block)}`, () => {
      const put = latin1(`PUT / HTTP/1.1\r\n${block}`);
      assertProtocolError(() => parseRequest(put), codes, "PUT");
      const get = latin1(`GET / HTTP/1.1\r\n${block}`);
      assertProtocolError(() => parseRequest(get), [...codes, "FORBIDDEN_HEADER"], "GET");
      const answer = latin1(`HTTP/1.1 200 OK\r\n${block}`);
      assertProtocolError(() => parseResponse("GET", answer), codes, "response");
    });
  }
});

Deno.test("parseRequest and parseResponse refuse an empty line anywhere", () => {
  for (
    const [start, parse] of [["GET / HTTP/1.1", request], ["HTTP/1.1 200 OK", response]] as const
  ) {
    for (const rest of ["\r\n", "\r\n\r\na: b", "\r\na: b\r\n", "\r\na: b\r\n\r\n", "\r\n\r\n"]) {
      assertEquals(parse(start + rest), null, shown(start + rest));
    }
    assertEquals(parse(`\r\n${start}`), null);
    assertEquals(parse(`\r\n\r\n${start}`), null);
  }
});

Deno.test("parseRequest and parseResponse refuse an empty preamble with a separate error", () => {
  for (const parse of [parseRequest, (bytes: Uint8Array) => parseResponse("GET", bytes)]) {
    const error = thrownBy(() => parse(new Uint8Array(0)), "nothing");
    assertInstanceOf(error, EmptyPreambleError);
    assertEquals(error.code, "EMPTY_PREAMBLE");
  }
});

Deno.test("parseRequest and parseResponse allow 32764 bytes", () => {
  for (
    const [start, parse] of [["GET / HTTP/1.1", request], ["HTTP/1.1 200 OK", response]] as const
  ) {
    const filled = (size: number) => {
      const block = `${start}\r\na: `;
      return block + "v".repeat(size - block.length);
    };
    for (const size of [32763, 32764]) assert(parse(filled(size)) !== null, `${size}`);
    for (const size of [32765, 32766, 32768, 100000]) {
      const preamble = latin1(filled(size));
      const parsing = () =>
        parse === request ? parseRequest(preamble) : parseResponse("GET", preamble);
      assertProtocolError(parsing, ["PREAMBLE_TOO_LARGE"], `${size}`);
    }
  }
  const long = `/${"a".repeat(32764 - "GET / HTTP/1.1".length)}`;
  assertEquals(request(`GET ${long} HTTP/1.1`)?.uri, long);
  assertEquals(response(`HTTP/1.1 200 ${"R".repeat(32764 - 13)}`)?.reason.length, 32764 - 13);
});

Deno.test("parseRequest agrees with the grammar for every byte at every position", () => {
  for (const sample of ["GET /a.?b=1 HTTP/1.1", "PUT / HTTP/1.1\r\nA: b", "HEAD /x HTTP/1.1"]) {
    for (const text of mutations(sample)) {
      if (text === "") continue;
      assertEquals(request(text), referenceRequest(text), text);
    }
  }
});

Deno.test("parseResponse agrees with the grammar for every byte at every position", () => {
  for (const sample of ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not-Found x\r\nA: b"]) {
    for (const text of mutations(sample)) {
      assertEquals(response(text), referenceResponse(text), text);
    }
  }
});

Deno.test("parseRequest agrees with the grammar on damaged requests", () => {
  const text = fc.tuple(methodAndHeaders, uri).map(([[method, headers], target]) => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return [`${method} ${target} HTTP/1.1`, ...lines].join("\r\n");
  });
  fc.assert(
    fc.property(damaged(text), (bytes) => {
      const whole = String.fromCharCode(...bytes);
      assertEquals(request(whole), referenceRequest(whole), whole);
    }),
    { numRuns: 500 },
  );
});

Deno.test("parseResponse agrees with the grammar on damaged responses", () => {
  const text = fc.tuple(status, reason, bodilessHeaders).map(([code, phrase, headers]) => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return [`HTTP/1.1 ${code} ${phrase}`, ...lines].join("\r\n");
  });
  fc.assert(
    fc.property(damaged(text), (bytes) => {
      const whole = String.fromCharCode(...bytes);
      assertEquals(response(whole), referenceResponse(whole), whole);
    }),
    { numRuns: 500 },
  );
});

Deno.test("parseRequest and parseResponse throw only ProtocolError, whatever the bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
    for (const parse of [parseRequest, (preamble: Uint8Array) => parseResponse("HEAD", preamble)]) {
      assertInstanceOf(thrownBy(() => parse(bytes), "random bytes"), ProtocolError);
    }
  }));
});

Deno.test("parseRequest and parseResponse refuse arguments of the wrong type", () => {
  const values = [
    null,
    undefined,
    "GET / HTTP/1.1",
    5,
    [],
    {},
    new ArrayBuffer(4),
    new Uint16Array(4),
  ];
  for (const value of values) {
    assertTypeError(() => callWith(parseRequest, value), `parseRequest ${Deno.inspect(value)}`);
    assertTypeError(() => callWith(parseResponse, "GET", value), `parseResponse ${value}`);
  }
  const preamble = latin1("HTTP/1.1 200 OK");
  for (const method of [null, undefined, 5, ["GET"], new String("GET")]) {
    assertTypeError(() => callWith(parseResponse, method, preamble), Deno.inspect(method));
  }
  for (const method of ["get", "", "PATCH", "GET ", "constructor"]) {
    assertRangeError(() => callWith(parseResponse, method, preamble), method);
  }
});

Deno.test("parseRequest reads a view into a larger buffer and leaves it unchanged", () => {
  const buffer = latin1("x\r\n\r\nGET /a HTTP/1.1\r\nb: c\r\n\r\nGET");
  const copy = buffer.slice();
  const parsed = parseRequest(buffer.subarray(5, -7));
  assertEquals([parsed.uri, flatten(parsed.headers)], ["/a", { b: "c" }]);
  assertEquals(buffer, copy);
});
