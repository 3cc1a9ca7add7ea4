/** The slots of a server: which connections it serves, and which idle session it ends. */

import type { Session } from "../base/app/session.ts";
import { SwapRemoveSet } from "../internal/collections.ts";
import { pause } from "../internal/pause.ts";
import type { ServerConnection } from "./server_connection.ts";

/** The longest wait of a connection for a slot. */
const MAX_WAIT_MILLISECONDS = 2000;
/**
 * How long a session must be idle before the server ends it for another connection. A client that
 * makes one request after the other is idle for less.
 */
const MIN_IDLE_MILLISECONDS = 1000;

/** The connections that a server serves, up to a limit. */
export class Slots {
  readonly #connections = new SwapRemoveSet<ServerConnection>();
  readonly #max: number;
  /**
   * Ends the pause of the connection that waits; `null` if none waits. A connection whose end
   * aborted a controller that nothing listens to took 5 % longer.
   */
  #pauseController: AbortController | null = null;
  #isClosed = false;

  /** Makes `max` slots, perhaps `Infinity`. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Whether another connection can be added now. */
  get hasFree(): boolean {
    return this.#connections.size < this.#max;
  }

  /** Adds a connection, which has its slot until it has ended. */
  add(connection: ServerConnection): void {
    void connection.ended.then(() => {
      this.#connections.delete(connection);
      this.#pauseController?.abort();
    });
    this.#connections.add(connection);
  }

  /**
   * Waits up to 2 seconds for a slot. Meanwhile ends one session that has been idle for a second.
   */
  async wait(): Promise<void> {
    const deadline = performance.now() + MAX_WAIT_MILLISECONDS;
    while (!this.hasFree && !this.#isClosed) {
      const now = performance.now();
      if (now >= deadline) break;
      this.#pauseController = new AbortController();
      const { signal } = this.#pauseController;
      const nextCheck = this.#endIdleSession(now);
      await pause(Math.min(nextCheck, deadline) - now, signal);
    }
    this.#pauseController = null;
  }

  /** Ends the pending wait; later waits return at once. */
  close(): void {
    this.#isClosed = true;
    this.#pauseController?.abort();
  }

  /** The connections with a slot at this moment. */
  [Symbol.iterator](): Iterator<ServerConnection> {
    return this.#connections[Symbol.iterator]();
  }

  /**
   * Ends the session that has been idle for the longest time, if that is long enough, of the peer
   * that has the most sessions: a client that keeps many connections locks no other client out.
   *
   * @returns When to check again, if no slot becomes free before.
   */
  #endIdleSession(now: number): number {
    const sessionCounts = new Map<string, number>();
    for (const { session } of this.#connections) {
      const peer = peerOf(session);
      sessionCounts.set(peer, (sessionCounts.get(peer) ?? 0) + 1);
    }
    const countOf = ({ session }: ServerConnection) => sessionCounts.get(peerOf(session))!;
    let oldestIdle: ServerConnection | null = null;
    let nextCheck = now + MIN_IDLE_MILLISECONDS;
    for (const connection of this.#connections) {
      const { idleSince } = connection;
      if (now - idleSince < MIN_IDLE_MILLISECONDS) {
        nextCheck = Math.min(nextCheck, idleSince + MIN_IDLE_MILLISECONDS);
      } else if (
        oldestIdle === null || countOf(connection) > countOf(oldestIdle) ||
        countOf(connection) === countOf(oldestIdle) && idleSince < oldestIdle.idleSince
      ) {
        oldestIdle = connection;
      }
    }
    oldestIdle?.endIdle();
    return nextCheck;
  }
}

/** The peer of a session, by its key, else by its host. All peers of a Unix socket count as one. */
function peerOf({ peerCertificate, address }: Session): string {
  if (peerCertificate !== null) return peerCertificate.publicKey256;
  return address?.[0] ?? "";
}
