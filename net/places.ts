/**
 * The places of a server: how many connections it serves at a time.
 *
 * @module
 */

const WAIT_FOR_PLACE_MILLISECONDS = 2000;

/** A connection that has a place. */
export interface Place {
  /** Closes it, now. */
  close(): void;
  /** True while nothing is lost by closing it. */
  isIdle(): boolean;
}

/** The connections that have a place. */
export class Places {
  readonly #most: number;
  readonly #taken = new Map<Place, Promise<void>>();
  #waitEnds: (() => void) | null = null;
  #stopped = false;

  /** Makes so many places, which can be `Infinity`. */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Waits for a free place; false where there is none in time, or no more. One caller at a time waits,
   * and accepts nobody else meanwhile: the system's queue does the rest.
   */
  async wait(): Promise<boolean> {
    if (this.#taken.size >= this.#most && !this.#stopped) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waitEnds = resolve;
      const timer = setTimeout(resolve, WAIT_FOR_PLACE_MILLISECONDS);
      await promise;
      clearTimeout(timer);
      this.#waitEnds = null;
    }
    return this.#taken.size < this.#most && !this.#stopped;
  }

  /** Takes a place until the promise, which never rejects, is fulfilled. */
  take(place: Place, serving: Promise<void>): void {
    const ended = serving.then(() => {
      this.#taken.delete(place);
      this.#waitEnds?.();
    });
    this.#taken.set(place, ended);
  }

  /** Gives out no more places. */
  stop(): void {
    this.#stopped = true;
    this.#waitEnds?.();
  }

  /** Closes all connections. */
  close(): void {
    for (const place of this.#taken.keys()) place.close();
  }

  /** Closes the connections that lose nothing by it. */
  closeIdle(): void {
    for (const place of this.#taken.keys()) {
      if (place.isIdle()) place.close();
    }
  }

  /** Resolves when all connections have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#taken.values());
  }
}
