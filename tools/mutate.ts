/**
 * Mutation testing: changes the code in one spot at a time and checks whether a test notices.
 *
 * ```text
 * deno task mutate [--count N] [--seed N] [--tests PATH] [PATH…]
 * ```
 *
 * Takes N mutants (400) of base/, net/, client.ts and server.ts, or of the paths given, the same for
 * the same seed, and as many of each module as its size calls for; with `--tests`, runs only the test
 * modules whose paths begin so. A mutant is killed when one of the
 * test modules that run its line fails, or takes far longer than before. Prints those that survive,
 * and the rates. Fails below 90 % of all, and below 95 % of those that are not in
 * tools/mutate/equivalents.ts.
 *
 * @module
 */

import { Checkout, trackedFiles } from "./mutate/checkout.ts";
import { type CoverageMap, mapCoverage } from "./mutate/coverage_map.ts";
import { reasonFor } from "./mutate/equivalents.ts";
import { type Mutant, mutantsOf } from "./mutate/mutants.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/** Percent of all mutants, and of those that change what the code does. */
const REQUIRED_OF_ALL = 90;
const REQUIRED_WITHOUT_EQUIVALENTS = 95;

/** The modules that are mutated if no path is given. */
const CORE = /^(base\/.+|net\/.+|client|server)\.ts$/;

/** The tests that run first, in seconds that they took before; most mutants go no further. */
const FIRST_SECONDS = 6;

/** All tests of one mutant together: what the nearest tests don't notice counts as not noticed. */
const ALL_SECONDS = 60;

const options = readArguments(Deno.args);
const files = await trackedFiles();
const mutants = await sample(files);
console.log(`${mutants.length} mutants, seed ${options.seed}`);

await using first = await Checkout.make();
await using second = await Checkout.make();
const checkouts = [first, second];
const tests = files.filter((path) =>
  path.startsWith(options.tests) && path.endsWith("_test.ts") && !isAboutText(path)
);
const coverage = await mapCoverage(checkouts, tests);
console.log(`${coverage.seconds.size} test modules`);
const survivors = await findSurvivors();
Deno.exitCode = report(survivors) ? 0 : 1;

interface Options {
  readonly count: number;
  readonly seed: number;
  readonly tests: string;
  readonly paths: readonly string[];
}

function readArguments(args: readonly string[]): Options {
  const paths: string[] = [];
  let [count, seed, tests] = [400, 1, "tests/"];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--count") count = Number(args[++i]);
    else if (args[i] === "--seed") seed = Number(args[++i]);
    else if (args[i] === "--tests") tests = args[++i] ?? "";
    else paths.push(args[i] ?? "");
  }
  return { count, seed, tests, paths };
}

/** The layout, the permissions and the fuzzers read or run everything, and are no tests of a module. */
function isAboutText(path: string): boolean {
  return /^tests\/project\/(layout|permissions|examples|fuzz)_/.test(path);
}

/** Some mutants of each module, by its share of all. */
async function sample(files: readonly string[]): Promise<Mutant[]> {
  const isMeant = (path: string) =>
    options.paths.length === 0
      ? CORE.test(path)
      : path.endsWith(".ts") && options.paths.some((prefix) => path.startsWith(prefix));
  const all: Mutant[] = [];
  for (const path of files.filter(isMeant)) {
    all.push(...mutantsOf(path, await Deno.readTextFile(new URL(path, PROJECT_ROOT))));
  }
  const random = randomNumbers(options.seed);
  const step = Math.max(1, all.length / options.count);
  const sampled: Mutant[] = [];
  for (let at = 0; at < all.length; at += step) {
    const index = Math.floor(at + random() * Math.min(step, all.length - at));
    const mutant = all[index];
    if (mutant !== undefined) sampled.push(mutant);
  }
  return sampled;
}

/** Numbers from 0 to 1 that are the same for the same seed (xorshift32). */
function randomNumbers(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

async function findSurvivors(): Promise<Mutant[]> {
  const survivors: Mutant[] = [];
  const waiting = [...mutants];
  const begin = performance.now();
  await Promise.all(checkouts.map(async (checkout) => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      if (await survives(checkout, mutant)) {
        survivors.push(mutant);
        const seconds = Math.round((performance.now() - begin) / 1000);
        console.log(
          `survived (${mutants.length - waiting.length}th, ${seconds} s): ${text(mutant)}`,
        );
      }
    }
  }));
  return survivors;
}

async function survives(checkout: Checkout, mutant: Mutant): Promise<boolean> {
  const path = checkout.root + mutant.path;
  const original = await Deno.readTextFile(path);
  const { start, end, after } = mutant;
  await Deno.writeTextFile(path, original.slice(0, start) + after + original.slice(end));
  try {
    for (const batch of batchesFor(mutant, coverage)) {
      const before = batch.reduce((sum, test) => sum + (coverage.seconds.get(test) ?? 0), 0);
      if (await checkout.test(batch, 10 + 3 * before) !== "passed") return false;
    }
    return true;
  } finally {
    await Deno.writeTextFile(path, original);
  }
}

/**
 * The tests that run a mutant's line: the nearest and quickest, then all others. Coverage misses lines,
 * so the tests of the module itself always count, and those of its other lines if none runs this one.
 */
function batchesFor(mutant: Mutant, { testsOf, testsOfModule, seconds }: CoverageMap): string[][] {
  const room = `tests/${mutant.path.slice(0, mutant.path.lastIndexOf("/") + 1)}`;
  const name = mutant.path.slice(mutant.path.lastIndexOf("/") + 1, -".ts".length);
  const distance = (test: string) => {
    if (test.startsWith(`${room}${name}_`)) return 0;
    return test.startsWith(room) ? 1 : 2;
  };
  const cost = (test: string) => seconds.get(test) ?? 0;
  const ofModule = testsOfModule.get(mutant.path) ?? new Set();
  const ofLine = testsOf.get(`${mutant.path}:${mutant.line}`) ?? [...ofModule];
  const own = [...ofModule].filter((test) => distance(test) === 0);
  const ordered = [...new Set([...own, ...ofLine])].toSorted((a, b) =>
    distance(a) - distance(b) || cost(a) - cost(b)
  );
  let sum = 0;
  const sums = ordered.map((test) => sum += cost(test));
  const early = ordered.filter((_, index) => index === 0 || sums[index]! <= FIRST_SECONDS);
  const late = ordered.filter((_, index) => sums[index]! <= ALL_SECONDS).slice(early.length);
  return [early, late].filter((batch) => batch.length > 0);
}

function text({ path, line, before, after }: Mutant): string {
  const oneLine = (code: string) => code.replaceAll(/\s+/g, " ");
  return `${path}:${line}  ${oneLine(before)}  →  ${oneLine(after) || "(nothing)"}`;
}

/** Prints the survivors and the rates, and returns whether the rates are high enough. */
function report(survivors: readonly Mutant[]): boolean {
  const explained = survivors.filter((mutant) => reasonFor(mutant) !== undefined);
  const unexplained = survivors.filter((mutant) => reasonFor(mutant) === undefined);
  console.log(`\n${survivors.length} of ${mutants.length} mutants survive`);
  for (const mutant of explained) console.log(`  ${text(mutant)}: ${reasonFor(mutant)}`);
  console.log(`${unexplained.length} of them without a reason`);
  for (const mutant of unexplained) console.log(`  ${text(mutant)}`);
  const killed = mutants.length - survivors.length;
  const ofAll = 100 * killed / mutants.length;
  const ofOthers = 100 * killed / (mutants.length - explained.length);
  console.log(`killed: ${ofAll.toFixed(1)} % of all, ${ofOthers.toFixed(1)} % without equivalents`);
  return ofAll >= REQUIRED_OF_ALL && ofOthers >= REQUIRED_WITHOUT_EQUIVALENTS;
}
