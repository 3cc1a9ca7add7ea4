/**
 * Ways to make two parties see different requests in the same bytes: the warnings of RFC 9112 (§2.2, §3,
 * §5, §6, §7, §9, §11), and the public literature on request smuggling and desynchronization, as bytes that
 * a peer sends on one connection. Text is Latin-1, one character per byte.
 */

import { framingRows } from "./smuggling_framing.ts";
import {
  acceptedHeaders,
  acceptedTarget,
  get,
  message,
  refused,
  refusedHeader,
  refusedLine,
  SMUGGLED,
  type SmugglingRow,
  TE,
} from "./smuggling_rows.ts";
import { fromLatin1 } from "./wire_grammar.ts";

export type { SmugglingRow } from "./smuggling_rows.ts";

/** Raw UTF-8. Of the characters here the low bytes, or the letters in lower case, are ASCII. */
const utf8 = (text: string) => fromLatin1(new TextEncoder().encode(text));
const CUT_LINE_END = "\u010d\u010a";
const CUT_SPACE = "\u0120";

const { length } = SMUGGLED;

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
  refusedHeader("a value with UTF-8 line ends", `x: y${utf8(`${CUT_LINE_END}z:${CUT_SPACE}w`)}`),
  refusedHeader("a name with UTF-8 line ends", `x${utf8(`:${CUT_SPACE}y${CUT_LINE_END}z`)}: w`),
  refused(
    "a host with UTF-8 line ends",
    `GET / HTTP/1.1\r\nhost: a${utf8(`${CUT_LINE_END}x:${CUT_SPACE}y`)}\r\n\r\n`,
  ),
  refused("a host with a UTF-8 letter", `GET / HTTP/1.1\r\nhost: ${utf8("\u212a")}\r\n\r\n`),
  refused("a host with a path", "GET / HTTP/1.1\r\nhost: a/b#c\r\n\r\n"),
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
  [
    "UTF-8 line ends",
    `GET /admin${utf8(`${CUT_SPACE}HTTP/1.1${CUT_LINE_END}x-user:${CUT_SPACE}root`)} HTTP/1.1`,
  ],
  ["UTF-8 space", `GET /admin${utf8(CUT_SPACE)} HTTP/1.1`],
  ["UTF-8 dots", `GET /a/${utf8("\u012e\u012e")}/b HTTP/1.1`],
  ["UTF-8 slash", `GET /a${utf8("\u012f")}b HTTP/1.1`],
  ["UTF-8 question mark", `GET /a${utf8("\u013f")}b HTTP/1.1`],
  ["UTF-8 letters", `GET /${utf8("\u0161\u0164\u016d\u0169\u016e")} HTTP/1.1`],
  ["a UTF-8 letter whose lower case is ASCII", `GET /${utf8("\u212a")} HTTP/1.1`],
  ["UTF-8 of four bytes", `GET /${utf8("\u{1f431}")} HTTP/1.1`],
  ["UTF-8 in the query", `GET /a?${utf8(CUT_SPACE)} HTTP/1.1`],
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
  ...[["a quote that is not closed", 'a="'], ["a semicolon at the end", "a=b;"], [
    "a digit for a key",
    "0=0",
  ], ["brackets", "a=<b>[c](d)"]].map(([name = "", extension = ""]): SmugglingRow => ({
    name: `an extension with ${name}`,
    bytes: message("PUT /b HTTP/1.1", TE, `5;${extension}\r\nhello\r\n0\r\n\r\n`),
    accepted: [{
      method: "PUT",
      uri: "/b",
      headers: { host: "a", "transfer-encoding": "chunked" },
      body: [[extension.split("=") as [string, string], "hello"], [null, ""]],
    }],
  })),
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
  ...framingRows,
  ...lines,
  ...requestLines,
  ...oldProtocols,
  ...accepted,
];
