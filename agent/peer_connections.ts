/** Reused connections to one peer, and calls that are retried when a connection is lost. */

import type { Client } from "../client.ts";
import { type Retry, retry, type RetryProgress } from "../files.ts";
import { keepConnections } from "../files/route.ts";
import { reasonOf } from "./failure.ts";

/** How many things are done at a time: while one waits for the disk, another is being transferred. */
const AT_A_TIME = 4;

const RETRIES = 3;

/** Called after progress, which resets the count of retries. */
export type Moved = (progress?: RetryProgress) => void;

/** A peer that has been silent for this long is worth a message: nobody knows otherwise whether anything happens. */
const SILENCE_MILLISECONDS = 10_000;

/** The connections to one peer: as many as there are calls at a time. Disposing of them closes them. */
export class PeerConnections implements Disposable {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #silence: number;
  readonly #kept: Disposable;
  #calls = 0;
  /** Runs while any call is under way. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;
  /** Until then another retry is not reported. */
  #notedUntil = 0;

  /**
   * @param note Called when a call is retried, and when nothing has been moved for `silence` milliseconds.
   * @param retries The most retries before something has been moved again.
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
   * Makes a call, which connects when it is ready. The call is made again if a connection is lost,
   * after a moment.
   */
  async call<T>(action: (client: Client, moved: Moved) => Promise<T>): Promise<T> {
    const watched = (moved: Moved) =>
      action(this.#client, (progress) => {
        // Of small files there are thousands a second.
        if (performance.now() - this.#heardAt > this.#silence / 100) this.#beginSilence();
        moved(progress);
      });
    const onRetry = ({ error, number, delay }: Retry) => {
      const now = performance.now();
      // Several calls may have lost their connections at the same moment.
      if (now < this.#notedUntil) return;
      this.#notedUntil = now + delay / 2;
      const again = `trying again in ${delay / 1000} s (${number} of ${this.#retries})`;
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

  /** Does something with each of them, a few at a time; the first error ends it. */
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
    // The first error is the reason that counts.
    const running = () => run().catch((error) => stopping.abort(error));
    await Promise.all(Array.from({ length: AT_A_TIME }, running));
    either.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#kept[Symbol.dispose]();
  }

  /** A new silence, where any call is under way. */
  #beginSilence(): void {
    clearTimeout(this.#timer);
    if (this.#calls === 0) return;
    this.#heardAt = performance.now();
    const text = `nothing has arrived for ${this.#silence / 1000} s; still waiting`;
    this.#timer = setTimeout(() => this.#note(text), this.#silence);
  }
}
