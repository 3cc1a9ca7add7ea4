/** The groups in which the suite runs test modules. */
import { assert, assertEquals } from "@std/assert";
import { tempDir } from "@degu/testing/directories.ts";
import { filesUnder, ROOT } from "@degu/testing/tree.ts";
import { writeTestGroups } from "@degu/internal/tools/test_groups.ts";

Deno.test("every test module is in one group, with others of its folder", async () => {
  await using dir = await tempDir();
  const groups = await writeTestGroups(dir.path);
  const imported: string[] = [];
  for (const group of groups) {
    const text = await Deno.readTextFile(group);
    const paths = [...text.matchAll(/^import "(.*)";$/gm)].map(([, url = ""]) => url);
    assertEquals(new Set(paths.map((path) => path.replace(/[^/]*$/, ""))).size, 1, text);
    imported.push(...paths.map((path) => path.replace(ROOT.href, "")));
  }
  assert(groups.length > 20, `${groups.length} groups for all processors`);
  assertEquals(imported.toSorted(), await filesUnder("tests", "_test.ts"));
});
