import { SwapRemoveSet } from "../internal/collections.ts";
import { pause } from "../internal/pause.ts";
import type { ServerConnection } from "./server_connection.ts";

const MAX_WAIT_MILLISECONDS = 2000;
/**
 * The time after which the server may end an idle session, to free its slot for another connection.
 * A client that makes one request after the other is idle for a shorter time.
 */
const MIN_IDLE_MILLISECONDS = 1000;

export class Slots {
  readonly #connections = new SwapRemoveSet<ServerConnection>();
  readonly #maxConnections: number;
  /**
   * The controller that ends the pause of a waiting connection; `null` if no connection waits.
   * Without the `null`, the end of each connection would abort a controller, which made connections
   * for one request 5 % slower.
   */
  #pauseController: AbortController | null = null;
  #isClosed = false;

  constructor(max: number) {
    this.#maxConnections = max;
  }

  get hasFreeSlot(): boolean {
    return this.#connections.size < this.#maxConnections;
  }

  add(connection: ServerConnection): void {
    void connection.slotFreed.then(() => {
      this.#connections.delete(connection);
      this.#pauseController?.abort();
    });
    this.#connections.add(connection);
  }

  async waitForSlot(): Promise<void> {
    const waitEndTime = performance.now() + MAX_WAIT_MILLISECONDS;
    while (!this.hasFreeSlot && !this.#isClosed) {
      const now = performance.now();
      if (now >= waitEndTime) break;
      this.#pauseController = new AbortController();
      const { signal } = this.#pauseController;
      const nextCheckTime = this.#endIdleSession(now);
      await pause(Math.min(nextCheckTime, waitEndTime) - now, signal);
    }
    this.#pauseController = null;
  }

  close(): void {
    this.#isClosed = true;
    this.#pauseController?.abort();
  }

  [Symbol.iterator](): Iterator<ServerConnection> {
    return this.#connections[Symbol.iterator]();
  }

  /**
   * Ends one session that has been idle for a second: of the peer with the most sessions, the
   * session that has been idle longest. So a client with many connections can't lock out other
   * clients.
   *
   * @returns The time of the next check, if no slot becomes free before.
   */
  #endIdleSession(now: number): number {
    const connectionsByPeer = Map.groupBy(this.#connections, peerKeyOf);
    const countSessionsOf = (connection: ServerConnection) =>
      connectionsByPeer.get(peerKeyOf(connection))!.length;
    let longestIdleConnection: ServerConnection | null = null;
    let nextCheckTime = now + MIN_IDLE_MILLISECONDS;
    for (const connection of this.#connections) {
      const { idleSince } = connection;
      if (now - idleSince < MIN_IDLE_MILLISECONDS) {
        nextCheckTime = Math.min(nextCheckTime, idleSince + MIN_IDLE_MILLISECONDS);
      } else if (
        longestIdleConnection === null ||
        countSessionsOf(connection) > countSessionsOf(longestIdleConnection) ||
        countSessionsOf(connection) === countSessionsOf(longestIdleConnection) &&
          idleSince < longestIdleConnection.idleSince
      ) {
        longestIdleConnection = connection;
      }
    }
    longestIdleConnection?.endIdleSession();
    return nextCheckTime;
  }
}

/**
 * Identifies the peer of a connection by its key, otherwise by its host. All peers of a Unix socket
 * count as one.
 */
function peerKeyOf({ session: { peerCertificate, address } }: ServerConnection): string {
  if (peerCertificate !== null) return peerCertificate.publicKey256;
  return address?.[0] ?? "";
}
