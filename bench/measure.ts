/**
 * Measures contenders alternately (A B C A B C …), so that other load on the machine affects all of
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
  /** The stable name of the group in results, which starts with the number of the row. */
  readonly id: string;
  readonly title: string;
  /** A number per second, which should be high, or a cost, which should be low. */
  readonly unit: string;
  readonly placement: string;
  /** The names of contenders by whose medians those of the other contenders are divided. */
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
 * Measures a group in `rounds` rounds. If a contender fails, the others continue.
 */
export async function measureGroup({ id, contenders }: Group, rounds: number): Promise<Result[]> {
  await using programs = new AsyncDisposableStack();
  const steps: (() => Promise<void>)[] = [];
  const results = contenders.map(({ name }): Result => ({ name, samples: [], error: null }));
  for (const [index, result] of results.entries()) {
    report(`${id}: starting ${result.name}`);
    const running = programs.use(new AsyncDisposableStack());
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
    steps.push(() => attempt(async () => result.samples.push(await measure())));
  }
  for (let round = 1; round <= rounds; round++) {
    report(`${id}: round ${round} of ${rounds}`);
    for (const step of steps) await step();
  }
  report("");
  return results;
}

/** Prints the progress on a terminal, in a line that the next report replaces. */
function report(text: string): void {
  if (!Deno.stderr.isTerminal()) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

/** Returns a quantile of sorted samples. */
export function quantileOf(sorted: ArrayLike<number>, fraction: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)]!;
}

export function medianOf(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (quantileOf(sorted, 0.5) + sorted[sorted.length >> 1]!) / 2;
}
