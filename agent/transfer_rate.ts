/**
 * How fast something is moved.
 *
 * @module
 */

/** What is longer ago does not count. */
const WINDOW_MILLISECONDS = 5000;
/** Below this, a rate says nothing yet. */
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

  /** Bytes a second; `null` if that can't be said yet. */
  get bytesPerSecond(): number | null {
    const [first, last] = [this.#samples[0]!, this.#samples.at(-1)!];
    const elapsed = last.at - first.at;
    return elapsed < MIN_MILLISECONDS ? null : (last.bytes - first.bytes) / elapsed * 1000;
  }
}
