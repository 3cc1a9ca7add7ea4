/**
 * Runs the suite: the tests, and every code block of the doc comments and the documentation.
 *
 * All arguments go to `deno test`. Without a file, everything runs, in groups of modules; with files, only those, each in a worker
 * of its own. Types are not checked: `deno task check` does that, for all code blocks, too. In `--allow-run`,
 * `deno` stands for the executable that runs this, which need not be on the PATH, and a program that is not
 * installed is left out: Deno would warn of it in every worker.
 *
 * @module
 */

import { isSupportedDeno, MIN_DENO_VERSION } from "../net/deno_version.ts";
import { chooseStandardLibrary, PROJECT_ROOT, runDeno } from "./standard_library.ts";
import { writeTestGroups } from "./test_groups.ts";

if (!isSupportedDeno(Deno.version.deno)) {
  // Older ones fail tests, and some of them abort in the middle of the suite.
  console.error(
    `This is Deno ${Deno.version.deno}, but the suite needs ${MIN_DENO_VERSION} or later: ` +
      'run "deno upgrade" or "npm install --global deno".',
  );
  Deno.exit(1);
}
const flags = await chooseStandardLibrary();
const args = Deno.args.map(nameInstalled);
Deno.exit(await namesFile(Deno.args) ? await runTests([]) : await runEverything());

/** Runs `deno test` with our arguments and others; returns the exit code. */
function runTests(targets: readonly string[]): Promise<number> {
  return runDeno(["test", ...flags, ...args, ...targets]);
}

async function runEverything(): Promise<number> {
  const directory = await Deno.makeTempDir({ prefix: "degu_suite_" });
  try {
    const groups = await writeTestGroups(directory);
    return await runTests(["--doc", ...groups, ...await publishedPaths()]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** The contents of the package: the public modules, their folders and the documentation. */
async function publishedPaths(): Promise<string[]> {
  const { exports, publish } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)),
  );
  const paths: string[] = publish.include;
  return [
    ...Object.values<string>(exports),
    ...paths.filter((path) => !/^(\*\.ts|LICENSE)$/.test(path)),
  ];
}

async function namesFile(args: readonly string[]): Promise<boolean> {
  for (const [i, arg] of args.entries()) {
    if (arg.startsWith("-") || args[i - 1] === "--filter") continue;
    if (await exists(arg)) return true;
  }
  return false;
}

/** Removes missing programs from `--allow-run`, and reports them. */
function nameInstalled(arg: string): string {
  const [flag, programs] = arg.split("=", 2);
  if (flag !== "--allow-run" || programs === undefined) return arg;
  const names = programs.split(",");
  const missing = names.filter((name) => name !== "deno" && !isInstalled(name));
  if (missing.length > 0) {
    console.log(`Not installed, so what needs them is not tested: ${missing.join(", ")}`);
  }
  const installed = names.filter((name) => !missing.includes(name));
  return `${flag}=${installed.map((name) => name === "deno" ? Deno.execPath() : name)}`;
}

/** Whether there is a program of this name on the PATH, or at this path. */
function isInstalled(program: string): boolean {
  const args = ["-c", 'command -v -- "$0" > /dev/null', program];
  return new Deno.Command("sh", { args, stdin: "null" }).outputSync().success;
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
