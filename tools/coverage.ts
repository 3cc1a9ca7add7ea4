/**
 * Runs the suite with coverage, workers and subprocesses included, and prints what it reached of
 * the protocol, the sockets, the client and the server. Fails if a test fails, or if the lines or branches of
 * all these together are covered less than {@linkcode REQUIRED_PERCENT}.
 *
 * Arguments go to the `test` task.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { PROJECT_ROOT, runDeno } from "./standard_library.ts";

/** The required coverage of lines and of branches, in percent. */
const REQUIRED_PERCENT = 95;

/** The paths that count, relative to the project's directory. */
const COUNTED = /^(base\/.+|net\/.+|client|server)\.ts$/;

interface Count {
  readonly hit: number;
  readonly found: number;
}

interface FileCoverage {
  readonly path: string;
  readonly lines: Count;
  readonly branches: Count;
}

const directory = await Deno.makeTempDir({ prefix: "degu_coverage_" });
try {
  const testsExitCode = await runSuite(directory);
  const enough = printCoverage(readReport(await makeReport(directory)));
  if (!enough) console.log(`FAIL: the total is below ${REQUIRED_PERCENT} %`);
  if (testsExitCode !== 0) console.log("FAIL: the suite did not pass");
  Deno.exitCode = testsExitCode !== 0 ? testsExitCode : enough ? 0 : 1;
} finally {
  await Deno.remove(directory, { recursive: true });
}

function runSuite(directory: string): Promise<number> {
  const coverageFlags = [`--coverage=${directory}`, "--coverage-raw-data-only"];
  return runDeno(["task", "test", ...coverageFlags, ...Deno.args]);
}

/** The coverage of all files, in the format of lcov. */
async function makeReport(directory: string): Promise<string> {
  await removeUnfinished(directory);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["coverage", "--lcov", directory],
    cwd: PROJECT_ROOT,
  }).output();
  if (!success) console.log(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** A process that a test ends by a signal may have been writing its coverage. */
async function removeUnfinished(directory: string): Promise<void> {
  for await (const { name } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    try {
      JSON.parse(await Deno.readTextFile(path));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      console.log(`left out ${name}: the process was ended while it wrote it`);
      await Deno.remove(path);
    }
  }
}

function readReport(report: string): FileCoverage[] {
  const root = fileURLToPath(PROJECT_ROOT);
  return report.split("end_of_record").flatMap((record) => {
    const file = /^SF:(.+)$/m.exec(record)?.[1];
    if (!file?.startsWith(root) || !COUNTED.test(file.slice(root.length))) return [];
    return [{
      path: file.slice(root.length),
      lines: { hit: numberOf(record, "LH"), found: numberOf(record, "LF") },
      branches: { hit: numberOf(record, "BRH"), found: numberOf(record, "BRF") },
    }];
  });
}

function numberOf(record: string, field: string): number {
  return Number(new RegExp(`^${field}:(\\d+)$`, "m").exec(record)?.[1] ?? 0);
}

function sum(counts: readonly Count[]): Count {
  return {
    hit: counts.reduce((total, count) => total + count.hit, 0),
    found: counts.reduce((total, count) => total + count.found, 0),
  };
}

/** A file without branches has all of them covered. */
function percentOf({ hit, found }: Count): number {
  return found === 0 ? 100 : (100 * hit) / found;
}

/** Prints a line for each file and one for all of them, and says whether that is enough. */
function printCoverage(files: readonly FileCoverage[]): boolean {
  const total: FileCoverage = {
    path: "total",
    lines: sum(files.map((file) => file.lines)),
    branches: sum(files.map((file) => file.branches)),
  };
  const width = Math.max(5, ...files.map((file) => file.path.length));
  console.log(`\n${"file".padEnd(width)}  ${"lines".padStart(20)}  ${"branches".padStart(20)}`);
  for (const { path, lines, branches } of [...files, total]) {
    console.log(`${path.padEnd(width)}  ${cell(lines)}  ${cell(branches)}`);
  }
  return files.length > 0 && percentOf(total.lines) >= REQUIRED_PERCENT &&
    percentOf(total.branches) >= REQUIRED_PERCENT;
}

function cell(count: Count): string {
  const fraction = `${count.hit}/${count.found}`;
  return `${fraction.padStart(11)} ${percentOf(count).toFixed(1).padStart(6)} %`;
}
