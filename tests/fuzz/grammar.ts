/** Generators of texts that are valid or almost valid, with values at the limits of the rules. */

import { allowedBytes, limits } from "../support/wire_grammar.ts";
import type { Random } from "./random.ts";

// deno-fmt-ignore
const NAMES = [
  "a", "b", "Host", "host", "x-y", "0", "1", "constructor", "toString", "connection",
  "Connection", "expect", "upgrade", "te", "trailer", "set-cookie", "Set-Cookie", "cookie", "Cookie", "vary",
  "a_b", "a.b", "__proto__", "!#$%&'*+-.^_`|~", "x".repeat(limits.headerName),
];
// deno-fmt-ignore
const SPECIAL_NAMES = [
  "content-length", "Content-Length", "CONTENT-LENGTH", "transfer-encoding", "Transfer-Encoding",
  "range", "Range", "content-range", "Content-Range", "host", "Host",
];
// deno-fmt-ignore
const BAD_NAMES = [
  "", " ", "a ", " a", "a/b", "a\t", "\xe0", "a\0", "content-length ", "a;b", "(a)",
  " transfer-encoding", "Transfer-Encoding\t", "x".repeat(limits.headerName + 1),
];
// deno-fmt-ignore
const NUMBERS = [
  "0", "1", "4", "5", "9", "10", "255", "65535", "65536", "16777216", "16777217", "4294967296",
  "999999999999999", "9007199254740990", "9007199254740991", "9007199254740992",
  "9999999999999999", "10000000000000000", "18446744073709551616", "00", "05", "+5", "-1", "5 ",
  " 5", "0x5", "5,5", "5.0", "1e3", "", "00000000000000000005", "0009007199254740992",
];
// deno-fmt-ignore
const CODINGS = [
  "chunked", "chunked", "chunked", "Chunked", "chunked ", "\tchunked", "gzip", "gzip, chunked",
  "chunked, chunked", "chunked;q=1", "identity", "xchunked", "\x0bchunked", "chunke", "\xa0chunked",
  "a ,\tb, CHUNKED", "chunked, gzip", "chunked, gzip, chunked", ",chunked",
];
// deno-fmt-ignore
const HOSTS = [
  "a", "a:80", "a:", "A.b-c:8080", "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "[fe80::1%25eth0]",
  "fe80::1%eth0", "fe80::1%eth0:80", "", ":80", "a b", "a/b", "u@a", "a:b", "[::1", "::1", "[::1]x", "a, b",
];
// deno-fmt-ignore
const VALUES = [
  "b", "close", "keep-alive", "100-continue", "h2c", "content-length", "a b", "a  b",
  "text/plain; charset=utf-8", 'W/"abc"', "[::1]:80", "*", "%0d%0a", "-", "a: b",
  "{}", "@", "a\\b", "#", "$", "!`|~^", "", "a\tb", "caf\xe9", "\x80", "\xa0", "\x85b\xa0",
];
const BAD_VALUES = [
  ...["\t", "a\0", "a\rb", "a\nb", "a\x7fb", "a\x1fb", "\x0b", "a\x0c"],
  ...[" ", " b", "b ", "  b  ", "\tb\t ", "close ", " close"],
];
const METHODS = ["GET", "GET", "PUT", "POST", "HEAD", "DELETE", "PATCH", "OPTIONS"];
const BAD_METHODS = ["get", "", "patch", "CONNECT", "TRACE", "G", "GETT", " GET", "PRI"];
// deno-fmt-ignore
const BAD_URIS = [
  "*", "", "//", "/../", "/a/..", "/a//b", "/%2e%2e/", "http://a/", "a", "/a#b", "/a%2fb", "/%00",
  "/a\\b", "/..;b", "a:80", "/ ", "/..?", "/\xe9", "/%", "/%4", "/%41", "/%C3", "/%C0%AF", "/..%3b",
];
const PROTOCOLS = [
  ...["HTTP/1.0", "HTTP/1.0", "HTTP/1.0"],
  "HTTP/1.0",
  "HTTP/1.0",
  "HTTP/0.9",
  "HTTP/2",
  "HTTP/1.2",
  "http/1.1",
  "",
  "HTTP/1.1 ",
];

function makeNumber(random: Random): string {
  return random.chance(50)
    ? random.pick(NUMBERS)
    : String(random.below(1 << (1 + random.below(30))));
}

function makeRange(random: Random): string {
  const unit = random.chance(90) ? "bytes=" : random.pick(["bytes ", "Bytes=", "", "bytes"]);
  const form = random.below(20);
  if (form === 0) return `${unit}-${makeNumber(random)}`;
  if (form === 1) return `${unit}${makeNumber(random)}-`;
  if (form === 2) {
    return `${unit}${makeNumber(random)}-${makeNumber(random)},${makeNumber(random)}-9`;
  }
  return unit + makeOrderedNumbers(random).join("-");
}

function makeContentRange(random: Random): string {
  const unit = random.chance(90) ? "bytes " : random.pick(["bytes=", "Bytes ", "", "bytes  "]);
  const form = random.below(20);
  if (form === 0) return `${unit}*/${makeNumber(random)}`;
  if (form === 1) return `${unit}${makeOrderedNumbers(random).join("-")}/*`;
  const [first, last] = makeOrderedNumbers(random);
  const total = random.chance(70) ? String(Number(last) + 1 + random.below(3)) : makeNumber(random);
  return `${unit}${first}-${last}/${total}`;
}

function makeOrderedNumbers(random: Random): [string, string] {
  const a = makeNumber(random), b = makeNumber(random);
  return random.chance(80) && Number(a) > Number(b) ? [b, a] : [a, b];
}

// deno-fmt-ignore
const ESCAPES = [
  "%20", "%25", "%252e", "%5C", "%0a", "%3B", "%7e", "%2B", "%C3%bc", "%e2%82%AC", "%F0%9F%98%80",
  "%61", "%2F", "%2e", "%80", "%ff", "%ED%A0%80", "%1", "%%",
];

function makeComponent(random: Random): string {
  let text = "";
  for (let n = 1 + random.below(3); n > 0; n--) {
    // Most of the escapes are valid, but a URI of several components should also be.
    text += random.chance(25)
      ? ESCAPES[random.below(random.chance(90) ? 11 : ESCAPES.length)]
      : random.text(allowedBytes.path, 1, 4);
  }
  return text;
}

function makeAbsoluteUri(random: Random): string {
  const scheme = random.pick(["http", "http", "HTTP", "https", "ftp"]);
  const path = random.pick(["", "/", "/a", "?b", "/./a/.", "//", "/.."]);
  return `${scheme}://${random.pick(HOSTS)}${path}`;
}

export function makeUri(random: Random): string {
  if (random.chance(10)) return random.pick(BAD_URIS);
  if (random.chance(5)) return makeAbsoluteUri(random);
  let text = "";
  for (let n = random.below(5); n > 0; n--) {
    text += "/" +
      (random.chance(10) ? random.pick([".", "..", "...", "", "..a"]) : makeComponent(random));
  }
  if (text === "" || random.chance(20)) text += "/";
  return random.chance(30) ? `${text}?${random.text(allowedBytes.query, 0, 8)}` : text;
}

function makeHeaderValue(name: string, random: Random): string {
  const dice = random.below(100);
  if (dice < 4) return random.pick(BAD_VALUES);
  switch (name.toLowerCase()) {
    case "content-length":
      return makeNumber(random);
    case "transfer-encoding":
      return random.pick(CODINGS);
    case "range":
      return makeRange(random);
    case "content-range":
      return makeContentRange(random);
    case "host":
      return random.pick(HOSTS);
  }
  return dice < 40 ? random.pick(VALUES) : random.text(allowedBytes.headerValue, 1, 12);
}

function makeHeaderName(random: Random): string {
  const dice = random.below(100);
  if (dice < 3) return random.pick(BAD_NAMES);
  if (dice < 30) return random.pick(SPECIAL_NAMES);
  return dice < 60 ? random.pick(NAMES) : random.text(allowedBytes.headerName, 1, 12);
}

/** Returns header lines, each with a CR LF before it. */
function makeHeaderLines(random: Random): string {
  let lines = "";
  for (let n = random.below(5); n > 0; n--) {
    const name = makeHeaderName(random);
    const separator = random.chance(97)
      ? ": "
      : random.pick([":", " : ", ":  ", ":\t", "=", " ", ":\xa0"]);
    lines += `\r\n${name}${separator}${makeHeaderValue(name, random)}`;
  }
  if (random.below(2000) === 0) lines = padLines(lines, random);
  return lines;
}

/** Adds lines until the preamble is about as long as the limit. */
function padLines(lines: string, random: Random): string {
  const length = limits.preamble - 80 + random.below(100);
  for (let i = 0; lines.length < length - 500; i++) lines += `\r\np${i}: ${"v".repeat(400)}`;
  return `${lines}\r\npad: ${"v".repeat(Math.max(1, length - lines.length))}`;
}

function makeRequestLine(random: Random): string {
  const method = random.chance(95) ? random.pick(METHODS) : random.pick(BAD_METHODS);
  const protocol = random.chance(92) ? "HTTP/1.1" : random.pick(PROTOCOLS);
  const space = random.chance(98) ? " " : random.pick(["  ", "\t", "", " \t"]);
  return `${method}${space}${makeUri(random)} ${protocol}`;
}

function makeStatusLine(random: Random): string {
  const status = random.chance(90)
    ? String(100 + random.below(500))
    : random.pick(["000", "099", "600", "999", "20", "2000", "+20", "2e2", " 20"]);
  const reason = random.chance(90)
    ? random.text(allowedBytes.reason, 0, 12)
    : random.pick(["", "O\0", "O\x7f", "OK\t", " ", "Don't (\xd6)"]);
  return `${random.chance(92) ? "HTTP/1.1" : random.pick(PROTOCOLS)} ${status} ${reason}`;
}

/** Returns a request preamble without its final CR LF CR LF. */
export function makeRequestPreamble(random: Random): string {
  return makeRequestLine(random) + makeHeaderLines(random);
}

/** Returns a response preamble without its final CR LF CR LF. */
export function makeResponsePreamble(random: Random): string {
  return makeStatusLine(random) + makeHeaderLines(random);
}

/** Returns a chunk header without its CR LF. */
export function makeChunkLine(size: number, random: Random): string {
  let digits = size.toString(16);
  if (random.chance(20)) digits = digits.toUpperCase();
  if (random.chance(10)) digits = "0".repeat(1 + random.below(20)) + digits;
  if (random.chance(4)) {
    // deno-fmt-ignore
    digits = random.pick([
      `+${digits}`, `0x${digits}`, `${digits} `, "", "fffffff", "10000000", "-1", "g",
      "1fffffffffffff", "20000000000000", "100000000000000000",
    ]);
  }
  if (random.chance(60)) return digits;
  if (random.chance(30)) return digits + makeExtensions(random);
  const value = random.below(400) === 0
    ? "v".repeat(limits.chunkHeader - 20 + random.below(20))
    : random.text(allowedBytes.extensionValue, 1, 6);
  return `${digits};${random.text(allowedBytes.extensionKey, 1, 4)}=${value}`;
}

/** Returns extensions in all forms of RFC 9112 §7.1.1, and a few that are invalid. */
function makeExtensions(random: Random): string {
  if (random.chance(15)) {
    return random.pick([
      ";",
      ";=v",
      ";k=",
      ';k="v',
      ';k="v\n"',
      ";\r",
      ";k=v ",
      ";k=(",
      ';k="a"b',
      ";;k=v",
    ]);
  }
  const space = () => random.chance(20) ? random.pick([" ", "\t", " \t "]) : "";
  let text = "";
  for (let n = random.chance(50) ? 1 : 1 + random.below(3); n > 0; n--) {
    text += `${space()};${space()}${random.text(allowedBytes.extensionKey, 1, 4)}`;
    if (random.chance(20)) continue;
    const value = random.chance(40)
      ? random.pick(['""', '"a b"', '"\\""', '"\\\\"', '"\xe9\t;"', '"0;k=v"'])
      : random.text(allowedBytes.extensionValue, 1, 6);
    text += `${space()}=${space()}${value}`;
  }
  return text;
}

/** Returns the lines between the last chunk and the end of a body. */
function makeTrailers(random: Random): string {
  if (random.chance(80)) return "";
  let lines = "";
  for (let n = 1 + random.below(3); n > 0; n--) {
    const name = makeHeaderName(random);
    lines += `${name}:${random.pick(["", " ", "\t"])}${makeHeaderValue(name, random)}\r\n`;
  }
  return lines;
}

export function makeChunks(random: Random): string {
  let text = "";
  for (let n = random.below(4); n > 0; n--) text += makeChunk(1 + random.below(20), random);
  if (random.chance(97)) {
    text += `${makeChunkLine(0, random)}\r\n${makeTrailers(random)}${
      random.chance(98) ? "\r\n" : random.pick(["", "\n", "\r", "a", " \r\n"])
    }`;
  }
  if (random.chance(3)) text += random.pick(["a: b\r\n", "\r\n", "0\r\n\r\n", "x"]);
  return text;
}

function makeChunk(size: number, random: Random): string {
  const data = random.chance(50) ? "x".repeat(size) : random.text("ab\r\n0;: \xff", size, size);
  const end = random.chance(98) ? "\r\n" : random.pick(["", "\n", "\r", "\r\n\r\n", "xx"]);
  return `${makeChunkLine(size, random)}\r\n${data}${end}`;
}

/** Returns a whole request, which is usually valid, with the body that its headers announce. */
export function makeRequest(random: Random): string {
  const message = makeMessage(
    random,
    makeRequestLine(random),
    random.chance(90) ? ["PUT ", "POST ", "PATCH "] : null,
  );
  return random.chance(5) ? random.pick(["\r\n", "\r\n", "\r\n\r\n", "\n"]) + message : message;
}

export function makeResponse(random: Random): string {
  let text = "";
  for (let n = random.chance(10) ? 1 + random.below(3) : 0; n > 0; n--) {
    const status = random.pick(["100", "102", "103", "199", "101"]);
    const line = random.pick([
      "",
      "",
      "link: a\r\n",
      "content-length: 0\r\n",
      "content-length: 2\r\n",
    ]);
    text += `HTTP/1.1 ${status} ${random.pick(["", "Continue"])}\r\n${line}\r\n`;
  }
  return text + makeMessage(random, makeStatusLine(random), null);
}

function makeMessage(random: Random, line: string, withBody: readonly string[] | null): string {
  let text = line;
  const names = new Set<string>();
  for (let n = random.below(3); n > 0; n--) {
    const name = random.pick(NAMES);
    if (random.chance(70) && names.has(name.toLowerCase())) continue;
    names.add(name.toLowerCase());
    text += `\r\n${name}: ${random.pick(/^host$/i.test(name) ? HOSTS.slice(0, 8) : VALUES)}`;
  }
  if (random.chance(10) && !names.has("expect")) text += "\r\nExpect: 100-continue";
  if (random.chance(5)) text += makeHeaderLines(random);
  if (withBody !== null && !withBody.some((start) => line.startsWith(start))) {
    return `${text}\r\n\r\n`;
  }
  const dice = random.below(100);
  if (dice < 35) return `${text}\r\nTransfer-Encoding: chunked\r\n\r\n${makeChunks(random)}`;
  if (dice < 85) {
    const length = random.below(20);
    const body = random.text("ab\r\n \xff", length, length);
    return `${text}\r\ncontent-length: ${length}\r\n\r\n${body}`;
  }
  return `${text}\r\n\r\n`;
}
