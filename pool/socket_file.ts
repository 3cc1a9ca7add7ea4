/**
 * The file of a Unix socket, which more than its worker may remove.
 *
 * Deno removes whatever is at the path when it closes a socket. A thread that was taken for hung, and comes
 * back after all, so removes the file of its successor, whom nobody can reach from then on.
 *
 * @module
 */

import { type Interval, startInterval } from "../net/interval.ts";

/** A worker that ends removes its file a moment before its end is known. */
const LOST_AFTER = 2;

/**
 * Looks for a file in the background, and reports once that it is gone.
 *
 * @param every Milliseconds between two looks; the second that misses it counts.
 * @returns What `clearInterval` ends.
 */
export function watchFile(path: string, every: number, onLost: () => void): Interval {
  let missed = 0;
  const watching = startInterval(() => {
    missed = isMissing(path) ? missed + 1 : 0;
    if (missed < LOST_AFTER) return;
    clearInterval(watching);
    onLost();
  }, every);
  return watching;
}

/** `false` where it can't be known. */
function isMissing(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
