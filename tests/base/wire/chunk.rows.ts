/** Chunk headers without CR LF, rule by rule (RFC 9112 §7.1). */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";

const SIZE = "RFC 9112 §7.1";
const SIZE_OR_EXTENSION = ["BAD_CHUNK_LINE", "BAD_CHUNK_EXTENSION"];

/** Valid chunk headers with their sizes and extensions. */
export const acceptedChunkLines: readonly (readonly [
  line: string,
  size: number,
  extension: readonly [key: string, value: string] | null,
])[] = [
  ["0", 0, null],
  ["fF", 255, null],
  ["1000000", 16777216, null],
  // Sizes above 16 MiB.
  ["1000001", 16777217, null],
  ["1fffffffffffff", 9007199254740991, null],
  ["1FFFFFFFFFFFFE;k=v", 9007199254740990, ["k", "v"]],
  // Leading zeros.
  ["000000000000000000000000a", 10, null],
  [`${"0".repeat(4080)}1fffffffffffff`, 9007199254740991, null],
  ["0000001000001;k=v", 16777217, ["k", "v"]],
  // One extension of a token is kept.
  ["0;k=v", 0, ["k", "v"]],
  ["5;k=v", 5, ["k", "v"]],
  ["5;!#$%&'*+-.^_`|~09=!#$%&'*+-.^_`|~09", 5, ["!#$%&'*+-.^_`|~09", "!#$%&'*+-.^_`|~09"]],
  ["5 \t ;\t\tk \t=  v", 5, ["k", "v"]],
  // All others are dropped.
  ["5;k", 5, null],
  ['5;k="v"', 5, null],
  ['5 ; k = "v"', 5, null],
  ['5;k="a b\tc;d=e,(f)[]{}<>@:/?"', 5, null],
  ['5;k="\\"\\\\\\a\\ "', 5, null],
  ['5;k="\x80\xe9\xff\\\xff"', 5, null],
  ["5;k=v;w", 5, null],
  [`5${";a".repeat(2046)}`, 5, null],
];

/** White space at the end of a chunk header, which only a response may have. */
const PADDING = "white space at the end of a chunk header";

/** Chunked bodies of the data `hello` that only a response may have. */
export const paddedCodings: readonly string[] = [
  ...["5   \r\nhello\r\n0   \r\n\r\n", "5\t\r\nhello\r\n0\r\n\r\n"],
  ...["5 \t \r\nhello\r\n0\t\r\n\r\n", "0005 \r\nhello\r\n000 \r\n\r\n"],
  ...["5;k=v \r\nhello\r\n0;a \r\n\r\n", '5;k="v" \r\nhello\r\n0\r\na: b\r\n\r\n'],
  `5${" ".repeat(4093)}\r\nhello\r\n0\r\n\r\n`,
];

export const refusedChunkLines: readonly RefusedRow[] = [
  ...refuseSizes("no size", "", ";k=v", " ;k=v"),
  ...refuseSizes("a sign or a prefix", "+5", "-5", "0x5", "0X5"),
  ...refuseSizes("white space before the size", " 5", "\t5"),
  ...refuseSizes("a byte that is no hex digit", "g", "5.0", "0_5", "\xb5", "hello"),
  ...makeRefusedRows(PADDING, SIZE, SIZE_OR_EXTENSION, "5 ", "5\t", "0 ", "5 \t"),
  ...makeRefusedRows(
    "white space after the size",
    SIZE,
    SIZE_OR_EXTENSION,
    ...["5 5", "5 5 ", "5\xa0", "5\x0b;k=v", "5 \x0b"],
  ),
  ...makeRefusedRows(
    "a byte after the size",
    SIZE,
    SIZE_OR_EXTENSION,
    ...["5g", "5.0", "5,", "5\0", "5=v", '5"k"', "5:"],
  ),
  ...refuseSizes("a bare CR or a bare LF", "5\r", "5\n", "5\rX", "\r5", "\n5"),
  ...makeRefusedRows(
    "a size above 2⁵³ − 1",
    SIZE,
    ["CHUNK_TOO_LARGE", "BAD_CHUNK_LINE"],
    ...["20000000000000", "20000000000000;k=v", "ffffffffffffff", "0020000000000000"],
    ...["ffffffffffffffff", "100000000000000000", "10000000000000005", "8000000000000000"],
  ),
  ...refuseExtensions("no key", "5;", "5;=", "5;=v", "5;;k=v", "5; ;k=v", "5;k=v;", "5;k;"),
  ...refuseExtensions("no value", "5;k=", "5;k=;", "5;k= ", "5;k=;a=b"),
  ...refuseExtensions("a second equals sign", "5;k==v", "5;k=v=w"),
  ...refuseExtensions(PADDING, "5;k=v ", "5;k ", "5;k=v\t", '5;k="v" '),
  ...refuseExtensions("white space in place of a key", "5; ", "5;k=v; "),
  ...refuseExtensions("white space in a token", "5;a b=c", "5;k=v w", "5;a b"),
  ...refuseExtensions(
    "a byte that no token has",
    ...["5;k/=v", "5;k=v/w", "5;a=(", "5;a=<b>", "5;a=[", "5;a=b,c", "5;a=b:c", "5;(=b", "5;a\\=b"],
  ),
  ...refuseExtensions(
    "a quoted string without an end",
    ...['5;a="b', '5;a="', '5;a="b\\"', '5;a="b;c=d', '5;a=b"', '5;a="b"c"', '5;a="\\"'],
  ),
  ...refuseExtensions("a byte after a quoted string", '5;a="b"c', '5;a="b""c"', '5;a="b"=c'),
  ...refuseExtensions("a quoted key", '5;"a"=b', '5;"a"'),
  ...refuseExtensions(
    "a NUL or a control byte",
    "5;a=\0",
    '5;a="\0"',
    '5;a="\x7f"',
    '5;a="\\\x1b"',
  ),
  ...refuseExtensions(
    "a bare CR or a bare LF",
    ...["5;k=v\r", "5;k=v\n", "5;k=v\rw", "5;a\nx: y", "5;\nhello", '5;a="\r"', '5;a="b\n"'],
    ...['5;a="\\\r"', '5;a="\\\n"'],
  ),
  ...refuseExtensions("a byte above 127 in a token", "5;\xe9=v", "5;k=\xe9"),
  ...refuseExtensions("white space of Unicode", "5;\xa0k=v", "5;k\xa0=v", "5;k=v\xa0", "5;k=\x85v"),
];

const TRAILER = "RFC 9112 §7.1.2";
const TRAILER_CODES = ["BAD_CHUNK_END", "BAD_HEADER_LINE", "BAD_HEADER_NAME", "BAD_HEADER_VALUE"];

function refuseTrailers(rule: string, ...blocks: string[]): RefusedRow[] {
  const texts = blocks.map((block) => `0\r\n${block}\r\n\r\n`);
  return makeRefusedRows(`trailer: ${rule}`, TRAILER, TRAILER_CODES, ...texts);
}

function refuseSizes(rule: string, ...lines: string[]): RefusedRow[] {
  return makeRefusedRows(rule, SIZE, "BAD_CHUNK_LINE", ...lines);
}

function refuseExtensions(rule: string, ...lines: string[]): RefusedRow[] {
  return makeRefusedRows(`extension: ${rule}`, "RFC 9112 §7.1.1", "BAD_CHUNK_EXTENSION", ...lines);
}

/** Valid trailers, with the CR LF of each line. They are dropped. */
export const acceptedTrailers: readonly string[] = [
  "a: b\r\n",
  "a: \t caf\xe9\tb \r\n",
  "expires: 0\r\nx-checksum: abc\r\n",
  // Their names and values mean nothing, also if they are repeated.
  "a: b\r\nA: c\r\n",
  "content-length: 36\r\n",
  "content-length: x\r\ncontent-length: 5\r\n",
  "transfer-encoding: chunked\r\n",
  "transfer-encoding: gzip, chunked\r\n",
  "host: b\r\nhost: c\r\n",
  "connection: close\r\n",
  "set-cookie: a=b\r\n",
  "__proto__: a\r\n",
  `${"n".repeat(256)}: v\r\n`,
  // 32768 bytes with the empty line.
  `a: ${"b".repeat(32768 - "a: \r\n\r\n".length)}\r\n`,
  "a: b\r\n".repeat(128),
];

/** Refused encodings: the refused chunk headers, and invalid bytes after a chunk header. */
export const refusedCodings: readonly RefusedRow[] = [
  ...refusedChunkLines.map((row) => ({ ...row, text: `${row.text}\r\n` })),
  ...makeRefusedRows(
    "no CR LF after the data",
    SIZE,
    "BAD_CHUNK_END",
    ...["5\r\nhello0\r\n", "5\r\nhelloXY0\r\n\r\n", "5\r\nhello\n\r", "5\r\nhello\n\r0\r\n"],
    ...["5\r\nhello!\r\n0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n", "5\r\nhello\rX0\r\n\r\n"],
  ),
  ...makeRefusedRows(
    "a bare CR or a bare LF after the data",
    "RFC 9112 §2.2",
    "BAD_CHUNK_END",
    ...["5\r\nhello\n0\r\n", "5\r\nhello\r0\r\n"],
  ),
  ...makeRefusedRows(
    "a bare LF after the data, and then the end",
    "RFC 9112 §2.2",
    ["BAD_CHUNK_END", "BODY_INCOMPLETE"],
    "5\r\nhello\n",
  ),
  ...refuseTrailers("no header line", "XY", "a", "GET / HTTP/1.1", "a=b"),
  ...refuseTrailers("a space before the colon", "a : b", "content-length : 5"),
  ...refuseTrailers("a byte that no name has", "a/b: c", ": b", "\xe9: b", "a\0: b", "a b: c"),
  ...refuseTrailers("a name of 257 bytes", `${"a".repeat(257)}: b`),
  ...refuseTrailers("a byte that no value has", "a: b\0", "a: \x7f", "a: \x1b[0m"),
  ...refuseTrailers("a folded line", "a: b\r\n c", "a: b\r\n\tc: d", " a: b", "\ta: b", " "),
  ...refuseTrailers("a bare CR or a bare LF", "a: b\nc: d", "a: b\rc: d", "a\n: b", "\n", "\rX"),
  ...makeRefusedRows(
    "a bare LF after the last chunk",
    "RFC 9112 §2.2",
    TRAILER_CODES,
    ...["0\r\n\n0", "0\r\na: b\n", "0\r\na: b\r\n\n"],
  ),
  ...makeRefusedRows(
    "trailers above 32768 bytes",
    TRAILER,
    "TRAILER_TOO_LARGE",
    `0\r\na: ${"b".repeat(32769 - "a: \r\n\r\n".length)}\r\n\r\n`,
    `0\r\na: ${"b".repeat(32768)}`,
  ),
  ...makeRefusedRows(
    "trailers of more than 128 lines",
    TRAILER,
    "TRAILER_TOO_LARGE",
    ...[`0\r\n${"a: b\r\n".repeat(129)}\r\n`, `0\r\n${"a: b\r\n".repeat(6000)}`],
  ),
  ...refuseSizes(
    "a bare CR or a bare LF after the size",
    ...["5\nhello\r\n", "5\rhello\r\n", "0\n\n"],
  ),
  ...makeRefusedRows(
    "a line above 4096 bytes",
    "RFC 9112 §7.1.1",
    "CHUNK_LINE_TOO_LONG",
    ...[`5;k=${"v".repeat(4091)}\r\n`, `5;k="${"v".repeat(4089)}"\r\n`],
    ...[`${"0".repeat(4094)}5\r\n`, `5;k=${"v".repeat(5000)}`],
  ),
  ...makeRefusedRows(
    "a line above 4096 bytes that is no size either",
    "RFC 9112 §7.1.1",
    ["CHUNK_LINE_TOO_LONG", "BAD_CHUNK_LINE"],
    ...["1".repeat(4097), "1".repeat(5000)],
  ),
];

/** Refused encodings of responses. */
export const refusedResponseCodings: readonly RefusedRow[] = [
  ...refusedCodings.filter(({ rule }) => !rule.includes(PADDING)),
  ...makeRefusedRows("white space alone", SIZE, SIZE_OR_EXTENSION, " \r\n", "\t \r\n"),
  ...makeRefusedRows(
    "white space before the end of the data",
    SIZE,
    "BAD_CHUNK_END",
    "5 \r\nhello \r\n0\r\n\r\n",
  ),
  ...makeRefusedRows("a long padding", SIZE, "CHUNK_LINE_TOO_LONG", `5${" ".repeat(4094)}\r\n`),
];
