/** Measures contenders in turns: A B C A B C …, so that other load on the machine affects all of them. */

/** Something that can be started, measured again and again, and ended. */
export interface Contender {
  readonly name: string;
  start(): Promise<Trial>;
}

export interface Trial {
  /** Brings caches and compilers into the state in which measuring begins. */
  warmUp?(): Promise<unknown>;
  /** One measurement, in the unit of its group. */
  measure(): Promise<number>;
  stop?(): Promise<void>;
}

export interface Group {
  /** Stable name of the group in results: the row's number, and more. */
  readonly id: string;
  readonly title: string;
  /** Something per second, of which more is better, or something of which less is. */
  readonly unit: string;
  readonly placement: string;
  /** Names of contenders whose median the others are divided by. */
  readonly references: readonly string[];
  readonly contenders: readonly Contender[];
  readonly notes?: readonly string[];
}

/** What came out for one contender: its samples, and why there are no more of them. */
export interface Result {
  readonly name: string;
  readonly samples: number[];
  error: string | null;
}

/** Measures a group in `rounds` rounds. A contender that fails is reported, the others go on. */
export async function measureGroup({ id, contenders }: Group, rounds: number): Promise<Result[]> {
  const trials = new Map<Result, Trial>();
  const attempt = async (result: Result, action: () => Promise<unknown>) => {
    try {
      await action();
    } catch (error) {
      result.error = error instanceof Error ? error.message : String(error);
      await trials.get(result)?.stop?.();
      trials.delete(result);
    }
  };
  const results: Result[] = [];
  try {
    for (const { name, start } of contenders) {
      report(`${id}: starting ${name}`);
      const result = { name, samples: [], error: null };
      results.push(result);
      await attempt(result, async () => {
        const trial = await start();
        trials.set(result, trial);
        await trial.warmUp?.();
      });
    }
    for (let round = 1; round <= rounds; round++) {
      report(`${id}: round ${round} of ${rounds}`);
      // A copy: one that fails leaves.
      for (const [result, trial] of [...trials]) {
        await attempt(result, async () => result.samples.push(await trial.measure()));
      }
    }
  } finally {
    await Promise.all([...trials.values()].map((trial) => trial.stop?.()));
    report("");
  }
  return results;
}

/** Shows where the run is, in one line that the next one replaces, where somebody can see it. */
function report(text: string): void {
  if (!Deno.stderr.isTerminal()) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

/** The smallest of some sorted samples that at least `share` of them don't exceed; there is at least one. */
export function quantileOf(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}

export function medianOf(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (quantileOf(sorted, 0.5) + sorted[sorted.length >> 1]!) / 2;
}
