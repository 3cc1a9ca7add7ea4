import { SwapRemoveSet } from "../../internal/collections.ts";
import { pause } from "../../internal/pause.ts";
import { findUser } from "../../base/app/session.ts";
import type { AcceptedConnection } from "../transport/listener.ts";
import { findMajorityKey, peerKeyOf } from "../transport/peer_keys.ts";
import type { ServerConnection } from "./server_connection.ts";

/**
 * The number of connections that may wait, as many as in the kernel's queue. The server accepts
 * them, because the kernel doesn't tell whose connections are behind those of a flood.
 */
const MAX_WAITING_CONNECTIONS = 512;
/**
 * The time that the first connection waits before the server refuses connections of a flood. The
 * only client of a server, such as a proxy, may open more connections at once than can wait, if
 * slots become free fast enough.
 */
const MAX_QUEUE_MILLISECONDS = 5000;
/** The time without a free slot after which the connection that waits longest is closed. */
const MAX_WAIT_MILLISECONDS = 2000;
/**
 * The time after which the server may end an idle session, to free its slot for another connection.
 * A client that makes one request after the other is idle for a shorter time.
 */
const MIN_IDLE_MILLISECONDS = 1000;
/** The same for a session that gives way to another peer. */
const MIN_DISPLACED_IDLE_MILLISECONDS = 250;
/**
 * The observed time for which a peer must have kept the server waiting, before the server may end
 * its session. Without another connection that waits for a slot, peers may be as slow as they like.
 */
const MIN_SLOW_MILLISECONDS = 1000;
/**
 * The time that a connection waits before a session of the peer with more than half of the slots
 * gives way to it, although this session is neither idle nor slow.
 */
const MIN_BUSY_MILLISECONDS = 1000;
const CHECK_MILLISECONDS = 100;

interface WaitingConnection {
  readonly connection: AcceptedConnection;
  readonly peerKey: string;
  readonly startTime: number;
}

/**
 * Why a connection gets no slot:
 *
 * - `"timeout"`: no slot became free.
 * - `"flood"`: too many connections of its peer wait.
 * - `"close"`: the server is closed.
 */
export type RefusalCause = "timeout" | "flood" | "close";

export interface SlotCallbacks {
  readonly onSlot: (connection: AcceptedConnection) => void;
  readonly onRefuse: (connection: AcceptedConnection, cause: RefusalCause) => void;
}

export class Slots {
  readonly #connections = new SwapRemoveSet<ServerConnection>();
  readonly #waitingConnections: WaitingConnection[] = [];
  readonly #maxConnections: number;
  readonly #callbacks: SlotCallbacks;
  readonly #peerWaits = new PeerWaits();
  readonly #closeController = new AbortController();
  /**
   * The controller that ends the pause of {@linkcode Slots.prototype.#endSessions}; `null` if no
   * connection waits.
   */
  #pauseController: AbortController | null = null;
  /**
   * The time at which a connection last got a slot or was refused for lack of one, or at which the
   * first connection began to wait.
   */
  #progressTime = 0;

  constructor(max: number, callbacks: SlotCallbacks) {
    this.#maxConnections = max;
    this.#callbacks = callbacks;
  }

  get hasFreeSlot(): boolean {
    return this.#connections.size < this.#maxConnections;
  }

  add(connection: ServerConnection): void {
    void connection.slotFreed.then(() => {
      this.#connections.delete(connection);
      if (this.#waitingConnections.length > 0) this.#serveNext();
    });
    this.#connections.add(connection);
  }

  /**
   * Lets a connection wait for a slot. If too many wait, further connections stay in the kernel's
   * queue. If slots also become free too slowly for this queue, refuses the newest connection of
   * the peer with more than half of the waiting connections instead.
   *
   * @returns A promise that resolves when another connection may wait.
   */
  async wait(connection: AcceptedConnection): Promise<void> {
    const { socket: { peerCertificate = null }, address } = connection;
    const startTime = performance.now();
    if (this.#waitingConnections.length === 0) this.#progressTime = startTime;
    this.#waitingConnections.push({
      connection,
      peerKey: peerKeyOf(peerCertificate, address),
      startTime,
    });
    if (this.#pauseController === null) void this.#endSessions();
    while (this.#waitingConnections.length > MAX_WAITING_CONNECTIONS) {
      const index = this.#findFloodIndex();
      if (index >= 0) this.#refuse(index, "flood");
      else await pause(CHECK_MILLISECONDS, this.#closeController.signal);
    }
  }

  #findFloodIndex(): number {
    const [firstConnection] = this.#waitingConnections;
    if (performance.now() - firstConnection!.startTime < MAX_QUEUE_MILLISECONDS) return -1;
    const majorityKey = findMajorityKey(this.#waitingConnections, ({ peerKey }) => peerKey);
    return this.#waitingConnections.findLastIndex(({ peerKey }) => peerKey === majorityKey);
  }

  close(): void {
    while (this.#waitingConnections.length > 0) this.#refuse(0, "close");
    this.#closeController.abort();
    this.#pauseController?.abort();
  }

  [Symbol.iterator](): Iterator<ServerConnection> {
    return this.#connections[Symbol.iterator]();
  }

  /** Connections of the peer with more than half of the slots come last. */
  #serveNext(): void {
    const majorityKey = this.#findMajorityKey();
    const index = this.#waitingConnections.findIndex(({ peerKey }) => peerKey !== majorityKey);
    this.#progressTime = performance.now();
    this.#callbacks.onSlot(this.#remove(Math.max(0, index)));
    this.#pauseController?.abort();
  }

  #refuse(index: number, cause: RefusalCause): void {
    this.#callbacks.onRefuse(this.#remove(index), cause);
  }

  #remove(index: number): AcceptedConnection {
    return this.#waitingConnections.splice(index, 1)[0]!.connection;
  }

  #findMajorityKey(): string | null {
    return findMajorityKey([...this.#connections], sessionKeyOf);
  }

  /** Ends one session after the other while connections wait. */
  async #endSessions(): Promise<void> {
    while (this.#waitingConnections.length > 0) {
      const now = performance.now();
      const waitEndTime = this.#progressTime + MAX_WAIT_MILLISECONDS;
      if (now >= waitEndTime) {
        this.#progressTime = now;
        this.#refuse(0, "timeout");
        continue;
      }
      this.#pauseController = new AbortController();
      const { signal } = this.#pauseController;
      const hasEnded = this.#endSession(now);
      if (!hasEnded) this.#displaceSession(now);
      const milliseconds = hasEnded ? MIN_SLOW_MILLISECONDS : CHECK_MILLISECONDS;
      await pause(Math.min(milliseconds, waitEndTime - now), signal);
    }
    this.#pauseController = null;
  }

  /**
   * Lets a session of the peer with more than half of the slots end after its next response, for
   * each connection of another peer that has waited for a while: a session between two requests, or
   * else the session with the most requests. The connection then waits for the response.
   */
  #displaceSession(now: number): void {
    const connections = [...this.#connections];
    const majorityKey = this.#findMajorityKey();
    const waitingCount =
      this.#waitingConnections.filter(({ peerKey, startTime }) =>
        peerKey !== majorityKey && now - startTime >= MIN_BUSY_MILLISECONDS
      ).length;
    if (connections.filter(({ isDisplaced }) => isDisplaced).length >= waitingCount) return;
    const busyConnection = findFirst(
      connections.filter((connection) =>
        sessionKeyOf(connection) === majorityKey && connection.session.requests > 0 &&
        !connection.isDisplaced
      ),
      (a, b) => Number(b.isIdle()) - Number(a.isIdle()) || b.session.requests - a.session.requests,
    );
    if (busyConnection === undefined) return;
    busyConnection.isDisplaced = true;
    this.#progressTime = now;
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
    const connectionsByPeer = Map.groupBy(connections, userKeyOf);
    const slotCountOf = (connection: ServerConnection) =>
      connectionsByPeer.get(userKeyOf(connection))!.length;
    const idleConnection = findFirst(
      connections.filter(({ idleSince, isDisplaced }) =>
        now - idleSince >=
          (isDisplaced ? MIN_DISPLACED_IDLE_MILLISECONDS : MIN_IDLE_MILLISECONDS)
      ),
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

function sessionKeyOf({ session }: ServerConnection): string {
  return peerKeyOf(session.peerCertificate, session.address);
}

/** Identifies the peer of a connection by its key, otherwise by its user, otherwise by its host. */
function userKeyOf(connection: ServerConnection): string {
  const { session } = connection;
  const user = session.peerCertificate === null ? findUser(session) : null;
  return user === null ? sessionKeyOf(connection) : `user ${user}`;
}

/** The maximum time between two observations for which a wait counts. */
const MAX_GAP_MILLISECONDS = 250;

/** The wait for the peer during one exchange, as far as it was observed. */
interface PeerWait {
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
class PeerWaits {
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
