/** The test modules, and what each of them runs alone. */

import { runCommand, runOrThrow } from "../tests/support/commands.ts";
import { findStandardLibrary, PROJECT_ROOT } from "./standard_library.ts";

export async function listSourceFiles(): Promise<string[]> {
  const listCommand = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const stdout = await runOrThrow(listCommand, { cwd: PROJECT_ROOT });
  const isFile = async (path: string) => {
    // A file that git lists may have been deleted.
    const info = await Deno.stat(new URL(path, PROJECT_ROOT)).catch(ignoreNotFound);
    return info?.isFile ? [path] : [];
  };
  const paths = stdout.split("\0").filter((path) => path !== "");
  return (await Promise.all(paths.map(isFile))).flat();
}

export function ignoreNotFound(error: unknown): null {
  if (error instanceof Deno.errors.NotFound) return null;
  throw error;
}

/** A copy of the project in a temporary directory. */
export class Checkout implements AsyncDisposable {
  private constructor(
    readonly root: string,
    readonly importFlags: readonly string[],
    readonly testFlags: readonly string[],
  ) {}

  static async make(files: readonly string[]): Promise<Checkout> {
    const root = `${await Deno.makeTempDir({ prefix: "degu_checkout_" })}/`;
    for (const path of files) {
      await Deno.mkdir(root + path.slice(0, path.lastIndexOf("/") + 1), { recursive: true });
      await Deno.copyFile(new URL(path, PROJECT_ROOT), root + path);
    }
    // The `test` task has the permissions and sanitizers of `deno test`, and skips the type check.
    const { tasks } = JSON.parse(await Deno.readTextFile(`${root}deno.json`));
    const [, flags = ""] = tasks.test.command.split("tools/test.ts ");
    const testFlags = flags.split(" ").filter((flag: string) => flag !== "--parallel")
      .map((flag: string) => flag.replace(/^(--allow-run=.*)\bdeno\b/, `$1${Deno.execPath()}`));
    return new Checkout(root, (await findStandardLibrary()).flags, testFlags);
  }

  /** Throws an error if a module, or a module that it imports, doesn't parse. */
  async checkSyntax(path: string): Promise<void> {
    const command = [Deno.execPath(), "cache", "--quiet", "--no-check", ...this.importFlags, path];
    await runOrThrow(command, { cwd: this.root });
  }

  /**
   * Runs a test module, and returns the names of the tests that fail. A module that ends otherwise,
   * or takes longer than `seconds`, fails as a whole: its only name is `(module)`.
   */
  async test(
    path: string,
    seconds: number,
    options: { readonly coverage?: string; readonly failFast?: boolean } = {},
  ): Promise<string[]> {
    const { coverage, failFast = true } = options;
    const report = `${this.root}junit.xml`;
    await Deno.writeTextFile(report, "");
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["test", "--quiet", `--junit-path=${report}`, ...this.importFlags, ...this.testFlags],
        ...failFast ? ["--fail-fast"] : [],
        ...coverage === undefined ? [] : [`--coverage=${coverage}`, "--coverage-raw-data-only"],
        path,
      ],
      cwd: this.root,
      // With DENO_COVERAGE_DIR, programs that a test starts also write their coverage.
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
    if (success) return [];
    const failures = findFailures(await Deno.readTextFile(report));
    return failures.length > 0 ? failures : ["(module)"];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

/** Returns the failed tests of a JUnit report, without their steps. */
function findFailures(report: string): string[] {
  const names = [...report.matchAll(/<testcase name="([^"]*)"[^>]*>\s*<failure/g)]
    .map(([, name = ""]) => unescapeXml(name));
  return names.filter((name) => !names.some((other) => name.startsWith(`${other} > `)));
}

const XML_ENTITIES: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&apos;": "'",
  "&gt;": ">",
  "&lt;": "<",
  "&quot;": '"',
};

function unescapeXml(text: string): string {
  return text.replaceAll(/&\w+;/g, (entity) => XML_ENTITIES[entity] ?? entity);
}

export interface TestModule {
  readonly path: string;
  readonly seconds: number;
  /** The modules (`base/wire/uri.ts`) and lines (`base/wire/uri.ts:80`) that the test runs. */
  readonly coverage: ReadonlySet<string>;
  /** The parts of each module's code that the test runs, in ascending order. */
  readonly codeRanges: ReadonlyMap<string, readonly CodeRange[]>;
}

/** Offsets in the code of a module without its types; `end` is exclusive. */
interface CodeRange {
  readonly start: number;
  readonly end: number;
}

/** Runs a test module alone. Prints a message and returns an empty array if the tests fail. */
export async function measureCoverage(checkout: Checkout, path: string): Promise<TestModule[]> {
  const directory = await Deno.makeTempDir({ prefix: "degu_coverage_" });
  try {
    const startTime = performance.now();
    if ((await checkout.test(path, 180, { coverage: directory })).length > 0) {
      console.log(`skipped: ${path} failed`);
      return [];
    }
    const seconds = (performance.now() - startTime) / 1000;
    await removeIncompleteFiles(directory);
    const codeRanges = await readCodeRanges(checkout, directory);
    const coverageCommand = [Deno.execPath(), "coverage", "--quiet", "--lcov", directory];
    const { stdout } = await runCommand(coverageCommand, { cwd: checkout.root });
    const coverage = new Set<string>();
    let module = "";
    for (const row of stdout.split("\n")) {
      if (row.startsWith("SF:")) module = row.slice(3 + checkout.root.length);
      const [, line, count] = /^DA:(\d+),(\d+)/.exec(row) ?? [];
      if (line !== undefined && count !== "0") coverage.add(`${module}:${line}`).add(module);
    }
    return [{ path, seconds, coverage, codeRanges }];
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Removes the incomplete coverage files of processes that a test killed. */
export async function removeIncompleteFiles(directory: string): Promise<void> {
  for await (const { name } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    try {
      JSON.parse(await Deno.readTextFile(path));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      console.log(`skipped ${name}: the process was killed while writing the file`);
      await Deno.remove(path);
    }
  }
}

/** The coverage of a script, as V8 writes it: a range inside another one has its own count. */
interface ScriptCoverage {
  readonly url: string;
  readonly functions: readonly {
    readonly ranges: readonly {
      readonly startOffset: number;
      readonly endOffset: number;
      readonly count: number;
    }[];
  }[];
}

/** Reads the files of V8, because the branches of `deno coverage` depend on what has run. */
async function readCodeRanges(
  { root }: Checkout,
  directory: string,
): Promise<Map<string, CodeRange[]>> {
  const coveredOffsets = new Map<string, Uint8Array>();
  for await (const { name } of Deno.readDir(directory)) {
    const script: ScriptCoverage = JSON.parse(await Deno.readTextFile(`${directory}/${name}`));
    if (!script.url.startsWith(`file://${root}`)) continue;
    const module = script.url.slice(`file://${root}`.length);
    const ranges = script.functions.flatMap(({ ranges }) => ranges);
    ranges.sort((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset);
    const offsets = new Uint8Array(Math.max(0, ...ranges.map(({ endOffset }) => endOffset)));
    for (const { startOffset, endOffset, count } of ranges) {
      offsets.fill(count > 0 ? 1 : 0, startOffset, endOffset);
    }
    const otherOffsets = coveredOffsets.get(module);
    otherOffsets?.forEach((isCovered, offset) => offsets[offset]! |= isCovered);
    coveredOffsets.set(module, offsets);
  }
  return new Map([...coveredOffsets].map(([module, offsets]) => [module, findRanges(offsets)]));
}

function findRanges(offsets: Uint8Array): CodeRange[] {
  const ranges: CodeRange[] = [];
  for (let start = offsets.indexOf(1); start !== -1;) {
    const end = offsets.indexOf(0, start);
    ranges.push({ start, end: end === -1 ? offsets.length : end });
    start = end === -1 ? -1 : offsets.indexOf(1, end);
  }
  return ranges;
}

/** Handles the items of a queue with several workers at the same time. */
export async function distribute<W, T>(
  workers: readonly W[],
  queue: readonly T[],
  work: (worker: W, item: T) => Promise<void>,
): Promise<void> {
  const items = queue.values();
  await Promise.all(workers.map(async (worker) => {
    for (const item of items) await work(worker, item);
  }));
}
