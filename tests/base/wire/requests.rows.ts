/**
 * Streams of requests on one connection: the bytes of a client, and what a server must read and
 * send. Many rows are ways to make two recipients parse different requests from the same bytes: the
 * warnings of RFC 9112 (§2.2, §3, §5, §6, §7, §9, §11), and the public literature on request
 * smuggling. Text is Latin-1, one character per byte.
 */

import type { Request } from "@degu/degu/server";
import { formatErrorResponse } from "../../net/server/error_answers.ts";
import { formatLabel } from "@degu/testing/expectations.ts";
import { relayRequestHeaders, REQUESTS } from "../../apps/proxies.ts";
import type { RefusedRow } from "@degu/testing/rows.ts";
import { encodeUtf8, respellReferenceUri } from "@degu/testing/wire_grammar.ts";
import { type ModelRequest, readRequests } from "../../fuzz/oracle.ts";
import { acceptedTrailers, refusedCodings } from "./chunk.rows.ts";
import { formatFraming, requestFraming } from "./framing.rows.ts";
import { acceptedBlocks, chunkedLines, refusedBlocks } from "./headers.rows.ts";
import { acceptedHosts, refusedHosts, refusedRequestLines } from "./preamble.rows.ts";
import {
  absoluteTargets,
  acceptedUris,
  dottedUris,
  refusedAbsoluteTargets,
  refusedUris,
} from "./uri.rows.ts";

export interface RequestRow {
  readonly name: string;
  readonly bytes: string;
  /** The outcome, which the grammar must confirm. */
  readonly expected: Expected;
  /** The requests that the grammar finds in the bytes. */
  readonly accepted: readonly ModelRequest[];
  /** The request target of the request whose body is invalid. */
  readonly broken: string | undefined;
  /** What the server sends after the responses to the accepted requests: an error response, or `""`. */
  readonly lastResponse: string;
}

interface Expected {
  /** The number of requests that the server accepts. */
  readonly accepted: number;
  /** Whether the next request has a valid preamble and an invalid body. */
  readonly isBroken: boolean;
  /**
   * The status after which the server closes; `"silence"` if it closes without a response; `"wait"`
   * if it waits until the client ends the connection. If left out, the model in
   * tests/fuzz/oracle.ts determines it.
   */
  readonly last?: 400 | 421 | 431 | 501 | 505 | "silence" | "wait";
}

type Rows = readonly (readonly [name: string, text: string])[];

const REFUSED = { accepted: 0, isBroken: false };
const BROKEN = { accepted: 0, isBroken: true, last: 400 } as const;
const CUT = { accepted: 0, isBroken: true, last: "wait" } as const;
const ACCEPTED = { accepted: 1, isBroken: false };

/** Returns rows of one outcome; `bytesOf` makes the bytes from a text. */
function makeRows(
  expected: Expected,
  texts: Rows,
  bytesOf: (text: string) => string = (text) => text,
): RequestRow[] {
  return texts.map(([name, text]) => {
    const bytes = bytesOf(text);
    const { requests, broken, answers } = readRequests(bytes);
    const { last } = expected;
    const stated = typeof last === "number" ? formatErrorResponse(last) : "";
    const lastResponse = last === undefined ? answers[0]! : stated;
    return { name, bytes, expected, accepted: requests, broken: broken?.uri, lastResponse };
  });
}

/** Whether the server closes the connection without waiting for its client. */
export const isClosedByServer = ({ expected, lastResponse }: RequestRow): boolean =>
  expected.last === "silence" || lastResponse !== "";

/** Responds with each part of the request as text. Its source text is transferred to a worker. */
export const describeApp = async ({ method, uri, headers, body }: Request) => {
  const lines = Object.entries(headers).map((header) => header.join(": ")).toSorted();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const chunks: unknown[] = [];
  let text = "";
  if (body?.chunked) {
    for await (const [extension, data] of body) chunks.push([extension, decode(data)]);
  } else if (body !== null) { for await (const piece of body) text += decode(piece); }
  const content = body === null ? null : body.chunked ? chunks : text;
  return [200, "OK", {}, JSON.stringify([method, uri, lines, content])] as const;
};

/** Returns the text of {@linkcode describeApp} for a request. */
function describeRequest({ method, uri, headers, body }: ModelRequest): string {
  const lines = Object.entries(headers).map((header) => header.join(": ")).toSorted();
  return JSON.stringify([method, uri, lines, body]);
}

/** Returns all bytes that a server of {@linkcode describeApp} sends to the client of a row. */
export function formatResponses({ accepted, lastResponse }: RequestRow, isProxied = false): string {
  const texts = accepted.map((request) => {
    const headers = isProxied ? relayRequestHeaders(request.headers) : request.headers;
    const uri = isProxied ? respellReferenceUri(request.uri) : request.uri;
    const text = encodeUtf8(describeRequest({ ...request, uri, headers }));
    const close = request.isLast ? "connection: close\r\n" : "";
    const preamble = `HTTP/1.1 200 OK\r\n${close}content-length: ${text.length}\r\n\r\n`;
    return request.method === "HEAD" ? preamble : preamble + text;
  });
  return texts.join("") + lastResponse;
}

/** The bytes that an attacker wants a back end to read as a separate request. */
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const { length } = SMUGGLED;
const hexLength = length.toString(16);
const TE = "transfer-encoding: chunked";

/** Makes a message with a host. */
function makeMessage(line: string, headers = "", body = ""): string {
  return `${line}\r\nhost: a${headers === "" ? "" : `\r\n${headers}`}\r\n\r\n${body}`;
}

const get = (uri: string) => makeMessage(`GET ${uri} HTTP/1.1`);
const getWith = (headers: string) => makeMessage("GET /h HTTP/1.1", headers);
const makePost = (headers: string, body: string) => makeMessage("POST /p HTTP/1.1", headers, body);
const makeChunkedPost = (body: string) => makeMessage("POST /c HTTP/1.1", TE, body);

const listBytes = (kind: string, list: readonly string[]): Rows =>
  list.map((bytes) => [`${kind}: ${formatLabel(bytes)}`, bytes]);

function listTexts(kind: string, rows: readonly RefusedRow[]): Rows {
  return rows.flatMap(({ rule, rfc, text }) => listBytes(`${kind}: ${rule} (${rfc})`, [text]));
}

/** The refused blocks without an empty line, which would end the preamble. */
export const blocksOfPreamble: readonly RefusedRow[] = refusedBlocks.filter(({ text }) =>
  !`\r\n${text}\r\n\r\n`.slice(0, -1).includes("\r\n\r\n")
);

// The end of a body (RFC 9112 §6 and §7).

const bothFramings: Rows = [
  ["CL.TE", makePost(`content-length: ${length + 5}\r\n${TE}`, `0\r\n\r\n${SMUGGLED}`)],
  ["TE.CL", makePost(`${TE}\r\ncontent-length: 4`, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`)],
  ["CL.TE where both agree", makePost(`content-length: 5\r\n${TE}`, "0\r\n\r\n")],
];

/** Chunked bodies of requests whose method has no body; only an empty one is accepted. */
const unexpectedBodies: Rows = [
  ["a chunk", `5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`],
  ["a chunk that is cut", "5"],
  ["a request in a chunk", `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`],
  ["no chunks, and a request", SMUGGLED],
  ["bare line ends", `0\n\n${SMUGGLED}`],
  ["a bare line end after the last chunk", `0\r\n\n${SMUGGLED}`],
  ["white space after the last chunk", `0 \r\n\r\n${SMUGGLED}`],
  ["an invalid extension", `0;\r\n\r\n${SMUGGLED}`],
  ["an invalid trailer", `0\r\nGET / HTTP/1.1\r\n\r\n${SMUGGLED}`],
  ["a last chunk that is cut", "0\r\n\r"],
  ["a trailer that is cut", "0\r\na: b\r\n"],
  ["nothing", ""],
];

/** Spellings of the empty chunked body. */
const emptyBodies: Rows = [
  ["zeros", "000"],
  ["an extension", "0;a=b"],
  ["extensions", '0 ; a ; b="c"'],
  ["a trailer", "0\r\na: b"],
  ["a trailer that looks like a request", "00\r\nGET: / HTTP/1.1\r\ncontent-length: 36"],
  ["many lines", `0${"\r\na: b".repeat(128)}`],
];

const cutChunks: Rows = [
  ["no last chunk", "5\r\nhello\r\n"],
  ["data that is cut", "5\r\nhell"],
  ["a chunk size that is cut", "5"],
  ["nothing", ""],
];

const cutLengths: Rows = [
  ["a length beyond the end", `content-length: ${length + 1}`],
  ["a length of 2 to the 53 less 1", "content-length: 9007199254740991"],
];

// Preambles (RFC 9112 §2 to §5).

const preambles: Rows = [
  ["a header line before the first", "GET / HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n"],
  ["lines that end with LF alone", `GET / HTTP/1.1\nhost: a\n\n${SMUGGLED}`],
  ["an empty line with LF alone", `GET / HTTP/1.1\r\nhost: a\n\n${SMUGGLED}`],
  ["a preamble that ends with LF CR LF", `GET / HTTP/1.1\r\nhost: a\n\r\n${SMUGGLED}`],
  ["lines that end with CR alone", `GET / HTTP/1.1\rhost: a\r\r${SMUGGLED}`],
  ["a preamble that is cut", "GET / HTTP/1.1\r\nhost: a\r\n"],
  [
    "HTTP/1.0 with chunks, and keep-alive",
    `POST / HTTP/1.0\r\nconnection: keep-alive\r\n${TE}\r\n\r\n0\r\n\r\n`,
  ],
  [
    "HTTP/1.0 with chunks and a length",
    `POST / HTTP/1.0\r\ncontent-length: 5\r\n${TE}\r\n\r\n0\r\n\r\n`,
  ],
  ["HTTP/1.0 with an unknown coding", "POST / HTTP/1.0\r\ntransfer-encoding: gzip\r\n\r\n"],
  ["HTTP/1.0 with chunks", `POST / HTTP/1.0\r\nhost: a\r\n${TE}\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ["HTTP/0.9 that hides in the target", "GET /a HTTP/1.1/../b HTTP/0.9\r\n\r\n"],
];

const NEXT = "GET /next HTTP/1.1\r\n\r\n";

/** A request with a preamble of this length. */
const makeLong = (size: number) => "GET /l HTTP/1.1\r\na: ".padEnd(size - 4, "b") + "\r\n\r\n";
const makeLongUri = (size: number) => `GET /${"a".repeat(size - 18)} HTTP/1.1\r\n\r\n`;

const makeLines = (count: number) =>
  `GET /h HTTP/1.1\r\n${
    Array.from({ length: count }, (_, i) => `a${i % 100}: b\r\n`).join("")
  }\r\n`;

const tooLong: Rows = [
  ["129 header lines", makeLines(129)],
  [
    "more header lines, of which the last is invalid",
    makeLines(200).replace(/b\r\n\r\n$/, "\0\r\n\r\n"),
  ],
  ["a preamble of 32769 bytes", makeLong(32769)],
  ["an empty line, and a preamble of 32769 bytes", `\r\n${makeLong(32769)}`],
  ["a preamble of 32768 bytes without an end", makeLong(32772).slice(0, 32768)],
  ["a request target that is too long", makeLongUri(32769)],
  ["a line feed beyond the limit", `GET /?${"a".repeat(32762)}\n`],
  ["an unknown method and a long target", `BREW /${"b".repeat(40_000)} HTTP/1.0\r\n\r\n`],
];

/** The first violation decides, as soon as the server reads it. */
const refusedAtOnce: Readonly<Record<400 | 421 | 501 | 505 | "silence", readonly string[]>> = {
  400: [
    // A bare CR or a bare LF.
    ...["GET / HTTP/1.1\n", "GET / HTTP/1.1\rx", "GET / HTTP/1.1\r\r", "GET /\n"],
    ...[
      "GET / HTTP/1.0\n",
      "BREW / HTTP/1.1\n",
      "GET / HTTP/1.1\r\nhost: a\n",
      "GET / HTTP/1.1\r\nhost: a\rb",
    ],
    ...["GET / HTTP/1.1\r\na\n", "GET / HTTP/1.1\r\n\n", "GET / HTTP/1.1\r\n\r\r"],
    ...[`GET /?${"a".repeat(32700)}\n`, `GET /?${"a".repeat(32761)}\n`],
    "GET / HTTP/1.0\r\na: b\n",
    ...["\r\nGET / HTTP/1.1\n", "\r\nGET / HTTP/1.1\r\nhost: a\n"],
    ...["GET * HTTP/1.1\r\n\r\n", "GET a:80 HTTP/1.1\r\n\r\n", "GET ftp://a/ HTTP/1.1\r\n\r\n"],
    "GET http://u@a/ HTTP/1.1\r\n\r\n",
    ...["PATCH * HTTP/1.1\r\n\r\n", "OPTIONS ** HTTP/1.1\r\n\r\n", "OPTIONS a HTTP/1.1\r\n\r\n"],
    `OPTIONS / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}`,
    ...["GET /\r\n\r\n", "BREW /a pot HTTP/1.1\r\n\r\n", "BREW / FOO\r\n\r\n"],
  ],
  501: [
    ...["get / HTTP/1.1\r\n\r\n", "M-SEARCH * HTTP/1.1\r\n\r\n", "PROPFIND / HTTP/1.1\r\n\r\n"],
    ...["a!#$%&'*+-.^_`|~0 / HTTP/1.1\r\n\r\n", `${"A".repeat(64)} / HTTP/1.1\r\n\r\n`],
    ...[`OPTIONS * HTTP/1.1\r\nmax-forwards: 0\r\n\r\n${NEXT}`, "CONNECT a:80 HTTP/1.1\r\n\r\n"],
    "TRACE / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    ...["OPTIONS * HTTP/1.0\r\n\r\n", "BREW / HTTP/1.0\r\n\r\n", "get / HTTP/1.0\r\n\r\n"],
    ...["gzip, chunked", "gzip,Chunked", "a, b, chunked", "identity, chunked"].map((value) =>
      `PUT / HTTP/1.1\r\ntransfer-encoding: ${value}\r\n\r\n0\r\n\r\n`
    ),
    // The method was valid in the line before.
    "BREW / HTTP/1.1\r\na: b\n",
  ],
  505: [
    ...["GET / HTTP/1.2\r\na: b\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "BREW / HTTP/0.9\r\n\r\n"],
    ...["get / HTTP/2.0\r\n\r\n", "GET / HTTP/1.2\r\nconnection: keep-alive\r\n\r\n"],
  ],
  421: [
    ...["GET https://a/ HTTP/1.1\r\n\r\n", "PUT HTTPS://a:443/b HTTP/1.1\r\nhost: c\r\n\r\n"],
    ...["GET https://a HTTP/1.0\r\n\r\n"],
  ],
  // Bytes with this start are not HTTP.
  silence: [
    ...["GET\n", "GET\r", "\n", "\r\n\r\n", `\r\n\r\n${SMUGGLED}`, `\n${SMUGGLED}`, "\0", "SSH:"],
    ...["("],
    ...["\r\n(", "\r\n\n", "\r\n GET / HTTP/1.1\r\n\r\n", `\r${SMUGGLED}`, `\r\n\r${SMUGGLED}`],
    ...[" GET / HTTP/1.1\r\n\r\n", "(GET) / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00", "GETTER/"],
    ...["\xef\xbb\xbfGET / HTTP/1.1\r\n\r\n", "A".repeat(65)],
    ...[`${"A".repeat(65)} / HTTP/1.1\r\n\r\n`],
  ],
};

const brokenAtOnce = [
  "5\n",
  "5\rx",
  "5;a=b\n",
  "1\r\nx\r\n0\n",
  "20000000000000\r\n",
  "5\r\nhelloworld",
  "5 \r\n",
  '5;a="b\r\n',
  "5;a=(\r\n",
  "0\r\na\r\n",
  "0\r\na : b\r\n",
  "0\r\n\n",
  "0\r\na: b\n",
];

// Accepted messages.

const acceptedHeaders: Rows = [
  ["Expect of something else", "expect: 200-ok"],
  [
    "Upgrade to h2c",
    "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
  ],
  ["Connection that names host", "connection: host"],
  ["Connection that names content-length", "connection: content-length"],
  [
    "Connection that names transfer-encoding",
    "connection: close, transfer-encoding\r\nte: trailers",
  ],
  [
    "names that are nearly those of framing",
    "content-length-: 5\r\nx-transfer-encoding: chunked\r\ncontentlength: 5\r\ncontent-lengt: 5",
  ],
  ["a trailer that is announced", "trailer: content-length"],
  ["several ranges", "range: bytes=0-1,3-4"],
  ["a name that CGI reads as another", "x_user: root\r\nx.user: root\r\nx-user: anna"],
  ["two cookies, and two of others", "cookie: a=b\r\naccept: a\r\ncookie: c=d\r\naccept: b"],
  ["a length with leading zeros", "content-length: 000"],
];

const acceptedBodies: Rows = [
  ["a request in a body of known length", makePost(`content-length: ${length}`, SMUGGLED)],
  [
    "a request in a chunk",
    makePost(
      "Transfer-Encoding: chunked",
      `${(length + 5).toString(16).toUpperCase()}\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`,
    ),
  ],
  [
    "extensions that look like chunks",
    makeMessage("PUT /b HTTP/1.1", TE, "5;0=0\r\nhello\r\n0;a=5\r\n\r\n"),
  ],
  ["several extensions", makePost(TE, '05 ; a ; b="c\\"d" ; e=f\r\nhello\r\n0;g\r\n\r\n')],
  ...chunkedLines.map((line) => [line, makePost(line, "5\r\nhello\r\n0\r\n\r\n")] as const),
  ["a range, and a body", makePost("range: bytes=0-1\r\ncontent-length: 5", "hello")],
  [
    "a trailer that looks like a request",
    makePost(TE, "5\r\nhello\r\n0\r\nGET: / HTTP/1.1\r\ncontent-length: 36\r\n\r\n"),
  ],
  ["an extension with quotes", makePost(TE, 'A;a="b;c"\r\nhellohello\r\n0;c=d\r\n\r\n')],
  ["a request, and one that is refused", get("/first") + makeMessage("GET /second HTTP/1.2")],
  ["a request, and two empty lines", `${get("/first")}\r\n\r\n${SMUGGLED}`],
  ["an empty line before a request", `\r\n${get("/first")}`],
  ["a request, and a bare line end", `${get("/first")}GET / HTTP/1.1\n`],
  ["a request, and an invalid first byte", `${get("/first")}(`],
  ["a request, and a preamble of 32769 bytes", get("/first") + makeLong(32769)],
  ["a body, and a byte more", makePost("content-length: 5", `hello!${SMUGGLED}`)],
  ["a request without host", "GET /b HTTP/1.1\r\n\r\n"],
  ["Expect with a body", makePost("expect: 100-continue\r\ncontent-length: 5", "hello")],
  ["a preamble of 32768 bytes", makeLong(32768)],
  ["128 header lines", makeLines(128)],
  ["an empty line, and a preamble of 32768 bytes", `\r\n${makeLong(32768)}`],
  ["a request target of 32750 bytes", makeLongUri(32768)],
];

/** Forms of `connection` with the option close (RFC 9110 §5.6.1.2, §7.6.1). */
export const CLOSE_OPTIONS: readonly string[] = [
  ...["close", "CLOSE", "te,close", "close , te", ",close", "close,", ", ,close, ,", "te,,Close"],
  ...["keep-alive, close", "close, keep-alive", "x,cLoSe,y", "upgrade ,  close  , x"],
];

/** Forms of `connection` without the option close. */
export const OTHER_OPTIONS: readonly string[] = [
  ...["keep-alive", "closed", "not-close", "close-not", "close:", '"close"', "close x", "x close"],
];

const pipelines: Rows = [
  ["a request, and an empty line", `${get("/first")}\r\n${SMUGGLED}`],
  ["chunks, and an empty line more", makePost(TE, `0\r\n\r\n\r\n${SMUGGLED}`)],
  ["a body, and an empty line more", makePost("content-length: 5", `hello\r\n${SMUGGLED}`)],
  ["chunks with trailers, and another request", makePost(TE, `0\r\na: b\r\n\r\n${SMUGGLED}`)],
  ["the absolute form, and another request", get("http://b/first") + get("/second")],
  ["a request, and one of HTTP/1.0", get("/first") + makeMessage("GET /second HTTP/1.0") + NEXT],
  ["no length at all, and another request", makePost("", get("/second"))],
  ["length 0, and another request", makePost("content-length: 0", get("/second"))],
  ["a request, and a preamble of 32768 bytes", get("/first") + makeLong(32768)],
  ["two requests, and one that is refused", NEXT + NEXT + "TRACE / HTTP/1.1\r\n\r\n"],
  ...OTHER_OPTIONS.map((value) =>
    [
      `connection: ${value}, and another request`,
      getWith(`connection: ${value}`) + get("/b"),
    ] as const
  ),
];

/** Bytes after a request with `connection: close` (RFC 9112 §9.6). */
const lastRequests: Rows = [
  ["HTTP/1.0, and another request", `GET / HTTP/1.0\r\n\r\n${SMUGGLED}`],
  ["HTTP/1.0 with keep-alive", `GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n${SMUGGLED}`],
  ["HTTP/1.0 with HEAD", `HEAD / HTTP/1.0\r\nhost: a\r\n\r\n${SMUGGLED}`],
  [
    "HTTP/1.0 with a body",
    `POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello${SMUGGLED}`,
  ],
  ["HTTP/1.0 without a length", `POST / HTTP/1.0\r\n\r\nhello${SMUGGLED}`],
  [
    "HTTP/1.0 with Expect",
    `PUT / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello${SMUGGLED}`,
  ],
  ["HTTP/1.0 in absolute form", `GET http://a/b HTTP/1.0\r\n\r\n${SMUGGLED}`],
  ...CLOSE_OPTIONS.map((value) =>
    [
      `connection: ${value}, and another request`,
      getWith(`connection: ${value}`) + SMUGGLED,
    ] as const
  ),
  [
    "close in another case, a body, and another request",
    makePost("Connection: Close\r\ncontent-length: 5", `hello${SMUGGLED}`),
  ],
  [
    "close in a list, chunks, and another request",
    makePost(`connection: te, close\r\n${TE}`, `0\r\n\r\n${SMUGGLED}`),
  ],
  ["connection: close, and what is no request", `${getWith("connection: close")}\0`],
];

export const requestRows: readonly RequestRow[] = [
  ...makeRows(REFUSED, bothFramings),
  ...requestFraming.flatMap((row) =>
    makeRows(
      row.body !== null && typeof row.body === "object" ? REFUSED : { ...REFUSED, accepted: 2 },
      listBytes(`${row.rule} (${row.rfc})`, formatFraming(row).map((bytes) => bytes + NEXT)),
    )
  ),
  ...makeRows(
    BROKEN,
    listTexts("chunks", refusedCodings),
    (text) => makeChunkedPost(text + SMUGGLED),
  ),
  ...makeRows(BROKEN, listBytes("chunks", brokenAtOnce), makeChunkedPost),
  ...["GET", "HEAD", "DELETE"].flatMap((method) =>
    makeRows(REFUSED, unexpectedBodies, (text) => makeMessage(`${method} /b HTTP/1.1`, TE, text))
  ),
  ...["GET", "HEAD", "DELETE"].flatMap((method) =>
    makeRows({ ...REFUSED, accepted: 2 }, emptyBodies, (text) => {
      return makeMessage(`${method} /b HTTP/1.1`, TE, `${text}\r\n\r\n${NEXT}`);
    })
  ),
  ...makeRows(CUT, cutChunks, makeChunkedPost),
  ...makeRows(CUT, cutLengths, (line) => makeMessage("POST /c HTTP/1.1", line, SMUGGLED)),
  ...makeRows(REFUSED, listTexts("header", blocksOfPreamble), (block) => makePost(block, SMUGGLED)),
  ...makeRows(REFUSED, listTexts("request line", refusedRequestLines), makeMessage),
  ...makeRows(REFUSED, listTexts("URI", refusedUris), get),
  ...makeRows(REFUSED, preambles),
  ...makeRows({ ...REFUSED, last: 431 }, tooLong),
  ...([400, 421, 501, 505, "silence"] as const).flatMap((last) =>
    makeRows({ ...REFUSED, last }, listBytes(`${last}`, refusedAtOnce[last]))
  ),
  ...makeRows(
    ACCEPTED,
    acceptedBlocks.flatMap(({ rule, text }) => listBytes(rule, [text])),
    (block) => `GET /h HTTP/1.1\r\n${block === "" ? "" : `${block}\r\n`}\r\n`,
  ),
  ...makeRows(ACCEPTED, acceptedHeaders, getWith),
  ...makeRows(ACCEPTED, listBytes("URI", acceptedUris.map(([uri]) => uri)), get),
  ...makeRows(ACCEPTED, listBytes("URI", dottedUris.map(([uri]) => uri)), get),
  ...makeRows(ACCEPTED, listBytes("URI", absoluteTargets.map(([target]) => target)), get),
  ...makeRows(REFUSED, listTexts("URI", refusedAbsoluteTargets), get),
  ...makeRows(
    ACCEPTED,
    listBytes("host", ["", ...acceptedHosts]),
    (host) => `GET /h HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
  ),
  ...makeRows(
    { ...REFUSED, last: 400 },
    listBytes("host", refusedHosts),
    (host) => `GET /h HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
  ),
  ...makeRows(
    ACCEPTED,
    listBytes("trailers", acceptedTrailers),
    (lines) => makeChunkedPost(`5\r\nhello\r\n0\r\n${lines}\r\n`),
  ),
  ...makeRows(ACCEPTED, listBytes("every kind of request", REQUESTS)),
  ...makeRows(ACCEPTED, acceptedBodies),
  ...makeRows(ACCEPTED, lastRequests),
  ...makeRows({ ...ACCEPTED, accepted: 2 }, pipelines),
];

/**
 * All rows with an accepted request or a stated status, and an eighth of the others: enough for
 * tests of what happens after a request is accepted.
 */
export const someRequestRows: readonly RequestRow[] = requestRows.filter(
  ({ expected, accepted }, i) =>
    accepted.length > 0 || (expected.last !== undefined && expected !== BROKEN) || i % 8 === 0,
);
