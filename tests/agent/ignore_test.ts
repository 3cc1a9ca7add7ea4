/** Lines as in .gitignore: what they leave out of a tree, and how much work that is. */
import { IgnoreRules } from "@degu/internal/agent/ignore.ts";
import { Failure } from "@degu/internal/agent/failure.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertThrows } from "@std/assert";

/** The lines, paths that they match, and others; the path of a directory ends with a slash. */
const rows: [rule: string, lines: string[], matched: string[], others: string[]][] = [
  ["a name, anywhere", ["a"], ["a", "a/", "x/a", "x/y/a/"], ["ab", "a b", "A", "a/b"]],
  ["a path, from the top on", ["/a", "b/c"], ["a", "b/c", "b/c/"], ["x/a", "x/b/c", "c"]],
  ["a directory", ["a/", "/b/c/"], ["a/", "x/a/", "b/c/"], ["a", "b/c", "x/b/c/"]],
  ["any number of characters", ["*.o", "x*z"], [".o", "a.o", "x/b.o", "xz", "x.y.z"], [
    "o",
    "a.ob",
  ]],
  ["no slash among them", ["a/*", "b*c"], ["a/x", "a/.x"], ["a/x/y", "b/c", "x/a/y"]],
  ["many stars are one", ["a***b"], ["ab", "axxb", "x/ab"], ["a/b", "abc"]],
  ["one character", ["a?c", "?é?"], ["abc", "a😀c", "ééé"], ["ac", "abbc", "a/c", "éé"]],
  ["any directories before", ["**/a/b"], ["a/b", "x/a/b", "x/y/a/b"], ["b", "a/x/b"]],
  ["any directories between", ["a/**/b"], ["a/b", "a/x/b", "a/x/y/b/"], ["x/a/b", "a/bb"]],
  ["everything in a directory", ["a/**"], ["a/x", "a/x/y/"], ["a", "a/", "x/a/y"]],
  ["everything", ["**"], ["a", "a/b/"], []],
  ["every directory", ["**/"], ["a/", "a/b/"], ["a", "a/b"]],
  ["everything at the top", ["/*"], ["a", ".b/"], ["a/b"]],
  ["a set", ["[ab]x", "[a-c0-9]y"], ["ax", "x/bx", "cy", "5y"], ["cx", "dy", "x", "-y"]],
  ["no character of a set", ["[!ab]x", "[^a-c]y"], ["cx", "!x", "dy"], ["ax", "by", "/x"]],
  ["brackets, hyphens and backslashes in a set", ["[]-]1", "[a-]2", "[\\]]3"], [
    "]1",
    "-1",
    "-2",
    "]3",
  ], [
    ...["11", "b2", "\\3"],
  ]],
  ["a set with a name", ["[[:digit:]_]a", "[![:upper:]]b"], ["1a", "_a", "cb"], ["da", "Ab"]],
  ["a set that does not end, or is none", ["[a", "[[:none:]]"], [], ["[a", "a", "n", "n]"]],
  ["characters of other planes in a set", ["[😀-😂]"], ["😁"], ["😃", "😀😀"]],
  ["a backslash takes away the meaning", ["\\*", "\\#a", "\\!b", "c\\?", "\\[d]"], [
    "*",
    "#a",
    "!b",
    "c?",
    "[d]",
  ], [
    ...["x", "a", "cx", "d"],
  ]],
  ["a backslash at the end is no pattern", ["a\\"], [], ["a", "a\\"]],
  ["spaces at the end, unless they are escaped", ["a  ", "b\\ ", "c\\  "], ["a", "b ", "c "], [
    ...["a ", "b", "c  "],
  ]],
  ["spaces elsewhere", [" a", "b c"], [" a", "b c"], ["a", "b"]],
  ["comments, and nothing", ["#a", "", "  ", "/", "!"], [], ["#a", "a", "/a"]],
  ["the last match decides", ["*.o", "!a.o", "b/a.o"], ["x.o", "b/a.o"], ["a.o", "x/a.o"]],
  ["letters have a case", ["A"], ["A"], ["a"]],
];

Deno.test("lines as in .gitignore match", async (t) => {
  await eachRow(t, rows, (_rule, lines, matched, others) => {
    const ignores = (path: string) => {
      const isDirectory = path.endsWith("/");
      const names = (isDirectory ? path.slice(0, -1) : path).split("/");
      return new IgnoreRules(lines, true).ignores(names, isDirectory);
    };
    assertEquals(matched.filter((path) => !ignores(path)), [], "matched");
    assertEquals(others.filter(ignores), [], "not matched");
  });
});

// If every length of every star is tried, the first line takes minutes, and the others have no end.
const ENDLESS: [what: string, line: string, path: string[], matches: boolean][] = [
  ["ten directories", "**/a/".repeat(10) + "**/b", new Array(60).fill("a"), false],
  ["forty directories", "**/a/".repeat(40) + "**/b", new Array(250).fill("a"), false],
  ["twelve stars", "*a".repeat(12) + "b", ["a".repeat(255)], false],
  ["a hundred stars", "*a".repeat(100) + "*b", ["a".repeat(255)], false],
  ["a hundred stars that match", "*a".repeat(100) + "*b", [`${"a".repeat(254)}b`], true],
  ["both", "**/*a*a*a*a*a*a*ab/".repeat(20) + "c", new Array(200).fill("a".repeat(15)), false],
];

for (const [what, line, path, matches] of ENDLESS) {
  Deno.test(`a line with ${what} takes no more comparisons than its length times that of the path`, () => {
    // A peer's line: an error would say that it took more than ten million comparisons.
    assertEquals(new IgnoreRules([line], false).ignores(path, false), matches);
  });
}

Deno.test("a long line is read in time that grows as its length does", () => {
  // A search from the start for each name, or for each bracket, would take more than ten minutes.
  for (const line of ["a/".repeat(500_000), "[[:a".repeat(250_000), "[".repeat(1_000_000)]) {
    assertEquals(new IgnoreRules([line], false).ignores(["a", "b"], false), false);
  }
});

Deno.test("each character of a set, and each name of other planes, is as much work as it is", () => {
  const set = new IgnoreRules([`[${"ab".repeat(100_000)}]`], false);
  const ask = () => {
    for (let i = 0; i < 1000; i++) set.ignores(["z"], false);
  };
  assertThrows(ask, Failure, "too long");
  // It is divided into its characters once, and not for each line.
  const name = "😀".repeat(60);
  const { from } = Array;
  let divided = 0;
  Array.from = ((...args: Parameters<typeof from>) => {
    if (args[0] as unknown === name) divided++;
    return from(...args);
  }) as typeof from;
  try {
    const rules = new IgnoreRules(new Array(100).fill("*a*z"), false);
    assertEquals(rules.ignores([name], false), false);
  } finally {
    Array.from = from;
  }
  assertEquals(divided, 1);
});

Deno.test("lines that take too long are refused, those of this device later than those of a peer", () => {
  const ask = (lines: readonly string[], length: number, isOwn: boolean) => {
    const names = Array.from({ length: 40 }, (_, i) => `${"a".repeat(length)}${i}`);
    const rules = new IgnoreRules(lines, isOwn);
    return names.map((name) => rules.ignores([name], false)).includes(true);
  };
  const many = new Array(5000).fill("*a*c*");
  assertThrows(() => ask(many, 60, false), Failure, "too long");
  assertEquals(ask(many, 60, true), false);
  // A peer may have put these into a directory of this device.
  assertThrows(
    () => ask(new Array(1000).fill(`*${"a?".repeat(40)}c*`), 240, true),
    Failure,
    "long",
  );
});

Deno.test("a thousand lines of a peer are compared with any number of names", () => {
  const lines = Array.from(
    { length: 1000 },
    (_, i) => [`/build-${i}/`, `*.${i}`, `a*${i}b`][i % 3]!,
  );
  const rules = new IgnoreRules(lines, false);
  for (let i = 0; i < 5000; i++) assertEquals(rules.ignores(["src", `name-${i}`], true), false);
});
