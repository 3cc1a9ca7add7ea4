/** The table of the tests that can't pass under Wine: every row is a test. */
import { importMapFlags } from "@degu/testing/programs.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { listFiles, ROOT } from "@degu/testing/tree.ts";
import { ROWS, TEST_FOLDERS } from "@degu/internal/tests/wine/rows.ts";
import { assert, assertEquals } from "@std/assert";

const LONG_TESTS = "agent/tests/long/";

/** Lists the names of the tests that run under Wine, without their steps. */
async function listTestNames(): Promise<Set<string>> {
  const paths = (await Promise.all(TEST_FOLDERS.map((folder) => listFiles(folder, "_test.ts"))))
    .flat().filter((path) => !path.startsWith(LONG_TESTS));
  const { stdout, stderr, success } = await runCommand([
    ...[Deno.execPath(), "run", "--no-check", "--allow-all", ...importMapFlags()],
    ...["tests/wine/collect_names.ts", ...paths],
  ], { cwd: ROOT });
  assert(success, stderr);
  return new Set(JSON.parse(stdout.trimEnd().split("\n").at(-1)!));
}

Deno.test("each row of the table of tests/wine is the name of a test, once", async () => {
  const rows = Object.values(ROWS).flat();
  assertEquals(rows.filter((row, index) => rows.indexOf(row) !== index), []);
  const names = await listTestNames();
  // A step is found only when its test runs.
  assertEquals(rows.filter((row) => !names.has(row.split(" ... ")[0]!)), []);
});

Deno.test("each reason of the table of tests/wine has a row", () => {
  assertEquals(Object.keys(ROWS).filter((reason) => ROWS[reason]!.length === 0), []);
});
