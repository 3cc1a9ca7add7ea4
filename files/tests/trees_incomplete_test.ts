/** downloadTree and uploadTree with an incomplete copy: they reject, unless `partial` is set. */
import { isTransient } from "@degu/degu";
import { downloadTree, type TransferError, uploadTree, type UploadTreeOptions } from "@degu/files";
import { assertTransferError, type ChangeResponse } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";

type Trees = Awaited<ReturnType<typeof makeTrees>>;

/** Copies a tree with the default options of a caller. */
function copy({ direction, client, source, target }: Trees, options: UploadTreeOptions = {}) {
  return direction === "download"
    ? downloadTree(client, "/tree/", target, options)
    : uploadTree(client, source, "/tree/", options);
}

const catchIncomplete = (copying: () => Promise<unknown>) =>
  assertTransferError(copying, "INCOMPLETE");

const LARGE = "l".repeat(70_000);
const onEvent = () => {};

Deno.test.each(DIRECTIONS)(
  "%s: a call with a failed file copies the rest and rejects; with partial: true it resolves",
  async (direction) => {
    await using trees = await makeTrees(direction, { x: "1", y: "2", z: "3" }, {
      "x/a": "2",
      "y/a": "",
    });
    const dryRunResult = await copy(trees, { dryRun: true, onEvent });
    assertEquals([dryRunResult.files, dryRunResult.failed], [1, 2]);
    const errors: unknown[] = [];
    const error = await catchIncomplete(() =>
      copy(trees, {
        delete: true,
        maxDelete: 0,
        onEvent: (event) => void (event.type === "failed" && errors.push(event.error)),
      })
    );
    const { files, failed, deletionsSkipped } = error.result!;
    assertEquals([files, failed, deletionsSkipped], [1, 3, "limit"]);
    assertEquals(errors.length, 3);
    assertEquals(error.cause, errors[0]);
    assertStringIncludes(error.message, "3 entries could not be copied or deleted; the first: ");
    assertStringIncludes(error.message, (errors[0] as Error).message);
    assertEquals(isTransient(error), false);
    const singleError = await catchIncomplete(() =>
      copy(trees, { filter: { file: ({ name }) => name !== "y" }, onEvent })
    );
    const problem = '1 entry could not be copied or deleted: "x": a directory';
    assertStringIncludes(singleError.message, problem);
    const partial = await copy(trees, { partial: true, onEvent });
    assertEquals([partial.unchanged, partial.failed], [1, 2]);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: an empty source that would delete all entries of the target rejects the call",
  async (direction) => {
    await using trees = await makeTrees(direction, {}, { old: "1" });
    const error = await catchIncomplete(() => copy(trees, { delete: true }));
    const { failed, deletionsSkipped } = error.result!;
    assertEquals([failed, deletionsSkipped], [0, "empty"]);
    const advice = "is its disk mounted? To delete all entries, set deleteAll: true";
    assertStringIncludes(error.message, advice);
    assertEquals(isTransient(error), false, "no file has failed");
    assertEquals((await copy(trees, { delete: true, dryRun: true })).deletionsSkipped, "empty");
    assertEquals((await copy(trees, { delete: true, partial: true })).deletionsSkipped, "empty");
    assertEquals((await copy(trees)).deletionsSkipped, null);
    assertEquals((await copy(trees, { delete: true, deleteAll: true })).deleted, 1);
    const secondResult = await copy(trees, { delete: true });
    assertEquals(secondResult.deletionsSkipped, null, "no superfluous entry remains");
  },
);

/** Makes trees whose large files are interrupted until a function is called. */
async function makeBreaking(direction: TreeDirection, target: Record<string, string> = {}) {
  let isCut = true;
  const cut: ChangeResponse = ({ method, path }) => {
    if (isCut && method !== "HEAD" && path.at(-1) === "large") throw new Error("it breaks off");
    return null;
  };
  const trees = await makeTrees(direction, { large: LARGE, x: "1" }, target, cut);
  return Object.assign(trees, { mend: () => void (isCut = false) });
}

Deno.test.each(DIRECTIONS)(
  "%s: the error of a call is transient exactly if the error of each failed file is",
  async (direction) => {
    await using trees = await makeBreaking(direction);
    const error = await catchIncomplete(() => copy(trees, { onEvent }));
    const { files, failed } = error.result!;
    assertEquals([files, failed, isTransient(error), isTransient(error.cause)], [1, 1, true, true]);
    await using otherTrees = await makeBreaking(direction, { "x/a": "1" });
    const mixedError = await catchIncomplete(() => copy(otherTrees, { onEvent }));
    assertEquals([mixedError.result!.failed, isTransient(mixedError)], [2, false]);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: a dry run is complete only if it finds no difference",
  async (direction) => {
    await using trees = await makeTrees(direction, { "d/a": "1" }, { old: "2" });
    const isComplete = async (options: UploadTreeOptions) =>
      (await copy(trees, { ...options, compare: "digest" })).complete;
    assertEquals(await isComplete({ dryRun: true }), false, "it would copy");
    assertEquals(await isComplete({}), true);
    assertEquals(await isComplete({ dryRun: true, delete: true }), false, "it would delete");
    assertEquals(await isComplete({ delete: true }), true);
    assertEquals(await isComplete({ dryRun: true, delete: true }), true);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: an error names the entry in the way, and whether the next call copies the file",
  async (direction) => {
    const rows: [source: string, target: string, kind: string, other: string][] = [
      ["a", "a/b", "directory", "file"],
      ["a/b", "a", "file", "directory"],
    ];
    for (const [source, target, kind, other] of rows) {
      await using trees = await makeTrees(direction, { [source]: "1" }, { [target]: "22" });
      const obstacle = `a ${kind} has this name at the target; `;
      const advice = "remove or rename one of the two, " +
        "or set delete: true, which deletes the entry, and call twice";
      const kept = await trees.copy();
      assertStringIncludes(`${kept.errors["a"]}`, `"a": ${obstacle}${advice}`);
      assertEquals((kept.errors["a"] as TransferError).code, "IN_THE_WAY");
      const deleted = await trees.copy({ delete: true });
      const next = `if this run deletes the ${kind}, the next run copies the ${other}`;
      assertStringIncludes(`${deleted.errors["a"]}`, obstacle + next);
    }
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: the error of a call that would delete most files of the target has their number",
  async (direction) => {
    const names = Array.from({ length: 16 }, (_, index) => `${index}`);
    const target = Object.fromEntries(names.map((name) => [`old/${name}`, "1".repeat(20)]));
    const source = Object.fromEntries(
      names.slice(0, 5).map((name) => [`new/${name}`, "1".repeat(20)]),
    );
    await using trees = await makeTrees(direction, source, target);
    // Files of the same size and time count as renamed.
    for (const path of Object.keys(source)) await Deno.utime(`${trees.source}/${path}`, 1, 1);
    for (const path of Object.keys(target)) await Deno.utime(`${trees.target}/${path}`, 1, 1);
    const { events, result } = await trees.copy({ delete: true });
    assertEquals([result.deletionsSkipped, result.failed, result.files], ["half", 1, 0]);
    const [failed] = events.filter((event) => event.type === "failed");
    const { code, message } = failed!.error as TransferError;
    assertEquals([code, failed!.path, failed!.at], ["OVER_HALF", [], "target"]);
    const renamed = "11 of 16 files would be deleted (5 others count as renamed), more than stay, ";
    assertStringIncludes(message, renamed);
    assertStringIncludes(message, "set move: true in place of delete");
  },
);
