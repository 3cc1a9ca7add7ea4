/** `delete` with a source that lacks most files of the target: the call changes nothing. */
import { TransferError, type UploadTreeOptions } from "@degu/files";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const TIME = new Date("2026-01-02T03:04:05.678Z");

/** Makes files of distinct sizes, so that none of them looks like a renamed file. */
function makeFiles(prefix: string, count: number, size = 0): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`${prefix}${index}`, "x".repeat(size + index)]),
  );
}

interface Row {
  readonly name: string;
  readonly source: Record<string, string | null>;
  readonly target: Record<string, string | null>;
  readonly options?: UploadTreeOptions;
  /** The numbers of deleted and found files in the error; by default the call is complete. */
  readonly refusal?: readonly [deleted: number, found: number, renamed?: number];
}

const STAYING = makeFiles("same", 11);

const ROWS: readonly Row[] = [
  {
    name: "11 files would go and 10 stay",
    source: { ...makeFiles("same", 10), new: "new" },
    target: { ...makeFiles("same", 10), ...makeFiles("old", 11, 100) },
    refusal: [11, 21],
  },
  {
    name: "11 files would go and 11 stay",
    source: { ...STAYING, new: "new" },
    target: { ...STAYING, ...makeFiles("old", 11, 100) },
  },
  {
    name: "10 files would go and none stays",
    source: { new: "new" },
    target: makeFiles("old", 10),
  },
  {
    name: "files of a directory that a file replaces would go",
    source: { d: "file" },
    target: makeFiles("d/old", 11, 100),
    refusal: [11, 11],
  },
  {
    name: "the directory was renamed",
    source: makeFiles("b/", 20),
    target: makeFiles("a/", 20),
  },
  {
    name: "each added file stands for one deleted file",
    source: makeFiles("b/", 5),
    target: { ...makeFiles("a/", 5), ...makeFiles("c/", 11) },
    refusal: [11, 16, 5],
  },
  {
    name: "excluded files count on neither side",
    source: { ...makeFiles("same", 3), ...makeFiles("x", 20) },
    target: { ...makeFiles("same", 3), ...makeFiles("x", 20), ...makeFiles("old", 11, 100) },
    options: { filter: { file: ({ name }) => !name.startsWith("x") } },
    refusal: [11, 14],
  },
];

for (const { name, source, target, options = {}, refusal } of ROWS) {
  const outcome = refusal === undefined ? "copies and deletes as told" : "changes nothing";
  Deno.test.each(DIRECTIONS)(`%s: delete ${outcome}: ${name}`, async (direction) => {
    await using trees = await makeTrees(direction, source, target);
    for (const dir of [trees.source, trees.target]) await setTimes(dir);
    const before = await listTree(trees.target);
    for (const dryRun of [true, false, false]) {
      const { result, events } = await trees.copy({ delete: true, dryRun, ...options });
      if (refusal === undefined) {
        assertEquals(result.deletionsSkipped, null);
        if (!dryRun) break;
        continue;
      }
      const [deleted, found, renamed] = refusal;
      const renamedText = renamed === undefined ? "" : ` (${renamed} others count as renamed)`;
      assertEquals([result.deletionsSkipped, result.failed, result.files], ["half", 1, 0]);
      const failed = events.filter((event) => event.type === "failed");
      const [{ error, path, at }] = failed as [typeof failed[number]];
      assert(error instanceof TransferError);
      assertEquals([error.code, path, at], ["OVER_HALF", [], "target"]);
      assertStringIncludes(
        error.message,
        `${deleted} of ${found} files would be deleted${renamedText}, more than stay, `,
      );
      assertStringIncludes(error.message, "set move: true in place of delete");
      assertEquals(await listTree(trees.target), before);
    }
    if (refusal === undefined) return;
    const copyAll = () => trees.copy({ delete: true, deleteAll: true, ...options });
    const { result } = await copyAll();
    assertEquals(result.deletionsSkipped, null);
    // The first call only deletes an entry in the way.
    assertEquals(result.complete || (await copyAll()).result.complete, true);
  });
}

async function listTree(dir: string, below = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    paths.push(`${below}${name}`);
    if (isDirectory) paths.push(...await listTree(`${dir}/${name}`, `${below}${name}/`));
  }
  return paths.sort();
}

async function setTimes(dir: string): Promise<void> {
  for (const path of await listTree(dir)) {
    if ((await Deno.lstat(`${dir}/${path}`)).isFile) await Deno.utime(`${dir}/${path}`, TIME, TIME);
  }
}
