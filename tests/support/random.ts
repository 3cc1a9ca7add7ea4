/** Random choices of tests, which a seed determines. */

/** A pseudorandom generator (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let value = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  integer(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.integer(choices.length)]!;
  }

  shuffle<T>(choices: readonly T[]): T[] {
    const shuffled = [...choices];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
    }
    return shuffled;
  }
}

/** Makes the function of a test with random choices; an error that it throws names their seed. */
export function withRandom(
  run: (random: Random) => Promise<void>,
  seed: number = Math.floor(Math.random() * 2 ** 31),
): () => Promise<void> {
  return async () => {
    try {
      await run(new Random(seed));
    } catch (error) {
      throw new Error(`failed with seed ${seed}, the second argument of withRandom`, {
        cause: error,
      });
    }
  };
}
