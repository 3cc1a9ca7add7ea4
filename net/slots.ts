import { SwapRemoveSet } from "../internal/collections.ts";
import { pause } from "../internal/pause.ts";
import { findUser } from "../base/app/session.ts";
import { PeerWaits } from "./peer_waits.ts";
import type { ServerConnection } from "./server_connection.ts";

const MAX_WAIT_MILLISECONDS = 2000;
/**
 * The time after which the server may end an idle session, to free its slot for another connection.
 * A client that makes one request after the other is idle for a shorter time.
 */
const MIN_IDLE_MILLISECONDS = 1000;
/**
 * The observed time for which a peer must have kept the server waiting, before the server may end
 * its session. Without another connection that waits for a slot, peers may be as slow as they like.
 */
const MIN_SLOW_MILLISECONDS = 1000;
const CHECK_MILLISECONDS = 100;

export class Slots {
  readonly #connections = new SwapRemoveSet<ServerConnection>();
  readonly #maxConnections: number;
  readonly #peerWaits = new PeerWaits();
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
      const milliseconds = this.#endSession(now) ? MIN_SLOW_MILLISECONDS : CHECK_MILLISECONDS;
      await pause(Math.min(milliseconds, waitEndTime - now), signal);
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
   * Ends one session of the peer with the most connections, so that a client with many connections
   * can't lock out other clients: the session that has been idle longest, or else the slowest
   * session.
   *
   * @returns Whether a session was ended. Its slot becomes free once its app has returned.
   */
  #endSession(now: number): boolean {
    const connections = [...this.#connections];
    this.#peerWaits.observe(connections, now);
    const connectionsByPeer = Map.groupBy(connections, peerKeyOf);
    const slotCountOf = (connection: ServerConnection) =>
      connectionsByPeer.get(peerKeyOf(connection))!.length;
    const idleConnection = findFirst(
      connections.filter(({ idleSince }) => now - idleSince >= MIN_IDLE_MILLISECONDS),
      (a, b) => slotCountOf(b) - slotCountOf(a) || a.idleSince - b.idleSince,
    );
    idleConnection?.endIdleSession();
    if (idleConnection !== undefined) return true;
    const slowSession = findFirst(
      connections.flatMap((connection) => {
        const wait = this.#peerWaits.get(connection);
        if (wait === null || wait.milliseconds < MIN_SLOW_MILLISECONDS) return [];
        const isIdentified = findUser(connection.session) !== null ||
          connection.session.peerCertificate !== null;
        return [{ connection, wait, isIdentified, slotCount: slotCountOf(connection) }];
      }),
      (a, b) =>
        b.slotCount - a.slotCount || Number(a.isIdentified) - Number(b.isIdentified) ||
        a.wait.bytesPerSecond - b.wait.bytesPerSecond || b.wait.milliseconds - a.wait.milliseconds,
    );
    if (slowSession === undefined) return false;
    const { connection, wait, slotCount } = slowSession;
    connection.endSlowSession(
      `the peer kept the server waiting for ${(wait.milliseconds / 1000).toFixed(1)} s, and had ` +
        `${slotCount} of ${this.#maxConnections} slots`,
    );
    return true;
  }
}

function findFirst<T>(items: readonly T[], compare: (a: T, b: T) => number): T | undefined {
  return items.length === 0
    ? undefined
    : items.reduce((first, item) => compare(item, first) < 0 ? item : first);
}

/**
 * Identifies the peer of a connection by its key, otherwise by its user, otherwise by its host. All
 * peers of a Unix socket without a user count as one.
 */
function peerKeyOf({ session }: ServerConnection): string {
  const { peerCertificate, address } = session;
  if (peerCertificate !== null) return peerCertificate.publicKey256;
  const user = findUser(session);
  return user === null ? address?.[0] ?? "" : `user ${user}`;
}
