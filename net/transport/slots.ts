/**
 * The slots of a server, for its sessions and, over TLS, for its handshakes; and the connections
 * that wait for a slot. The peer with the most slots gives way, so that no peer can lock out
 * others.
 */

import { type SwapRemoveEntry, SwapRemoveSet } from "../../internal/collections.ts";
import { linkPhases, refuseEvent, SLOT_TRANSITIONS } from "../protocol/phases.ts";
import { startInterval, type Timer } from "./deadline.ts";

/** The number of connections that may wait, as many as in the kernel's queue. */
const MAX_WAITING_CONNECTIONS = 1024;
/**
 * The time after which a stalled session may end. A client that makes one request after the other
 * is idle for a shorter time.
 */
const MIN_STALL_MILLISECONDS = 1000;
const CHECK_MILLISECONDS = 100;
/**
 * The number of checks in which all slots of a peer change hands. If all sessions of a flood ended
 * in one check, the next client would wait until the sessions that replaced them have stalled.
 */
const CHECKS_PER_ROTATION = 10;

/** The maximum time between two calls of `measureProgress` that counts. */
const MAX_GAP_MILLISECONDS = 250;

const SLOTS = linkPhases(SLOT_TRANSITIONS);

/** A session or a handshake. */
export abstract class SlotHolder implements SwapRemoveEntry {
  index = -1;
  /** Whether it only waits for its app or for its last bytes. */
  abstract readonly isClosing: boolean;
  #slot = SLOTS.held;
  /** What the peer had done at the last call of {@linkcode measureProgress}, and when that was. */
  #progress = -2;
  #measureTime = 0;
  #stallMilliseconds = 0;
  abstract readonly peerKey: string;

  /** Whether it is to end after its next response. */
  get isYielding(): boolean {
    return this.#slot === SLOTS.yielding;
  }

  yield(): void {
    this.#slot = this.#slot.yield ?? refuseEvent("yield", this.#slot);
  }

  keep(): void {
    this.#slot = this.#slot.keep ?? refuseEvent("keep", this.#slot);
  }

  /**
   * Returns the milliseconds for which the peer has kept the server waiting without progress, or
   * since it began to close; `null` if the server isn't waiting for the peer.
   */
  abstract measureStall(now: number): number | null;
  /** Ends it for a connection that waits. */
  abstract end(stallMilliseconds: number): void;

  /**
   * Returns the milliseconds of waiting since the last progress. Measuring each wait would make
   * every request slower, so only the time between two calls is added.
   */
  protected measureProgress(now: number, progress: number, isWaiting: boolean): number {
    if (progress !== this.#progress) this.#stallMilliseconds = 0;
    else if (isWaiting) {
      this.#stallMilliseconds += Math.min(now - this.#measureTime, MAX_GAP_MILLISECONDS);
    }
    this.#progress = progress;
    this.#measureTime = now;
    return this.#stallMilliseconds;
  }
}

/**
 * Why a connection gets no slot:
 *
 * - `"timeout"`: no slot became free in time.
 * - `"flood"`: too many connections wait.
 * - `"close"`: the server is closed.
 */
export type RefusalCause = "timeout" | "flood" | "close";

interface SlotOptions<Connection> {
  /** The number of slots. */
  readonly max: number;
  /** Half of the seconds for which a connection may wait, or `null`. */
  readonly timeout: number | null;
  /** Calls {@linkcode Slots.prototype.add}. */
  readonly onSlot: (connection: Connection) => void;
  readonly onRefuse: (connection: Connection, cause: RefusalCause) => void;
}

interface WaitingConnection<Connection> {
  readonly connection: Connection;
  readonly peer: PeerCounts;
  readonly startTime: number;
}

export class Slots<Connection extends { readonly peerKey: string }, Holder extends SlotHolder> {
  #max: number;
  /** A slot becomes free when its silent peer has reached the time-out. */
  readonly #maxWaitMilliseconds: number;
  readonly #onSlot: (connection: Connection) => void;
  readonly #onRefuse: (connection: Connection, cause: RefusalCause) => void;
  readonly #holders = new SwapRemoveSet<Holder>();
  readonly #peers = new PeerTable();
  readonly #waitingConnections: WaitingConnection<Connection>[] = [];
  #timer: Timer | undefined;

  constructor({ max, timeout, onSlot, onRefuse }: SlotOptions<Connection>) {
    this.#max = max;
    this.#maxWaitMilliseconds = 2000 * (timeout ?? Infinity);
    this.#onSlot = onSlot;
    this.#onRefuse = onRefuse;
  }

  resize(max: number): void {
    this.#max = max;
    this.#fillSlots();
  }

  /**
   * Gives the connection a slot, or lets it wait. If too many connections wait, refuses the newest
   * of the peer with the most of them.
   */
  admit(connection: Connection): void {
    const waitingConnections = this.#waitingConnections;
    if (this.#holders.size < this.#max && waitingConnections.length === 0) {
      return this.#onSlot(connection);
    }
    const peer = this.#peers.add(connection.peerKey, "waiting");
    waitingConnections.push({ connection, peer, startTime: performance.now() });
    if (waitingConnections.length > MAX_WAITING_CONNECTIONS) {
      const largest = findMost(waitingConnections, ({ peer }) => peer.rank("waiting"))!;
      this.#refuse(waitingConnections.findLastIndex(({ peer }) => peer === largest.peer), "flood");
    }
    if (this.#timer !== undefined) return;
    this.#timer = startInterval(() => this.#freeSlots(), CHECK_MILLISECONDS);
    this.#freeSlots();
  }

  /** Removes a connection whose peer has left. */
  leave(connection: Connection): void {
    const index = this.#waitingConnections.findIndex((waiting) =>
      waiting.connection === connection
    );
    if (index >= 0) this.#remove(index);
  }

  add(holder: Holder): void {
    this.#holders.add(holder);
    this.#peers.add(holder.peerKey, "open");
  }

  delete(holder: Holder): void {
    if (!this.#holders.delete(holder)) return;
    this.#peers.delete(holder.peerKey, "open");
    this.#fillSlots();
  }

  close(): void {
    while (this.#waitingConnections.length > 0) this.#refuse(0, "close");
  }

  [Symbol.iterator](): Iterator<Holder> {
    return this.#holders[Symbol.iterator]();
  }

  /** A free slot goes to the connection whose peer has the fewest slots. */
  #fillSlots(): void {
    const waitingConnections = this.#waitingConnections;
    while (this.#holders.size < this.#max && waitingConnections.length > 0) {
      const next = findMost(waitingConnections, ({ peer }) => -peer.rank("open"))!;
      this.#onSlot(this.#remove(waitingConnections.indexOf(next)));
    }
  }

  #refuse(index: number, cause: RefusalCause): void {
    this.#onRefuse(this.#remove(index), cause);
  }

  #remove(index: number): Connection {
    const { connection } = this.#waitingConnections.splice(index, 1)[0]!;
    this.#peers.delete(connection.peerKey, "waiting");
    if (this.#waitingConnections.length === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      for (const holder of this.#holders) holder.keep();
    }
    return connection;
  }

  /** Ends stalled sessions, or lets a session of the peer with the most slots yield its slot. */
  #freeSlots(): void {
    const now = performance.now();
    const waitingConnections = this.#waitingConnections;
    while (now - (waitingConnections[0]?.startTime ?? Infinity) >= this.#maxWaitMilliseconds) {
      this.#refuse(0, "timeout");
    }
    const holders = [...this.#holders]
      .map((holder) => {
        const stall = holder.measureStall(now);
        const isStalled = stall !== null && stall >= MIN_STALL_MILLISECONDS;
        const peer = this.#peers.findOrAdd(holder.peerKey);
        return { holder, peer, slotCount: peer.rank("open"), stall, isStalled };
      })
      .sort((a, b) => b.slotCount - a.slotCount || (b.stall ?? -1) - (a.stall ?? -1));
    const sessions = holders.filter(({ holder }) => !holder.isClosing);
    // The slot of a closing session becomes free soon, unless its app doesn't return.
    const closingCount =
      holders.filter(({ holder, isStalled }) => holder.isClosing && !isStalled).length;
    const missingCount = Math.max(waitingConnections.length - closingCount, 0);

    // A session doesn't give way to a connection of a peer with more slots.
    const slotCounts = waitingConnections.map(({ peer }) => peer.rank("open"));
    const fewestSlots = Math.min(...slotCounts);
    const stalledSessions = sessions.filter(({ isStalled, slotCount }) =>
      isStalled && slotCount >= fewestSlots
    );
    const newPeerCount = slotCounts.filter((count) => count === 0).length;
    const maxEnds = Math.max(newPeerCount, Math.ceil(holders.length / CHECKS_PER_ROTATION));
    for (const { holder, stall } of stalledSessions.slice(0, Math.min(missingCount, maxEnds))) {
      holder.end(stall!);
    }
    if (stalledSessions.length > 0) return;

    const session = sessions.find(({ holder }) => !holder.isYielding);
    if (session === undefined) return;
    const smallerPeerCount =
      waitingConnections.filter(({ peer }) => peer.isSmaller(session.peer)).length;
    const yieldingCount =
      sessions.filter(({ holder, stall }) => holder.isYielding && stall !== null).length;
    if (yieldingCount < Math.min(smallerPeerCount, missingCount)) session.holder.yield();
  }
}

/** More than the number of slots, and than the number of connections that wait. */
const RANK_FACTOR = 2 ** 20;

/** `"open"` connections have a slot, or linger; `"waiting"` ones wait for a slot. */
type ConnectionKind = "open" | "waiting";

/** The numbers of connections of a peer; over TLS also of an authority, whatever its hosts. */
class PeerCounts {
  readonly key: string;
  /** Without TLS, the peer itself. */
  readonly authority: PeerCounts;
  open = 0;
  waiting = 0;

  constructor(key: string, authority: PeerCounts | null) {
    this.key = key;
    this.authority = authority ?? this;
  }

  /** Orders peers by the connections of their authority, and then by their own. */
  rank(kind: ConnectionKind): number {
    return RANK_FACTOR * this.authority[kind] + this[kind];
  }

  /** Reports whether this peer has at least two slots fewer than another one. */
  isSmaller(other: PeerCounts): boolean {
    return this.authority === other.authority
      ? this.open + 1 < other.open
      : this.authority.open + 1 < other.authority.open;
  }
}

/**
 * The counts of all peers that have connections. Over TLS, authorities are compared first, whatever
 * the number of their hosts, and then the hosts of one authority: so a device locks out neither
 * other authorities nor the other devices of its own.
 */
export class PeerTable {
  readonly #peers = new Map<string, PeerCounts>();

  findOrAdd(peerKey: string): PeerCounts {
    let peer = this.#peers.get(peerKey);
    if (peer === undefined) {
      const authorityEnd = peerKey.indexOf(" ");
      const authority = authorityEnd < 0 ? null : this.findOrAdd(peerKey.slice(0, authorityEnd));
      peer = new PeerCounts(peerKey, authority);
      this.#peers.set(peerKey, peer);
    }
    return peer;
  }

  add(peerKey: string, kind: ConnectionKind): PeerCounts {
    const peer = this.findOrAdd(peerKey);
    peer[kind]++;
    if (peer.authority !== peer) peer.authority[kind]++;
    return peer;
  }

  delete(peerKey: string, kind: ConnectionKind): void {
    const peer = this.findOrAdd(peerKey);
    peer[kind]--;
    if (peer.authority !== peer) peer.authority[kind]--;
    for (const { key, open, waiting } of [peer, peer.authority]) {
      if (open + waiting === 0) this.#peers.delete(key);
    }
  }
}

/** Returns the first item with the highest rank. */
export function findMost<T>(items: Iterable<T>, rankOf: (item: T) => number): T | undefined {
  let most: T | undefined;
  let maxRank = -Infinity;
  for (const item of items) {
    const rank = rankOf(item);
    if (rank > maxRank) {
      most = item;
      maxRank = rank;
    }
  }
  return most;
}
