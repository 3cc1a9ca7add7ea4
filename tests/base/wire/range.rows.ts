/** Numbers and ranges in their single valid form, and every refused form, by rule. */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";

/** Values of content-length with their numbers. */
export const acceptedContentLengths: readonly (readonly [value: string, length: number])[] = [
  ["0", 0],
  ["1", 1],
  ["10", 10],
  ["9007199254740990", 9007199254740990],
  ["9007199254740991", 9007199254740991],
];

/** Invalid numbers (RFC 9110 §8.6: `1*DIGIT`, restricted to one spelling of each number). */
export const refusedNumbers: readonly RefusedRow[] = [
  ...refuseNumbers("leading zeros", "00", "01", "007", "0000000000000001"),
  ...refuseNumbers("a sign", "+1", "-1", "-0"),
  ...refuseNumbers("a fraction or an exponent", "1.0", "1.", "1e3"),
  ...refuseNumbers(
    "another base or form",
    ...["0x10", "0b1", "1_000", "1n", "a", "NaN", "Infinity", "\xb2"],
  ),
  ...refuseNumbers("above 2⁵³ − 1", "9007199254740992", "9999999999999999"),
  ...refuseNumbers("more than 16 digits", "10000000000000000", "90071992547409910"),
  ...refuseNumbers("more than 16 digits, as 2⁶⁴", "18446744073709551616"),
  ...refuseNumbers("white space", "1 ", " 1", "1 1", "1\t"),
  ...refuseNumbers("digits of any number", "9".repeat(400), `${2n ** 64n + 36n}`),
  ...refuseNumbers("a list, quotes or letters", "1,1", "1, 1", "1;1", '"1"', "1a"),
  ...refuseNumbers("a NUL", "1\0"),
];

function refuseNumbers(rule: string, ...texts: string[]): RefusedRow[] {
  return makeRefusedRows(rule, "RFC 9110 §8.6", "BAD_CONTENT_LENGTH", ...texts);
}

/** Values of `range`, with their start and stop. The last ones are open-ended. */
export const acceptedRanges: readonly (readonly [value: string, start: number, stop: number])[] = [
  ["bytes=0-0", 0, 1],
  ["bytes=2-4", 2, 5],
  ["bytes=9-10", 9, 11],
  ["bytes=0-9007199254740990", 0, 9007199254740991],
  ["bytes=9007199254740990-9007199254740990", 9007199254740990, 9007199254740991],
  ["bytes=0-", 0, 9007199254740991],
  ["bytes=5-", 5, 9007199254740991],
  ["bytes=9007199254740990-", 9007199254740990, 9007199254740991],
];

/** Invalid forms of range with valid numbers. */
export const refusedRanges: readonly RefusedRow[] = [
  ...refuseRanges("an open end in another form", "bytes=0-*", "bytes=0--", "bytes=0-,", "0-"),
  ...refuseRanges("a suffix", "bytes=-5", "bytes=*-1"),
  ...refuseRanges("no position at all", "bytes=-", "bytes=", "bytes=*", "bytes=0", "x", ""),
  ...refuseRanges("the last position before the first", "bytes=1-0", "bytes=10-9"),
  ...refuseRanges(
    "several ranges",
    ...[
      "bytes=0-1,3-4",
      "bytes=0-1, 3-4",
      "bytes=0-1-2",
      "bytes=0-1;",
      "bytes=0-1,3-",
      "bytes=0-,3-4",
    ],
  ),
  ...refuseRanges("another unit, or none", "byte=0-1", "items=0-1", "0-1", "xbytes=0-1"),
  ...refuseRanges("the unit in another case", "Bytes=0-1", "BYTES=0-1"),
  ...refuseRanges(
    "another separator",
    ...["bytes", "bytes 0-1", "bytes:0-1", "bytes==0-1", "bytes=0:1", "bytes=0--1"],
  ),
  ...refuseRanges("the form of content-range", "bytes 0-1/2"),
  ...refuseRanges(
    "a position above 2⁵³ − 2",
    ...["bytes=0-9007199254740991", "bytes=9007199254740991-9007199254740991"],
    "bytes=9007199254740991-",
  ),
  ...refuseRanges(
    "white space",
    ...["bytes = 0-1", "bytes= 0-1", "bytes=0 -1", "bytes=0-1 "],
    ...["bytes=0- ", "bytes= 0-", " bytes=0-1"],
  ),
  ...refuseRanges("a line break", "bytes=0-1\n"),
];

function refuseRanges(rule: string, ...texts: string[]): RefusedRow[] {
  return makeRefusedRows(rule, "RFC 9110 §14.2", "BAD_RANGE", ...texts);
}

/** Values of content-range with start, stop and total. */
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

/** Invalid forms of content-range with valid numbers. */
export const refusedContentRanges: readonly RefusedRow[] = [
  ...refuseContentRanges("an unknown range or total", "bytes */10", "bytes 0-1/*"),
  ...refuseContentRanges("the last position before the first", "bytes 1-0/2"),
  ...refuseContentRanges(
    "a position at or after the total",
    ...["bytes 0-2/2", "bytes 2-2/2", "bytes 5-6/1"],
  ),
  ...refuseContentRanges("a total of 0", "bytes 0-0/0"),
  ...refuseContentRanges("the form of range", "bytes=0-1/2", "bytes=0-1"),
  ...refuseContentRanges("another unit, or none", "items 0-1/2", "0-1/2", "x", ""),
  ...refuseContentRanges("the unit in another case", "Bytes 0-1/2"),
  ...refuseContentRanges("no total", "bytes 0-1", "bytes 0-1/", "bytes "),
  ...refuseContentRanges("no first or last position", "bytes -1/2", "bytes 0-/2", "bytes 0/2"),
  ...refuseContentRanges("several", "bytes 0-1/2/3", "bytes 0-1/2, 3-4/5"),
  ...refuseContentRanges(
    "white space",
    ...["bytes  0-1/2", "bytes\t0-1/2", "bytes 0-1/2 ", " bytes 0-1/2"],
    ...["bytes 0 - 1/2", "bytes 0-1 /2", "bytes 0-1/ 2"],
  ),
  ...refuseContentRanges("a line break", "bytes 0-1/2\n"),
];

function refuseContentRanges(rule: string, ...texts: string[]): RefusedRow[] {
  return makeRefusedRows(rule, "RFC 9110 §14.4", "BAD_CONTENT_RANGE", ...texts);
}
