/**
 * Handshakes in progress. Their number is limited separately from that of accepted connections.
 *
 * @module
 */

import { DeguError } from "../../base/errors.ts";
import { MAX_INTERVAL } from "../deadline.ts";

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
  // An AbortController with its listeners would take much longer than this.
  readonly #end = Promise.withResolvers<never>();
  #isCut = false;

  /** Makes a handshake that begins now. */
  constructor(isSilent: () => boolean) {
    this.isSilent = isSilent;
    // The caller of `race` handles it.
    this.#end.promise.catch(() => {});
  }

  /** True once it was ended for a reason that is no fault of the peer. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /**
   * Waits for the handshake, but only until it must end. A result that comes too late is closed.
   *
   * @throws {DeguError} if it was ended, with the reason.
   * @throws {Deno.errors.TimedOut} if it has taken too long.
   */
  async race<T extends { close(): void }>(attempt: Promise<T>): Promise<T> {
    try {
      return await Promise.race([this.#end.promise, attempt]);
    } catch (error) {
      attempt.then((late) => late.close()).catch(() => {});
      throw error;
    }
  }

  /** Ends it for a reason that is no fault of the peer. */
  cut(reason: string): void {
    this.#isCut = true;
    this.#end.reject(new DeguError(reason));
  }

  /** Ends it because it has taken too long. */
  expire(seconds: number): void {
    this.#end.reject(new Deno.errors.TimedOut(`the TLS handshake took over ${seconds} s`));
  }
}

/** The handshakes of a listener. */
export class PendingHandshakes {
  readonly #timeout: number | null;
  readonly #oldestFirst = new Set<PendingHandshake>();
  #changed: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Makes an empty set.
   *
   * @param timeout Seconds that a handshake may take, or `null`.
   */
  constructor(timeout: number | null) {
    this.#timeout = timeout;
  }

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
    if (this.#timer === undefined) this.#expectExpiry(handshake);
    return handshake;
  }

  /**
   * One timer for all of them, for the oldest one. It is left alone when that ends, because starting and
   * stopping one for each handshake takes longer. A connection keeps the process alive, not this.
   */
  #expectExpiry({ since }: PendingHandshake): void {
    if (this.#timeout === null) return;
    const left = Math.max(since + this.#timeout * 1000 - performance.now(), 0);
    this.#timer = setTimeout(() => this.#expire(this.#timeout!), Math.min(left, MAX_INTERVAL));
    // Where `node:` modules are loaded the types are those of Node, whose timers are objects.
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  #expire(seconds: number): void {
    this.#timer = undefined;
    for (const handshake of this.#oldestFirst) {
      if (performance.now() - handshake.since < seconds * 1000) {
        return this.#expectExpiry(handshake);
      }
      this.delete(handshake);
      handshake.expire(seconds);
    }
  }

  /** Removes one that has ended. */
  delete(handshake: PendingHandshake): void {
    if (this.#oldestFirst.delete(handshake)) this.#changed?.();
  }

  /** Ends all of them. None may be added any more. */
  close(): void {
    clearTimeout(this.#timer);
    for (const handshake of this.#oldestFirst) {
      this.delete(handshake);
      handshake.cut("the server closed the connection");
    }
  }
}
