import { DeguError } from "@degu/degu/base";
import { pause } from "../machine/pause.ts";
import {
  type Connection,
  ConnectionPool,
  type Connector,
  isTransient,
  retry,
  type RetryEvent,
} from "@degu/degu/client";
import type { Context } from "../machine/context.ts";
import { reasonOf } from "../words/explain.ts";
import { isUnreachable } from "../words/error_codes.ts";
import type { Output } from "../terminal/output.ts";

/** The number of concurrent calls: while one waits for the disk, another transfers. */
const MAX_CONCURRENT_CALLS = 4;

const DEFAULT_RETRIES = 3;

/** An action calls it after progress, which resets the count of retries. */
export type OnProgress = (progress?: { readonly done: number }) => void;

const RECONNECT_MILLISECONDS = 2000;

type PeerContext = Pick<Context, "signal" | "options"> & { readonly output: Pick<Output, "note"> };

/** The connections of a command to a peer: its retries, their notes, and `--wait`. */
export class PeerConnections implements Connector, Disposable {
  readonly peer: string;
  readonly #client: Connector;
  readonly #pool = new ConnectionPool(this, { maxConnections: Infinity });
  readonly #signal: AbortSignal;
  readonly #output: Pick<Output, "note">;
  readonly #retries: number;
  readonly #waitMilliseconds: number;
  #hasProgress = false;
  /**
   * When the peer was first found offline; `null` while it is online, and after progress while no
   * connection waits.
   */
  #offlineSince: number | null = null;
  #nextNoteAt = 0;
  #waitingCount = 0;

  constructor(
    { signal, output, options: { wait = 0 } }: PeerContext,
    peer: string,
    client: Connector,
    retries = DEFAULT_RETRIES,
  ) {
    this.peer = peer;
    this.#client = client;
    this.#signal = signal;
    this.#output = output;
    this.#retries = retries;
    this.#waitMilliseconds = wait * 1000;
  }

  /**
   * Retries a call as long as its errors are transient, or the peer may have processed it: calls
   * are idempotent. The library marks each error of a stream after the first byte as final.
   */
  async call<T>(
    action: (pool: ConnectionPool, onProgress: OnProgress) => Promise<T>,
  ): Promise<T> {
    const attempt = (onProgress: OnProgress) =>
      action(this.#pool, (progress) => {
        this.#onProgress();
        onProgress(progress);
      });
    const onRetry = (event: RetryEvent) => this.onRetry(event);
    const when = (error: unknown) =>
      isTransient(error) || error instanceof DeguError && error.maybeProcessed;
    const options = { retries: this.#retries, signal: this.#signal, when, onRetry };
    const result = await retry(attempt, options);
    this.#onProgress();
    return result;
  }

  copyTree<T>(
    copy: (pool: ConnectionPool, retries: number, onProgress: () => void) => Promise<T>,
  ): Promise<T> {
    return copy(this.#pool, this.#retries, () => this.#onProgress());
  }

  async connect(options?: Parameters<Connector["connect"]>[0]): Promise<Connection> {
    const { signal: attemptSignal = this.#signal } = options ?? {};
    const signal = AbortSignal.any([this.#signal, attemptSignal]);
    let isWaiting = false;
    using _end = { [Symbol.dispose]: () => this.#waitingCount -= isWaiting ? 1 : 0 };
    for (const startedAt = performance.now();;) {
      try {
        const connection = await this.#client.connect({ signal }) as Connection;
        this.#offlineSince = null;
        return connection;
      } catch (error) {
        signal.throwIfAborted();
        if (!isUnreachable(error)) throw error;
        // Several connections in a row must not wait longer than one.
        this.#offlineSince ??= startedAt;
        const remainingMilliseconds = this.#offlineSince + this.#waitMilliseconds -
          performance.now();
        if (remainingMilliseconds <= 0) throw error;
        if (!isWaiting) this.#waitingCount++;
        isWaiting = true;
        await pause(Math.min(remainingMilliseconds, RECONNECT_MILLISECONDS), signal);
      }
    }
  }

  /** Called before each retry: also before the library itself continues a tree or a stream. */
  onRetry({ error, number, seconds }: RetryEvent): void {
    // Don't retry if the peer was offline from the start, or if `connect()` has waited for it.
    if (isUnreachable(error) && (this.#waitMilliseconds > 0 || !this.#hasProgress)) {
      throw error;
    }
    if (this.#waitMilliseconds > 0) return;
    const now = performance.now();
    // Several calls may lose their connections at the same time: print one line.
    if (now < this.#nextNoteAt) return;
    this.#nextNoteAt = now + seconds * 1000 / 2;
    const retryText = `trying again in ${seconds} s (${number} of ${this.#retries})`;
    this.#output.note(`${reasonOf(error, this.peer)}; ${retryText}`);
  }

  #onProgress(): void {
    this.#hasProgress = true;
    // A late progress of a lost connection doesn't show that the peer is back.
    if (this.#waitingCount === 0) this.#offlineSince = null;
  }

  async forEachConcurrently<T>(
    items: Iterable<T>,
    work: (item: T, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const stopController = new AbortController();
    const anySignal = AbortSignal.any([this.#signal, stopController.signal]);
    const remainingItems = Iterator.from(items);
    const run = async () => {
      for (const item of remainingItems) {
        if (anySignal.aborted) return;
        await work(item, anySignal);
      }
    };
    // Reject with the first error.
    const runUntilError = () => run().catch((error) => stopController.abort(error));
    await Promise.all(Array.from({ length: MAX_CONCURRENT_CALLS }, runUntilError));
    anySignal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#pool.close();
  }
}
