/**
 * Measures contenders in turns: A B C A B C …, so that other load on the machine affects all of
 * them.
 */

/** Takes a measurement, in the unit of its group. */
export type Measure = () => Promise<number>;

export interface Contender {
  readonly name: string;
  /**
   * Starts the measured programs, until `running` is disposed of, and warms up caches and
   * compilers.
   */
  start(running: AsyncDisposableStack): Promise<Measure>;
}

export interface Group {
  /** Stable name of the group in results: the row's number, and more. */
  readonly id: string;
  readonly title: string;
  /** A number per second, which should be high, or a cost, which should be low. */
  readonly unit: string;
  readonly placement: string;
  /** Names of contenders; the median of each other contender is divided by theirs. */
  readonly references: readonly string[];
  readonly contenders: readonly Contender[];
  readonly notes?: readonly string[];
}

/** The result of a contender: its samples, and the reason if there are fewer than rounds. */
export interface Result {
  readonly name: string;
  readonly samples: number[];
  error: string | null;
}

/**
 * Measures a group in `rounds` rounds. The failure of a contender is reported; the others go on.
 */
export async function measureGroup({ id, contenders }: Group, rounds: number): Promise<Result[]> {
  await using all = new AsyncDisposableStack();
  const turns: (() => Promise<void>)[] = [];
  const results = contenders.map(({ name }): Result => ({ name, samples: [], error: null }));
  for (const [index, result] of results.entries()) {
    report(`${id}: starting ${result.name}`);
    const running = all.use(new AsyncDisposableStack());
    const attempt = async (action: () => Promise<unknown>) => {
      if (result.error !== null) return;
      try {
        await action();
      } catch (error) {
        result.error = error instanceof Error ? error.message : String(error);
        await running.disposeAsync();
      }
    };
    let measure: Measure;
    await attempt(async () => measure = await contenders[index]!.start(running));
    turns.push(() => attempt(async () => result.samples.push(await measure())));
  }
  for (let round = 1; round <= rounds; round++) {
    report(`${id}: round ${round} of ${rounds}`);
    for (const turn of turns) await turn();
  }
  report("");
  return results;
}

/** Shows the progress of the run on a terminal, in a line that the next report replaces. */
function report(text: string): void {
  if (!Deno.stderr.isTerminal()) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

/** The smallest of some sorted samples that at least `share` of them don't exceed. */
export function quantileOf(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}

export function medianOf(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (quantileOf(sorted, 0.5) + sorted[sorted.length >> 1]!) / 2;
}
