/**
 * Runs the suite with coverage, workers and subprocesses included, and prints the coverage of the
 * protocol, the sockets, the client and the server. Fails if a test fails, or if the lines or
 * branches of these files together are covered less than the thresholds in deno.json.
 *
 * Arguments go to the `test` task.
 */

import { PROJECT_ROOT, runDeno } from "./standard_library.ts";

const COUNTED = `^${RegExp.escape(PROJECT_ROOT.href)}(base/.+|net/.+|client|server)[.]ts$`;

const directory = await Deno.makeTempDir({ prefix: "degu_coverage_" });
try {
  const coverageFlags = [`--coverage=${directory}`, "--coverage-raw-data-only"];
  const testsExitCode = await runDeno(["task", "test", ...coverageFlags, ...Deno.args]);
  await removeUnfinished(directory);
  const exitCode = await runDeno(["coverage", `--include=${COUNTED}`, directory]);
  if (testsExitCode !== 0) console.log("FAIL: the suite did not pass");
  Deno.exitCode = testsExitCode || exitCode;
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
