/** Lines as in .gitignore: which paths of a tree they exclude, and which lists can be read. */
import { findExcludeProblem } from "@degu/internal/agent/exclude_pattern.ts";
import { IgnoreList } from "@degu/internal/agent/ignore_list.ts";
import { Failure } from "@degu/internal/agent/failure.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";

/** The lines, matching paths, and other paths; the path of a directory ends with a slash. */
const rows: [rule: string, lines: string[], matched: string[], others: string[]][] = [
  ["a name, anywhere", ["a"], ["a", "a/", "x/a", "x/y/a/"], ["ab", "a b", "A", "b/c"]],
  ["a path, from the top on", ["/a", "b/c"], ["a", "b/c", "b/c/"], ["x/a", "x/b/c", "c"]],
  ["a directory", ["a/", "/b/c/"], ["a/", "x/a/", "b/c/"], ["a", "b/c", "x/b/c/"]],
  ["any number of characters", ["*.o"], [".o", "a.o", "x/b.o"], ["o", "a.ob"]],
  ["no slash among them", ["a/*", "b*c"], ["a/x", "a/.x"], ["b/c", "x/a/y"]],
  ["many stars are one", ["a***b"], ["ab", "axxb", "x/ab"], ["a/b", "abc"]],
  ["one character", ["a?c", "?é?"], ["abc", "ééé"], ["ac", "abbc", "a/c", "éé"]],
  ["any directories before", ["**/a/b"], ["a/b", "x/a/b", "x/y/a/b"], ["b", "a/x/b"]],
  ["any directories between", ["a/**/b"], ["a/b", "a/x/b", "a/x/y/b/"], ["x/a/b", "a/bb"]],
  ["everything", ["**"], ["a", "a/b/"], []],
  ["a set", ["[ab]x", "[a-c0-9]y"], ["ax", "x/bx", "cy", "5y"], ["cx", "dy", "x", "-y"]],
  ["no character of a set", ["[!ab]x", "[^a-c]y"], ["cx", "!x", "dy"], ["ax", "by"]],
  ["brackets and hyphens in a set", ["[]-]1", "[a-]2"], ["]1", "-1", "-2"], ["11", "b2"]],
  ["a backslash in a set", ["[\\]]3"], ["]3"], ["\\3"]],
  ["a set with a name", ["[[:digit:]_]a", "[![:upper:]]b"], ["1a", "_a", "cb"], ["da", "Ab"]],
  ["a set that does not end, or is none", ["[a", "[[:none:]]"], [], ["[a", "a", "n", "n]"]],
  ["a backslash takes away the meaning", ["\\*", "\\#a", "\\!b"], ["*", "#a", "!b"], ["x", "a"]],
  ["a backslash at the end is no pattern", ["a\\"], [], ["a", "a\\"]],
  ["spaces at the end, unless they are escaped", ["a  ", "b\\ ", "c\\  "], ["a", "b ", "c "], [
    ...["a ", "b", "c  "],
  ]],
  ["comments, and nothing", ["#a", "", "  ", "/", "!"], [], ["#a", "a"]],
  ["the last match decides", ["*.o", "!a.o", "b/a.o"], ["x.o", "b/a.o"], ["a.o", "x/a.o"]],
];

Deno.test("lines as in .gitignore match", async (t) => {
  await testEachRow(t, rows, async (_rule, lines, matched, others) => {
    const list = await IgnoreList.read("/tmp/none", lines);
    const ignores = (path: string) => {
      const isDirectory = path.endsWith("/");
      const names = (isDirectory ? path.slice(0, -1) : path).split("/");
      return list.isIgnored(names, isDirectory);
    };
    assertEquals(matched.filter((path) => !ignores(path)), [], "matched");
    assertEquals(others.filter(ignores), [], "not matched");
  });
});

Deno.test("--exclude: a pattern that matches no path is refused, any other is accepted", async (t) => {
  const hints: [pattern: string, hint: string][] = [
    ["", '"" matches no path: is a variable of the shell empty?'],
    ["  ", "is a variable of the shell empty?"],
    ["#x", "write \\#x"],
    ["./build", "write /build "],
    ...[
      ...["[", "a[", "[[:none:]]", "!", "! ", "!./a", "/", "//", "!/", "."],
      ...["..", "./", "../a", "a/../b", "a/./b", "a//b", "//a", "a\\", "\\", "!["],
    ].map((pattern): [string, string] => [pattern, "write it as in .gitignore"]),
  ];
  await testEachRow(t, hints, (pattern, hint) => {
    assertStringIncludes(findExcludeProblem(pattern) ?? "", hint);
  });
  const ofRows = rows.filter(([, , matched]) => matched.length > 0).flatMap(([, lines]) => lines);
  const others = ["!!", "!#x", "~/x", "日[本語]", "[^ -~]", "{a,b}", " a ", "\\ "];
  for (const pattern of [...ofRows, ...others]) {
    assertEquals(findExcludeProblem(pattern), null, pattern);
  }
  const text = fc.string({ unit: fc.constantFrom(..."ab[]!^-\\*?/.# :"), maxLength: 7 });
  const path = fc.array(
    fc.string({ unit: fc.constantFrom(..."abx[]!^-\\.# :"), minLength: 1, maxLength: 4 }),
    { minLength: 1, maxLength: 3 },
  ).filter((names) => names.every((name) => name !== "." && name !== ".."));
  const thirtyPaths = fc.array(path, { minLength: 30, maxLength: 30 });
  const property = fc.asyncProperty(text, thirtyPaths, async (pattern, paths) => {
    if (findExcludeProblem(pattern) === null) return;
    // A refused pattern matches no path.
    const positive = pattern.startsWith("!") ? ["**", pattern] : [pattern];
    const list = await IgnoreList.read("/tmp/none", positive);
    for (const names of [...paths, [pattern], pattern.split("/")]) {
      if (names.some((name) => /^\.{0,2}$|\//.test(name))) continue;
      for (const isDirectory of [false, true]) {
        assertEquals(list.isIgnored(names, isDirectory), positive.length === 2, pattern);
      }
    }
  });
  await fc.assert(property, { numRuns: 1000 });
});

/**
 * Returns the files of a, b and c that a list with these bytes excludes; `null` for an unreadable
 * list.
 */
async function leftOut(bytes: Uint8Array<ArrayBuffer> | string): Promise<string | null> {
  await using dir = await createTempDir();
  const content = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  await Deno.writeFile(`${dir.path}/.deguignore`, content);
  try {
    const list = await IgnoreList.read(dir.path, []);
    return ["a", "b", "c"].filter((name) => list.isIgnored([name], false)).join("");
  } catch (error) {
    if (error instanceof Failure && error.message.includes("can't be used")) return null;
    throw error;
  }
}

/** UTF-16, with the low byte first. */
function utf16(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint16Array.from(text, (each) => each.charCodeAt(0)).buffer);
}

Deno.test("a list is UTF-8, with a byte order mark or without, and any other list can't be used", async (t) => {
  await testEachRow(
    t,
    [
      ["UTF-8", "a\nb\n", "ab"],
      ["with a byte order mark", "\ufeffa\nb", "ab"],
      ["nothing", "", ""],
      ["UTF-16 with a byte order mark", utf16("\ufeffa\nb\n"), null],
      ["UTF-16 without one", utf16("a\nb\n"), null],
      ["Latin-1", new Uint8Array([0x61, 0x0a, 0xe9, 0x0a]), null],
      ["10,000 lines", "x\n".repeat(9_999) + "a\n", "a"],
      ["a line more", "x\n".repeat(10_000) + "a\n", null],
      ["a line of 1,000 characters", "\u20ac".repeat(1_000) + "\nb", "b"],
      ["a character more", "x".repeat(1_001) + "\nb", null],
    ] as [string, string | Uint8Array<ArrayBuffer>, string | null][],
    async (_name, bytes, expected) => {
      assertEquals(await leftOut(bytes), expected);
    },
  );
});

Deno.test("a list whose bytes have changed is refused", async (t) => {
  const before = "a\n";
  await testEachRow(t, [
    ["the same", before, before, false],
    ["other lines", before, "b\n", true],
    ["emptied", before, "", true],
    ["gone", before, null, true],
    ["new", null, "a\n", true],
    ["none", null, null, false],
  ] as [string, string | null, string | null, boolean][], async (_name, first, second, changes) => {
    await using dir = await createTempDir();
    if (first !== null) await fill(dir.path, { ".deguignore": first });
    const list = await IgnoreList.read(dir.path, []);
    if (second === null) await Deno.remove(`${dir.path}/.deguignore`).catch(() => {});
    else await fill(dir.path, { ".deguignore": second });
    if (changes) {
      assertThrows(() => list.checkUnchanged(), Failure, "has changed since it was read");
    } else list.checkUnchanged();
  });
});
