/**
 * The syntax of header lines, rule by rule. The rows apply to every message: they are run with the
 * parser, with a server over a socket, and with a client. framing.rows.ts has the headers that are
 * allowed in each message.
 */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";
import { encodeUtf8, type FlatHeaders, isReferenceValue } from "@degu/testing/wire_grammar.ts";
import { refusedNumbers } from "./range.rows.ts";

/** An accepted header block. */
interface AcceptedBlock {
  readonly rule: string;
  readonly rfc: string;
  readonly text: string;
  readonly headers: FlatHeaders;
}

/** Each byte above 127. */
const OBS_TEXT = Array.from({ length: 0x80 }, (_, i) => String.fromCharCode(0x80 + i)).join("");

/** Each byte from 0x21 to 0x7E, with which a value may begin and end. */
const VALUE_BYTES = Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i));

/** Returns a block with a line for each byte. */
function makeByteLines(makeValue: (byte: string) => string): [text: string, FlatHeaders] {
  const headers = Object.fromEntries(VALUE_BYTES.map((byte, i) => [`b${i}`, makeValue(byte)]));
  return [Object.entries(headers).map((line) => line.join(": ")).join("\r\n"), headers];
}

function makeAcceptedBlock(
  rule: string,
  rfc: string,
  ...blocks: readonly (readonly [text: string, headers: FlatHeaders])[]
): AcceptedBlock[] {
  return blocks.map(([text, headers]) => ({ rule, rfc, text, headers }));
}

export const acceptedBlocks: readonly AcceptedBlock[] = [
  ...makeAcceptedBlock("no header at all", "RFC 9112 §2.1", ["", {}]),
  ...makeAcceptedBlock(
    "a name is a token, kept in lower case",
    "RFC 9110 §5.1",
    ["a: b", { a: "b" }],
    ["__proto__: c", { ["__proto__"]: "c" }],
    ["!#$%&'*+-.^_`|~09Az: v", { "!#$%&'*+-.^_`|~09az": "v" }],
    [`${"n".repeat(256)}: v`, { ["n".repeat(256)]: "v" }],
  ),
  ...makeAcceptedBlock(
    "spaces and tabs around a value are removed",
    "RFC 9112 §5.1",
    ["a: \t b c\t \t", { a: "b c" }],
    ["x-role:  admin \r\nc:d", { "x-role": "admin", c: "d" }],
    [`a:${" ".repeat(1000)}b${"\t".repeat(1000)}`, { a: "b" }],
  ),
  ...makeAcceptedBlock(
    "only spaces and tabs are removed",
    "RFC 9110 §5.6.3",
    ["a: \xa0b\xa0", { a: "\xa0b\xa0" }],
  ),
  ...makeAcceptedBlock(
    "an empty value",
    "RFC 9110 §5.5",
    ["a:", { a: "" }],
    ["EXT:\t \t", { ext: "" }],
  ),
  ...makeAcceptedBlock(
    "a tab inside a value is a byte like any other",
    "RFC 9110 §5.5",
    ["a:\tb \t c\t", { a: "b \t c" }],
  ),
  ...makeAcceptedBlock(
    "a byte above 127 in a value is a character of Latin-1",
    "RFC 9110 §5.5",
    ["a: caf\xe9", { a: "caf\xe9" }],
    [`x: ${encodeUtf8("y\u010d\u010az:\u0120w")}`, { x: "y\xc4\x8d\xc4\x8az:\xc4\xa0w" }],
    [`a: ${OBS_TEXT}`, { a: OBS_TEXT }],
  ),
  ...makeAcceptedBlock(
    "lines of one name are one value, in their order",
    "RFC 9110 §5.3",
    ["a: b\r\nA: c", { a: "b, c" }],
    ["a: b\r\nc: d\r\na: e\r\nc: f", { a: "b, e", c: "d, f" }],
    ["Vary: accept\r\nvary:\torigin , x ", { vary: "accept, origin , x" }],
    ["a:\r\na: b\r\na: \t\r\na: c\r\na:", { a: "b, c" }],
    ["cookie:\r\ncookie: a=b\r\ncookie:", { cookie: "a=b" }],
    ["__proto__: a\r\n__PROTO__: b", { ["__proto__"]: "a, b" }],
  ),
  ...makeAcceptedBlock(
    "lines of cookie are joined by a semicolon",
    "RFC 9113 §8.2.3",
    ["cookie: a=b\r\nCookie: c=d; e=f", { cookie: "a=b; c=d; e=f" }],
  ),
  ...makeAcceptedBlock(
    "set-cookie is a list",
    "RFC 9110 §5.3",
    ["Set-Cookie: a=b; Path=/", { "set-cookie": ["a=b; Path=/"] }],
    ["Set-Cookie: a=b\r\nset-cookie: c=d", { "set-cookie": ["a=b", "c=d"] }],
    ["set-cookie: a=b; expires=Fri, 1 Jan\r\nc: d\r\nset-cookie:\r\nset-cookie: a=b", {
      "set-cookie": ["a=b; expires=Fri, 1 Jan", "", "a=b"],
      c: "d",
    }],
  ),
  ...makeAcceptedBlock(
    "the name ends at the first colon",
    "RFC 9112 §5",
    ["a:b: c", { a: "b: c" }],
  ),
  ...makeAcceptedBlock(
    "every byte that a value may have",
    "RFC 9110 §5.5",
    makeByteLines((byte) => byte),
    makeByteLines((byte) => `${byte} v ${byte}`),
    [`a: ${VALUE_BYTES.join("")}`, { a: VALUE_BYTES.join("") }],
    ['Cookie: a={"b":[1,2]}; c=d|e', { cookie: 'a={"b":[1,2]}; c=d|e' }],
  ),
  ...makeAcceptedBlock(
    "headers without a meaning here are text",
    "RFC 9110 §16.3",
    ["Upgrade: h2c\r\nTrailer: a", { upgrade: "h2c", trailer: "a" }],
    ["x: chunked\r\nte: trailers", { x: "chunked", te: "trailers" }],
  ),
  ...makeAcceptedBlock("connection: close, which ends no connection", "RFC 9112 §9.6", [
    "Connection: close",
    { connection: "close" },
  ]),
  ...makeAcceptedBlock(
    "expect: 100-continue, which the server answers itself",
    "RFC 9110 §10.1.1",
    [
      "Expect: 100-continue",
      { expect: "100-continue" },
    ],
  ),
  ...makeAcceptedBlock(
    "a name like one of Object.prototype's is a name like any other",
    "RFC 9110 §5.1",
    ["constructor: a\r\nToString: b", { constructor: "a", tostring: "b" }],
  ),
  ...makeAcceptedBlock(
    "a name that only resembles one with a meaning",
    "RFC 9110 §5.1",
    ["contentlength: x\r\ncontent-length-: 05", { contentlength: "x", "content-length-": "05" }],
    ["ranges: bytes=9-1\r\nif-range: *", { ranges: "bytes=9-1", "if-range": "*" }],
  ),
];

/** Lines that announce chunks (RFC 9112 §7). */
export const chunkedLines: readonly string[] = [
  ...["transfer-encoding: chunked", "transfer-encoding: Chunked", "TRANSFER-ENCODING:CHUNKED\t"],
  ...["Transfer-Encoding: \t chUNKed \t"],
];

/** Headers that steer or carry authority, with two valid values. */
const SINGLE: readonly (readonly [name: string, value: string, otherValue: string])[] = [
  ["content-type", "text/html", "text/plain"],
  ["authorization", "Basic YTpi", "Bearer abc"],
  ["proxy-authorization", "Basic YTpi", "Bearer abc"],
  ["location", "/a", "/b"],
  ["etag", '"a"', '"b"'],
  ["last-modified", "Fri, 01 Jan 2027 00:00:00 GMT", "Sat, 02 Jan 2027 00:00:00 GMT"],
  ["if-range", '"a"', '"b"'],
  ["if-modified-since", "Fri, 01 Jan 2027 00:00:00 GMT", "Sat, 02 Jan 2027 00:00:00 GMT"],
  ["if-unmodified-since", "Fri, 01 Jan 2027 00:00:00 GMT", "Sat, 02 Jan 2027 00:00:00 GMT"],
];

/** Headers that another reader may find in a line that breaks a rule. */
const disguisedHeaders = { host: "a", "content-length": "36", "transfer-encoding": "chunked" };

const makeCoding = (coding: string) => `transfer-encoding: ${coding}`;

export const refusedBlocks: readonly RefusedRow[] = [
  ...makeRefusedRows(
    "no colon",
    "RFC 9112 §5",
    "BAD_HEADER_LINE",
    ...["a", "a=b", " ", "\t", "a b", "a\tb"],
  ),
  ...makeRefusedRows(
    "an empty line before the end",
    "RFC 9112 §2.1",
    "BAD_HEADER_LINE",
    ...["a: b\r\n", "\r\na: b", "a: b\r\n\r\nc: d", "\r\n"],
  ),
  ...makeRefusedRows(
    "a folded line (obs-fold)",
    "RFC 9112 §5.2",
    "BAD_HEADER_LINE",
    "a: b\r\n c",
    "a: b\r\n\tc",
  ),
  ...makeRefusedRows(
    "a folded line (obs-fold) with a colon",
    "RFC 9112 §5.2",
    "BAD_HEADER_NAME",
    "a: b\r\n c: d",
  ),
  ...makeRefusedRows("an empty name", "RFC 9110 §5.1", "BAD_HEADER_NAME", ": b"),
  ...makeRefusedRows(
    "a space before the colon",
    "RFC 9112 §5.1",
    "BAD_HEADER_NAME",
    ...["a : b", "a\t: b"],
  ),
  ...makeRefusedRows("a space before the name", "RFC 9112 §2.2", "BAD_HEADER_NAME", " a: b"),
  ...makeRefusedRows(
    "a byte that no name has",
    "RFC 9110 §5.1",
    "BAD_HEADER_NAME",
    ...["a/b: c", "a;b: c", '"a": c', "a\0: b", "\xe0: b", "a\x7f: b", "[a]: c", "a\\: b"],
    ...["a\xa0: b"],
  ),
  ...makeRefusedRows(
    "a bare CR or a bare LF in a name",
    "RFC 9112 §2.2",
    "BAD_HEADER_NAME",
    "a\rb: c",
    "a\nb: c",
  ),
  ...makeRefusedRows(
    "a name of more than 256 bytes",
    "RFC 9110 §5.4",
    "BAD_HEADER_NAME",
    ...[257, 258, 1000].map((length) => `${"a".repeat(length)}: b`),
  ),
  ...makeRefusedRows(
    "a bare CR or a bare LF in a value",
    "RFC 9112 §2.2",
    "BAD_HEADER_VALUE",
    ...["a: b\rc: d", "a: b\nc: d", "a: b\n", "a: b\r"],
  ),
  ...makeRefusedRows(
    "NUL, or another byte that no value has",
    "RFC 9110 §5.5",
    "BAD_HEADER_VALUE",
    ...Array.from({ length: 0x20 }, (_, code) => String.fromCharCode(code))
      .filter((byte) => byte !== "\r" && byte !== "\n" && byte !== "\t")
      .flatMap((byte) => [`a: ${byte}`, `a: b${byte}c`]),
    ...["a: \x7f", "a: b\x7fc"],
  ),
  ...SINGLE.flatMap(([name, value, otherValue]) =>
    makeRefusedRows(
      `duplicate header: ${name}`,
      "RFC 9110 §5.3",
      "DUPLICATE_HEADER",
      `${name}: ${value}\r\n${name}: ${value}`,
      `${name}: ${value}\r\nx: y\r\n${name.toUpperCase()}: ${otherValue}`,
    )
  ),
  ...makeRefusedRows(
    "duplicate header: host",
    "RFC 9112 §3.2",
    "DUPLICATE_HEADER",
    ...["host: a\r\nhost: a", "host: a\r\nHost: b", "host:\r\nhost:", "host: a\r\nhost:"],
  ),
  ...makeRefusedRows(
    "duplicate header: content-length, even with the same value",
    "RFC 9110 §8.6",
    "DUPLICATE_HEADER",
    "content-length: 5\r\nContent-Length: 5",
    "content-length: 0\r\ncontent-length: 36",
  ),
  ...makeRefusedRows(
    "duplicate header: transfer-encoding",
    "RFC 9112 §6.1",
    "DUPLICATE_HEADER",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\nTransfer-Encoding: identity",
  ),
  ...makeRefusedRows(
    "content-length: no digit",
    "RFC 9110 §8.6",
    "BAD_CONTENT_LENGTH",
    "content-length:",
  ),
  // White space around a value is removed.
  ...refusedNumbers.filter(({ text }) => text.trim() === text).map(({ rule, text }) => ({
    rule: `content-length: ${rule}`,
    rfc: "RFC 9110 §8.6",
    text: `content-length: ${text}`,
    codes: isReferenceValue(text)
      ? ["BAD_CONTENT_LENGTH"]
      : ["BAD_CONTENT_LENGTH", "BAD_HEADER_VALUE"],
  })),
  ...makeRefusedRows(
    "transfer-encoding: another coding than chunked",
    "RFC 9112 §6.1",
    "BAD_TRANSFER_ENCODING",
    ...["gzip", "identity", "xchunked", "chunkedx", "chunked;q=1", '"chunked"', ""].map(makeCoding),
    ...["\xa0chunked", "chunked\xa0", "\x85chunked", "chun ked", "chun\tked"].map(makeCoding),
  ),
  ...makeRefusedRows(
    "transfer-encoding: a list",
    "RFC 9112 §6.1",
    "BAD_TRANSFER_ENCODING",
    ...["chunked, identity", "chunked, chunked", "gzip, chunked, chunked", "Chunked,chunked"]
      .map(makeCoding),
    ...["chunked, gzip, chunked", ",chunked", "chunked,", "chunked, ", "gzip, deflate"]
      .map(makeCoding),
  ),
  ...makeRefusedRows(
    "transfer-encoding: an unknown coding, and then chunked",
    "RFC 9112 §6.1",
    "UNKNOWN_TRANSFER_CODING",
    ...["gzip, chunked", "gzip,chunked", "identity, Chunked", "X\t,\tchunked", "a, b, chunked"]
      .map(makeCoding),
  ),
  ...makeRefusedRows(
    "content-length together with transfer-encoding",
    "RFC 9112 §6.1",
    "CONFLICTING_HEADERS",
    "content-length: 5\r\ntransfer-encoding: chunked",
    "content-length: 05\r\ntransfer-encoding:CHUNKED",
    "Transfer-Encoding: chunked\r\nContent-Length: 0",
  ),
  ...Object.entries(disguisedHeaders).flatMap(([name, value]) =>
    makeRefusedRows(
      `${name} that another reader may find`,
      "RFC 9112 §11.2",
      [
        "BAD_HEADER_LINE",
        "BAD_HEADER_NAME",
        "BAD_HEADER_VALUE",
        "BAD_CONTENT_LENGTH",
        "BAD_TRANSFER_ENCODING",
      ],
      ...[
        ...[": \0", ": \x0b", ": \r", ":\n", ":\r\n ", ":\r\n\t"],
        ...[" : ", "\t: ", "\0: ", " :", "\xa0: "],
      ].map((separator) => name + separator + value),
      ...["\0", "\x0c", "\r", "\n"].map((end) => `${name}: ${value}${end}`),
      ...[" ", "\t", "x: y\n", "x: y\r", "x: y\r\n "].map((start) => `${start}${name}: ${value}`),
      `\xef${name}: ${value}`,
    )
  ),
];
