/**
 * Checks the comments of all public modules of all packages, and builds the reference as HTML. A
 * type counts as documented if one of the modules exports it.
 */

import { readEntries } from "./packages.ts";
import { PROJECT_ROOT, runDeno } from "./standard_library.ts";

/** The directory of the HTML; git ignores it. */
const OUTPUT = "reference/";

const entries = [...(await readEntries()).values()];
if (await runDeno(["doc", "--lint", ...entries]) !== 0) Deno.exit(1);

const output = new URL(OUTPUT, PROJECT_ROOT);
// Remove the pages of an earlier build.
await Deno.remove(output, { recursive: true }).catch((error) => {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
});
const build = ["doc", "--quiet", "--html", "--name=Degu", `--output=${OUTPUT}`];
if (await runDeno([...build, ...entries]) !== 0) Deno.exit(1);
console.log(`The reference is in ${OUTPUT}index.html`);
