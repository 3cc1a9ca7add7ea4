/**
 * Tries the addresses of a device in parallel (RFC 8305 §5).
 *
 * @module
 */

import type { Address } from "../base/address_rules.ts";

/** Milliseconds between the starts of two attempts (RFC 8305 §5). */
const STAGGER_MILLISECONDS = 250;

/** How a race is aborted, and how late results are discarded. */
export interface RaceOptions<T> {
  /** Closes the result of an attempt that succeeded too late. */
  readonly discard: (loser: T) => void;
  /** Aborts the race with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Tries addresses in parallel and returns the result of the first attempt that succeeds. The next attempt
 * begins 250 ms after the last, or at once when one fails. Then the signals of the others are aborted, and
 * results that come later are discarded.
 *
 * @param addresses The addresses, in the order in which they are tried.
 * @param attempt Connects to one, and verifies the peer; it must obey its signal.
 * @returns The result of the first attempt that succeeded.
 * @throws {AggregateError} if all fail, with the errors in the order of the addresses; without
 * errors if there is no address.
 * @throws the reason of `signal` if it is aborted.
 */
export async function raceAddresses<T>(
  addresses: readonly Address[],
  attempt: (address: Address, signal: AbortSignal) => Promise<T>,
  { discard, signal }: RaceOptions<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const race = new Race(addresses, attempt, discard);
  const abort = () => race.abort(signal!.reason);
  signal?.addEventListener("abort", abort);
  try {
    race.startNext();
    return await race.result;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

class Race<T> {
  readonly result: Promise<T>;
  readonly #addresses: readonly Address[];
  readonly #attempt: (address: Address, signal: AbortSignal) => Promise<T>;
  readonly #discard: (loser: T) => void;
  readonly #outcome = Promise.withResolvers<T>();
  readonly #controller = new AbortController();
  readonly #errors: unknown[] = [];
  #started = 0;
  #failed = 0;
  #isOver = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    addresses: readonly Address[],
    attempt: (address: Address, signal: AbortSignal) => Promise<T>,
    discard: (loser: T) => void,
  ) {
    this.#addresses = [...addresses];
    this.#attempt = attempt;
    this.#discard = discard;
    this.result = this.#outcome.promise;
  }

  abort(reason: unknown): void {
    if (this.#isOver) return;
    this.#end(reason);
    this.#outcome.reject(reason);
  }

  startNext(): void {
    clearTimeout(this.#timer);
    const index = this.#started;
    const address = this.#addresses[index];
    if (address === undefined) {
      if (this.#failed === this.#addresses.length) this.#fail();
      return;
    }
    this.#started++;
    if (this.#started < this.#addresses.length) {
      this.#timer = setTimeout(() => this.startNext(), STAGGER_MILLISECONDS);
    }
    this.#run(address, index);
  }

  async #run(address: Address, index: number): Promise<void> {
    let made: T;
    try {
      made = await this.#attempt(address, this.#controller.signal);
    } catch (error) {
      if (this.#isOver) return;
      this.#errors[index] = error;
      this.#failed++;
      return this.startNext();
    }
    if (this.#isOver) return this.#discard(made);
    this.#end(new DOMException("another address was faster", "AbortError"));
    this.#outcome.resolve(made);
  }

  #fail(): void {
    this.#isOver = true;
    this.#outcome.reject(new AggregateError(this.#errors, "could not connect to any address"));
  }

  #end(reason: unknown): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#controller.abort(reason);
  }
}
