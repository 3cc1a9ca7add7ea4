/**
 * The syntax of header lines, rule by rule. The rows apply to every message: they are run with the
 * parser, with a server over a socket, and with a client. framing.rows.ts has the headers that are
 * allowed in each message.
 */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";
import { encodeUtf8, type FlatHeaders, isReferenceValue } from "@degu/testing/wire_grammar.ts";
import { refusedNumbers } from "./range.rows.ts";

/** An accepted header block. */
export interface AcceptedBlock {
  readonly rule: string;
  readonly rfc: string;
  readonly text: string;
  readonly headers: FlatHeaders;
}

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
    "a name of letters, digits and -, kept in lower case",
    "RFC 9110 §5.1",
    ["a: b", { a: "b" }],
    ["A: b", { a: "b" }],
    ["-: -", { "-": "-" }],
    ["0: 1", { "0": "1" }],
    [`${"n".repeat(64)}: v`, { ["n".repeat(64)]: "v" }],
    [
      "Content-Security-Policy-Report-Only: default-src 'self'",
      { "content-security-policy-report-only": "default-src 'self'" },
    ],
  ),
  ...makeAcceptedBlock(
    "spaces inside a value are bytes like any other",
    "RFC 9110 §5.5",
    ["a: b c", { a: "b c" }],
    ["a: b  c   d", { a: "b  c   d" }],
  ),
  ...makeAcceptedBlock(
    "the name ends at the first colon and space",
    "RFC 9112 §5",
    ["a: b: c", { a: "b: c" }],
    ["a: :", { a: ":" }],
    ["a: : :", { a: ": :" }],
    ["a: b:c", { a: "b:c" }],
  ),
  ...makeAcceptedBlock(
    "every byte that a value may have",
    "RFC 9110 §5.5",
    makeByteLines((byte) => byte),
    makeByteLines((byte) => `${byte} v ${byte}`),
    [`a: ${VALUE_BYTES.join("")}`, { a: VALUE_BYTES.join("") }],
    ['Cookie: a={"b":[1,2]}; c=d|e', { cookie: 'a={"b":[1,2]}; c=d|e' }],
  ),
  ...makeAcceptedBlock("several headers, in any order", "RFC 9110 §5.3", [
    "b: 1\r\na: 2",
    { a: "2", b: "1" },
  ]),
  ...makeAcceptedBlock(
    "headers without a meaning here are text",
    "RFC 9110 §16.3",
    ["Set-Cookie: a=b; Path=/", { "set-cookie": "a=b; Path=/" }],
    ["Upgrade: h2c\r\nTrailer: a", { upgrade: "h2c", trailer: "a" }],
    ["x: chunked\r\nte: trailers", { x: "chunked", te: "trailers" }],
  ),
  ...makeAcceptedBlock(
    "any host, also an invalid one",
    "RFC 9112 §3.2",
    ...["a", "a:b", "a/b#c", "a b", "a, b", ":", "?", "a@b", "#", "{}"].map((host) =>
      [`host: ${host}`, { host }] as const
    ),
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
    ["hasOwnProperty: a\r\nvalueOf: b", { hasownproperty: "a", valueof: "b" }],
  ),
  ...makeAcceptedBlock(
    "a name that only resembles one with a meaning",
    "RFC 9110 §5.1",
    ["contentlength: x\r\ncontent-length-: 05", { contentlength: "x", "content-length-": "05" }],
    ["ranges: bytes=9-1\r\nif-range: *", { ranges: "bytes=9-1", "if-range": "*" }],
  ),
];

/** Headers that another reader may find in a line that breaks a rule. */
const disguisedHeaders = { host: "a", "content-length": "36", "transfer-encoding": "chunked" };

const makeCoding = (coding: string) => `transfer-encoding: ${coding}`;

export const refusedBlocks: readonly RefusedRow[] = [
  ...makeRefusedRows(
    "no colon and space",
    "RFC 9112 §5",
    "BAD_HEADER_LINE",
    ...["a", "a:", "a:b", "a :b", "a=b", "a:\tb", " "],
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
  ...makeRefusedRows("a space before the colon", "RFC 9112 §5.1", "BAD_HEADER_NAME", "a : b"),
  ...makeRefusedRows("a space before the name", "RFC 9112 §2.2", "BAD_HEADER_NAME", " a: b"),
  ...makeRefusedRows(
    "a byte that no name has",
    "RFC 9110 §5.1",
    "BAD_HEADER_NAME",
    ...["a:b: c", "a_b: c", "__proto__: c", "a.b: c", "a\0: b", "\xe0: b", "\xc0: b"],
    // The low bytes of these characters are line ends and spaces.
    encodeUtf8("x:\u0120y\u010d\u010az: w"),
  ),
  ...makeRefusedRows(
    "a bare CR or a bare LF in a name",
    "RFC 9112 §2.2",
    "BAD_HEADER_NAME",
    "a\rb: c",
    "a\nb: c",
  ),
  ...makeRefusedRows(
    "a name of more than 64 bytes",
    "RFC 9110 §5.4",
    "BAD_HEADER_NAME",
    ...[65, 66, 1000].map((length) => `${"a".repeat(length)}: b`),
  ),
  ...makeRefusedRows(
    "an empty value",
    "RFC 9110 §5.5",
    ["BAD_HEADER_VALUE", "BAD_HEADER_LINE"],
    "a: ",
  ),
  ...makeRefusedRows(
    "a space before a value",
    "RFC 9110 §5.5",
    "BAD_HEADER_VALUE",
    ...["a:  b", "a:   b", "a:  ", "a:   ", "x-role:  admin", "a:  b\r\nc: d"],
    ...["content-length:  5", "range:  bytes=0-1", "connection:  close", "a:  : b"],
  ),
  ...makeRefusedRows(
    "a space after a value",
    "RFC 9110 §5.5",
    "BAD_HEADER_VALUE",
    ...["a: b ", "a: b  ", "a: b c ", "x-role: admin ", "a: b \r\nc: d", "a: : ", "a:  b "],
    ...["content-length: 5 ", "range: bytes=0-1 ", "connection: close "],
  ),
  ...makeRefusedRows("a tab in a value", "RFC 9110 §5.5", "BAD_HEADER_VALUE", "a: b\t", "a: \tb"),
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
      .filter((byte) => byte !== "\r" && byte !== "\n")
      .flatMap((byte) => [`a: ${byte}`, `a: b${byte}c`]),
    ...["a: \x7f", "a: b\x7fc"],
  ),
  ...makeRefusedRows(
    "a byte above 127 in a value",
    "RFC 9110 §5.5",
    "BAD_HEADER_VALUE",
    ...["a: \x80", "a: caf\xe9", encodeUtf8("x: y\u010d\u010az:\u0120w"), encodeUtf8("a: \u212a")],
  ),
  ...makeRefusedRows(
    "duplicate header",
    "RFC 9110 §5.3",
    "DUPLICATE_HEADER",
    ...["a: b\r\na: b", "a: b\r\nA: c", "a: b\r\nc: d\r\na: e"],
    "constructor: a\r\nConstructor: a",
  ),
  ...makeRefusedRows(
    "duplicate header: set-cookie, too",
    "RFC 9110 §5.3",
    "DUPLICATE_HEADER",
    "Set-Cookie: a=b\r\nset-cookie: c=d",
  ),
  ...makeRefusedRows(
    "duplicate header: host",
    "RFC 9112 §3.2",
    "DUPLICATE_HEADER",
    ...["host: a\r\nhost: a", "host: a\r\nHost: b"],
  ),
  ...makeRefusedRows(
    "duplicate header: content-length, even with the same value",
    "RFC 9110 §8.6",
    "DUPLICATE_HEADER",
    "content-length: 5\r\nContent-Length: 5",
    "content-length: 0\r\nContent-Length: 0",
    "content-length: 0\r\ncontent-length: 36",
  ),
  ...makeRefusedRows(
    "duplicate header: transfer-encoding",
    "RFC 9112 §6.1",
    "DUPLICATE_HEADER",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\nTransfer-Encoding: identity",
  ),
  ...refusedNumbers.map(({ rule, text }) => ({
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
    ...["gzip", "identity", "xchunked", "chunkedx", "chunked;q=1", '"chunked"'].map(makeCoding),
  ),
  ...makeRefusedRows(
    "transfer-encoding: a list",
    "RFC 9112 §6.1",
    "BAD_TRANSFER_ENCODING",
    ...["gzip, chunked", "chunked, identity", "chunked, chunked", ",chunked"].map(makeCoding),
  ),
  ...makeRefusedRows(
    "transfer-encoding: chunked in another case",
    "RFC 9112 §7",
    "BAD_TRANSFER_ENCODING",
    ...["Chunked", "CHUNKED"].map(makeCoding),
  ),
  ...makeRefusedRows(
    "transfer-encoding: chunked with spaces",
    "RFC 9112 §7",
    "BAD_HEADER_VALUE",
    ...["transfer-encoding: chunked ", "transfer-encoding:  chunked"],
  ),
  ...makeRefusedRows(
    "content-length together with transfer-encoding",
    "RFC 9112 §6.1",
    "CONFLICTING_HEADERS",
    "content-length: 5\r\ntransfer-encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 0",
  ),
  ...Object.entries(disguisedHeaders).flatMap(([name, value]) =>
    makeRefusedRows(
      `${name} that another reader may find`,
      "RFC 9112 §11.2",
      ["BAD_HEADER_LINE", "BAD_HEADER_NAME", "BAD_HEADER_VALUE", "BAD_CONTENT_LENGTH"],
      ...[
        ...[":", ":\t", ":  ", ": \0", ": \x0b", ":\xa0", ": \r", ":\n", ":\r\n ", ":\r\n\t"],
        ...[" : ", "\t: ", "\0: "],
      ].map((separator) => name + separator + value),
      ...[" ", "\t", "\0", "\x0c", "\r", "\n"].map((end) => `${name}: ${value}${end}`),
      ...[" ", "x: y\n", "x: y\r", "x: y\r\n "].map((start) => `${start}${name}: ${value}`),
      ...[`${name}: `, `${name}_: ${value}`, `\xef${name}: ${value}`],
    )
  ),
];
