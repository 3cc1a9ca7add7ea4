/**
 * The choice of the connections that get a handshake, and of those that give way: strangers who
 * connect and say nothing must keep nobody out.
 *
 * A connection goes through three stages, each with a limit of its own. The connection *waits*,
 * since `node:net` accepts every connection: this stage replaces the kernel's queue, and keeps a
 * flood from using up all file descriptors. The handshake is *in progress*. The handshake is
 * *done*, and the connection waits for a slot of the server. Silent connections give way first,
 * since in TLS the client sends first.
 */

import { DeguError, TlsError } from "../../base/errors.ts";
import { MAX_INTERVAL } from "../deadline.ts";
import type { AcceptedConnection, ListenerOptions } from "../listener.ts";
import type { SafeLogger } from "../logger.ts";
import type { RawStream } from "./raw_stream.ts";

/** The most connections that wait for their handshake to begin. */
const MAX_WAITING = 64;
/** The most handshakes in progress: strangers use no slot, and no more memory and descriptors. */
const MAX_IN_PROGRESS = 64;
/** The most clients with a finished handshake behind the first client that waits for a slot. */
const MAX_DONE = 64;
/**
 * Milliseconds that a handshake gets before it may be closed for another connection, which waits so
 * long. However often strangers connect, a handshake has enough time, and so few are begun that
 * they take only a part of the processor.
 */
const MIN_HANDSHAKE_MILLISECONDS = 250;

export interface PendingConnection {
  /** The name of the peer in logs. */
  readonly name: string;
  readonly rawStream: Pick<RawStream, "hasReceived" | "close">;
}

interface Handshake {
  readonly since: number;
  readonly rawStream: PendingConnection["rawStream"];
  /** Rejects to end the handshake. */
  readonly end: PromiseWithResolvers<never>;
  /** True once the handshake was ended for a reason that is no fault of the peer. */
  isEvicted: boolean;
}

/** The connections of a listener, from their arrival until a server takes them. */
export class HandshakeQueue<T extends PendingConnection> {
  readonly #timeout: number | null;
  readonly #logger: SafeLogger;
  readonly #handshake: (arrival: T) => Promise<AcceptedConnection>;
  /** The connections whose handshake has not begun, the oldest first. */
  readonly #waiting: T[] = [];
  /** The handshakes that have begun, the oldest first. */
  readonly #inProgress = new Set<Handshake>();
  /** The connections whose handshake is done, and that no server has taken, the oldest first. */
  readonly #done: AcceptedConnection[] = [];
  /** The functions that do handshakes, until they have ended. */
  readonly #running = new Set<Promise<void>>();
  /** Whether a server has asked for a connection: no handshake begins before. */
  #begun = false;
  #closed = false;
  /** The server's call that waits for a connection. */
  #taker: PromiseWithResolvers<AcceptedConnection> | null = null;
  /** The timer for the time-out of handshakes. */
  #expiry: ReturnType<typeof setTimeout> | undefined;
  /** The timer for the moment at which a handshake may be closed for a connection that waits. */
  #room: ReturnType<typeof setTimeout> | undefined;

  constructor(
    { timeout, logger }: ListenerOptions,
    handshake: (arrival: T) => Promise<AcceptedConnection>,
  ) {
    this.#timeout = timeout;
    this.#logger = logger;
    this.#handshake = handshake;
  }

  /**
   * Adds a connection. If too many wait, the oldest silent connection is closed. If none is silent,
   * a random connection is closed: peers that reconnect at once can't foresee it, and keep nobody
   * out.
   */
  push(arrival: T): void {
    if (this.#closed) return arrival.rawStream.close();
    if (this.#waiting.length >= MAX_WAITING) {
      const silent = this.#waiting.findIndex(isSilent);
      const evicted = silent < 0 ? Math.floor(Math.random() * MAX_WAITING) : silent;
      this.#waiting.splice(evicted, 1)[0]!.rawStream.close();
      this.#logger.debug("a connection was closed: too many wait for a handshake");
    }
    this.#waiting.push(arrival);
    this.#begin();
  }

  /** Removes a connection that has ended, if it waits for its handshake. */
  delete(arrival: T): void {
    const index = this.#waiting.indexOf(arrival);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  /**
   * Waits for the next connection whose handshake is done; for one caller at a time. The first call
   * begins the handshakes. Rejects once closed, and never before.
   */
  accept(): Promise<AcceptedConnection> {
    this.#begun = true;
    this.#begin();
    const next = this.#done.shift();
    if (next !== undefined) return Promise.resolve(next);
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("the listener is closed"));
    this.#taker = Promise.withResolvers();
    return this.#taker.promise;
  }

  /** Closes all connections that were not accepted yet. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#expiry);
    clearTimeout(this.#room);
    this.#taker?.reject(new Deno.errors.Interrupted("the listener was closed"));
    this.#taker = null;
    for (const { rawStream } of this.#waiting.splice(0)) rawStream.close();
    for (const handshake of this.#inProgress) evict(handshake, "the server closed the connection");
    for (const { socket } of this.#done.splice(0)) socket.close();
  }

  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Begins as many handshakes as there is room for, first with peers that have sent something. */
  #begin(): void {
    while (this.#begun && !this.#closed && this.#waiting.length > 0 && this.#makeRoom()) {
      const index = Math.max(0, this.#waiting.findIndex((each) => !isSilent(each)));
      const [arrival] = this.#waiting.splice(index, 1);
      const running = this.#run(arrival!).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /**
   * Returns whether another handshake may begin. If too many are in progress, the oldest gives way,
   * or the oldest whose peer has sent nothing, but only after its least time: until then a timer
   * runs.
   */
  #makeRoom(): boolean {
    if (this.#inProgress.size < MAX_IN_PROGRESS) return true;
    const [oldest] = this.#inProgress;
    const next = this.#inProgress.values().find(isSilent) ?? oldest!;
    const left = next.since + MIN_HANDSHAKE_MILLISECONDS - performance.now();
    if (left > 0) {
      this.#room ??= setTimeout(() => {
        this.#room = undefined;
        this.#begin();
      }, left);
      return false;
    }
    this.#inProgress.delete(next);
    evict(next, `it was closed for a newer one, with ${MAX_IN_PROGRESS} in progress`);
    return true;
  }

  /** Does a handshake. Never rejects. */
  async #run(arrival: T): Promise<void> {
    const { rawStream } = arrival;
    const end = Promise.withResolvers<never>();
    const handshake: Handshake = { since: performance.now(), rawStream, end, isEvicted: false };
    this.#inProgress.add(handshake);
    if (this.#expiry === undefined) this.#expectExpiry(handshake);
    const attempt = this.#handshake(arrival);
    try {
      this.#finish(arrival, await Promise.race([end.promise, attempt]));
    } catch (error) {
      // A result that comes too late is closed.
      attempt.then(({ socket }) => socket.close()).catch(() => {});
      rawStream.close();
      const code = error instanceof TlsError ? `${error.code}: ` : "";
      const why = error instanceof Error ? code + error.message : String(error);
      // Hundreds of handshakes a second may be closed to make room: too many for the level `info`.
      const level = handshake.isEvicted ? "debug" : "info";
      const who = arrival.name;
      this.#logger[level](`${who}: the handshake failed: ${why}`, {
        kind: "handshake",
        who,
        error,
      });
    } finally {
      this.#inProgress.delete(handshake);
      this.#begin();
    }
  }

  #finish({ name }: T, accepted: AcceptedConnection): void {
    if (this.#taker !== null) {
      this.#taker.resolve(accepted);
      this.#taker = null;
    } else if (!this.#closed && this.#done.length < MAX_DONE) {
      this.#done.push(accepted);
    } else {
      accepted.socket.close();
      if (!this.#closed) {
        this.#logger.info(`${name}: too many wait for a slot`, { kind: "slot", who: name });
      }
    }
  }

  /**
   * One timer for all handshakes, set for the oldest. The timer goes on when that handshake ends:
   * to start and stop a timer for each handshake takes longer.
   */
  #expectExpiry({ since }: Handshake): void {
    if (this.#timeout === null) return;
    const left = Math.max(since + this.#timeout * 1000 - performance.now(), 0);
    this.#expiry = setTimeout(() => this.#expire(this.#timeout!), Math.min(left, MAX_INTERVAL));
  }

  #expire(seconds: number): void {
    this.#expiry = undefined;
    for (const handshake of this.#inProgress) {
      if (performance.now() - handshake.since < seconds * 1000) {
        return this.#expectExpiry(handshake);
      }
      this.#inProgress.delete(handshake);
      handshake.end.reject(
        new Deno.errors.TimedOut(`the TLS handshake took over ${seconds} s`),
      );
    }
  }
}

function evict(handshake: Handshake, reason: string): void {
  handshake.isEvicted = true;
  handshake.end.reject(new DeguError(reason));
}

function isSilent({ rawStream }: { readonly rawStream: PendingConnection["rawStream"] }): boolean {
  return !rawStream.hasReceived;
}
