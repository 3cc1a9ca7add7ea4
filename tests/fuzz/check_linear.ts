/**
 * Linear time: a part of a text is repeated to a short and a long text, and the time for the long
 * text must be longer in proportion at most.
 */

import process from "node:process";
import { Objection } from "./fuzzer.ts";

/** The ratio of the lengths of the long and the short text. */
const LONGER = 16;
/**
 * The allowed ratio of the times per byte of the long and the short text. For quadratic time the
 * ratio would be 16.
 */
const MAX_GROWTH = 6;
/** Shorter times can't be distinguished from the cost of measuring. */
const MIN_MILLISECONDS = 0.02;
/** The number of calls with a short text whose mean time counts. */
const REPETITIONS = 4;
const MAX_MILLISECONDS = 20, ATTEMPTS = 200;

/** A function whose time is measured. */
export interface Target {
  /** The length of the long text in characters, within the limit of the parser. */
  readonly longLength: number;
  /** Prepares a text, and returns the function to measure. */
  make(text: string): () => unknown;
}

/** The length of the longest preamble in characters. */
export const PREAMBLE = 32000;

/** Checks that the time of a target grows no faster than a text in which a part is repeated. */
export async function checkLinear(
  { longLength, make }: Target,
  prefix: string,
  part: string,
  suffix: string,
): Promise<void> {
  const shortLength = Math.floor(longLength / LONGER);
  const workShort = make(repeatPart(prefix, part, suffix, shortLength));
  const workLong = make(repeatPart(prefix, part, suffix, longLength));
  let shortTime = Infinity, longTime = Infinity;
  // A compilation or a garbage collection makes a single measurement longer, never shorter.
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    longTime = Math.min(longTime, await measure(workLong, 1));
    shortTime = Math.min(shortTime, await measure(workShort, REPETITIONS));
    const maxTime = Math.max(shortTime, MIN_MILLISECONDS) * MAX_GROWTH * LONGER;
    if (longTime <= maxTime) return;
  }
  const times = `${shortTime.toFixed(3)} ms, ${longLength} ${longTime.toFixed(3)} ms`;
  throw new Objection(`${shortLength} characters took ${times}`);
}

/** Returns the processor time of this process in milliseconds, without that of other processes. */
function readProcessorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Returns the mean time of a call; long calls are repeated fewer times. This is the processor time,
 * or the elapsed time if that is shorter, because processor time includes other threads of this
 * process.
 */
async function measure(work: () => unknown, maxCount: number): Promise<number> {
  const [start, startTime] = [readProcessorTime(), performance.now()];
  for (let count = 1;; count++) {
    try {
      await work();
    } catch {
      // Other fuzzers check whether the text is accepted.
    }
    const spentMilliseconds = Math.min(readProcessorTime() - start, performance.now() - startTime);
    if (count === maxCount || spentMilliseconds > MAX_MILLISECONDS) {
      return spentMilliseconds / count;
    }
  }
}

/** Repeats a part of a text until it has a length. */
function repeatPart(prefix: string, part: string, suffix: string, length: number): string {
  const remainingLength = Math.max(0, length - prefix.length - suffix.length);
  return prefix + part.repeat(Math.ceil(remainingLength / part.length)).slice(0, remainingLength) +
    suffix;
}
