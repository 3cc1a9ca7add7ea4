/** Programs that copy and move trees. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a download that moves | 'move' does not exist in type 'DownloadTreeOptions'
- await downloadTree(client, "/a/", "/tmp/a", { move: true });
+ await downloadTree(client, "/a/", "/tmp/a", { delete: true });

a filter that is a function | TS2559
- await downloadTree(client, "/a/", "/tmp/a", { filter: (entry: TreeEntry) => entry.name.endsWith(".jpg") });
+ await downloadTree(client, "/a/", "/tmp/a", { filter: { file: ({ name }) => name.endsWith(".jpg") } });

milliseconds for the seconds of settled | RangeError: settled: must be a number of seconds from 0 to 900; got 3000
- await uploadTree(client, "/tmp/a", [], { move: true, settled: 3000 });
+ await uploadTree(client, "/tmp/a", [], { move: true, settled: 3 });

a filter that is an untyped function | TypeError: filter: must be an object, { file, directory }; got a function
- const filter = JSON.parse("{}").filter ?? (({ name }: TreeEntry) => name !== ".git");
- await uploadTree(client, "/tmp/a", [], { filter });
+ await uploadTree(client, "/tmp/a", [], { filter: { directory: ({ name }) => name !== ".git" } });

a filter that returns a promise | TS2322
- await uploadTree(client, "/tmp/a", [], { filter: { file: async ({ name }) => await Promise.resolve(name !== "") } });
+ await uploadTree(client, "/tmp/a", [], { filter: { file: ({ modified }) => modified > new Date(0) } });

a filter without a return | TS2322
- await uploadTree(client, "/tmp/a", [], { filter: { file: ({ name }) => { name.endsWith(".jpg"); } } });
+ await uploadTree(client, "/tmp/a", [], { filter: { file: ({ name }) => name.endsWith(".jpg") } });

a filter with a misspelt function | 'dir' does not exist in type
- await uploadTree(client, "/tmp/a", [], { filter: { dir: ({ name }) => name !== ".git" } });
+ await uploadTree(client, "/tmp/a", [], { filter: { directory: ({ name }) => name !== ".git" } });

a filter that compares a path with a text | TS2367
- await uploadTree(client, "/tmp/a", [], { filter: { directory: ({ path }) => path === "photos" } });
+ await uploadTree(client, "/tmp/a", [], { filter: { directory: ({ path }) => path[0] === "photos" } });
`);

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
  "options of a tree, also those that are built step by step": `
uploadTree(client, "/tmp/a", "/a/", { move: flag, settled: 5, retries: 3, signal });
uploadTree(client, "/tmp/a", "/a/", { move: true, delete: false, compare: undefined });
uploadTree(client, "/tmp/a", "/a/", { move: false, delete: flag, deleteAll: flag, maxDelete: 3 });
const common = { signal, connections: 2 };
uploadTree(client, "/tmp/a", "/a/", { ...common, ...flag ? { move: true } : { delete: true } });
const options: UploadTreeOptions = { delete: true };
if (flag) options.compare = "digest";
uploadTree(client, "/tmp/a", "/a/", options);
const moving: UploadTreeOptions = { move: true };
uploadTree(client, "/tmp/a", "/a/", { ...moving, dryRun: true });
uploadTree(client, "/tmp/a", "/a/", JSON.parse("{}"));
uploadTree(client, "/tmp/a", "/a/", { filter: { file: flag ? ({ size }) => size < 9 : undefined } });
uploadTree(client, "/tmp/a", "/a/", { filter: flag ? { directory: () => true } : undefined });
class Pictures {
  file = ({ name }: TreeEntry) => /\\.jpe?g$/i.test(name);
}
uploadTree(client, "/tmp/a", "/a/", { filter: new Pictures() });
`,
};
