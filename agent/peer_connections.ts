/** Calls to one peer: over connections that are kept, and retried when a connection is lost. */

import { pause } from "../base/pause.ts";
import type { Client } from "../client.ts";
import { type Retry, retry, type RetryProgress } from "../files.ts";
import { keepConnections } from "../files/route.ts";
import { isAway, reasonOf } from "./failure.ts";

/**
 * How many calls `each` makes at a time: while one waits for the disk, another is being
 * transferred.
 */
const AT_A_TIME = 4;

const RETRIES = 3;

/** A function to call after each progress, which resets the count of retries. */
export type Moved = (progress?: RetryProgress) => void;

/** After this long without any progress, a note says that the command is still waiting. */
const SILENCE_MILLISECONDS = 10_000;

/** The pause between two attempts to reach a peer that is waited for. */
const WAIT_MILLISECONDS = 2000;

export interface PeerConnectionsOptions {
  /** The most retries of a call without progress. */
  readonly retries?: number | undefined;
  /** Milliseconds without progress, after which a note says so. */
  readonly silence?: number | undefined;
  /** Seconds to wait, without a note, for a peer at whose addresses nothing answers. */
  readonly wait?: number | undefined;
}

/**
 * The connections to one peer, as many as there are simultaneous calls; closed when disposed of.
 */
export class PeerConnections implements Disposable {
  readonly #open: () => Promise<Client>;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #silence: number;
  readonly #wait: number;
  /** The client, which is made when a call needs it, and its connections. */
  #client: Promise<Client> | null = null;
  #kept: Disposable | null = null;
  #calls = 0;
  /** Notes a silence; runs while at least one call is under way. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The time at which that timer was set. */
  #silentSince = 0;
  /** The time of the last progress of any call; `null` before the first. */
  #movedAt: number | null = null;
  /** The time until which further retries are not noted. */
  #notedUntil = 0;

  /**
   * @param open Makes a client of the peer, which knows all addresses.
   * @param note Called with a text when a call is retried, and after a silence.
   */
  constructor(
    open: () => Promise<Client>,
    signal: AbortSignal,
    note: (text: string) => void,
    options: PeerConnectionsOptions = {},
  ) {
    const { retries = RETRIES, silence = SILENCE_MILLISECONDS, wait = 0 } = options;
    this.#open = open;
    this.#signal = signal;
    this.#note = note;
    this.#retries = retries;
    this.#silence = silence;
    this.#wait = wait * 1000;
  }

  /**
   * Makes a call, which connects when it is ready. If a connection is lost, the call is made again
   * after a moment. A peer that is off is not tried again, but may be waited for.
   */
  async call<T>(action: (client: Client, moved: Moved) => Promise<T>): Promise<T> {
    this.#calls++;
    this.#beginSilence();
    try {
      for (const begin = performance.now();;) {
        try {
          return await this.#retry(action);
        } catch (error) {
          this.#signal.throwIfAborted();
          const left = Math.max(begin, this.#movedAt ?? begin) + this.#wait - performance.now();
          if (!isAway(error) || left <= 0) throw error;
          // A silence is none while the peer is away.
          clearTimeout(this.#timer);
          await pause(Math.min(left, WAIT_MILLISECONDS), this.#signal);
          this.#beginSilence();
        }
      }
    } finally {
      this.#calls--;
      this.#beginSilence();
    }
  }

  /** Makes a call, and retries it as long as the peer is there. */
  async #retry<T>(action: (client: Client, moved: Moved) => Promise<T>): Promise<T> {
    const opened = this.#client ??= this.#connect();
    const onRetry = ({ error, number, delay }: Retry) => {
      // Nothing has moved, so the peer was off from the start; or it is waited for, in `call`.
      if (isAway(error) && (this.#wait > 0 || this.#movedAt === null)) throw error;
      if (this.#wait > 0) return;
      const now = performance.now();
      // Several calls may have lost their connections at the same moment.
      if (now < this.#notedUntil) return;
      this.#notedUntil = now + delay / 2;
      const again = `trying again in ${delay / 1000} s (${number} of ${this.#retries})`;
      this.#note(`${reasonOf(error)}; ${again}`);
    };
    try {
      const client = await opened;
      const attempt = (moved: Moved) =>
        action(client, (progress) => {
          this.#moved();
          moved(progress);
        });
      const result = await retry(attempt, {
        retries: this.#retries,
        signal: this.#signal,
        onRetry,
      });
      this.#moved();
      return result;
    } catch (error) {
      // A search may find other addresses next time.
      if (isAway(error) && this.#client === opened) this[Symbol.dispose]();
      throw error;
    }
  }

  async #connect(): Promise<Client> {
    const client = await this.#open();
    this.#kept = keepConnections(client);
    return client;
  }

  #moved(): void {
    this.#movedAt = performance.now();
    // The timer is not set again for each of thousands of small files a second.
    if (this.#movedAt - this.#silentSince > this.#silence / 100) this.#beginSilence();
  }

  /** Does some work for each item, for a few items at a time; the first error ends it. */
  async each<T>(
    items: Iterable<T>,
    work: (item: T, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const stopping = new AbortController();
    const either = AbortSignal.any([this.#signal, stopping.signal]);
    const waiting = Iterator.from(items);
    const run = async () => {
      for (const item of waiting) {
        if (either.aborted) return;
        await work(item, either);
      }
    };
    // The first error is the one that `each` rejects with.
    const running = () => run().catch((error) => stopping.abort(error));
    await Promise.all(Array.from({ length: AT_A_TIME }, running));
    either.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#kept?.[Symbol.dispose]();
    this.#client = this.#kept = null;
  }

  /** Starts to measure the silence anew, while at least one call is under way. */
  #beginSilence(): void {
    clearTimeout(this.#timer);
    if (this.#calls === 0) return;
    this.#silentSince = performance.now();
    const text = `nothing has arrived for ${this.#silence / 1000} s; still waiting`;
    this.#timer = setTimeout(() => this.#note(text), this.#silence);
  }
}
