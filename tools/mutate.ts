/**
 * Mutation testing: changes the code in one spot at a time and checks whether a test notices; see
 * `--help`.
 */

import { parseArgs } from "node:util";
import { mustRun, runCommand } from "../tests/support/commands.ts";
import { type Mutant, mutantsOf } from "./mutants.ts";
import { readPackages } from "./packages.ts";
import { findStandardLibrary, PROJECT_ROOT } from "./standard_library.ts";

const USAGE = `deno task mutate [--count N] [--seed N] [--seconds N] [--tests PATH] [PATH…]

Takes N mutants (400) of base/, net/, client.ts and server.ts, or of the given paths: the same
for the same seed, and from each module in proportion to its size. After --seconds no further
mutant is begun. A mutant is killed when a test module that runs its line fails, or takes far
longer than before. With paths, the tests of their rooms run (tests/base/ for base/wire);
--tests names others. For a path without a slash (files, not files/) all tests run. A path may end
with the number of a line: base/wire/uri.ts:80.

Prints the mutants that survive. A person judges which of them need a test: many change nothing
that anybody sees, or speed alone.`;

/** The members of the workspace that are packages, each with tests of its own. */
const MEMBERS = (await readPackages()).map(({ directory }) => directory).filter(Boolean);
const TESTS = ["", ...MEMBERS].map((directory) => `${directory}tests/`);
const CORE = ["base/", "net/", "client.ts", "server.ts"];

/**
 * The time for the first batch of tests, in seconds as measured before; most mutants go no further.
 */
const FIRST_SECONDS = 6;

/**
 * The time for all tests of a mutant, in seconds, beyond which tests of other rooms don't count;
 * those of the mutant's own room always do, however slow the machine is.
 */
const ALL_SECONDS = 60;

function readOptions() {
  const number = (fallback: string) => ({ type: "string", default: fallback }) as const;
  const { values, positionals: paths } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      count: number("400"),
      seed: number("1"),
      seconds: number("Infinity"),
      tests: { type: "string", multiple: true },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    Deno.exit();
  }
  const [count, seed, seconds] = [values.count, values.seed, values.seconds].map(Number) as [
    ...[number, number, number],
  ];
  if (!(count > 0 && seed > 0 && seconds > 0)) {
    throw new RangeError("--count, --seed and --seconds take a number above 0");
  }
  const rooms = paths.filter((path) => path.includes("/"));
  const all = rooms.length === 0 || rooms.length < paths.length;
  const nearest = all
    ? TESTS
    : rooms.map((path) => `${inTests(path).split("/").slice(0, 2).join("/")}/`);
  const { tests = nearest } = values;
  return { count, seed, seconds, tests, paths: paths.length === 0 ? CORE : paths };
}

/**
 * Tests of the layout and the permissions, and the fuzzers, read or run everything, and are no
 * tests of a module; the long ones take too long.
 */
function isLeftOut(path: string): boolean {
  const inFolder = path.slice(TESTS.find((folder) => path.startsWith(folder))?.length ?? 0);
  return /^(long\/|project\/(layout|permissions|examples|fuzz)_)/.test(inFolder);
}

/** A path as the folders of tests have it: the tests of `files/` are in `tests/files/`. */
function inTests(path: string): string {
  const member = MEMBERS.find((directory) => path.startsWith(directory)) ?? "";
  return `${member}tests/${path.slice(member.length)}`;
}

/** The paths of existing files that git knows. */
async function trackedFiles(): Promise<string[]> {
  const list = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const stdout = await mustRun(list, { cwd: PROJECT_ROOT });
  const isFile = async (path: string) => {
    const info = await Deno.stat(new URL(path, PROJECT_ROOT)).catch(() => null);
    return info?.isFile ? [path] : [];
  };
  const paths = stdout.split("\0").filter((path) => path !== "");
  return (await Promise.all(paths.map(isFile))).flat();
}

/** A sample of evenly spaced items, the same for the same seed (xorshift32). */
function sample(all: readonly Mutant[], count: number, seed: number): Mutant[] {
  let state = (seed * 2654435761) >>> 0 || 1;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const step = Math.max(1, all.length / count);
  const sampled: Mutant[] = [];
  for (let at = 0; at < all.length; at += step) {
    const mutant = all[Math.floor(at + random() * Math.min(step, all.length - at))];
    if (mutant !== undefined) sampled.push(mutant);
  }
  // A random order lets an interrupted run see a part of everything.
  return sampled.map((mutant) => [random(), mutant] as const).sort(([a], [b]) => a - b)
    .map(([, mutant]) => mutant);
}

/** A copy of the project in a temporary directory, in which mutants are tested. */
class Checkout implements AsyncDisposable {
  private constructor(readonly root: string, readonly flags: readonly string[]) {}

  static async make(files: readonly string[]): Promise<Checkout> {
    const root = `${await Deno.makeTempDir({ prefix: "degu_mutate_" })}/`;
    for (const path of files) {
      await Deno.mkdir(root + path.slice(0, path.lastIndexOf("/") + 1), { recursive: true });
      await Deno.copyFile(new URL(path, PROJECT_ROOT), root + path);
    }
    // The `test` task has the permissions and sanitizers of `deno test`, and skips the type check.
    const { tasks } = JSON.parse(await Deno.readTextFile(`${root}deno.json`));
    const [, flags = ""] = tasks.test.command.split("tools/test.ts ");
    const own = flags.split(" ").filter((flag: string) => flag !== "--parallel")
      .map((flag: string) => flag.replace(/^(--allow-run=.*)\bdeno\b/, `$1${Deno.execPath()}`));
    return new Checkout(root, [...(await findStandardLibrary()).flags, ...own]);
  }

  /** Runs test modules until the first failure; returns whether all passed in time. */
  async test(paths: readonly string[], seconds: number, coverage?: string): Promise<boolean> {
    const covering = coverage === undefined
      ? []
      : [`--coverage=${coverage}`, "--coverage-raw-data-only"];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["test", "--quiet", "--fail-fast", ...this.flags, ...covering, ...paths],
      cwd: this.root,
      // The programs that a test starts write what they run into the same directory.
      env: {
        TMPDIR: "/tmp",
        NO_COLOR: "1",
        ...(coverage === undefined ? {} : { DENO_COVERAGE_DIR: coverage }),
      },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), seconds * 1000);
    const { success } = await child.status;
    clearTimeout(timer);
    return success;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

/** A test module: its duration, and the lines and modules of the library that it runs. */
interface TestModule {
  readonly path: string;
  readonly seconds: number;
  readonly places: ReadonlySet<string>;
}

/** Runs a test module by itself with coverage. A failing module is left out and reported. */
async function mapCoverage(checkout: Checkout, path: string): Promise<TestModule[]> {
  const directory = await Deno.makeTempDir({ prefix: "degu_mutate_coverage_" });
  try {
    const begin = performance.now();
    if (!await checkout.test([path], 180, directory)) {
      console.log(`left out: ${path} failed before anything was changed`);
      return [];
    }
    const seconds = (performance.now() - begin) / 1000;
    const coverage = [Deno.execPath(), "coverage", "--quiet", "--lcov", directory];
    const { stdout } = await runCommand(coverage, { cwd: checkout.root });
    const places = new Set<string>();
    let module = "";
    for (const row of stdout.split("\n")) {
      if (row.startsWith("SF:")) module = row.slice(3 + checkout.root.length);
      const [, line, count] = /^DA:(\d+),(\d+)/.exec(row) ?? [];
      if (line !== undefined && count !== "0") places.add(`${module}:${line}`).add(module);
    }
    return [{ path, seconds, places }];
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/**
 * The tests that run a mutant's line: the nearest and quickest, then all others. Coverage misses
 * lines, so the tests of the module itself always count; if no test runs this line, the tests of
 * the module's other lines count.
 */
function batchesFor({ path, line }: Mutant, tests: readonly TestModule[]): TestModule[][] {
  const tested = inTests(path);
  const room = tested.slice(0, tested.lastIndexOf("/") + 1);
  const own = `${room}${path.slice(path.lastIndexOf("/") + 1, -".ts".length)}_`;
  const distance = (test: TestModule) =>
    test.path.startsWith(own) ? 0 : test.path.startsWith(room) ? 1 : 2;
  const ofModule = tests.filter(({ places }) => places.has(path));
  const ofLine = ofModule.filter(({ places }) => places.has(`${path}:${line}`));
  const chosen = ofLine.length === 0
    ? ofModule
    : ofModule.filter((test) => distance(test) === 0 || ofLine.includes(test));
  chosen.sort((a, b) => distance(a) - distance(b) || a.seconds - b.seconds);
  const batches: [TestModule[], TestModule[]] = [[], []];
  let sum = 0;
  for (const [i, test] of chosen.entries()) {
    sum += test.seconds;
    if (i === 0 || sum <= FIRST_SECONDS) batches[0].push(test);
    else if (sum <= ALL_SECONDS || distance(test) < 2) batches[1].push(test);
  }
  return batches.filter((batch) => batch.length > 0);
}

async function survives(
  checkout: Checkout,
  mutant: Mutant,
  tests: readonly TestModule[],
): Promise<boolean> {
  const path = checkout.root + mutant.path;
  const original = await Deno.readTextFile(path);
  const { start, end, after } = mutant;
  await Deno.writeTextFile(path, original.slice(0, start) + after + original.slice(end));
  try {
    for (const batch of batchesFor(mutant, tests)) {
      const before = batch.reduce((sum, { seconds }) => sum + seconds, 0);
      if (!await checkout.test(batch.map(({ path }) => path), 10 + 3 * before)) return false;
    }
    return true;
  } finally {
    await Deno.writeTextFile(path, original);
  }
}

/** Distributes the waiting items: every checkout takes one at a time. */
async function share<T>(
  checkouts: readonly Checkout[],
  waiting: readonly T[],
  work: (checkout: Checkout, item: T) => Promise<void>,
): Promise<void> {
  const items = waiting.values();
  await Promise.all(checkouts.map(async (checkout) => {
    for (const item of items) await work(checkout, item);
  }));
}

async function main(): Promise<void> {
  const { count, seed, seconds, tests, paths } = readOptions();
  const begin = performance.now();
  const elapsed = () => (performance.now() - begin) / 1000;
  const files = await trackedFiles();
  const isIn = (prefixes: readonly string[]) => (path: string) =>
    prefixes.some((prefix) => path.startsWith(prefix));
  const all: Mutant[] = [];
  const isMutated = isIn(paths.map((path) => path.replace(/:.*/, "")));
  for (const path of files.filter((each) => each.endsWith(".ts") && isMutated(each))) {
    all.push(...mutantsOf(path, await Deno.readTextFile(new URL(path, PROJECT_ROOT))));
  }
  const isMeant = ({ path, line }: Mutant) =>
    isIn(paths)(path) || paths.includes(`${path}:${line}`);
  const mutants = sample(all.filter(isMeant), count, seed);
  console.log(`${mutants.length} of ${all.length} mutants, seed ${seed}`);

  await using first = await Checkout.make(files);
  await using second = await Checkout.make(files);
  const modules: TestModule[] = [];
  const testPaths = files.filter((each) => each.endsWith("_test.ts") && !isLeftOut(each))
    .filter(isIn(tests));
  await share([first, second], testPaths, async (checkout, path) => {
    modules.push(...await mapCoverage(checkout, path));
  });
  console.log(`${modules.length} test modules, ${Math.round(elapsed())} s`);

  const survivors: Mutant[] = [];
  let tried = 0;
  await share([first, second], mutants, async (checkout, mutant) => {
    if (elapsed() > seconds) return;
    if (await survives(checkout, mutant, modules)) {
      survivors.push(mutant);
      console.log(`survived (${tried + 1}., ${Math.round(elapsed())} s): ${textOf(mutant)}`);
    }
    tried++;
  });
  console.log(`\n${survivors.length} of ${tried} mutants survive, ${Math.round(elapsed())} s`);
  for (const text of survivors.map(textOf).sort()) console.log(`  ${text}`);
}

function textOf({ path, line, before, after }: Mutant): string {
  const oneLine = (code: string) => code.replaceAll(/\s+/g, " ");
  return `${path}:${line}  ${oneLine(before)}  →  ${oneLine(after) || "(nothing)"}`;
}

await main();
