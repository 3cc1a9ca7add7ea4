/** The calls to one peer: reuses connections, and retries calls after a lost connection. */

import { pause } from "./pause.ts";
import { setTransferTraits } from "@degu/degu/agent_support";
import {
  type Client,
  type ClientOptions,
  type Connection,
  ConnectionPool,
  type Connector,
} from "@degu/degu/client";
import { retry, type RetryEvent, type RetryProgress } from "@degu/degu/files";
import { reasonOf } from "./explain.ts";
import { isPeerOffline } from "./failure.ts";

/** The number of concurrent calls: while one waits for the disk, another transfers. */
const MAX_CONCURRENT_CALLS = 4;

const DEFAULT_RETRIES = 3;

/** A function to call after each progress, which resets the count of retries. */
export type OnProgress = (progress?: RetryProgress) => void;

/**
 * The time without progress after which another connection is tried beside the stalled ones. If the
 * peer responds on it, the calls continue on it, and the next limit is twice as long: a busy peer
 * that hashes a large file has to start again each time.
 */
const STALL_MILLISECONDS = 10_000;

/** The pause between two attempts to connect to a peer that is off. */
const RECONNECT_MILLISECONDS = 2000;

export interface PeerConnectionsOptions {
  /** The most retries of a call without progress. */
  readonly retries?: number | undefined;
  /** Milliseconds without progress that are a stall. */
  readonly silence?: number | undefined;
  /** Seconds to wait silently for a peer that is off. */
  readonly wait?: number | undefined;
}

/**
 * Makes a client of a peer, with these options.
 *
 * @param isAgain Whether another connection has stalled, so that all known addresses are tried.
 */
export type Open = (options: ClientOptions, isAgain: boolean) => Promise<Client>;

/** A client that all calls share, until it is dropped. */
class SharedClient {
  readonly client: Promise<Client>;
  readonly #dropped = new AbortController();

  constructor(open: Open, signal: AbortSignal, isAgain = false) {
    const either = AbortSignal.any([signal, this.#dropped.signal]);
    this.client = open({ signal: either }, isAgain);
    // After an interruption no call awaits this promise.
    this.client.catch(() => {});
  }

  get isDropped(): boolean {
    return this.#dropped.signal.aborted;
  }

  /** Ends all connections, also those that are being opened. */
  drop(): void {
    // The library treats this class of error as a lost connection, not as the failure of one file.
    this.#dropped.abort(
      new Deno.errors.ConnectionAborted("another connection has taken its place"),
    );
  }
}

/** Detects that running calls have no progress for a while. */
class StallDetector {
  /** Milliseconds without progress that are a stall. */
  limit: number;
  readonly #onSilence: (ended: AbortSignal) => void;
  #calls = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #startedAt = 0;
  /** Aborted when the stall ends; `null` without a stall. */
  #silent: AbortController | null = null;

  /** @param onSilence Gets a signal that is aborted when the stall has ended. */
  constructor(limit: number, onSilence: (ended: AbortSignal) => void) {
    this.limit = limit;
    this.#onSilence = onSilence;
  }

  async during<T>(call: () => Promise<T>): Promise<T> {
    this.#calls++;
    this.restart();
    try {
      return await call();
    } finally {
      this.#calls--;
      this.restart();
    }
  }

  /** Called after each progress. */
  heard(): void {
    // Thousands of small files a second must not reset the timer each time.
    const isRecent = performance.now() - this.#startedAt <= this.limit / 100;
    if (!isRecent || this.#silent !== null) this.restart();
  }

  restart(): void {
    clearTimeout(this.#timer);
    this.#silent?.abort();
    this.#silent = null;
    if (this.#calls === 0) return;
    this.#startedAt = performance.now();
    this.#timer = setTimeout(() => {
      this.#silent = new AbortController();
      this.#onSilence(this.#silent.signal);
    }, this.limit);
  }
}

/** The connections to one peer, one for each simultaneous call; closed when disposed of. */
export class PeerConnections implements Disposable {
  /** Opens connections at the current addresses of the peer. */
  readonly connector: Connector = { connect: (options) => this.#connect(options) };
  /** The connections of all calls, which are all idempotent. */
  readonly #pool = new ConnectionPool(this.connector, { maxConnections: Infinity, repeat: "any" });
  readonly #open: Open;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #silence: StallDetector;
  readonly #wait: number;
  /** The client of all new connections, from the first on. */
  #current: SharedClient | null = null;
  /** The time of the last progress of any call; `null` before the first. */
  #movedAt: number | null = null;
  /** The time until which further retries are not noted. */
  #notedUntil = 0;
  /** The number of connections that wait for a peer that is off. */
  #waiting = 0;
  /** Whether a stalled client was replaced since the last retry of a tree. */
  #isReplaced = false;

  /** @param note Called with a text when a call is retried, and after a stall. */
  constructor(
    open: Open,
    signal: AbortSignal,
    note: (text: string) => void,
    options: PeerConnectionsOptions = {},
  ) {
    const { retries = DEFAULT_RETRIES, silence = STALL_MILLISECONDS, wait = 0 } = options;
    this.#open = open;
    this.#signal = signal;
    this.#note = note;
    this.#retries = retries;
    this.#silence = new StallDetector(silence, (ended) => this.#onSilence(ended));
    this.#wait = wait * 1000;
    setTransferTraits(this.#pool, {
      onTreeRetry: (event, restart) => this.#onTreeRetry(event, restart),
    });
  }

  /**
   * Makes a call, which connects itself. Retries it after a lost connection. A peer that is off is
   * not retried, but `wait` applies.
   */
  call<T>(action: (pool: ConnectionPool, moved: OnProgress) => Promise<T>): Promise<T> {
    return this.#silence.during(async () => {
      for (;;) {
        const shared = this.#shared();
        try {
          return await this.#retry(shared, action);
        } catch (error) {
          this.#signal.throwIfAborted();
          if (!shared.isDropped) throw error;
        }
      }
    });
  }

  /**
   * Copies a tree, which the library retries itself.
   *
   * @param copy Gets its option `retries`, and a function to call after each progress.
   */
  copyTree<T>(
    copy: (pool: ConnectionPool, retries: number, moved: () => void) => Promise<T>,
  ): Promise<T> {
    return this.#silence.during(() => copy(this.#pool, this.#retries, () => this.#moved()));
  }

  #shared(): SharedClient {
    return this.#current ??= new SharedClient(this.#open, this.#signal);
  }

  /** Opens a connection to the peer; waits for a peer that is off, up to `wait` seconds. */
  async #connect(options?: Parameters<Connector["connect"]>[0]): Promise<Connection> {
    const { signal: given = this.#signal } = options ?? {};
    const signal = AbortSignal.any([this.#signal, given]);
    for (const begin = performance.now();;) {
      const shared = this.#shared();
      try {
        return await (await shared.client).connect(options);
      } catch (error) {
        signal.throwIfAborted();
        if (shared.isDropped) continue;
        const left = Math.max(begin, this.#movedAt ?? begin) + this.#wait - performance.now();
        if (!isPeerOffline(error) || left <= 0) throw error;
        // A new client searches again, and may find other addresses.
        this.#drop(shared);
        this.#waiting++;
        await pause(Math.min(left, RECONNECT_MILLISECONDS), signal).finally(() => this.#waiting--);
      }
    }
  }

  /** Makes a call, and retries it while the peer responds. */
  async #retry<T>(
    shared: SharedClient,
    action: (pool: ConnectionPool, moved: OnProgress) => Promise<T>,
  ): Promise<T> {
    const attempt = (moved: OnProgress) =>
      action(this.#pool, (progress) => {
        this.#moved();
        moved(progress);
      });
    const onRetry = (event: RetryEvent) => {
      if (shared.isDropped) throw event.error;
      this.#onRetry(event);
    };
    const options = { retries: this.#retries, signal: this.#signal, onRetry };
    const result = await retry(attempt, options);
    this.#moved();
    return result;
  }

  /** Prints that a call is retried; throws its error if it must not be. */
  #onRetry({ error, number, seconds }: RetryEvent): void {
    // A peer that was off from the start is not retried, and waiting is no retry.
    if (isPeerOffline(error) && (this.#wait > 0 || this.#movedAt === null)) throw error;
    if (this.#wait > 0) return;
    const now = performance.now();
    // Several calls may lose their connections at the same moment: print one line.
    if (now < this.#notedUntil) return;
    this.#notedUntil = now + seconds * 1000 / 2;
    const again = `trying again in ${seconds} s (${number} of ${this.#retries})`;
    this.#note(`${reasonOf(error)}; ${again}`);
  }

  #onTreeRetry(event: RetryEvent, restart: () => void): void {
    if (!this.#isReplaced) return this.#onRetry(event);
    // The peer responds on a new connection, so the stall does not count as a failure.
    this.#isReplaced = false;
    restart();
  }

  #drop(shared: SharedClient): void {
    shared.drop();
    if (this.#current === shared) this.#current = null;
  }

  #moved(): void {
    this.#movedAt = performance.now();
    this.#silence.heard();
  }

  /** Processes the items, a few at a time; stops at the first error. */
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
    await Promise.all(Array.from({ length: MAX_CONCURRENT_CALLS }, running));
    either.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#silence.restart();
    if (this.#current !== null) this.#drop(this.#current);
    this.#pool.close();
  }

  #onSilence(ended: AbortSignal): void {
    const shared = this.#current;
    // Without a running request, the calls are busy on this device.
    const isBusy = this.#pool.inUse > 0 && this.#waiting === 0;
    if (shared === null || !isBusy) return this.#silence.restart();
    // A call without retries keeps its connection.
    const goesOn = this.#retries > 0 ? "connecting again" : "still waiting";
    this.#note(`nothing has arrived for ${this.#silence.limit / 1000} s; ${goesOn}`);
    if (this.#retries > 0) this.#replace(shared, ended);
  }

  /**
   * Connects beside a stalled client until the stall ends. If the peer responds on the new
   * connection, drops the stalled client; its calls continue.
   */
  async #replace(silent: SharedClient, ended: AbortSignal): Promise<void> {
    const either = AbortSignal.any([this.#signal, ended]);
    while (!either.aborted && this.#current === silent) {
      const shared = new SharedClient(this.#open, this.#signal, true);
      const drop = () => shared.drop();
      ended.addEventListener("abort", drop);
      const answers = await shared.client.then((client) => client.request("GET", "/"))
        .then(({ body }) => body?.cancel()).then(() => true, () => false);
      ended.removeEventListener("abort", drop);
      if (answers && !ended.aborted && this.#current === silent) {
        this.#silence.limit *= 2;
        this.#current = shared;
        this.#isReplaced = true;
        silent.drop();
      } else {
        shared.drop();
        await pause(this.#silence.limit, either);
      }
    }
    if (!either.aborted) this.#silence.restart();
  }
}
