/**
 * Runs the suite: the tests, and every code block of the doc comments and the documentation.
 *
 * All arguments go to `deno test`. Given files run alone, each in a worker of its own. In a given
 * folder, and in the whole suite if nothing is given, modules share workers, and so do code blocks:
 * each worker has to load the library and compile it. Only the long tests, which wait
 * more than they compute, have workers of their own. Types are not checked: `deno task check` does
 * that, for all code blocks, too. In `--allow-run`, `deno` stands for the running executable, which need not be on the
 * PATH, and a program that is not installed is left out: Deno would warn of it in every worker.
 */

import { isSupportedDeno, MIN_DENO_VERSION } from "../net/deno_version.ts";
import { filesUnder, publishedFiles, readPackages } from "./packages.ts";
import { chooseStandardLibrary, PROJECT_ROOT, runDeno } from "./standard_library.ts";

/**
 * The number of modules that share a worker: with 12 instead of 3 the suite takes a quarter less
 * processor time, but every processor needs work.
 */
const MODULES_PER_WORKER = 12;
/**
 * The number of workers for a folder: with fewer, a processor would have no work while another
 * worker waits.
 */
const FOLDER_WORKERS = 4;
/** The limit of the RAM disk. The suite needs a fifth of it. */
const RAM_DISK = "1g";
const packages = await readPackages();
/** The folders of tests. */
const TESTS = packages.map(({ directory }) => `${directory}tests/`);
/** What runs only if it is named: `deno task test:long` does. */
const LONG_TESTS = TESTS.map((folder) => `${folder}long/`);
/** The folders with slow modules, which are spread over all workers except the last. */
const SLOW_TESTS = [
  ...TESTS.slice(1),
  ...["tests/examples/", "tests/integration/", "tests/project/"],
];
const LAST_WORKERS = 3;
/** The number of workers for code blocks: two instead of six take a fifth less processor time. */
const CODE_BLOCK_WORKERS = 2;

if (!isSupportedDeno(Deno.version.deno)) {
  // An older Deno fails tests, and may abort in the middle of the suite.
  console.error(
    `This is Deno ${Deno.version.deno}, but the suite needs ${MIN_DENO_VERSION} or later: ` +
      'run "deno upgrade" or "npm install --global deno".',
  );
  Deno.exit(1);
}
const flags = await chooseStandardLibrary();
const args = Deno.args.map(nameInstalled);
const directory = await Deno.makeTempDir({ prefix: "degu_" });
let code: number;
try {
  code = await run();
} finally {
  await Deno.remove(directory, { recursive: true });
}
Deno.exit(code);

/** Runs `deno test` with what is named, or with everything; returns the exit code. */
async function run(): Promise<number> {
  const named = await pathsIn(Deno.args);
  const targets = named.size > 0
    ? (await Promise.all(innermost([...named.values()]).map(targetsOf))).flat()
    : [...await writeTestGroups(), ...await writeCodeBlocks()];
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const options = args.slice(0, end).filter((_, i) => !named.has(i));
  const all = ["test", ...flags, ...options, ...targets, ...args.slice(end)];
  // Tests of long/ are about disks, and some need more space than there is memory.
  const onDisk = [...named.values()].some(({ path }) => isIn(folderOf(path), LONG_TESTS));
  return await runDeno(all, onDisk ? [] : await ramDisk());
}

/**
 * A command that runs another one with a RAM disk as directory for temporary files: a test waits
 * for no disk, and leaves nothing behind. Only this command sees the mount, which ends with it. It
 * is no command, and tests take the disk of `TMPDIR`, where the system lets this user mount nothing
 * (in most containers), or where there is no unshare.
 */
async function ramDisk(): Promise<string[]> {
  const path = `${directory}/t`;
  await Deno.mkdir(path);
  const mount = `mount -t tmpfs -o size=${RAM_DISK} tmpfs "$0" && export TMPDIR="$0" && exec`;
  const uid = Deno.uid();
  const command = uid === 0
    ? ["unshare", "--mount", "sh", "-c", `${mount} "$@"`, path]
    // The first namespace may mount; the second has this user again, without any privilege.
    : [
      ...["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"],
      ...[`${mount} unshare --user --map-user=${uid} --map-group=${Deno.gid()} "$@"`, path],
    ];
  const [program = "", ...args] = [...command, "true"];
  const options: Deno.CommandOptions = { args, stdin: "null", stdout: "null", stderr: "null" };
  const { success } = await new Deno.Command(program, options).output()
    .catch(() => ({ success: false }));
  return success ? command : [];
}

/**
 * Leaves out a folder beside what it holds, and the folders of long tests beside one of them:
 * `deno task test:long FILE` runs the file alone.
 */
function innermost(all: readonly Target[]): Target[] {
  const isInside = (one: Target, folder: string) =>
    folderOf(one.path).startsWith(folder) && folderOf(one.path) !== folder;
  const isLongFolder = ({ path }: Target) => LONG_TESTS.includes(folderOf(path));
  const hasLong = all.some((each) => !isLongFolder(each) && isIn(folderOf(each.path), LONG_TESTS));
  return all.filter((one) =>
    !(hasLong && isLongFolder(one)) && !all.some((other) => isInside(other, folderOf(one.path)))
  );
}

function folderOf(path: string): string {
  return `${path.replace(/\/+$/, "")}/`;
}

/**
 * What `deno test` runs for a path that was given: a folder is replaced by modules that import its
 * own.
 */
async function targetsOf({ path, isDirectory }: Target): Promise<string[]> {
  const folder = folderOf(path);
  if (!isDirectory || isIn(folder, LONG_TESTS)) return [path];
  const modules = (await filesUnder(folder)).filter(isQuickTest);
  if (modules.length === 0) return [path];
  const groups = new Array<string>(Math.min(FOLDER_WORKERS, modules.length)).fill("");
  for (const [i, module] of modules.entries()) groups[i % groups.length] += importOf(module);
  return await writeGroups(folder.replaceAll("/", "-") + "tests", groups);
}

function importOf(module: string): string {
  return `import "${new URL(module, PROJECT_ROOT)}";\n`;
}

/** Writes modules that each import some test modules, and returns their paths. */
async function writeTestGroups(): Promise<string[]> {
  const modules = (await Promise.all(TESTS.map(filesUnder)))
    .flat()
    .filter(isQuickTest)
    .sort((a, b) => Number(isIn(b, SLOW_TESTS)) - Number(isIn(a, SLOW_TESTS)));
  const groups = new Array<string>(Math.ceil(modules.length / MODULES_PER_WORKER)).fill("");
  // Modules of one folder take about the same time, so they go to different workers.
  for (const [i, module] of modules.entries()) {
    const count = isIn(module, SLOW_TESTS) ? groups.length - LAST_WORKERS : groups.length;
    groups[i % count] += importOf(module);
  }
  return await writeGroups("tests", groups);
}

async function writeGroups(name: string, groups: readonly string[]): Promise<string[]> {
  return await Promise.all(groups.map(async (text, i) => {
    const path = `${directory}/${name}-${i + 1}.ts`;
    await Deno.writeTextFile(path, text);
    return path;
  }));
}

/**
 * Writes the published code blocks as modules, and modules that each test some of them; returns
 * their paths.
 */
async function writeCodeBlocks(): Promise<string[]> {
  const groups = new Array<string>(CODE_BLOCK_WORKERS).fill("");
  let count = 0;
  const published = (await Promise.all(packages.map(publishedFiles))).flat();
  for (const path of published.filter((path) => /\.(ts|md)$/.test(path))) {
    for (const { line, code } of await codeBlocks(path)) {
      const module = `./block-${++count}.ts`;
      await Deno.writeTextFile(`${directory}/${module}`, code);
      let test = `import "${module}";\n`;
      if (!code.includes("Deno.test(")) {
        // The imports of a block are loaded before it runs: resources that a module keeps open are
        // not the block's.
        test = code.match(/(?<= from |^import )"[^"]+";/gm)!.map((name) =>
          `import ${name}\n`
        ).join("") +
          `Deno.test("${path}:${line}", async () => void await import("${module}"));\n`;
      }
      groups[count % CODE_BLOCK_WORKERS] += test;
    }
  }
  return await writeGroups("code", groups);
}

/** The code blocks of a page or of a module's doc comments, with the lines at which they begin. */
async function codeBlocks(path: string): Promise<{ line: number; code: string }[]> {
  const url = new URL(path, PROJECT_ROOT);
  const text = await Deno.readTextFile(url);
  const plain = path.endsWith(".ts") ? text.replaceAll(/^ *\* ?/gm, "") : text;
  return Array.from(plain.matchAll(/^```ts\n(.*?)^```$/gms), ({ 1: code, index }) => ({
    line: plain.slice(0, index).split("\n").length,
    // The module lies in another place than the page.
    code: code!.replaceAll(
      /import\.meta\.(?:url|resolve\("(\.[^"]*)"\))/g,
      (_, relative = "") => `"${new URL(relative, url)}"`,
    ),
  }));
}

function isQuickTest(path: string): boolean {
  return path.endsWith("_test.ts") && !isIn(path, LONG_TESTS);
}

function isIn(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path.startsWith(folder));
}

interface Target {
  readonly path: string;
  readonly isDirectory: boolean;
}

/** The arguments that are paths of files and folders, by their places. */
async function pathsIn(args: readonly string[]): Promise<Map<number, Target>> {
  const found = new Map<number, Target>();
  for (const [i, arg] of args.entries()) {
    const path = arg.replace(/^\.\//, "");
    if (path === "--") break;
    if (path.startsWith("-") || args[i - 1] === "--filter") continue;
    const info = await Deno.stat(new URL(path, PROJECT_ROOT)).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (info !== undefined) found.set(i, { path, isDirectory: info.isDirectory });
  }
  return found;
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

function isInstalled(program: string): boolean {
  const args = ["-c", 'command -v -- "$0" > /dev/null', program];
  return new Deno.Command("sh", { args, stdin: "null" }).outputSync().success;
}
