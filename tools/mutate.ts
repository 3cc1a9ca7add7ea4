/**
 * Mutation testing: changes one piece of code at a time, and checks whether a test fails. See
 * `--help`.
 */

import { parseArgs } from "node:util";
import { type Mutant, mutantsOf } from "./mutants.ts";
import { readTestFolders } from "./packages.ts";
import { PROJECT_ROOT } from "./standard_library.ts";
import {
  Checkout,
  distribute,
  listSourceFiles,
  measureCoverage,
  type TestModule,
} from "./test_modules.ts";

const USAGE = `deno task mutate [--count N] [--seed N] [--seconds N] [--tests PATH] [--matrix FILE]
  [PATH…]

Tests N mutants (by default 400) of base/, net/, client.ts and server.ts, or of the given paths. The
sample depends only on the seed and the code, and each module has a share in proportion to its size.
After --seconds, no further mutant starts. A mutant is killed if a test module that runs its line
fails, or takes much longer than without the mutant. With paths, the tests of their folders run
(tests/base/ for base/wire); --tests names other tests. If a path has no slash (files instead of
files/), all tests run. A path may end with the number of a line: base/wire/uri.ts:80.

Prints the mutants that survive. Decide which of them need a test: many have no effect, or change
only the speed.

With --matrix, all tests run, also after the first that fails, which takes several times as long.
Writes each mutant and test that fails to FILE (below /tmp), and prints how many mutants each test
module and each test kills, and how many of them no other kills. Don't delete a test by these
numbers: another sample shows what only this test kills.`;

/** The directories of the packages below the root, each with its own tests. */
const TESTED_DIRECTORIES = (await readTestFolders()).map((path) => path.slice(0, -"tests".length))
  .filter(
    Boolean,
  );
const TESTS = ["", ...TESTED_DIRECTORIES].map((directory) => `${directory}tests/`);
const CORE = ["base/", "net/", "client.ts", "server.ts"];

/** The maximum duration of a mutant's tests. The tests of the mutant's own folder may exceed it. */
const MAX_TOTAL_SECONDS = 60;

function readOptions() {
  const numberOption = (fallback: string) => ({ type: "string", default: fallback }) as const;
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      count: numberOption("400"),
      seed: numberOption("1"),
      seconds: numberOption("Infinity"),
      tests: { type: "string", multiple: true },
      matrix: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    Deno.exit();
  }
  const count = Number(values.count);
  const seed = Number(values.seed);
  const seconds = Number(values.seconds);
  if (!(count > 0 && seed > 0 && seconds > 0)) {
    throw new RangeError("--count, --seed and --seconds take a number above 0");
  }
  const paths = positionals.length === 0 ? CORE : positionals;
  const defaultTests = paths.every((path) => path.includes("/"))
    ? paths.map((path) => `${testPathOf(path).split("/").slice(0, 2).join("/")}/`)
    : TESTS;
  const { tests = defaultTests, matrix } = values;
  return { count, seed, seconds, tests, matrix, paths };
}

/**
 * Reports whether a test module is excluded, because it is slow, or reads or runs all modules, as
 * the tests of the layout and the permissions do.
 */
function isExcluded(path: string): boolean {
  return /(^|\/)tests\/(long\/|project\/(layout|permissions|examples)_)/.test(path);
}

function testPathOf(path: string): string {
  const packageDirectory = TESTED_DIRECTORIES.find((directory) => path.startsWith(directory)) ??
    "";
  return `${packageDirectory}tests/${path.slice(packageDirectory.length)}`;
}

/**
 * Returns a mutant of each of `count` equal intervals, in random order. The random numbers
 * (xorshift32) depend only on the seed.
 */
function sample(mutants: readonly Mutant[], count: number, seed: number): Mutant[] {
  let state = (seed * 2654435761) >>> 0 || 1;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const step = Math.max(1, mutants.length / count);
  const sampledMutants: Mutant[] = [];
  for (let start = 0; start < mutants.length; start += step) {
    const span = Math.min(step, mutants.length - start);
    const mutant = mutants[Math.floor(start + random() * span)];
    if (mutant !== undefined) sampledMutants.push(mutant);
  }
  // Because of the random order, an interrupted run has tested a part of each module.
  return sampledMutants.map((mutant) => [random(), mutant] as const).sort(([a], [b]) => a - b)
    .map(([, mutant]) => mutant);
}

/**
 * Returns the tests that run a mutant's line, the nearest and fastest first. The tests of the
 * mutant's module are always included, because coverage misses lines. If no test runs the line, all
 * tests that run the module are included.
 */
function selectTests({ path, line }: Mutant, tests: readonly TestModule[]): TestModule[] {
  const testPath = testPathOf(path);
  const folder = testPath.slice(0, testPath.lastIndexOf("/") + 1);
  const modulePrefix = `${folder}${path.slice(path.lastIndexOf("/") + 1, -".ts".length)}_`;
  const distance = (test: TestModule) =>
    test.path.startsWith(modulePrefix) ? 0 : test.path.startsWith(folder) ? 1 : 2;
  const moduleTests = tests.filter(({ coverage }) => coverage.has(path));
  const lineTests = moduleTests.filter(({ coverage }) => coverage.has(`${path}:${line}`));
  const selectedTests = lineTests.length === 0
    ? moduleTests
    : moduleTests.filter((test) => distance(test) === 0 || lineTests.includes(test));
  selectedTests.sort((a, b) => distance(a) - distance(b) || a.seconds - b.seconds);
  let sum = 0;
  return selectedTests.filter((test) => {
    sum += test.seconds;
    return sum <= MAX_TOTAL_SECONDS || distance(test) < 2;
  });
}

/** A test that fails with a mutant. */
interface Kill {
  readonly mutant: Mutant;
  readonly module: string;
  readonly test: string;
}

async function testMutant(
  checkout: Checkout,
  mutant: Mutant,
  tests: readonly TestModule[],
  findsAll: boolean,
): Promise<Kill[]> {
  const mutatedPath = checkout.root + mutant.path;
  const original = await Deno.readTextFile(mutatedPath);
  const { start, end, mutatedCode } = mutant;
  const mutatedText = original.slice(0, start) + mutatedCode + original.slice(end);
  await Deno.writeTextFile(mutatedPath, mutatedText);
  const kills: Kill[] = [];
  try {
    // Each test would fail, and the mutant would count as killed.
    await checkout.checkSyntax(mutant.path);
    for (const { path: module, seconds } of selectTests(mutant, tests)) {
      const failures = await checkout.test(module, 10 + 3 * seconds, { failFast: !findsAll });
      kills.push(...failures.map((test) => ({ mutant, module, test })));
      if (kills.length > 0 && !findsAll) break;
    }
    return kills;
  } finally {
    await Deno.writeTextFile(mutatedPath, original);
  }
}

async function main(): Promise<void> {
  const { count, seed, seconds, tests, matrix, paths } = readOptions();
  const startTime = performance.now();
  const elapsedSeconds = () => (performance.now() - startTime) / 1000;
  const files = await listSourceFiles();
  const startsWithAny = (prefixes: readonly string[]) => (path: string) =>
    prefixes.some((prefix) => path.startsWith(prefix));
  const allMutants: Mutant[] = [];
  const isMutated = startsWithAny(paths.map((path) => path.replace(/:.*/, "")));
  const isTest = startsWithAny(TESTS);
  const isProduct = (file: string) => file.endsWith(".ts") && !isTest(file);
  for (const path of files.filter((file) => isProduct(file) && isMutated(file))) {
    allMutants.push(...mutantsOf(path, await Deno.readTextFile(new URL(path, PROJECT_ROOT))));
  }
  const isSelected = ({ path, line }: Mutant) =>
    startsWithAny(paths)(path) || paths.includes(`${path}:${line}`);
  const mutants = sample(allMutants.filter(isSelected), count, seed);
  console.log(`${mutants.length} of ${allMutants.length} mutants, seed ${seed}`);

  await using firstCheckout = await Checkout.make(files);
  await using secondCheckout = await Checkout.make(files);
  const modules: TestModule[] = [];
  const testPaths = files.filter((path) => path.endsWith("_test.ts") && !isExcluded(path))
    .filter(startsWithAny(tests));
  await distribute([firstCheckout, secondCheckout], testPaths, async (checkout, path) => {
    modules.push(...await measureCoverage(checkout, path));
  });
  console.log(`${modules.length} test modules, ${Math.round(elapsedSeconds())} s`);

  const survivors: Mutant[] = [];
  const kills: Kill[] = [];
  let testedCount = 0;
  await distribute([firstCheckout, secondCheckout], mutants, async (checkout, mutant) => {
    if (elapsedSeconds() > seconds) return;
    const mutantKills = await testMutant(checkout, mutant, modules, matrix !== undefined);
    kills.push(...mutantKills);
    if (mutantKills.length === 0) {
      survivors.push(mutant);
      console.log(
        `survived (${testedCount + 1}., ${Math.round(elapsedSeconds())} s): ${
          describeMutant(mutant)
        }`,
      );
    }
    testedCount++;
  });
  console.log(
    `\n${survivors.length} of ${testedCount} mutants survive, ${Math.round(elapsedSeconds())} s`,
  );
  for (const text of survivors.map(describeMutant).sort()) console.log(`  ${text}`);
  if (matrix === undefined) return;
  const rows = kills.map(({ mutant, module, test }) => [describeMutant(mutant), module, test]);
  await Deno.writeTextFile(matrix, rows.map((row) => `${row.join("\t")}\n`).sort().join(""));
  printKills(kills, ({ module }) => module);
  printKills(kills, ({ module, test }) => `${module}  ${test}`);
}

/** Prints the number of mutants that each module or test kills, and that no other kills. */
function printKills(kills: readonly Kill[], nameOf: (kill: Kill) => string): void {
  const namesByMutant = new Map<Mutant, Set<string>>();
  for (const kill of kills) {
    namesByMutant.getOrInsertComputed(kill.mutant, () => new Set()).add(nameOf(kill));
  }
  const nameSets = [...namesByMutant.values()];
  console.log("\nkilled  only here");
  for (const name of [...new Set(kills.map(nameOf))].sort()) {
    const ownSets = nameSets.filter((names) => names.has(name));
    const onlyCount = ownSets.filter(({ size }) => size === 1).length;
    console.log(`${String(ownSets.length).padStart(6)}  ${String(onlyCount).padStart(9)}  ${name}`);
  }
}

function describeMutant({ path, line, originalCode, mutatedCode }: Mutant): string {
  const joinLines = (code: string) => code.replaceAll(/\s+/g, " ");
  return `${path}:${line}  ${joinLines(originalCode)}  →  ${joinLines(mutatedCode) || "(nothing)"}`;
}

await main();
