/** The names of parts of downloads. */
import { assertEquals } from "@std/assert";
import { isPartName, PART_SUFFIX } from "@degu/internal/files/part_name.ts";

Deno.test("the parts of downloads are recognized by their names, and nothing else is", () => {
  const part = `.a${PART_SUFFIX}`;
  const parts = ["", ".new", ".json", ".json.tmp"].map((end) => part + end);
  const others = [
    "a.degu-part",
    `${part}.txt`,
    `${part}.new.tmp`,
    ".degu-part",
    ".a.part",
    part + "\n",
  ];
  for (const name of [...parts, ".a\nb.degu-part", ".A.DEGU-PART.JSON", `.${part}`]) {
    assertEquals(isPartName(name), true, name);
  }
  for (const name of others) assertEquals(isPartName(name), false, name);
});
