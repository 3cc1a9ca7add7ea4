/**
 * How fast something is moved.
 *
 * @module
 */

/** Anything older than this doesn't count. */
const WINDOW_MILLISECONDS = 5000;
/** A rate over less time than this is meaningless. */
const MIN_MILLISECONDS = 300;

/** The rate of the last seconds. */
export class TransferRate {
  readonly #samples: { at: number; bytes: number }[] = [];

  /** Begins at a time, in milliseconds. */
  constructor(now: number) {
    this.#samples.push({ at: now, bytes: 0 });
  }

  /** Notes how many bytes have been moved by a time. */
  note(now: number, bytes: number): void {
    this.#samples.push({ at: now, bytes });
    while (this.#samples.length > 2 && this.#samples[1]!.at <= now - WINDOW_MILLISECONDS) {
      this.#samples.shift();
    }
  }

  /** Bytes per second; `null` if it isn't known yet. */
  get bytesPerSecond(): number | null {
    const [first, last] = [this.#samples[0]!, this.#samples.at(-1)!];
    const elapsed = last.at - first.at;
    return elapsed < MIN_MILLISECONDS ? null : (last.bytes - first.bytes) / elapsed * 1000;
  }
}
