/**
 * Tries the addresses of a device in parallel (RFC 8305 §5).
 *
 * @module
 */

import type { Address } from "../base/address_rules.ts";

/** Milliseconds between the starts of two attempts (RFC 8305 §5). */
const STAGGER_MILLISECONDS = 250;

/** How a race is aborted, and how late results are discarded. */
interface RaceOptions<T> {
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
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const controller = new AbortController();
  const waiting = [...addresses.entries()];
  const errors: unknown[] = [];
  let running = 0;
  let isOver = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** At once, so that nothing succeeds unseen in between. */
  const end = (reason: unknown) => {
    isOver = true;
    clearTimeout(timer);
    controller.abort(reason);
  };
  const startNext = () => {
    clearTimeout(timer);
    const next = waiting.shift();
    if (waiting.length > 0) timer = setTimeout(startNext, STAGGER_MILLISECONDS);
    if (next !== undefined) run(...next);
    else if (running === 0) reject(new AggregateError(errors, "could not connect to any address"));
  };
  const run = async (index: number, address: Address) => {
    running++;
    try {
      const made = await attempt(address, controller.signal);
      if (isOver) return discard(made);
      end(new DOMException("another address was faster", "AbortError"));
      resolve(made);
    } catch (error) {
      errors[index] = error;
      running--;
      if (!isOver) startNext();
    }
  };
  const abort = () => {
    end(signal!.reason);
    reject(signal!.reason);
  };
  signal?.addEventListener("abort", abort);
  try {
    startNext();
    return await promise;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
