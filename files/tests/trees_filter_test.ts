/** The option `filter` of downloadTree and uploadTree. */
import type { DownloadTreeOptions, TreeEntry } from "@degu/files";
import { readTree } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { listText } from "./directory_entries.ts";

Deno.test.each(DIRECTIONS)(
  "%s: file chooses files in all directories, and the other files of the target are kept",
  async (direction) => {
    const source = { "1.jpg": "1", "2026/2.jpg": "2", "2026/2.txt": "text", "2026/07/3.jpg": "3" };
    const target = { "old.jpg": "old", "old.txt": "kept", "2025/old.txt": "kept" };
    await using trees = await makeTrees(direction, source, target);
    const filter = { file: ({ name }: TreeEntry) => name.endsWith(".jpg") };
    const { result, deletedPaths } = await trees.copy({ filter, delete: true });
    assertEquals([result.files, result.failed], [3, 0]);
    assertEquals(deletedPaths, ["old.jpg"]);
    assertEquals(await readTree(trees.target), {
      "1.jpg": "1",
      "2025": null,
      "2025/old.txt": "kept",
      "2026": null,
      "2026/07": null,
      "2026/07/3.jpg": "3",
      "2026/2.jpg": "2",
      "old.txt": "kept",
    });
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: directory excludes all entries below a refused directory, on both sides, without a call",
  async (direction) => {
    const source = { ".git/config": "1", ".git/refs/head": "1", "a/.git/config": "1", "a/b": "2" };
    await using trees = await makeTrees(direction, source, { ".git/old/x": "kept", "a/old": "" });
    const names: string[] = [];
    const filter = {
      file: ({ path }: TreeEntry) => names.push(path.join("/")) > 0,
      directory: ({ name }: TreeEntry) => name !== ".git",
    };
    const { deletedPaths } = await trees.copy({ filter, delete: true });
    assertEquals([names.sort(), deletedPaths], [["a/b", "a/old"], ["a/old"]]);
    assertEquals(await readTree(trees.target), {
      ".git": null,
      ".git/old": null,
      ".git/old/x": "kept",
      "a": null,
      "a/b": "2",
    });
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: a filter may be an object of a class, and its functions use it as `this`",
  async (direction) => {
    class Extension {
      extension = ".jpg";
      file({ name }: TreeEntry) {
        return name.endsWith(this.extension);
      }
    }
    await using trees = await makeTrees(direction, { "d/1.jpg": "1", "d/1.txt": "1" });
    assertEquals((await trees.copy({ filter: new Extension() })).result.files, 1);
    const filter = { file: undefined, directory: undefined };
    assertEquals((await trees.copy({ filter })).result.files, 1);
  },
);

Deno.test("an invalid filter is refused before the first request", async (t) => {
  await using trees = await makeTrees("upload");
  const accept = () => true;
  const rows: [string, filter: unknown, message: string][] = [
    ["a function", accept, "filter: must be an object, { file, directory }; got a function"],
    ["an async function", async () => {}, "which would also be called for directories"],
    ["a boolean", true, "filter: must be an object; got boolean"],
    ["null", null, "filter: must be an object; got null"],
    [
      "a pattern",
      /\.jpg$/,
      "filter: must be an object with the function `file` or `directory`; got RegExp",
    ],
    ["a set", new Set(["a"]), "must be an object with the function `file` or `directory`; got Set"],
    ["an array", [accept], 'filter: unknown option "0"; the options are directory, file'],
    ["a misspelt name", { files: accept }, 'filter: unknown option "files"'],
    ["a pattern of files", { file: "*.jpg" }, "filter.file: must be a function; got string"],
    ["a pattern of directories", { directory: /a/ }, "filter.directory: must be a function"],
  ];
  await testEachRow(t, rows, async (_name, filter, message) => {
    const options = { filter: filter as NonNullable<DownloadTreeOptions["filter"]> };
    await assertRejects(() => trees.copy(options), TypeError, message);
  });
});

Deno.test("an unreadable entry is passed to the function of its kind, or to both", async () => {
  const modified = "2026-01-02T03:04:05.678Z";
  const unreadable = { kind: "other", size: 0, modified, reason: "unreadable" };
  const entries = [
    { path: ["d"], ...unreadable, isDirectory: true },
    { path: ["f"], ...unreadable, isDirectory: false },
    { path: ["unknown"], ...unreadable },
    { path: ["odd"], ...unreadable, isDirectory: "yes" },
    { path: ["unnamed"], ...unreadable, reason: "name", isDirectory: true },
    { path: ["link"], ...unreadable, reason: "link" },
  ];
  await using trees = await makeTrees("download", {}, {}, async ({ query }, respond) => {
    if (query !== "tree") return null;
    const [status, reason, headers] = await respond();
    return [status, reason, headers, listText([...entries, { end: true }])];
  });
  const run = async (refused: readonly ("file" | "directory")[]) => {
    const calls = { file: [] as string[], directory: [] as string[] };
    const makeFilter = (name: "file" | "directory") => (entry: TreeEntry) => {
      calls[name].push(entry.name);
      return !refused.includes(name);
    };
    const filter = { file: makeFilter("file"), directory: makeFilter("directory") };
    const { outcomes } = await trees.copy({ filter });
    return { calls, reported: Object.keys(outcomes).sort() };
  };
  assertEquals(await run(["file", "directory"]), {
    calls: {
      directory: ["d", "odd", "unknown", "unnamed"],
      file: ["f", "link", "odd", "unknown", "unnamed"],
    },
    reported: [],
  });
  const { reported: reportedWithoutFiles } = await run(["file"]);
  assertEquals(reportedWithoutFiles, ["d", "odd", "unknown", "unnamed"]);
  const { reported: reportedWithoutDirectories } = await run(["directory"]);
  assertEquals(reportedWithoutDirectories, ["f", "link", "odd", "unknown", "unnamed"]);
});
