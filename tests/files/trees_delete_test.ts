/** downloadTree and uploadTree with `delete`: what goes, what stays, and what gives way. */
import { assert, assertEquals } from "@std/assert";
import { TransferError, type TreeResult } from "@degu/degu/files";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { AS_USER, canMount, canRun, MOUNTING } from "@degu/testing/refused_writes.ts";
import {
  both,
  content,
  copyElsewhere,
  type CopyJob,
  DIRECTIONS,
  fill,
  makeTrees,
  type TreeDirection,
} from "@degu/testing/trees.ts";

both("left-over parts go with their directory, one that is held stays", async (direction) => {
  await using trees = await makeTrees(
    direction,
    { a: "a" },
    { "d/.x.degu-part": "x", "d/.x.degu-part.json": "{}", "e/.y.degu-part": "y" },
  );
  using held = await Deno.open(`${trees.target}/e/.y.degu-part`, { write: true });
  held.lockSync(true);
  const { deleted, outcomes, errors } = await trees.copy({ delete: true });
  assertEquals(deleted, ["d"]);
  assertEquals(outcomes, { a: "copied", e: "failed" });
  assert(errors.e instanceof TransferError, String(errors.e));
  if (direction === "download") assertEquals(errors.e.code, "IN_USE");
  assertEquals(Object.keys(await content(trees.target)), ["a", "e", "e/.y.degu-part"]);
});

/** A tree of which this user may not read, search or write everything. */
interface ClosedRow {
  readonly name: string;
  /** Paths that begin with `source` or `target`, with their modes. */
  readonly modes: Readonly<Record<string, number>>;
  readonly source: Readonly<Record<string, string>>;
  readonly target: Readonly<Record<string, string>>;
  readonly outcomes: Readonly<Record<string, string>>;
  readonly deleted: readonly string[];
  readonly kept: TreeResult["deletionsKept"];
  /** The files at the target then. */
  readonly left: readonly string[];
  readonly only?: TreeDirection;
}

const closedRows: readonly ClosedRow[] = [
  {
    name: "what can't be read fails, and keeps everything that seems to be superfluous",
    modes: { "source/secret": 0o200, "source/closed": 0o300, "source/unsearched": 0o600 },
    source: { a: "a", secret: "s", "closed/x": "x", "unsearched/y": "y" },
    target: { old: "old", "closed/z": "z" },
    outcomes: { a: "copied", secret: "failed", closed: "failed", unsearched: "failed" },
    deleted: [],
    kept: "incomplete",
    left: ["a", "closed/z", "old"],
  },
  {
    name: "what can't be read at the target stays, with its directory",
    modes: { "target/d/secret": 0o200, "target/closed": 0o300 },
    source: { a: "a" },
    target: { "d/secret": "s", "d/old": "o", "closed/x": "x", old: "o" },
    outcomes: { a: "copied" },
    deleted: ["d/old", "old"],
    kept: null,
    left: ["a", "closed/x", "d/secret"],
  },
  {
    // It is not said what else in it is gone.
    name: "a directory in the way that can't be removed is left for the file",
    modes: { "target/a/closed": 0o500 },
    source: { a: "a" },
    target: { "a/closed/x": "x" },
    outcomes: { a: "failed" },
    deleted: [],
    kept: "failed",
    left: ["a/closed/x"],
    only: "download",
  },
];

Deno.test({
  name: "what a user may not read, search or write fails alone, or stays (needs unshare)",
  ignore: !await canRun(...AS_USER),
  async fn() {
    await using dir = await tempDir();
    const jobs = closedRows.flatMap((row, i) => {
      return (row.only === undefined ? DIRECTIONS : [row.only]).map((direction) => {
        return { row, dir: `${dir.path}/${i}${direction}`, direction };
      });
    });
    for (const { row, dir } of jobs) {
      await fill(`${dir}/source`, row.source);
      await fill(`${dir}/target`, row.target);
      for (const [path, mode] of Object.entries(row.modes)) {
        await Deno.chmod(`${dir}/${path}`, mode);
      }
    }
    const all = await copyElsewhere(AS_USER, [
      ...jobs,
      ...jobs.map((job) => ({ ...job, options: { delete: true, dryRun: true } })),
    ]);
    for (const [i, { row, dir, direction }] of jobs.entries()) {
      for (const path of Object.keys(row.modes)) await Deno.chmod(`${dir}/${path}`, 0o700);
      const { outcomes, deleted, result } = all[i]!;
      const shown = `${direction}: ${row.name}: ${Deno.inspect(all[i])}`;
      assertEquals([outcomes, deleted.toSorted()], [row.outcomes, row.deleted], shown);
      assertEquals(result.deletionsKept, row.kept, shown);
      const left = Object.entries(await content(`${dir}/target`));
      assertEquals(left.flatMap(([path, text]) => text === null ? [] : path), row.left, shown);
      // Without an attempt nobody knows whether a directory can be removed.
      if (row.kept === "failed") continue;
      const again = Object.entries(row.outcomes).map(([path, outcome]) => {
        return [path, outcome === "copied" ? "unchanged" : outcome];
      });
      assertEquals(all[jobs.length + i]!.outcomes, Object.fromEntries(again), shown);
    }
  },
});

Deno.test({
  name: "what is in the way on another disk is not emptied (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await tempDir();
    // The mount point itself, and a directory on the other disk, to which an upload can't be renamed.
    const rows = [["download", "disk"], ["upload", "disk"], ["upload", "disk/d"]] as const;
    const jobs: CopyJob[] = rows.map(([direction], i) => ({ dir: `${dir.path}/${i}`, direction }));
    for (const [i, [, path]] of rows.entries()) {
      await fill(`${dir.path}/${i}`, { [`source/${path}`]: "file", "target/disk": null });
    }
    // Nothing is in the way: a download may reach over disks, wherever an app keeps its unfinished files.
    jobs.push({ dir: `${dir.path}/reaching`, direction: "download" });
    await fill(`${dir.path}/reaching`, {
      "source/disk/d/precious": "",
      "source/disk/new/file": "file",
      "target/disk": null,
      [`target/${RESERVED}`]: null,
    });
    const script = 'for disk in "$0"/*/target/disk; do mount -t tmpfs tmpfs "$disk" && ' +
      'mkdir "$disk/d" && touch "$disk/d/precious" || exit; done; exec "$@"';
    const copied = await copyElsewhere([...MOUNTING, script, dir.path], jobs);
    for (const { left } of copied) assert(left.includes("disk/d/precious"), Deno.inspect(copied));
    assert(copied.at(-1)!.left.includes("disk/new/file"), Deno.inspect(copied));
  },
});
