/** The plan of a copied tree: names, times, and entries to copy, keep and delete. */
import { isSameTime } from "@degu/internal/files/conditions.ts";
import { isWithin, TreeNode } from "@degu/internal/files/tree/tree.ts";
import type { PlanRules } from "@degu/internal/files/tree/options.ts";
import { Plan } from "@degu/internal/files/tree/plan.ts";
import { assertEquals } from "@std/assert";

const TIME = 1_700_000_000_000;

/** Makes a tree from paths of files of one byte; `d/l!link` is an entry of another kind. */
function treeOf(paths: readonly string[]): TreeNode {
  const root = TreeNode.makeRoot();
  for (const path of paths) {
    const [names = "", reason] = path.split("!") as [string, "link" | undefined];
    let node = root;
    for (const name of names.split("/")) {
      const isLast = names === [...node.path, name].join("/");
      const kind = !isLast ? "directory" : reason === undefined ? "file" : "other";
      const size = kind === "file" ? 1 : 0;
      node.add(new TreeNode(node, name, kind, size, TIME, isLast ? reason ?? null : null));
      node = node.get(name)!;
    }
  }
  return root;
}

const pathOf = (node: TreeNode) => node.path.join("/");

/** Returns the lists of a plan as texts. */
function summarizePlan(
  source: readonly string[],
  target: readonly string[] | null,
  rules: Partial<PlanRules> = {},
): Record<string, unknown> {
  const allRules = {
    compare: "time",
    replace: true,
    modes: true,
    delete: false,
    filter: undefined,
    ...rules,
  } as const;
  const plan = new Plan(treeOf(source), target && treeOf(target), allRules);
  const {
    deferredGroups,
    deletions,
    keptDirectories,
    isIncomplete,
    isEmpty,
    linkFailureCount: _,
    metadataChanges: __,
    ...lists
  } = plan;
  const words: Record<string, unknown> = {
    deferredPaths: deferredGroups.flatMap(({ newDirectories, copies }) =>
      [...newDirectories, ...copies.map(({ node }) => node)].map(pathOf)
    ),
    deletions: deletions.filter(({ node }) => !keptDirectories.has(node)).map(({ node, scope }) => {
      const { directory, expectedNodes } = scope;
      return `${pathOf(node)} if "${pathOf(directory)}" has ${
        expectedNodes.map(({ name }) => name)
      }`;
    }),
    isIncomplete,
    isEmpty,
  };
  for (const [name, items] of Object.entries(lists)) {
    words[name] = items.map((item) => pathOf("node" in item ? item.node : item));
  }
  return Object.fromEntries(
    Object.entries(words).filter(([, value]) => value === true || (value as unknown[]).length > 0),
  );
}

const DELETE = { delete: true };
const rows: [string, string[], string[] | null, Partial<PlanRules>, Record<string, unknown>][] = [
  ["obstacles", ["a", "d/b"], ["a/x", "d"], DELETE, {
    deferredPaths: ["a", "d", "d/b"],
    deletions: ['a/x if "" has a,d', 'a if "" has a,d', 'd if "" has a,d'],
  }],
  ["superfluous entries", ["a", "d/b"], ["a", "d/c", "e/f"], DELETE, {
    unchangedNodes: ["a"],
    copies: ["d/b"],
    deletions: ['d/c if "d" has b', 'e/f if "" has a,d', 'e if "" has a,d'],
  }],
];

for (const [name, source, target, rules, expected] of rows) {
  Deno.test(`plan: ${name}`, () => assertEquals(summarizePlan(source, target, rules), expected));
}

Deno.test("plan: an error names the obstacle, and says whether it can be deleted", () => {
  const deleted =
    ", or set delete: true, which deletes the entry if the call may delete all entries in it";
  const rows: [source: string, target: string, obstacle: string, advice: string][] = [
    ["a", "a/b", "a directory", deleted],
    ["a/b", "a", "a file", deleted],
    ["a", "a!link", "a symbolic link, which is not followed,", ""],
    ["a", "a!special", "a pipe, a socket or a device", ""],
    ["a/b", "a!unreadable", "an entry that can't be read", ""],
  ];
  const rules = {
    compare: "time",
    replace: true,
    modes: true,
    delete: false,
    filter: undefined,
  } as const;
  for (const [source, target, obstacle, advice] of rows) {
    const { error } = new Plan(treeOf([source]), treeOf([target]), rules).failedEntries.at(-1)!;
    const text = `has this name at the target; remove or rename one of the two${advice}`;
    assertEquals((error as Error).message, `"a": ${obstacle} ${text}`);
  }
});

Deno.test("plan: a file counts as still being written if it was modified within the span, and not after it", () => {
  const rules = {
    compare: "time",
    replace: true,
    modes: true,
    delete: true,
    filter: undefined,
  } as const;
  const skipped = (after: number, before: number) => {
    const isRecent = ({ modified }: TreeNode) => isWithin(modified, TIME + after, TIME + before);
    const plan = new Plan(treeOf(["d/a"]), treeOf(["d/a"]), rules, isRecent);
    return plan.skippedEntries.map(({ node, reason }) => `${pathOf(node)}: ${reason}`);
  };
  assertEquals(skipped(0, 9), []);
  assertEquals(skipped(-1, 0), ["d/a: still being written"]);
  assertEquals(skipped(-9, -1), []);
});

Deno.test("plan: excluded entries are ignored at both ends", () => {
  const filteredPaths: string[] = [];
  const reasons: Record<string, string> = {};
  const filter = ({ path, reason }: TreeNode["entry"]) => {
    filteredPaths.push(path.join("/"));
    if (reason !== undefined) reasons[path.join("/")] = reason;
    return !path.at(-1)!.startsWith(".");
  };
  const source = [".git/a", "b", "c/.x", "u/.l!unreadable", "u/.r!reserved"];
  const target = [".git/z", ".y", "c/.x", "c/d", "b", "e/.z"];
  assertEquals(summarizePlan(source, target, { delete: true, filter }), {
    unchangedNodes: ["b"],
    newDirectories: ["u"],
    deletions: ['c/d if "c" has '],
  });
  assertEquals(reasons, { "u/.l": "unreadable", "u/.r": "name" }, "as in a list");
  assertEquals(new Set(filteredPaths).size, filteredPaths.length, "each path once");
  assertEquals(
    filteredPaths.includes(".git/a") || filteredPaths.includes(".git/z"),
    false,
    "no entries below it",
  );
  assertEquals(filteredPaths.indexOf("c") < filteredPaths.indexOf("c/d"), true, "parents first");
  filteredPaths.length = 0;
  assertEquals(summarizePlan(["a"], ["b"], { filter }), { copies: ["a"] });
  assertEquals(
    filteredPaths,
    ["a"],
    "without delete the filter is not called for superfluous entries",
  );
  assertEquals(summarizePlan(["a/b"], ["a/.x"], { delete: true, filter }).copies, ["a/b"]);
  assertEquals(summarizePlan(["a"], ["a/.x"], { delete: true, filter }), { failedEntries: ["a"] });
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
