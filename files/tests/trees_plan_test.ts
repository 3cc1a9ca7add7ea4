/** The plan of a copied tree: names, times, and entries to copy, keep and delete. */
import { isSameTime } from "@degu/internal/files/conditions.ts";
import { isWithin, TreeBuilder, type TreeNode } from "@degu/internal/files/tree/tree.ts";
import type { PlanRules } from "@degu/internal/files/tree/options.ts";
import { Plan } from "@degu/internal/files/tree/plan.ts";
import { assertEquals } from "@std/assert";

const TIME = 1_700_000_000_000;

/** Makes a tree from paths of files of one byte; `d/l!link` is an entry of another kind. */
function treeOf(paths: readonly string[]): TreeNode {
  const tree = new TreeBuilder();
  const directories = new Set<string>();
  const modified = new Date(TIME);
  for (const path of paths) {
    const [text = "", reason] = path.split("!") as [string, "link" | undefined];
    const names = text.split("/");
    for (const [depth, name] of names.slice(0, -1).entries()) {
      const parentPath = names.slice(0, depth);
      const directory = [...parentPath, name].join("/");
      if (directories.has(directory)) continue;
      directories.add(directory);
      tree.add(parentPath, { name, kind: "directory", size: 0, modified });
    }
    const name = names.at(-1)!;
    const other = reason === undefined ? null : { kind: "other", size: 0, reason } as const;
    tree.add(names.slice(0, -1), { name, kind: "file", size: 1, modified, ...other });
  }
  return tree.build();
}

const pathOf = (node: TreeNode) => node.path.join("/");

const RULES: PlanRules = {
  compare: "time",
  replace: true,
  modes: true,
  delete: true,
  filter: undefined,
};

Deno.test("plan: each deletion has the names that its directory must still have", () => {
  const rows: [source: string[], target: string[], deletions: string[]][] = [
    [["a", "d/b"], ["a/x", "d"], ['a/x if "" has a,d', 'a if "" has a,d', 'd if "" has a,d']],
    [["a", "d/b"], ["a", "d/c", "e/f"], [
      'd/c if "d" has b',
      'e/f if "" has a,d',
      'e if "" has a,d',
    ]],
  ];
  for (const [source, target, expected] of rows) {
    const { deletions, keptDirectories } = new Plan(treeOf(source), treeOf(target), RULES);
    const texts = deletions.filter(({ node }) => !keptDirectories.has(node)).map(
      ({ node, scope: { directory, expectedNodes } }) =>
        `${pathOf(node)} if "${pathOf(directory)}" has ${expectedNodes.map(({ name }) => name)}`,
    );
    assertEquals(texts, expected);
  }
  const withoutDelete = new Plan(treeOf(["a"]), treeOf(["b"]), { ...RULES, delete: false });
  assertEquals(withoutDelete.deletions, []);
});

Deno.test("plan: an error names the obstacle, and says whether it can be deleted", () => {
  const deleted = ", or set delete: true, which deletes the entry, and call twice";
  const rows: [source: string, target: string, obstacle: string, advice: string][] = [
    ["a", "a/b", "a directory", deleted],
    ["a/b", "a", "a file", deleted],
    ["a", "a!link", "a symbolic link, which is not followed,", ""],
    ["a", "a!special", "a pipe, a socket or a device", ""],
    ["a/b", "a!unreadable", "an entry that can't be read", ""],
  ];
  for (const [source, target, obstacle, advice] of rows) {
    const { error } = new Plan(treeOf([source]), treeOf([target]), { ...RULES, delete: false })
      .failedEntries[0]!;
    const text = `has this name at the target; remove or rename one of the two${advice}`;
    assertEquals((error as Error).message, `"a": ${obstacle} ${text}`);
  }
  for (
    const [source, target, kind, other] of [["a", "a/b", "directory", "file"], [
      "a/b",
      "a",
      "file",
      "directory",
    ]] as const
  ) {
    const { error } = new Plan(treeOf([source]), treeOf([target]), RULES).failedEntries[0]!;
    const text = `if this run deletes the ${kind}, the next run copies the ${other}`;
    assertEquals((error as Error).message, `"a": a ${kind} has this name at the target; ${text}`);
  }
});

Deno.test("plan: a file counts as still being written if it was modified within the span, and not after it", () => {
  const findPending = (after: number, before: number) => {
    const isRecent = ({ modified }: TreeNode) => isWithin(modified, TIME + after, TIME + before);
    const plan = new Plan(treeOf(["d/a"]), treeOf(["d/a"]), RULES, isRecent);
    return plan.pendingFiles.map(pathOf);
  };
  assertEquals(findPending(0, 9), []);
  assertEquals(findPending(-1, 0), ["d/a"]);
  assertEquals(findPending(-9, -1), []);
});

Deno.test("two times are equal if one is the other truncated to seconds or to even seconds", () => {
  const rows: [number, number, boolean][] = [
    [TIME, TIME, true],
    [TIME + 1, TIME + 2, false],
    [TIME + 999, TIME, true],
    [TIME + 1999, TIME, true],
    [TIME + 2000, TIME, false],
    [TIME + 1999, TIME + 1000, true],
    [TIME + 2999, TIME + 1000, false],
    [-1, -2000, true],
  ];
  for (const [a, b, isSame] of rows) {
    assertEquals([isSameTime(a, b), isSameTime(b, a)], [isSame, isSame]);
  }
});
