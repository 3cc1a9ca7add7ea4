/**
 * Copies trees between two directories of one disk, with a server of one of them; prints the
 * results and outcomes of each call as JSON. The argument is a list of jobs, in the format of
 * `copyInProcess` in `trees.ts`.
 */

import { FilesApp } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { serve } from "@degu/testing/serving.ts";
import { type CopyJob, copyTree, type SeparateCopy } from "@degu/testing/trees.ts";

async function copy({ dir, direction, options = { delete: true }, isSettled = false }: CopyJob) {
  using _clock = isSettled ? setClockAhead() : null;
  const [servedName, localName] = direction === "download"
    ? ["source", "target"]
    : ["target", "source"];
  const app = new FilesApp(`${dir}/${servedName}`, { list: true, write: true });
  const requests: string[] = [];
  await using serving = serve((request, session, api) => {
    requests.push(`${request.method} ${request.uri}`);
    return app.handle(request, session, api);
  });
  let copied: Partial<SeparateCopy>;
  try {
    const client = serving.makeClient();
    const { result, outcomes, deletedPaths, errors } = await copyTree(
      direction,
      client,
      `${dir}/${localName}`,
      "/",
      options,
    );
    const errorTexts = Object.entries(errors).map(([path, error]) => {
      const { code, message } = error as { code?: string; message: string };
      return [path, `${code}: ${message}`];
    });
    copied = { result, outcomes, deletedPaths, errors: Object.fromEntries(errorTexts) };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    copied = { rejection: `${code}: ${message}` };
  }
  return { ...copied, requests };
}

const copied = [];
for (const job of JSON.parse(Deno.args[0]!) as CopyJob[]) copied.push(await copy(job));
console.log(JSON.stringify(copied));
