/**
 * Copies trees between two directories of one disk, with a server of one of them; prints results and outcomes as JSON, for
 * each call. The argument is a list of jobs, as `copyElsewhere` in `trees.ts` has them.
 */

import { FilesApp } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { content } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { type CopiedElsewhere, type CopyJob, copyTree } from "@degu/testing/trees.ts";

async function copy(
  { dir, direction, options = { delete: true }, isLater = false }: CopyJob,
) {
  using _clock = isLater ? setClockAhead() : null;
  const [there, here] = direction === "download" ? ["source", "target"] : ["target", "source"];
  const app = new FilesApp(`${dir}/${there}`, { list: true, write: true });
  await using serving = serve(app);
  let copied: Partial<CopiedElsewhere>;
  try {
    const client = serving.makeClient();
    const { result, outcomes, deleted } = await copyTree(
      direction,
      client,
      `${dir}/${here}`,
      "/",
      options,
    );
    copied = { result, outcomes, deleted };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    copied = { rejected: `${code}: ${message}` };
  }
  // Nothing where a part of it can't be read.
  const left = Object.keys(await content(`${dir}/target`).catch(() => ({})));
  return { ...copied, left };
}

const copied = [];
for (const job of JSON.parse(Deno.args[0]!) as CopyJob[]) copied.push(await copy(job));
console.log(JSON.stringify(copied));
