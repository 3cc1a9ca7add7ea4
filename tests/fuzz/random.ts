/** Random numbers that are reproducible from a seed. */

/** A generator of pseudo-random numbers (mulberry32): small, fast, and the same on every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** Returns the next number, from 0 up to, not including, 2³². */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** Returns an integer from 0 up to, not including, `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() / 4294967296 * limit);
  }

  /** Returns true with a probability of `percent` %. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  /** Returns one of the items; there must be at least one. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Returns a text of `minLength` to `maxLength` characters of a set. */
  text(set: string, minLength: number, maxLength: number): string {
    let text = "";
    for (let n = minLength + this.below(maxLength - minLength + 1); n > 0; n--) {
      text += set[this.below(set.length)];
    }
    return text;
  }
}
