/**
 * The queue of TLS handshakes, which decides the connections that get a handshake or are closed.
 * Clients that connect and stay silent must not lock out other clients.
 *
 * A connection goes through three stages, each with its own limit:
 *
 * 1. The connection is *pending*. Because `node:net` accepts every connection, this stage replaces
 *    the kernel's queue, and keeps a flood from using up all file descriptors.
 * 2. The handshake of the connection is *running*.
 * 3. The connection is *ready*, and waits until the server accepts it. A server with free slots, or
 *    with room for connections that wait for a slot, accepts at once.
 *
 * Silent connections are closed first, because in TLS the client sends first. Connections of the
 * host with more than half of the connections in a stage are closed before those of other hosts.
 */

import { DeguError, TlsError } from "../../base/errors.ts";
import { MAX_TIMER_MILLISECONDS } from "../transport/deadline.ts";
import type { AcceptedConnection, ListenerOptions } from "../transport/listener.ts";
import type { SafeLogger } from "../../base/app/logger.ts";
import { findMajorityKey, listMajority, peerKeyOf } from "../transport/peer_keys.ts";
import type { RawStream } from "./raw_stream.ts";

const MAX_PENDING_CONNECTIONS = 256;
/**
 * The maximum number of running handshakes and ready connections, which limits the memory of
 * clients without a slot.
 */
const MAX_HANDSHAKES = 64;
/**
 * The time after which a handshake may be closed for another connection. Under a flood of
 * connections, a handshake still has enough time, and the number of handshakes per second is
 * limited.
 */
const MIN_HANDSHAKE_MILLISECONDS = 250;
/** The same for a handshake that has begun: 64 handshakes at a time can take longer than 250 ms. */
const MIN_BEGUN_HANDSHAKE_MILLISECONDS = 1000;

export interface PendingConnection extends Pick<AcceptedConnection, "name" | "address"> {
  readonly rawStream: Pick<RawStream, "hasReceived" | "close">;
}

interface Handshake extends Pick<PendingConnection, "address" | "rawStream"> {
  readonly startedAt: number;
  readonly failurePromise: PromiseWithResolvers<never>;
  isEvicted: boolean;
}

export class HandshakeQueue<T extends PendingConnection> {
  readonly #timeout: number | null;
  readonly #logger: SafeLogger;
  readonly #handshake: (connection: T) => Promise<AcceptedConnection>;
  readonly #pendingConnections: T[] = [];
  readonly #handshakes = new Set<Handshake>();
  readonly #readyConnections: AcceptedConnection[] = [];
  readonly #handshakePromises = new Set<Promise<void>>();
  #isAccepting = false;
  #isClosed = false;
  #acceptWaiter: PromiseWithResolvers<AcceptedConnection> | null = null;
  #timeoutTimer: ReturnType<typeof setTimeout> | undefined;
  #evictionTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    { timeout, logger }: ListenerOptions,
    handshake: (connection: T) => Promise<AcceptedConnection>,
  ) {
    this.#timeout = timeout;
    this.#logger = logger;
    this.#handshake = handshake;
  }

  /**
   * If too many connections are pending, closes one: of the host with more than half of them, or
   * else of all, the oldest silent connection. If all have sent bytes, closes a random connection,
   * so that peers that reconnect at once can't lock out other peers.
   */
  push(connection: T): void {
    if (this.#isClosed) return connection.rawStream.close();
    if (this.#pendingConnections.length >= MAX_PENDING_CONNECTIONS) {
      const candidates = listMajority(this.#pendingConnections, hostOf);
      const evictedConnection = candidates.find(isSilent) ??
        candidates[Math.floor(Math.random() * candidates.length)]!;
      this.delete(evictedConnection);
      evictedConnection.rawStream.close();
      this.#logger.debug("a connection was closed: too many wait for a handshake");
    }
    this.#pendingConnections.push(connection);
    this.#startHandshakes();
  }

  delete(connection: T): void {
    const index = this.#pendingConnections.indexOf(connection);
    if (index >= 0) this.#pendingConnections.splice(index, 1);
  }

  /**
   * Waits for the next connection with a finished handshake, for one caller at a time. The first
   * call starts the handshakes. Rejects only once the queue was closed.
   */
  accept(): Promise<AcceptedConnection> {
    this.#isAccepting = true;
    if (this.#isClosed) {
      return Promise.reject(new Deno.errors.BadResource("the listener is closed"));
    }
    const connection = this.#readyConnections.shift();
    if (connection === undefined) this.#acceptWaiter = Promise.withResolvers();
    // Start after the waiter is set, which decides whether a handshake may be displaced.
    this.#startHandshakes();
    return connection === undefined ? this.#acceptWaiter!.promise : Promise.resolve(connection);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timeoutTimer);
    clearTimeout(this.#evictionTimer);
    this.#acceptWaiter?.reject(new Deno.errors.Interrupted("the listener was closed"));
    this.#acceptWaiter = null;
    for (const { rawStream } of this.#pendingConnections.splice(0)) rawStream.close();
    for (const handshake of this.#handshakes) evict(handshake, "the server closed the connection");
    for (const { socket } of this.#readyConnections.splice(0)) socket.close();
  }

  async waitUntilEnded(): Promise<void> {
    await Promise.all(this.#handshakePromises);
  }

  #startHandshakes(): void {
    while (
      this.#isAccepting && !this.#isClosed && this.#pendingConnections.length > 0 &&
      this.#mayStartHandshake()
    ) {
      const connection = this.#findNextConnection();
      this.delete(connection);
      const handshakePromise = this.#runHandshake(connection).finally(() =>
        this.#handshakePromises.delete(handshakePromise)
      );
      this.#handshakePromises.add(handshakePromise);
    }
  }

  /**
   * Peers that have sent bytes come first, and of these peers, those of other hosts than the host
   * with more than half of the running handshakes.
   */
  #findNextConnection(): T {
    const majorityKey = findMajorityKey([...this.#handshakes], hostOf);
    const begunConnections = this.#pendingConnections.filter((connection) => !isSilent(connection));
    return begunConnections.find((connection) => hostOf(connection) !== majorityKey) ??
      begunConnections[0] ?? this.#pendingConnections[0]!;
  }

  /**
   * If too many handshakes are running, aborts one: of the host with more than half of them, or
   * else of all, the oldest silent handshake, or the oldest, once one of these two has had its
   * minimum time; until then starts a timer instead. While the server accepts no connection, aborts
   * only silent handshakes: another would end in the same queue.
   */
  #mayStartHandshake(): boolean {
    const waitingCount = this.#readyConnections.length;
    if (this.#handshakes.size + waitingCount < MAX_HANDSHAKES) return true;
    if (waitingCount > 0) return false;
    const candidates = listMajority([...this.#handshakes], hostOf);
    const [oldestHandshake] = candidates;
    const silentHandshake = candidates.find(isSilent) ?? oldestHandshake!;
    const candidate = endOfMinTimeOf(silentHandshake) < endOfMinTimeOf(oldestHandshake!)
      ? silentHandshake
      : oldestHandshake!;
    // The server accepts no connection: the next one would only wait.
    if (!isSilent(candidate) && this.#acceptWaiter === null) return false;
    const remainingMilliseconds = endOfMinTimeOf(candidate) - performance.now();
    if (remainingMilliseconds > 0) {
      this.#evictionTimer ??= setTimeout(() => {
        this.#evictionTimer = undefined;
        this.#startHandshakes();
      }, remainingMilliseconds);
      return false;
    }
    this.#handshakes.delete(candidate);
    evict(candidate, `it was closed for a newer handshake, with ${MAX_HANDSHAKES} in progress`);
    return true;
  }

  /** Never rejects. */
  async #runHandshake(connection: T): Promise<void> {
    const { address, rawStream } = connection;
    const failurePromise = Promise.withResolvers<never>();
    const handshake: Handshake = {
      startedAt: performance.now(),
      address,
      rawStream,
      failurePromise,
      isEvicted: false,
    };
    this.#handshakes.add(handshake);
    if (this.#timeoutTimer === undefined) this.#startTimeoutTimer(handshake);
    const connectionPromise = this.#handshake(connection);
    try {
      this.#deliver(await Promise.race([failurePromise.promise, connectionPromise]));
    } catch (error) {
      // The aborted handshake may still succeed: close its connection.
      connectionPromise.then(({ socket }) => socket.close()).catch(() => {});
      rawStream.close();
      const prefix = error instanceof TlsError ? `${error.code}: ` : "";
      const reason = error instanceof Error ? prefix + error.message : String(error);
      // Hundreds of handshakes per second may be evicted: too many for the level `info`.
      const level = handshake.isEvicted ? "debug" : "info";
      const who = connection.name;
      this.#logger[level](`${who}: the handshake failed: ${reason}`, {
        kind: "handshake",
        who,
        error,
      });
    } finally {
      this.#handshakes.delete(handshake);
      this.#startHandshakes();
    }
  }

  #deliver(acceptedConnection: AcceptedConnection): void {
    if (this.#acceptWaiter !== null) {
      this.#acceptWaiter.resolve(acceptedConnection);
      this.#acceptWaiter = null;
    } else if (this.#isClosed) {
      acceptedConnection.socket.close();
    } else {
      this.#readyConnections.push(acceptedConnection);
    }
  }

  /**
   * The timer continues when that handshake ends, because a timer for each handshake would take
   * longer.
   */
  #startTimeoutTimer({ startedAt }: Handshake): void {
    if (this.#timeout === null) return;
    const remainingMilliseconds = Math.max(startedAt + this.#timeout * 1000 - performance.now(), 0);
    this.#timeoutTimer = setTimeout(
      () => this.#failExpired(this.#timeout!),
      Math.min(remainingMilliseconds, MAX_TIMER_MILLISECONDS),
    );
  }

  #failExpired(seconds: number): void {
    this.#timeoutTimer = undefined;
    for (const handshake of this.#handshakes) {
      if (performance.now() - handshake.startedAt < seconds * 1000) {
        return this.#startTimeoutTimer(handshake);
      }
      this.#handshakes.delete(handshake);
      handshake.failurePromise.reject(
        new Deno.errors.TimedOut(`the TLS handshake took over ${seconds} s`),
      );
    }
  }
}

function evict(handshake: Handshake, reason: string): void {
  handshake.isEvicted = true;
  handshake.failurePromise.reject(new DeguError(reason));
}

function endOfMinTimeOf(handshake: Handshake): number {
  const milliseconds = isSilent(handshake)
    ? MIN_HANDSHAKE_MILLISECONDS
    : MIN_BEGUN_HANDSHAKE_MILLISECONDS;
  return handshake.startedAt + milliseconds;
}

function hostOf({ address }: Pick<PendingConnection, "address">): string {
  return peerKeyOf(null, address);
}

function isSilent({ rawStream }: Pick<PendingConnection, "rawStream">): boolean {
  return !rawStream.hasReceived;
}
