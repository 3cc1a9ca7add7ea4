const MIN_CONCURRENT_SYNCS = 4;
const MAX_CONCURRENT_SYNCS = 64;
/** If a sync takes longer, fewer syncs run at the same time. */
const MAX_SYNC_MILLISECONDS = 500;

/**
 * Runs as many syncs at the same time as the disk finishes in half a second. If a disk does one
 * sync after the other, a synchronous operation waits for all running syncs, and blocks the event
 * loop. On other disks, concurrent syncs share their work.
 */
export class SyncQueue {
  #limit = 16;
  #minMilliseconds = Infinity;
  #runningCount = 0;
  readonly #waiters: (() => void)[] = [];

  get limit(): number {
    return this.#limit;
  }

  /** Resolves to `null`, or to the error of the sync. */
  run(sync: () => Promise<void>): Promise<unknown> {
    if (this.#runningCount < this.#limit) return this.#start(sync);
    return new Promise((resolve) => this.#waiters.push(() => resolve(this.#start(sync))));
  }

  // Hot path: a second promise for each file costs 5 % of the time to write a small file.
  #start(sync: () => Promise<void>): Promise<unknown> {
    this.#runningCount++;
    const startedAt = performance.now();
    const finish = (error: unknown) => {
      this.#adjustLimit(performance.now() - startedAt);
      this.#runningCount--;
      while (this.#runningCount < this.#limit && this.#waiters.length > 0) this.#waiters.shift()!();
      return error;
    };
    return sync().then(() => finish(null), finish);
  }

  #adjustLimit(milliseconds: number): void {
    this.#minMilliseconds = Math.min(this.#minMilliseconds, milliseconds);
    // On a network disk, a single sync can take as long as many at the same time.
    const hasWaited = milliseconds > MIN_CONCURRENT_SYNCS * this.#minMilliseconds;
    this.#limit = milliseconds > MAX_SYNC_MILLISECONDS && hasWaited
      ? Math.max(MIN_CONCURRENT_SYNCS, Math.floor(this.#limit / 2))
      : Math.min(MAX_CONCURRENT_SYNCS, this.#limit + 1);
  }
}

export const syncQueue = new SyncQueue();
