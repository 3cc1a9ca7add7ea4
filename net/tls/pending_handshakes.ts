/**
 * Handshakes that are under way. They are bounded apart from the connections that were let in.
 *
 * @module
 */

import { DeguError } from "../../base/errors.ts";

/**
 * So many handshakes may be under way at a time. Strangers who connect and say nothing take none of
 * the places of those who are let in, and no more memory and descriptors than this. When it is full
 * the oldest one gives way of those whose peer has said nothing, or else of all: strangers who never
 * go keep nobody out, also not a client that is slow.
 */
const MAX_PENDING = 64;

/**
 * No handshake gives way before it has had this long, and the next one waits instead: strangers who
 * connect again at once leave enough time for a handshake, and cost a bounded part of the processor.
 */
const LEAST_MILLISECONDS = 250;

/** A handshake under way. */
export class PendingHandshake {
  /** When it began, in milliseconds. */
  readonly since: number = performance.now();
  /** True while the peer has not sent a byte; a client of TLS speaks first. */
  readonly isSilent: () => boolean;
  readonly #controller = new AbortController();

  /** Makes one that begins now. */
  constructor(isSilent: () => boolean) {
    this.isSilent = isSilent;
  }

  /** Aborts, with a `DeguError` that says why, when the handshake has to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends it. */
  cut(reason: string): void {
    this.#controller.abort(new DeguError(reason));
  }
}

/** The handshakes of a listener. */
export class PendingHandshakes {
  readonly #oldestFirst = new Set<PendingHandshake>();
  #changed: (() => void) | null = null;

  /** Waits until there is room for one more; for one caller at a time. */
  async makeRoom(): Promise<void> {
    while (this.#oldestFirst.size >= MAX_PENDING) {
      const next = this.#nextToGo();
      const left = next.since + LEAST_MILLISECONDS - performance.now();
      if (left > 0) {
        await this.#wait(left);
      } else {
        this.delete(next);
        next.cut(`it gave way to a newer one, with ${MAX_PENDING} under way`);
      }
    }
  }

  #nextToGo(): PendingHandshake {
    for (const handshake of this.#oldestFirst) {
      if (handshake.isSilent()) return handshake;
    }
    const [oldest] = this.#oldestFirst;
    return oldest!;
  }

  /** Waits for the time to be over, or for a handshake to end. */
  async #wait(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#changed = resolve;
    const timer = setTimeout(resolve, milliseconds);
    await promise;
    clearTimeout(timer);
    this.#changed = null;
  }

  /** Adds one that begins now. */
  add(isSilent: () => boolean): PendingHandshake {
    const handshake = new PendingHandshake(isSilent);
    this.#oldestFirst.add(handshake);
    return handshake;
  }

  /** Removes one that has ended. */
  delete(handshake: PendingHandshake): void {
    if (this.#oldestFirst.delete(handshake)) this.#changed?.();
  }

  /** Ends all of them. */
  close(): void {
    for (const handshake of this.#oldestFirst) {
      this.delete(handshake);
      handshake.cut("the server closed the connection");
    }
  }
}
