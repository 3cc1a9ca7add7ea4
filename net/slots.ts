/** The slots of a server: how many connections it serves at a time, and which one gives way. */

import type { Session } from "../base/app/session.ts";
import { Members } from "../base/collections.ts";
import { pause } from "../base/pause.ts";
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
  readonly #connections = new Members<ServerConnection>();
  readonly #max: number;
  /** Ends the pause of the connection that waits. */
  #pauseController: AbortController | null = null;
  #closed = false;

  /** Makes `max` slots, perhaps `Infinity`. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Whether another connection can be added now. */
  get isFree(): boolean {
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
   * Waits for a slot, for up to 2 seconds or until {@linkcode close}, and ends an idle session for
   * it as soon as there is one.
   */
  async wait(): Promise<void> {
    const end = performance.now() + MAX_WAIT_MILLISECONDS;
    while (!this.isFree && !this.#closed) {
      const now = performance.now();
      if (now >= end) return;
      this.#pauseController = new AbortController();
      const { signal } = this.#pauseController;
      const next = this.#endIdleSession(now);
      await pause(Math.min(next, end) - now, signal);
    }
    this.#pauseController = null;
  }

  /** Ends the wait for a slot, now and later. */
  close(): void {
    this.#closed = true;
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
   * @returns The time of the next look, if no slot becomes free before.
   */
  #endIdleSession(now: number): number {
    const sessionCounts = new Map<string, number>();
    for (const { session } of this.#connections) {
      const peer = peerOf(session);
      sessionCounts.set(peer, (sessionCounts.get(peer) ?? 0) + 1);
    }
    const countOf = ({ session }: ServerConnection) => sessionCounts.get(peerOf(session))!;
    let chosen: ServerConnection | null = null;
    let next = now + MIN_IDLE_MILLISECONDS;
    for (const connection of this.#connections) {
      const { idleSince } = connection;
      if (now - idleSince < MIN_IDLE_MILLISECONDS) {
        next = Math.min(next, idleSince + MIN_IDLE_MILLISECONDS);
      } else if (
        chosen === null || countOf(connection) > countOf(chosen) ||
        countOf(connection) === countOf(chosen) && idleSince < chosen.idleSince
      ) {
        chosen = connection;
      }
    }
    chosen?.endIdle();
    return next;
  }
}

/** The peer of a session, by its key, else by its host. All peers of a Unix socket count as one. */
function peerOf({ peerCertificate, address }: Session): string {
  if (peerCertificate !== null) return peerCertificate.publicKey256;
  if (address === null) return "";
  const [host, , , scope = 0] = address;
  return `${host}%${scope}`;
}
