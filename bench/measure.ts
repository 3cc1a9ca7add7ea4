/**
 * Measures contenders alternately (A B C A B C …), so that other load on the machine affects all
 * contenders.
 */

/** Takes a measurement, in the unit of its group. */
export type Measure = () => Promise<number>;

export interface Contender {
  readonly name: string;
  /**
   * Starts the measured programs, and warms up caches and compilers. The programs end when
   * `programStack` is disposed of.
   */
  start(programStack: AsyncDisposableStack): Promise<Measure>;
}

export interface Group {
  /** The name of the group in results, which starts with the number of the row. Don't change it. */
  readonly id: string;
  readonly title: string;
  /** The unit of the samples. With `/s` at the end, higher is better; otherwise lower. */
  readonly unit: string;
  readonly placement: string;
  /** The names of contenders. The table divides all medians by the medians of these contenders. */
  readonly references: readonly string[];
  readonly contenders: readonly Contender[];
  readonly notes?: readonly string[];
}

/** The result of a contender: a sample for each round until an error. */
export interface Result {
  readonly name: string;
  readonly samples: number[];
  error: string | null;
}

/**
 * Measures a group in `rounds` rounds. If a contender fails, the others continue.
 */
export async function measureGroup({ id, contenders }: Group, rounds: number): Promise<Result[]> {
  await using programs = new AsyncDisposableStack();
  const steps: (() => Promise<void>)[] = [];
  const results = contenders.map(({ name }): Result => ({ name, samples: [], error: null }));
  for (const [index, result] of results.entries()) {
    printProgress(`${id}: starting ${result.name}`);
    const programStack = programs.use(new AsyncDisposableStack());
    const runUnlessFailed = async (action: () => Promise<unknown>) => {
      if (result.error !== null) return;
      try {
        await action();
      } catch (error) {
        result.error = error instanceof Error ? error.message : String(error);
        await programStack.disposeAsync();
      }
    };
    let measure: Measure;
    await runUnlessFailed(async () => measure = await contenders[index]!.start(programStack));
    steps.push(() => runUnlessFailed(async () => result.samples.push(await measure())));
  }
  for (let round = 1; round <= rounds; round++) {
    printProgress(`${id}: round ${round} of ${rounds}`);
    for (const step of steps) await step();
  }
  printProgress("");
  return results;
}

/** Prints the progress on a terminal, in a line that the next report replaces. */
function printProgress(text: string): void {
  if (!Deno.stderr.isTerminal()) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

export function medianOf(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}
