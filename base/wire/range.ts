/** Degu supports two forms of RFC 9110 §14: `first-last`, and in requests also `first-`. */

import { checkInteger, notAllowedError } from "../../internal/checks.ts";
import { markCopy } from "../../internal/copies.ts";
import { ProtocolError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import { MAX_LENGTH } from "./limits.ts";
import { parseDecimal } from "../../internal/decimal.ts";

function checkPosition(label: string, value: number): void {
  checkInteger(label, value, 0, MAX_LENGTH);
}

/**
 * The half-open interval `[start, stop)` of bytes that a request asks for (RFC 9110 §14.2).
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
  /** The position after the last byte. */
  readonly stop: number;

  /**
   * Makes a range of the bytes from `start` up to, not including, `stop`.
   *
   * @param start The position of the first byte.
   * @param stop The position after the last byte.
   * @throws {TypeError} if a position is not a number.
   * @throws {RangeError} unless 0 ≤ start < stop ≤ 2⁵³ − 1, both integers.
   */
  constructor(start: number, stop: number) {
    checkPosition("start", start);
    checkPosition("stop", stop);
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
    return `bytes=${this.start}-${this.stop - 1}`;
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
  /** The size of the whole representation in bytes. */
  readonly total: number;

  /**
   * Makes a content range of the bytes from `start` up to, not including, `stop`.
   *
   * @param start The position of the first byte.
   * @param stop The position after the last byte.
   * @param total The size of the whole representation in bytes.
   * @throws {TypeError} if an argument is not a number.
   * @throws {RangeError} unless 0 ≤ start < stop ≤ total ≤ 2⁵³ − 1, all integers.
   */
  constructor(start: number, stop: number, total: number) {
    checkPosition("start", start);
    checkPosition("stop", stop);
    checkPosition("total", total);
    if (start >= stop || stop > total) {
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
    return `bytes ${this.start}-${this.stop - 1}/${this.total}`;
  }
}

markCopy(Range.prototype);
markCopy(ContentRange.prototype);

/**
 * An open-ended range, `bytes=5-`, has the largest `stop`, which means the same (RFC 9110 §14.1.2):
 * a range may end after the representation.
 */
export function parseRange(value: string): Range {
  const dashIndex = value.indexOf("-");
  const firstPosition = value.startsWith("bytes=") ? parseDecimal(value.slice(6, dashIndex)) : -1;
  const lastText = value.slice(dashIndex + 1);
  const lastPosition = lastText === "" ? MAX_LENGTH - 1 : parseDecimal(lastText);
  // Without a dash, the last position is -1.
  if (firstPosition < 0 || lastPosition < firstPosition || lastPosition >= MAX_LENGTH) {
    throw new ProtocolError("BAD_RANGE", `bad range: ${quote(value)}`);
  }
  return new Range(firstPosition, lastPosition + 1);
}

export function parseContentRange(value: string): ContentRange {
  const dashIndex = value.indexOf("-");
  const slashIndex = value.indexOf("/");
  const firstPosition = value.startsWith("bytes ") ? parseDecimal(value.slice(6, dashIndex)) : -1;
  const lastPosition = parseDecimal(value.slice(dashIndex + 1, slashIndex));
  const total = parseDecimal(value.slice(slashIndex + 1));
  // If the dash or the slash is missing, or in the wrong order, the last position or the total is
  // -1.
  if (firstPosition < 0 || lastPosition < firstPosition || lastPosition >= total) {
    throw new ProtocolError("BAD_CONTENT_RANGE", `bad content-range: ${quote(value)}`);
  }
  return new ContentRange(firstPosition, lastPosition + 1, total);
}

/**
 * Returns the contradiction between the `content-range` of a response and the length of its body
 * (RFC 9110 §15.3.7.1); `null` if there is none, or one of the two is unknown.
 */
export function findContentRangeProblem(
  status: number,
  contentRange: unknown,
  bodyLength: unknown,
): string | null {
  if (status !== 206 || typeof bodyLength !== "number" || !(contentRange instanceof ContentRange)) {
    return null;
  }
  const rangeLength = contentRange.stop - contentRange.start;
  return rangeLength === bodyLength
    ? null
    : `"${contentRange}" is a range of ${rangeLength} bytes, and the body has ${bodyLength}`;
}
