/** Texts that fit into a terminal. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { fitText, widthOf } from "@degu/internal/agent/fit_text.ts";

Deno.test("the middle of a long text is cut out; wide characters count twice, composed ones once", () => {
  assertEquals(fitText("holiday-2025.jpg", 16), "holiday-2025.jpg");
  assertEquals(fitText("holiday-2025.jpg", 11), "holid…5.jpg");
  assertEquals(fitText("日本語のファイル.txt", 12), "日本語….txt");
  assertEquals(widthOf("👩‍👩‍👧"), 2);
  assertEquals(fitText("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 5), "👩‍👩‍👧…👩‍👩‍👧");
  assertEquals([fitText("abc", 1), fitText("abc", 0)], ["…", ""]);
});

Deno.test("no text exceeds its maximum width", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), fc.nat(40), (text, columns) => {
    assert(widthOf(fitText(text, columns)) <= columns);
  }));
});
