/** The table of the tests that can't pass under Wine: every row is a test. */
import { importMapFlags } from "@degu/testing/programs.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { listFiles, readProjectFile, ROOT } from "@degu/testing/tree.ts";
import { ROWS, TEST_FOLDERS } from "@degu/internal/tests/wine/rows.ts";
import { assertEquals } from "@std/assert";

const LONG_TESTS = "agent/tests/long/";

/** Lists the names of the tests in modules or folders, without their steps. */
async function listTestNames(paths: readonly string[]): Promise<Set<string>> {
  const flags = ["--no-check", "--allow-all", "--preload", "tests/wine/collect_names.ts"];
  const { stdout } = await runCommand([
    ...[Deno.execPath(), "test", ...flags, ...importMapFlags()],
    ...[`--ignore=${LONG_TESTS}`, ...paths],
  ], { cwd: ROOT, env: { NO_COLOR: "1" } });
  const names = stdout.matchAll(/^test name: (".*")$/gm).map(([, name]) => JSON.parse(name!));
  return new Set(names);
}

/** Reports whether a text has a name as a whole literal, perhaps without the prefix of a copy. */
function hasLiteral(text: string, name: string): boolean {
  return [name, name.replace(/^(upload|download|move): /, "")].some((literal) =>
    ['"', "`"].some((quote) => text.includes(quote + literal + quote))
  );
}

/** Reads a test module, and the shared helpers that it imports, which may make names of tests. */
async function readWithHelpers(path: string): Promise<string> {
  const text = await readProjectFile(path);
  const helpers = text.matchAll(/"@degu\/testing\/([^"]+)"/g).map(([, helper]) =>
    readProjectFile(`tests/support/${helper}`)
  );
  return [text, ...await Promise.all(helpers)].join("\n");
}

/** Finds the modules that have the most of a name's groups of four words. */
function findMakers(name: string, modules: ReadonlyMap<string, string>): string[] {
  const words = name.split(" ");
  const groups = words.slice(3).map((_, start) => words.slice(start, start + 4).join(" "));
  const counts = [...modules].map(([path, text]) =>
    [path, groups.filter((group) => text.includes(group)).length] as const
  );
  const maxCount = Math.max(...counts.map(([, count]) => count));
  return counts.filter(([, count]) => count === maxCount && count > 0).map(([path]) => path);
}

Deno.test("each row of the table of tests/wine is the name of a test, once", async () => {
  const rows = Object.values(ROWS).flat();
  assertEquals(rows.filter((row, index) => rows.indexOf(row) !== index), []);
  const modules = new Map<string, string>();
  for (const folder of TEST_FOLDERS) {
    for (const path of await listFiles(folder, "_test.ts")) {
      if (!path.startsWith(LONG_TESTS)) modules.set(path, await readWithHelpers(path));
    }
  }
  const texts = [...modules.values()];
  // A step is found only when its test runs.
  let missing = rows.map((row) => row.split(" ... ")[0]!)
    .filter((name) => !texts.some((text) => hasLiteral(text, name)));
  // Load only modules that may make the other names: loading all takes 15 s of processor time.
  const makers = new Set(missing.flatMap((name) => findMakers(name, modules)));
  for (const paths of [[...makers], TEST_FOLDERS]) {
    if (missing.length === 0) break;
    const names = await listTestNames(paths);
    missing = missing.filter((name) => !names.has(name));
  }
  assertEquals(missing, []);
});
