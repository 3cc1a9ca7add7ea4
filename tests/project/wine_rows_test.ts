/** The table of the tests that can't pass under Wine: every row is a test. */
import { importMapFlags } from "@degu/testing/programs.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { ROWS, TEST_FOLDERS } from "@degu/internal/tests/wine/rows.ts";
import { assertEquals } from "@std/assert";

/** Lists the names of the tests, without their steps. */
async function listTestNames(): Promise<Set<string>> {
  const flags = ["--no-check", "--allow-all", "--preload", "tests/wine/collect_names.ts"];
  const { stdout } = await runCommand([
    ...[Deno.execPath(), "test", ...flags, ...importMapFlags()],
    ...["--ignore=agent/tests/long", ...TEST_FOLDERS],
  ], { cwd: new URL("../..", import.meta.url), env: { NO_COLOR: "1" } });
  const names = stdout.matchAll(/^test name: (".*")$/gm).map(([, name]) => JSON.parse(name!));
  return new Set(names);
}

Deno.test("each row of the table of tests/wine is the name of a test, once", async () => {
  const rows = Object.values(ROWS).flat();
  assertEquals(rows.filter((row, index) => rows.indexOf(row) !== index), []);
  const names = await listTestNames();
  // A step is found only when its test runs.
  assertEquals(rows.filter((row) => !names.has(row) && !names.has(row.split(" ... ")[0]!)), []);
});
