/**
 * The grammar as a whole, seen from outside: each parser beside a second statement of it (wire_grammar.ts), the bytes of each
 * region of a message as they are read and sent, and what is no text or no bytes at all.
 */
import { buildUri, type HeaderDict, Range } from "@degu/degu/base";
import {
  formatChunk,
  formatHeaders,
  formatRequest,
  formatResponse,
  parseChunkHeader,
  parseContentRange,
  parseHeaders,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "@degu/degu/misc";
import {
  anyText,
  bodilessHeaders,
  damaged,
  extension,
  methodAndHeaders,
  reason,
  requestHeaders,
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
  parsedOrNull,
} from "@degu/testing/expectations.ts";
import {
  allowedBytes,
  fromLatin1,
  latin1,
  limits,
  mutations,
  referenceChunkLine,
  referenceContentRange,
  referenceHeaders,
  referenceRange,
  referenceRequestLine,
  referenceStatusLine,
  referenceUri,
} from "@degu/testing/wire_grammar.ts";
import { assertEquals } from "@std/assert";
import fc from "fast-check";

const linesOf = (headers: HeaderDict) =>
  Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
const near = (text: fc.Arbitrary<string>) => damaged(text).map(fromLatin1);
const over = (...units: string[]) => fc.string({ unit: fc.constantFrom(...units), maxLength: 9 });
const anything = anyText(20);

/** What the grammar says of a whole preamble. A block without lines has no CR LF before it. */
function referencePreamble<Start extends object>(
  text: string,
  start: Start | null,
  rules: Parameters<typeof referenceHeaders>[1],
) {
  const [, ...rest] = text.split("\r\n");
  const isEmptyLine = rest.length === 1 && rest[0] === "";
  const headers = isEmptyLine ? null : referenceHeaders(rest.join("\r\n"), rules);
  return start && headers && { ...start, headers };
}

/** A parser, what the grammar says, and texts that come close to it. */
interface Grammar {
  readonly samples: readonly string[];
  readonly texts: fc.Arbitrary<string>;
  parse(text: string): unknown;
  reference(text: string): unknown;
}

const grammars: Record<string, Grammar> = {
  parseUri: {
    samples: ["/foo/b.r/?k=v%20", "/a/..b", "/"],
    texts: fc.oneof(
      over("/", "?", ".", "a", "%", "&", "#").map((tail) => `/${tail}`),
      fc.tuple(fc.constantFrom("", "/", "/?"), anything).map((parts) => parts.join("")),
    ),
    parse: parseUri,
    reference: referenceUri,
  },
  parseRange: {
    samples: ["bytes=8-10"],
    texts: over(..."0123459-/=* ,\u0661\uff11", "9007199254740991", "bytes")
      .map((tail) => `bytes=${tail}`),
    parse: (text) => ({ ...parseRange(text) }),
    reference: referenceRange,
  },
  parseContentRange: {
    samples: ["bytes 8-10/12"],
    texts: over(..."0123459-/=* ,\u0661\uff11", "9007199254740991", "bytes")
      .map((tail) => `bytes ${tail}`),
    parse: (text) => ({ ...parseContentRange(text) }),
    reference: referenceContentRange,
  },
  parseChunkHeader: {
    samples: ["0", "1aF", "a;k-1=v~2", "1000000", "ffffff;k=v;w"],
    texts: near(
      fc.tuple(fc.nat({ max: limits.chunkData }), extension).map(([size, pair]) =>
        size.toString(16) + (pair ? `;${pair[0]}=${pair[1]}` : "")
      ),
    ),
    parse: (text) => parseChunkHeader(latin1(text)),
    reference: referenceChunkLine,
  },
  "parseHeaders of a request": {
    samples: ["Na-0: v;e", "a: b\r\nc: d", "range: bytes=0-5"],
    texts: near(requestHeaders.map((headers) => linesOf(headers).join("\r\n"))),
    parse: (text) => flatten(parseHeaders(latin1(text))),
    reference: (text) => referenceHeaders(text, "request with body"),
  },
  "parseHeaders of a response": {
    samples: ["content-range: bytes 0-5/7"],
    texts: near(responseHeaders.map((headers) => linesOf(headers).join("\r\n"))),
    parse: (text) => flatten(parseHeaders(latin1(text), true)),
    reference: (text) => referenceHeaders(text, "response"),
  },
  parseRequest: {
    samples: ["GET /a.?b=1 HTTP/1.1", "PUT / HTTP/1.1\r\nA: b", "HEAD /x HTTP/1.1"],
    texts: near(
      fc.tuple(methodAndHeaders, uri).map(([[method, headers], target]) =>
        [`${method} ${target} HTTP/1.1`, ...linesOf(headers)].join("\r\n")
      ),
    ),
    parse(text) {
      const { headers, ...rest } = parseRequest(latin1(text));
      return { ...rest, headers: flatten(headers) };
    },
    reference(text) {
      const line = referenceRequestLine(text.split("\r\n")[0]!);
      const withBody = line?.method === "PUT" || line?.method === "POST";
      const start = line && { ...line, ...referenceUri(line.uri) };
      return referencePreamble(text, start, `request with${withBody ? "" : "out"} body`);
    },
  },
  parseResponse: {
    samples: ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not-Found x\r\nA: b"],
    texts: near(
      fc.tuple(status, reason, bodilessHeaders).map(([code, phrase, headers]) =>
        [`HTTP/1.1 ${code} ${phrase}`, ...linesOf(headers)].join("\r\n")
      ),
    ),
    parse(text) {
      const { headers, ...rest } = parseResponse("GET", latin1(text));
      return { ...rest, headers: flatten(headers) };
    },
    reference: (text) =>
      referencePreamble(text, referenceStatusLine(text.split("\r\n")[0]!), "response"),
  },
};

for (const [name, { samples, texts, parse, reference }] of Object.entries(grammars)) {
  const check = (text: string) => {
    const [parsed, expected] = [parsedOrNull(() => parse(text), text), reference(text)];
    // Nearly all are refused by both.
    if (parsed !== null || expected !== null) assertEquals<unknown>(parsed, expected, text);
  };

  Deno.test(`${name} agrees with the grammar for every byte at every position`, () => {
    for (const sample of samples) for (const text of mutations(sample)) check(text);
  });

  Deno.test(`${name} agrees with the grammar on texts that come close to it`, () => {
    fc.assert(fc.property(texts, check), { numRuns: 200 });
  });
}

Deno.test("parseRequest and parseResponse throw only ProtocolError, whatever the bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
    parsedOrNull(() => parseRequest(bytes), "a request");
    parsedOrNull(() => parseResponse("HEAD", bytes), "a response");
  }));
});

Deno.test("parsers refuse arguments of the wrong type", () => {
  const method = (value: unknown) => callWith(parseResponse, value, latin1("HTTP/1.1 200 OK"));
  const ofBytes = [
    ...[parseHeaders, parseRequest, parseChunkHeader],
    (value: unknown) => callWith(parseResponse, "GET", value),
  ];
  const noBytes = [null, undefined, "a: b", 5, [], [97], {}, new ArrayBuffer(4), new Headers()];
  for (const value of [...noBytes, new Uint16Array(4), new DataView(new ArrayBuffer(4))]) {
    for (const parse of ofBytes) {
      assertTypeError(() => callWith(parse, value), `${parse}: ${Deno.inspect(value)}`);
    }
  }
  const noTexts = [null, undefined, 5, [], ["/"], {}, new String("/"), new Range(0, 1)];
  for (const value of [...noTexts, new Uint8Array([47]), new URL("http://localhost/")]) {
    for (const parse of [parseUri, parseRange, parseContentRange, method]) {
      assertTypeError(() => callWith(parse, value), `${parse}: ${Deno.inspect(value)}`);
    }
  }
  for (const isResponse of [null, 1, 0, "true", {}]) {
    const what = `isResponse ${Deno.inspect(isResponse)}`;
    assertTypeError(() => callWith(parseHeaders, latin1("a: b"), isResponse), what);
  }
  for (const value of ["get", "", "PATCH", "GET ", "constructor"]) {
    assertRangeError(() => method(value), value);
  }
});

// The bytes of each region.

const allBytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const noData = new Uint8Array(0);

/** How each region is read and sent when it consists of the given text between harmless ones. */
const regions: {
  name: string;
  allowed: string;
  parse: (text: string) => unknown;
  format: (text: string) => Uint8Array | string;
}[] = [
  {
    name: "header value",
    allowed: allowedBytes.headerValue,
    parse: (text) => parseHeaders(latin1(`a: ${text}`)),
    format: (text) => formatHeaders({ a: text }),
  },
  {
    name: "path component",
    // The separators are no part of a component: a slash begins another one, a question mark the query.
    allowed: allowedBytes.path,
    parse: (text) => parseUri(`/${text}`).path[0] === text || parseUri("//"),
    format: (text) => buildUri([text], null),
  },
  {
    name: "query",
    allowed: allowedBytes.query,
    parse: (text) => parseUri(`/?${text}`),
    format: (text) => buildUri([], text),
  },
  {
    name: "URI of a request",
    allowed: allowedBytes.path + "/?",
    parse: (text) => parseRequest(latin1(`GET /m${text} HTTP/1.1`)),
    format: (text) => formatRequest("GET", `/m${text}`, {}),
  },
  {
    name: "reason",
    allowed: allowedBytes.reason,
    parse: (text) => parseResponse("GET", latin1(`HTTP/1.1 200 ${text}a`)),
    format: (text) => formatResponse(200, `${text}a`, {}),
  },
  {
    name: "chunk extension key",
    allowed: allowedBytes.extensionKey,
    // Two equal signs in a row are never right, so that this one can't end the key.
    parse: (text) => parseChunkHeader(latin1(`5;k${text}=v`)),
    format: (text) => formatChunk([[text, "v"], noData]),
  },
  {
    name: "chunk extension value",
    allowed: allowedBytes.extensionValue,
    parse: (text) => parseChunkHeader(latin1(`5;k=${text}`)),
    format: (text) => formatChunk([["k", text], noData]),
  },
  {
    name: "header name",
    allowed: allowedBytes.headerName,
    parse: (text) => parseHeaders(latin1(`${text}: a`)),
    format: (text) => formatHeaders({ [text]: "a" }),
  },
];

function isSent(format: () => unknown): boolean {
  try {
    format();
    return true;
  } catch (error) {
    assertCallerError(() => {
      throw error;
    }, "sending");
    return false;
  }
}

/** Beyond Latin-1: each low byte once, in blocks where masks and case foldings are likely to err, and some of the rest. */
const beyond = [
  ...[0x100, 0x2000, 0xff00].flatMap((block) => Array.from(allBytes, (_, i) => i + block)),
  ...[0x212a, 0x212b, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xfeff],
].map((unit) => String.fromCharCode(unit));

for (const { name, allowed, parse, format } of regions) {
  Deno.test(`a ${name} is read and sent with its allowed bytes and no others`, () => {
    const read = allBytes.filter((byte) => parsedOrNull(() => parse(byte), name) !== null);
    assertEquals(read.join(""), [...allowed].toSorted().join(""));
    const sent = [...allBytes, ...beyond].filter((unit) => isSent(() => format(unit)));
    // Names are sent in lower case only.
    const lower = name === "header name" ? allowed.toLowerCase() : allowed;
    assertEquals(sent.join(""), [...new Set(lower)].toSorted().join(""));
  });
}

Deno.test("only upper-case letters in a header name are converted, to lower case", () => {
  for (const byte of allowedBytes.headerName) {
    const [name = ""] = Object.keys(parseHeaders(latin1(`${byte}: a`)));
    const isUpper = byte >= "A" && byte <= "Z";
    assertEquals(name, isUpper ? String.fromCharCode(byte.charCodeAt(0) + 32) : byte);
  }
});
