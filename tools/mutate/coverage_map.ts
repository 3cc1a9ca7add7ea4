/**
 * Which test modules run which lines of the library.
 *
 * @module
 */

import type { Checkout } from "./checkout.ts";

/** The test modules that run a line, and how long each takes. */
export interface CoverageMap {
  /** The paths of the test modules by `path:line`. */
  readonly testsOf: Map<string, string[]>;
  /** The paths of the test modules that run any line of a module, by its path. */
  readonly testsOfModule: Map<string, Set<string>>;
  /** Seconds by the path of a test module. */
  readonly seconds: Map<string, number>;
}

/** Runs each test module by itself with coverage. Those that fail are skipped and reported. */
export async function mapCoverage(
  checkouts: readonly Checkout[],
  tests: readonly string[],
): Promise<CoverageMap> {
  const map: CoverageMap = { testsOf: new Map(), testsOfModule: new Map(), seconds: new Map() };
  const waiting = [...tests];
  await Promise.all(checkouts.map(async (checkout) => {
    for (let test = waiting.shift(); test !== undefined; test = waiting.shift()) {
      await addTest(map, checkout, test);
    }
  }));
  return map;
}

async function addTest(map: CoverageMap, checkout: Checkout, test: string): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "degu_mutate_coverage_" });
  try {
    const begin = performance.now();
    const flags = [`--coverage=${directory}`, "--coverage-raw-data-only"];
    const outcome = await checkout.test([test], 180, flags);
    if (outcome !== "passed") {
      console.log(`left out: ${test} ${outcome} before anything was changed`);
      return;
    }
    map.seconds.set(test, (performance.now() - begin) / 1000);
    for (const line of await linesIn(directory, checkout.root)) {
      const tests = map.testsOf.get(line) ?? [];
      tests.push(test);
      map.testsOf.set(line, tests);
      const path = line.slice(0, line.lastIndexOf(":"));
      map.testsOfModule.set(path, (map.testsOfModule.get(path) ?? new Set()).add(test));
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** The lines that ran, as `path:line`. */
async function linesIn(directory: string, root: string): Promise<string[]> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["coverage", "--quiet", "--lcov", directory],
    cwd: root,
    stderr: "null",
  }).output();
  const lines: string[] = [];
  let path = "";
  for (const row of new TextDecoder().decode(stdout).split("\n")) {
    if (row.startsWith("SF:")) path = row.slice(3 + root.length);
    const [, line, count] = /^DA:(\d+),(\d+)/.exec(row) ?? [];
    if (line !== undefined && count !== "0") lines.push(`${path}:${line}`);
  }
  return lines;
}
