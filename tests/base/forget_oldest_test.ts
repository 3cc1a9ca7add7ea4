/** Maps that strangers can't fill without limit. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { forgetOldest } from "@degu/internal/base/forget_oldest.ts";

Deno.test("a map keeps the most recently added entries, up to its limit", () => {
  const keys = fc.array(fc.integer({ min: 0, max: 20 }));
  fc.assert(fc.property(keys, fc.integer({ min: 1, max: 10 }), (added, most) => {
    const map = new Map<number, number>();
    const expected: number[] = [];
    for (const [i, key] of added.entries()) {
      map.set(key, i);
      forgetOldest(map, most);
      if (!expected.includes(key)) expected.push(key);
      if (expected.length > most) expected.shift();
      assertEquals([...map.keys()], expected);
    }
  }));
});
