/**
 * Ways to make two parties see different requests in the same bytes: what RFC 9112 (§2.2, §3, §5, §6, §7, §9, §11) warns of, and what the
 * public literature on request smuggling and desynchronisation has found, written as bytes that a peer sends on one connection. Text is
 * Latin-1, one character per byte.
 *
 * @module
 */

import type { ModelRequest } from "../fuzz/model.ts";

/** What a server makes of the bytes of a row; it closes without a byte after the requests that it accepts. */
export interface Verdict {
  /** The requests that are accepted, each exactly so. */
  readonly accepted: readonly ModelRequest[];
  /** The request target of one more, whose preamble is right and whose body is not. */
  readonly broken?: string;
}

/** A row: what is tried, the bytes, and what has to come of it. */
export interface SmugglingRow extends Verdict {
  readonly name: string;
  readonly bytes: string;
}

/** What an attacker would have a back end take for a request of its own. */
export const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

function message(line: string, headers: string, body: string): string {
  return `${line}\r\nhost: a${headers === "" ? "" : `\r\n${headers}`}\r\n\r\n${body}`;
}

/** Refused before any application is called. */
function refused(name: string, bytes: string): SmugglingRow {
  return { name, bytes, accepted: [] };
}

/** A POST whose headers are refused. */
function refusedPost(name: string, headers: string, body: string): SmugglingRow {
  return refused(name, message("POST /p HTTP/1.1", headers, body));
}

/** A GET whose request line is refused. */
function refusedLine(name: string, line: string): SmugglingRow {
  return refused(name, message(line, "", ""));
}

/** A GET with a header line that is refused. */
function refusedHeader(name: string, line: string): SmugglingRow {
  return refused(name, message("GET /h HTTP/1.1", line, ""));
}

/** A chunked POST whose body is refused when its turn comes. */
function brokenChunks(name: string, body: string): SmugglingRow {
  return {
    name: `chunks: ${name}`,
    bytes: message("POST /c HTTP/1.1", "transfer-encoding: chunked", body),
    accepted: [],
    broken: "/c",
  };
}

/** A GET that is accepted with headers that have no meaning here. */
function acceptedHeaders(name: string, headers: Record<string, string>): SmugglingRow {
  const lines = Object.entries(headers).map((entry) => entry.join(": ")).join("\r\n");
  return {
    name,
    bytes: message("GET /h HTTP/1.1", lines, ""),
    accepted: [{ method: "GET", uri: "/h", headers: { host: "a", ...headers }, body: null }],
  };
}

/** A GET that is accepted with this target. */
function acceptedTarget(name: string, uri: string): SmugglingRow {
  return {
    name,
    bytes: message(`GET ${uri} HTTP/1.1`, "", ""),
    accepted: [{ method: "GET", uri, headers: { host: "a" }, body: null }],
  };
}

function get(uri: string): ModelRequest {
  return { method: "GET", uri, headers: { host: "a" }, body: null };
}

const TE = "transfer-encoding: chunked";
const { length } = SMUGGLED;
const hexLength = length.toString(16);

const bothFramings: readonly SmugglingRow[] = [
  refusedPost("CL.TE", `content-length: ${length + 5}\r\n${TE}`, `0\r\n\r\n${SMUGGLED}`),
  refusedPost("TE.CL", `${TE}\r\ncontent-length: 4`, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`),
  refusedPost("TE.CL with length 0", `${TE}\r\ncontent-length: 0`, "0\r\n\r\n"),
  refusedPost("CL.TE where both agree", `content-length: 5\r\n${TE}`, "0\r\n\r\n"),
  refusedPost(
    "CL.TE in other cases",
    `Content-Length: 5\r\nTRANSFER-ENCODING: chunked`,
    "0\r\n\r\n",
  ),
];

const codings: readonly SmugglingRow[] = [
  ["TE.TE: two codings in two lines", `${TE}\r\ntransfer-encoding: identity`],
  ["TE.TE: the same twice", `${TE}\r\n${TE}`],
  ["TE.TE: the same twice in other cases", `${TE}\r\nTransfer-Encoding: chunked`],
  ["TE.TE: a list", "transfer-encoding: gzip, chunked"],
  ["TE.TE: chunked first", "transfer-encoding: chunked, identity"],
  ["TE.TE: chunked twice in a list", "transfer-encoding: chunked, chunked"],
  ["TE.TE: another case", "transfer-encoding: Chunked"],
  ["TE.TE: capitals", "transfer-encoding: CHUNKED"],
  ["TE.TE: prefix", "transfer-encoding: xchunked"],
  ["TE.TE: suffix", "transfer-encoding: chunkedx"],
  ["TE.TE: parameter", "transfer-encoding: chunked;q=1"],
  ["TE.TE: quotes", 'transfer-encoding: "chunked"'],
  ["TE.TE: comma", "transfer-encoding: ,chunked"],
  ["TE.TE: trailing space", "transfer-encoding: chunked "],
  ["TE.TE: two spaces", "transfer-encoding:  chunked"],
  ["TE.TE: no space", "transfer-encoding:chunked"],
  ["TE.TE: tab", "transfer-encoding:\tchunked"],
  ["TE.TE: tab after the value", "transfer-encoding: chunked\t"],
  ["TE.TE: vertical tab", "transfer-encoding: \x0bchunked"],
  ["TE.TE: form feed", "transfer-encoding: chunked\x0c"],
  ["TE.TE: no-break space", "transfer-encoding:\xa0chunked"],
  ["TE.TE: NUL", "transfer-encoding: chunked\0"],
  ["TE.TE: bare CR before the value", "transfer-encoding: \rchunked"],
  ["TE.TE: bare LF before the value", "transfer-encoding:\nchunked"],
  ["TE.TE: folded", "transfer-encoding:\r\n chunked"],
  ["TE.TE: folded with a tab", "transfer-encoding:\r\n\tchunked"],
  ["TE.TE: space before the colon", "transfer-encoding : chunked"],
  ["TE.TE: tab before the colon", "transfer-encoding\t: chunked"],
  ["TE.TE: space before the name", " transfer-encoding: chunked"],
  ["TE.TE: behind a bare LF", "x: y\ntransfer-encoding: chunked"],
  ["TE.TE: behind a bare CR", "x: y\rtransfer-encoding: chunked"],
  ["TE.TE: underscore", "transfer_encoding: chunked"],
  ["TE.TE: a byte above 127 in the name", "transfer-encod\xefng: chunked"],
  ["TE.TE: NUL in the name", "transfer-encoding\0: chunked"],
  ["TE.TE: identity", "transfer-encoding: identity"],
  ["TE.TE: gzip", "transfer-encoding: gzip"],
  ["TE.TE: empty", "transfer-encoding: "],
].map(([name = "", headers = ""]) =>
  refusedPost(name, headers, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`)
);

const lengths: readonly SmugglingRow[] = [
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
  ["CL: behind a bare LF", `x: y\ncontent-length: ${length}`],
  ["CL: behind a bare CR", `x: y\rcontent-length: ${length}`],
  ["CL: underscore", `content_length: ${length}`],
].map(([name = "", headers = ""]) => refusedPost(name, headers, SMUGGLED));

const noBody: readonly SmugglingRow[] = ["GET", "HEAD", "DELETE"].flatMap((method) => [
  refused(
    `${method} with a length`,
    message(`${method} /b HTTP/1.1`, `content-length: ${length}`, SMUGGLED),
  ),
  refused(
    `${method} with length 0`,
    message(`${method} /b HTTP/1.1`, "content-length: 0", SMUGGLED),
  ),
  refused(`${method} with chunks`, message(`${method} /b HTTP/1.1`, TE, `0\r\n\r\n${SMUGGLED}`)),
]);

const lines: readonly SmugglingRow[] = [
  refusedHeader("folding with a space", "x: y\r\n z"),
  refusedHeader("folding with a tab", "x: y\r\n\tz"),
  refusedHeader("folding that hides a header", "x: y\r\n content-length: 5"),
  refused("a header line before the first", "GET / HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n"),
  refusedHeader("space before the colon", "x : y"),
  refusedHeader("no colon", "x"),
  refusedHeader("no name", ": y"),
  refusedHeader("no value", "x: "),
  refusedHeader("bare CR in a value", "x: y\rz: w"),
  refusedHeader("bare LF in a value", "x: y\nz: w"),
  refusedHeader("CR CR LF", "x: y\r"),
  refusedHeader("LF CR LF", "x: y\n"),
  refusedHeader("NUL in a value", "x: y\0z"),
  refusedHeader("NUL in a name", "x\0y: z"),
  refusedHeader("DEL in a value", "x: \x7f"),
  refusedHeader("a byte above 127 in a value", "x: \xe9"),
  refusedHeader("underscore in a name", "x_y: z"),
  refusedHeader("dot in a name", "x.y: z"),
  refusedHeader("a name of 33 bytes", `${"x".repeat(33)}: y`),
  refusedHeader("a second host", "host: b"),
  refusedHeader("a second host in another case", "Host: b"),
  refusedHeader("a second header of the same value", "x: y\r\nX: y"),
  refusedHeader("user information in host", "x: a@b"),
  refused("lines that end with LF alone", `GET / HTTP/1.1\nhost: a\n\n${SMUGGLED}`),
  refused("an empty line with LF alone", `GET / HTTP/1.1\r\nhost: a\n\n${SMUGGLED}`),
  refused("a preamble that ends with LF CR LF", `GET / HTTP/1.1\r\nhost: a\n\r\n${SMUGGLED}`),
  refused("lines that end with CR alone", `GET / HTTP/1.1\rhost: a\r\r${SMUGGLED}`),
  refused("an empty line first", `\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n`),
  refused("two empty lines first", `\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n`),
  refused("an empty line with LF first", `\nGET / HTTP/1.1\r\nhost: a\r\n\r\n`),
  refused("a space first", ` GET / HTTP/1.1\r\nhost: a\r\n\r\n`),
  refused("a byte order mark first", `\xef\xbb\xbfGET / HTTP/1.1\r\nhost: a\r\n\r\n`),
  refused("NUL first", `\0GET / HTTP/1.1\r\nhost: a\r\n\r\n`),
  refused("a preamble that is cut", "GET / HTTP/1.1\r\nhost: a\r\n"),
  refused(
    "a preamble of more than 32768 bytes",
    message("GET / HTTP/1.1", `x: ${"y".repeat(32768)}`, ""),
  ),
];

const requestLines: readonly SmugglingRow[] = [
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
  ["NUL", "GET /a\0b HTTP/1.1"],
  ["tab in the target", "GET /a\tb HTTP/1.1"],
  ["space in the target", "GET /a b HTTP/1.1"],
  ["a protocol in the target", "GET /a HTTP/1.1 HTTP/1.1"],
  ["a bare CR in the target", "GET /a\rb HTTP/1.1"],
  ["a bare LF in the target", "GET /a\nx: y HTTP/1.1"],
  ["two spaces before the target", "GET  / HTTP/1.1"],
  ["two spaces behind the target", "GET /  HTTP/1.1"],
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
].map(([name = "", line = ""]) => refusedLine(`request line: ${name}`, line));

const oldProtocols: readonly SmugglingRow[] = [
  refused("HTTP/0.9", "GET /\r\n"),
  refused("HTTP/0.9 with an empty line", "GET /\r\n\r\n"),
  refused("HTTP/1.0 without headers", "GET / HTTP/1.0\r\n\r\n"),
  refused(
    "HTTP/1.0 that keeps alive",
    "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
  ),
  refused(
    "HTTP/1.0 with chunks",
    `POST / HTTP/1.0\r\nhost: a\r\n${TE}\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ),
  refused("HTTP/0.9 that hides in the target", "GET /a HTTP/1.1/../b HTTP/0.9\r\n\r\n"),
];

const hello = "5\r\nhello\r\n";

const chunkStreams: readonly SmugglingRow[] = [
  brokenChunks("size of 17 digits", `10000000000000005\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("size of 9 digits", `100000005\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("size of 8 digits", `80000000\r\n`),
  brokenChunks("size of all ones", `ffffffffffffffff\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("size above 16 MiB", `1000001\r\n`),
  brokenChunks("negative size", "-5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("plus", "+5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("0x", "0x5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("leading zero", "05\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("zeros for the last chunk", `${hello}00\r\n\r\n`),
  brokenChunks("size with a separator", "0_5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("space behind the size", "5 \r\nhello\r\n0\r\n\r\n"),
  brokenChunks("space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("no size", "\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("not a digit", "g\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("NUL behind the size", "5\0\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("line that ends with LF", "5\nhello\r\n0\r\n\r\n"),
  brokenChunks("line that ends with CR", "5\rhello\r\n0\r\n\r\n"),
  brokenChunks("line that ends with CR and another byte", "5\rXhello\r\n0\r\n\r\n"),
  brokenChunks("data that ends with LF", `5\r\nhello\n0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data that ends with CR", `5\r\nhello\r0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data without an end", `5\r\nhello0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data followed by two other bytes", `5\r\nhelloXX0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data that is longer than its size", `5\r\nhello!\r\n0\r\n\r\n`),
  brokenChunks("data that is shorter than its size", `6\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("LF in an extension", `5;a\nx: y\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("LF in the value of an extension", `5;a=b\n\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("LF that ends an extension", `5;\nhello\r\n0\r\n\r\n${SMUGGLED}`),
  brokenChunks(
    "LF in an extension, with a request behind it",
    `2;\nxx\r\n${hexLength}\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`,
  ),
  brokenChunks("CR in an extension", `5;a=b\rc\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("NUL in an extension", `5;a=\0\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("quoted line end in an extension", `5;a="\r\n"\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("extension without a value", `5;a\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("extension without a key", `5;=b\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("empty extension", `5;\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("space before an extension", `5 ;a=b\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("space in an extension", `5; a=b\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("two extensions", `5;a=b;c=d\r\nhello\r\n0\r\n\r\n`),
  brokenChunks(
    "an extension of more than 4096 bytes",
    `5;a=${"b".repeat(4096)}\r\nhello\r\n0\r\n\r\n`,
  ),
  brokenChunks("trailers", `${hello}0\r\nx: y\r\n\r\n`),
  brokenChunks(
    "a trailer with a length",
    `${hello}0\r\ncontent-length: ${length}\r\n\r\n${SMUGGLED}`,
  ),
  brokenChunks("a trailer with a coding", `${hello}0\r\n${TE}\r\n\r\n0\r\n\r\n`),
  brokenChunks("a trailer with a host", `${hello}0\r\nhost: b\r\n\r\n`),
  brokenChunks("a trailer that is folded", `${hello}0\r\n x\r\n\r\n`),
  brokenChunks("a request in place of a trailer", `${hello}0\r\n${SMUGGLED}`),
  brokenChunks("a last chunk that ends with LF", `${hello}0\r\n\n${SMUGGLED}`),
  brokenChunks("a last chunk of LF alone", `${hello}0\n\n${SMUGGLED}`),
  brokenChunks("a last chunk with data", `${hello}0\r\nX\r\n\r\n`),
  brokenChunks("no last chunk", hello),
  brokenChunks("nothing", ""),
  brokenChunks("a body that is not chunked", SMUGGLED),
  {
    name: "a length beyond the end",
    bytes: message("POST /c HTTP/1.1", `content-length: ${length + 1}`, SMUGGLED),
    accepted: [],
    broken: "/c",
  },
  {
    name: "a length of 2 to the 53 less 1",
    bytes: message("POST /c HTTP/1.1", "content-length: 9007199254740991", SMUGGLED),
    accepted: [],
    broken: "/c",
  },
];

const accepted: readonly SmugglingRow[] = [
  {
    name: "a request in a body of known length",
    bytes: message("POST /b HTTP/1.1", `content-length: ${length}`, SMUGGLED),
    accepted: [{
      method: "POST",
      uri: "/b",
      headers: { host: "a", "content-length": length },
      body: SMUGGLED,
    }],
  },
  {
    name: "a request in a chunk",
    bytes: message(
      "POST /b HTTP/1.1",
      "Transfer-Encoding: chunked",
      `${(length + 5).toString(16).toUpperCase()}\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`,
    ),
    accepted: [{
      method: "POST",
      uri: "/b",
      headers: { host: "a", "transfer-encoding": "chunked" },
      body: [[null, `0\r\n\r\n${SMUGGLED}`], [null, ""]],
    }],
  },
  {
    name: "extensions that look like chunks",
    bytes: message("PUT /b HTTP/1.1", TE, "5;0=0\r\nhello\r\n0;a=5;\r\n\r\n"),
    accepted: [{
      method: "PUT",
      uri: "/b",
      headers: { host: "a", "transfer-encoding": "chunked" },
      body: [[["0", "0"], "hello"], [["a", "5;"], ""]],
    }],
  },
  {
    name: "no length at all, and another request",
    bytes: message("POST /b HTTP/1.1", "", message("GET /second HTTP/1.1", "", "")),
    accepted: [{ ...get("/b"), method: "POST" }, get("/second")],
  },
  {
    name: "length 0, and another request",
    bytes: message(
      "POST /b HTTP/1.1",
      "content-length: 0",
      message("GET /second HTTP/1.1", "", ""),
    ),
    accepted: [
      { method: "POST", uri: "/b", headers: { host: "a", "content-length": 0 }, body: "" },
      get("/second"),
    ],
  },
  {
    name: "two requests in one piece",
    bytes: message("GET /first HTTP/1.1", "", message("GET /second HTTP/1.1", "", "")),
    accepted: [get("/first"), get("/second")],
  },
  {
    name: "a request, and one that is refused",
    bytes: message("GET /first HTTP/1.1", "", message("GET /second HTTP/1.0", "", "")),
    accepted: [get("/first")],
  },
  {
    name: "a request, and an empty line",
    bytes: message("GET /first HTTP/1.1", "", `\r\n${SMUGGLED}`),
    accepted: [get("/first")],
  },
  {
    name: "a body, and a byte more",
    bytes: message("POST /b HTTP/1.1", "content-length: 5", `hello!${SMUGGLED}`),
    accepted: [
      { method: "POST", uri: "/b", headers: { host: "a", "content-length": 5 }, body: "hello" },
    ],
  },
  {
    name: "chunks, and an empty line more",
    bytes: message("POST /b HTTP/1.1", TE, `0\r\n\r\n\r\n${SMUGGLED}`),
    accepted: [{
      method: "POST",
      uri: "/b",
      headers: { host: "a", "transfer-encoding": "chunked" },
      body: [[null, ""]],
    }],
  },
  {
    name: "a request without host",
    bytes: "GET /b HTTP/1.1\r\n\r\n",
    accepted: [{ method: "GET", uri: "/b", headers: {}, body: null }],
  },
  {
    name: "Expect with a body",
    bytes: message("POST /b HTTP/1.1", "expect: 100-continue\r\ncontent-length: 5", "hello"),
    accepted: [{
      method: "POST",
      uri: "/b",
      headers: { host: "a", expect: "100-continue", "content-length": 5 },
      body: "hello",
    }],
  },
  acceptedHeaders("Expect without a body", { expect: "100-continue" }),
  acceptedHeaders("Expect of something else", { expect: "200-ok" }),
  acceptedHeaders("Upgrade to h2c", {
    connection: "Upgrade, HTTP2-Settings",
    upgrade: "h2c",
    "http2-settings": "AAMAAABkAAQAAP__",
  }),
  acceptedHeaders("Upgrade to websocket", {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
  }),
  acceptedHeaders("Connection: close", { connection: "close" }),
  acceptedHeaders("Connection: keep-alive", { connection: "keep-alive" }),
  acceptedHeaders("Connection that names host", { connection: "host" }),
  acceptedHeaders("Connection that names content-length", { connection: "content-length" }),
  acceptedHeaders("Connection that names transfer-encoding", {
    connection: "close, transfer-encoding",
    te: "trailers",
  }),
  acceptedHeaders("Proxy-Connection", { "proxy-connection": "keep-alive" }),
  acceptedHeaders("Keep-Alive", { "keep-alive": "timeout=5, max=1000" }),
  acceptedHeaders("names that are nearly those of framing", {
    "content-length-": "5",
    "x-transfer-encoding": "chunked",
    contentlength: "5",
    "content-lengt": "5",
  }),
  acceptedHeaders("another method in a header", { "x-http-method-override": "DELETE" }),
  acceptedHeaders("another target in a header", { "x-original-url": "/admin" }),
  acceptedHeaders("percent-encoded line ends in a header", { x: "a%0d%0acontent-length:%205" }),
  acceptedHeaders("a trailer that is announced", { trailer: "content-length" }),
  acceptedTarget("a dot", "/./a/."),
  acceptedTarget("three dots", "/.../a"),
  acceptedTarget("a port in the path", "/a:80/b"),
  acceptedTarget("a percent sign in the query", "/a?%2e%2e%2f%00%0d%0a"),
  acceptedTarget("dots in the query", "/a?.."),
  acceptedTarget("an empty query", "/a?"),
];

/** Every row, with names that are all different. */
export const smugglingCorpus: readonly SmugglingRow[] = [
  ...bothFramings,
  ...codings,
  ...lengths,
  ...noBody,
  ...lines,
  ...requestLines,
  ...oldProtocols,
  ...chunkStreams,
  ...accepted,
];
