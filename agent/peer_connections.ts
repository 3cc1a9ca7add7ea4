/**
 * Reused connections to one peer, and calls that are retried when a connection is lost.
 *
 * @module
 */

import type { Client, Connection } from "../client.ts";
import { isTransient, type Retry, retry, type RetryProgress } from "../files.ts";
import { reasonOf } from "./failure.ts";

/** How many things are done at a time: while one waits for the disk, another is being transferred. */
const AT_A_TIME = 4;

/** How many times a call is retried. */
const RETRIES = 3;

/** Called after progress, which resets the count of retries. */
export type Moved = (progress?: RetryProgress) => void;

/** A peer that has been silent for this long is worth a message: nobody knows otherwise whether anything happens. */
const SILENCE_MILLISECONDS = 10_000;

/** What is moved, and by what. */
export type Call<Target, T> = (target: Target, moved: Moved) => Promise<T>;

/** The connections to one peer: as many as there are calls at a time. */
export class PeerConnections implements Disposable {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #silence: number;
  readonly #idle: Connection[] = [];
  #notedUntil = 0;
  /** Calls that are under way. */
  #calls = 0;
  #silenceTimer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Connects to nothing yet.
   *
   * @param note Called when a call is retried, and when nothing has been moved for a while.
   * @param retries The most retries before something has been moved again.
   * @param silence Milliseconds after which that is reported.
   */
  constructor(
    client: Client,
    signal: AbortSignal,
    note: (text: string) => void,
    retries: number = RETRIES,
    silence: number = SILENCE_MILLISECONDS,
  ) {
    this.#retries = retries;
    this.#silence = silence;
    this.#client = client;
    this.#signal = signal;
    this.#note = note;
  }

  /** Makes a call over a connection that no other call is using; retries it if that can help. */
  async call<T>(action: Call<Connection, T>): Promise<T> {
    return await this.#retry(async (moved) => {
      const used = this.#takeIdle();
      if (used === undefined) return await this.#callOver(await this.#connect(), action, moved);
      let hasMoved = false;
      try {
        return await this.#callOver(used, action, (progress) => {
          hasMoved = true;
          moved(progress);
        });
      } catch (error) {
        // The server may close a connection between two calls: that is no reason to wait.
        if (hasMoved || !isTransient(error)) throw error;
        return await this.#callOver(await this.#connect(), action, moved);
      }
    });
  }

  async #callOver<T>(
    connection: Connection,
    action: Call<Connection, T>,
    moved: Moved,
  ): Promise<T> {
    let isUsable = false;
    try {
      const result = await action(connection, moved);
      isUsable = true;
      return result;
    } finally {
      if (isUsable && !connection.closed) this.#idle.push(connection);
      else connection.close();
    }
  }

  /** Makes a call that connects when it is ready: one that reads a large file first. */
  async callAnew<T>(action: Call<Client, T>): Promise<T> {
    return await this.#retry((moved) => action(this.#client, moved));
  }

  /** Does something with each of them, a few at a time; the first error ends it. */
  async each<T>(items: Iterable<T>, work: (item: T, signal: AbortSignal) => Promise<void>) {
    const stopping = new AbortController();
    const signal = AbortSignal.any([this.#signal, stopping.signal]);
    const waiting = Iterator.from(items);
    const run = async () => {
      for (const item of waiting) {
        if (signal.aborted) return;
        await work(item, signal);
      }
    };
    // The first error is the reason that counts.
    const running = () => run().catch((error) => stopping.abort(error));
    await Promise.all(Array.from({ length: AT_A_TIME }, running));
    signal.throwIfAborted();
  }

  async #retry<T>(attempt: (moved: Moved) => Promise<T>): Promise<T> {
    const onRetry = (retry: Retry) => this.#noteRetry(retry);
    const options = { retries: this.#retries, signal: this.#signal, onRetry };
    const watched = (moved: Moved) =>
      attempt((progress) => {
        this.#watchSilence();
        moved(progress);
      });
    this.#calls++;
    this.#watchSilence();
    try {
      return await retry(watched, options);
    } finally {
      this.#calls--;
      this.#watchSilence();
    }
  }

  /** Begins a new silence, where any call is under way. */
  #watchSilence(): void {
    clearTimeout(this.#silenceTimer);
    if (this.#calls === 0) return;
    const text = `nothing has arrived for ${this.#silence / 1000} s; still waiting`;
    this.#silenceTimer = setTimeout(() => this.#note(text), this.#silence);
  }

  #takeIdle(): Connection | undefined {
    let connection;
    do connection = this.#idle.pop(); while (connection?.closed);
    return connection;
  }

  #connect(): Promise<Connection> {
    return this.#client.connect(undefined, { signal: this.#signal });
  }

  /** Reports it once if several calls have lost their connections at the same moment. */
  #noteRetry({ error, number, delay }: Retry): void {
    const now = performance.now();
    if (now < this.#notedUntil) return;
    this.#notedUntil = now + delay / 2;
    this.#note(
      `${reasonOf(error)}; trying again in ${delay / 1000} s (${number} of ${this.#retries})`,
    );
  }

  /** Closes the connections. */
  [Symbol.dispose](): void {
    for (const connection of this.#idle.splice(0)) connection.close();
  }
}
