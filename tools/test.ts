/**
 * Runs the suite: the tests, and every code block of the doc comments and the documentation.
 *
 * Passes its arguments to `deno test`. If no argument is a path, the suite runs, or in a directory
 * with tests of its own, such as `files/`, its part of the suite. `deno task check` checks the types, also of all code blocks.
 * In `--allow-run`, `deno` is replaced by the path of the running executable, which may not be in the
 * PATH. Programs that are not installed are removed from this flag, because Deno would print a
 * warning about them in every worker.
 */

import { existsSync } from "node:fs";
import { relative } from "node:path";
import { isSupportedDeno, MIN_DENO_VERSION } from "../net/tls/deno_version.ts";
import { listPublishedFiles, readPackages, readTestFolders } from "./packages.ts";
import { chooseStandardLibrary, PROJECT_ROOT, runDeno } from "./standard_library.ts";

/** The maximum size of the RAM disk. The suite needs 20 % of it. */
const RAM_DISK = "1g";
/** The user's directory, as a path from the project's directory; empty for this directory. */
const START = formatDirectory(relative(Deno.cwd(), Deno.env.get("INIT_CWD") ?? ""));
const ALL_TESTS = await readTestFolders();
const OWN_TESTS = ALL_TESTS.filter((folder) => folder === `${START}tests`);
const TESTS = START === "" || OWN_TESTS.length === 0 ? ALL_TESTS : OWN_TESTS;
/** The folders of tests that run only if they are named, as `deno task test:long` does. */
const LONG_TESTS = ALL_TESTS.map((folder) => `${folder}/long`);
/** The number of workers for code blocks. Two need 20 % less processor time than six. */
const CODE_BLOCK_WORKERS = 2;
/** The number of modules that wait for peers and timers beside those that compute. */
const WAITING_JOBS = 2;

if (!isSupportedDeno(Deno.version.deno)) {
  // With an older Deno, tests fail, and the suite may abort.
  console.error(
    `This is Deno ${Deno.version.deno}, but the suite needs ${MIN_DENO_VERSION} or later: ` +
      'run "deno upgrade" or "npm install --global deno".',
  );
  Deno.exit(1);
}
if (!Deno.env.has("DENO_JOBS")) {
  Deno.env.set("DENO_JOBS", `${navigator.hardwareConcurrency + WAITING_JOBS}`);
}
const flags = await chooseStandardLibrary();
const directory = await Deno.makeTempDir({ prefix: "degu_" });
let exitCode: number;
try {
  exitCode = await run();
} finally {
  await Deno.remove(directory, { recursive: true });
}
Deno.exit(exitCode);

async function run(): Promise<number> {
  const paths = Deno.args.map(findPath);
  const namedPaths = paths.filter((path) => path !== null);
  const hasLongTest = namedPaths.some((path) => LONG_TESTS.some((long) => path.includes(long)));
  const testArgs = [
    "test",
    ...flags,
    ...hasLongTest ? [] : [`--ignore=${LONG_TESTS}`],
    ...namedPaths.length > 0 ? [] : [...TESTS, ...await writeCodeBlocks()],
    ...Deno.args.map((arg, i) => paths[i] ?? removeMissingPrograms(arg)),
  ];
  // Some tests of long/ need real disks, or more space than a RAM disk has.
  return await runDeno(testArgs, hasLongTest ? [] : await findRamDiskCommand());
}

/**
 * Returns the path of an argument from the project's directory, or `null` if it isn't a path. A path
 * of nothing is returned too, because without it the suite would run.
 */
function findPath(arg: string, index: number): string | null {
  const previousArg = Deno.args[index - 1] ?? "";
  if (arg.startsWith("-") || previousArg === "--filter") return null;
  const path = [START + arg, arg].find(exists);
  // The argument may be the value of an option.
  const isMaybeValue = previousArg.startsWith("-") && !previousArg.includes("=");
  return path ?? (isMaybeValue ? null : START + arg);
}

/** Returns false outside of the project's directory, which this program can't read. */
function exists(path: string): boolean {
  try {
    return existsSync(new URL(path, PROJECT_ROOT));
  } catch {
    return false;
  }
}

function formatDirectory(path: string): string {
  return path === "" ? "" : `${path}/`;
}

/**
 * Returns a command that runs another command with a RAM disk as the directory for temporary files,
 * so that tests don't wait for a disk, and leave no files. The mount is visible only to this
 * command, and ends with it. Returns an empty command if the user can't mount (as in most
 * containers), or `unshare` isn't installed. Then tests use the disk of `TMPDIR`.
 */
async function findRamDiskCommand(): Promise<string[]> {
  const path = `${directory}/t`;
  await Deno.mkdir(path);
  const mount = `mount -t tmpfs -o size=${RAM_DISK} tmpfs "$0" && export TMPDIR="$0" && exec`;
  const uid = Deno.uid();
  const command = uid === 0
    ? ["unshare", "--mount", "sh", "-c", `${mount} "$@"`, path]
    // To mount, the user must be root in a namespace. A second namespace restores the user.
    : [
      "unshare",
      "--user",
      "--map-root-user",
      "--mount",
      "sh",
      "-c",
      `${mount} unshare --user --map-user=${uid} --map-group=${Deno.gid()} "$@"`,
      path,
    ];
  const [program = "", ...args] = [...command, "true"];
  const options: Deno.CommandOptions = { args, stdin: "null", stdout: "null", stderr: "null" };
  const { success } = await new Deno.Command(program, options).output()
    .catch(() => ({ success: false }));
  return success ? command : [];
}

/** Writes each code block to a module that is named after its page, and returns what runs them. */
async function writeCodeBlocks(): Promise<string[]> {
  const groups = new Array<string>(CODE_BLOCK_WORKERS).fill("");
  let count = 0;
  const publishedPaths = (await Promise.all((await readPackages()).map(listPublishedFiles))).flat();
  const start = TESTS === ALL_TESTS ? "" : START;
  const paths = publishedPaths.filter((path) => path.startsWith(start));
  for (const path of paths.filter((path) => /\.(ts|md)$/.test(path))) {
    for (const { line, code } of await readCodeBlocks(path)) {
      const module = `./${path.replaceAll("/", "_")}_${line}.ts`;
      await Deno.writeTextFile(`${directory}/${module}`, code);
      let test = `import "${module}";\n`;
      if (!code.includes("Deno.test(")) {
        // Load the imports of a block before the test, so that resources that the imported modules
        // keep open don't count as leaks of the block.
        test = code.match(/(?<= from |^import )"[^"]+";/gm)!.map((name) =>
          `import ${name}\n`
        ).join("") +
          `Deno.test("${path}:${line}", async () => void await import("${module}"));\n`;
      }
      groups[count++ % CODE_BLOCK_WORKERS] += test;
    }
  }
  return await Promise.all(groups.map(async (text, i) => {
    const path = `${directory}/code-${i + 1}.ts`;
    await Deno.writeTextFile(path, text);
    return path;
  }));
}

async function readCodeBlocks(path: string): Promise<{ line: number; code: string }[]> {
  const url = new URL(path, PROJECT_ROOT);
  const text = await Deno.readTextFile(url);
  const markdown = path.endsWith(".ts") ? text.replaceAll(/^ *\* ?/gm, "") : text;
  return Array.from(markdown.matchAll(/^```ts\n(.*?)^```$/gms), ({ 1: code, index }) => ({
    line: markdown.slice(0, index).split("\n").length,
    // Resolve URLs, because the module isn't in the directory of the page.
    code: code!.replaceAll(
      /import\.meta\.(?:url|resolve\("(\.[^"]*)"\))/g,
      (_, relative = "") => `"${new URL(relative, url)}"`,
    ),
  }));
}

function removeMissingPrograms(arg: string): string {
  const [flag, programs] = arg.split("=", 2);
  if (flag !== "--allow-run" || programs === undefined) return arg;
  const names = programs.split(",");
  const missingNames = names.filter((name) => name !== "deno" && !isInstalled(name));
  if (missingNames.length > 0) {
    console.log(`Not installed, so tests that need them are skipped: ${missingNames.join(", ")}`);
  }
  const installedNames = names.filter((name) => !missingNames.includes(name));
  return `${flag}=${installedNames.map((name) => name === "deno" ? Deno.execPath() : name)}`;
}

function isInstalled(program: string): boolean {
  const args = ["-c", 'command -v -- "$0" > /dev/null', program];
  return new Deno.Command("sh", { args, stdin: "null" }).outputSync().success;
}
