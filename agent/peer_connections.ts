import { pause } from "./pause.ts";
import { ProtocolError } from "@degu/degu/base";
import {
  type Client,
  type ClientOptions,
  type Connection,
  ConnectionPool,
  type Connector,
  retry,
  type RetryEvent,
} from "@degu/degu/client";
import type { Context } from "./command.ts";
import { reasonOf } from "./explain.ts";
import { isPeerOffline } from "./error_codes.ts";

/** The number of concurrent calls: while one waits for the disk, another transfers. */
const MAX_CONCURRENT_CALLS = 4;

const DEFAULT_RETRIES = 3;

/** An action calls it after progress, which resets the count of retries. */
export type OnProgress = (progress?: { readonly done: number }) => void;

/**
 * The time without progress after which another connection is tried, besides the stalled
 * connections. If the peer responds on the new connection, the calls continue on it. The next limit
 * is then twice as long, because the peer may only be busy hashing a large file.
 */
const STALL_MILLISECONDS = 10_000;

/** If a timer is later, this process was stopped, as by Ctrl-Z. */
const MAX_TIMER_DELAY_MILLISECONDS = 1000;

const RECONNECT_MILLISECONDS = 2000;

/**
 * @param isReconnect True if another connection has stalled, so that all known addresses are tried.
 */
export type OpenClient = (options: ClientOptions, isReconnect: boolean) => Promise<Client>;

class SharedClient {
  readonly client: Promise<Client>;
  readonly #dropController = new AbortController();

  constructor(open: OpenClient, signal: AbortSignal, isReconnect = false) {
    const anySignal = AbortSignal.any([signal, this.#dropController.signal]);
    this.client = open({ signal: anySignal }, isReconnect);
    // After an interruption no call awaits this promise.
    this.client.catch(() => {});
  }

  get isDropped(): boolean {
    return this.#dropController.signal.aborted;
  }

  drop(): void {
    // The library treats this error as a lost connection, not as the failure of one file.
    const problem = "another connection has taken its place";
    this.#dropController.abort(new ProtocolError("PREAMBLE_INCOMPLETE", problem));
  }
}

class StallDetector {
  limitMilliseconds: number;
  readonly #onStall: (stallEndSignal: AbortSignal) => void;
  #callCount = 0;
  #stallTimer: ReturnType<typeof setTimeout> | undefined;
  #timerStartedAt = 0;
  #stallController: AbortController | null = null;

  constructor(limitMilliseconds: number, onStall: (stallEndSignal: AbortSignal) => void) {
    this.limitMilliseconds = limitMilliseconds;
    this.#onStall = onStall;
  }

  async watch<T>(call: () => Promise<T>): Promise<T> {
    this.#callCount++;
    this.restart();
    try {
      return await call();
    } finally {
      this.#callCount--;
      this.restart();
    }
  }

  onProgress(): void {
    // Thousands of small files a second must not reset the timer each time.
    const isRecent = performance.now() - this.#timerStartedAt <= this.limitMilliseconds / 100;
    if (!isRecent || this.#stallController !== null) this.restart();
  }

  restart(): void {
    clearTimeout(this.#stallTimer);
    this.#stallController?.abort();
    this.#stallController = null;
    if (this.#callCount === 0) return;
    this.#timerStartedAt = performance.now();
    this.#stallTimer = setTimeout(() => {
      const delay = performance.now() - this.#timerStartedAt - this.limitMilliseconds;
      if (delay > MAX_TIMER_DELAY_MILLISECONDS) return this.restart();
      this.#stallController = new AbortController();
      this.#onStall(this.#stallController.signal);
    }, this.limitMilliseconds);
  }
}

export class PeerConnections implements Connector, Disposable {
  readonly peer: string;
  /** The connections of all calls, which are all idempotent. */
  readonly #pool = new ConnectionPool(this, { maxConnections: Infinity, repeat: "any" });
  readonly #open: OpenClient;
  readonly #signal: AbortSignal;
  readonly #note: (text: string) => void;
  readonly #retries: number;
  readonly #stallDetector: StallDetector;
  readonly #waitMilliseconds: number;
  #currentClient: SharedClient | null = null;
  #hasProgress = false;
  /**
   * When the peer was first found offline; `null` while it is online, and after progress while no
   * connection waits.
   */
  #offlineSince: number | null = null;
  #nextNoteAt = 0;
  #waitingCount = 0;
  #replacementCount = 0;
  /** True if a stalled client was replaced since the last retry of a tree. */
  #hasReplacedClient = false;

  constructor(
    peer: string,
    open: OpenClient,
    signal: AbortSignal,
    note: (text: string) => void,
    { retries = DEFAULT_RETRIES, stallMilliseconds = STALL_MILLISECONDS, wait = 0 }: {
      readonly retries?: number | undefined;
      readonly stallMilliseconds?: number | undefined;
      /** Seconds to wait silently for a peer that is offline. */
      readonly wait?: number | undefined;
    } = {},
  ) {
    this.peer = peer;
    this.#open = open;
    this.#signal = signal;
    this.#note = note;
    this.#retries = retries;
    this.#stallDetector = new StallDetector(
      stallMilliseconds,
      (stallEndSignal) => this.#onStall(stallEndSignal),
    );
    this.#waitMilliseconds = wait * 1000;
  }

  static make(
    context: Context,
    peer: string,
    open: OpenClient,
    retries?: number,
  ): PeerConnections {
    const { signal, output, options: { wait } } = context;
    return new PeerConnections(peer, open, signal, (text) => output.note(text), { retries, wait });
  }

  call<T>(action: (pool: ConnectionPool, onProgress: OnProgress) => Promise<T>): Promise<T> {
    return this.#stallDetector.watch(async () => {
      for (;;) {
        const replacementCount = this.#replacementCount;
        try {
          return await this.#retry(replacementCount, action);
        } catch (error) {
          this.#signal.throwIfAborted();
          if (this.#replacementCount === replacementCount) throw error;
        }
      }
    });
  }

  /**
   * Retries the call as long as its errors are transient: the library marks each error after the
   * first byte as final.
   */
  callOnce<T>(
    isWatched: boolean,
    action: (pool: ConnectionPool, onProgress: OnProgress) => Promise<T>,
  ): Promise<T> {
    const call = () => this.#retry(this.#replacementCount, action);
    return isWatched ? this.#stallDetector.watch(call) : call();
  }

  copyTree<T>(
    copy: (pool: ConnectionPool, retries: number, onProgress: () => void) => Promise<T>,
  ): Promise<T> {
    return this.#stallDetector.watch(() =>
      copy(this.#pool, this.#retries, () => this.#onProgress())
    );
  }

  async connect(options?: Parameters<Connector["connect"]>[0]): Promise<Connection> {
    const { signal: attemptSignal = this.#signal } = options ?? {};
    const signal = AbortSignal.any([this.#signal, attemptSignal]);
    let isWaiting = false;
    using _end = { [Symbol.dispose]: () => this.#waitingCount -= isWaiting ? 1 : 0 };
    for (const startedAt = performance.now();;) {
      const sharedClient = this.#currentClient ??= new SharedClient(this.#open, this.#signal);
      try {
        const connection = await (await sharedClient.client).connect(options);
        this.#offlineSince = null;
        return connection;
      } catch (error) {
        signal.throwIfAborted();
        if (sharedClient.isDropped) continue;
        if (!isPeerOffline(error)) throw error;
        // Several connections in a row must not wait longer than one.
        this.#offlineSince ??= startedAt;
        const remainingMilliseconds = this.#offlineSince + this.#waitMilliseconds -
          performance.now();
        if (remainingMilliseconds <= 0) throw error;
        // A new client searches again, and may find other addresses.
        this.#drop(sharedClient);
        if (!isWaiting) this.#waitingCount++;
        isWaiting = true;
        await pause(Math.min(remainingMilliseconds, RECONNECT_MILLISECONDS), signal);
      }
    }
  }

  async #retry<T>(
    replacementCount: number,
    action: (pool: ConnectionPool, onProgress: OnProgress) => Promise<T>,
  ): Promise<T> {
    const attempt = (onProgress: OnProgress) =>
      action(this.#pool, (progress) => {
        this.#onProgress();
        onProgress(progress);
      });
    const onRetry = (event: RetryEvent) => {
      if (this.#replacementCount !== replacementCount) throw event.error;
      this.#onRetry(event);
    };
    const options = { retries: this.#retries, signal: this.#signal, onRetry };
    const result = await retry(attempt, options);
    this.#onProgress();
    return result;
  }

  #onRetry({ error, number, seconds }: RetryEvent): void {
    // Don't retry if the peer was offline from the start, or if `connect()` has waited for it.
    if (isPeerOffline(error) && (this.#waitMilliseconds > 0 || !this.#hasProgress)) {
      throw error;
    }
    if (this.#waitMilliseconds > 0) return;
    const now = performance.now();
    // Several calls may lose their connections at the same time: print one line.
    if (now < this.#nextNoteAt) return;
    this.#nextNoteAt = now + seconds * 1000 / 2;
    const retryText = `trying again in ${seconds} s (${number} of ${this.#retries})`;
    this.#note(`${reasonOf(error, this.peer)}; ${retryText}`);
  }

  /** Called before the library itself continues a tree or a stream. */
  onTransferRetry(event: RetryEvent): void {
    if (!this.#hasReplacedClient) return this.#onRetry(event);
    // The peer responds on a new connection, so the stall does not count as a failure.
    this.#hasReplacedClient = false;
    event.restart();
  }

  #drop(client: SharedClient): void {
    client.drop();
    if (this.#currentClient === client) this.#currentClient = null;
  }

  #onProgress(): void {
    this.#hasProgress = true;
    // A late progress of a lost connection doesn't show that the peer is back.
    if (this.#waitingCount === 0) this.#offlineSince = null;
    this.#stallDetector.onProgress();
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
    this.#stallDetector.restart();
    if (this.#currentClient !== null) this.#drop(this.#currentClient);
    this.#pool.close();
  }

  #onStall(stallEndSignal: AbortSignal): void {
    const client = this.#currentClient;
    // Without a running request, the calls are busy with local work.
    const isBusy = this.#pool.inUse > 0 && this.#waitingCount === 0;
    if (client === null || !isBusy) return this.#stallDetector.restart();
    // A call without retries keeps its connection.
    const action = this.#retries > 0 ? "connecting again" : "still waiting";
    const seconds = this.#stallDetector.limitMilliseconds / 1000;
    this.#note(`${this.peer} has been silent for ${seconds} s; ${action}`);
    if (this.#retries > 0) this.#replace(client, stallEndSignal);
  }

  async #replace(stalledClient: SharedClient, stallEndSignal: AbortSignal): Promise<void> {
    const anySignal = AbortSignal.any([this.#signal, stallEndSignal]);
    while (!anySignal.aborted && this.#currentClient === stalledClient) {
      const replacement = new SharedClient(this.#open, this.#signal, true);
      const drop = () => replacement.drop();
      stallEndSignal.addEventListener("abort", drop);
      const isResponding = await replacement.client.then((client) => client.request("GET", "/"))
        .then(({ body }) => body?.cancel()).then(() => true, () => false);
      stallEndSignal.removeEventListener("abort", drop);
      if (isResponding && !stallEndSignal.aborted && this.#currentClient === stalledClient) {
        this.#stallDetector.limitMilliseconds *= 2;
        this.#currentClient = replacement;
        this.#replacementCount++;
        this.#hasReplacedClient = true;
        stalledClient.drop();
      } else {
        replacement.drop();
        await pause(this.#stallDetector.limitMilliseconds, anySignal);
      }
    }
    if (!anySignal.aborted) this.#stallDetector.restart();
  }
}
