/** Trees of files and directories. */
import { assertEquals, assertRejects } from "@std/assert";
import { leafDirectories, type Tree, type TreeEntry, walkTree } from "@degu/internal/agent/tree.ts";

const { signal } = new AbortController();

function entry(kind: TreeEntry["kind"], ...names: string[]): TreeEntry {
  return { names, kind, size: 0, modified: new Date(0) };
}

function treeOf(...entries: TreeEntry[]): Tree {
  return { entries, skipped: [], failed: [] };
}

Deno.test("directories with nothing below them are found, including the root", () => {
  const leaves = (...entries: TreeEntry[]) => leafDirectories(treeOf(...entries));
  assertEquals(leaves(), [[]]);
  const tree = [
    entry("directory", "a"),
    entry("directory", "a", "b"),
    entry("directory", "c"),
    entry("file", "c", "d"),
  ];
  assertEquals(leaves(...tree), [["a", "b"]]);
});

Deno.test("a directory comes before its content, and the entries of each are sorted by name", async () => {
  const problem = "why";
  const directories: Record<string, Tree> = {
    "": treeOf(entry("directory", "d"), entry("file", "b"), entry("directory", "a")),
    "a": { ...treeOf(), failed: [{ names: ["a", "z"], problem }, { names: ["a", "y"], problem }] },
    "d": { ...treeOf(entry("file", "d", "c")), skipped: [{ names: ["d", "x"], problem }] },
  };
  const tree = await walkTree((names) => Promise.resolve(directories[names.join("/")]!), signal);
  const shown = (all: readonly { names: readonly string[] }[]) =>
    all.map(({ names }) => names.join("/"));
  assertEquals(shown(tree.entries), ["a", "b", "d", "d/c"]);
  assertEquals(shown(tree.skipped), ["d/x"]);
  assertEquals(shown(tree.failed), ["a/y", "a/z"]);
  const reason = new Error("stop");
  const walking = () => walkTree(() => Promise.resolve(treeOf()), AbortSignal.abort(reason));
  await assertRejects(walking, Error, "stop");
});

Deno.test("a directory can have more entries than a call can have arguments", async () => {
  const count = 200_000;
  const entries = Array.from({ length: count }, (_, i) => entry("file", String(i)));
  const tree = await walkTree(() => Promise.resolve({ ...treeOf(), entries }), signal);
  assertEquals(tree.entries.length, count);
});
