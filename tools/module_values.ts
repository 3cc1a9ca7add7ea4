import {
  Checkout,
  distribute,
  listSourceFiles,
  measureCoverage,
  type TestModule,
} from "./test_modules.ts";

/** A test module that remains. */
interface Candidate {
  readonly path: string;
  /** The number of lines of the test module. */
  readonly length: number;
  /** The numbers of the lines and blocks of the library that the module runs. */
  readonly lines: readonly number[];
  readonly blocks: readonly number[];
}

/**
 * Runs each test module of the folders alone. Then removes them from the set one after the other,
 * each time the module that covers the least alone for each of its lines, and prints for each of
 * them what it covers beside the modules that remain at this moment: lines, and blocks (code
 * between two branches). A module that is the only test of a promise can be among the first: the
 * table doesn't know what a module asserts.
 *
 * @param folders Prefixes of paths; all test modules but the long ones if there are none.
 */
export async function printModuleValues(folders: readonly string[]): Promise<void> {
  const files = await listSourceFiles();
  await using firstCheckout = await Checkout.make(files);
  await using secondCheckout = await Checkout.make(files);
  const paths = files.filter((path) => /(^|\/)tests\/(?!long\/).*_test\.ts$/.test(path))
    .filter((path) => folders.length === 0 || folders.some((folder) => path.startsWith(folder)));
  const modules: TestModule[] = [];
  await distribute([firstCheckout, secondCheckout], paths, async (checkout, path) => {
    modules.push(...await measureCoverage(checkout, path));
  });
  const isProduct = (path: string) => !/(^|\/)(tests|bench|tools|examples)\//.test(path);
  const lines = new Numbering();
  const blocks = new Numbering();
  const findBlocks = makeBlockFinder(modules);
  const candidates: Candidate[] = await Promise.all(modules.map(async (module) => ({
    path: module.path,
    length: (await Deno.readTextFile(firstCheckout.root + module.path)).split("\n").length - 1,
    lines: [...module.coverage].filter((name) => name.includes(":") && isProduct(name))
      .map((name) => lines.numberOf(name)),
    blocks: findBlocks(module).filter(isProduct).map((name) => blocks.numberOf(name)),
  })));
  printOrder(candidates, lines.count, blocks.count);
}

/** Numbers the names in the order in which they are first seen. */
class Numbering {
  readonly #numbers = new Map<string, number>();

  get count(): number {
    return this.#numbers.size;
  }

  numberOf(name: string): number {
    const number = this.#numbers.get(name) ?? this.count;
    this.#numbers.set(name, number);
    return number;
  }
}

/**
 * Returns a function that lists the blocks of code that a test module runs. Each place where one of
 * `modules` runs the code before and not the code behind, or the other way round, begins a block.
 */
function makeBlockFinder(modules: readonly TestModule[]): (module: TestModule) => string[] {
  const starts = new Map<string, Set<number>>();
  for (const { codeRanges } of modules) {
    for (const [path, ranges] of codeRanges) {
      const moduleStarts = starts.get(path) ?? new Set();
      for (const { start, end } of ranges) moduleStarts.add(start).add(end);
      starts.set(path, moduleStarts);
    }
  }
  const sortedStarts = new Map(
    [...starts].map(([path, offsets]) => [path, [...offsets].sort((a, b) => a - b)]),
  );
  return ({ codeRanges }) =>
    [...codeRanges].flatMap(([path, ranges]) => {
      let i = 0;
      return sortedStarts.get(path)!.filter((offset) => {
        while (i < ranges.length && ranges[i]!.end <= offset) i++;
        return i < ranges.length && ranges[i]!.start <= offset;
      }).map((offset) => `${path}:${offset}`);
    });
}

function printOrder(candidates: readonly Candidate[], lineCount: number, blockCount: number): void {
  const lineCounts = new Uint16Array(lineCount);
  const blockCounts = new Uint16Array(blockCount);
  for (const { lines, blocks } of candidates) {
    for (const line of lines) lineCounts[line]!++;
    for (const block of blocks) blockCounts[block]!++;
  }
  /** Counts what no other remaining module covers. */
  const countAlone = (candidate: Candidate) => {
    const lines = candidate.lines.filter((line) => lineCounts[line] === 1).length;
    const blocks = candidate.blocks.filter((block) => blockCounts[block] === 1).length;
    return { candidate, lines, blocks, value: (lines + blocks) / candidate.length };
  };
  const remaining = new Set(candidates);
  let remainingLines = lineCount;
  let remainingBlocks = blockCount;
  console.log("   lines  alone: lines  blocks   remain: lines   blocks   module");
  while (remaining.size > 0) {
    const counts = [...remaining].map(countAlone);
    counts.sort((a, b) => a.value - b.value || b.candidate.length - a.candidate.length);
    const { candidate: removed, lines: aloneLines, blocks: aloneBlocks } = counts[0]!;
    remaining.delete(removed);
    for (const line of removed.lines) lineCounts[line]!--;
    for (const block of removed.blocks) blockCounts[block]!--;
    remainingLines -= aloneLines;
    remainingBlocks -= aloneBlocks;
    console.log(
      `${removed.length}`.padStart(8) + `${aloneLines}`.padStart(14) +
        `${aloneBlocks}`.padStart(8) +
        `${formatPercent(remainingLines / lineCount)}`.padStart(16) +
        `${formatPercent(remainingBlocks / blockCount)}`.padStart(9) + `   ${removed.path}`,
    );
  }
}

function formatPercent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}
