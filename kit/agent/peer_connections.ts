/** Calls to one peer: over connections that are kept, and retried when a connection is lost. */

import { pause } from "../../base/pause.ts";
import { type Client, type ClientOptions, ConnectionPool } from "../../client.ts";
import { type Retry, retry, type RetryProgress } from "../../files.ts";
import { isInUse, repeatAny } from "../../net/connection_pool.ts";
import { reasonOf } from "./explain.ts";
import { isAway } from "./failure.ts";

/**
 * How many calls `each` makes at a time: while one waits for the disk, another is being
 * transferred.
 */
const AT_A_TIME = 4;

const RETRIES = 3;

/** A function to call after each progress, which resets the count of retries. */
export type Moved = (progress?: RetryProgress) => void;

/**
 * After this long without any progress, another connection is tried beside the silent ones. If the
 * peer answers there, the calls go on there, and the next silence has to be twice as long: the peer
 * may only be busy, as with the hash of a large file, which begins anew each time.
 */
const SILENCE_MILLISECONDS = 10_000;

/** The pause between two attempts to reach a peer that is waited for. */
const WAIT_MILLISECONDS = 2000;

export interface PeerConnectionsOptions {
  /** The most retries of a call without progress. */
  readonly retries?: number | undefined;
  /** Milliseconds without progress, after which the peer is silent. */
  readonly silence?: number | undefined;
  /** Seconds to wait, without a note, for a peer at whose addresses nothing answers. */
  readonly wait?: number | undefined;
}

/**
 * Makes a client of a peer, with these options.
 *
 * @param isAgain Whether the peer is silent elsewhere, so that each known address is tried.
 */
export type Open = (options: ClientOptions, isAgain: boolean) => Promise<Client>;

/** The connections to a peer that all calls share, until they are dropped. */
class SharedPool {
  readonly pool: Promise<ConnectionPool>;
  /** The same pool, once there is a client. */
  #opened: ConnectionPool | null = null;
  readonly #dropped = new AbortController();

  constructor(open: Open, signal: AbortSignal, isAgain = false) {
    const either = AbortSignal.any([signal, this.#dropped.signal]);
    this.pool = open({ signal: either }, isAgain).then((client) => {
      this.#opened = new ConnectionPool(client, { max: Infinity });
      // To copy, list or delete twice does no harm.
      repeatAny(this.#opened);
      return this.#opened;
    });
  }

  /** Whether a request is under way: else the calls have work to do on this device. */
  get isBusy(): boolean {
    return this.#opened !== null && isInUse(this.#opened);
  }

  get isDropped(): boolean {
    return this.#dropped.signal.aborted;
  }

  /** Ends all connections, also those that are being opened. */
  drop(): void {
    // A transfer of several files takes this class of error for a lost connection, and not for the
    // failure of one file.
    this.#dropped.abort(
      new Deno.errors.ConnectionAborted("another connection has taken its place"),
    );
  }
}

/**
 * The connections to one peer, as many as there are simultaneous calls; closed when disposed of.
 */
export class PeerConnections implements Disposable {
  readonly #open: Open;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  /** Milliseconds without progress, after which the peer is silent. */
  #silence: number;
  readonly #wait: number;
  /** The pool of all calls, from the first on. */
  #current: SharedPool | null = null;
  /** Ends the attempt to connect beside a silent pool. */
  #beside: AbortController | null = null;
  #calls = 0;
  /** Notices a silence; runs while at least one call is under way. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The time at which that timer was set. */
  #silentSince = 0;
  /** The time of the last progress of any call; `null` before the first. */
  #movedAt: number | null = null;
  /** The time until which further retries are not noted. */
  #notedUntil = 0;

  /** @param note Called with a text when a call is retried, and after a silence. */
  constructor(
    open: Open,
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
  async call<T>(action: (pool: ConnectionPool, moved: Moved) => Promise<T>): Promise<T> {
    this.#calls++;
    this.#beginSilence();
    try {
      for (const begin = performance.now();;) {
        const shared = this.#current ??= new SharedPool(this.#open, this.#signal);
        try {
          return await this.#retry(shared, action);
        } catch (error) {
          this.#signal.throwIfAborted();
          if (shared.isDropped) continue;
          const left = Math.max(begin, this.#movedAt ?? begin) + this.#wait - performance.now();
          if (!isAway(error) || left <= 0) throw error;
          // A search may find other addresses next time.
          this.#drop(shared);
          await pause(Math.min(left, WAIT_MILLISECONDS), this.#signal);
        }
      }
    } finally {
      this.#calls--;
      this.#beginSilence();
    }
  }

  /** Makes a call, and retries it as long as the peer is there. */
  async #retry<T>(
    shared: SharedPool,
    action: (pool: ConnectionPool, moved: Moved) => Promise<T>,
  ): Promise<T> {
    const onRetry = ({ error, number, seconds }: Retry) => {
      // A peer that was off from the start isn't tried again; `call` waits for a peer by itself.
      if (isAway(error) && (this.#wait > 0 || this.#movedAt === null)) throw error;
      if (shared.isDropped) throw error;
      if (this.#wait > 0) return;
      const now = performance.now();
      // Several calls may have lost their connections at the same moment.
      if (now < this.#notedUntil) return;
      this.#notedUntil = now + seconds * 1000 / 2;
      const again = `trying again in ${seconds} s (${number} of ${this.#retries})`;
      this.#note(`${reasonOf(error)}; ${again}`);
    };
    const pool = await shared.pool;
    const attempt = (moved: Moved) =>
      action(pool, (progress) => {
        this.#moved();
        moved(progress);
      });
    const options = { retries: this.#retries, signal: this.#signal, onRetry };
    const result = await retry(attempt, options);
    this.#moved();
    return result;
  }

  #drop(shared: SharedPool): void {
    shared.drop();
    if (this.#current === shared) this.#current = null;
  }

  #moved(): void {
    this.#movedAt = performance.now();
    // The timer is not set again for each of thousands of small files a second.
    const isSilent = this.#movedAt - this.#silentSince > this.#silence / 100;
    if (isSilent || this.#beside !== null) this.#beginSilence();
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
    this.#beside?.abort();
    if (this.#current !== null) this.#drop(this.#current);
  }

  /** Starts to measure the silence anew, while at least one call is under way. */
  #beginSilence(): void {
    clearTimeout(this.#timer);
    this.#beside?.abort();
    this.#beside = null;
    if (this.#calls === 0) return;
    this.#silentSince = performance.now();
    this.#timer = setTimeout(() => this.#onSilence(), this.#silence);
  }

  #onSilence(): void {
    const shared = this.#current;
    if (!shared?.isBusy) return this.#beginSilence();
    // A call that must not be made twice keeps its connection.
    const goesOn = this.#retries > 0 ? "connecting again" : "still waiting";
    this.#note(`nothing has arrived for ${this.#silence / 1000} s; ${goesOn}`);
    if (this.#retries > 0) this.#replace(shared);
  }

  /**
   * Connects beside a silent pool, until anything moves. If the peer answers there, the silent pool
   * is dropped, and its calls go on over the new one.
   */
  async #replace(silent: SharedPool): Promise<void> {
    const beside = this.#beside = new AbortController();
    const either = AbortSignal.any([this.#signal, beside.signal]);
    while (!either.aborted) {
      const shared = new SharedPool(this.#open, this.#signal, true);
      const drop = () => shared.drop();
      beside.signal.addEventListener("abort", drop);
      try {
        await (await (await shared.pool).get("/")).discard();
        if (shared.isDropped || this.#current !== silent) return shared.drop();
        this.#beside = null;
        this.#silence *= 2;
        this.#current = shared;
        silent.drop();
        return this.#beginSilence();
      } catch {
        shared.drop();
        await pause(this.#silence, either);
      } finally {
        beside.signal.removeEventListener("abort", drop);
      }
    }
  }
}
