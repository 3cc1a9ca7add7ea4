/**
 * Trying addresses side by side, so that one that is dead or slow costs little (RFC 8305).
 *
 * @module
 */

import { TlsError, type TlsErrorCode } from "../base/errors.ts";
import type { Address } from "../base/session.ts";

/** The next attempt begins this much later, unless one fails before (RFC 8305 §5). */
export const STAGGER_MILLISECONDS = 250;

/** A connection, and where it leads to. */
export interface Reached<T> {
  readonly address: Address;
  readonly socket: T;
}

/**
 * Connects to the first of several addresses that answers as wanted, and closes all others.
 *
 * @param addresses One at least; the first one is tried first.
 * @param attempt Connects to one of them until its signal aborts.
 * @throws the reason of the signal; or where all fail the error that says most, of which `cause` is an
 * `AggregateError` of all.
 */
export async function reachFirst<T extends { close(): void }>(
  addresses: readonly Address[],
  attempt: (address: Address, signal: AbortSignal) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<Reached<T>> {
  signal?.throwIfAborted();
  const race = new Race(addresses, attempt);
  const abort = () => race.end(signal!.reason);
  signal?.addEventListener("abort", abort);
  try {
    return await race.run();
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

class Race<T extends { close(): void }> {
  readonly #addresses: readonly Address[];
  readonly #attempt: (address: Address, signal: AbortSignal) => Promise<T>;
  readonly #controller = new AbortController();
  readonly #result = Promise.withResolvers<Reached<T>>();
  readonly #errors: unknown[];
  readonly #running = new Set<Promise<void>>();
  #begun = 0;
  #failed = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    addresses: readonly Address[],
    attempt: (address: Address, signal: AbortSignal) => Promise<T>,
  ) {
    this.#addresses = addresses;
    this.#attempt = attempt;
    this.#errors = Array.from(addresses, () => undefined);
  }

  async run(): Promise<Reached<T>> {
    this.#beginNext();
    try {
      return await this.#result.promise;
    } finally {
      this.end(undefined);
      // Those that were aborted end at once; what they have opened is closed then.
      await Promise.all(this.#running);
    }
  }

  /** Ends all attempts; the first call decides how. */
  end(reason: unknown): void {
    clearTimeout(this.#timer);
    this.#result.reject(reason);
    this.#controller.abort(reason);
  }

  #beginNext(): void {
    clearTimeout(this.#timer);
    const index = this.#begun;
    if (index >= this.#addresses.length || this.#controller.signal.aborted) return;
    this.#begun++;
    const running = this.#try(index).finally(() => this.#running.delete(running));
    this.#running.add(running);
    this.#timer = setTimeout(() => this.#beginNext(), STAGGER_MILLISECONDS);
  }

  async #try(index: number): Promise<void> {
    const address = this.#addresses[index]!;
    const { signal } = this.#controller;
    try {
      const socket = await this.#attempt(address, signal);
      if (signal.aborted) return socket.close();
      this.#result.resolve({ address, socket });
      this.#controller.abort();
    } catch (error) {
      this.#errors[index] = error;
      if (++this.#failed === this.#addresses.length) {
        this.#result.reject(mostTelling(this.#errors));
      }
      this.#beginNext();
    }
  }
}

/** What the very peer says, or is, tells more than what somebody else does. */
const TELLING: readonly TlsErrorCode[] = [
  "REFUSED_BY_PEER",
  "EXPIRED",
  "NOT_YET_VALID",
  "WRONG_PURPOSE",
  "WEAK",
  "POLICY",
  "WRONG_NAME",
  "NO_CERTIFICATE",
  "UNTRUSTED",
  "NOT_TLS",
  "CLOSED",
];

/** Of errors of the system: that a program may not connect, that nobody listens, that nothing answers. */
const TELLING_CLASSES: readonly (abstract new () => Error)[] = [
  Deno.errors.NotCapable,
  Deno.errors.PermissionDenied,
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.TimedOut,
];

/** Of several errors the one that says most, the first of equals; `cause` has all of them. */
export function mostTelling(errors: readonly unknown[]): Error {
  const [first] = [...errors].sort((a, b) => rank(a) - rank(b));
  const cause = new AggregateError(errors, `all of ${errors.length} addresses fail`);
  const best = first instanceof Error ? first : new Error(String(first));
  const others = errors.length === 1 ? "" : `; and ${errors.length - 1} more addresses fail`;
  const message = best.message + others;
  if (best instanceof TlsError) return new TlsError(best.code, message, { cause });
  const Class = Object.values(Deno.errors).find((each) => best.constructor === each) ?? Error;
  return Object.assign(
    new Class(message, { cause }),
    "code" in best ? { code: best.code } : {},
  );
}

function rank(error: unknown): number {
  if (error instanceof TlsError) return TELLING.indexOf(error.code);
  const index = TELLING_CLASSES.findIndex((each) => error instanceof each);
  return TELLING.length + (index < 0 ? TELLING_CLASSES.length : index);
}
