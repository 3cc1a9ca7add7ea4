import { assertEquals } from "@std/assert";
import { countdownText, startCountdown } from "@degu/internal/agent/countdown.ts";
import { Output } from "@degu/internal/agent/output.ts";

Deno.test("a countdown shows the remaining minutes and seconds", () => {
  const rows = [
    [600_000, "10:00"],
    [599_999, "10:00"],
    [61_000, "1:01"],
    [1, "0:01"],
    [0, "0:00"],
    [
      -5,
      "0:00",
    ],
  ] as const;
  for (const [milliseconds, left] of rows) {
    assertEquals(countdownText(milliseconds), `waiting for the other device: ${left} left`);
  }
});

Deno.test("a countdown with --quiet runs no timer", async () => {
  // The sanitizer of resources would find it.
  await startCountdown(new Output({ json: false, quiet: true }), new Date(Date.now() + 60_000));
});
