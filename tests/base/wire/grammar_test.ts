/**
 * The whole grammar: each parser with its rows (*.rows.ts), and compared with a second
 * implementation of the grammar (wire_grammar.ts); the allowed bytes of each region of a message;
 * and the limits of chunks.
 */
import { buildUri, Range } from "@degu/degu/base";
import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
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
} from "../messages.ts";
import {
  assertCallerError,
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  formatLabel,
  parseOrNull,
} from "@degu/testing/expectations.ts";
import { parsers } from "./parsers.ts";
import { makeRefusedRows, type RefusedRow, testEachRow } from "@degu/testing/rows.ts";
import {
  allowedBytes,
  decodeLatin1,
  encodeLatin1,
  isReferenceValue,
  limits,
  methods,
  parseReferenceUri,
  SEVERAL,
} from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { acceptedChunkLines, refusedChunkLines } from "./chunk.rows.ts";
import { formatFraming, requestFraming } from "./framing.rows.ts";
import { acceptedBlocks, chunkedLines, refusedBlocks } from "./headers.rows.ts";
import {
  acceptedHosts,
  acceptedStatusLines,
  refusedHosts,
  refusedRequestLines,
  refusedStatusLines,
} from "./preamble.rows.ts";
import {
  acceptedContentLengths,
  acceptedContentRanges,
  acceptedRanges,
  otherContentRanges,
  otherRanges,
  refusedContentRanges,
  refusedNumbers,
  refusedRanges,
  respelledContentRanges,
  respelledRanges,
  severalRanges,
  suffixRanges,
  unsatisfiedRanges,
} from "./range.rows.ts";
import {
  absoluteTargets,
  acceptedUris,
  dottedUris,
  refusedAbsoluteTargets,
  refusedUris,
} from "./uri.rows.ts";

/** Bytes with a meaning in some part of a message, and a few that are never allowed. */
const INSERTED_CHARACTERS = "\0\t\n\r #%&,-./0:;=?A[\\_\x7f\xff";

/** The bytes up to 127, and some above; the tests of each region use all of them. */
const REPLACEMENTS = [...Array(128).keys(), 0x80, 0x85, 0xa0, 0xe9, 0xff];

/**
 * Yields the texts that differ from `text` at one position: with another byte, with the highest bit
 * of the byte changed, with the byte removed, or with a byte of INSERTED_CHARACTERS inserted.
 */
function* mutateText(text: string): Generator<string> {
  for (let position = 0; position <= text.length; position++) {
    const textBefore = text.slice(0, position);
    for (const character of INSERTED_CHARACTERS) {
      yield textBefore + character + text.slice(position);
    }
    if (position === text.length) return;
    const textAfter = text.slice(position + 1);
    yield textBefore + textAfter;
    for (const byte of [...REPLACEMENTS, text.charCodeAt(position) ^ 0x80]) {
      const character = String.fromCharCode(byte);
      if (character !== text[position]) yield textBefore + character + textAfter;
    }
  }
}

/** Valid texts for each parser, with all meaningful characters. */
const samples: Record<keyof typeof parsers, readonly string[]> = {
  "uri": ["/foo/b.r/?k=v%20", "/a/..b", "/", "/a/./b"],
  "range": ["bytes=8-10", "bytes=-3", "bytes=0-1, 3-", "a=b"],
  "content-range": ["bytes 8-10/12", "bytes */3"],
  "chunk-line": ["0", "01aF", "a;k-1=v~2", "1000000", "ffffff;k=v;w", 'a ; b = "c\\"d" ; e'],
  "headers-of-request": [
    "Na-0: v;e",
    "a: b\r\na:c",
    "range: bytes=0-5",
    "set-cookie: a\r\ncookie: b",
  ],
  "headers-of-response": ["content-range: bytes 0-5/7", "transfer-encoding: Chunked"],
  "request-preamble": [
    ...["GET /a.?b=1 HTTP/1.1", "PUT / HTTP/1.1\r\nA: b", "HEAD /x HTTP/1.0"],
    ...["GET http://a:8/b?c HTTP/1.1", "GET / HTTP/1.1\r\nhost: [fe80::1%e]:8"],
  ],
  "response-preamble": ["HTTP/1.1 200 OK", "HTTP/1.0 404 Not-Found x\r\nA: b", "HTTP/1.1 200 "],
};

type Accepted = readonly (readonly [text: string, expected: unknown])[];

/** Returns rows of refused numbers, each at each position of a number in a range. */
const makeNumberRows = (code: string, ...places: ((number: string) => string)[]): RefusedRow[] =>
  refusedNumbers.flatMap((row) =>
    places.map((place) => ({ ...row, text: place(row.text), codes: [code] }))
  );
const refusedRange = [
  ...refusedRanges,
  ...makeNumberRows(
    "BAD_RANGE",
    ...[(n: string) => `bytes=${n}-9`, (n: string) => `bytes=0-${n}`, (n: string) => `bytes=${n}-`],
    // The numbers of a range have no limit.
  ).filter(({ text }) => !/^bytes=0?\d*-\d*$/.test(text)),
];
const refusedContentRange = [
  ...refusedContentRanges,
  ...makeNumberRows(
    "BAD_CONTENT_RANGE",
    ...[(n: string) => `bytes ${n}-8/9`, (n: string) => `bytes 0-${n}/9`],
    (n) => `bytes 0-0/${n}`,
  ),
];

const makeRefusedLines = (name: string, rows: readonly RefusedRow[]): RefusedRow[] =>
  // White space around a value is removed.
  rows.filter(({ text }) => text.trim() === text).map((row) => ({
    ...row,
    text: `${name}: ${row.text}`,
    codes: isReferenceValue(row.text)
      ? row.codes
      : [...row.codes, "BAD_HEADER_VALUE", "BAD_HEADER_LINE"],
  }));
/** Returns rows of a header that is allowed only in the other kind of message. */
const makeForbiddenRows = (name: string, values: Accepted): RefusedRow[] =>
  [...values, ["x", null], ["", null]].flatMap(([text]) =>
    makeRefusedRows(`${name} here`, "RFC 9110 §14", "FORBIDDEN_HEADER", `${name}: ${text}`)
  );

const ranges: Accepted = [
  ...[...acceptedRanges, ...respelledRanges].map(([text, start, stop]) =>
    [text, { start, stop }] as const
  ),
  ...suffixRanges.map(([text, length]) => [text, { length }] as const),
  ...severalRanges.map((text) => [text, SEVERAL] as const),
  ...otherRanges.map((text) => [text, text] as const),
];
const contentRanges: Accepted = [
  ...[...acceptedContentRanges, ...respelledContentRanges].map(([text, start, stop, total]) =>
    [text, { start, stop, total }] as const
  ),
  ...unsatisfiedRanges.map(([text, total]) => [text, { total }] as const),
  ...otherContentRanges.map((text) => [text, text] as const),
];
/** The text of each valid value of `range`, as it is sent; `null` if it is left out. */
const rangeTexts: readonly (readonly [text: string, sent: string | null])[] = [
  ...[...acceptedRanges, ...respelledRanges].map(([text, start, stop]) =>
    [text, `bytes=${start}-${stop === Infinity ? "" : stop - 1}`] as const
  ),
  ...suffixRanges.map(([text, length]) => [text, `bytes=-${length}`] as const),
  ...severalRanges.map((text) => [text, null] as const),
  ...otherRanges.map((text) => [text, text] as const),
];
const contentRangeTexts: readonly (readonly [text: string, sent: string])[] = [
  ...[...acceptedContentRanges, ...respelledContentRanges].map(([text, start, stop, total]) =>
    [text, `bytes ${start}-${stop - 1}/${total ?? "*"}`] as const
  ),
  ...[...unsatisfiedRanges, ...otherContentRanges.map((text) => [text] as const)].map(([text]) =>
    [text, text] as const
  ),
];
const blocks: Accepted = [
  ...acceptedBlocks.map(({ text, headers }) => [text, headers] as const),
  ...acceptedContentLengths.map(([text, length]) =>
    [`content-length: ${text}`, { "content-length": length }] as const
  ),
  ...chunkedLines.map((line) => [line, { "transfer-encoding": "chunked" }] as const),
];

/** Returns the path and the query of an accepted URI. */
function splitUri(uri: string): { path: string[]; query: string | null } {
  return parseReferenceUri(uri)!;
}

/** Returns rows of first lines, each with and without a header after it. */
const addHeader = (rows: readonly RefusedRow[]): RefusedRow[] =>
  rows.flatMap((row) => [row, { ...row, text: `${row.text}\r\na: b` }]);

/** Accepted requests, with their values. */
const acceptedRequests: Accepted = [
  ...acceptedUris.flatMap(([uri, path, query]) =>
    methods.map((method) =>
      [`${method} ${uri} HTTP/1.1`, { method, uri, headers: {}, path: [...path], query }] as const
    )
  ),
  ...dottedUris.map(([received, uri]) =>
    [`GET ${received} HTTP/1.1`, { method: "GET", uri, headers: {}, ...splitUri(uri) }] as const
  ),
  ...absoluteTargets.flatMap(([target, host, uri]) =>
    ["", "\r\nhost: b:81", "\r\nhost:"].map((line) =>
      [
        `GET ${target} HTTP/1.1${line}`,
        { method: "GET", uri, headers: { host }, ...splitUri(uri) },
      ] as const
    )
  ),
  ...["GET / HTTP/1.0", "HEAD / HTTP/1.1", "PUT / HTTP/1.0", "DELETE / HTTP/1.1"].flatMap(
    (line) => {
      const [method = ""] = line.split(" ");
      const parts = { method, uri: "/", path: [], query: null };
      const mayHaveRange = method === "GET" || method === "HEAD";
      return [
        [line, { ...parts, headers: {} }] as const,
        ...["", ...acceptedHosts].map((host) =>
          [`${line}\r\nhost: ${host}`, { ...parts, headers: { host } }] as const
        ),
        ...rangeTexts.map(([text, sent]) =>
          [
            `${line}\r\nrange: ${text}`,
            { ...parts, headers: sent === null || !mayHaveRange ? {} : { range: sent } },
          ] as const
        ),
      ];
    },
  ),
];

/** The values that each parser accepts and refuses. */
const rows: Record<keyof typeof parsers, [accepted: Accepted, refused: readonly RefusedRow[]]> = {
  "uri": [
    acceptedUris.map(([text, path, query]) => [text, { path: [...path], query }]),
    refusedUris,
  ],
  "range": [ranges, refusedRange],
  "content-range": [contentRanges, refusedContentRange],
  "chunk-line": [
    acceptedChunkLines.map(([text, size, extension]) => [text, { size, extension }]),
    refusedChunkLines,
  ],
  "headers-of-request": [
    [
      ...blocks,
      // A PUT has no range.
      ...rangeTexts.map(([text]) => [`range: ${text}`, {}] as const),
    ],
    [
      ...refusedBlocks,
      ...makeForbiddenRows("content-range", contentRanges),
    ],
  ],
  "headers-of-response": [
    [
      ...blocks,
      ...contentRangeTexts.map(([text, sent]) =>
        [`content-range: ${text}`, { "content-range": sent }] as const
      ),
      ...refusedHosts.map((text) => [`host: ${text}`, { host: text }] as const),
    ],
    [
      ...refusedBlocks,
      ...makeRefusedLines("content-range", refusedContentRange),
      ...makeForbiddenRows("range", ranges),
    ],
  ],
  "request-preamble": [
    acceptedRequests,
    addHeader([
      ...refusedRequestLines,
      ...refusedUris.filter(({ text }) => text !== "").map(({ text, codes, ...row }) => ({
        ...row,
        text: `GET ${text} HTTP/1.1`,
        // A CR ends the first line.
        codes: text.includes("\r") ? [...codes, "BAD_HEADER_LINE", "BAD_REQUEST_LINE"] : codes,
      })),
      ...refusedAbsoluteTargets.map((row) => ({ ...row, text: `GET ${row.text} HTTP/1.1` })),
      ...["GET / HTTP/1.1", "HEAD / HTTP/1.0"].flatMap((line) =>
        makeRefusedLines("range", refusedRange).map((row) => ({
          ...row,
          text: `${line}\r\n${row.text}`,
        }))
      ),
      ...refusedHosts.flatMap((host) =>
        makeRefusedRows(
          "an invalid host",
          "RFC 9112 §3.2",
          ["BAD_HOST", "BAD_HEADER_VALUE"],
          `GET / HTTP/1.1\r\nhost: ${host}`,
          // Also if the target replaces it.
          `GET http://a/ HTTP/1.0\r\nhost: ${host}`,
        )
      ),
      ...makeRefusedRows(
        "chunks in HTTP/1.0",
        "RFC 9112 §6.1",
        ["BAD_TRANSFER_ENCODING", "CONFLICTING_HEADERS", "FORBIDDEN_HEADER"],
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked",
        "PUT / HTTP/1.0\r\nTransfer-Encoding: Chunked",
      ),
    ]).concat(
      requestFraming.flatMap((row) =>
        row.body === null || typeof row.body !== "object" ? [] : makeRefusedRows(
          row.rule,
          row.rfc,
          row.body.code,
          ...formatFraming(row).map((text) => text.slice(0, -4)),
        )
      ),
    ),
  ],
  "response-preamble": [
    acceptedStatusLines.map(([text, status, reason]) => [text, { status, reason, headers: {} }]),
    addHeader([
      ...refusedStatusLines,
      ...makeRefusedRows(
        "chunks in HTTP/1.0",
        "RFC 9112 §6.1",
        ["BAD_TRANSFER_ENCODING", "CONFLICTING_HEADERS", "FORBIDDEN_HEADER"],
        ...[200, 204, 304, 404].map((status) =>
          `HTTP/1.0 ${status} xx\r\ntransfer-encoding: chunked`
        ),
      ),
    ]),
  ],
};

for (const [name, { read }] of Object.entries(parsers)) {
  const [accepted, refused] = rows[name as keyof typeof parsers];
  Deno.test(`the parser of ${name} returns the value of each row`, () => {
    for (const [text, expected] of accepted) {
      assertEquals(parseOrNull(() => read(text), text), expected, formatLabel(text));
    }
  });

  Deno.test(`the parser of ${name} refuses each row that breaks a rule`, async (t) => {
    const rules = Map.groupBy(refused, ({ rule, rfc }) => `${rule} (${rfc})`);
    await testEachRow(t, rules, (_rule, rowsOfRule) => {
      for (const { text, codes } of rowsOfRule) {
        assertProtocolError(() => read(text), codes, formatLabel(text));
      }
    });
  });
}

// The fuzzers test texts that differ from the samples in more than one position.
for (const [name, { read, reference }] of Object.entries(parsers)) {
  Deno.test(`the parser of ${name} agrees with the grammar for every byte up to 127, and some above, at every position`, () => {
    for (const sample of samples[name as keyof typeof parsers]) {
      for (const text of mutateText(sample)) {
        const [parsed, expected] = [parseOrNull(() => read(text), text), reference(text)];
        // Comparing the refusals, which are almost all results, would take long.
        if (parsed !== null || expected !== null) assertEquals<unknown>(parsed, expected, text);
      }
    }
  });
}

/** A prefix, up to `maxCount` parts in every order, and a suffix. */
const combinations: readonly (readonly [
  name: keyof typeof parsers,
  prefix: string,
  maxCount: number,
  parts: readonly string[],
  suffix?: string,
])[] = [
  ["uri", "/", 4, ["/", ".", "..", ";", "a", "?", "%2e", "%2F"]],
  ["range", "bytes=", 4, ["0", "5", "-", ",", " ", "\t", "*"]],
  ["range", "bytes=0-", 4, ["0", "5", "-", ",", " ", "\t", "*"]],
  ["content-range", "bytes ", 5, ["0", "5", "-", "/", "*", " "]],
  ["chunk-line", "5", 4, [" ", "\t", ";", "=", "a", '"', "\\", "\xe9"]],
  ["chunk-line", "5;a=", 4, [" ", ";", "=", "a", '"', "\\", "\xe9"]],
  ["chunk-line", "", 4, ["0", "1fffffffffffff", "2", "x", "+", " ", ";a"]],
  ["headers-of-request", "a", 4, [":", " ", "\t", "\r\n", "a", "\xa0", "\r"]],
  ["headers-of-request", "content-length:", 4, [
    ...["0", "5", " ", "+", ",", "\r\ncontent-length:", "x"],
  ]],
  ["headers-of-request", "transfer-encoding:", 4, [
    ...["chunked", "CHUNKED", ",", " ", "gzip", ";q=1", "\r\ncontent-length: 0"],
  ]],
  ["headers-of-request", "", 4, [
    ...[
      "a: b\r\n",
      "A:\r\n",
      "cookie: c\r\n",
      "set-cookie: d\r\n",
      "etag: e\r\n",
      "__proto__: f\r\n",
    ],
  ], "x: y"],
  ["request-preamble", "GET / HTTP/1.1\r\nhost:", 4, ["a", ":", "80", "@", "/", " ", ",", "%61"]],
  ["request-preamble", "GET / HTTP/1.1\r\nhost: ", 4, [
    ...["fe80::1", "[", "]", ":80", "%", "25", "::1", "e~"],
  ]],
  ["request-preamble", "GET / HTTP/1.1\r\nhost: [fe80::1", 5, ["[", "]", ":80", "%", "25", "e~"]],
  ["request-preamble", "GET ", 4, ["http://", "/", "a", ":80", "?", ".", "@"], " HTTP/1.1"],
  ["request-preamble", "PUT /", 4, [
    ...[" ", "/", "HTTP/1.", "0", "1", "2", "\r\ntransfer-encoding: chunked"],
  ]],
  ["response-preamble", "HTTP/1.", 4, [
    ...["0 ", "1 ", " ", "200", "O", "\t", "\r\ntransfer-encoding: chunked"],
  ]],
];

/** Yields every sequence of up to so many parts. */
function* combine(parts: readonly string[], maxCount: number): Generator<string> {
  yield "";
  if (maxCount === 0) return;
  for (const part of parts) for (const rest of combine(parts, maxCount - 1)) yield part + rest;
}

for (const [name, prefix, maxCount, parts, suffix = ""] of combinations) {
  Deno.test(`the parser of ${name} agrees with the grammar for every sequence of ${JSON.stringify(parts)} after ${JSON.stringify(prefix)}`, () => {
    const { read, reference } = parsers[name];
    let accepted = 0;
    for (const sequence of combine(parts, maxCount)) {
      const text = prefix + sequence + suffix;
      const [parsed, expected] = [parseOrNull(() => read(text), text), reference(text)];
      if (parsed !== null || expected !== null) assertEquals<unknown>(parsed, expected, text);
      if (expected !== null) accepted++;
    }
    assert(accepted > 0, "no sequence was accepted");
  });
}

// The bytes of each region.

const allBytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const noData = new Uint8Array(0);

/** Parses a chunk extension; throws if it is refused or dropped. */
function parseExtension(text: string): readonly [key: string, value: string] {
  const { extension } = parseChunkHeader(encodeLatin1(`5;${text}`));
  return extension ?? parseChunkHeader(encodeLatin1(";")).extension!;
}

/** The allowed bytes of each region, and functions that parse and format a text in it. */
const regions: Record<
  string,
  [allowed: string, parse: (text: string) => unknown, format: (text: string) => Uint8Array | string]
> = {
  "header value": [
    allowedBytes.headerValue,
    // headers.rows.ts has spaces at the ends.
    (text) => parseHeaders(encodeLatin1(`a: v${text}v`)),
    (text) => formatHeaders({ a: `v${text}v` }),
  ],
  "query": [
    allowedBytes.query,
    (text) => parseUri(`/?${text}`),
    (text) => buildUri([], text),
  ],
  "URI of a request": [
    allowedBytes.path + "/?",
    (text) => parseRequest(encodeLatin1(`GET /m${text} HTTP/1.1`)),
    (text) => formatRequest("GET", `/m${text}`, {}),
  ],
  "reason": [
    allowedBytes.reason,
    (text) => parseResponse("GET", encodeLatin1(`HTTP/1.1 200 ${text}a`)),
    (text) => formatResponse(200, `${text}a`, {}),
  ],
  "chunk extension key": [
    allowedBytes.extensionKey,
    (text) => parseExtension(`k${text}k=v`),
    (text) => formatChunk([[text, "v"], noData]),
  ],
  "chunk extension value": [
    allowedBytes.extensionValue,
    (text) => parseExtension(`k=v${text}v`),
    (text) => formatChunk([["k", text], noData]),
  ],
  "header name": [
    allowedBytes.headerName,
    (text) => parseHeaders(encodeLatin1(`${text}: a`)),
    (text) => formatHeaders({ [text]: "a" }),
  ],
};

/** Returns the text of a formatter; `null` if it refuses the values of its caller. */
function formatOrNull(format: () => Uint8Array | string): string | null {
  try {
    const sent = format();
    return typeof sent === "string" ? sent : decodeLatin1(sent);
  } catch (error) {
    assertCallerError(() => {
      throw error;
    }, "sending");
    return null;
  }
}

/**
 * Characters above Latin-1: each low byte once in blocks where masks and case folding could err,
 * and some others.
 */
const beyond = [
  ...[0x100, 0x2000, 0xff00].flatMap((block) => Array.from(allBytes, (_, i) => i + block)),
  ...[0x212a, 0x212b, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xfeff],
].map((unit) => String.fromCharCode(unit));

for (const [name, [allowed, parse, format]] of Object.entries(regions)) {
  Deno.test(`a ${name} is read and sent with its allowed bytes and no others`, () => {
    const read = allBytes.filter((byte) => parseOrNull(() => parse(byte), name) !== null);
    assertEquals(read.join(""), [...allowed].toSorted().join(""));
    const sent = [...allBytes, ...beyond].filter((unit) =>
      formatOrNull(() => format(unit)) !== null
    );
    // Names are sent in lower case only.
    const lower = name === "header name" ? allowed.toLowerCase() : allowed;
    assertEquals(sent.join(""), [...new Set(lower)].toSorted().join(""));
  });
}

Deno.test("a component of a path is read literally or escaped, and sent in one spelling", () => {
  const { path, unescaped, builtPath } = allowedBytes;
  const findComponent = (text: string) =>
    parseOrNull(() => {
      const components = parseUri(`/${text}/`).path;
      return components.length === 2 && components[1] === "" ? components[0] : parseUri("//");
    }, text);
  for (const [byte, character] of allBytes.entries()) {
    // A component `.` is removed.
    const isLiteral = path.includes(character) && character !== ".";
    assertEquals(findComponent(character), isLiteral ? character : null, `literal ${byte}`);
    const digits = byte.toString(16).padStart(2, "0");
    const mayBeEscaped = byte > 0 && byte < 128 && character !== "/" &&
      !unescaped.includes(character);
    for (const escape of [`%${digits}`, `%${digits.toUpperCase()}`]) {
      assertEquals(findComponent(escape), mayBeEscaped ? character : null, escape);
    }
  }
  for (const character of [...allBytes, ...beyond]) {
    const sent = formatOrNull(() => buildUri([character, ""]));
    const isSent = !"/.\0".includes(character) && character.isWellFormed();
    assertEquals(sent === null ? null : parseUri(sent).path, isSent ? [character, ""] : null);
    if (sent === null) continue;
    const pattern = builtPath.includes(character) ? /^\/[^%]\/$/ : /^\/(?:%[0-9A-F]{2})+\/$/;
    assertMatch(sent, pattern);
  }
});

Deno.test("no formatter forges a line if a value changes while it is read", async (t) => {
  const forgedValue = "v\r\nevil: 1";
  const changing = <T extends object>(target: T, name: PropertyKey, first: unknown): T => {
    let readCount = 0;
    const get = () => readCount++ === 0 ? first : forgedValue;
    return Object.defineProperty(target, name, { enumerable: true, get });
  };
  const makeHeadersFormatter = (name: string, first: unknown) => () =>
    formatHeaders(changing({}, name, first));
  const makeChunkFormatter = (index: number) => () =>
    formatChunk([changing<[string, string]>(["k", "v"], index, "x"), encodeLatin1("a")]);
  const range = new Range(0, 1);
  Reflect.set(range, "toString", () => forgedValue);
  class LyingRange extends Range {
    override toString() {
      return forgedValue;
    }
  }
  const changedRange = new Range(0, 1);
  for (const name of ["start", "stop"]) Reflect.set(changedRange, name, forgedValue);
  const rows: Record<string, () => Uint8Array | string> = {
    "a component of a path": () => buildUri(changing(["a", "b"], 1, "b"), null),
    "a text": makeHeadersFormatter("a", "v"),
    "a number": makeHeadersFormatter("content-length", 5),
    "a range": makeHeadersFormatter("range", new Range(0, 1)),
    "a range with a toString of its own": () => formatHeaders({ range }),
    "a subclass of Range": () => formatHeaders({ range: new LyingRange(0, 1) }),
    "a range with other fields": () => formatHeaders({ range: changedRange }),
    "the key of an extension": makeChunkFormatter(0),
    "the value of an extension": makeChunkFormatter(1),
  };
  await testEachRow(t, Object.entries(rows), (_label, format) => {
    const sent = formatOrNull(format) ?? "";
    assert(!sent.includes("evil"), formatLabel(sent));
  });
});

// The limits of chunks.

Deno.test("parseChunkHeader allows lines of 4094 bytes", () => {
  const makeLine = (size: number) => encodeLatin1(`5;k=${"v".repeat(size - 4)}`);
  assertEquals(parseChunkHeader(makeLine(4094)).size, 5);
  assertProtocolError(() => parseChunkHeader(makeLine(4095)), ["CHUNK_LINE_TOO_LONG"], "4095");
});

Deno.test("formatChunk allows 16 MiB of data", () => {
  const data = new Uint8Array(limits.chunkData + 1);
  assertEquals(formatChunk([null, data.subarray(1)]).length, 9 + limits.chunkData + 2);
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

Deno.test("ChunkScanner refuses an invalid end of a chunk by its first wrong byte, and reads no byte beyond the available ones", () => {
  const scan = (text: string, end: number) => {
    const [scanner, bytes] = [new ChunkScanner(), encodeLatin1(text)];
    let at = 0;
    for (let next = 0; next >= 0; next = scanner.advance(bytes, at, end)) at = next;
    return [scanner.phase, at];
  };
  for (const [text, end] of [["1\r\nxy", 5], ["1\r\nx\ry", 6]] as const) {
    assertProtocolError(() => scan(text, end), ["BAD_CHUNK_END"], text);
  }
  for (const [text, end] of [["1\r\nxZZ", 4], ["1\r\nx\rZ", 5]] as const) {
    assertEquals(scan(text, end), ["crlf", 4]);
  }
  assertEquals(scan("1\r\nx\r\n", 6), ["header", 6]);
});

Deno.test("formatChunk refuses an extension that is not a key and a value", () => {
  for (const extension of ["kv", [], ["k"], ["k", "v", "x"], ["k", 5], [null, "v"], {}, 5]) {
    assertThrows(() => formatChunk([extension as never, encodeLatin1("")]), TypeError);
  }
});

Deno.test("computeMinRemainingBytes returns the size of the shortest valid remainder", () => {
  const rows: [seen: string, minBytes: number][] = [
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
  for (const [text, minBytes] of rows) {
    const bytes = encodeLatin1(text);
    const scanner = new ChunkScanner();
    let at = 0;
    for (let next = 0; next >= 0; next = scanner.advance(bytes, at, bytes.length)) at = next;
    assertEquals(scanner.computeMinRemainingBytes(bytes.length - at), minBytes, text);
  }
});

Deno.test("parsers refuse arguments of the wrong type", () => {
  const method = (value: unknown) =>
    callWith(parseResponse, value, encodeLatin1("HTTP/1.1 200 OK"));
  const response = (value: unknown) => callWith(parseResponse, "GET", value);
  const byteParsers = [parseHeaders, parseRequest, parseChunkHeader, response];
  const noBytes = [null, undefined, "a: b", 5, [], [97], {}, new ArrayBuffer(4), new Headers()];
  for (const value of [...noBytes, new Uint16Array(4), new DataView(new ArrayBuffer(4))]) {
    for (const parse of byteParsers) {
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
    const label = `isResponse ${Deno.inspect(isResponse)}`;
    assertTypeError(() => callWith(parseHeaders, encodeLatin1("a: b"), isResponse), label);
  }
  for (const value of ["get", "", "TRACE", "GET ", "constructor"]) {
    assertRangeError(() => method(value), value);
  }
});
