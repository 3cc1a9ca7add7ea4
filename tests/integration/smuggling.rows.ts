/**
 * Ways to make two recipients parse different requests from the same bytes: the warnings of RFC
 * 9112 (§2.2, §3, §5, §6, §7, §9, §11), and the public literature on request smuggling and
 * desynchronization, as bytes that a peer sends on one connection. Text is Latin-1, one character
 * per byte.
 */

import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { type ModelRequest, readRequests } from "../fuzz/oracle.ts";

/**
 * A description, the bytes, and the requests that a server accepts. After these, it sends at most
 * one error response and closes the connection.
 */
export interface SmugglingRow {
  readonly name: string;
  readonly bytes: string;
  /**
   * The expected number of accepted requests, and whether the next request has a valid preamble and
   * an invalid body.
   */
  readonly expectedCounts: readonly [accepted: number, isBroken: boolean];
  /** The requests that the grammar finds in the bytes. */
  readonly accepted: readonly ModelRequest[];
  /** The request target of the request whose body is invalid. */
  readonly broken: string | undefined;
  /** The error response that the server may send last; `""` for none. */
  readonly answers: readonly string[];
}

type Rows = readonly (readonly [name: string, text: string])[];

const REFUSED = [0, false] as const, BROKEN = [0, true] as const, ACCEPTED = [1, false] as const;

/** Returns rows of one outcome; `build` makes the bytes from the texts. */
function makeRows(
  expectedCounts: SmugglingRow["expectedCounts"],
  texts: Rows,
  bytesOf: (text: string) => string = (text) => text,
): SmugglingRow[] {
  return texts.map(([name, text]) => {
    const bytes = bytesOf(text);
    const { requests, broken, answers } = readRequests(bytes);
    return { name, bytes, expectedCounts, accepted: requests, broken: broken?.uri, answers };
  });
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

/**
 * Encodes text as raw UTF-8. The low bytes of these characters, or their lower-case letters, are
 * ASCII.
 */
const encodeUtf8 = (text: string) => decodeLatin1(new TextEncoder().encode(text));
const CUT_LINE_END = "\u010d\u010a";
const CUT_SPACE = "\u0120";

// The end of a body (RFC 9112 §6 and §7).

const bothFramings: Rows = [
  ["CL.TE", makePost(`content-length: ${length + 5}\r\n${TE}`, `0\r\n\r\n${SMUGGLED}`)],
  ["TE.CL", makePost(`${TE}\r\ncontent-length: 4`, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`)],
  ["TE.CL with length 0", makePost(`${TE}\r\ncontent-length: 0`, "0\r\n\r\n")],
  ["CL.TE where both agree", makePost(`content-length: 5\r\n${TE}`, "0\r\n\r\n")],
  [
    "CL.TE in other cases",
    makePost(`Content-Length: 5\r\nTRANSFER-ENCODING: chunked`, "0\r\n\r\n"),
  ],
];

const codings: Rows = [
  ["two codings in two lines", `${TE}\r\ntransfer-encoding: identity`],
  ["the same twice", `${TE}\r\n${TE}`],
  ["the same twice in other cases", `${TE}\r\nTransfer-Encoding: chunked`],
  ["a list", "transfer-encoding: gzip, chunked"],
  ["chunked first", "transfer-encoding: chunked, identity"],
  ["chunked twice in a list", "transfer-encoding: chunked, chunked"],
  ["another case", "transfer-encoding: Chunked"],
  ["capitals", "transfer-encoding: CHUNKED"],
  ["prefix", "transfer-encoding: xchunked"],
  ["suffix", "transfer-encoding: chunkedx"],
  ["parameter", "transfer-encoding: chunked;q=1"],
  ["quotes", 'transfer-encoding: "chunked"'],
  ["comma", "transfer-encoding: ,chunked"],
  ["trailing space", "transfer-encoding: chunked "],
  ["two spaces", "transfer-encoding:  chunked"],
  ["no space", "transfer-encoding:chunked"],
  ["tab", "transfer-encoding:\tchunked"],
  ["tab after the value", "transfer-encoding: chunked\t"],
  ["vertical tab", "transfer-encoding: \x0bchunked"],
  ["form feed", "transfer-encoding: chunked\x0c"],
  ["no-break space", "transfer-encoding:\xa0chunked"],
  ["NUL", "transfer-encoding: chunked\0"],
  ["bare CR before the value", "transfer-encoding: \rchunked"],
  ["bare LF before the value", "transfer-encoding:\nchunked"],
  ["folded", "transfer-encoding:\r\n chunked"],
  ["folded with a tab", "transfer-encoding:\r\n\tchunked"],
  ["space before the colon", "transfer-encoding : chunked"],
  ["tab before the colon", "transfer-encoding\t: chunked"],
  ["space before the name", " transfer-encoding: chunked"],
  ["after a bare LF", "x: y\ntransfer-encoding: chunked"],
  ["after a bare CR", "x: y\rtransfer-encoding: chunked"],
  ["underscore", "transfer_encoding: chunked"],
  ["a byte above 127 in the name", "transfer-encod\xefng: chunked"],
  ["NUL in the name", "transfer-encoding\0: chunked"],
  ["identity", "transfer-encoding: identity"],
  ["gzip", "transfer-encoding: gzip"],
  ["empty", "transfer-encoding: "],
];

const lengths: Rows = [
  ["CL.CL: two values", `content-length: 0\r\ncontent-length: ${length}`],
  ["CL.CL: the same twice", `content-length: ${length}\r\nContent-Length: ${length}`],
  ["CL.CL: a list", `content-length: ${length}, ${length}`],
  ["CL.CL: a list of two values", `content-length: 0, ${length}`],
  ["CL: plus", `content-length: +${length}`],
  ["CL: minus", "content-length: -1"],
  ["CL: minus zero", "content-length: -0"],
  ["CL: leading zero", `content-length: 0${length}`],
  ["CL: hex", "content-length: 0x24"],
  ["CL: exponent", "content-length: 1e1"],
  ["CL: fraction", `content-length: ${length}.0`],
  ["CL: separator", "content-length: 1_0"],
  ["CL: trailing space", `content-length: ${length} `],
  ["CL: two spaces", `content-length:  ${length}`],
  ["CL: trailing tab", `content-length: ${length}\t`],
  ["CL: no space", `content-length:${length}`],
  ["CL: quotes", `content-length: "${length}"`],
  ["CL: empty", "content-length: "],
  ["CL: letters", "content-length: abc"],
  ["CL: digits, then letters", `content-length: ${length}a`],
  ["CL: NUL", `content-length: ${length}\0`],
  ["CL: a superscript digit", "content-length: 3\xb2"],
  ["CL: 2 to the 53", "content-length: 9007199254740992"],
  ["CL: 2 to the 64", "content-length: 18446744073709551616"],
  ["CL: 2 to the 64 and some more", `content-length: ${18446744073709551616n + BigInt(length)}`],
  ["CL: very long", `content-length: ${"9".repeat(400)}`],
  ["CL: folded", `content-length:\r\n ${length}`],
  ["CL: space before the colon", `content-length : ${length}`],
  ["CL: tab before the colon", `content-length\t: ${length}`],
  ["CL: space before the name", ` content-length: ${length}`],
  ["CL: after a bare LF", `x: y\ncontent-length: ${length}`],
  ["CL: after a bare CR", `x: y\rcontent-length: ${length}`],
  ["CL: underscore", `content_length: ${length}`],
];

const bodyless: Rows = ["GET", "HEAD", "DELETE"].flatMap((method): Rows => {
  const line = `${method} /b HTTP/1.1`;
  return [
    [`${method} with a length`, makeMessage(line, `content-length: ${length}`, SMUGGLED)],
    [`${method} with chunks`, makeMessage(line, TE, `0\r\n\r\n${SMUGGLED}`)],
  ];
});

const hello = "5\r\nhello\r\n";

const chunks: Rows = [
  ["size of 17 digits", `10000000000000005\r\nhello\r\n0\r\n\r\n`],
  ["size of 9 digits", `100000005\r\nhello\r\n0\r\n\r\n`],
  ["size of 8 digits", `80000000\r\n`],
  ["size of all ones", `ffffffffffffffff\r\nhello\r\n0\r\n\r\n`],
  ["size above 16 MiB", `1000001\r\n`],
  ["negative size", "-5\r\nhello\r\n0\r\n\r\n"],
  ["plus", "+5\r\nhello\r\n0\r\n\r\n"],
  ["0x", "0x5\r\nhello\r\n0\r\n\r\n"],
  ["leading zero", "05\r\nhello\r\n0\r\n\r\n"],
  ["zeros for the last chunk", `${hello}00\r\n\r\n`],
  ["size with a separator", "0_5\r\nhello\r\n0\r\n\r\n"],
  ["space after the size", "5 \r\nhello\r\n0\r\n\r\n"],
  ["space before the size", " 5\r\nhello\r\n0\r\n\r\n"],
  ["tab after the size", "5\t\r\nhello\r\n0\r\n\r\n"],
  ["no size", "\r\nhello\r\n0\r\n\r\n"],
  ["not a digit", "g\r\nhello\r\n0\r\n\r\n"],
  ["NUL after the size", "5\0\r\nhello\r\n0\r\n\r\n"],
  ["line that ends with LF", "5\nhello\r\n0\r\n\r\n"],
  ["line that ends with CR", "5\rhello\r\n0\r\n\r\n"],
  ["line that ends with CR and another byte", "5\rXhello\r\n0\r\n\r\n"],
  ["data that ends with LF", `5\r\nhello\n0\r\n\r\n${SMUGGLED}`],
  ["data that ends with CR", `5\r\nhello\r0\r\n\r\n${SMUGGLED}`],
  ["data without an end", `5\r\nhello0\r\n\r\n${SMUGGLED}`],
  ["data followed by two other bytes", `5\r\nhelloXX0\r\n\r\n${SMUGGLED}`],
  ["data followed by CR and another byte", `5\r\nhello\rX0\r\n\r\n${SMUGGLED}`],
  ["a last chunk followed by CR and another byte", `${hello}0\r\n\rX${SMUGGLED}`],
  ["data that is longer than its size", `5\r\nhello!\r\n0\r\n\r\n`],
  ["data that is shorter than its size", `6\r\nhello\r\n0\r\n\r\n`],
  ["LF in an extension", `5;a\nx: y\r\nhello\r\n0\r\n\r\n`],
  ["LF in the value of an extension", `5;a=b\n\r\nhello\r\n0\r\n\r\n`],
  ["LF that ends an extension", `5;\nhello\r\n0\r\n\r\n${SMUGGLED}`],
  [
    "LF in an extension, with a request after it",
    `2;\nxx\r\n${hexLength}\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`,
  ],
  ["CR in an extension", `5;a=b\rc\r\nhello\r\n0\r\n\r\n`],
  ["NUL in an extension", `5;a=\0\r\nhello\r\n0\r\n\r\n`],
  ["quoted line end in an extension", `5;a="\r\n"\r\nhello\r\n0\r\n\r\n`],
  ["extension without a value", `5;a\r\nhello\r\n0\r\n\r\n`],
  ["extension without a key", `5;=b\r\nhello\r\n0\r\n\r\n`],
  ["empty extension", `5;\r\nhello\r\n0\r\n\r\n`],
  ["space before an extension", `5 ;a=b\r\nhello\r\n0\r\n\r\n`],
  ["space in an extension", `5; a=b\r\nhello\r\n0\r\n\r\n`],
  ["two extensions", `5;a=b;c=d\r\nhello\r\n0\r\n\r\n`],
  ["an extension of more than 4096 bytes", `5;a=${"b".repeat(4096)}\r\nhello\r\n0\r\n\r\n`],
  ["trailers", `${hello}0\r\nx: y\r\n\r\n`],
  ["a trailer with a length", `${hello}0\r\ncontent-length: ${length}\r\n\r\n${SMUGGLED}`],
  ["a trailer with a coding", `${hello}0\r\n${TE}\r\n\r\n0\r\n\r\n`],
  ["a trailer with a host", `${hello}0\r\nhost: b\r\n\r\n`],
  ["a trailer that is folded", `${hello}0\r\n x\r\n\r\n`],
  ["a request in place of a trailer", `${hello}0\r\n${SMUGGLED}`],
  ["a last chunk that ends with LF", `${hello}0\r\n\n${SMUGGLED}`],
  ["a last chunk of LF alone", `${hello}0\n\n${SMUGGLED}`],
  ["a last chunk with data", `${hello}0\r\nX\r\n\r\n`],
  ["no last chunk", hello],
  ["nothing", ""],
  ["a body that is not chunked", SMUGGLED],
];

const cutBodies: Rows = [
  ["a length beyond the end", `content-length: ${length + 1}`],
  ["a length of 2 to the 53 less 1", "content-length: 9007199254740991"],
];

// Preambles (RFC 9112 §2 to §5).

const headers: Rows = [
  ["folding with a space", "x: y\r\n z"],
  ["folding with a tab", "x: y\r\n\tz"],
  ["folding that hides a header", "x: y\r\n content-length: 5"],
  ["space before the colon", "x : y"],
  ["no colon", "x"],
  ["no name", ": y"],
  ["no value", "x: "],
  ["bare CR in a value", "x: y\rz: w"],
  ["bare LF in a value", "x: y\nz: w"],
  ["CR CR LF", "x: y\r"],
  ["LF CR LF", "x: y\n"],
  ["NUL in a value", "x: y\0z"],
  ["NUL in a name", "x\0y: z"],
  ["DEL in a value", "x: \x7f"],
  ["a byte above 127 in a value", "x: \xe9"],
  ["a value with UTF-8 line ends", `x: y${encodeUtf8(`${CUT_LINE_END}z:${CUT_SPACE}w`)}`],
  ["a name with UTF-8 line ends", `x${encodeUtf8(`:${CUT_SPACE}y${CUT_LINE_END}z`)}: w`],
  ["underscore in a name", "x_y: z"],
  ["dot in a name", "x.y: z"],
  ["a name of 65 bytes", `${"x".repeat(65)}: y`],
  ["space before a value", "x-role:  admin"],
  ["space after a value", "x-role: admin "],
  ["spaces at both ends of a value", "x-role:  admin "],
  ["a value of a space", "x:  "],
  ["space after connection: close", "connection: close "],
  ["a second host", "host: b"],
  ["a second host in another case", "Host: b"],
  ["a second header of the same value", "x: y\r\nX: y"],
];

const requestLines: Rows = [
  ["absolute form", "GET http://a/x HTTP/1.1"],
  ["absolute form of another host", "GET http://b/ HTTP/1.1"],
  ["absolute form with https", "GET https://a/ HTTP/1.1"],
  ["absolute form without a scheme", "GET //b/ HTTP/1.1"],
  ["absolute form of a file", "GET file:///etc/passwd HTTP/1.1"],
  ["authority form", "CONNECT a:443 HTTP/1.1"],
  ["authority form with GET", "GET a:443 HTTP/1.1"],
  ["asterisk form", "OPTIONS * HTTP/1.1"],
  ["asterisk form with GET", "GET * HTTP/1.1"],
  ["no slash", "GET admin HTTP/1.1"],
  ["at sign", "GET @b/ HTTP/1.1"],
  ["at sign after a slash", "GET /@b HTTP/1.1"],
  ["fragment", "GET /a#b HTTP/1.1"],
  ["fragment in the query", "GET /a?b#c HTTP/1.1"],
  ["backslash", "GET /a\\b HTTP/1.1"],
  ["backslash first", "GET \\a HTTP/1.1"],
  ["backslashes and dots", "GET /..\\..\\etc HTTP/1.1"],
  ["dots", "GET /a/../b HTTP/1.1"],
  ["dots at the end", "GET /a/.. HTTP/1.1"],
  ["dots first", "GET /../b HTTP/1.1"],
  ["percent-encoded dots", "GET /%2e%2e/b HTTP/1.1"],
  ["half percent-encoded dots", "GET /.%2e/b HTTP/1.1"],
  ["dots percent-encoded twice", "GET /%252e%252e/b HTTP/1.1"],
  ["overlong dots", "GET /%c0%ae%c0%ae/b HTTP/1.1"],
  ["percent-encoded slash", "GET /a%2fb HTTP/1.1"],
  ["percent-encoded backslash", "GET /a%5cb HTTP/1.1"],
  ["percent-encoded NUL", "GET /a%00b HTTP/1.1"],
  ["percent-encoded line end", "GET /a%0d%0ax:%20y HTTP/1.1"],
  ["percent-encoded letter", "GET /%61dmin HTTP/1.1"],
  ["dots with a parameter", "GET /..;/b HTTP/1.1"],
  ["parameter", "GET /a;b=c HTTP/1.1"],
  ["two slashes", "GET /a//b HTTP/1.1"],
  ["two question marks", "GET /a?b?c HTTP/1.1"],
  ["slash in the query", "GET /a?b/c HTTP/1.1"],
  ["dots and a slash in the query", "GET /a?../b HTTP/1.1"],
  ["braces", "GET /{a} HTTP/1.1"],
  ["a byte above 127", "GET /\xe9 HTTP/1.1"],
  [
    "UTF-8 line ends",
    `GET /admin${
      encodeUtf8(`${CUT_SPACE}HTTP/1.1${CUT_LINE_END}x-user:${CUT_SPACE}root`)
    } HTTP/1.1`,
  ],
  ["UTF-8 space", `GET /admin${encodeUtf8(CUT_SPACE)} HTTP/1.1`],
  ["UTF-8 dots", `GET /a/${encodeUtf8("\u012e\u012e")}/b HTTP/1.1`],
  ["UTF-8 slash", `GET /a${encodeUtf8("\u012f")}b HTTP/1.1`],
  ["UTF-8 question mark", `GET /a${encodeUtf8("\u013f")}b HTTP/1.1`],
  ["UTF-8 letters", `GET /${encodeUtf8("\u0161\u0164\u016d\u0169\u016e")} HTTP/1.1`],
  ["a UTF-8 letter whose lower case is ASCII", `GET /${encodeUtf8("\u212a")} HTTP/1.1`],
  ["UTF-8 of four bytes", `GET /${encodeUtf8("\u{1f431}")} HTTP/1.1`],
  ["UTF-8 in the query", `GET /a?${encodeUtf8(CUT_SPACE)} HTTP/1.1`],
  ["NUL", "GET /a\0b HTTP/1.1"],
  ["tab in the target", "GET /a\tb HTTP/1.1"],
  ["space in the target", "GET /a b HTTP/1.1"],
  ["a protocol in the target", "GET /a HTTP/1.1 HTTP/1.1"],
  ["a bare CR in the target", "GET /a\rb HTTP/1.1"],
  ["a bare LF in the target", "GET /a\nx: y HTTP/1.1"],
  ["two spaces before the target", "GET  / HTTP/1.1"],
  ["two spaces after the target", "GET /  HTTP/1.1"],
  ["tabs for spaces", "GET\t/\tHTTP/1.1"],
  ["a space at the end", "GET / HTTP/1.1 "],
  ["a CR at the end", "GET / HTTP/1.1\r"],
  ["no target", "GET HTTP/1.1"],
  ["lower case", "get / HTTP/1.1"],
  ["an unknown method", "PATCH / HTTP/1.1"],
  ["TRACE", "TRACE / HTTP/1.1"],
  ["HTTP/1.0", "GET / HTTP/1.0"],
  ["HTTP/1.2", "GET / HTTP/1.2"],
  ["HTTP/2.0", "GET / HTTP/2.0"],
  ["HTTP/01.1", "GET / HTTP/01.1"],
  ["HTTP/1.10", "GET / HTTP/1.10"],
  ["protocol in lower case", "GET / http/1.1"],
  ["another protocol", "GET / RTSP/1.0"],
  ["the preface of HTTP/2", "PRI * HTTP/2.0"],
];

const preambles: Rows = [
  ["a header line before the first", "GET / HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n"],
  [
    "a host with UTF-8 line ends",
    `GET / HTTP/1.1\r\nhost: a${encodeUtf8(`${CUT_LINE_END}x:${CUT_SPACE}y`)}\r\n\r\n`,
  ],
  ["a host with a UTF-8 letter", `GET / HTTP/1.1\r\nhost: ${encodeUtf8("\u212a")}\r\n\r\n`],
  ["lines that end with LF alone", `GET / HTTP/1.1\nhost: a\n\n${SMUGGLED}`],
  ["an empty line with LF alone", `GET / HTTP/1.1\r\nhost: a\n\n${SMUGGLED}`],
  ["a preamble that ends with LF CR LF", `GET / HTTP/1.1\r\nhost: a\n\r\n${SMUGGLED}`],
  ["lines that end with CR alone", `GET / HTTP/1.1\rhost: a\r\r${SMUGGLED}`],
  ["an empty line first", `\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n`],
  ["two empty lines first", `\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n`],
  ["an empty line with LF first", `\nGET / HTTP/1.1\r\nhost: a\r\n\r\n`],
  ["a space first", ` GET / HTTP/1.1\r\nhost: a\r\n\r\n`],
  ["a byte order mark first", `\xef\xbb\xbfGET / HTTP/1.1\r\nhost: a\r\n\r\n`],
  ["NUL first", `\0GET / HTTP/1.1\r\nhost: a\r\n\r\n`],
  ["a preamble that is cut", "GET / HTTP/1.1\r\nhost: a\r\n"],
  [
    "a preamble of more than 32768 bytes",
    makeMessage("GET / HTTP/1.1", `x: ${"y".repeat(32768)}`, ""),
  ],
  ["HTTP/0.9", "GET /\r\n"],
  ["HTTP/0.9 with an empty line", "GET /\r\n\r\n"],
  ["HTTP/1.0 without headers", "GET / HTTP/1.0\r\n\r\n"],
  ["HTTP/1.0 that keeps alive", "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"],
  ["HTTP/1.0 with chunks", `POST / HTTP/1.0\r\nhost: a\r\n${TE}\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ["HTTP/0.9 that hides in the target", "GET /a HTTP/1.1/../b HTTP/0.9\r\n\r\n"],
];

// Accepted messages.

const acceptedHeaders: Rows = [
  ["Expect without a body", "expect: 100-continue"],
  ["Expect of something else", "expect: 200-ok"],
  [
    "Upgrade to h2c",
    "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
  ],
  [
    "Upgrade to websocket",
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
  ],
  ["Connection: close", "connection: close"],
  ["Connection: keep-alive", "connection: keep-alive"],
  ["Connection that names host", "connection: host"],
  ["Connection that names content-length", "connection: content-length"],
  [
    "Connection that names transfer-encoding",
    "connection: close, transfer-encoding\r\nte: trailers",
  ],
  ["Proxy-Connection", "proxy-connection: keep-alive"],
  ["Keep-Alive", "keep-alive: timeout=5, max=1000"],
  [
    "names that are nearly those of framing",
    "content-length-: 5\r\nx-transfer-encoding: chunked\r\ncontentlength: 5\r\ncontent-lengt: 5",
  ],
  ["another method in a header", "x-http-method-override: DELETE"],
  ["another target in a header", "x-original-url: /admin"],
  ["percent-encoded line ends in a header", "x: a%0d%0acontent-length:%205"],
  ["a trailer that is announced", "trailer: content-length"],
  ["every visible character", "x: !\"#$%&'()*+,-./0:;<=>?@A[\\]^_`a{|}~"],
  ["spaces inside a value", "x: a  b   c"],
  ["a name of 64 bytes", `${"x".repeat(64)}: y`],
];

const acceptedTargets: Rows = [
  ["a dot", "/./a/."],
  ["three dots", "/.../a"],
  ["a port in the path", "/a:80/b"],
  ["a percent sign in the query", "/a?%2e%2e%2f%00%0d%0a"],
  ["dots in the query", "/a?.."],
  ["an empty query", "/a?"],
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
    makeMessage("PUT /b HTTP/1.1", TE, "5;0=0\r\nhello\r\n0;a=5;\r\n\r\n"),
  ],
  ["an extension with a quote that is not closed", makePost(TE, '5;a="\r\nhello\r\n0\r\n\r\n')],
  ["an extension with a semicolon at the end", makePost(TE, "5;a=b;\r\nhello\r\n0\r\n\r\n")],
  ["an extension with a digit for a key", makePost(TE, "5;0=0\r\nhello\r\n0\r\n\r\n")],
  ["an extension with brackets", makePost(TE, "5;a=<b>[c](d)\r\nhello\r\n0\r\n\r\n")],
  ["a request, and one that is refused", get("/first") + makeMessage("GET /second HTTP/1.0")],
  ["a request, and an empty line", `${get("/first")}\r\n${SMUGGLED}`],
  ["a body, and a byte more", makePost("content-length: 5", `hello!${SMUGGLED}`)],
  ["chunks, and an empty line more", makePost(TE, `0\r\n\r\n\r\n${SMUGGLED}`)],
  ["a request without host", "GET /b HTTP/1.1\r\n\r\n"],
  ["a host with a path", "GET /b HTTP/1.1\r\nhost: a/b#c\r\n\r\n"],
  ["a host with user information", "GET /b HTTP/1.1\r\nhost: a@b\r\n\r\n"],
  ["Expect with a body", makePost("expect: 100-continue\r\ncontent-length: 5", "hello")],
];

const pipelines: Rows = [
  ["no length at all, and another request", makePost("", get("/second"))],
  ["length 0, and another request", makePost("content-length: 0", get("/second"))],
  ["GET with length 0, and another request", getWith("content-length: 0") + get("/second")],
  [
    "DELETE with length 0, and another request",
    makeMessage("DELETE /b HTTP/1.1", "content-length: 0", get("/second")),
  ],
  ["two requests in one piece", get("/first") + get("/second")],
  ["nearly connection: close, and another request", getWith("connection: closed") + get("/second")],
];

const prefixNames = (kind: string, list: Rows): Rows =>
  list.map(([name, text]) => [`${kind}: ${name}`, text]);

/** Bytes after a request with `connection: close` (RFC 9112 §9.6). */
const lastRequests: Rows = [
  ["connection: close, and another request", getWith("connection: close") + SMUGGLED],
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

/** All rows, with unique names. */
export const smugglingCorpus: readonly SmugglingRow[] = [
  ...makeRows(REFUSED, bothFramings),
  ...makeRows(
    REFUSED,
    prefixNames("TE.TE", codings),
    (line) => makePost(line, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`),
  ),
  ...makeRows(REFUSED, lengths, (lines) => makePost(lines, SMUGGLED)),
  ...makeRows(REFUSED, bodyless),
  ...makeRows(BROKEN, prefixNames("chunks", chunks), makeChunkedPost),
  ...makeRows(BROKEN, cutBodies, (line) => makeMessage("POST /c HTTP/1.1", line, SMUGGLED)),
  ...makeRows(REFUSED, headers, getWith),
  ...makeRows(REFUSED, prefixNames("request line", requestLines), makeMessage),
  ...makeRows(REFUSED, preambles),
  ...makeRows(ACCEPTED, acceptedHeaders, getWith),
  ...makeRows(ACCEPTED, acceptedTargets, get),
  ...makeRows(ACCEPTED, acceptedBodies),
  ...makeRows(ACCEPTED, lastRequests),
  ...makeRows([2, false], pipelines),
];
