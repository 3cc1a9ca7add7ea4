/** Reused connections to one peer, and calls that are retried when a connection is lost. */

import type { Client, Connection } from "../client.ts";
import { isTransient, type Retry, retry, type RetryProgress } from "../files.ts";
import { reasonOf } from "./failure.ts";

/** How many things are done at a time: while one waits for the disk, another is being transferred. */
const AT_A_TIME = 4;

const RETRIES = 3;

/** Called after progress, which resets the count of retries. */
export type Moved = (progress?: RetryProgress) => void;

/** A peer that has been silent for this long is worth a message: nobody knows otherwise whether anything happens. */
const SILENCE_MILLISECONDS = 10_000;

type Call<Target, T> = (target: Target, moved: Moved) => Promise<T>;

/** The connections to one peer: as many as there are calls at a time. Disposing of them closes them. */
export class PeerConnections implements Disposable {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #silence: number;
  /** Open ones, and some that have been closed since. */
  readonly #idle: Connection[] = [];
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
    this.#signal = signal;
    this.#note = note;
    this.#retries = retries;
    this.#silence = silence;
  }

  /** Makes a call over a connection that no other call is using; retries it if that can help. */
  call<T>(action: Call<Connection, T>): Promise<T> {
    return this.#retried(async (moved) => {
      let used;
      do used = this.#idle.pop(); while (used?.closed);
      let hasMoved = false;
      const noteMoved: Moved = (progress) => {
        hasMoved = true;
        moved(progress);
      };
      try {
        if (used !== undefined) return await this.#callOver(used, action, noteMoved);
      } catch (error) {
        // The server may close a connection between two calls: that is no reason to wait.
        if (hasMoved || !isTransient(error)) throw error;
      }
      const connection = await this.#client.connect(undefined, { signal: this.#signal });
      return await this.#callOver(connection, action, moved);
    });
  }

  /** Makes a call that connects when it is ready: one that reads a large file first. */
  callAnew<T>(action: Call<Client, T>): Promise<T> {
    return this.#retried((moved) => action(this.#client, moved));
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
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  async #callOver<T>(
    connection: Connection,
    action: Call<Connection, T>,
    moved: Moved,
  ): Promise<T> {
    try {
      const result = await action(connection, moved);
      this.#idle.push(connection);
      return result;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  async #retried<T>(attempt: (moved: Moved) => Promise<T>): Promise<T> {
    const watched = (moved: Moved) =>
      attempt((progress) => {
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

  /** A new silence, where any call is under way. */
  #beginSilence(): void {
    clearTimeout(this.#timer);
    if (this.#calls === 0) return;
    this.#heardAt = performance.now();
    const text = `nothing has arrived for ${this.#silence / 1000} s; still waiting`;
    this.#timer = setTimeout(() => this.#note(text), this.#silence);
  }
}
