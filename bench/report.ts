/**
 * Results as JSON, with what is needed to judge them: the machine, the versions, the load.
 *
 * @module
 */

import type { GroupResult } from "./interleave.ts";
import type { Options } from "./options.ts";

/** The circumstances of a run. */
export interface Circumstances {
  readonly date: string;
  readonly deno: string;
  readonly v8: string;
  readonly system: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Load averages of 1, 5 and 15 minutes before the run. */
  readonly load: readonly number[];
  readonly rounds: number;
  readonly quick: boolean;
  /** Why programs were not pinned to cores, or `null`. */
  readonly pinningProblem: string | null;
}

/** Describes this machine. */
export function describeCircumstances(
  { rounds, quick }: Options,
  pinningProblem: string | null,
): Circumstances {
  return {
    date: new Date().toISOString(),
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    system: `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`,
    processor: readProcessor(),
    cores: navigator.hardwareConcurrency,
    memoryBytes: Deno.systemMemoryInfo().total,
    load: Deno.loadavg(),
    rounds,
    quick,
    pinningProblem,
  };
}

function readProcessor(): string {
  try {
    const text = Deno.readTextFileSync("/proc/cpuinfo");
    return /^model name\s*:\s*(.+)$/m.exec(text)?.[1] ?? "unknown";
  } catch {
    // There is no such file outside Linux, and a sandbox may hide it.
    return "unknown";
  }
}

/** One paragraph for people. */
export function formatCircumstances(facts: Circumstances): string {
  const { deno, v8, system, processor, cores, memoryBytes, load, rounds, quick } = facts;
  const memory = Math.round(memoryBytes / 2 ** 30);
  const lines = [
    `Deno ${deno}, V8 ${v8}, ${system}, ${cores} cores of ${processor}, ${memory} GiB.`,
    `${rounds} rounds${quick ? " of a quick run: small amounts, few peers" : ""}; ` +
    `load average at the start ${load.map((value) => value.toFixed(2)).join(", ")}.`,
    "“spread” is half the distance from the smallest to the largest sample; ratios are of medians.",
  ];
  if (facts.pinningProblem !== null) lines.push(`Attention: ${facts.pinningProblem}.`);
  return lines.join("\n") + "\n";
}

/** Everything that was measured, as JSON text. */
export function formatJson(facts: Circumstances, groups: readonly GroupResult[]): string {
  return JSON.stringify({ ...facts, groups }, null, 2) + "\n";
}
