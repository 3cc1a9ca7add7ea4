/** Calls to one peer: over connections that are kept, and retried when a connection is lost. */

import type { Client } from "../client.ts";
import { type Retry, retry, type RetryProgress } from "../files.ts";
import { keepConnections } from "../files/route.ts";
import { reasonOf } from "./failure.ts";

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

/**
 * The connections to one peer, as many as there are simultaneous calls; closed when disposed of.
 */
export class PeerConnections implements Disposable {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #silence: number;
  readonly #kept: Disposable;
  #calls = 0;
  /** Notes a silence; runs while at least one call is under way. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;
  /** The time until which further retries are not noted. */
  #notedUntil = 0;

  /**
   * @param note Called with a text when a call is retried, and after `silence` milliseconds without
   * progress.
   * @param retries The most retries of a call without progress.
   */
  constructor(
    client: Client,
    signal: AbortSignal,
    note: (text: string) => void,
    retries: number = RETRIES,
    silence: number = SILENCE_MILLISECONDS,
  ) {
    this.#client = client;
    this.#kept = keepConnections(client);
    this.#signal = signal;
    this.#note = note;
    this.#retries = retries;
    this.#silence = silence;
  }

  /**
   * Makes a call, which connects when it is ready. If a connection is lost, the call is made again
   * after a moment.
   */
  async call<T>(action: (client: Client, moved: Moved) => Promise<T>): Promise<T> {
    const watched = (moved: Moved) =>
      action(this.#client, (progress) => {
        // The timer is not set again for each of thousands of small files a second.
        if (performance.now() - this.#heardAt > this.#silence / 100) this.#beginSilence();
        moved(progress);
      });
    const onRetry = ({ error, number, seconds }: Retry) => {
      const now = performance.now();
      // Several calls may have lost their connections at the same moment.
      if (now < this.#notedUntil) return;
      this.#notedUntil = now + seconds * 1000 / 2;
      const again = `trying again in ${seconds} s (${number} of ${this.#retries})`;
      this.#note(`${reasonOf(error)}; ${again}`);
    };
    this.#calls++;
    this.#beginSilence();
    try {
      return await retry(watched, { retries: this.#retries, signal: this.#signal, onRetry });
    } finally {
      this.#calls--;
      this.#beginSilence();
    }
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
    this.#kept[Symbol.dispose]();
  }

  /** Starts to measure the silence anew, while at least one call is under way. */
  #beginSilence(): void {
    clearTimeout(this.#timer);
    if (this.#calls === 0) return;
    this.#heardAt = performance.now();
    const text = `nothing has arrived for ${this.#silence / 1000} s; still waiting`;
    this.#timer = setTimeout(() => this.#note(text), this.#silence);
  }
}
