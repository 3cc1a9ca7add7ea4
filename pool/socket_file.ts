/**
 * The file of a Unix socket, which may be removed by others than its worker.
 *
 * Deno removes whatever is at the path when it closes a socket. So if a thread that was considered
 * hung returns after all, it removes the file of its successor, which no client can reach from then on.
 *
 * @module
 */

import { type Interval, startInterval } from "../net/interval.ts";

/** A worker that ends removes its file a moment before its end is known. */
const LOST_AFTER = 2;

/**
 * Looks for a file in the background, and reports once that it is gone.
 *
 * @param every Milliseconds between two checks; the file counts as gone if two in a row miss it.
 * @returns The timer, for `clearInterval`.
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

/** `false` if it can't be determined. */
function isMissing(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
