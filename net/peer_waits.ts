import type { ServerConnection } from "./server_connection.ts";

/** The maximum time between two observations for which a wait counts. */
const MAX_GAP_MILLISECONDS = 250;

/** The wait for the peer during one exchange, as far as it was observed. */
export interface PeerWait {
  readonly milliseconds: number;
  /** The bytes of bodies that the peer sent or took in a second of the wait. */
  readonly bytesPerSecond: number;
}

interface Observation {
  /** The number of requests before the exchange, which identifies the exchange. */
  readonly requestCount: number;
  /** The bytes that the connection had moved at the start of the observation. */
  readonly startBytes: number;
  milliseconds: number;
}

/**
 * Measures how long peers keep the server waiting, by looking at their connections from time to
 * time. Only the time counts in which a read or a write pends, not the time of the app. Measuring
 * each wait would make every request slower, so that a server without a flood would pay for it.
 */
export class PeerWaits {
  readonly #observations = new WeakMap<ServerConnection, Observation>();
  #lastTime = -Infinity;

  /** Call it at most every few milliseconds, and at least every quarter of a second. */
  observe(connections: Iterable<ServerConnection>, now: number): void {
    const elapsed = now - this.#lastTime;
    this.#lastTime = now;
    for (const connection of connections) {
      if (!connection.isWaitingForPeer) continue;
      const { session: { requests }, movedBytes } = connection;
      const observation = this.#observations.get(connection);
      if (observation?.requestCount !== requests) {
        this.#observations.set(connection, {
          requestCount: requests,
          startBytes: movedBytes,
          milliseconds: 0,
        });
      } else if (elapsed <= MAX_GAP_MILLISECONDS) {
        observation.milliseconds += elapsed;
      }
    }
  }

  /** Returns `null` if the server isn't waiting for the peer now. */
  get(connection: ServerConnection): PeerWait | null {
    const observation = this.#observations.get(connection);
    if (observation === undefined || !connection.isWaitingForPeer) return null;
    const { milliseconds, startBytes, requestCount } = observation;
    if (requestCount !== connection.session.requests) return null;
    const bytesPerSecond = (connection.movedBytes - startBytes) / (milliseconds / 1000);
    return { milliseconds, bytesPerSecond };
  }
}
