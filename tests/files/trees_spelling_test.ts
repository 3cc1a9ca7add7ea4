/** downloadTree and uploadTree: names that the disk of the target spells its own way, over FUSE. */
import type { Response } from "@degu/degu";
import {
  downloadTree,
  FilesApp,
  type TreeOptions,
  type TreeResult,
  uploadTree,
} from "@degu/degu/files";
import { content, fill, tempDir } from "@degu/testing/directories.ts";
import { scriptOnOddDisk } from "@degu/testing/odd_disk.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { copyElsewhere, type CopyJob, DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { canRun, MOUNTING } from "./refused_writes.ts";

/** The command that runs the command behind it where `disk` in a directory spells names so. */
async function mounting(dir: string, how: string): Promise<string[]> {
  return [...MOUNTING, await scriptOnOddDisk(dir, how), dir];
}

async function canSpell(): Promise<boolean> {
  await using dir = await tempDir();
  return await canRun(...await mounting(dir.path, "strip /dev/null"));
}

type Tree = Readonly<Record<string, string | null>>;

interface Expected {
  /** The outcomes: a failed one with a `!`, an unchanged one with a `=`, a skipped one with a `~`. */
  readonly outcomes: string;
  readonly deleted?: string;
  readonly kept?: TreeResult["deletionsKept"];
  /** The paths because of which something is kept. */
  readonly respelled?: string;
  /** The target in the end. */
  readonly left: Tree;
  /**
   * The result of a second run, which copies and deletes nothing, says of what is kept; that of the
   * first if it is left out.
   */
  readonly again?: TreeResult["deletionsKept"];
  /** With a server that can't tell its names, too, or only. */
  readonly older?: true | "only";
}

type Row = readonly [
  name: string,
  spelling: "strip" | "fold" | "nfd",
  source: Tree,
  target: Tree,
  options: TreeOptions,
  expected: Expected,
];

const DELETE = { delete: true };
const LARGE = "x".repeat(70_000);
/** In place of a content: a link to a directory. */
const LINK = "a link";

const rows: readonly Row[] = [
  ["what was copied is not deleted by the next run", "strip", { "a.": "1", b: "2" }, {}, DELETE, {
    outcomes: "a. b",
    left: { a: "1", b: "2" },
    again: "spelling",
  }],
  [
    "beside a name that is spelled otherwise nothing is deleted; a directory that is not is judged by its own",
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
        a: "1",
        d: null,
        "d/x": "2",
        e: null,
        "e/f": null,
        "e/f/old": "6",
        "e/y": "3",
        f: null,
        "f/old": "5",
        old: "3",
      },
    },
  ],
  [
    "a file is copied over what is superfluous, if that is the same file",
    "strip",
    { "a.": "11" },
    { a: "2" },
    DELETE,
    { outcomes: "a.", kept: "spelling", respelled: "a.", left: { a: "11" } },
  ],
  ["of two names that are one file the second fails", "strip", { a: "1", "a.": "2" }, {}, DELETE, {
    outcomes: "a !a.",
    kept: "failed",
    left: { a: "1" },
    older: true,
  }],
  [
    "of two names that are one directory the second fails, with all below it",
    "strip",
    { "d/x": "1", "d./x": "2", "d./y/z": "3" },
    { "d/old": "4" },
    DELETE,
    {
      outcomes: "d/x !d. !d./x !d./y/z",
      kept: "failed",
      left: { d: null, "d/old": "4", "d/x": "1" },
      older: true,
    },
  ],
  [
    "two names that are a file and a directory",
    "fold",
    { "a": "1", "A/x": "2", "B": "3", "b/y": "4" },
    {},
    DELETE,
    {
      // Directories are made first.
      outcomes: "A/x !a b/y !B",
      kept: "failed",
      left: { a: null, "a/x": "2", b: null, "b/y": "4" },
      older: true,
    },
  ],
  ["a change of case alone", "fold", { "A": "1", "b": "2" }, { a: "1", b: "old" }, DELETE, {
    outcomes: "A b",
    kept: "spelling",
    respelled: "A",
    left: { a: "1", b: "2" },
  }],
  [
    "a directory that is spelled otherwise keeps all below it",
    "fold",
    { "Dir/Sub/x": "1", "Dir/e": null },
    { "dir/sub/x": "0", "dir/sub/old": "2", "dir/old": "3" },
    DELETE,
    {
      outcomes: "Dir/Sub/x",
      kept: "spelling",
      respelled: "Dir",
      left: {
        dir: null,
        "dir/e": null,
        "dir/old": "3",
        "dir/sub": null,
        "dir/sub/old": "2",
        "dir/sub/x": "1",
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
    {
      a: "0",
      b: "2",
    },
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
    "what is in the way by another spelling stays",
    "fold",
    { A: "1", "B/x": "2" },
    { "a/y": "3", b: "4" },
    DELETE,
    {
      outcomes: "!A !B !B/x",
      kept: "spelling",
      respelled: "A",
      left: { a: null, "a/y": "3", b: "4" },
    },
  ],
  [
    "what has the name of something that is skipped stays",
    "strip",
    { "a.": LINK, b: "2" },
    { a: "1", b: "2", "c/d": "3" },
    DELETE,
    {
      outcomes: "~a. b",
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
    "of two names that are one file the later copy fails, though its name is the first",
    "fold",
    { A: `1${LARGE}`, a: "2" },
    {},
    { connections: 1 },
    { outcomes: "!A a", left: { a: "2" } },
  ],
  [
    "a server that can't tell its names",
    "strip",
    { "a.": "1", b: "2", "d./x": "3", "l.": LARGE, f: "8", "f./z": "9" },
    { a: "5", "d/y": "6", l: "7", "f/z": "0" },
    DELETE,
    {
      outcomes: "!a. b !d. !d./x !l. !f !f. !f./z",
      kept: "failed",
      left: { a: "5", b: "2", d: null, "d/y": "6", f: null, "f/z": "0", l: "7" },
      older: "only",
    },
  ],
];

const MARKS: Readonly<Record<string, string>> = {
  "": "copied",
  "=": "unchanged",
  "!": "failed",
  "~": "skipped: link",
};

/** Outcomes in words; `_` stands for a space at the end of a name. */
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
  name: "a disk that spells names its own way (needs unshare, FUSE and python3-fusepy)",
  ignore: !await canSpell(),
  async fn(t) {
    const spellings = ["strip", "fold", "nfd"].flatMap((spelling) => [
      [spelling, `${spelling} /dev/null`],
      [spelling, `${spelling} /dev/null renumber`],
    ]) as [string, string][];
    await using dir = await tempDir();
    const jobs: { row: Row; job: CopyJob; title: string; target: string }[] = [];
    // All disks for one process, which copies all trees.
    const through: string[] = [...MOUNTING, 'exec "$@"', "sh"];
    for (const [spelling, how] of spellings) {
      const place = `${dir.path}/${how.replaceAll(/\W+/g, "-")}`;
      through.push("sh", "-c", await scriptOnOddDisk(place, how), place);
      for (const row of rows.filter((row) => row[1] === spelling)) {
        const [name, , source, target, options, { older }] = row;
        const ways = [
          ...older === "only" ? [] : DIRECTIONS.map((direction) => [direction, false] as const),
          ...older === undefined ? [] : [["upload", true] as const],
        ];
        for (const [direction, isOlder] of ways) {
          const at = `${jobs.length}`;
          const job = { dir: `${place}/${at}`, direction, options, isOlder };
          await fill(`${job.dir}/source`, source);
          for (const path of Object.keys(source).filter((path) => source[path] === LINK)) {
            await Deno.remove(`${job.dir}/source/${path}`);
            await makeLinks({ [`${job.dir}/source/${path}`]: "." });
          }
          const there = `${place}/backing/${at}`;
          await fill(`${place}/backing`, { [at]: null });
          await fill(there, target);
          // No two files have the same time.
          let time = 1_600_000_000;
          for (const [root, tree] of [[there, target], [`${job.dir}/source`, source]] as const) {
            for (const path of Object.keys(tree)) {
              time += 10;
              await Deno.utime(`${root}/${path}`, time, time);
            }
          }
          await makeLinks({ [`${job.dir}/target`]: `../disk/${at}` });
          const title = `${how}: ${name}, ${direction}${isOlder ? ", an older server" : ""}`;
          jobs.push({ row, job, title, target: there });
        }
      }
    }
    const all = jobs.map(({ job }) => job);
    const copied = await copyElsewhere(through, [...all, ...all]);
    for (const [at, { row: [, , , , options, expected], title, target }] of jobs.entries()) {
      await t.step(title, async () => {
        const shown = Deno.inspect(copied[at], { depth: 5 });
        const { outcomes, deleted, result } = copied[at]!;
        const { kept = null, left, respelled } = expected;
        const told = outcomesOf(expected.outcomes);
        assertEquals(outcomes, told, shown);
        assertEquals(deleted.toSorted(), wordsOf(expected.deleted), shown);
        assertEquals(result.deletionsKept, kept, shown);
        const paths = result.respelled?.map((path) => path.join("/").replace(/ $/, "_"));
        assertEquals(paths?.toSorted(), respelled === undefined ? undefined : wordsOf(respelled));
        const shorter = (tree: Tree) => {
          return Object.entries(tree).map(([path, text]) => [path, text?.slice(0, 9) ?? null]);
        };
        assertEquals(shorter(await content(target)).toSorted(), shorter(left).toSorted(), shown);
        const again = copied[jobs.length + at]!;
        const isStuck = kept === "failed" || Object.values(told).includes("failed");
        const expectedAgain = isStuck ? kept : expected.again ?? kept;
        for (const [path, outcome] of Object.entries(again.outcomes)) {
          // What has failed once can fail earlier, with what is in it.
          const isFine = outcome === "unchanged" || outcome === "skipped: link" ||
            outcome === "failed" && isStuck;
          assertEquals([isFine, outcome], [true, outcome], `${path}: ${Deno.inspect(again)}`);
        }
        assertEquals(again.deleted, []);
        assertEquals(again.result.deletionsKept, options.delete ? expectedAgain : null);
      });
    }
  },
});

Deno.test("bundle=names tells what a list tells, and only with list: true", async () => {
  await using dir = await tempDir();
  await fill(dir.path, {
    "served/a": "1",
    "served/d/b": "2",
    "served/.degu-files/x": "3",
    "out/x": "4",
  });
  await makeLinks({ [`${dir.path}/served/link`]: "../out" });
  const rows: [path: string[], record: string][] = [
    [["a"], '{"status":200,"name":"a"}'],
    [["A"], '{"status":404}'],
    [["d"], '{"status":200,"name":"d"}'],
    [["d", "b"], '{"status":200,"name":"b"}'],
    [["none", "b"], '{"status":404}'],
    [["a", "b"], '{"status":404}'],
    [["link"], '{"status":200,"name":"link"}'],
    [["link", "x"], '{"status":404}'],
    [[".degu-files"], '{"status":404}'],
    [[".degu-files", "x"], '{"status":404}'],
    [[".."], '{"status":404}'],
    [["..", "out", "x"], '{"status":404}'],
    [[""], '{"status":404}'],
    [["n".repeat(300)], '{"status":404}'],
    [Array.from({ length: 2000 }, () => "d"), '{"status":404}'],
  ];
  const body = new TextEncoder().encode(rows.map(([path]) => `${JSON.stringify(path)}\n`).join(""));
  for (const list of [true, false]) {
    await using serving = serve(new FilesApp(`${dir.path}/served`, { list }));
    using conn = await serving.makeClient().connect();
    const { status, body: answer } = await conn.request("POST", "/?bundle=names", {}, body);
    assertEquals(status, list ? 200 : 404);
    if (!list) continue;
    const lines = new TextDecoder().decode(await answer!.bytes()).trimEnd().split("\n");
    assertEquals(lines, [...rows.map(([, record]) => record), '{"end":true}']);
  }
});

Deno.test("bundle=names can't tell what is in a directory that the disk does not give; it tells other names, and those that nothing has, also without descriptors", async () => {
  await using dir = await tempDir();
  await fill(dir.path, { "a": "1", "d/b": "2" });
  const damaged = `${await Deno.realPath(dir.path)}/d`;
  let code = "EIO";
  using _damaged = patch(Deno, "readDir", (readDir) => (path) => {
    if (path === damaged) throw Object.assign(new Error(code), { code });
    return readDir(path);
  });
  await using serving = serve(new FilesApp(dir.path, { list: true }));
  const ask = (paths = '["d","b"]\n["d","none"]\n["a"]\n') => {
    const body = new TextEncoder().encode(paths);
    return serving.makeClient().request("POST", "/?bundle=names", {}, body);
  };
  const linesOf = async ({ body }: Response) => {
    return new TextDecoder().decode(await body!.bytes()).trimEnd().split("\n").slice(0, -1);
  };
  assertEquals(await linesOf(await ask()), [
    '{"status":409}',
    '{"status":404}',
    '{"status":200,"name":"a"}',
  ]);
  code = "EMFILE";
  assertEquals(await linesOf(await ask('["d","none"]\n')), ['{"status":404}']);
  const tooManyOpen = async () => {
    const { status, headers } = await ask();
    assertEquals([status, headers["retry-after"]], [503, "1"]);
  };
  await tooManyOpen();
  using _untold = patch(Deno, "realPathSync", () => () => {
    throw Object.assign(new Error(code), { code });
  });
  await tooManyOpen();
});

Deno.test("upload: a dry run foresees that two names are one file at the target, which has it already, or one directory", async () => {
  const names = new TextEncoder().encode(
    '{"status":200,"name":"a"}\n{"status":200,"name":"d"}\n{"end":true}\n',
  );
  await using trees = await makeTrees(
    "upload",
    { "A": "1", "D/y": "5", "a": "2", "d/x": "6" },
    { "a": "33", "d/x": "77", "old": "4" },
    (app) => async (...args) => {
      const answer = await app.handle(...args);
      if (args[0].query !== "bundle=names") return answer;
      const [status, reason, headers] = answer;
      return [status, reason, headers, names];
    },
  );
  const { outcomes, errors } = await trees.copy({ delete: true, dryRun: true });
  assertEquals(outcomes, {
    "A": "failed",
    "D": "failed",
    "D/y": "failed",
    "a": "copied",
    "d/x": "copied",
  });
  assertMatch(String(errors["A"]), /A.* and .*a.* are one file at the target/);
  assertMatch(String(errors["D"]), /D.* and .*d.* are one directory at the target/);
});

Deno.test("upload: where the target can't tell which name it has something by, that fails, and nothing there gives way to another kind", async () => {
  const source = { "a": "1", "A/x": "2" };
  const untold = new TextEncoder().encode('{"status":409}\n{"end":true}\n');
  await using trees = await makeTrees(
    "upload",
    source,
    { "a/x": "3" },
    (app) => async (...args) => {
      const answer = await app.handle(...args);
      if (args[0].query !== "bundle=names") return answer;
      const [status, reason, headers] = answer;
      return [status, reason, headers, untold];
    },
  );
  const { outcomes, deleted, errors } = await trees.copy({ delete: true });
  assertEquals([outcomes, deleted], [{ "A": "failed", "A/x": "failed", "a": "failed" }, []]);
  assertMatch(String(errors["A"]), /the target has it by another name, and can't tell which/);
  assertEquals(await content(trees.target), { "a": null, "a/x": "3" });
});

Deno.test("upload: what is at a server that does not list is replaced, or compared with replace: false", async () => {
  await using dir = await tempDir();
  const large = "x".repeat(70_000);
  await fill(dir.path, { "source/a": "1", "source/d/b": "2", "source/d/e": null });
  await fill(dir.path, { "source/large": large, served: null });
  await using serving = serve(new FilesApp(`${dir.path}/served`, { write: true }));
  const upload = (options: TreeOptions = {}) => {
    return uploadTree(serving.makeClient(), `${dir.path}/source`, "/", options);
  };
  assertEquals((await upload()).files, 3);
  await fill(dir.path, { "source/a": "3", "source/new": "4" });
  const { files, failed } = await upload();
  assertEquals([files, failed], [4, 0]);
  assertEquals(await content(`${dir.path}/served`), await content(`${dir.path}/source`));
  await fill(dir.path, { "source/a": "5", "source/newer": "6" });
  const kept = await upload({ replace: false });
  assertEquals([kept.files, kept.failed, kept.bytes], [4, 1, 1]);
});

Deno.test("download: a large file whose part was not listed, as if it were that of another name, is copied last", async () => {
  await using dir = await tempDir();
  const large = "x".repeat(70_000);
  await fill(dir.path, { "source/a": large, "source/b": large, target: null });
  await using serving = serve(new FilesApp(`${dir.path}/source`, { list: true }));
  const copied: string[] = [];
  const { failed } = await downloadTree(serving.makeClient(), "/", `${dir.path}/target`, {
    connections: 1,
    onEvent(event) {
      if (event.type === "plan") Deno.writeTextFileSync(`${dir.path}/target/.a.degu-part`, "y");
      if (event.type === "copied") copied.push(event.path.join("/"));
    },
  });
  assertEquals([copied, failed], [["b", "a"], 0]);
  assertEquals(await content(`${dir.path}/target`), { a: large, b: large });
});

Deno.test("upload: names are asked for only where the target also has others, many in a request", async () => {
  await using dir = await tempDir();
  await fill(`${dir.path}/source`, { "new/a": "1", "d/b": "2" });
  for (let i = 0; i < 600; i++) await fill(`${dir.path}/source`, { [`e/${i}`]: "" });
  // A reserved name is never sent, so nobody asks for it.
  await fill(`${dir.path}/source`, { "f/.a.degu-part": "4" });
  await fill(`${dir.path}/target`, { "d/": null, "e/old": "3", "f/old": "5" });
  const asked: number[] = [];
  const app = new FilesApp(`${dir.path}/target`, { list: true, write: true });
  await using serving = serve(async (request, ...others) => {
    const answer = await app.handle(request, ...others);
    if (request.query === "bundle=names") {
      const text = new TextDecoder().decode(answer[3] as Uint8Array);
      asked.push(text.split("\n").length - 2);
    }
    return answer;
  });
  const { files, deleted } = await uploadTree(
    serving.makeClient(),
    `${dir.path}/source`,
    "/",
    DELETE,
  );
  assertEquals([files, deleted], [602, 2]);
  assertEquals(asked.toSorted(), [512, 88]);
});
