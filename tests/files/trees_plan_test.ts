/** What makes one tree like another: names, times, what is copied, kept and deleted. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { fold } from "@degu/internal/disk/names.ts";
import { isSameTime, makePlan, type PlanRules, TreeNode } from "@degu/internal/files/tree.ts";

const TIME = 1_700_000_000_000;

/**
 * Makes a tree of lines: `d/` is a directory, `d/f` a file of one byte, `f=5` one of five bytes, `f@7` one that was changed 7 ms
 * after the others, `l!link` something else.
 */
function treeOf(lines: readonly string[]): TreeNode {
  const root = TreeNode.root();
  for (const line of lines) {
    const [, text, size, after, reason] = /^([^=@!]*)(?:=(\d+))?(?:@(-?\d+))?(?:!(\w+))?$/.exec(
      line,
    )!;
    const names = text!.split("/");
    const isDirectory = names.at(-1) === "";
    if (isDirectory) names.pop();
    let parent = root;
    for (const name of names.slice(0, -1)) {
      const found = parent.get(name);
      const made = found ?? new TreeNode(parent, name, "directory", 0, TIME);
      if (found === null) parent.add(made);
      parent = made;
    }
    const kind = reason !== undefined ? "other" : isDirectory ? "directory" : "file";
    const bytes = kind === "file" ? Number(size ?? 1) : 0;
    const time = TIME + Number(after ?? 0);
    parent.add(
      new TreeNode(
        parent,
        names.at(-1)!,
        kind,
        bytes,
        time,
        (reason as "link" | undefined) ?? null,
      ),
    );
  }
  return root;
}

const textOf = ({ node }: { readonly node: TreeNode }) => node.path.join("/");

/** A plan in words. */
function planned(
  source: readonly string[],
  target: readonly string[] | null,
  rules: Partial<PlanRules> = {},
): Record<string, unknown> {
  const {
    copies,
    compares,
    doubtful,
    blocked,
    makes,
    unchanged,
    skipped,
    failed,
    deletions,
    ...plan
  } = makePlan(treeOf(source), target && treeOf(target), {
    compare: "time",
    replace: true,
    delete: false,
    filter: undefined,
    ...rules,
  });
  const all = {
    copies: copies.map((copy) =>
      textOf(copy) + (copy.obstacle ? ` for a ${copy.obstacle.kind}` : "")
    ),
    compares: compares.map(textOf),
    doubtful: doubtful.map(textOf),
    blocked: blocked.map((each) => `${textOf(each)}: ${each.copies.map(textOf)}`),
    makes: makes.map((make) =>
      textOf(make) + (make.obstacle ? ` for a ${make.obstacle.kind}` : "")
    ),
    unchanged: unchanged.map((node) => textOf({ node })),
    skipped: skipped.map((node) => textOf({ node })),
    failed: failed.map(textOf),
    deletions: deletions.filter(({ node }) => !plan.staying.has(node)).map((deletion) => {
      const { doubts } = deletion;
      return textOf(deletion) +
        (doubts.length === 0
          ? ""
          : ` unless it is ${doubts.map((node) => textOf({ node })).join(" or ")}`);
    }),
  };
  const some = Object.entries(all).filter(([, value]) => value.length > 0);
  if (plan.isIncomplete) some.push(["isIncomplete", [] as string[]]);
  if (plan.isEmpty) some.push(["isEmpty", [] as string[]]);
  return Object.fromEntries(some.map(([key, value]) => [key, value.length === 0 ? true : value]));
}

const DELETE = { delete: true };
const rows: [string, string[], string[] | null, Partial<PlanRules>, Record<string, unknown>][] = [
  ["nothing at both ends", [], [], DELETE, { isEmpty: true }],
  ["a missing target", ["a", "d/b", "e/"], null, DELETE, {
    copies: ["a", "d/b"],
    makes: ["d", "e"],
  }],
  ["the same files", ["a", "d/b"], ["a", "d/b"], {}, { unchanged: ["a", "d/b"] }],
  ["another size", ["a=2"], ["a"], {}, { copies: ["a"] }],
  ["another time", ["a@5"], ["a@3"], {}, { copies: ["a"] }],
  ["a time cut to seconds", ["a@789"], ["a"], {}, { unchanged: ["a"] }],
  ["digest: the same size", ["a@5"], ["a"], { compare: "digest" }, { compares: ["a"] }],
  ["digest: another size", ["a=5"], ["a"], { compare: "digest" }, { copies: ["a"] }],
  ["digest: empty files", ["a=0@5"], ["a=0"], { compare: "digest" }, { unchanged: ["a"] }],
  ["compare: nothing", ["a"], ["a"], { compare: "nothing" }, { copies: ["a"] }],
  ["replace: false", ["a=2", "b", "c"], ["a", "b"], { replace: false }, {
    failed: ["a"],
    unchanged: ["b"],
    copies: ["c"],
  }],
  ["no deletion by default", ["a"], ["a", "b"], {}, { unchanged: ["a"] }],
  ["deletion, innermost first", ["a"], ["a", "d/e/f", "g"], DELETE, {
    unchanged: ["a"],
    deletions: ["d/e/f", "d/e", "d", "g"],
  }],
  ["an empty source", [], ["a"], DELETE, { isEmpty: true, deletions: ["a"] }],
  ["links of the source, and what has their name", ["l!link", "a"], ["l/x", "a"], DELETE, {
    skipped: ["l"],
    unchanged: ["a"],
  }],
  ["links of the target, and their directories", ["a"], ["a", "d/l!link", "d/b"], DELETE, {
    unchanged: ["a"],
    deletions: ["d/b"],
  }],
  ["unreadable at the source", ["a!unreadable", "b"], ["c"], DELETE, {
    failed: ["a"],
    copies: ["b"],
    deletions: ["c"],
    isIncomplete: true,
  }],
  ["unreadable at the target", ["a", "d/b"], ["a!unreadable", "d!unreadable"], DELETE, {
    copies: ["a"],
    failed: ["d/b", "d"],
  }],
  ["a directory in the way", ["a"], ["a/b"], {}, { failed: ["a"] }],
  ["a directory in the way, with delete", ["a"], ["a/b"], DELETE, {
    copies: ["a for a directory"],
  }],
  ["… and replace: false", ["a"], ["a/b"], { delete: true, replace: false }, { failed: ["a"] }],
  ["… with a link in it", ["a"], ["a/l!link"], DELETE, { failed: ["a"] }],
  ["… with something unreadable in it", ["a"], ["a/l!unreadable"], DELETE, { failed: ["a"] }],
  ["a file in the way", ["a/b", "a/c/d"], ["a"], {}, { failed: ["a/b", "a/c/d", "a"] }],
  ["a file in the way, with delete", ["a/b", "a/c/d"], ["a"], DELETE, {
    blocked: ["a: a/b,a/c/d"],
  }],
  ["a link in the way of a file", ["a"], ["a!link"], {}, { failed: ["a"] }],
  ["… with delete", ["a"], ["a!link"], DELETE, { copies: ["a for a link"] }],
  ["a link on the way", ["a/b"], ["a!link"], DELETE, { failed: ["a/b", "a"] }],
  ["a link in the way of an empty directory", ["a/"], ["a!link"], DELETE, {
    makes: ["a for a link"],
  }],
  ["a pipe in the way", ["a"], ["a!special"], DELETE, { failed: ["a"] }],
  ["another spelling at the target", ["Photos/a"], ["photos/a", "photos/b"], DELETE, {
    makes: ["Photos"],
    doubtful: ["Photos/a"],
    deletions: ["photos/a unless it is Photos/a", "photos/b", "photos unless it is Photos"],
  }],
  ["two spellings at the source", ["A", "a"], [], DELETE, { doubtful: ["A", "a"] }],
  ["two spellings at both ends", ["A", "a"], ["A", "a"], DELETE, { unchanged: ["A", "a"] }],
  ["NFC and NFD", ["\u00e9"], ["e\u0301"], DELETE, {
    doubtful: ["\u00e9"],
    deletions: ["e\u0301 unless it is \u00e9"],
  }],
  ["below another spelling of a link", ["l!link"], ["L/x"], DELETE, {
    skipped: ["l"],
    deletions: ["L/x unless it is l", "L unless it is l"],
  }],
];

for (const [name, source, target, rules, expected] of rows) {
  Deno.test(`plan: ${name}`, () => assertEquals(planned(source, target, rules), expected));
}

Deno.test("plan: what is filtered is at neither end", () => {
  const asked: string[] = [];
  const filter = ({ path }: { readonly path: readonly string[] }) => {
    asked.push(path.join("/"));
    return !path.at(-1)!.startsWith(".");
  };
  const source = [".git/a", "b", "c/.x", "u/.l!unreadable"];
  const target = [".git/z", ".y", "c/.x", "c/d", "b", "e/.z"];
  assertEquals(planned(source, target, { delete: true, filter }), {
    unchanged: ["b"],
    makes: ["u"],
    deletions: ["c/d"],
  });
  assertEquals(new Set(asked).size, asked.length, "each path once");
  assertEquals(asked.includes(".git/a") || asked.includes(".git/z"), false, "nothing below it");
  assertEquals(asked.indexOf("c") < asked.indexOf("c/d"), true, "parents first");
  assertEquals(planned(["a/b"], ["a/.x"], { delete: true, filter }).copies, ["a/b"]);
  assertEquals(planned(["a"], ["a/.x"], { delete: true, filter }), { failed: ["a"] });
});

Deno.test("names are folded by full lower case and composition", () => {
  for (const [one, other] of [["ABC", "abc"], ["É", "e\u0301"], ["Å", "å"], ["ẞ", "ß"]]) {
    assertEquals(fold(one!), fold(other!));
  }
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    return fold(fold(text)) === fold(text) && fold(text.normalize("NFD")) === fold(text);
  }));
});

Deno.test("two times are the same if one is the other, cut to seconds or to even seconds", () => {
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
  for (const [one, other, same] of rows) {
    assertEquals([isSameTime(one, other), isSameTime(other, one)], [same, same]);
  }
});

Deno.test("a name in thousands of spellings is planned in little time and memory", () => {
  const source = TreeNode.root();
  const target = TreeNode.root();
  for (let i = 0; i < 30_000; i++) {
    const letters = Array.from("abcdefghijklmno", (letter, bit) => {
      return (i >> bit) & 1 ? letter.toUpperCase() : letter;
    });
    const tree = i < 20_000 ? source : target;
    tree.add(new TreeNode(tree, letters.join(""), "file", 1, TIME));
  }
  const rules = { compare: "time", replace: true, delete: true, filter: undefined } as const;
  const { doubtful, deletions } = makePlan(source, target, rules);
  assertEquals([doubtful.length, deletions.length], [20_000, 10_000]);
  assertEquals(doubtful.every(({ rivals, rank }, i) => rivals[rank] === doubtful[i]), true);
});
