/**
 * Measures contenders in turns: A B C A B C …, so that other load on the machine affects all of them.
 *
 * @module
 */

import type { Summary } from "./statistics.ts";
import { summarize } from "./statistics.ts";

/** Something that can be started, measured again and again, and ended. */
export interface Contender {
  readonly name: string;
  start(): Promise<Trial>;
}

/** A started contender. */
export interface Trial {
  /** Brings caches and compilers into the state in which measuring begins. */
  warmUp(): Promise<void>;
  /** One measurement, in the unit of its group. */
  measure(): Promise<number>;
  stop(): Promise<void>;
}

/** Contenders that are compared with each other. */
export interface Group {
  /** Stable name of the group in results, e.g. `1-tcp`. */
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  /** Which cores the programs ran on. */
  readonly placement: string;
  /** Names of contenders whose median the others are divided by. */
  readonly references: readonly string[];
  readonly contenders: readonly Contender[];
  readonly notes?: readonly string[];
}

/** What came out for one contender: samples and their summary, or why there are none. */
export interface Result {
  readonly name: string;
  readonly samples: readonly number[];
  readonly summary: Summary | null;
  /** Median divided by each reference's median. */
  readonly ratios: Readonly<Record<string, number>>;
  readonly error: string | null;
}

/** What came out for a group. */
export interface GroupResult extends Omit<Group, "contenders" | "notes"> {
  readonly results: readonly Result[];
  readonly notes: readonly string[];
}

/** A running contender. */
interface Entry {
  readonly name: string;
  readonly samples: number[];
  trial: Trial | null;
  error: string | null;
}

/** Measures a group in `rounds` rounds. A contender that fails is reported, the others go on. */
export async function measureGroup(
  group: Group,
  rounds: number,
  report: (text: string) => void,
): Promise<GroupResult> {
  const entries: Entry[] = group.contenders.map(({ name }) => (
    { name, samples: [], trial: null, error: null }
  ));
  const attempt = async (entry: Entry, action: () => Promise<void>) => {
    try {
      await action();
    } catch (error) {
      entry.error = error instanceof Error ? error.message : String(error);
      await entry.trial?.stop();
      entry.trial = null;
    }
  };
  try {
    for (const [index, contender] of group.contenders.entries()) {
      const entry = entries[index];
      if (entry === undefined) continue;
      report(`${group.id}: starting ${entry.name}`);
      await attempt(entry, async () => {
        entry.trial = await contender.start();
        await entry.trial.warmUp();
      });
    }
    for (let round = 1; round <= rounds; round++) {
      report(`${group.id}: round ${round} of ${rounds}`);
      for (const entry of entries) {
        const { trial } = entry;
        if (trial === null) continue;
        await attempt(entry, async () => void entry.samples.push(await trial.measure()));
      }
    }
  } finally {
    await Promise.all(entries.map((entry) => entry.trial?.stop()));
  }
  return summarizeGroup(group, entries);
}

function summarizeGroup(group: Group, entries: readonly Entry[]): GroupResult {
  const { contenders: _, notes = [], ...facts } = group;
  const summaries = new Map<string, Summary>();
  for (const { name, samples, error } of entries) {
    if (error === null && samples.length > 0) summaries.set(name, summarize(samples));
  }
  const results = entries.map(({ name, samples, error }) => {
    const summary = summaries.get(name) ?? null;
    const ratios: Record<string, number> = {};
    for (const reference of group.references) {
      const base = summaries.get(reference);
      if (summary !== null && base !== undefined) ratios[reference] = summary.median / base.median;
    }
    return { name, samples, summary, ratios, error };
  });
  return { ...facts, notes, results };
}
