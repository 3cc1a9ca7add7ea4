/**
 * Copies a tree between two directories of one disk, with a server of one of them; prints results and outcomes as JSON, for
 * each call. The arguments are the directory above both, the direction, and the options of each call as JSON.
 *
 * @module
 */

import type { TreeOptions } from "@degu/degu/files";
import { FilesApp } from "@degu/degu/files";
import { serve } from "../serving.ts";
import { content, copyTree, type TreeDirection } from "../trees.ts";

const [root = "", direction = "", json = "[]"] = Deno.args;
const isDownload = direction === "download";
const [there, here] = isDownload ? ["source", "target"] : ["target", "source"];
await using serving = serve(new FilesApp(`${root}/${there}`, { list: true, write: true }));
/** Nothing where a part of it can't be read. */
const leftAtTarget = async () => Object.keys(await content(`${root}/target`).catch(() => ({})));
const calls = [];
for (const options of JSON.parse(json) as TreeOptions[]) {
  try {
    const { result, outcomes, deleted, errors } = await copyTree(
      direction as TreeDirection,
      serving.makeClient(),
      `${root}/${here}`,
      "/",
      options,
    );
    const messages = Object.entries(errors).map(([path, error]) => [path, String(error)]);
    const left = await leftAtTarget();
    calls.push({ result, outcomes, deleted, errors: Object.fromEntries(messages), left });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    calls.push({ rejected: `${code}: ${message}`, left: await leftAtTarget() });
  }
}
console.log(JSON.stringify(calls));
