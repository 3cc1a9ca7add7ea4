/**
 * Handshakes in progress. Their number is limited separately from that of accepted connections.
 *
 * @module
 */

import { DeguError } from "../../base/errors.ts";

/**
 * At most this many handshakes are in progress at a time. Strangers who connect and send nothing use no slot,
 * and no more memory and descriptors than this. At the limit the oldest handshake is closed, preferably one
 * whose peer sent nothing. So strangers who stay connected can't keep clients out, not even slow ones.
 */
const MAX_PENDING = 64;

/**
 * No handshake is closed for a newer one before this time, and the newer one waits: strangers who
 * reconnect at once leave enough time for a handshake, and use a limited part of the processor.
 */
const LEAST_MILLISECONDS = 250;

/** A handshake in progress. */
export class PendingHandshake {
  /** When it began, in milliseconds. */
  readonly since: number = performance.now();
  /** True while the peer has not sent a byte; in TLS the client sends first. */
  readonly isSilent: () => boolean;
  readonly #controller = new AbortController();

  /** Makes a handshake that begins now. */
  constructor(isSilent: () => boolean) {
    this.isSilent = isSilent;
  }

  /** Aborts, with a `DeguError` that says why, when the handshake must end. */
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
        next.cut(`it was closed for a newer one, with ${MAX_PENDING} in progress`);
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

  /** Waits until the time is over or a handshake ends. */
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
