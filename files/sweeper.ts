/**
 * Removal of unfinished files that were abandoned.
 *
 * @module
 */

import { startInterval } from "../net/deadline.ts";
import { listUnfinished, removeUnlocked } from "./unfinished.ts";

const HOUR = 60 * 60 * 1000;
/** How long an unfinished file is kept after the last write, in milliseconds. */
const KEPT_MILLISECONDS = 24 * HOUR;

const sweepers = new Set<WeakRef<Sweeper>>();

// A single timer for all apps, started when the module is loaded: an app has no end at which it could clear its own,
// and a test of a program with an app would fail because of the leaked timer.
startInterval(() => {
  for (const reference of sweepers) {
    const sweeper = reference.deref();
    if (sweeper === undefined) sweepers.delete(reference);
    else sweeper.sweepIfDue();
  }
}, HOUR);

/** Removes the unfinished files below a directory 24 hours after the last write, unless a process writes to them. */
export class Sweeper {
  readonly #root: string;
  readonly #report: (message: string) => void;
  #swept = -Infinity;

  /**
   * Removes old files now, and then once an hour.
   *
   * @param report Called with the error if a file can't be removed.
   */
  constructor(root: string, report: (message: string) => void) {
    this.#root = root;
    this.#report = report;
    sweepers.add(new WeakRef(this));
    this.sweepIfDue();
  }

  /** Removes old files, unless that was done less than an hour ago. */
  sweepIfDue(): void {
    const now = Date.now();
    // The clock may have been set back.
    if (Math.abs(now - this.#swept) < HOUR) return;
    this.#swept = now;
    try {
      for (const { path, modified, isIdle } of listUnfinished(this.#root, "")) {
        // A time in the future is from a clock that was ahead.
        if (isIdle && Math.abs(now - modified) > KEPT_MILLISECONDS) removeUnlocked(path);
      }
    } catch (error) {
      this.#report(`an old unfinished file can't be removed: ${error}`);
    }
  }
}
