/**
 * Runs the tests of files, devices and the program with the Windows version of Deno under Wine.
 * Then two devices pair and exchange files: two Windows devices, and one of each system. The first
 * run installs Wine below /tmp.
 *
 * The arguments are test modules or folders; by default all. `--no-minute` skips the devices,
 * `--minute` runs only the devices, and `--here` runs the tests on a real Windows, without Wine.
 *
 * Exits with 1 if a test fails, if a test passes that tests/wine/rows.ts expects to fail, or if all
 * tests ran and a row of that table is not a test.
 */

import { ROWS, TEST_FOLDERS } from "../tests/wine/rows.ts";
import { OFFLINE_IMPORT_MAP, PROJECT_ROOT } from "./standard_library.ts";
import { findWineObstacles, installWine, type Wine } from "./wine.ts";

const IMPORT_MAP_FLAGS = ["--import-map", OFFLINE_IMPORT_MAP];
const TEST_ARGUMENTS = [
  "test",
  "--no-check",
  "--allow-all",
  "--preload",
  "tests/wine/preload.ts",
  ...IMPORT_MAP_FLAGS,
];
/** The systems of two devices that pair: the serving device, and the other device. */
const SYSTEM_PAIRS = [["windows", "windows"], ["windows", "linux"], ["linux", "windows"]];
/** The arguments of `unshare` that run a command in a new network namespace with an empty /run. */
const NAMESPACE_ARGUMENTS = [
  "--net",
  "--mount",
  "sh",
  "-c",
  'mount -t tmpfs tmpfs /run && exec "$@"',
  "lab",
];

const namedPaths = Deno.args.filter((arg) => !arg.startsWith("--"));
const hasOption = (option: string) => Deno.args.includes(`--${option}`);
const modules =
  (await Promise.all((namedPaths.length > 0 ? namedPaths : TEST_FOLDERS).map(listModules)))
    .flat();
const wine = hasOption("here") ? null : await prepareWine();
let hasPassed = hasOption("minute") || await runTests();
if (wine !== null && !hasOption("no-minute")) {
  for (const systems of SYSTEM_PAIRS) hasPassed = await pairDevices(wine, systems) && hasPassed;
}
if (wine !== null) await Deno.remove(wine.script);
Deno.exit(hasPassed ? 0 : 1);

async function prepareWine(): Promise<Wine> {
  const obstacles = await findWineObstacles();
  if (obstacles.length === 0) return await installWine(modules);
  console.error(`Wine can't be installed: ${obstacles.join("; ")}`);
  Deno.exit(1);
}

async function listModules(path: string): Promise<string[]> {
  if (path.endsWith(".ts")) return [path];
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(`${path}/`, PROJECT_ROOT))) {
    if (isDirectory && name !== "long") paths.push(...await listModules(`${path}/${name}`));
    else if (name.endsWith("_test.ts")) paths.push(`${path}/${name}`);
  }
  return paths.sort();
}

/** Prints how long the tests took, and each test that failed or passed unexpectedly. */
async function runTests(): Promise<boolean> {
  const startTime = performance.now();
  const [program, ...args] = wine === null ? [Deno.execPath()] : ["sh", wine.script];
  const child = new Deno.Command(program!, {
    args: [...args, ...TEST_ARGUMENTS, ...modules],
    cwd: PROJECT_ROOT,
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let text = "";
  const decoder = new TextDecoder();
  for await (const piece of child.stdout) {
    Deno.stdout.writeSync(piece);
    text += decoder.decode(piece, { stream: true });
  }
  const { success } = await child.status;
  const seconds = Math.round((performance.now() - startTime) / 1000);
  console.log(`${modules.length} modules took ${Math.floor(seconds / 60)}m${seconds % 60}s`);
  // On a real Windows, most tests of the table should pass.
  if (wine === null) return success;
  const rows = Object.entries(ROWS).flatMap(([reason, names]) =>
    names.map((name) => [name, reason])
  );
  const unexpectedPasses = rows.filter(([name]) => text.includes(`PASSES: ${name}\n`));
  const missingRows = namedPaths.length > 0 ? [] : rows.filter((row) => {
    return !unexpectedPasses.includes(row) && !text.includes(`${row[0]}: ${row[1]}`);
  });
  // Deno lists the failures at the end, each with the module that defines it: the preload.
  const failures = /\n FAILURES \n\n([^]*?)\n\n/.exec(text.replaceAll("\r", ""))?.[1] ?? "";
  for (const name of failures.split("\n").filter((line) => line !== "")) {
    console.log(`fails: ${name.replace(/ => [^ ]*$/, "")}`);
  }
  for (const [name] of unexpectedPasses) {
    console.log(`passes, although tests/wine/rows.ts expects a failure: ${name}`);
  }
  for (const [name] of missingRows) {
    console.log(`is in tests/wine/rows.ts, but is not a test: ${name}`);
  }
  const isExpected = success && unexpectedPasses.length === 0 && missingRows.length === 0;
  if (isExpected) console.log("no unexpected failure");
  return isExpected;
}

async function pairDevices({ script }: Wine, systems: readonly string[]): Promise<boolean> {
  console.log(`\nserving on ${systems[0]}, the other device on ${systems[1]}:`);
  const program = [
    "run",
    "--allow-all",
    "--no-check",
    ...IMPORT_MAP_FLAGS,
    "tests/wine/first_minute.ts",
  ];
  const { success } = await new Deno.Command("unshare", {
    args: [...NAMESPACE_ARGUMENTS, Deno.execPath(), ...program, script, ...systems],
    cwd: PROJECT_ROOT,
    stdin: "null",
  }).spawn().status;
  return success;
}
