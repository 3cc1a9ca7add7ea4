/**
 * Runs the suite: the tests, and every code block of the doc comments and the documentation.
 *
 * All arguments go to `deno test`. Without a file among them everything runs; with files, only
 * those. In `--allow-run`, `deno` stands for the executable that runs this, which need not be on
 * the PATH.
 *
 * @module
 */

import { findStandardLibrary, PROJECT_ROOT, runDeno } from "./standard_library.ts";

/** What `deno test --doc` goes through: tests, doc comments, documentation. */
const EVERYTHING = [
  "tests",
  "base",
  "net",
  "misc",
  ...await publicEntries(),
  "README.md",
  "docs",
];

const standardLibrary = await findStandardLibrary();
console.log(standardLibrary.description);
const targets = await namesFile(Deno.args) ? [] : ["--doc", ...EVERYTHING];
const args = Deno.args.map(nameThisDeno);
Deno.exit(await runDeno(["test", ...standardLibrary.flags, ...args, ...targets]));

async function publicEntries(): Promise<string[]> {
  const { exports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)));
  return Object.values<string>(exports);
}

async function namesFile(args: readonly string[]): Promise<boolean> {
  for (const [i, arg] of args.entries()) {
    if (arg.startsWith("-") || args[i - 1] === "--filter") continue;
    if (await exists(arg)) return true;
  }
  return false;
}

function nameThisDeno(arg: string): string {
  const [flag, programs] = arg.split("=", 2);
  if (flag !== "--allow-run" || programs === undefined) return arg;
  return `${flag}=${programs.replace(/\bdeno\b/, () => Deno.execPath())}`;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(new URL(path, PROJECT_ROOT));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
