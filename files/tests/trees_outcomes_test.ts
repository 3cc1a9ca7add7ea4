/**
 * downloadTree and uploadTree: the outcome of each path. A model judges the rows of `trees.rows.ts`;
 * the rows of this module need changes during the call, or entries that the model doesn't know.
 */
import type { DownloadTreeOptions, TransferError, TreeResult } from "@degu/degu/files";
import { createTempDir } from "@degu/testing/directories.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";
import { contentOf, keyOf, make, type Plan, type Raw, seeDirectory } from "./trees/disk.ts";
import { Lab } from "./trees/lab.ts";
import { parseTree, textContent } from "./trees/text_trees.ts";
import { rows } from "./trees.rows.ts";

const isWindows = Deno.build.os === "windows";

for (const [rule, rowsOfRule] of Map.groupBy(rows, ({ rule }) => rule)) {
  Deno.test(rule, async (t) => {
    await using dir = await createTempDir();
    await using lab = new Lab(dir.path, null);
    for (const { text, cases, needsUnix } of rowsOfRule) {
      for (const testCase of cases) {
        const name = `${testCase.download ? "download" : "upload"}: ${text}`;
        const ignore = isWindows && needsUnix;
        await t.step({ name, ignore, fn: () => lab.run(testCase) });
      }
    }
  });
}

/** Entries in the form of `parseTree()`. `..` contains entries next to the tree. */
type Tree = string;

interface Expected {
  /** The outcome of each path: `=` for unchanged, `!` for failed, and otherwise copied. */
  readonly outcomes: string;
  /** The codes of all errors. */
  readonly codes?: readonly string[];
  readonly deleted?: string;
  readonly deletionsSkipped?: TreeResult["deletionsSkipped"];
  /** The entries of the target after the call; those of the source by default. */
  readonly remaining?: Tree;
  /** The direction of the row, if it isn't for both. */
  readonly onlyDirection?: TreeDirection;
  /** Changes the trees after the plan, like another process. */
  changeTrees?(source: string, target: string): void;
}

type Row = readonly [name: string, source: Tree, target: Tree, DownloadTreeOptions, Expected];

const DELETE = { delete: true };
/** A name that only case-sensitive disks tell from `new`. */
const NEW = isWindows ? "small" : "NEW";

const changedRows: readonly Row[] = [
  [
    "a link with a reserved name stays, with its directory that is in the way",
    "x",
    "x/a x/.a.degu-part->/nowhere",
    DELETE,
    { outcomes: "!x", deleted: "x/a", remaining: "x/.a.degu-part->" },
  ],
  [
    "an entry in the reserved directory that is not a part keeps its directory",
    "a",
    "d/.degu-files/x",
    DELETE,
    { outcomes: "a !d", remaining: "a d/.degu-files/x", onlyDirection: "download" },
  ],
  ["a directory in the way stays if an entry has been created in it", "a", "a/x", DELETE, {
    changeTrees: (_source, target) => write(`${target}/a/new`),
    outcomes: "!a",
    codes: ["TARGET_CHANGED"],
    deleted: "a/x",
    remaining: "a/new",
  }],
  ...[["old", "a old/", Deno.mkdirSync], ["old/", "a old", write]].map((
    [before, after, makeOther],
  ): Row => ["an entry whose kind changes before its deletion stays", "a", `a ${before}`, DELETE, {
    changeTrees(_source, target) {
      Deno.removeSync(`${target}/old`);
      (makeOther as (path: string) => void)(`${target}/old`);
    },
    outcomes: "=a !old",
    remaining: after as string,
    onlyDirection: "download",
  }]),
  [
    "another spelling that is already removed with its directory is not deleted",
    "d/A",
    "d/A d/a",
    DELETE,
    {
      changeTrees: (_source, target) => Deno.removeSync(`${target}/d`, { recursive: true }),
      outcomes: "=d/A",
      remaining: " ",
    },
  ],
  ["an entry that is removed before its deletion counts as deleted", "a", "a d/b old", DELETE, {
    changeTrees(_source, target) {
      for (const name of ["d", "old"]) Deno.removeSync(`${target}/${name}`, { recursive: true });
    },
    outcomes: "=a",
    deleted: "d d/b old",
  }],
  ...[true, false].map((replace): Row => [
    "an entry that is created during the call stays, and its file fails unless identical, with " +
    `replace: ${replace}`,
    `new ${NEW}=other d/same large* same*`,
    "",
    { replace },
    {
      changeTrees(_source, target) {
        Deno.mkdirSync(`${target}/d`);
        write(`${target}/d/same`);
        for (const name of [NEW, "large"]) write(`${target}/${name}`, "theirs");
        Deno.writeFileSync(`${target}/same`, textContent("same", true));
      },
      outcomes: `new !${NEW} =d/same !large =same`,
      codes: [replace ? "TARGET_CHANGED" : "EXISTS"],
      remaining: `new ${NEW}=theirs d/same large=theirs same*`,
    },
  ]),
  // The upload of a large file compares the target's file itself.
  ...([["upload", "b"], ["download", "=b"]] as const).map(([onlyDirection, large]): Row => [
    "a file that is replaced by the same content during the call counts as unchanged",
    "a b* c",
    "a=older*5 b=older c=older*5",
    {},
    {
      changeTrees(_source, target) {
        write(`${target}/a`);
        Deno.writeFileSync(`${target}/b`, textContent("b", true));
      },
      outcomes: `=a ${large} c`,
      onlyDirection,
    },
  ]),
  [
    "a file that is replaced by other content during the call stays",
    "a b*",
    "a=old*5 b=old*5",
    {},
    {
      changeTrees(_source, target) {
        for (const name of ["a", "b"]) write(`${target}/${name}`, "theirs");
      },
      outcomes: "!a !b",
      codes: ["TARGET_CHANGED"],
      remaining: "a=theirs b=theirs",
    },
  ],
  ["a file that is removed before only its time changes fails alone", "a b", "a@3000 b=old*5", {}, {
    changeTrees: (_source, target) => Deno.removeSync(`${target}/a`),
    outcomes: "!a b",
    codes: ["TARGET_CHANGED"],
    remaining: "b",
  }],
  ["a directory whose name is taken fails once, and each file below it", "x/y/f b", "", {}, {
    changeTrees: (_source, target) => write(`${target}/x`),
    outcomes: "!x !x/y/f b",
    codes: ["IN_THE_WAY"],
    remaining: "x b",
  }],
  ["a file that is missing when it is to be copied fails alone", "a b large*", "", DELETE, {
    changeTrees(source) {
      for (const name of ["a", "large"]) Deno.removeSync(`${source}/${name}`);
    },
    outcomes: "!a b !large",
    deletionsSkipped: "failed",
  }],
  ["a small file that becomes large during the call is copied", "a b", "", {}, {
    changeTrees: (source) => Deno.writeFileSync(`${source}/a`, contentOf(1, 70_000)),
    outcomes: "a b",
  }],
  // A server follows a link inside of its directory.
  ...([["upload", "../outside"], ["download", "nothing"]] as const).map((
    [onlyDirection, linkTarget],
  ): Row => [
    `a source that is replaced by a link to ${linkTarget} is not followed`,
    `d/a d/l* b ../link->${linkTarget} ../outside/a=secret ../outside/l*`,
    "",
    {},
    {
      changeTrees: (source) => replaceByLink(source, "d"),
      outcomes: "!d/a !d/l b",
      ...(onlyDirection === "upload" ? { codes: ["CHANGED"] } : {}),
      remaining: "d/ b",
      onlyDirection,
    },
  ]),
  ...["../outside", "d"].map((linkTarget): Row => [
    // Two of the names are equal on a disk that ignores case.
    `a target that is replaced by a link to ${linkTarget} is not followed`,
    "d/a b d/l* d/k d/\u212a d/s/a",
    `d/x d/s/x ../outside/ ../link->${linkTarget}`,
    {},
    {
      changeTrees: (_source, target) => replaceByLink(target, "d"),
      outcomes: "!d/a b !d/l !d/k !d/\u212a !d/s/a",
      remaining: "b d->",
    },
  ]),
  [
    "no part is written through a link that has replaced a directory, next to an obstacle",
    "d/sub/large*",
    "d/sub ../outside/ ../link->../outside",
    DELETE,
    {
      changeTrees: (_source, target) => replaceByLink(target, "d"),
      outcomes: "!d/sub !d/sub/large",
      remaining: "d->",
    },
  ],
];

/** Writes a small file; its content is by default the one that a tree has at this path. */
function write(path: string, version = path.slice(path.lastIndexOf("/") + 1)): void {
  Deno.writeFileSync(path, textContent(version));
}

/** Replaces a directory by the link next to the tree. */
function replaceByLink(root: string, name: string): void {
  Deno.renameSync(`${root}/${name}`, `${root}/../exchanged`);
  Deno.renameSync(`${root}/../link`, `${root}/${name}`);
}

/** Creates the entries of a tree. */
function fillTree(root: string, tree: Plan): void {
  if (tree.kind !== "directory") return;
  for (const [name, entry] of tree.entries) {
    if (name === "..") fillTree(`${root}/..`, entry);
    else make(`${root}/${name}`, entry);
  }
}

/** Returns the content of each entry, without those next to the tree. */
function contentsOf(entry: Raw | Plan, path = ""): [path: string, content: string][] {
  if (entry.kind === "file") {
    return [[path, "key" in entry ? entry.key : keyOf(entry.id, entry.size)]];
  }
  if (entry.kind !== "directory") return [[path, entry.kind]];
  const entries = [...entry.entries].filter(([name]) => name !== "..");
  const contents = entries.flatMap(([name, below]) => contentsOf(below, `${path}/${name}`));
  return [[path, "directory"], ...contents];
}

const contentsByPath = (entry: Raw | Plan) => Object.fromEntries(contentsOf(entry));
const wordsOf = (text: string) => text.split(" ").filter((word) => word !== "");

for (const [name, source, target, options, expected] of changedRows) {
  const { deleted = "", deletionsSkipped = null, remaining, onlyDirection } = expected;
  for (const direction of onlyDirection === undefined ? DIRECTIONS : [onlyDirection]) {
    Deno.test(`${direction}: ${name}`, async () => {
      await using trees = await makeTrees(direction);
      fillTree(trees.source, parseTree(source));
      fillTree(trees.target, parseTree(target));
      const outside = `${trees.target}/../outside`;
      if (target.includes("../outside/")) await Deno.utime(outside, 1, 1);
      const copied = await trees.copy({
        ...options,
        onEvent({ type }) {
          if (type === "plan") expected.changeTrees?.(trees.source, trees.target);
        },
      });
      const expectedOutcomes = wordsOf(expected.outcomes).map((word) => {
        if (word.startsWith("=")) return [word.slice(1), "unchanged"];
        return word.startsWith("!") ? [word.slice(1), "failed"] : [word, "copied"];
      });
      const errors = Deno.inspect(copied.errors);
      assertEquals(copied.outcomes, Object.fromEntries(expectedOutcomes), errors);
      const codes = Object.values(copied.errors).map((error) => (error as TransferError).code);
      if (expected.codes !== undefined) assertEquals([...new Set(codes)], expected.codes);
      assertEquals(copied.deletedPaths.toSorted(), wordsOf(deleted));
      assertEquals(copied.result.deletionsSkipped, deletionsSkipped);
      const expectedTree = remaining === undefined
        ? seeDirectory(trees.source)!
        : parseTree(remaining);
      assertEquals(contentsByPath(seeDirectory(trees.target)!), contentsByPath(expectedTree));
      if (!target.includes("../outside/")) return;
      assertEquals([...Deno.readDirSync(outside)], []);
      assertEquals((await Deno.stat(outside)).mtime, new Date(1000), "not even a part");
    });
  }
}
