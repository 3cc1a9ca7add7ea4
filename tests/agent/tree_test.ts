/** Trees of files and directories. */
import { assertEquals } from "@std/assert";
import { leafDirectories, type TreeEntry } from "@degu/internal/agent/tree.ts";

Deno.test("directories with nothing below them are found, the root among them", () => {
  const entry = (kind: TreeEntry["kind"], ...names: string[]) => ({
    names,
    kind,
    size: 0,
    modified: new Date(0),
  });
  const leaves = (...entries: TreeEntry[]) => leafDirectories({ entries, skipped: [], failed: [] });
  assertEquals(leaves(), [[]]);
  const tree = [
    entry("directory", "a"),
    entry("directory", "a", "b"),
    entry("directory", "c"),
    entry("file", "c", "d"),
  ];
  assertEquals(leaves(...tree), [["a", "b"]]);
});
