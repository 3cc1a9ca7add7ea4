/**
 * Runs the suite: the tests, and every code block of the doc comments and the documentation.
 *
 * Passes its arguments to `deno test`. Each file among the arguments runs in its own worker. In the
 * whole suite and in a folder among the arguments, several modules or code blocks share a worker,
 * because each worker must load and compile the library. Only the long tests, which mostly wait,
 * have their own workers. `deno task check` checks the types, also of all code blocks. In
 * `--allow-run`, `deno` is replaced by the path of the running executable, which may not be in the
 * PATH. Programs that are not installed are removed from this flag, because Deno would print a
 * warning about them in every worker.
 */

import { isSupportedDeno, MIN_DENO_VERSION } from "../net/deno_version.ts";
import { listFiles, listPublishedFiles, readPackages } from "./packages.ts";
import { chooseStandardLibrary, PROJECT_ROOT, runDeno } from "./standard_library.ts";

/**
 * The number of modules that share a worker. Each worker takes 0.6 s of processor time to load and
 * compile the library. With more modules, some processors would be idle.
 */
const MODULES_PER_WORKER = 24;
/**
 * The number of workers for a folder. With fewer, a processor would be idle while a worker waits.
 */
const FOLDER_WORKERS = 4;
/** The maximum size of the RAM disk. The suite needs 20 % of it. */
const RAM_DISK = "1g";
const packages = await readPackages();
const TESTS = packages.map(({ directory }) => `${directory}tests/`);
/** The folders of tests that run only if they are named, as `deno task test:long` does. */
const LONG_TESTS = TESTS.map((folder) => `${folder}long/`);
/**
 * The folders with slow modules, which are distributed among all workers except the last
 * {@linkcode WORKERS_WITHOUT_SLOW_TESTS}.
 */
const SLOW_TESTS = [
  ...TESTS.slice(1),
  "tests/examples/",
  "tests/integration/",
  "tests/project/",
];
const WORKERS_WITHOUT_SLOW_TESTS = 3;
/**
 * The modules that take 8 s or more, because they wait or start processes: each row is distributed
 * among the workers with slow modules, and the sums of the columns are similar, so that no worker
 * runs for long after the others.
 */
const SLOWEST_TESTS = [
  "agent/tests/transfers_test.ts",
  "agent/tests/mdns_test.ts",
  "tests/net/tls/socket_test.ts",
  "files/tests/full_disks_test.ts",
  "tests/project/permissions_agent_test.ts",
  "tests/project/examples_test.ts",
  "agent/tests/number_prompt_test.ts",
  "tests/types/programs_test.ts",

  "files/tests/replace_grown_test.ts",
  "agent/tests/file_commands_test.ts",
  "agent/tests/device_commands_test.ts",
  "agent/tests/streams_test.ts",
  "agent/tests/serve_test.ts",
  "agent/tests/send_test.ts",
  "tests/examples/backup_test.ts",
  "files/tests/changed_files_test.ts",

  "device/tests/join_processes_test.ts",
  "device/tests/number_attacks_test.ts",
  "agent/tests/errors_test.ts",
  "files/tests/move_test.ts",
  "tests/net/tls/authority_test.ts",
];
/** The number of workers for code blocks. Two need 20 % less processor time than six. */
const CODE_BLOCK_WORKERS = 2;

if (!isSupportedDeno(Deno.version.deno)) {
  // With an older Deno, tests fail, and the suite may abort.
  console.error(
    `This is Deno ${Deno.version.deno}, but the suite needs ${MIN_DENO_VERSION} or later: ` +
      'run "deno upgrade" or "npm install --global deno".',
  );
  Deno.exit(1);
}
const flags = await chooseStandardLibrary();
const args = Deno.args.map(removeMissingPrograms);
const directory = await Deno.makeTempDir({ prefix: "degu_" });
let exitCode: number;
try {
  exitCode = await run();
} finally {
  await Deno.remove(directory, { recursive: true });
}
Deno.exit(exitCode);

async function run(): Promise<number> {
  const paths = await findTargets(Deno.args);
  const targets = paths.size > 0
    ? (await Promise.all(dropOuterFolders([...paths.values()]).map(expandTarget))).flat()
    : [...await writeTestGroups(), ...await writeCodeBlocks()];
  const optionsEnd = args.includes("--") ? args.indexOf("--") : args.length;
  const options = args.slice(0, optionsEnd).filter((_, i) => !paths.has(i));
  const testArgs = ["test", ...flags, ...options, ...targets, ...args.slice(optionsEnd)];
  // Some tests of long/ need real disks, or more space than a RAM disk has.
  const needsDisk = [...paths.values()].some(({ path }) => isIn(folderOf(path), LONG_TESTS));
  return await runDeno(testArgs, needsDisk ? [] : await findRamDiskCommand());
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

/**
 * Removes a folder if another target is inside, and the folders of long tests if another target is
 * a long test: `deno task test:long FILE` runs only the file.
 */
function dropOuterFolders(targets: readonly Target[]): Target[] {
  const isInside = ({ path }: Target, folder: string) =>
    folderOf(path).startsWith(folder) && folderOf(path) !== folder;
  const isLongFolder = ({ path }: Target) => LONG_TESTS.includes(folderOf(path));
  const hasLongTest = targets.some((target) =>
    !isLongFolder(target) && isIn(folderOf(target.path), LONG_TESTS)
  );
  return targets.filter((target) =>
    !(hasLongTest && isLongFolder(target)) &&
    !targets.some((otherTarget) => isInside(otherTarget, folderOf(target.path)))
  );
}

function folderOf(path: string): string {
  return `${path.replace(/\/+$/, "")}/`;
}

/**
 * Returns the paths that `deno test` runs for a target: a file itself, or for a folder new modules
 * that each import some of its modules.
 */
async function expandTarget({ path, isDirectory }: Target): Promise<string[]> {
  const folder = folderOf(path);
  if (!isDirectory || isIn(folder, LONG_TESTS)) return [path];
  const modules = (await listFiles(folder)).filter(isQuickTest);
  if (modules.length === 0) return [path];
  const groups = new Array<string>(Math.min(FOLDER_WORKERS, modules.length)).fill("");
  for (const [i, module] of modules.entries()) groups[i % groups.length] += formatImport(module);
  return await writeGroups(folder.replaceAll("/", "-") + "tests", groups);
}

function formatImport(module: string): string {
  return `import "${new URL(module, PROJECT_ROOT)}";\n`;
}

/** Returns the position of a module in the order of the distribution: slow modules are first. */
function rankOf(module: string): number {
  const index = SLOWEST_TESTS.indexOf(module);
  if (index >= 0) return index;
  return SLOWEST_TESTS.length + (isIn(module, SLOW_TESTS) ? 0 : 1);
}

async function writeTestGroups(): Promise<string[]> {
  const modules = (await Promise.all(TESTS.map(listFiles)))
    .flat()
    .filter(isQuickTest)
    .sort((a, b) => rankOf(a) - rankOf(b));
  const groups = new Array<string>(Math.ceil(modules.length / MODULES_PER_WORKER)).fill("");
  // Distribute the modules of a folder among the workers, because they take about the same time.
  for (const [i, module] of modules.entries()) {
    const count = rankOf(module) <= SLOWEST_TESTS.length
      ? groups.length - WORKERS_WITHOUT_SLOW_TESTS
      : groups.length;
    groups[i % count] += formatImport(module);
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

async function writeCodeBlocks(): Promise<string[]> {
  const groups = new Array<string>(CODE_BLOCK_WORKERS).fill("");
  let count = 0;
  const publishedPaths = (await Promise.all(packages.map(listPublishedFiles))).flat();
  for (const path of publishedPaths.filter((path) => /\.(ts|md)$/.test(path))) {
    for (const { line, code } of await readCodeBlocks(path)) {
      const module = `./block-${++count}.ts`;
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
      groups[count % CODE_BLOCK_WORKERS] += test;
    }
  }
  return await writeGroups("code", groups);
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

async function findTargets(args: readonly string[]): Promise<Map<number, Target>> {
  const targets = new Map<number, Target>();
  for (const [i, arg] of args.entries()) {
    const path = arg.replace(/^\.\//, "");
    if (path === "--") break;
    if (path.startsWith("-") || args[i - 1] === "--filter") continue;
    const info = await Deno.stat(new URL(path, PROJECT_ROOT)).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (info !== undefined) targets.set(i, { path, isDirectory: info.isDirectory });
  }
  return targets;
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
