/**
 * Runs the suite with coverage, including workers and subprocesses, and prints the coverage of
 * base/, net/, the client and the server. Fails if a test fails, or if the coverage of lines or
 * branches is below the thresholds in deno.json.
 *
 * Passes its arguments to the `test` task. With `--modules PATH…`, instead runs each test module of
 * these folders alone, and prints what it covers and no other module of them does.
 */

import { printModuleValues } from "./module_values.ts";
import { PROJECT_ROOT, runDeno } from "./standard_library.ts";
import { removeIncompleteFiles } from "./test_modules.ts";

if (Deno.args[0] === "--modules") {
  await printModuleValues(Deno.args.slice(1));
  Deno.exit();
}

const INCLUDED_FILES = `^${RegExp.escape(PROJECT_ROOT.href)}(base/.+|net/.+|client|server)[.]ts$`;

const directory = await Deno.makeTempDir({ prefix: "degu_coverage_" });
try {
  const coverageFlags = [`--coverage=${directory}`, "--coverage-raw-data-only"];
  const testsExitCode = await runDeno(["task", "test", ...coverageFlags, ...Deno.args]);
  await removeIncompleteFiles(directory);
  const exitCode = await runDeno(["coverage", `--include=${INCLUDED_FILES}`, directory]);
  if (testsExitCode !== 0) console.log("FAIL: the suite did not pass");
  Deno.exitCode = testsExitCode || exitCode;
} finally {
  await Deno.remove(directory, { recursive: true });
}
