/** Sizes and times as people read them. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatBytes, formatDuration } from "@degu/internal/agent/output.ts";

Deno.test("bytes are shown with a decimal unit and up to three digits", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [9994, "9.99 kB"],
    [9996, "10.0 kB"],
    [99_960, "100 kB"],
    [999_499, "999 kB"],
    [999_500, "1.00 MB"],
    [12_345_678, "12.3 MB"],
    [Number.MAX_SAFE_INTEGER, "9.01 PB"],
  ];
  for (const [bytes, text] of cases) assertEquals(formatBytes(bytes), text);
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert(formatBytes(bytes).length <= 7)));
});

Deno.test("durations have minutes and seconds, and hours if there are any", () => {
  const cases: [number, string][] = [[0, "0:00"], [59.6, "1:00"], [65, "1:05"], [3599, "59:59"], [
    3723,
    "1:02:03",
  ], [360_000, "100:00:00"]];
  for (const [seconds, text] of cases) assertEquals(formatDuration(seconds), text);
});
