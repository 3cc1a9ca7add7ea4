/** downloadTree and uploadTree: the outcome of each path, in rows that both functions run. */
import type { TransferError, TreeEntry, TreeOptions, TreeResult } from "@degu/degu/files";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { HAS_LINKS, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

/**
 * Entries of a tree, separated by spaces: `a` is a file with the text `a`, `a=b` a file with
 * another text, `a=*` a large file, and `a@3000` a file that is 3000 ms younger than the others;
 * `d/` is a directory, `l->a` a link, and `f|` a FIFO.
 */
type Tree = string;

interface Expected {
  /**
   * The outcome of each path: `=` for unchanged, `!` for failed, `l:link` for skipped with a
   * reason, and otherwise copied; `|` separates the outcomes of a download from those of an upload.
   */
  readonly outcomes?: string;
  /** The codes of all errors. */
  readonly codes?: readonly string[];
  readonly deleted?: string;
  readonly deletionsSkipped?: TreeResult["deletionsSkipped"];
  /** The entries of the target after the call; those of the source by default. */
  readonly remaining?: Tree;
  /** The bytes of copied files that the target already has. */
  readonly reusableBytes?: number;
  /** The direction of the row, if it isn't for both. */
  readonly onlyDirection?: TreeDirection;
  /** Changes the trees after the plan, like another process. */
  changeTrees?(source: string, target: string): void;
}

type Row = readonly [name: string, source: Tree, target: Tree, TreeOptions, Expected];

const DELETE = { delete: true };
const DELETE_ALL = { delete: true, deleteAll: true };
const LARGE = "l".repeat(70_000);
const LARGE_TEXTS: Readonly<Record<string, string>> = { "*": LARGE, "**": LARGE.toUpperCase() };
/** The time of all entries, in seconds. */
const TIME = 1_600_000_000;
const FAILS = { deletionsSkipped: "failed" } as const;

const IN_THE_WAY = "a/x a/y/z b f";
// A server lists a link to a file as a file.
const LINKED =
  "a->../outside/file b->../outside/file d->../outside e->../outside f->file file ../outside/";

const rows: readonly Row[] = [
  [
    "time: a file of the same size and time is unchanged, as far as a disk can store it",
    "a@3000 b=B c@1999 d=longer e=**@3000 f=*@1999",
    "a b c d e=* f=*",
    { compare: "time" },
    { outcomes: "a =b =c d e =f", remaining: "a b c d=longer e=** f=*" },
  ],
  [
    "maxDelete: up to the limit entries are deleted, including directories and obstacles",
    "a f d/x",
    "a old/y f/z d",
    { delete: true, maxDelete: 5 },
    { outcomes: "=a f d/x", deleted: "d f f/z old old/y" },
  ],
  [
    "maxDelete: above the limit no entry is deleted, and the rest is copied",
    "a new",
    "a old/y",
    { delete: true, maxDelete: 1 },
    { outcomes: "! =a new", deletionsSkipped: "limit", remaining: "a new old/y" },
  ],
  [
    "maxDelete: above the limit obstacles stay, and their files fail",
    "a f d/x d/e/ new",
    "a f/z d",
    { delete: true, maxDelete: 2 },
    {
      outcomes: "! =a !f !d !d/x new",
      codes: ["IN_THE_WAY", "OVER_LIMIT"],
      deletionsSkipped: "limit",
      remaining: "a f/z d new",
    },
  ],
  [
    "maxDelete: entries that can't be deleted don't count",
    "a",
    "a old d/l->x",
    { delete: true, maxDelete: 1 },
    { outcomes: "=a", deleted: "old", remaining: "a d/l->x" },
  ],
  ["maxDelete: an empty source takes precedence as the reason", "", "old", {
    delete: true,
    maxDelete: 0,
  }, {
    deletionsSkipped: "empty",
    remaining: "old",
  }],
  ["maxDelete: has no effect without delete", "a", "a old", { maxDelete: 0 }, {
    outcomes: "=a",
    remaining: "a old",
  }],
  [
    "a large file that differs only in its time gets the time, and is not sent",
    "a=*@3000 b",
    "a=*",
    {},
    {
      outcomes: "a b",
      reusableBytes: LARGE.length,
      onlyDirection: "upload",
    },
  ],
  [
    "digest: a file of the same size and content is unchanged, whatever its time",
    "a@3000 b=B c=longer d=*@3000 e=**",
    "a b c d=* e=*",
    { compare: "digest" },
    { outcomes: "=a b c =d e" },
  ],
  [
    "many kinds of differences at once",
    "a=new d/b e/f g h=* i/ same",
    "a=old! d g/x g/y/z old/o e/p same",
    DELETE,
    { outcomes: "a d/b e/f g h =same", deleted: "d e/p g g/x g/y g/y/z old old/o" },
  ],
  ["directories are created, also empty ones", "a/b/c/ d/e", "", {}, { outcomes: "d/e" }],
  ["superfluous entries stay without delete", "a", "b", {}, {
    outcomes: "a",
    remaining: "a b",
  }],
  ["superfluous entries are deleted with delete", "a d/b", "a d/c d/e/f g/h/", DELETE, {
    outcomes: "=a d/b",
    deleted: "d/c d/e d/e/f g g/h",
  }],
  ["no entry is deleted if the source is empty", "", "a", DELETE, {
    deletionsSkipped: "empty",
    remaining: "a",
  }],
  [
    "no entry is deleted if the filter excludes the whole source",
    "b",
    "a",
    { delete: true, filter: ({ name }) => name !== "b" },
    { deletionsSkipped: "empty", remaining: "a" },
  ],
  ["deleteAll: an empty source deletes all", "", "a b/c d/", DELETE_ALL, { deleted: "a b b/c d" }],
  [
    "deleteAll: excluded entries stay, also if the filter excludes the whole source",
    "b",
    "a b=b c/b c/d",
    { ...DELETE_ALL, filter: ({ name }) => name !== "b" },
    { deleted: "a c/d", remaining: "b=b c/b" },
  ],
  ["deleteAll: no entry is deleted if a file failed", "a/b", "a b", {
    ...DELETE_ALL,
    replace: false,
  }, {
    outcomes: "!a/b !a",
    deletionsSkipped: "failed",
    remaining: "a b",
  }],
  ["deleteAll: maxDelete applies", "", "a b", { ...DELETE_ALL, maxDelete: 1 }, {
    outcomes: "!",
    deletionsSkipped: "limit",
    remaining: "a b",
  }],
  [
    "excluded entries are ignored at both ends",
    "keep/a skip/b keep/c.tmp",
    "skip/z keep/d.tmp keep/e",
    { delete: true, filter: isKept },
    { outcomes: "keep/a", deleted: "keep/e", remaining: "keep/a skip/z keep/d.tmp" },
  ],
  ["no entry is deleted if a file failed", "b a/c", "a d", { delete: true, replace: false }, {
    outcomes: "b !a/c !a",
    deletionsSkipped: "failed",
    remaining: "a b d",
  }],
  ...(["digest", "time"] as const).map((compare): Row => [
    `replace: false, ${compare}: a different file fails alone, and an identical one is unchanged`,
    "a=new b@2005 d/c e f=*@2005 g=G@2005",
    "a=old! b e=* f=* g",
    { replace: false, compare },
    { outcomes: "!a =b d/c !e =f !g", remaining: "a=old! b d/c e=* f=* g" },
  ]),
  ...["a b/c b/d/e f/g/", "a=* b/c=* b/d/e=* f/g/"].flatMap((source): Row[] => [
    [`obstacles stay without delete: ${source}`, source, IN_THE_WAY, {}, {
      outcomes: "!a !b/c !b/d/e !b !f",
      codes: ["IN_THE_WAY"],
      remaining: IN_THE_WAY,
    }],
    [`obstacles are deleted with delete: ${source}`, source, IN_THE_WAY, DELETE, {
      outcomes: "a b/c b/d/e",
      deleted: "a a/x a/y a/y/z b f",
    }],
  ]),
  ...[{}, DELETE].map((options): Row => [
    `a link at the target stays, and doesn't prevent deletions elsewhere: ${Deno.inspect(options)}`,
    "a b=* d/c e/ f file",
    `${LINKED} old`,
    options,
    {
      outcomes: "!a !b !d/c !d !e !f =file",
      codes: ["IN_THE_WAY"],
      deleted: "delete" in options ? "old" : "",
      remaining: `a-> b-> d-> e-> f-> file ${"delete" in options ? "" : "old"}`.trim(),
    },
  ]),
  [
    "maxDelete counts obstacles: above the limit no entry is deleted",
    "a d/x e",
    "a/y a/z d old",
    { delete: true, maxDelete: 4 },
    {
      outcomes: "! !a !d !d/x e",
      codes: ["IN_THE_WAY", "OVER_LIMIT"],
      deletionsSkipped: "limit",
      remaining: "a/y a/z d e old",
    },
  ],
  [
    "an obstacle stays with replace: false, and prevents deletions",
    "a d/x",
    "a/y d old",
    { delete: true, replace: false },
    { outcomes: "!a !d !d/x", codes: ["IN_THE_WAY"], ...FAILS, remaining: "a/y d old" },
  ],
  [
    "an obstacle stays if a file has failed",
    "a b d/x",
    "a/y b/.z d",
    { delete: true, filter: ({ name }) => name !== ".z" },
    { outcomes: "!a !b !d !d/x", codes: ["IN_THE_WAY"], ...FAILS, remaining: "a/y b/.z d" },
  ],
  [
    "a directory in the way with an entry that must stay keeps all its entries",
    "a b",
    "a/x a/link->/nowhere b/.z",
    { delete: true, filter: ({ name }) => name !== ".z" },
    { outcomes: "!a !b", ...FAILS, remaining: "a/x a/link-> b/.z" },
  ],
  [
    "a link with a reserved name stays, with its directory that is in the way",
    "x",
    "x/a x/.a.degu-part->/nowhere",
    DELETE,
    { outcomes: "!x", deleted: "x/a", remaining: "x/.a.degu-part->" },
  ],
  [
    "a directory in the way stays if an entry has been created in it",
    "a",
    "a/x",
    DELETE,
    {
      changeTrees: (_source, target) => Deno.writeTextFileSync(`${target}/a/new`, "new"),
      outcomes: "!a",
      deleted: "a/x",
      remaining: "a/new",
    },
  ],
  [
    "a file in the way is deleted only after all files of the directory have arrived",
    "a/b a/c=* a/d/e",
    "a",
    DELETE,
    {
      changeTrees: (source) => Deno.removeSync(`${source}/a/b`),
      outcomes: "!a !a/b !a/c !a/d/e",
      ...FAILS,
      remaining: "a",
    },
  ],
  [
    "a link to a file of the target stays, even if the file has the same content",
    "small=new large=* same=other other",
    "small->other large->other same->other other",
    DELETE,
    { outcomes: "!small !large !same =other", remaining: "small-> large-> same-> other" },
  ],
  [
    "links and special files of the target stay, with their directories",
    "a",
    "d/e/f d/g d/e/link->/nowhere out->/tmp fifo| to-a-file->d/g",
    DELETE,
    { outcomes: "a", deleted: "d/e/f d/g", remaining: "a d/e/link-> out-> fifo| to-a-file->" },
  ],
  ["a target entry with the name of a source link stays", "a l->/nowhere", "l/x y", DELETE, {
    outcomes: "a l:link",
    deleted: "y",
    remaining: "a l/x",
  }],
  [
    "links and special files are skipped",
    "a d/x dir->d out->/tmp none->nowhere d/up->.. fifo|",
    "",
    DELETE,
    { outcomes: "a d/x dir:link out:link none:link d/up:link fifo:special", remaining: "a d/x" },
  ],
  ["a link is skipped, even to a file of the same directory", "a in->a", "", {}, {
    outcomes: "a in:link",
    remaining: "a",
  }],
  [
    "reserved names are skipped, and never written",
    ".a.degu-part d/.degu-files/y d/b",
    "",
    DELETE,
    {
      outcomes: "d/b|d/b .a.degu-part:reserved d/.degu-files:reserved",
      remaining: "d/b",
    },
  ],
  [
    "an unmounted mount point with only reserved names counts as empty: no entry is deleted",
    ".degu-files/x .a.degu-part",
    "a d/b",
    DELETE,
    {
      outcomes: "|.degu-files:reserved .a.degu-part:reserved",
      deletionsSkipped: "empty",
      remaining: "a d/b",
    },
  ],
  [
    "an entry in the reserved directory that is not a part keeps its directory",
    "a",
    "d/.degu-files/x",
    DELETE,
    {
      outcomes: "a !d",
      remaining: "a d/.degu-files/x",
      onlyDirection: "download",
    },
  ],
  [
    "two spellings of a name are two files if the disk stores both",
    "A=1 a=2 D/x=3 d/x=4 \u00e9=5 e\u0301=6",
    "f/F",
    DELETE,
    { outcomes: "A a D/x d/x \u00e9 e\u0301", deleted: "f f/F" },
  ],
  ["another spelling is deleted if the disk stores both", "p/a p/b", "P/a P/c", DELETE, {
    outcomes: "p/a p/b",
    deleted: "P P/a P/c",
  }],
  ["another spelling is deleted next to an entry of the source", "p/a", "p/a P/c", DELETE, {
    outcomes: "=p/a",
    deleted: "P P/c",
  }],
  ...[["old", "a old/", Deno.mkdirSync], ["old/", "a old", makeEmpty]].map((
    [before, after, makeOther],
  ): Row => ["an entry whose kind changes before its deletion stays", "a", `a ${before}`, DELETE, {
    changeTrees(_source, target) {
      Deno.removeSync(`${target}/old`);
      (makeOther as (path: string) => void)(`${target}/old`);
    },
    outcomes: "=a !old",
    remaining: (after as string).replace(/old$/, "old="),
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
  ["a file that is missing when it is to be copied fails alone", "a b large=*", "", DELETE, {
    changeTrees(source) {
      for (const name of ["a", "large"]) Deno.removeSync(`${source}/${name}`);
    },
    outcomes: "!a b !large",
    ...FAILS,
  }],
  ["a small file that becomes large during the call is copied", "a b", "", {}, {
    changeTrees: (source) => Deno.writeTextFileSync(`${source}/a`, LARGE),
    outcomes: "a b",
  }],
  // A server follows a link inside of its directory.
  ...([["upload", "../outside"], ["download", "nothing"]] as const).map((
    [onlyDirection, linkTarget],
  ): Row => [
    `a source that is replaced by a link to ${linkTarget} is not followed`,
    `d/a d/l=* b ../link->${linkTarget} ../outside/a=secret ../outside/l=*`,
    "",
    {},
    {
      changeTrees: (source) => replaceByLink(source, "d"),
      outcomes: "!d/a !d/l b",
      remaining: "d/ b",
      onlyDirection,
    },
  ]),
  ...["../outside", "d"].map((linkTarget): Row => [
    // Two of the names are equal on a disk that ignores case.
    `a target that is replaced by a link to ${linkTarget} is not followed`,
    "d/a b d/l=* d/k d/\u212a d/s/a",
    `d/x d/s/x ../outside/ ../link->${linkTarget}`,
    {},
    {
      changeTrees: (_source, target) => replaceByLink(target, "d"),
      outcomes: "!d/a b !d/l !d/k !d/\u212a !d/s/a",
      remaining: "b d->",
    },
  ]),
  [
    "an empty directory below a link that has replaced a directory fails alone",
    "d/e/f/ b",
    "d/ ../outside/ ../link->../outside",
    {},
    {
      changeTrees: (_source, target) => replaceByLink(target, "d"),
      outcomes: "!d/e b",
      remaining: "b d->",
    },
  ],
  [
    "no part is written through a link that has replaced a directory, next to an obstacle",
    "d/sub/large=*",
    "d/sub ../outside/ ../link->../outside",
    DELETE,
    {
      changeTrees: (_source, target) => replaceByLink(target, "d"),
      outcomes: "!d/sub !d/sub/large",
      remaining: "d->",
    },
  ],
];

function makeEmpty(path: string): void {
  Deno.createSync(path).close();
}

/** A filter by names, which checks its arguments. */
function isKept({ path, name, kind, size, modified }: TreeEntry): boolean {
  assertEquals([name, typeof kind, typeof size], [path.at(-1), "string", "number"]);
  assertEquals([path[0] !== "skip" || path.length === 1, modified instanceof Date], [true, true]);
  return name !== "skip" && !name.endsWith(".tmp");
}

/** Replaces a directory by the link next to the tree. */
function replaceByLink(root: string, name: string): void {
  Deno.renameSync(`${root}/${name}`, `${root}/../exchanged`);
  Deno.renameSync(`${root}/../link`, `${root}/${name}`);
}

function wordsOf(text: string): string[] {
  return text.split(" ").filter((word) => word !== "");
}

/**
 * Parses the entries of a tree: the text of a file, `null` for a directory, or the target of a
 * link.
 */
function entriesOf(tree: Tree) {
  return wordsOf(tree).map((word) => {
    const [, path = "", mark, value = "", age = 0] = /^(.*?)(?:(=|->|\||\/$)(.*?))?(?:@(\d+))?$/
      .exec(word)!;
    const name = path.slice(path.lastIndexOf("/") + 1);
    const text = mark !== "=" ? name : LARGE_TEXTS[value] ?? value;
    const link = mark === "->" ? value : null;
    const time = TIME + Number(age) / 1000;
    return { path, text: mark === "/" ? null : text, time, link, isFifo: mark === "|" };
  });
}

const stock = await createTempDir();
/** Links and a FIFO for all rows. One separate process makes them, because this one can't. */
const links = [...rows, ...rows].flatMap(([, source, target]) => entriesOf(`${source} ${target}`))
  .flatMap(({ link }, i) => link === null ? [] : { path: `${stock.path}/${i}`, link });
// On Windows only the rows with links fail.
if (HAS_LINKS) await makeLinks(Object.fromEntries(links.map(({ path, link }) => [path, link])));
const hasFifo = await makeFifo(`${stock.path}/fifo`);
addEventListener("unload", () => Deno.removeSync(stock.path, { recursive: true }));

/** Creates the entries of a tree. */
async function make(root: string, tree: Tree): Promise<void> {
  for (const { path, text, time, link, isFifo } of entriesOf(tree)) {
    const fullPath = `${root}/${path}`;
    if (link === null && !isFifo) {
      await fill(root, { [path]: text });
      Deno.utimeSync(fullPath, time, time);
      continue;
    }
    Deno.mkdirSync(fullPath.slice(0, fullPath.lastIndexOf("/")), { recursive: true });
    if (isFifo) Deno.linkSync(`${stock.path}/fifo`, fullPath);
    else {
      const linkIndex = links.findIndex((stockLink) => stockLink.link === link);
      Deno.renameSync(links.splice(linkIndex, 1)[0]!.path, fullPath);
    }
  }
}

/** Returns a tree with all of its directories, in the form of `readTree()`. */
function treeContent(tree: Tree): Record<string, string | null> {
  const content: Record<string, string | null> = {};
  for (const { path, text, link, isFifo } of entriesOf(tree)) {
    const names = path.split("/");
    for (let length = 1; length < names.length; length++) {
      content[names.slice(0, length).join("/")] = null;
    }
    content[path] = link !== null ? "a link" : isFifo ? "something else" : text;
  }
  return content;
}

/** Parses the expected outcomes. */
function outcomesOf(words: string): Record<string, string> {
  return Object.fromEntries(
    wordsOf(words).map((word) => {
      const [, mark, path, reason] = /^([=!]?)(.*?)(?::(\w+))?$/.exec(word)!;
      const outcome = mark === "=" ? "unchanged" : mark === "!" ? "failed" : "copied";
      return [path, reason === undefined ? outcome : `skipped: ${reason}`];
    }),
  );
}

for (const [name, source, target, options, expected] of rows) {
  const {
    outcomes = "",
    deleted = "",
    deletionsSkipped: deletionsSkipped = null,
    remaining,
    reusableBytes: reusableBytes = 0,
    onlyDirection,
    changeTrees,
  } = expected;
  const ignore = !hasFifo && `${source} ${target}`.includes("|");
  for (const direction of onlyDirection === undefined ? DIRECTIONS : [onlyDirection]) {
    Deno.test(`${direction}: ${name}`, { ignore }, async () => {
      await using trees = await makeTrees(direction);
      await make(trees.source, source);
      await make(trees.target, target);
      const targetBefore = await readTree(trees.target);
      const dryRun = await trees.copy({ ...options, dryRun: true });
      assertEquals(await readTree(trees.target), targetBefore);
      const copied = await trees.copy({
        ...options,
        onEvent({ type }) {
          if (type === "plan") changeTrees?.(trees.source, trees.target);
        },
      });
      const [first = "", second = first] = outcomes.split("|");
      const expectedOutcomes = outcomesOf(direction === "download" ? first : second);
      assertEquals(copied.outcomes, expectedOutcomes, Deno.inspect(copied.errors));
      const codes = Object.values(copied.errors).map((error) => (error as TransferError).code);
      if (expected.codes !== undefined) assertEquals([...new Set(codes)], expected.codes);
      assertEquals(copied.deletedPaths.toSorted(), wordsOf(deleted));
      assertEquals(copied.result.deletionsSkipped, deletionsSkipped);
      for (const [index, path] of copied.deletedPaths.entries()) {
        const innerIndex = copied.deletedPaths.findLastIndex((deletedPath) =>
          deletedPath.startsWith(`${path}/`)
        );
        assertEquals(innerIndex < index, true, `${path} went before what was in it`);
      }
      assertEquals(
        await readTree(trees.target),
        remaining === undefined ? await readTree(trees.source) : treeContent(remaining),
      );
      if (target.includes("../outside/")) {
        const outside = `${trees.target}/../outside`;
        assertEquals(await readTree(outside), {});
        assertEquals((await Deno.stat(outside)).mtime, new Date(TIME * 1000), "not even a part");
      }
      if (changeTrees !== undefined) return;
      for (const [path, outcome] of Object.entries(expectedOutcomes)) {
        if (outcome !== "copied" && outcome !== "unchanged") continue;
        const entries = entriesOf(outcome === "copied" ? source : target);
        // The time of a link is the time of the file that it leads to.
        const { time = TIME } = entries.find((entry) => entry.path === path) ?? {};
        assertEquals((await Deno.stat(`${trees.target}/${path}`)).mtime, new Date(time * 1000));
      }
      if (copied.result.failed > 0) return;
      const { bytes } = dryRun.result;
      assertEquals({ ...dryRun.result, bytes: bytes - reusableBytes }, copied.result);
      assertEquals(dryRun.outcomes, copied.outcomes);
      assertEquals(dryRun.deletedPaths.toSorted(), copied.deletedPaths.toSorted());
      assertEquals(dryRun.events[0], copied.events[0]);
      const { files, deleted: deletedAgain, failed } = (await trees.copy(options)).result;
      assertEquals([files, deletedAgain, failed], [0, 0, 0], "a second run");
    });
  }
}
