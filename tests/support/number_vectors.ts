/**
 * Tables of numbers and ranges in the form that the protocol uses, and of forms that it refuses.
 *
 * @module
 */

/** Values of content-length with the number they stand for. */
export const acceptedContentLengths: readonly (readonly [value: string, length: number])[] = [
  ["0", 0],
  ["1", 1],
  ["10", 10],
  ["9007199254740990", 9007199254740990],
  ["9007199254740991", 9007199254740991],
];

/** Texts that are not a number on the wire. */
export const refusedNumbers: readonly string[] = [
  ..."00 01 007 +1 -1 -0 1.0 1. 1e3 0x10 0b1 1_000 a NaN Infinity 1n 1,1".split(" "),
  ...["9007199254740992", "9999999999999999", "10000000000000000", "90071992547409910"],
  ...["18446744073709551616", "1 ", " 1", "1 1", "1, 1", "\xb2", "1\t", "1\0", "0000000000000001"],
];

/** Values of range with the start and stop they stand for. */
export const acceptedRanges: readonly (readonly [value: string, start: number, stop: number])[] = [
  ["bytes=0-0", 0, 1],
  ["bytes=2-4", 2, 5],
  ["bytes=9-10", 9, 11],
  ["bytes=0-9007199254740990", 0, 9007199254740991],
  ["bytes=9007199254740990-9007199254740990", 9007199254740990, 9007199254740991],
];

/** Forms of range that the wire does not know; their numbers are right. */
export const refusedRanges: readonly string[] = [
  ..."bytes=0- bytes=-5 bytes=- bytes= bytes 0-1 bytes=1-0 bytes=10-9 bytes=0-1,3-4".split(" "),
  ..."Bytes=0-1 BYTES=0-1 byte=0-1 items=0-1 bytes:0-1 0-1 bytes=0 bytes=0-1-2".split(" "),
  ..."bytes==0-1 bytes=*-1 bytes=0-* bytes=* bytes=0-1; bytes=0:1 bytes=0--1".split(" "),
  ...["bytes=0-9007199254740991", "bytes=9007199254740991-9007199254740991"],
  ...["bytes = 0-1", "bytes= 0-1", "bytes=0 -1", "bytes=0-1 ", " bytes=0-1", "bytes=0-1, 3-4"],
  ...["x", "bytes=0-1\n", "xbytes=0-1", "bytes 0-1/2", ""],
];

/** Values of content-range with the start, stop and total they stand for. */
export const acceptedContentRanges: readonly (readonly [
  value: string,
  start: number,
  stop: number,
  total: number,
])[] = [
  ["bytes 0-0/1", 0, 1, 1],
  ["bytes 2-4/10", 2, 5, 10],
  ["bytes 9-9/10", 9, 10, 10],
  ["bytes 0-9007199254740990/9007199254740991", 0, 9007199254740991, 9007199254740991],
];

/** Forms of content-range that the wire does not know; their numbers are right. */
export const refusedContentRanges: readonly string[] = [
  ...["bytes */10", "bytes 0-1/*", "bytes 1-0/2", "bytes 0-2/2", "bytes 2-2/2", "bytes 5-6/1"],
  ...["bytes=0-1/2", "bytes  0-1/2", "bytes\t0-1/2", "Bytes 0-1/2", "items 0-1/2", "0-1/2"],
  ...[
    "bytes 0-1",
    "bytes 0-1/",
    "bytes -1/2",
    "bytes 0-/2",
    "bytes 0/2",
    "bytes 0-1/2/3",
    "bytes ",
  ],
  ...[
    "bytes 0-1/2 ",
    " bytes 0-1/2",
    "bytes 0 - 1/2",
    "bytes 0-1 /2",
    "bytes 0-1/ 2",
    "bytes 0-0/0",
  ],
  ...["bytes 0-1/2, 3-4/5", "bytes=0-1", "x", "bytes 0-1/2\n", ""],
];
