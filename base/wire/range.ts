/** Ranges of bytes (RFC 9110 §14). A range of another unit is a text. */

import { checkInteger, notAllowedError } from "../../internal/checks.ts";
import { ProtocolError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import { MAX_LENGTH } from "./limits.ts";
import { parseDecimal } from "../../internal/decimal.ts";
import { allows, TOKEN_TABLE, trimWhitespace } from "./character_tables.ts";

function checkPosition(label: string, value: number): void {
  checkInteger(label, value, 0, MAX_LENGTH);
}

/**
 * The half-open interval `[start, stop)` of bytes that a request asks for (RFC 9110 §14.2). The
 * range `new Range(5, Infinity)` has no end: `bytes=5-`.
 *
 * @example
 * ```ts
 * import { Range } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const range = new Range(2, 5);
 * assertEquals(String(range), "bytes=2-4");
 * assertEquals(range.contentLength(4), 2);
 * assertEquals(String(range.contentRange(10)), "bytes 2-4/10");
 * ```
 */
export class Range {
  /** The position of the first byte. */
  readonly start: number;
  /**
   * The position after the last byte; `Infinity` for the rest of the representation, which
   * `JSON.stringify()` writes as `null`.
   */
  readonly stop: number;

  /**
   * Makes a range of the bytes from `start` up to, not including, `stop`.
   *
   * @param start The position of the first byte.
   * @param stop The position after the last byte; `Infinity` for the rest of the representation.
   * @throws {TypeError} if a position is not a number.
   * @throws {RangeError} unless 0 ≤ start < stop ≤ 2⁵³ − 1, both integers, or `stop` is `Infinity`.
   */
  constructor(start: number, stop: number) {
    checkPosition("start", start);
    if (stop !== Infinity) checkPosition("stop", stop);
    if (start >= stop) {
      throw notAllowedError("start, stop", `must be start < stop; got ${start} and ${stop}`);
    }
    this.start = start;
    this.stop = stop;
  }

  /**
   * Returns the number of bytes that the range covers of a representation of `total` bytes.
   *
   * @param total The size of the whole representation in bytes.
   * @throws {TypeError} if the size is not a number.
   * @throws {RangeError} unless start < total.
   */
  contentLength(total: number): number {
    checkPosition("total", total);
    if (this.start >= total) {
      throw notAllowedError(
        "total",
        `must be greater than ${this.start}, where the range starts; got ${total}`,
      );
    }
    return Math.min(this.stop, total) - this.start;
  }

  /**
   * Returns the content range of a response for a representation of `total` bytes.
   *
   * @param total The size of the whole representation in bytes.
   * @throws {TypeError} if the size is not a number.
   * @throws {RangeError} unless start < total.
   */
  contentRange(total: number): ContentRange {
    return new ContentRange(this.start, this.start + this.contentLength(total), total);
  }

  /** The value of the header: `bytes=2-4` for `new Range(2, 5)`. */
  toString(): string {
    return `bytes=${this.start}-${this.stop === Infinity ? "" : this.stop - 1}`;
  }
}

/**
 * The last bytes of a representation, which a request asks for (RFC 9110 §14.1.2).
 *
 * @example
 * ```ts
 * import { SuffixRange } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const range = new SuffixRange(3);
 * assertEquals(String(range), "bytes=-3");
 * assertEquals(String(range.contentRange(10)), "bytes 7-9/10");
 * assertEquals(String(range.contentRange(2)), "bytes 0-1/2");
 * ```
 */
export class SuffixRange {
  /** The number of bytes. */
  readonly length: number;

  /**
   * Makes a range of the last bytes.
   *
   * @param length The number of bytes. No representation satisfies a range of 0 bytes.
   * @throws {TypeError} if the length is not a number.
   * @throws {RangeError} unless 0 ≤ length ≤ 2⁵³ − 1, an integer.
   */
  constructor(length: number) {
    checkPosition("length", length);
    this.length = length;
  }

  /**
   * Returns the number of bytes that the range covers of a representation of `total` bytes.
   *
   * @param total The size of the whole representation in bytes.
   * @throws {TypeError} if the size is not a number.
   * @throws {RangeError} unless both the size and the length are above 0.
   */
  contentLength(total: number): number {
    checkPosition("total", total);
    if (total === 0 || this.length === 0) {
      throw notAllowedError(
        "total",
        `must have one of the last ${this.length} bytes; got ${total}`,
      );
    }
    return Math.min(this.length, total);
  }

  /**
   * Returns the content range of a response for a representation of `total` bytes.
   *
   * @param total The size of the whole representation in bytes.
   * @throws {TypeError} if the size is not a number.
   * @throws {RangeError} unless both the size and the length are above 0.
   */
  contentRange(total: number): ContentRange {
    return new ContentRange(total - this.contentLength(total), total, total);
  }

  /** The value of the header: `bytes=-3` for `new SuffixRange(3)`. */
  toString(): string {
    return `bytes=-${this.length}`;
  }
}

/**
 * The half-open interval `[start, stop)` of a representation of `total` bytes that a response
 * carries (RFC 9110 §14.4).
 *
 * @example
 * ```ts
 * import { ContentRange } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(String(new ContentRange(2, 5, 10)), "bytes 2-4/10");
 * ```
 */
export class ContentRange {
  /** The position of the first byte. */
  readonly start: number;
  /** The position after the last byte. */
  readonly stop: number;
  /** The size of the whole representation in bytes; `null` if it is unknown. */
  readonly total: number | null;

  /**
   * Makes a content range of the bytes from `start` up to, not including, `stop`.
   *
   * @param start The position of the first byte.
   * @param stop The position after the last byte.
   * @param total The size of the whole representation in bytes; `null` if it is unknown.
   * @throws {TypeError} if an argument has a wrong type.
   * @throws {RangeError} unless 0 ≤ start < stop ≤ total ≤ 2⁵³ − 1, all integers.
   */
  constructor(start: number, stop: number, total: number | null) {
    checkPosition("start", start);
    checkPosition("stop", stop);
    if (total !== null) checkPosition("total", total);
    if (start >= stop || (total !== null && stop > total)) {
      throw notAllowedError(
        "start, stop, total",
        `must be start < stop ≤ total; got ${start}, ${stop} and ${total}`,
      );
    }
    this.start = start;
    this.stop = stop;
    this.total = total;
  }

  /** The value of the header: `bytes 2-4/10` for `new ContentRange(2, 5, 10)`. */
  toString(): string {
    return `bytes ${this.start}-${this.stop - 1}/${this.total ?? "*"}`;
  }
}

/**
 * The answer to a range that a representation of `total` bytes doesn't satisfy, in a response with
 * status 416 (RFC 9110 §14.4).
 *
 * @example
 * ```ts
 * import { UnsatisfiedRange } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(String(new UnsatisfiedRange(10)), "bytes *\u{2f}10");
 * ```
 */
export class UnsatisfiedRange {
  /** The size of the whole representation in bytes. */
  readonly total: number;

  /**
   * Makes the answer to an unsatisfied range.
   *
   * @param total The size of the whole representation in bytes.
   * @throws {TypeError} if the size is not a number.
   * @throws {RangeError} unless 0 ≤ total ≤ 2⁵³ − 1, an integer.
   */
  constructor(total: number) {
    checkPosition("total", total);
    this.total = total;
  }

  /** The value of the header: `bytes`, a space, an asterisk, a slash and the total. */
  toString(): string {
    return `bytes */${this.total}`;
  }
}

/** Parses digits, which may begin with zeros; returns -1 for any other text. */
export function parseLength(value: string): number {
  return parseDecimal(value.charCodeAt(0) === 0x30 ? trimZeros(value) : value);
}

/** A range of another unit: visible characters other than the comma (RFC 9110 §14.1.1). */
const OTHER_RANGE = /^[!-+\--~]+$/;
const OTHER_CONTENT_RANGE = /^(?:\d+-\d+\/(?:\d+|\*)|\*\/\d+)$/;

/**
 * Parses the value of `range`. Returns `null` for several ranges of bytes, and the text itself for
 * another unit.
 */
export function parseRange(value: string): Range | SuffixRange | string | null {
  const equalsIndex = value.indexOf("=");
  const unit = value.slice(0, Math.max(0, equalsIndex));
  const text = value.slice(equalsIndex + 1);
  const elements = text.split(",").map(trimWhitespace);
  const parts = elements.filter((element) => element !== "");
  // White space is allowed only beside a comma.
  const isList = parts.length > 0 && text.startsWith(elements[0]!) &&
    trimWhitespace(value) === value;
  if (isList && unit.toLowerCase() === "bytes") {
    const ranges = parts.map(parseByteRange);
    if (!ranges.includes(null)) return ranges.length === 1 ? ranges[0]! : null;
  } else if (isList && unit !== "" && allows(TOKEN_TABLE, unit)) {
    if (parts.every((part) => OTHER_RANGE.test(part))) return value;
  }
  throw new ProtocolError("BAD_RANGE", `bad range: ${quote(value)}`);
}

const BYTE_RANGE = /^(\d*)-(\d*)$/;

/**
 * The numbers have no limit: no representation has a byte after the largest position, so a range
 * that ends there is a range without an end (RFC 9110 §14.1.2).
 */
function parseByteRange(text: string): Range | SuffixRange | null {
  const [, first = "", last = ""] = BYTE_RANGE.exec(text)?.map(trimZeros) ?? [];
  if (first === "") return last === "" ? null : new SuffixRange(clampDecimal(last));
  const isReversed = last !== "" && compareDigits(first, last) > 0;
  if (isReversed) return null;
  const lastPosition = last === "" ? MAX_LENGTH : clampDecimal(last);
  return new Range(clampDecimal(first), lastPosition < MAX_LENGTH ? lastPosition + 1 : Infinity);
}

function trimZeros(digits: string): string {
  return digits.replace(/^0+(?=\d)/, "");
}

/** Compares digits without leading zeros as numbers of any size. */
function compareDigits(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Parses digits without leading zeros; returns 2⁵³ − 1 for a larger number. */
function clampDecimal(digits: string): number {
  const value = parseDecimal(digits);
  return value < 0 ? MAX_LENGTH : value;
}

/** Parses the value of `content-range`. Returns the text itself for another unit. */
export function parseContentRange(value: string): ContentRange | UnsatisfiedRange | string {
  const range = findContentRange(value);
  if (range !== null) return range;
  throw new ProtocolError("BAD_CONTENT_RANGE", `bad content-range: ${quote(value)}`);
}

/** Parses the value of `content-range`; returns `null` for an invalid value. */
export function findContentRange(value: string): ContentRange | UnsatisfiedRange | string | null {
  const spaceIndex = value.indexOf(" ");
  const unit = value.slice(0, Math.max(0, spaceIndex));
  const text = value.slice(spaceIndex + 1);
  if (unit.toLowerCase() === "bytes") return parseByteContentRange(text);
  const isOther = unit !== "" && allows(TOKEN_TABLE, unit) && OTHER_CONTENT_RANGE.test(text);
  return isOther ? value : null;
}

function parseByteContentRange(text: string): ContentRange | UnsatisfiedRange | null {
  const slashIndex = text.indexOf("/");
  const rangeText = text.slice(0, Math.max(0, slashIndex));
  const totalText = text.slice(slashIndex + 1);
  const total = totalText === "*" ? null : parseLength(totalText);
  if (total === -1) return null;
  if (rangeText === "*") return total === null ? null : new UnsatisfiedRange(total);
  const dashIndex = rangeText.indexOf("-");
  const firstPosition = parseLength(rangeText.slice(0, Math.max(0, dashIndex)));
  const lastPosition = parseLength(rangeText.slice(dashIndex + 1));
  if (firstPosition < 0 || lastPosition < firstPosition || lastPosition >= (total ?? MAX_LENGTH)) {
    return null;
  }
  return new ContentRange(firstPosition, lastPosition + 1, total);
}

/**
 * Returns the contradiction between the `content-range` of a 206 and the length of its body
 * (RFC 9110 §15.3.7.1); `null` if there is none, or one of the two is unknown.
 */
export function findContentRangeProblem(
  contentRange: unknown,
  bodyLength: unknown,
): string | null {
  if (typeof bodyLength !== "number" || !(contentRange instanceof ContentRange)) return null;
  const rangeLength = contentRange.stop - contentRange.start;
  return rangeLength === bodyLength
    ? null
    : `"${contentRange}" is a range of ${rangeLength} bytes, and the body has ${bodyLength}`;
}
