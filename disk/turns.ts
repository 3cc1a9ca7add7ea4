/** Turns: synchronous work with many files that leaves the thread to others in between. */

/** How long others may wait for the thread. */
const TURN_MILLISECONDS = 4;

/**
 * Measures how long this thread has been occupied. Small files are handled with synchronous operations, which cost a
 * fraction of asynchronous ones; connections are served between two turns.
 */
export class Turns {
  #began = performance.now();

  /** True once others should have their turn. */
  get isOver(): boolean {
    return performance.now() - this.#began >= TURN_MILLISECONDS;
  }

  /**
   * Leaves the thread to others, by a real operation of 50 µs: microtasks, `setImmediate` and a `MessageChannel` let no
   * socket in (measured: 470 ms for a round trip), nor do operations that are ready at once, like most reads and writes of
   * a body; and a timer takes 2 ms.
   *
   * @param path A directory that the program can read.
   */
  async next(path: string): Promise<void> {
    // Whether it is still there is for the caller to find out.
    await Deno.lstat(path).catch(() => {});
    this.#began = performance.now();
  }
}
