/**
 * Attacks on a server and the proxies in front of it: bytes in which two recipients could find
 * different messages, and headers that a recipient could take for others. Text is Latin-1, one
 * character per byte.
 */

import { formatLabel } from "@degu/testing/expectations.ts";
import type { Method } from "@degu/degu/base";

/** The bytes of a client, and the outcome. */
export interface RequestAttack {
  readonly name: string;
  readonly bytes: string;
  /** The method and the target of each request that the server gets. */
  readonly accepted: readonly string[];
  /** The target of the request after these, whose body never ends. */
  readonly broken?: string;
  /**
   * The status of the error response that the client gets last; `"wait"` if the server waits until
   * the client ends the connection; `"close"` if the server closes without an error response.
   */
  readonly last: 400 | 421 | 431 | 501 | 505 | "wait" | "close";
}

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const { length } = SMUGGLED;
const hexLength = length.toString(16);
const TE = "transfer-encoding: chunked";
const SMUGGLED_CHUNK = `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`;

type Texts = readonly string[];

function makeRows(
  rule: string,
  outcome: Omit<RequestAttack, "name" | "bytes">,
  texts: Texts,
  bytesOf: (text: string) => string = (text) => text,
): RequestAttack[] {
  return texts.map((text) => ({
    name: `${rule}: ${formatLabel(text)}`,
    bytes: bytesOf(text),
    ...outcome,
  }));
}

const refuse = (last: RequestAttack["last"] = 400) => ({ accepted: [], last });
const getWith = (lines: string) => `GET /a HTTP/1.1\r\nhost: a\r\n${lines}\r\n\r\n${SMUGGLED}`;
const postWith = (lines: string, body: string) =>
  `POST /a HTTP/1.1\r\nhost: a\r\n${lines}\r\n\r\n${body}`;
const BROKEN = { accepted: [], broken: "/a", last: 400 } as const;

/** Lines of framing that one of two recipients could read in another way. */
const FRAMING: Texts = [
  // Lengths beside chunks, in both orders and spellings.
  ...[`content-length: ${length}\r\n${TE}`, `${TE}\r\ncontent-length: 4`],
  ...[`content-length: 0\r\n${TE}`, `${TE}\r\nContent-Length:0`, `content-length:00\r\n${TE}`],
  // Two lengths, equal ones too.
  ...["content-length: 0\r\ncontent-length: 36", "content-length: 36\r\ncontent-length: 0"],
  ...["content-length: 5\r\ncontent-length: 5", "Content-Length:5\r\ncontent-length:\t5"],
  ...["content-length: 5, 5", "content-length: 5,5", "content-length: 0, 36", "content-length: 5,"],
  // No digits, or more.
  ...["content-length: +5", "content-length: -5", "content-length: 0x5", "content-length: 5 5"],
  ...["content-length:", "content-length: 5.0", "content-length: 1e1", "content-length: 5;a=b"],
  ...[
    "content-length: 5_0",
    "content-length: \xb2",
    "content-length: 5\x0b",
    "content-length: \xa05",
  ],
  ...["content-length: 9007199254740992", "content-length: 18446744073709551617"],
  ...[`content-length: ${"9".repeat(400)}`, "content-length: 0b101", "content-length: 0o5"],
  // Transfer codings.
  ...[
    "chunked, chunked",
    "chunked,",
    ",chunked",
    "chunked;a=b",
    '"chunked"',
    "xchunked",
    "chunkedx",
  ],
  ...["chunked, gzip", "chunked gzip", "identity", "gzip", "", "chunked\x0b", "\x0cchunked"],
  ...["chunked\xa0", "\xa0chunked", "chun\xe9ked", "ch\tunked", "chunked\0", "chu nked"],
].map((line) => line.includes(":") ? line : `transfer-encoding: ${line}`);

const DUPLICATE_CODINGS: Texts = [
  `${TE}\r\n${TE}`,
  `${TE}\r\ntransfer-encoding: identity`,
  `transfer-encoding: gzip\r\n${TE}`,
  `${TE}\r\nTransfer-Encoding:`,
  `transfer-encoding:\r\n${TE}`,
];

/** Unknown codings before `chunked`. */
const UNKNOWN_CODINGS: Texts = ["gzip, chunked", "gzip,chunked", "a;b=c, chunked", "x , CHUNKED"];

/** Names that hide a header from one of two recipients. */
const HIDDEN_LINES: Texts = [
  ...[
    "transfer-encoding : chunked",
    "transfer-encoding\t: chunked",
    `\x0b${TE}`,
    `\0${TE}`,
    `\xa0${TE}`,
  ],
  ...[
    "content-length : 36",
    "content-length\x0c: 36",
    "content\0-length: 36",
    "content-length\xa0: 36",
  ],
  ...["(a): b", "a b: c", ": a", "a", "a\xe9: b", "a/b: c", 'a"b: c', "a@b: c", "[a]: b"],
  // Folds.
  ...["a: b\r\n c", "a: b\r\n\tc", `a: b\r\n ${TE}`, "content-length: 3\r\n 6", " a: b", "\ta: b"],
  "transfer-encoding:\r\n chunked",
  // Bare line ends and control characters in values.
  ...[`a: b\n${TE}`, `a: b\r${TE}`, `a: b\n\r${TE}`, `a: b\r\r\n${TE}`, `a: b\n\n${SMUGGLED}`],
  ...["a: b\0", "a: \0", "a: b\x01", "a: b\x0bc", "a: b\x0c", "a: b\x1f", "a: b\x7f", "a: \x08b"],
];

/** Headers that may occur only once: one recipient would use the first, another the last. */
const DUPLICATES: Texts = [
  ...["host: a\r\nhost: b", "Host:a\r\nhost:a", "host:\r\nhost: a"],
  ...["authorization: a\r\nauthorization: b", "proxy-authorization: a\r\nProxy-Authorization: a"],
  ...["content-type: a/b\r\ncontent-type: c/d", "range: bytes=0-1\r\nrange: bytes=2-3"],
  ...["etag: a\r\netag: b", "last-modified: a\r\nlast-modified: b", "location: /a\r\nlocation: /b"],
  ...["if-range: a\r\nif-range: b", "if-modified-since: a\r\nif-modified-since: b"],
  ...["if-unmodified-since: a\r\nif-unmodified-since: b", "if-range:\r\nif-range: a"],
];

const HOSTS: Texts = [
  ...[
    "a/b",
    "a b",
    "a, b",
    "a@b",
    "user:password@a",
    "a#b",
    "a?b",
    "a\\b",
    "http://a",
    "[::1",
    "::1",
  ],
  ...[
    "a:b",
    "a:80:80",
    "a:-1",
    "a:+80",
    "[::1]a",
    "[a]",
    "[::1]:a",
    "\xe9",
    "a%",
    "a%zz",
    ":",
    "a\tb",
  ],
  ...["[fe80::1%]", "[fe80::1%/@b]", "fe80::1%a/../b", "fe80::1%a b", "[fe80::1%\xe9]"],
];

/** Chunked bodies that end with a request: invalid in one of the parts. */
const CHUNKS: Texts = [
  // Sizes.
  ...[
    "+5",
    "-5",
    "0x5",
    " 5",
    "5 ",
    "5\t",
    "5.0",
    "5,",
    "g",
    "",
    ";a=b",
    "5\0",
    "\xb5",
    "5_0",
    "5h",
  ],
  ...["20000000000000", "ffffffffffffffff", "10000000000000005", "100000000000000000000000000005"],
  // Extensions.
  ...[
    "5;",
    "5;=",
    "5;=b",
    "5;a=",
    '5;a="b',
    "5;a=(",
    "5;a=<b>",
    "5;a=b c",
    "5;a b",
    "5;;a",
    "5;a;",
  ],
  ...[
    '5;a="b"c',
    '5;a="b\\"',
    '5;a="\0"',
    '5;a="\x7f"',
    "5;a=\0",
    "5;a=\xe9",
    "5;\xe9=a",
    "5;a/b=c",
  ],
  ...["5;a=b ", "5 ;a=b\t", "5;a==b", "5,a=b", "5 a=b", '5;"a"=b'],
].map((header) => `${header}\r\nhello\r\n0\r\n\r\n`).concat(
  // Bare line ends.
  ...["5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\n\rhello\r\n0\r\n\r\n"],
  ...["5;a\nhello\r\n0\r\n\r\n", "5;a\rhello\r\n0\r\n\r\n", '5;a="\nhello\r\n0\r\n\r\n'],
  ...['5;a="\r\n"\r\nhello\r\n0\r\n\r\n', "5;a=b\r\r\nhello\r\n0\r\n\r\n"],
  ...["5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "5\r\nhello\n\r0\r\n\r\n"],
  ...["5\r\nhello0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n"],
  ...[
    "5\r\nhello\r\n0\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\n\r\r",
    "5\r\nhello\r\n\r\n",
  ],
  // Trailers.
  ...[
    " a: b",
    "a",
    "a : b",
    "a b: c",
    ": a",
    "a: b\0",
    "a: b\n",
    "a: b\rc",
    "a: b\r\n c",
    "\xe9: a",
  ]
    .map((line) => `5\r\nhello\r\n0\r\n${line}\r\n\r\n`),
  `5\r\nhello\r\n0\r\n${"a: b\r\n".repeat(5462)}\r\n`,
);

/** Chunked bodies with white space after a chunk header, which has one reading in a response. */
const PADDED_CHUNKS: Texts = ["5 ", "5\t", "5;a=b ", "5 ;a=b\t"]
  .map((header) => `${header}\r\nhello\r\n0\r\n\r\n`);

/** Chunked bodies of one reading, the last chunk of each followed by a request. */
const VALID_CHUNKS: Texts = [
  ...["5\r\nhello\r\n0\r\n\r\n", "0005\r\nhello\r\n000\r\n\r\n", "5;a\r\nhello\r\n0;b\r\n\r\n"],
  ...['5;a="0;b=c"\r\nhello\r\n0\r\n\r\n', '5 ;\ta = "\\"" ; b\r\nhello\r\n0 ; a\r\n\r\n'],
  // A trailer never becomes a header of this request, or of the next.
  ...["content-length: 36", "transfer-encoding: chunked", "host: b", "x_user: root", "x-user: root"]
    .map((line) => `5\r\nhello\r\n0\r\n${line}\r\n\r\n`),
  "5\r\nhello\r\n0\r\nGET: /smuggled HTTP/1.1\r\n\r\n",
];

const TARGETS: Texts = [
  // Components.
  ...[
    "//",
    "//a",
    "/a//b",
    "/..",
    "/../a",
    "/a/..",
    "/a/../b",
    "/./..",
    "/.././a",
    "/..;/a",
    "/.;/a",
  ],
  ...[
    "/..%3B/a",
    "/a%2Fb",
    "/a%2fb",
    "/a%00b",
    "/%2e",
    "/%2e%2e/a",
    "/.%2e/a",
    "/%2E%2F",
    "/%61",
    "/%2D",
  ],
  ...[
    "/a%5",
    "/%",
    "/%zz",
    "/%u0041",
    "/%c0%ae",
    "/%C0%AF",
    "/%ff",
    "/%ED%A0%80",
    "/a\\b",
    "/..\\a",
  ],
  ...[
    "/a#b",
    "/a?b#c",
    "/a\0",
    "/a\tb",
    "/\xe9",
    "/a?\xff",
    "/a\x7f",
    "/a\x0bb",
    '/"',
    "/<a>",
    "/`",
  ],
  ...["/.//", "/.//a", "/a/.//b", "/./%2e", "/./../a", "/a/./..;"],
  // Forms.
  ...[
    "*",
    "a",
    "a/b",
    "?a",
    "a:80",
    "@a/",
    "",
    "http:",
    "http:/",
    "http://",
    "http:///a",
    "http:a",
  ],
  ...["http://@a/", "http://user@a/", "http://user:password@a/", "http://a b/", "http://a@b/c"],
  ...["ftp://a/", "file:///etc/passwd", "ws://a/", "javascript:a", "https:/a/", "http://:80/"],
  ...[
    "http://a//b",
    "http://a/../b",
    "http://a/%2e%2e/b",
    "http://a/b#c",
    "http://a#b",
    "http://a/%00",
  ],
  ...[
    "http://a\\@b/",
    "http://a\\b/",
    "http://[::1/",
    "http://a:b/",
    "http://a,b@c/",
    "http://\xe9/",
  ],
];

/** Targets that are read in one way, as the app must see them. */
const READ_TARGETS: readonly (readonly [target: string, uri: string])[] = [
  ["/./a", "/a"],
  ["/a/.", "/a/"],
  ["/./././", "/"],
  ["/a/./b?/./../c", "/a/b?/./../c"],
  ["http://b/a", "/a"],
  ["HTTP://B:81/a?b", "/a?b"],
  ["http://b", "/"],
  ["http://b?a", "/?a"],
  ["http://b/./a/.", "/a/"],
];

/** First lines, and bytes before them. */
const FIRST_LINES: readonly (readonly [last: RequestAttack["last"], bytes: string])[] = [
  [400, `GET / HTTP/1.1\nhost: a\n\n${SMUGGLED}`],
  [400, `GET / HTTP/1.1\rhost: a\r\r${SMUGGLED}`],
  [400, `GET / HTTP/1.1\r\nhost: a\n\n${SMUGGLED}`],
  [400, `GET / HTTP/1.1\r\nhost: a\n\r\n${SMUGGLED}`],
  [400, `GET / HTTP/1.1\r\n\n${SMUGGLED}`],
  [400, `GET / HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n${SMUGGLED}`],
  [400, `GET /a HTTP/1.1 HTTP/1.1\r\n\r\n${SMUGGLED}`],
  [400, `GET  /a HTTP/1.1\r\n\r\n${SMUGGLED}`],
  [400, `GET /a  HTTP/1.1\r\n\r\n${SMUGGLED}`],
  ["close", `GET\t/a\tHTTP/1.1\r\n\r\n${SMUGGLED}`],
  [400, `GET /a HTTP/1.1 \r\n\r\n${SMUGGLED}`],
  [400, `GET /a\r\n\r\n${SMUGGLED}`],
  [400, `GET /a http/1.1\r\n\r\n${SMUGGLED}`],
  [400, `GET /a HTTP/1.1\x0b\r\n\r\n${SMUGGLED}`],
  [505, `GET /a HTTP/1.2\r\n\r\n${SMUGGLED}`],
  [505, `GET /a HTTP/0.9\r\n\r\n${SMUGGLED}`],
  [505, `GET /a HTTP/2.0\r\n\r\n${SMUGGLED}`],
  [505, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`],
  [501, `CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n${SMUGGLED}`],
  [501, `OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`],
  [400, `OPTIONS / HTTP/1.1\r\nhost: a\r\ncontent-length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
  [400, `OPTIONS / HTTP/1.1\r\nhost: a\r\n${TE}\r\n\r\n24\r\n${SMUGGLED}\r\n0\r\n\r\n`],
  [400, `OPTIONS / HTTP/1.1\r\nhost: a\r\n${TE}\r\ncontent-length: 0\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  [400, `PATCH / HTTP/1.1\r\nhost: a\r\n${TE}\r\ncontent-length: 5\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  [400, `PATCH / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\n${SMUGGLED}`],
  [501, `patch / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n${SMUGGLED}`],
  [501, `TRACE / HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`],
  [501, `get / HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`],
  [421, `GET https://a/ HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`],
  [421, `GET HTTPS://b/ HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`],
  // One empty line may precede a request line, with CR LF.
  ["close", `\r\n\r\n${SMUGGLED}`],
  ["close", `\n${SMUGGLED}`],
  ["close", `\r${SMUGGLED}`],
  ["close", `\r\n ${SMUGGLED}`],
  ["close", ` \r\n${SMUGGLED}`],
  ["close", `\0${SMUGGLED}`],
  ["close", `\xef\xbb\xbf${SMUGGLED}`],
  ["close", "\x16\x03\x01\x02\x00"],
  [431, `GET /a HTTP/1.1\r\na: ${"b".repeat(32768)}\r\n\r\n${SMUGGLED}`],
];

/** Messages of HTTP/1.0: no chunks, and no request after the first. */
const HTTP10: RequestAttack[] = [
  ...makeRows("HTTP/1.0 with chunks", refuse(), [
    `POST /a HTTP/1.0\r\n${TE}\r\n\r\n${SMUGGLED_CHUNK}`,
    `POST /a HTTP/1.0\r\n${TE}\r\ncontent-length: 5\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    `GET /a HTTP/1.0\r\nTransfer-Encoding:CHUNKED\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ]),
  ...makeRows("HTTP/1.0 with an unknown coding", refuse(501), [
    `POST /a HTTP/1.0\r\ntransfer-encoding: gzip, chunked\r\n\r\n${SMUGGLED_CHUNK}`,
  ]),
  ...makeRows("a request after HTTP/1.0", { accepted: ["GET /a"], last: "close" }, [
    `GET /a HTTP/1.0\r\n\r\n${SMUGGLED}`,
    `GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n${SMUGGLED}`,
    `GET /a HTTP/1.0\r\nconnection: Keep-Alive\r\nkeep-alive: timeout=5\r\n\r\n${SMUGGLED}`,
  ]),
  ...makeRows("a body of HTTP/1.0", { accepted: ["POST /a"], last: "close" }, [
    `POST /a HTTP/1.0\r\ncontent-length: ${length}\r\n\r\n${SMUGGLED}${SMUGGLED}`,
    `POST /a HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 0005\r\n\r\nhello${SMUGGLED}`,
  ]),
];

const NEXT = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
const TWO = (first: string) => ({ accepted: [first, "GET /next"], last: "wait" }) as const;

export const requestAttacks: readonly RequestAttack[] = [
  ...makeRows("framing", refuse(), FRAMING, (line) => postWith(line, SMUGGLED_CHUNK)),
  ...makeRows("framing of GET", refuse(), FRAMING, getWith),
  ...makeRows("two codings", refuse(), DUPLICATE_CODINGS, (line) => postWith(line, SMUGGLED_CHUNK)),
  ...makeRows(
    "unknown coding",
    refuse(501),
    UNKNOWN_CODINGS,
    (coding) => postWith(`transfer-encoding: ${coding}`, SMUGGLED_CHUNK),
  ),
  ...makeRows("body of GET", refuse(), ["content-length: 36", TE], getWith),
  ...makeRows("hidden line", refuse(), HIDDEN_LINES, getWith),
  ...makeRows("hidden line", refuse(), HIDDEN_LINES, (line) => postWith(line, SMUGGLED_CHUNK)),
  ...makeRows(
    "repeated header",
    refuse(),
    DUPLICATES,
    (lines) => `GET /a HTTP/1.1\r\n${lines}\r\n\r\n${SMUGGLED}`,
  ),
  ...makeRows(
    "host",
    refuse(),
    HOSTS,
    (host) => `GET /a HTTP/1.1\r\nhost: ${host}\r\n\r\n${SMUGGLED}`,
  ),
  ...makeRows(
    "host beside an absolute form",
    refuse(),
    HOSTS,
    (host) => `GET http://b/a HTTP/1.1\r\nhost: ${host}\r\n\r\n${SMUGGLED}`,
  ),
  ...makeRows("chunks", BROKEN, CHUNKS, (body) => postWith(TE, body + SMUGGLED)),
  ...makeRows("valid chunks", TWO("POST /a"), VALID_CHUNKS, (body) => postWith(TE, body + NEXT)),
  ...makeRows(
    "target",
    refuse(),
    TARGETS,
    (target) => `GET ${target} HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`,
  ),
  ...READ_TARGETS.flatMap(([target, uri]) =>
    makeRows(
      "read target",
      TWO(`GET ${uri}`),
      [target],
      (text) => `GET ${text} HTTP/1.1\r\nhost: a\r\n\r\n${NEXT}`,
    )
  ),
  ...FIRST_LINES.flatMap(([last, bytes]) => makeRows("first line", refuse(last), [bytes])),
  ...HTTP10,
  ...makeRows("an empty line before a request", TWO("GET /a"), [
    `\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n${NEXT}`,
    `GET /a HTTP/1.1\r\nhost: a\r\n\r\n\r\n${NEXT}`,
  ]),
  ...makeRows("a body before an empty line", TWO("POST /a"), [
    postWith("content-length: 5", `hello\r\n${NEXT}`),
    postWith("Content-Length:05", `hello\r\n${NEXT}`),
    postWith(TE, `0\r\n\r\n\r\n${NEXT}`),
  ]),
  ...makeRows("bytes after a body", { accepted: ["POST /a"], last: "close" }, [
    postWith("content-length: 5", `hello\r\n\r\n${SMUGGLED}`),
    postWith("content-length: 5", `hello\n${SMUGGLED}`),
    postWith(TE, `0\r\n\r\n\r\n\r\n${SMUGGLED}`),
  ]),
  ...makeRows("bytes after the last request", { accepted: ["GET /a"], last: "close" }, [
    `GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n${SMUGGLED}`,
    `GET /a HTTP/1.1\r\nhost: a\r\nConnection:x\r\nconnection:\tCLOSE\r\n\r\n${SMUGGLED}`,
  ]),
  ...makeRows("a body that is cut", { accepted: [], broken: "/a", last: "wait" }, [
    postWith(`content-length: ${length + 1}`, SMUGGLED),
    postWith(TE, `${(length + 1).toString(16)}\r\n${SMUGGLED}`),
    postWith(TE, "5\r\nhello\r\n"),
    postWith(TE, "5\r\nhello\r\n0\r\n"),
    postWith(TE, "5\r\nhello\r\n0\r\na: b\r\n"),
  ]),
];

/**
 * Lines of a request that must not reach the server, since a server with CGI or WSGI could take
 * their names for those of other headers, or because they concern one connection only.
 */
export const DROPPED_LINES: Texts = [
  ...["x_user: root", "X_USER: root", "x_forwarded_for: 1.2.3.4", "content_length: 36", "_: a"],
  ...["transfer_encoding: chunked", "x.user: root", "x!user: root", "x~user: root", "x'user: root"],
  ...["__proto__: root", "connection: x-user\r\nx-user: root", "trailer: x-user", "te: trailers"],
  ...["Connection:X_User,x-User\r\nx-user:root", "proxy-connection: close", "upgrade: h2c"],
  ...["keep-alive: timeout=5", "proxy-authorization: root", "expect: 200-ok"],
];

/** The bytes of an upstream in response to `GET /attack` or another method, and what the client gets. */
export interface ResponseAttack {
  readonly name: string;
  readonly method: Method;
  readonly bytes: string;
  /** Whether the upstream closes its writing side after the bytes. */
  readonly isClosed: boolean;
  /**
   * The status of a complete response; `"cut"` if the client gets the start of a response, and no
   * end.
   */
  readonly outcome: number | "cut";
  /** The body of a complete response, without framing. */
  readonly body: string;
}

const OK = "HTTP/1.1 200 OK\r\n";
const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 6\r\n\r\nforged";

function makeResponseRows(
  rule: string,
  outcome: Partial<Omit<ResponseAttack, "name" | "bytes">>,
  texts: Texts,
): ResponseAttack[] {
  return texts.map((bytes) => ({
    name: `${rule}: ${formatLabel(bytes)}`,
    method: "GET",
    bytes,
    isClosed: false,
    outcome: 502,
    body: "",
    ...outcome,
  }));
}

export const responseAttacks: readonly ResponseAttack[] = [
  ...makeResponseRows("framing", {}, [
    ...FRAMING.map((line) => `${OK}${line}\r\n\r\n0\r\n\r\n${FORGED}`),
    ...DUPLICATE_CODINGS.map((lines) => `${OK}${lines}\r\n\r\n0\r\n\r\n${FORGED}`),
    ...UNKNOWN_CODINGS.map((coding) =>
      `${OK}transfer-encoding: ${coding}\r\n\r\n0\r\n\r\n${FORGED}`
    ),
    `HTTP/1.0 200 OK\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows(
    "hidden line",
    {},
    HIDDEN_LINES.map((line) => `${OK}content-length: 0\r\n${line}\r\n\r\n${FORGED}`),
  ),
  ...makeResponseRows(
    "repeated header",
    {},
    [
      ...["location: /a\r\nlocation: //b", "content-type: a/b\r\ncontent-type: text/html"],
      ...["etag: a\r\netag: b", "content-range: bytes 0-0/1\r\ncontent-range: bytes 1-1/2"],
    ].map((lines) => `${OK}content-length: 0\r\n${lines}\r\n\r\n${FORGED}`),
  ),
  ...makeResponseRows(
    "status line",
    {},
    [
      ...[
        "HTTP/1.1 200OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
      ],
      ...[
        "HTTP/1.1 099 OK",
        "HTTP/1.1 600 OK",
        "HTTP/2 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
      ],
      ...[
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\nK",
        "HTTP/1.1 200 O\rK",
        "200 OK",
      ],
      ...[
        "HTTP/1.1 200 \x7f",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 200\tOK",
        "\r\nHTTP/1.1 200 OK",
        "ICY 200 OK",
      ],
    ].map((line) => `${line}\r\ncontent-length: 0\r\n\r\n${FORGED}`),
  ),
  ...makeResponseRows("an interim response with content, or another protocol", {}, [
    `HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
    `HTTP/1.1 103 Hints\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
    `HTTP/1.1 101 Switching\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n${FORGED}`,
    "HTTP/1.1 100 \r\n\r\n".repeat(33) + FORGED,
  ]),
  ...makeResponseRows("a 206 of another length", {}, [
    `HTTP/1.1 206 x\r\ncontent-length: 9\r\ncontent-range: bytes 0-0/1\r\n\r\n123456789`,
  ]),
  // Bytes after a response are no response to the next request.
  ...makeResponseRows("bytes after a response", { outcome: 200 }, [
    `${OK}content-length: 0\r\n\r\n${FORGED}`,
    `${OK}${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
    `${OK}${TE}\r\n\r\n0\r\na: b\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after a response with a body", { outcome: 200, body: "hello" }, [
    `${OK}content-length: 05\r\n\r\nhello${FORGED}`,
    `${OK}${TE}\r\n\r\n005;a="b"\r\nhello\r\n00\r\n\r\n${FORGED}`,
    `HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
  ]),
  ...makeResponseRows("bytes after a response without content", { outcome: 204 }, [
    `HTTP/1.1 204 x\r\n\r\n${FORGED}`,
    `HTTP/1.1 204 x\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
    `HTTP/1.1 204 x\r\ncontent-length: ${FORGED.length}\r\n\r\n${FORGED}`,
    `HTTP/1.1 204 x\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after 304", { outcome: 304 }, [
    `HTTP/1.1 304 x\r\ncontent-length: ${FORGED.length}\r\n\r\n${FORGED}`,
    `HTTP/1.1 304 x\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after a response to HEAD", { method: "HEAD", outcome: 200 }, [
    `${OK}content-length: ${FORGED.length}\r\n\r\n${FORGED}`,
    `${OK}${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
    `${OK}\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after 205", { outcome: 205 }, [`HTTP/1.1 205 x\r\n\r\n${FORGED}`]),
  ...makeResponseRows("a body up to the close", { outcome: 200, body: FORGED, isClosed: true }, [
    `${OK}\r\n${FORGED}`,
    `HTTP/1.0 200 OK\r\n\r\n${FORGED}`,
    `${OK}connection: keep-alive\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows(
    "a body that breaks a rule",
    { outcome: "cut" },
    CHUNKS.filter((body) => !PADDED_CHUNKS.includes(body))
      .map((body) => `${OK}${TE}\r\n\r\n2\r\nhi\r\n${body}${FORGED}`),
  ),
  ...makeResponseRows(
    "white space after a chunk header",
    { outcome: 200, body: "hihello" },
    PADDED_CHUNKS.map((body) => `${OK}${TE}\r\n\r\n2\r\nhi\r\n${body}${FORGED}`),
  ),
  ...makeResponseRows("a body that is cut", { outcome: "cut", isClosed: true }, [
    `${OK}content-length: 6\r\n\r\nhello`,
    `${OK}${TE}\r\n\r\n5\r\nhello\r\n`,
    `${OK}${TE}\r\n\r\n5\r\nhello\r\n0\r\n`,
    `${OK}${TE}\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n`,
    `${OK}${TE}\r\n\r\n5\r\nhel`,
  ]),
];
