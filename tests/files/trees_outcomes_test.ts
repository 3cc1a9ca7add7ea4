/** downloadTree and uploadTree: what becomes of each path, in rows that both of them run. */
import type { TreeOptions, TreeResult } from "@degu/degu/files";
import { tempDir } from "@degu/testing/directories.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { content, DIRECTIONS, fill, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

/** A tree: the texts of files, `null` for directories; `->` and where it leads for a link; `|` for a FIFO. */
type Tree = Readonly<Record<string, string | null>>;

interface Row {
  readonly name: string;
  readonly source: Tree;
  readonly target?: Tree;
  readonly options?: TreeOptions;
  /** What others do after the plan. */
  meanwhile?(source: string, target: string): void;
  /** By path; `|` between what a download and an upload make of it. */
  readonly outcomes: Readonly<Record<string, string>>;
  /** Sorted. */
  readonly deleted?: readonly string[];
  readonly kept?: TreeResult["deletionsKept"];
  /** What is at the target then; what is at the source where it is left out. */
  readonly left?: Tree;
  /** Where it is not so for both. */
  readonly only?: TreeDirection;
}

const DELETE = { delete: true };
const LARGE = "l".repeat(70_000);
const COPIED = "copied", FAILED = "failed", UNCHANGED = "unchanged";

const rows: readonly Row[] = [
  {
    name: "directories are made, empty ones, too",
    source: { "a/b/c": null, "d/e": "text" },
    outcomes: { "d/e": COPIED },
  },
  {
    name: "what the source does not have stays without delete",
    source: { a: "a" },
    target: { b: "b" },
    outcomes: { a: COPIED },
    left: { a: "a", b: "b" },
  },
  {
    name: "what the source does not have goes with delete",
    source: { a: "a", "d/b": "b" },
    target: { a: "a", "d/c": "c", "d/e/f": "f", "g/h": null },
    options: DELETE,
    outcomes: { a: UNCHANGED, "d/b": COPIED },
    deleted: ["d/c", "d/e", "d/e/f", "g", "g/h"],
  },
  {
    name: "nothing is deleted if the source is empty",
    source: {},
    target: { a: "a" },
    options: DELETE,
    outcomes: {},
    kept: "empty",
    left: { a: "a" },
  },
  {
    name: "nothing is deleted if the filter leaves nothing of the source",
    source: { b: "b" },
    target: { a: "a" },
    options: { delete: true, filter: ({ name }) => name !== "b" },
    outcomes: {},
    kept: "empty",
    left: { a: "a" },
  },
  {
    name: "nothing is deleted if something failed",
    source: { b: "b", "a/c": "c" },
    target: { a: "a", d: "d" },
    options: { delete: true, replace: false },
    outcomes: { b: COPIED, "a/c": FAILED, a: FAILED },
    kept: "failed",
    left: { a: "a", b: "b", d: "d" },
  },
  {
    name: "replace: false: another file fails alone, the same one is unchanged",
    source: { a: "new", b: "same", "d/c": "c", e: `n${LARGE}`, f: LARGE },
    target: { a: "old!", b: "same", e: `o${LARGE}`, f: LARGE },
    options: { replace: false, compare: "digest" },
    outcomes: { a: FAILED, b: UNCHANGED, "d/c": COPIED, e: FAILED, f: UNCHANGED },
    left: { a: "old!", b: "same", "d/c": "c", e: `o${LARGE}`, f: LARGE },
  },
  {
    name: "a directory in the way with something in it that must stay is left whole",
    source: { a: "a", b: "b" },
    target: { "a/x": "x", "a/link": "->/nowhere", "b/.z": "z" },
    options: { delete: true, filter: ({ name }) => name !== ".z" },
    outcomes: { a: FAILED, b: FAILED },
    kept: "failed",
    left: { "a/x": "x", "a/link": "->", "b/.z": "z" },
  },
  {
    name: "a directory in the way with a link by a reserved name loses nothing",
    source: { x: "file" },
    target: { "x/a": "a", "x/.a.degu-part": "->/nowhere" },
    options: DELETE,
    outcomes: { x: FAILED },
    kept: "failed",
    left: { "x/a": "a", "x/.a.degu-part": "->" },
  },
  {
    name: "a directory in the way that has changed since it was listed is left whole",
    source: { a: "a" },
    target: { "a/x": "x" },
    options: DELETE,
    meanwhile: (_source, target) => Deno.writeTextFileSync(`${target}/a/new`, "new"),
    outcomes: { a: FAILED },
    kept: "failed",
    left: { "a/new": "new", "a/x": "x" },
  },
  {
    name: "a file in the way goes only once a file of the directory has arrived",
    source: { "a/b": "b" },
    target: { a: "a" },
    options: DELETE,
    meanwhile: (source) => Deno.removeSync(`${source}/a/b`),
    outcomes: { "a/b": FAILED },
    kept: "failed",
    left: { a: "a" },
  },
  {
    name: "a link gives way to a directory with nothing but directories in it",
    source: { "linked/sub/deep": null },
    target: { linked: "->../outside", "../outside": null },
    options: DELETE,
    outcomes: {},
  },
  ...[false, true].map((deletes): Row => ({
    name: `a link to a file of the target gives way to a file ${
      deletes ? "with" : "not without"
    } delete`,
    source: { small: "new", large: LARGE, other: "same" },
    target: { small: "->other", large: "->other", other: "same" },
    options: { delete: deletes },
    outcomes: {
      small: deletes ? COPIED : FAILED,
      large: deletes ? COPIED : FAILED,
      other: UNCHANGED,
    },
    left: deletes
      ? { small: "new", large: LARGE, other: "same" }
      : { small: "->", large: "->", other: "same" },
  })),
  {
    name: "links and special files of the target stay, with their directories",
    source: { a: "a" },
    target: {
      "d/e/f": "f",
      "d/g": "g",
      "d/e/link": "->/nowhere",
      out: "->/tmp",
      fifo: "|",
      // A server lists it as the file.
      "to a file": "->d/g",
    },
    options: DELETE,
    outcomes: { a: COPIED },
    deleted: ["d/e/f", "d/g"],
    left: { a: "a", "d/e/link": "->", out: "->", fifo: "|", "to a file": "->" },
  },
  {
    name: "what has the name of a link of the source stays, and what lies below",
    source: { a: "a", l: "->/nowhere" },
    target: { "l/x": "x", y: "y" },
    options: DELETE,
    outcomes: { a: COPIED, l: "skipped: link" },
    deleted: ["y"],
    left: { a: "a", "l/x": "x" },
  },
  {
    name: "links and special files are skipped",
    source: {
      a: "a",
      "d/x": "x",
      dir: "->d",
      out: "->/tmp",
      none: "->nowhere",
      "d/up": "->..",
      fifo: "|",
    },
    options: DELETE,
    outcomes: {
      a: COPIED,
      "d/x": COPIED,
      dir: "skipped: link",
      out: "skipped: link",
      none: "skipped: link",
      "d/up": "skipped: link",
      fifo: "skipped: special",
    },
    left: { a: "a", "d/x": "x" },
  },
  {
    name: "a server shows the file that a link in its directory leads to",
    source: { a: "a", in: "->a" },
    outcomes: { a: COPIED, in: COPIED },
    left: { a: "a", in: "a" },
    only: "download",
  },
  {
    name: "reserved names are skipped, and never written",
    source: { ".a.degu-part": "x", "d/.degu-files/y": "y", "d/b": "b" },
    options: DELETE,
    outcomes: {
      "d/b": COPIED,
      ".a.degu-part": "|skipped: reserved",
      "d/.degu-files": "|skipped: reserved",
    },
    left: { "d/b": "b" },
  },
  {
    name: "what has the place of parts but is none keeps its directory",
    source: { a: "a" },
    target: { "d/.degu-files/mine": "mine" },
    options: DELETE,
    outcomes: { a: COPIED, d: FAILED },
    left: { a: "a", "d/.degu-files/mine": "mine" },
    only: "download",
  },
  {
    name: "two spellings of a name are two files where the disk keeps both",
    source: { A: "1", a: "2", "D/x": "3", "d/x": "4", "\u00e9": "5", "e\u0301": "6" },
    target: { "f/F": "f" },
    options: DELETE,
    outcomes: {
      A: COPIED,
      a: COPIED,
      "D/x": COPIED,
      "d/x": COPIED,
      "\u00e9": COPIED,
      "e\u0301": COPIED,
    },
    deleted: ["f", "f/F"],
  },
  {
    name: "another spelling goes where the disk keeps both",
    source: { "photos/a": "a", "photos/b": "b" },
    target: { "Photos/a": "a", "Photos/c": "c" },
    options: DELETE,
    outcomes: { "photos/a": COPIED, "photos/b": COPIED },
    deleted: ["Photos", "Photos/a", "Photos/c"],
  },
  {
    name: "a file that is gone when its turn comes fails alone",
    source: { a: "a", b: "b", large: LARGE },
    options: DELETE,
    meanwhile(source) {
      for (const name of ["a", "large"]) Deno.removeSync(`${source}/${name}`);
    },
    outcomes: { a: FAILED, b: COPIED, large: FAILED },
    kept: "failed",
  },
  {
    name: "a small file that has become large meanwhile is copied all the same",
    source: { a: "a", b: "b" },
    meanwhile: (source) => Deno.writeTextFileSync(`${source}/a`, "a".repeat(65_537)),
    outcomes: { a: COPIED, b: COPIED },
  },
  {
    name: "a source that is exchanged for a link is not followed",
    source: {
      "d/a": "a",
      "d/l": LARGE,
      b: "b",
      "../link": "->outside",
      "../outside/a": "secret",
      "../outside/l": LARGE,
    },
    meanwhile: (source) => exchange(source, "d"),
    outcomes: { "d/a": FAILED, "d/l": FAILED, b: COPIED },
    left: { d: null, b: "b" },
  },
  ...["outside", "d"].map((to): Row => ({
    name: `a target that is exchanged for a link to ${to} is not followed`,
    source: {
      "d/a": "a",
      b: "b",
      "d/l": LARGE,
      // Two names that are one where capitals are not told apart.
      "d/k": "k",
      "d/\u212a": "K",
      "d/s/a": "a",
    },
    target: { "d/x": "x", "d/s/x": "x", "../outside": null, "../link": `->${to}` },
    meanwhile: (_source, target) => exchange(target, "d"),
    outcomes: {
      "d/a": FAILED,
      b: COPIED,
      "d/l": FAILED,
      "d/k": FAILED,
      "d/\u212a": FAILED,
      "d/s/a": FAILED,
    },
    left: { b: "b", d: "->" },
  })),
  {
    name:
      "no part is written through a link that has replaced a directory, beside what is in the way",
    source: { "d/sub/large": LARGE },
    target: { "d/sub": "in the way", "../outside": null, "../link": "->outside" },
    options: DELETE,
    meanwhile: (_source, target) => exchange(target, "d"),
    outcomes: { "d/sub/large": FAILED },
    kept: "failed",
    left: { d: "->" },
  },
];

/** Puts the link that lies beside a tree in the place of a directory. */
function exchange(root: string, name: string): void {
  Deno.renameSync(`${root}/${name}`, `${root}/../exchanged`);
  Deno.renameSync(`${root}/../link`, `${root}/${name}`);
}

const stock = await tempDir();
const texts = rows.flatMap(({ source, target = {} }) => {
  return [...Object.values(source), ...Object.values(target)];
});
/** Links, enough for all rows, by what they lead to, and a FIFO: only a process of its own can make them. */
const links = DIRECTIONS.flatMap(() => texts.filter((text) => text?.startsWith("->")))
  .map((text, i) => ({ path: `${stock.path}/${i}`, to: text!.slice(2) }));
await makeLinks(Object.fromEntries(links.map(({ path, to }) => [path, to])));
const hasFifo = await makeFifo(`${stock.path}/fifo`);
addEventListener("unload", () => Deno.removeSync(stock.path, { recursive: true }));

/** In seconds, of everything that is made. */
const TIME = 1_600_000_000;

/** Makes what is in a tree. */
async function make(root: string, tree: Tree): Promise<void> {
  const isPlain = ([, text]: [string, string | null]) => !/^->|^\|$/.test(text ?? "");
  await fill(root, Object.fromEntries(Object.entries(tree).filter(isPlain)));
  for (const [path, text] of Object.entries(tree)) {
    const at = `${root}/${path}`;
    if (text?.startsWith("->")) {
      const next = links.findIndex(({ to }) => to === text.slice(2));
      Deno.renameSync(links.splice(next, 1)[0]!.path, at);
    } else if (text === "|") Deno.linkSync(`${stock.path}/fifo`, at);
    else Deno.utimeSync(at, TIME, TIME);
  }
}

/** A tree with all of its directories, as `content` shows it. */
function shown(tree: Tree): Tree {
  const all: Record<string, string | null> = {};
  for (const [path, text] of Object.entries(tree)) {
    const names = path.split("/");
    for (let length = 1; length < names.length; length++) {
      all[names.slice(0, length).join("/")] = null;
    }
    all[path] = text === "->" ? "a link" : text === "|" ? "something else" : text;
  }
  return all;
}

for (const row of rows) {
  const { name, source, target = {}, options = {}, deleted = [], kept = null } = row;
  const ignore = !hasFifo && [source, target].some((tree) => Object.values(tree).includes("|"));
  for (const direction of row.only === undefined ? DIRECTIONS : [row.only]) {
    Deno.test(`${direction}: ${name}`, { ignore }, async () => {
      await using trees = await makeTrees(direction);
      await make(trees.source, source);
      await make(trees.target, target);
      const before = await content(trees.target);
      const dry = await trees.copy({ ...options, dryRun: true });
      assertEquals(await content(trees.target), before);
      const copied = await trees.copy({
        ...options,
        onEvent({ type }) {
          if (type === "plan") row.meanwhile?.(trees.source, trees.target);
        },
      });
      const outcomes = Object.entries(row.outcomes).flatMap(([path, both]) => {
        const [first, second = first] = both.split("|");
        const outcome = direction === "download" ? first : second;
        return outcome === "" ? [] : [[path, outcome]];
      });
      const inspected = Deno.inspect(copied.errors);
      assertEquals(copied.outcomes, Object.fromEntries(outcomes), inspected);
      assertEquals(copied.deleted.toSorted(), deleted);
      assertEquals(copied.result.deletionsKept, kept);
      for (const [at, path] of copied.deleted.entries()) {
        const inner = copied.deleted.findLastIndex((other) => other.startsWith(`${path}/`));
        assertEquals(inner < at, true, `${path} went before what was in it`);
      }
      const left = row.left === undefined ? await content(trees.source) : shown(row.left);
      assertEquals(await content(trees.target), left);
      if ("../outside" in target) {
        const outside = `${trees.target}/../outside`;
        assertEquals(await content(outside), {});
        assertEquals((await Deno.stat(outside)).mtime, new Date(TIME * 1000), "not even a part");
      }
      if (copied.result.failed > 0 || row.meanwhile !== undefined) return;
      assertEquals(dry.result, copied.result);
      const { files, deleted: again, failed } = (await trees.copy(options)).result;
      assertEquals([files, again, failed], [0, 0, 0], "a second run");
    });
  }
}
