/** The slots of a server, which limit the connections that are served at a time. */

import type { Session } from "../base/app/session.ts";
import { SwapRemoveSet } from "../internal/collections.ts";
import { pause } from "../internal/pause.ts";
import type { ServerConnection } from "./server_connection.ts";

/** The longest wait of a connection for a slot. */
const MAX_WAIT_MILLISECONDS = 2000;
/**
 * How long a session must be idle before the server ends it for another connection. A client that
 * makes one request after the other is idle for a shorter time.
 */
const MIN_IDLE_MILLISECONDS = 1000;

/** The connections that a server serves, up to a limit. */
export class Slots {
  readonly #connections = new SwapRemoveSet<ServerConnection>();
  readonly #max: number;
  /**
   * Ends the pause of the waiting connection; `null` without one. Aborting a controller without
   * listeners at the end of each connection made one-request connections 5 % slower.
   */
  #pauseController: AbortController | null = null;
  #isClosed = false;

  /** Makes `max` slots; `Infinity` is allowed. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Whether another connection can be added now. */
  get hasFree(): boolean {
    return this.#connections.size < this.#max;
  }

  /** Adds a connection, which keeps its slot until it has ended. */
  add(connection: ServerConnection): void {
    void connection.ended.then(() => {
      this.#connections.delete(connection);
      this.#pauseController?.abort();
    });
    this.#connections.add(connection);
  }

  /**
   * Waits up to 2 seconds for a slot. During the wait, ends one session that has been idle for a
   * second.
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
   * Ends the session that has been idle longest, among those of the peer with the most sessions, if
   * it has been idle long enough. A client that keeps many connections can't lock out other
   * clients.
   *
   * @returns The time of the next check, if no slot becomes free before.
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

/**
 * Identifies the peer of a session by its key, otherwise by its host. All peers of a Unix socket
 * count as one.
 */
function peerOf({ peerCertificate, address }: Session): string {
  if (peerCertificate !== null) return peerCertificate.publicKey256;
  return address?.[0] ?? "";
}
