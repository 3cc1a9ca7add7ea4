/** downloadTree and uploadTree: disks that change the spelling of names, over FUSE. */
import type { DownloadTreeOptions, TreeResult } from "@degu/degu/files";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { makeOddDiskScript } from "../odd_disk.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { copyInProcess, type CopyJob, DIRECTIONS } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";
import { canRun, IN_MOUNT_NAMESPACE } from "../refused_writes.ts";

/**
 * Returns a command that runs its arguments with a disk `disk` that changes the spelling of names.
 */
async function makeMountCommand(dir: string, spelling: string): Promise<string[]> {
  return [...IN_MOUNT_NAMESPACE, await makeOddDiskScript(dir, spelling), dir];
}

async function canSpell(): Promise<boolean> {
  await using dir = await createTempDir();
  return await canRun(...await makeMountCommand(dir.path, "strip /dev/null"));
}

type Tree = Readonly<Record<string, string | null>>;

interface Expected {
  /** The outcomes: `!` for failed, `=` for unchanged, `~` for skipped, and otherwise copied. */
  readonly outcomes: string;
  readonly deleted?: string;
  readonly kept?: TreeResult["deletionsSkipped"];
  /** The paths because of which deletions are skipped. */
  readonly respelled?: string;
  /** The entries of the target after the call. */
  readonly left: Tree;
  /**
   * `deletionsSkipped` of a second run, which copies and deletes no files; by default that of the
   * first run.
   */
  readonly again?: TreeResult["deletionsSkipped"];
}

type Row = readonly [
  name: string,
  spelling: "strip" | "fold" | "nfd",
  source: Tree,
  target: Tree,
  options: DownloadTreeOptions,
  expected: Expected,
];

const DELETE = { delete: true };
const LARGE = "x".repeat(70_000);
/** Stands for a link to a directory. */
const LINK = "a link";

const rows: readonly Row[] = [
  ["copied files are not deleted by the next run", "strip", { "a.": "1", b: "2" }, {}, DELETE, {
    outcomes: "a. b",
    left: { a: "1", b: "2" },
    again: "spelling",
  }],
  [
    "no entry is deleted next to a respelled name, except in directories with unchanged names",
    "strip",
    { "a.": "1", "d/x": "2", "e/y ": "3" },
    { old: "3", "d/old": "4", "f/old": "5", "e/f/old": "6" },
    DELETE,
    {
      outcomes: "a. d/x e/y_",
      deleted: "d/old",
      kept: "spelling",
      respelled: "a. e/y_",
      left: {
        ...{ a: "1", d: null, "d/x": "2", e: null, "e/f": null, "e/f/old": "6", "e/y": "3" },
        ...{ f: null, "f/old": "5", old: "3" },
      },
    },
  ],
  [
    "a file replaces a superfluous entry that is the same file on the disk",
    "strip",
    { "a.": "11" },
    { a: "2" },
    DELETE,
    { outcomes: "a.", kept: "spelling", respelled: "a.", left: { a: "11" } },
  ],
  ["the second of two names of one file fails", "strip", { a: "1", "a.": "2" }, {}, DELETE, {
    outcomes: "a !a.",
    kept: "failed",
    left: { a: "1" },
  }],
  [
    "the second of two names of one directory fails, with its entries",
    "strip",
    { "d/x": "1", "d./x": "2", "d./y/z": "3" },
    { "d/old": "4" },
    DELETE,
    {
      outcomes: "d/x !d. !d./x !d./y/z",
      kept: "failed",
      left: { d: null, "d/old": "4", "d/x": "1" },
    },
  ],
  [
    "an obstacle of two names of one directory is deleted, and then the second name fails",
    "strip",
    { "p/d/x": "1", "p/d./y/z": "2" },
    { p: "old" },
    DELETE,
    {
      outcomes: "!p !p/d/x !p/d./y/z",
      deleted: "p",
      left: { p: null, "p/d": null, "p/d/x": "1" },
      again: "failed",
    },
  ],
  [
    "a file and a directory with names of one entry",
    "fold",
    { "a": "1", "A/x": "2", "B": "3", "b/y": "4" },
    {},
    DELETE,
    {
      // Directories are created first.
      outcomes: "A/x !a b/y !B",
      kept: "failed",
      left: { a: null, "a/x": "2", b: null, "b/y": "4" },
    },
  ],
  ["a change of case alone", "fold", { "A": "1", "b": "2" }, { a: "1", b: "old" }, DELETE, {
    outcomes: "=A b",
    kept: "spelling",
    respelled: "A",
    left: { a: "1", b: "2" },
  }],
  [
    "a respelled directory prevents deletions below it",
    "fold",
    { "Dir/Sub/x": "1", "Dir/e": null },
    { "dir/sub/x": "0", "dir/sub/old": "2", "dir/old": "3" },
    DELETE,
    {
      outcomes: "Dir/Sub/x",
      kept: "spelling",
      respelled: "Dir",
      left: {
        ...{ dir: null, "dir/e": null, "dir/old": "3" },
        ...{ "dir/sub": null, "dir/sub/old": "2", "dir/sub/x": "1" },
      },
    },
  ],
  ["composed letters", "nfd", { "\u00e9": "1", "u\u0308/\u00fc": "2" }, { old: "3" }, DELETE, {
    outcomes: "\u00e9 u\u0308/\u00fc",
    kept: "spelling",
    respelled: "\u00e9",
    left: { "e\u0301": "1", old: "3", "u\u0308": null, "u\u0308/u\u0308": "2" },
  }],
  [
    "with replace: false",
    "strip",
    { "a.": "1", "b.": "2", "c.": "3", "c..": "3" },
    { a: "0", b: "2" },
    { replace: false },
    {
      outcomes: "!a. =b. c. !c..",
      left: { a: "0", b: "2", c: "3" },
    },
  ],
  ["with compare: digest", "strip", { "a.": "1", "b.": "2" }, { a: "0", b: "2" }, {
    compare: "digest",
  }, { outcomes: "a. =b.", left: { a: "1", b: "2" } }],
  [
    "an obstacle with another spelling stays",
    "fold",
    { A: "1", "B/x": "2" },
    { "a/y": "3", b: "4" },
    DELETE,
    {
      outcomes: "!A !B !B/x",
      kept: "failed",
      left: { a: null, "a/y": "3", b: "4" },
    },
  ],
  [
    "an entry with the name of a skipped one stays",
    "strip",
    { "a.": LINK, b: "2" },
    { a: "1", b: "2", "c/d": "3" },
    DELETE,
    {
      outcomes: "~a. =b",
      kept: "spelling",
      respelled: "a.",
      left: { a: "1", b: "2", c: null, "c/d": "3" },
    },
  ],
  [
    "large files",
    "strip",
    { "l.": `1${LARGE}`, m: `2${LARGE}`, "m.": `3${LARGE}` },
    { l: "4" },
    { connections: 1 },
    { outcomes: "l. m !m.", left: { l: `1${LARGE}`, m: `2${LARGE}` } },
  ],
  [
    "the later copy of two names of one file fails, even if its name is the first",
    "fold",
    { A: `1${LARGE}`, a: "2" },
    {},
    { connections: 1 },
    { outcomes: "!A a", left: { a: "2" } },
  ],
];

const MARKS: Readonly<Record<string, string>> = {
  "": "copied",
  "=": "unchanged",
  "!": "failed",
  "~": "skipped: link",
};

/** Parses outcomes; `_` stands for a space at the end of a name. */
function outcomesOf(words: string): Record<string, string> {
  return Object.fromEntries(
    words.split(" ").map((word) => {
      const [, mark, path] = /^([=!~]?)(.*)$/.exec(word.replace(/_$/, " "))!;
      return [path, MARKS[mark!]];
    }),
  );
}

const wordsOf = (words = "") => words.split(" ").filter((word) => word !== "").toSorted();

Deno.test({
  name:
    "trees are copied to disks that change the spelling of names (needs unshare, FUSE and python3-fusepy)",
  ignore: !await canSpell(),
  async fn(t) {
    const spellings = ["strip", "fold", "nfd"].flatMap((spelling) => [
      [spelling, `${spelling} /dev/null`],
      [spelling, `${spelling} /dev/null renumber`],
    ]) as [string, string][];
    await using dir = await createTempDir();
    const jobs: { row: Row; job: CopyJob; title: string; target: string }[] = [];
    // Mount all disks for one process, which copies all trees.
    const through: string[] = [...IN_MOUNT_NAMESPACE, 'exec "$@"', "sh"];
    for (const [spelling, how] of spellings) {
      const diskDir = `${dir.path}/${how.replaceAll(/\W+/g, "-")}`;
      through.push("sh", "-c", await makeOddDiskScript(diskDir, how), diskDir);
      for (const row of rows.filter((row) => row[1] === spelling)) {
        const [name, , source, target, options] = row;
        for (const direction of DIRECTIONS) {
          const jobIndex = `${jobs.length}`;
          const job = { dir: `${diskDir}/${jobIndex}`, direction, options };
          await fill(`${job.dir}/source`, source);
          for (const path of Object.keys(source).filter((path) => source[path] === LINK)) {
            await Deno.remove(`${job.dir}/source/${path}`);
            await makeLinks({ [`${job.dir}/source/${path}`]: "." });
          }
          const targetDir = `${diskDir}/backing/${jobIndex}`;
          await fill(`${diskDir}/backing`, { [jobIndex]: null });
          await fill(targetDir, target);
          // Each file has another time.
          let time = 1_600_000_000;
          for (
            const [root, tree] of [[targetDir, target], [`${job.dir}/source`, source]] as const
          ) {
            for (const path of Object.keys(tree)) {
              time += 10;
              await Deno.utime(`${root}/${path}`, time, time);
            }
          }
          await makeLinks({ [`${job.dir}/target`]: `../disk/${jobIndex}` });
          const title = `${how}: ${name}, ${direction}`;
          jobs.push({ row, job, title, target: targetDir });
        }
      }
    }
    const firstRuns = jobs.map(({ job }) => job);
    const copied = await copyInProcess(through, [...firstRuns, ...firstRuns]);
    for (const [index, { row: [, , , , options, expected], title, target }] of jobs.entries()) {
      await t.step(title, async () => {
        const context = Deno.inspect(copied[index], { depth: 5 });
        const { outcomes, deletedPaths, result } = copied[index]!;
        const { kept = null, left, respelled = "" } = expected;
        const expectedOutcomes = outcomesOf(expected.outcomes);
        // A directory fails at the target if an entry in it stays because of its name.
        const directories = wordsOf(respelled).map((path) =>
          path.split("/").slice(0, -1).join("/")
        );
        for (const directory of directories) expectedOutcomes[directory] = "failed";
        assertEquals(outcomes, expectedOutcomes, context);
        assertEquals(deletedPaths.toSorted(), wordsOf(expected.deleted), context);
        assertEquals(result.deletionsSkipped, kept, context);
        const shorter = (tree: Tree) => {
          return Object.entries(tree).map(([path, text]) => [path, text?.slice(0, 9) ?? null]);
        };
        assertEquals(shorter(await readTree(target)).toSorted(), shorter(left).toSorted(), context);
        const secondRun = copied[jobs.length + index]!;
        const isStuck = kept === "failed" || expected.outcomes.includes("!");
        const expectedAgain = expected.again ?? kept;
        for (const [path, outcome] of Object.entries(secondRun.outcomes)) {
          // Directories, and entries that the first run didn't copy, may fail again.
          const isFine = outcome === "unchanged" || outcome === "skipped: link" ||
            outcome === "failed" && (isStuck || (left[path] ?? null) === null) ||
            outcome === "copied" &&
              wordsOf(expected.deleted).some((obstacle) => path.startsWith(`${obstacle}/`));
          assertEquals([isFine, outcome], [true, outcome], `${path}: ${Deno.inspect(secondRun)}`);
        }
        assertEquals(secondRun.deletedPaths, []);
        assertEquals(secondRun.result.deletionsSkipped, options.delete ? expectedAgain : null);
      });
    }
  },
});

Deno.test({
  name: "directories whose inodes JavaScript can't tell from the reserved directory's are copied",
  ignore: !await canSpell(),
  async fn() {
    await using dir = await createTempDir();
    const through = await makeMountCommand(dir.path, "plain /dev/null high-inodes");
    const directories = Array.from({ length: 20 }, (_, i) => `d${i}`);
    const reservedDirectory = "backing/source/.degu-files";
    await fill(dir.path, {
      [reservedDirectory]: null,
      ...Object.fromEntries(directories.map((name) => [`backing/source/${name}/file`, name])),
      "backing/target": null,
    });
    const time = new Date("2026-01-02T03:04:05Z");
    await Deno.utime(`${dir.path}/${reservedDirectory}`, time, time);
    const job: CopyJob = { dir: `${dir.path}/disk`, direction: "download", isSettled: true };
    const [copied] = await copyInProcess(through, [job]);
    const expected = Object.fromEntries(directories.map((name) => [`${name}/file`, "copied"]));
    assertEquals(copied?.outcomes, expected, Deno.inspect(copied));
  },
});
