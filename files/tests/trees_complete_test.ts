/** `complete` of the result of downloadTree and uploadTree. */
import type { TreeEntry } from "@degu/files";
import { makeLinks } from "@degu/testing/special_files.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

type Trees = Awaited<ReturnType<typeof makeTrees>>;

const SOURCE = { "a": "1", "d/b": "2" };

Deno.test.each(DIRECTIONS)(
  "%s: a copy is complete if the target has all included files, whatever else it has",
  async (direction) => {
    const rows: [name: string, run: (trees: Trees) => ReturnType<Trees["copy"]>][] = [
      ["all files are copied", (trees) => trees.copy()],
      ["a filter excludes a file", (trees) => trees.copy({ filter: { file: () => false } })],
      ["a filter excludes a link", async (trees) => {
        await makeLinks({ [`${trees.source}/link`]: "a" });
        return await trees.copy({ filter: { file: ({ kind }: TreeEntry) => kind === "file" } });
      }],
      ["a file has a reserved name", async (trees) => {
        await Deno.writeTextFile(`${trees.source}/.a.1.degu-part`, "part");
        return await trees.copy();
      }],
      ["superfluous entries are deleted", (trees) => trees.copy({ delete: true })],
      ["a dry run finds no difference", async (trees) => {
        await trees.copy({ delete: true });
        return await trees.copy({ delete: true, dryRun: true, compare: "digest" });
      }],
    ];
    for (const [name, run] of rows) {
      await using trees = await makeTrees(direction, SOURCE, { "old": "3" });
      assertEquals((await run(trees)).result.complete, true, name);
    }
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: a copy is not complete if an included file is missing at the target, or a deletion",
  async (direction) => {
    const rows: [name: string, run: (trees: Trees) => ReturnType<Trees["copy"]>][] = [
      ["a file has failed", async (trees) => {
        await Deno.mkdir(`${trees.target}/a`);
        return await trees.copy();
      }],
      ["a file is pending", (trees) => trees.copy({ settled: 600 })],
      ["a file is pending at each attempt", (trees) => trees.copy({ settled: 600, retries: 1 })],
      ["a link is skipped", async (trees) => {
        await makeLinks({ [`${trees.source}/link`]: "a" });
        return await trees.copy();
      }],
      ["a link to a directory is skipped", async (trees) => {
        await makeLinks({ [`${trees.source}/link`]: "d" });
        return await trees.copy({ retries: 1 });
      }],
      ["deletions are skipped", (trees) => trees.copy({ delete: true, maxDelete: 0 })],
      ["the source is empty", async (trees) => {
        const filter = { file: () => false, directory: () => false };
        await Deno.remove(`${trees.target}/old`);
        await Deno.writeTextFile(`${trees.target}/other`, "4");
        const isSource = ({ name }: TreeEntry) => name === "other";
        return await trees.copy({ delete: true, filter: { ...filter, file: isSource } });
      }],
      ["a dry run would copy", (trees) => trees.copy({ dryRun: true })],
      ["a dry run would delete", async (trees) => {
        await trees.copy();
        return await trees.copy({ dryRun: true, delete: true });
      }],
    ];
    for (const [name, run] of rows) {
      await using trees = await makeTrees(direction, SOURCE, { "old": "3" });
      assertEquals((await run(trees)).result.complete, false, name);
    }
  },
);
