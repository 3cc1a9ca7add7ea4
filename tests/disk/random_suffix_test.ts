/** Names that nobody else chooses. */
import { assertEquals, assertMatch } from "@std/assert";
import { randomSuffix } from "@degu/internal/disk/random_suffix.ts";

Deno.test("suffixes are 64 random bits", () => {
  const suffixes = Array.from({ length: 20 }, randomSuffix);
  for (const suffix of suffixes) assertMatch(suffix, /^[0-9a-f]{16}$/);
  assertEquals(new Set(suffixes).size, 20);
});
