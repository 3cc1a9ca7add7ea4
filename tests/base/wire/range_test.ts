/** Ranges, parsed and formatted. The rows are in range.rows.ts. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import { ContentRange, Range } from "@degu/degu/base";
import { parseContentRange, parseRange } from "@degu/degu/misc";
import {
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
} from "@degu/testing/expectations.ts";
import { acceptedContentRanges, acceptedRanges } from "./range.rows.ts";
import { limits } from "@degu/testing/wire_grammar.ts";

const MAX = limits.number;
const NOT_INTEGERS = [-1, 0.5, 1.5, NaN, Infinity, -Infinity, 2 ** 53, 1e300];
const OBJECTS: unknown[] = [[1], {}, new Number(1), { valueOf: () => 1 }];
const NOT_NUMBERS: unknown[] = ["1", null, undefined, 1n, true, ...OBJECTS];

Deno.test("Range keeps start and stop and converts to the value of its header", () => {
  for (const [text, start, stop] of acceptedRanges) {
    const range = new Range(start, stop);
    // An open-ended range is sent with both ends.
    const sentText = text.endsWith("-") ? `${text}${MAX - 1}` : text;
    assertEquals([range.start, range.stop, `${range}`], [start, stop, sentText]);
    assertInstanceOf(parseRange(text), Range);
  }
});

Deno.test("ContentRange keeps start, stop and total and converts to the value of its header", () => {
  for (const [text, start, stop, total] of acceptedContentRanges) {
    const contentRange = new ContentRange(start, stop, total);
    assertEquals({ ...contentRange, text: `${contentRange}` }, { start, stop, total, text });
    assertInstanceOf(parseContentRange(text), ContentRange);
  }
});

Deno.test("Range refuses invalid values", () => {
  const rows = [[0, 0], [1, 1], [2, 1], [-1, 1], [-2, -1], [MAX, MAX], [MAX, MAX - 1]] as const;
  for (const [start, stop] of rows) {
    assertRangeError(() => new Range(start, stop), `${start}, ${stop}`);
  }
  for (const value of NOT_INTEGERS) {
    assertRangeError(() => new Range(value, MAX), `start ${value}`);
    assertRangeError(() => new Range(0, value), `stop ${value}`);
  }
});

Deno.test("ContentRange refuses values that are not a part of a whole", () => {
  const empty = [[0, 0, 0], [0, 0, 1], [1, 1, 1], [2, 1, 3]] as const;
  const rows = [...empty, [0, 2, 1], [0, 1, 0], [5, 6, 5]] as const;
  for (const [start, stop, total] of rows) {
    assertRangeError(() => new ContentRange(start, stop, total), `${start}, ${stop}, ${total}`);
  }
  for (const value of NOT_INTEGERS) {
    assertRangeError(() => new ContentRange(value, MAX, MAX), `start ${value}`);
    assertRangeError(() => new ContentRange(0, value, MAX), `stop ${value}`);
    assertRangeError(() => new ContentRange(0, 1, value), `total ${value}`);
  }
});

Deno.test("Range and ContentRange refuse values that are not numbers", () => {
  for (const value of NOT_NUMBERS) {
    const label = Deno.inspect(value);
    assertTypeError(() => constructWith(Range, value, 5), `Range start ${label}`);
    assertTypeError(() => constructWith(Range, 0, value), `Range stop ${label}`);
    assertTypeError(() => constructWith(ContentRange, value, 5, 9), `ContentRange start ${label}`);
    assertTypeError(() => constructWith(ContentRange, 0, value, 9), `ContentRange stop ${label}`);
    // The total may be unknown.
    if (value === null) continue;
    assertTypeError(() => constructWith(ContentRange, 0, 5, value), `ContentRange total ${label}`);
  }
});

Deno.test("Range.contentLength and contentRange limit the range to the end of the whole", async (t) => {
  const rows = [
    { start: 0, stop: 1, total: 1, length: 1, text: "bytes 0-0/1" },
    { start: 2, stop: 5, total: 10, length: 3, text: "bytes 2-4/10" },
    { start: 2, stop: 5, total: 5, length: 3, text: "bytes 2-4/5" },
    { start: 2, stop: 5, total: 4, length: 2, text: "bytes 2-3/4" },
    { start: 2, stop: 5, total: 3, length: 1, text: "bytes 2-2/3" },
    { start: 0, stop: MAX, total: MAX, length: MAX, text: `bytes 0-${MAX - 1}/${MAX}` },
  ];
  for (const { start, stop, total, length, text } of rows) {
    await t.step(`${start}-${stop} of ${total}`, () => {
      const range = new Range(start, stop);
      assertEquals(range.contentLength(total), length);
      assertInstanceOf(range.contentRange(total), ContentRange);
      assertEquals(`${range.contentRange(total)}`, text);
    });
  }
});

Deno.test("Range.contentLength and contentRange refuse a whole that ends before the start", () => {
  const range = new Range(2, 5);
  for (const total of [2, 1, 0, ...NOT_INTEGERS]) {
    assertRangeError(() => range.contentLength(total), `contentLength(${total})`);
    assertRangeError(() => range.contentRange(total), `contentRange(${total})`);
  }
  for (const total of NOT_NUMBERS) {
    const label = Deno.inspect(total);
    assertTypeError(
      () => callWith(range.contentLength.bind(range), total),
      `contentLength ${label}`,
    );
    assertTypeError(() => callWith(range.contentRange.bind(range), total), `contentRange ${label}`);
  }
});
