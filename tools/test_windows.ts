/**
 * Runs the tests of files, devices and the program with the Windows version of Deno under Wine, and
 * lets two devices pair and exchange files: two of Windows, and one of each system. The first run
 * installs Wine below /tmp.
 *
 * The arguments are test modules or folders; by default all. `--no-minute` skips the devices,
 * `--minute` runs only the devices, and `--here` runs the tests on a real Windows.
 *
 * Exits with 1 if a test fails, if a test passes that tests/wine/rows.ts expects to fail, or if all
 * tests ran and a row of that table is not a test.
 */

import { ROWS } from "../tests/wine/rows.ts";
import { PROJECT_ROOT } from "./standard_library.ts";
import { findWine, findWineObstacles, type Wine } from "./wine.ts";

const ROOMS = ["tests/internal", "tests/device", "tests/files", "agent/tests"];
const IMPORT_MAP = ["--import-map", "tests/support/offline/import_map.json"];
const TEST = [
  ...["test", "--no-check", "--allow-all", "--preload", "tests/wine/preload.ts", ...IMPORT_MAP],
];
/** The systems of two devices that pair: of the serving device, and of the other. */
const SYSTEM_PAIRS = [["windows", "windows"], ["windows", "linux"], ["linux", "windows"]];
/** Runs a command in its own network namespace, with its own /run. */
const LAB = ["--net", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "lab"];

const namedPaths = Deno.args.filter((arg) => !arg.startsWith("--"));
const has = (option: string) => Deno.args.includes(`--${option}`);
const modules = (await Promise.all((namedPaths.length > 0 ? namedPaths : ROOMS).map(listModules)))
  .flat();
const wine = has("here") ? null : await prepare();
let isOk = has("minute") || await runTests();
if (wine !== null && !has("no-minute")) {
  for (const systems of SYSTEM_PAIRS) isOk = await pairDevices(wine, systems) && isOk;
}
if (wine !== null) await Deno.remove(wine.script);
Deno.exit(isOk ? 0 : 1);

async function prepare(): Promise<Wine> {
  const missing = await findWineObstacles();
  if (missing.length === 0) return await findWine(modules);
  console.error(`Wine can't be installed: ${missing.join("; ")}`);
  Deno.exit(1);
}

/** Lists the test modules of a folder, without the long ones; or returns the module itself. */
async function listModules(path: string): Promise<string[]> {
  if (path.endsWith(".ts")) return [path];
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(`${path}/`, PROJECT_ROOT))) {
    if (isDirectory && name !== "long") paths.push(...await listModules(`${path}/${name}`));
    else if (name.endsWith("_test.ts")) paths.push(`${path}/${name}`);
  }
  return paths.sort();
}

/** Runs the tests, and prints their output; returns false if one fails, or passes unexpectedly. */
async function runTests(): Promise<boolean> {
  const [program, ...args] = wine === null ? [Deno.execPath()] : ["sh", wine.script];
  const child = new Deno.Command(program!, {
    args: [...args, ...TEST, ...modules],
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
  // On a real Windows, most tests of the table should pass.
  if (wine === null) return success;
  const rows = Object.entries(ROWS).flatMap(([reason, names]) =>
    names.map((name) => [name, reason])
  );
  const passed = rows.filter(([name]) => text.includes(`PASSES: ${name}\n`));
  const missing = namedPaths.length > 0 ? [] : rows.filter((row) => {
    return !passed.includes(row) && !text.includes(`${row[0]}: ${row[1]}`);
  });
  for (const [name] of passed) {
    console.log(`passes, although tests/wine/rows.ts expects a failure: ${name}`);
  }
  for (const [name] of missing) console.log(`is in tests/wine/rows.ts, but is not a test: ${name}`);
  return success && passed.length === 0 && missing.length === 0;
}

/** Lets two devices pair and exchange files; returns false if that fails. */
async function pairDevices({ script }: Wine, systems: readonly string[]): Promise<boolean> {
  console.log(`\nserving on ${systems[0]}, the other device on ${systems[1]}:`);
  const program = ["run", "--allow-all", "--no-check", ...IMPORT_MAP, "tests/wine/first_minute.ts"];
  const { success } = await new Deno.Command("unshare", {
    args: [...LAB, Deno.execPath(), ...program, script, ...systems],
    cwd: PROJECT_ROOT,
    stdin: "null",
  }).spawn().status;
  return success;
}
