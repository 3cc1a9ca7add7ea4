/** downloadTree and uploadTree with `delete`: what goes, what stays, and what gives way. */
import { assert, assertEquals } from "@std/assert";
import { TransferError } from "@degu/degu/files";
import { tempDir } from "@degu/testing/directories.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { AS_USER, canMount, canRun, MOUNTING } from "@degu/testing/refused_writes.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import {
  both,
  content,
  type CopiedTree,
  DIRECTIONS,
  fill,
  makeTrees,
  type TreeDirection,
} from "@degu/testing/trees.ts";

both("what the source does not have goes, innermost first", async (direction) => {
  await using trees = await makeTrees(
    direction,
    { a: "a", "d/b": "b" },
    { a: "a", "d/c": "c", "d/e/f": "f", "g/h": null },
  );
  const { deleted, result } = await trees.copy({ delete: true });
  assertEquals(deleted.toSorted(), ["d/c", "d/e", "d/e/f", "g", "g/h"]);
  assert(deleted.indexOf("d/e/f") < deleted.indexOf("d/e"));
  assert(deleted.indexOf("g/h") < deleted.indexOf("g"));
  assertEquals([result.deleted, result.failed, result.deletionsKept], [5, 0, null]);
  assertEquals(await content(trees.target), { a: "a", d: null, "d/b": "b" });
});

both("nothing is deleted if the source is empty, or something failed", async (direction) => {
  await using trees = await makeTrees(direction, {}, { a: "a" });
  assertEquals((await trees.copy({ delete: true })).result.deletionsKept, "empty");
  const everything = await trees.copy({ delete: true, filter: ({ path }) => path[0] !== "b" });
  assertEquals(everything.result.deletionsKept, "empty");
  await fill(trees.source, { b: "b", "a/c": "c" });
  const { result, outcomes } = await trees.copy({ delete: true, replace: false });
  assertEquals(outcomes, { b: "copied", "a/c": "failed", a: "failed" });
  assertEquals([result.deletionsKept, result.deleted], ["failed", 0]);
  assertEquals(await content(trees.target), { a: "a", b: "b" });
});

both("what is in the way stays without delete, and gives way with it", async (direction) => {
  for (const filler of ["", "x".repeat(70_000)]) {
    const source = { a: "a" + filler, "b/c": "c" + filler, "b/d/e": "e" + filler, "f/g/": null };
    const target = { "a/x": "x", "a/y/z": "z", b: "a file", f: "another" };
    await using trees = await makeTrees(direction, source, target);
    const kept = await trees.copy();
    assertEquals(kept.outcomes, {
      a: "failed",
      "b/c": "failed",
      "b/d/e": "failed",
      b: "failed",
      f: "failed",
    });
    for (const error of Object.values(kept.errors)) {
      assert(error instanceof TransferError && error.code === "CONFLICT", String(error));
    }
    assertEquals(await content(trees.target), {
      a: null,
      "a/x": "x",
      "a/y": null,
      "a/y/z": "z",
      b: "a file",
      f: "another",
    });
    const { result, deleted, outcomes, errors } = await trees.copy({ delete: true });
    assertEquals(
      outcomes,
      { a: "copied", "b/c": "copied", "b/d/e": "copied" },
      Deno.inspect(errors),
    );
    assertEquals(deleted.toSorted(), ["a", "a/x", "a/y", "a/y/z", "b", "f"]);
    assertEquals([result.files, result.deleted, result.failed], [3, 6, 0]);
    assertEquals(await content(trees.target), await content(trees.source));
  }
});

both(
  "a directory in the way with something in it that must stay is left whole",
  async (direction) => {
    await using trees = await makeTrees(direction, { a: "a", b: "b" }, { "a/x": "x", "b/.z": "z" });
    await makeLinks({ [`${trees.target}/a/link`]: "/nowhere" });
    const before = await content(trees.target);
    const { outcomes, result } = await trees.copy({
      delete: true,
      filter: ({ name }) => name !== ".z",
    });
    assertEquals(outcomes, { a: "failed", b: "failed" });
    assertEquals([result.deleted, result.deletionsKept], [0, "failed"]);
    assertEquals(await content(trees.target), before);
  },
);

both("a file in the way goes only once a file of the directory has arrived", async (direction) => {
  await using trees = await makeTrees(direction, { "a/b": "b" }, { a: "a" });
  await Deno.remove(`${trees.source}/a/b`);
  await Deno.writeTextFile(`${trees.source}/a/b`, "b");
  const onEvent = ({ type }: { readonly type: string }) => {
    if (type === "plan") Deno.removeSync(`${trees.source}/a/b`);
  };
  const { outcomes, result } = await trees.copy({ delete: true, onEvent });
  assertEquals(outcomes, { "a/b": "failed" });
  assertEquals([result.deleted, result.deletionsKept], [0, "failed"]);
  assertEquals(await content(trees.target), { a: "a" });
});

both(
  "a directory in the way that has changed since it was listed is left whole",
  async (direction) => {
    await using trees = await makeTrees(direction, { a: "a" }, { "a/x": "x" });
    const onEvent = ({ type }: { readonly type: string }) => {
      if (type === "plan") Deno.writeTextFileSync(`${trees.target}/a/new`, "new");
    };
    const { outcomes } = await trees.copy({ delete: true, onEvent });
    assertEquals(outcomes, { a: "failed" });
    assertEquals(await content(trees.target), { a: null, "a/new": "new", "a/x": "x" });
  },
);

both("links and special files of the target stay, with their directories", async (direction) => {
  await using trees = await makeTrees(direction, { a: "a" }, { "d/e/f": "f", "d/g": "g" });
  await using elsewhere = await tempDir();
  await fill(elsewhere.path, { inside: "inside" });
  await makeLinks({
    [`${trees.target}/d/e/link`]: elsewhere.path,
    [`${trees.target}/out`]: elsewhere.path,
    // A server lists it as the file.
    [`${trees.target}/to a file`]: "d/g",
  });
  await makeFifo(`${trees.target}/fifo`);
  const { deleted, result } = await trees.copy({ delete: true });
  assertEquals(deleted.toSorted(), ["d/e/f", "d/g"]);
  assertEquals([result.failed, result.deletionsKept], [0, null]);
  assertEquals((await content(trees.target))["d/e/link"], "a link");
  assertEquals(await content(elsewhere.path), { inside: "inside" });
});

both("what has the name of a link of the source stays, and what lies below", async (direction) => {
  await using trees = await makeTrees(direction, { a: "a" }, { "l/x": "x", y: "y" });
  await makeLinks({ [`${trees.source}/l`]: "/nowhere" });
  const { deleted } = await trees.copy({ delete: true });
  assertEquals(deleted, ["y"]);
  assertEquals(await content(trees.target), { a: "a", l: null, "l/x": "x" });
});

both(
  "a link at the target is replaced with delete only; one on the way is never followed",
  async (direction) => {
    await using trees = await makeTrees(direction, {
      a: "a",
      b: "b".repeat(70_000),
      "d/c": "c",
      "e/": null,
      f: "f",
      file: "file",
    }, { file: "file" });
    await using elsewhere = await tempDir();
    await fill(elsewhere.path, { c: "untouched", file: "untouched" });
    const { target } = trees;
    await makeLinks({
      [`${target}/a`]: `${elsewhere.path}/file`,
      [`${target}/b`]: `${elsewhere.path}/file`,
      [`${target}/d`]: elsewhere.path,
      [`${target}/e`]: elsewhere.path,
      // A server lists it as the file.
      [`${target}/f`]: "file",
    });
    const time = new Date("2020-01-01T00:00:00Z");
    for (const end of [trees.source, target]) await Deno.utime(`${end}/file`, time, time);
    const without = await trees.copy();
    assertEquals(without.outcomes, {
      a: "failed",
      b: "failed",
      "d/c": "failed",
      d: "failed",
      e: "failed",
      f: "failed",
      file: "unchanged",
    });
    const { outcomes } = await trees.copy({ delete: true });
    assertEquals(outcomes, {
      a: "copied",
      b: "copied",
      "d/c": "failed",
      d: "failed",
      f: "copied",
      file: "unchanged",
    });
    const { a, d, e, f, file } = await content(target);
    assertEquals([a, d, e, f, file], ["a", "a link", null, "f", "file"]);
    assertEquals(await content(elsewhere.path), { c: "untouched", file: "untouched" });
  },
);

Deno.test("download: what has the place of parts but is none keeps its directory", async () => {
  await using trees = await makeTrees("download", { a: "a" }, { "d/.degu-files/mine": "mine" });
  const { deleted, outcomes } = await trees.copy({ delete: true });
  assertEquals([deleted, outcomes], [[], { a: "copied", d: "failed" }]);
  assertEquals((await content(trees.target))["d/.degu-files/mine"], "mine");
});

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

both("two spellings of a name are two files where the disk keeps both", async (direction) => {
  await using trees = await makeTrees(
    direction,
    { A: "1", a: "2", "D/x": "3", "d/x": "4", "\u00e9": "5", "e\u0301": "6" },
    { "f/F": "f" },
  );
  const { outcomes, result } = await trees.copy({ delete: true });
  assertEquals(Object.values(outcomes), new Array(6).fill("copied"));
  assertEquals([result.files, result.deleted], [6, 2]);
  assertEquals(await content(trees.target), await content(trees.source));
  assertEquals((await trees.copy()).result.unchanged, 6);
});

both("another spelling goes only if both are there", async (direction) => {
  await using trees = await makeTrees(
    direction,
    { "photos/a": "a", "photos/b": "b" },
    { "Photos/a": "a", "Photos/c": "c" },
  );
  const dry = await trees.copy({ delete: true, dryRun: true });
  const { deleted, result } = await trees.copy({ delete: true });
  assertEquals(deleted.toSorted(), ["Photos", "Photos/a", "Photos/c"]);
  assertEquals(dry.result, result);
  assertEquals(await content(trees.target), { photos: null, "photos/a": "a", "photos/b": "b" });
});

/** Copies a tree in a process of its own. */
async function copyElsewhere(
  dir: string,
  direction: TreeDirection,
  through: readonly string[],
  options: readonly object[],
): Promise<CopiedTree[]> {
  const printed = await runProgram("copy_trees.ts", {
    flags: ["--allow-all", ...importMapFlags()],
    args: [dir, direction, JSON.stringify(options)],
    through,
    patience: 60,
  });
  return JSON.parse(printed);
}

const canBeUser = await canRun(...AS_USER);
for (const direction of DIRECTIONS) {
  Deno.test({
    name:
      `${direction}: what can't be read fails, and keeps everything that seems to be superfluous (needs unshare)`,
    ignore: !canBeUser,
    async fn() {
      await using dir = await tempDir();
      await fill(`${dir.path}/source`, {
        a: "a",
        secret: "s",
        "closed/x": "x",
        "unsearched/y": "y",
      });
      await fill(`${dir.path}/target`, { old: "old", "closed/z": "z" });
      const modes = { secret: 0o200, closed: 0o300, unsearched: 0o600 };
      for (const [name, mode] of Object.entries(modes)) {
        await Deno.chmod(`${dir.path}/source/${name}`, mode);
      }
      const options = [{ delete: true }, { delete: true, dryRun: true }];
      const [copied, again] = await copyElsewhere(dir.path, direction, AS_USER, options);
      await Deno.chmod(`${dir.path}/source/unsearched`, 0o700);
      const failed = { secret: "failed", closed: "failed", unsearched: "failed" };
      assertEquals(copied!.outcomes, { a: "copied", ...failed });
      assertEquals([copied!.result.deletionsKept, copied!.result.failed], ["incomplete", 3]);
      assertEquals(again!.outcomes, { a: "unchanged", ...failed });
      assertEquals(await content(`${dir.path}/target`), {
        a: "a",
        closed: null,
        "closed/z": "z",
        old: "old",
      });
    },
  });
}

for (const direction of DIRECTIONS) {
  Deno.test({
    name:
      `${direction}: what can't be read at the target stays, with its directory (needs unshare)`,
    ignore: !canBeUser,
    async fn() {
      await using dir = await tempDir();
      await fill(`${dir.path}/source`, { a: "a" });
      await fill(`${dir.path}/target`, {
        "d/secret": "s",
        "d/old": "o",
        "closed/x": "x",
        old: "o",
      });
      await Deno.chmod(`${dir.path}/target/d/secret`, 0o200);
      await Deno.chmod(`${dir.path}/target/closed`, 0o300);
      const [copied] = await copyElsewhere(dir.path, direction, AS_USER, [{ delete: true }]);
      await Deno.chmod(`${dir.path}/target/closed`, 0o700);
      const { result, deleted } = copied!;
      assertEquals([result.failed, result.deletionsKept], [0, null]);
      assertEquals(deleted.toSorted(), ["d/old", "old"]);
      assertEquals(await content(`${dir.path}/target`), {
        a: "a",
        closed: null,
        "closed/x": "x",
        d: null,
        "d/secret": "s",
      });
    },
  });
}

Deno.test({
  name:
    "download: a directory in the way that can't be removed is left for the file (needs unshare)",
  ignore: !canBeUser,
  async fn() {
    await using dir = await tempDir();
    await fill(`${dir.path}/source`, { a: "a" });
    await fill(`${dir.path}/target`, { "a/1": "1", "a/closed/x": "x", "a/z/2": "2" });
    await Deno.chmod(`${dir.path}/target/a/closed`, 0o500);
    const [copied] = await copyElsewhere(dir.path, "download", AS_USER, [{ delete: true }]);
    await Deno.chmod(`${dir.path}/target/a/closed`, 0o700);
    assertEquals([copied!.outcomes, copied!.deleted], [{ a: "failed" }, []]);
    const left = await content(`${dir.path}/target`);
    assertEquals([left.a, left["a/closed/x"]], [null, "x"]);
    assertEquals(Object.keys(left).filter((path) => path.includes("degu-part")), []);
  },
});

both("a directory in the way with a link by a reserved name loses nothing", async (direction) => {
  await using trees = await makeTrees(direction, { x: "file" }, { "x/a": "a" });
  await makeLinks({ [`${trees.target}/x/.a.degu-part`]: "/nowhere" });
  const { outcomes } = await trees.copy({ delete: true });
  assertEquals(outcomes, { x: "failed" });
  assertEquals(await Deno.readTextFile(`${trees.target}/x/a`), "a");
});

const mayMount = await canMount();
for (const direction of DIRECTIONS) {
  // The mount point itself, and a directory on the other disk, to which an upload can't be renamed.
  for (const path of ["disk", ...direction === "upload" ? ["disk/d"] : []]) {
    Deno.test({
      name:
        `${direction}: what is in the way on another disk is not emptied: ${path} (needs unshare)`,
      ignore: !mayMount,
      async fn() {
        await using dir = await tempDir();
        await fill(dir.path, { [`source/${path}`]: "file", "target/disk": null });
        const script = 'mount -t tmpfs tmpfs "$0/target/disk" && mkdir "$0/target/disk/d" && ' +
          'touch "$0/target/disk/d/precious" && exec "$@"';
        const printed = await runProgram("copy_trees.ts", {
          flags: ["--allow-all", ...importMapFlags()],
          args: [dir.path, direction, JSON.stringify([{ delete: true }])],
          through: [...MOUNTING.slice(0, -1), "-c", script, dir.path],
          patience: 60,
        });
        const [{ left }] = JSON.parse(printed);
        assert(left.includes("disk/d/precious"), printed);
      },
    });
  }
}
