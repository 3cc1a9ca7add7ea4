/**
 * The whole grammar: each parser with its rows (*.rows.ts), and compared with a second
 * implementation of the grammar (wire_grammar.ts); the allowed bytes of each region of a message;
 * and arguments that are not text or bytes.
 */
import { buildUri, Range } from "@degu/degu/base";
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
  assertCallerError,
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  formatLabel,
  parseOrNull,
} from "@degu/testing/expectations.ts";
import { parsers } from "@degu/testing/parsers.ts";
import { makeRefusedRows, type RefusedRow, testEachRow } from "@degu/testing/rows.ts";
import {
  allowedBytes,
  decodeLatin1,
  encodeLatin1,
  isReferenceValue,
  methods,
} from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { acceptedChunkLines, refusedChunkLines } from "./chunk.rows.ts";
import { formatFraming, requestFraming } from "./framing.rows.ts";
import { acceptedBlocks, refusedBlocks } from "./headers.rows.ts";
import { acceptedStatusLines, refusedRequestLines, refusedStatusLines } from "./preamble.rows.ts";
import {
  acceptedContentLengths,
  acceptedContentRanges,
  acceptedRanges,
  refusedContentRanges,
  refusedNumbers,
  refusedRanges,
} from "./range.rows.ts";
import { acceptedUris, refusedUris } from "./uri.rows.ts";

/** Bytes with a meaning in some part of a message, and a few that are never allowed. */
const INSERTED_CHARACTERS = "\0\t\n\r #%&,-./0:;=?A[\\_\x7f\xff";

/**
 * Yields the texts that differ from `text` at one position: with another byte, with the byte
 * removed, or with a byte of INSERTED_CHARACTERS inserted.
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
    for (let byte = 0; byte < 256; byte++) {
      const character = String.fromCharCode(byte);
      if (character !== text[position]) yield textBefore + character + textAfter;
    }
  }
}

/** Valid texts for each parser, with all meaningful characters. */
const samples: Record<keyof typeof parsers, readonly string[]> = {
  "uri": ["/foo/b.r/?k=v%20", "/a/..b", "/"],
  "range": ["bytes=8-10"],
  "content-range": ["bytes 8-10/12"],
  "chunk-line": ["0", "1aF", "a;k-1=v~2", "1000000", "ffffff;k=v;w"],
  "headers-of-request": ["Na-0: v;e", "a: b\r\nc: d", "range: bytes=0-5"],
  "headers-of-response": ["content-range: bytes 0-5/7"],
  "request-preamble": ["GET /a.?b=1 HTTP/1.1", "PUT / HTTP/1.1\r\nA: b", "HEAD /x HTTP/1.1"],
  "response-preamble": ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not-Found x\r\nA: b"],
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
  ),
];
const refusedContentRange = [
  ...refusedContentRanges,
  ...makeNumberRows(
    "BAD_CONTENT_RANGE",
    ...[(n: string) => `bytes ${n}-8/9`, (n: string) => `bytes 0-${n}/9`],
    (n) => `bytes 0-0/${n}`,
  ),
];

/** Returns rows of header lines with these values. */
const makeLines = (name: string, values: Accepted): Accepted =>
  values.map(([text]) => [`${name}: ${text}`, { [name]: text }]);
const makeRefusedLines = (name: string, rows: readonly RefusedRow[]): RefusedRow[] =>
  rows.map((row) => ({
    ...row,
    text: `${name}: ${row.text}`,
    codes: isReferenceValue(row.text)
      ? row.codes
      : [...row.codes, "BAD_HEADER_VALUE", "BAD_HEADER_LINE"],
  }));
/** Returns rows of a header that is allowed only in the other kind of message. */
const makeForbiddenRows = (name: string, values: Accepted): RefusedRow[] =>
  values.flatMap(([text]) =>
    makeRefusedRows(`${name} here`, "RFC 9110 §14", "FORBIDDEN_HEADER", `${name}: ${text}`)
  );

const ranges = acceptedRanges.map(([text, start, stop]) => [text, { start, stop }] as const);
const contentRanges = acceptedContentRanges.map(([text, start, stop, total]) =>
  [text, { start, stop, total }] as const
);
const blocks: Accepted = [
  ...acceptedBlocks.map(({ text, headers }) => [text, headers] as const),
  ...acceptedContentLengths.map(([text, length]) =>
    [`content-length: ${text}`, { "content-length": length }] as const
  ),
];

/** Returns rows of first lines, each with and without a header after it. */
const addHeader = (rows: readonly RefusedRow[]): RefusedRow[] =>
  rows.flatMap((row) => [row, { ...row, text: `${row.text}\r\na: b` }]);

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
      // An open-ended range is sent on with both ends.
      ...acceptedRanges.map(([text, start, stop]) =>
        [`range: ${text}`, { range: `bytes=${start}-${stop - 1}` }] as const
      ),
    ],
    [
      ...refusedBlocks,
      ...makeRefusedLines("range", refusedRange),
      ...makeForbiddenRows("content-range", contentRanges),
    ],
  ],
  "headers-of-response": [
    [...blocks, ...makeLines("content-range", contentRanges)],
    [
      ...refusedBlocks,
      ...makeRefusedLines("content-range", refusedContentRange),
      ...makeForbiddenRows("range", ranges),
    ],
  ],
  "request-preamble": [
    acceptedUris.flatMap(([uri, path, query]) =>
      methods.map((method) =>
        [`${method} ${uri} HTTP/1.1`, { method, uri, headers: {}, path: [...path], query }] as const
      )
    ),
    addHeader([
      ...refusedRequestLines,
      ...refusedUris.filter(({ text }) => text !== "").map(({ text, codes, ...row }) => ({
        ...row,
        text: `GET ${text} HTTP/1.1`,
        // A CR LF in the row makes its rest a header line.
        codes: text.includes("\r\n") ? [...codes, "BAD_HEADER_LINE", "BAD_REQUEST_LINE"] : codes,
      })),
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
    addHeader(refusedStatusLines),
  ],
};

for (const [name, { read }] of Object.entries(parsers)) {
  const [accepted, refused] = rows[name as keyof typeof parsers];
  Deno.test(`the parser of ${name} returns the value of each row`, async (t) => {
    for (const [text, expected] of accepted) {
      await t.step(formatLabel(text), () => assertEquals(read(text), expected));
    }
  });

  Deno.test(`the parser of ${name} refuses each row that breaks a rule`, async (t) => {
    for (const { rule, rfc, text, codes } of refused) {
      await t.step(`${rule} (${rfc}): ${formatLabel(text)}`, () => {
        assertProtocolError(() => read(text), codes, formatLabel(text));
      });
    }
  });
}

// The fuzzers test texts that differ from the samples in more than one position.
for (const [name, { read, reference }] of Object.entries(parsers)) {
  Deno.test(`the parser of ${name} agrees with the grammar for every byte at every position`, () => {
    for (const sample of samples[name as keyof typeof parsers]) {
      for (const text of mutateText(sample)) {
        const [parsed, expected] = [parseOrNull(() => read(text), text), reference(text)];
        // Comparing the refusals, which are almost all results, would take long.
        if (parsed !== null || expected !== null) assertEquals<unknown>(parsed, expected, text);
      }
    }
  });
}

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
  for (const value of ["get", "", "PATCH", "GET ", "constructor"]) {
    assertRangeError(() => method(value), value);
  }
});

// The bytes of each region.

const allBytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const noData = new Uint8Array(0);

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
    // Two consecutive equal signs are invalid, so an equal sign in the text can't end the key.
    (text) => parseChunkHeader(encodeLatin1(`5;k${text}=v`)),
    (text) => formatChunk([[text, "v"], noData]),
  ],
  "chunk extension value": [
    allowedBytes.extensionValue,
    (text) => parseChunkHeader(encodeLatin1(`5;k=${text}`)),
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
    const isLiteral = path.includes(character);
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
    const isSent = character !== "/" && character !== "\0" && character.isWellFormed();
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
