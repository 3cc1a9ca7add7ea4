/** Numbers and ranges in their valid forms, and every refused form, by rule. */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";

/** Values of content-length with their numbers. */
export const acceptedContentLengths: readonly (readonly [value: string, length: number])[] = [
  ["0", 0],
  ["9007199254740991", 9007199254740991],
  // Leading zeros.
  ["05", 5],
  ["00009007199254740991", 9007199254740991],
  [`${"0".repeat(1000)}36`, 36],
];

/** Invalid numbers (RFC 9110 §8.6: `1*DIGIT`). */
export const refusedNumbers: readonly RefusedRow[] = [
  ...refuseNumbers("a sign", "+1", "-1", "-0"),
  ...refuseNumbers("a fraction or an exponent", "1.0", "1.", "1e3"),
  ...refuseNumbers(
    "another base or form",
    ...["0x10", "0x5", "05h", "0b1", "1_000", "1n", "a", "NaN", "Infinity", "\xb2"],
  ),
  ...refuseNumbers("above 2⁵³ − 1", "9007199254740992", "9999999999999999", "0009007199254740992"),
  ...refuseNumbers("more than 16 digits", "10000000000000000", "90071992547409910"),
  ...refuseNumbers("white space", "1 ", " 1", "1 1", "1\t"),
  ...refuseNumbers("digits of any number", "9".repeat(400), `${2n ** 64n + 36n}`),
  ...refuseNumbers("a list, quotes or letters", "1,1", "1, 1", "1;1", '"1"', "1a"),
  ...refuseNumbers("a NUL", "1\0"),
];

function refuseNumbers(rule: string, ...texts: string[]): RefusedRow[] {
  return makeRefusedRows(rule, "RFC 9110 §8.6", "BAD_CONTENT_LENGTH", ...texts);
}

/** Values of `range`, with their start and stop. */
export const acceptedRanges: readonly (readonly [value: string, start: number, stop: number])[] = [
  ["bytes=0-0", 0, 1],
  ["bytes=0-9007199254740990", 0, 9007199254740991],
  ["bytes=9007199254740990-9007199254740990", 9007199254740990, 9007199254740991],
  // The rest of the representation.
  ["bytes=0-", 0, Infinity],
  ["bytes=5-", 5, Infinity],
  ["bytes=9007199254740990-", 9007199254740990, Infinity],
  ["bytes=9007199254740991-", 9007199254740991, Infinity],
];

/** Other spellings of a range. */
export const respelledRanges: typeof acceptedRanges = [
  ["Bytes=0-1", 0, 2],
  // Empty elements of the list.
  ["bytes=,0-1", 0, 2],
  ["bytes= ,\t,0-1 ,,", 0, 2],
  ["bytes=007-0000000000000000009", 7, 10],
  ["Bytes=05-", 5, Infinity],
  // A last position above 2⁵³ − 2: the rest, however many digits it has.
  ["bytes=0-9007199254740991", 0, Infinity],
  ["bytes=2-9223372036854775807", 2, Infinity],
  ["bytes=2-18446744073709551615", 2, Infinity],
  ["bytes=2-0009007199254740992", 2, Infinity],
  ["bytes=9007199254740990-9007199254740991", 9007199254740990, Infinity],
  [`bytes=7-${"9".repeat(1000)}`, 7, Infinity],
  // A first position above 2⁵³ − 2, which no representation has.
  ["bytes=9007199254740991-9007199254740991", 9007199254740991, Infinity],
  ["bytes=9007199254740992-", 9007199254740991, Infinity],
  ["bytes=9007199254740992-9007199254740993", 9007199254740991, Infinity],
  ["bytes=18446744073709551615-18446744073709551616", 9007199254740991, Infinity],
];

/** Ranges of the last bytes, with their length. */
export const suffixRanges: readonly (readonly [value: string, length: number])[] = [
  ["bytes=-9007199254740991", 9007199254740991],
  ["Bytes=-03", 3],
  // Above 2⁵³ − 1.
  ["bytes=-9007199254740992", 9007199254740991],
  ["bytes=-9223372036854775807", 9007199254740991],
  [`bytes=-${"9".repeat(1000)}`, 9007199254740991],
  // No representation satisfies it (RFC 9110 §14.1.2).
  ["bytes=-0", 0],
];

/** Several ranges of bytes, which a server leaves out (RFC 9110 §14.2). */
export const severalRanges: readonly string[] = [
  ...["bytes=0-1,3-4", "bytes=0-1, 3-4", "bytes=0-1 \t,\t 3-4", "bytes=0-1,3-", "bytes=0-,3-4"],
  ...["bytes=-1,0-0", "bytes=0-0,-1", "Bytes=0-0,0-0", "bytes=5-6,0-1,-2"],
  ...["bytes=0-1,9007199254740991-", "bytes=0-1,-9007199254740992"],
  `bytes=${"0-0,".repeat(1000)}5-`,
  ...["bytes=0-1,,3-4", "bytes=0-1, ,3-4", "bytes=,0-1,3-4,"],
];

/** Ranges of other units than bytes, which stay text. */
export const otherRanges: readonly string[] = [
  ...["items=0-1", "byte=0-1", "xbytes=0-1", "items=-5", "items=0-1,3-4", "x=y", "x=y;z", "x==y"],
  ..."!#$%&'*+-.^_`|~".split("").map((character) => `${character}=${character}`),
  ...["items=,a", "items=a,", "items=a, ,b"],
  ...["lines=!\"#$%&'()*+-./:;<=>?@[\\]^_`{|}~", "items=a, b", "items=18446744073709551616-"],
];

/** Invalid forms of range with valid numbers. */
export const refusedRanges: readonly RefusedRow[] = [
  ...refuseRanges("an open end in another form", "bytes=0-*", "bytes=0--", "0-"),
  ...refuseRanges("a suffix in another form", "bytes=--5", "bytes=*-1", "bytes=-5-"),
  ...refuseRanges(
    "no position at all",
    ...["bytes=-", "bytes=", "bytes=0", "bytes=,", "bytes=, ,", "items=,", ""],
  ),
  ...refuseRanges(
    "the last position before the first",
    ...["bytes=1-0", "bytes=10-9", "bytes=9007199254740991-9007199254740990"],
    // As floating-point numbers, these are equal.
    ...[
      "bytes=9007199254740993-9007199254740992",
      "bytes=18446744073709551616-18446744073709551615",
    ],
    ...["bytes=100000000000000000000-9", `bytes=${"9".repeat(400)}-${"9".repeat(399)}8`],
    ...["bytes=0100000000000000000000-0099999999999999999999"],
  ),
  ...refuseRanges(
    "several ranges, and one that is invalid",
    ...["bytes=0-1,x", "bytes=1-0,3-4", "bytes=0-1,3", "bytes=0-1,3-4-5", "bytes=0-1,bytes=3-4"],
    ...["bytes=0-1,3 -4", "bytes=0-1,-", "bytes=0-1,*"],
  ),
  ...refuseRanges("another separator of ranges", "bytes=0-1-2", "bytes=0-1;", "bytes=0-1;3-4"),
  ...refuseRanges("no unit", "0-1", "=0-1", "-1"),
  ...refuseRanges(
    "a unit that is no token",
    ...["it ems=0-1", "a/b=0-1", "\xe9=0-1", "a =0-1"],
  ),
  ...refuseRanges("a value of another unit", "items=", "items", "items=a b", "items=\xe9"),
  ...refuseRanges(
    "another separator",
    ...["bytes", "bytes 0-1", "bytes:0-1", "bytes==0-1", "bytes=0:1", "bytes=0--1"],
  ),
  ...refuseRanges("the form of content-range", "bytes 0-1/2", "bytes=0-1/2"),
  ...refuseRanges(
    "white space",
    ...["bytes = 0-1", "bytes= 0-1", "bytes=0 -1", "bytes=0-1 ", "bytes=0- 1", "bytes=\t0-1"],
    ...["bytes=0- ", "bytes= 0-", " bytes=0-1", "bytes= -1", "bytes=- 1"],
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
  total: number | null,
])[] = [
  ["bytes 0-0/1", 0, 1, 1],
  ["bytes 2-4/10", 2, 5, 10],
  ["bytes 0-9007199254740990/9007199254740991", 0, 9007199254740991, 9007199254740991],
  // An unknown total.
  ["bytes 0-0/*", 0, 1, null],
  ["bytes 2-9007199254740990/*", 2, 9007199254740991, null],
];

/** Other spellings of a content range. */
export const respelledContentRanges: typeof acceptedContentRanges = [
  ["Bytes 0-1/2", 0, 2, 2],
  ["bytes 00-01/0010", 0, 2, 10],
];

/** Values of content-range without a range, with their total. */
export const unsatisfiedRanges: readonly (readonly [value: string, total: number])[] = [
  ["bytes */0", 0],
  ["bytes */9007199254740991", 9007199254740991],
];

/** Content ranges of other units than bytes, which stay text. */
export const otherContentRanges: readonly string[] = [
  ...["items 0-1/2", "items 0-1/*", "items */2", "xbytes 0-0/1", "!#$%&'*+-.^_`|~ 0-1/2"],
];

/** Invalid forms of content-range with valid numbers. */
export const refusedContentRanges: readonly RefusedRow[] = [
  ...refuseContentRanges("neither a range nor a total", "bytes */*", "bytes *", "bytes */"),
  ...refuseContentRanges("the last position before the first", "bytes 1-0/2"),
  ...refuseContentRanges(
    "a position at or after the total",
    ...["bytes 0-9007199254740991/*", "bytes 0-2/2", "bytes 2-2/2", "bytes 5-6/1"],
  ),
  ...refuseContentRanges("a total of 0", "bytes 0-0/0"),
  ...refuseContentRanges("the form of range", "bytes=0-1/2", "bytes=0-1"),
  ...refuseContentRanges("no unit", "0-1/2", " 0-1/2", "x", "", "*/3"),
  ...refuseContentRanges("a unit that is no token", "a/b 0-1/2", "\xe9 0-1/2", "(a) 0-1/2"),
  ...refuseContentRanges(
    "another unit with another value",
    ...["items 0-1", "items a-b/c", "items */*", "items  0-1/2", "items"],
  ),
  ...refuseContentRanges("no total", "bytes 0-1", "bytes 0-1/", "bytes "),
  ...refuseContentRanges("no first or last position", "bytes -1/2", "bytes 0-/2", "bytes 0/2"),
  ...refuseContentRanges(
    "white space",
    ...["bytes  0-1/2", "bytes\t0-1/2", "bytes 0-1/2 ", " bytes 0-1/2"],
    ...["bytes 0 - 1/2", "bytes 0-1 /2", "bytes 0-1/ 2", "bytes  */3", "bytes * /3"],
  ),
  ...refuseContentRanges("several", "bytes 0-1/2/3", "bytes */3, */3", "bytes 0-1/2, 3-4/5"),
  ...refuseContentRanges("a line break", "bytes 0-1/2\n"),
];

function refuseContentRanges(rule: string, ...texts: string[]): RefusedRow[] {
  return makeRefusedRows(rule, "RFC 9110 §14.4", "BAD_CONTENT_RANGE", ...texts);
}
