/**
 * Type-checks every module of the project and every code block of its documentation; the tests against the `@std` packages that
 * are available.
 *
 * @module
 */

import { chooseStandardLibrary, PROJECT_ROOT, runDeno } from "./standard_library.ts";

// A folder stands for the modules in it, whose doc comments are checked, but not for its pages.
const pages = [...await pagesIn("."), ...await pagesIn("docs")];
Deno.exit(await runDeno(["check", "--doc", ...await chooseStandardLibrary(), ".", ...pages]));

/** The paths of the Markdown files in a folder. */
async function pagesIn(folder: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(new URL(folder, PROJECT_ROOT)));
  const names = entries.filter(({ name }) => name.endsWith(".md")).map(({ name }) => name);
  return names.sort().map((name) => `${folder}/${name}`);
}
