/** Programs that copy and move trees. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a download that moves | 'move' does not exist in type 'TreeOptions'
- await downloadTree(client, "/a/", "/tmp/a", { move: true });
+ await downloadTree(client, "/a/", "/tmp/a", { delete: true });
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
`,
};
