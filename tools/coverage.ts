/**
 * Runs the suite with coverage, workers and subprocesses included, and prints what it reached of
 * the protocol, the sockets, the client and the server. Fails if a test fails, or if the lines or branches of
 * all these together are covered less than {@linkcode REQUIRED_PERCENT}.
 *
 * Arguments go to the `test` task.
 */

import { fileURLToPath } from "node:url";
import { PROJECT_ROOT, runDeno } from "./standard_library.ts";

/** The required coverage of lines and of branches, in percent. */
const REQUIRED_PERCENT = 95;

const COUNTED = /^(base\/.+|net\/.+|client|server)\.ts$/;

const directory = await Deno.makeTempDir({ prefix: "degu_coverage_" });
try {
  const coverageFlags = [`--coverage=${directory}`, "--coverage-raw-data-only"];
  const testsExitCode = await runDeno(["task", "test", ...coverageFlags, ...Deno.args]);
  await removeUnfinished(directory);
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["coverage", "--lcov", directory],
    cwd: PROJECT_ROOT,
  }).output();
  const decoder = new TextDecoder();
  const enough = printCoverage(decoder.decode(stdout));
  if (!enough) console.log(`${decoder.decode(stderr)}FAIL: less than ${REQUIRED_PERCENT} %`);
  if (testsExitCode !== 0) console.log("FAIL: the suite did not pass");
  Deno.exitCode = testsExitCode !== 0 ? testsExitCode : enough ? 0 : 1;
} finally {
  await Deno.remove(directory, { recursive: true });
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

/** Prints a line for each file of a report in the format of lcov, and one for all of them; says whether that is enough. */
function printCoverage(report: string): boolean {
  const root = fileURLToPath(PROJECT_ROOT);
  const total = [0, 0, 0, 0];
  const rows: [path: string, counts: number[]][] = [];
  for (const record of report.split("end_of_record")) {
    const file = /^SF:(.+)$/m.exec(record)?.[1] ?? "";
    if (!file.startsWith(root) || !COUNTED.test(file.slice(root.length))) continue;
    const counts = ["LH", "LF", "BRH", "BRF"].map((field) =>
      Number(new RegExp(`^${field}:(\\d+)$`, "m").exec(record)?.[1] ?? 0)
    );
    rows.push([file.slice(root.length), counts]);
    for (const [i, count] of counts.entries()) total[i]! += count;
  }
  // A file without branches has all of them covered.
  const percent = (hit = 0, found = 0) => found === 0 ? 100 : (100 * hit) / found;
  const cell = (hit = 0, found = 0) =>
    `${`${hit}/${found}`.padStart(11)} ${percent(hit, found).toFixed(1).padStart(6)} %`;
  const width = Math.max(5, ...rows.map(([path]) => path.length));
  console.log(`\n${"file".padEnd(width)}  ${"lines".padStart(20)}  ${"branches".padStart(20)}`);
  for (const [path, [linesHit, lines, hit, branches]] of [...rows, ["total", total] as const]) {
    console.log(`${path.padEnd(width)}  ${cell(linesHit, lines)}  ${cell(hit, branches)}`);
  }
  return rows.length > 0 && percent(total[0], total[1]) >= REQUIRED_PERCENT &&
    percent(total[2], total[3]) >= REQUIRED_PERCENT;
}
