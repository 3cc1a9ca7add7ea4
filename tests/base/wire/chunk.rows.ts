/** Chunk headers without CR LF, rule by rule (RFC 9112 §7.1). */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";

const SIZE = "RFC 9112 §7.1";

/** Valid chunk headers with their sizes and extensions. */
export const acceptedChunkLines: readonly (readonly [
  line: string,
  size: number,
  extension: readonly [key: string, value: string] | null,
])[] = [
  ["0", 0, null],
  ["1", 1, null],
  ["a", 10, null],
  ["A", 10, null],
  ["fF", 255, null],
  ["10", 16, null],
  ["ffffff", 16777215, null],
  ["FFFFFF", 16777215, null],
  ["1000000", 16777216, null],
  ["0;k=v", 0, ["k", "v"]],
  ["5;k=v", 5, ["k", "v"]],
  ["5;K-9=V", 5, ["K-9", "V"]],
  ["5;k=v;w", 5, ["k", "v;w"]],
  ["5;k=v;", 5, ["k", "v;"]],
  ["5;k=;", 5, ["k", ";"]],
  ["5;-=-+.:_~\"'()*,;<>[]", 5, ["-", "-+.:_~\"'()*,;<>[]"]],
  ["5;constructor=toString", 5, ["constructor", "toString"]],
  ["1000000;k=v", 16777216, ["k", "v"]],
];

export const refusedChunkLines: readonly RefusedRow[] = [
  ...refuseSizes("no size", "", ";k=v"),
  ...refuseSizes("leading zeros", "00", "05", "000", "0000001", "05;k=v", "0_5"),
  ...refuseSizes("a sign or a prefix", "+5", "-5", "0x5"),
  ...refuseSizes("white space", "5 ", " 5", "5\t", "5 ;k=v"),
  ...refuseSizes("a byte that is no hex digit", "g", "5g", "5.0", "5,", "\xb5", "5\0", "hello"),
  ...refuseSizes("a bare CR or a bare LF", "5\r", "5\n", "5\rX"),
  ...makeRefusedRows(
    "a size above 16777216",
    SIZE,
    "CHUNK_TOO_LARGE",
    "1000001",
    "1000001;k=v",
    "fffffff",
  ),
  ...makeRefusedRows(
    "more than 7 digits",
    SIZE,
    ["BAD_CHUNK_LINE", "CHUNK_TOO_LARGE"],
    ...["10000000", "100000000000000000", "80000000", "100000005", "ffffffffffffffff"],
    ...["10000000000000005", "00000000000000005"],
  ),
  ...refuseExtensions("no key or no value", "5;", "5;k", "5;=", "5;=v", "5;k="),
  ...refuseExtensions("a second extension", "5;k=v;a=b", "5;;k=v", "5;a;b"),
  ...refuseExtensions("a second equals sign", "5;k==v"),
  ...refuseExtensions("white space", "5; k=v", "5;k =v", "5;k= v", "5;k=v "),
  ...refuseExtensions("a byte that no key or value has", "5;k_=v", "5;k=v/w", "5;k=v%"),
  ...refuseExtensions("a NUL", "5;a=\0"),
  ...refuseExtensions("a space in quotes", '5;a="b c"'),
  ...refuseExtensions(
    "a bare CR or a bare LF",
    ...["5;k=v\r", "5;k=v\n", "5;k=v\rw", "5;a\nx: y", "5;\nhello"],
  ),
  ...refuseExtensions("a byte above 127", "5;\xe9=v", "5;k=\xe9"),
  ...makeRefusedRows(
    "leading zeros, and an extension without a value",
    SIZE,
    ["BAD_CHUNK_LINE", "BAD_CHUNK_EXTENSION"],
    "05;k",
  ),
];

function refuseSizes(rule: string, ...lines: string[]): RefusedRow[] {
  return makeRefusedRows(rule, SIZE, "BAD_CHUNK_LINE", ...lines);
}

function refuseExtensions(rule: string, ...lines: string[]): RefusedRow[] {
  return makeRefusedRows(`extension: ${rule}`, "RFC 9112 §7.1.1", "BAD_CHUNK_EXTENSION", ...lines);
}

/** Refused encodings: the refused chunk headers, and invalid bytes after a chunk header. */
export const refusedCodings: readonly RefusedRow[] = [
  ...refusedChunkLines.map((row) => ({ ...row, text: `${row.text}\r\n` })),
  ...makeRefusedRows(
    "no CR LF after the data",
    SIZE,
    "BAD_CHUNK_END",
    ...["5\r\nhello0\r\n", "5\r\nhelloXY0\r\n\r\n", "5\r\nhello\n\r", "5\r\nhello\n\r0\r\n"],
    ...["5\r\nhello!\r\n0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n", "5\r\nhello\rX0\r\n\r\n"],
    '5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
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
  ...makeRefusedRows(
    "no CR LF after the last chunk",
    SIZE,
    "BAD_CHUNK_END",
    ...["0\r\nXY", "0\r\nX\n", "0\r\n\rX", "0\r\nX\r\n\r\n", "0\r\n\n0"],
  ),
  ...makeRefusedRows(
    "a trailer",
    "RFC 9112 §7.1.2",
    "BAD_CHUNK_END",
    ...[
      ...["a: b", "content-length: 36", "transfer-encoding: chunked", "host: b", " x"],
      "GET / HTTP/1.1",
    ].map((line) => `0\r\n${line}\r\n\r\n`),
  ),
  ...refuseSizes(
    "a bare CR or a bare LF after the size",
    ...["5\nhello\r\n", "5\rhello\r\n", "0\n\n"],
  ),
  ...makeRefusedRows(
    "a line above 4096 bytes",
    "RFC 9112 §7.1.1",
    "CHUNK_LINE_TOO_LONG",
    ...[`5;k=${"v".repeat(4091)}\r\n`, `5;k=${"v".repeat(4092)}\r\n`, `5;k=${"v".repeat(5000)}`],
  ),
  ...makeRefusedRows(
    "a line above 4096 bytes that is no size either",
    "RFC 9112 §7.1.1",
    ["CHUNK_LINE_TOO_LONG", "BAD_CHUNK_LINE"],
    ...["1".repeat(4097), "1".repeat(5000)],
  ),
];
