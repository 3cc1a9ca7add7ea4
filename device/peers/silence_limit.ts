/** The multiple of the limit after which the limit is reset: several silences and connections. */
const RESET_FACTOR = 4;

/**
 * The number of silences in a row after which a connection of a peer is given up: 1 at first. The
 * number doubles whenever the peer answers on another connection, because the peer may only be
 * busy. It is 1 again after a time in which a busy peer would have been silent again.
 */
export class SilenceLimit {
  readonly #milliseconds: number;
  #count = 1;
  #doubledAt = -Infinity;

  /** @param seconds The duration of a silence. */
  constructor(seconds: number) {
    this.#milliseconds = seconds * 1000;
  }

  get count(): number {
    const passedMilliseconds = performance.now() - this.#doubledAt;
    if (passedMilliseconds > RESET_FACTOR * this.#count * this.#milliseconds) this.#count = 1;
    return this.#count;
  }

  /** @param count The count before the connection was given up: several may be given up at once. */
  double(count: number): void {
    this.#count = Math.max(this.#count, 2 * count);
    this.#doubledAt = performance.now();
  }
}
