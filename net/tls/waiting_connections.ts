/**
 * Connections that wait for their handshake.
 *
 * @module
 */

import { Queue } from "../queue.ts";
import type { RawStream } from "./raw_stream.ts";

/** What is used of a connection. */
interface Waiting {
  readonly below: Pick<RawStream, "heard">;
}

/**
 * Holds a limited number of connections. Those whose peer has sent something come first, because in TLS
 * the client sends first. When one too many waits, the oldest silent one gives way. If all have sent
 * something, a random one does: peers that reconnect at once can't know which, so they keep nobody out.
 */
export class WaitingConnections<T extends Waiting> {
  readonly #queue: Queue<T>;

  /**
   * Creates an empty one.
   *
   * @param most How many connections it may hold.
   */
  constructor(most: number) {
    this.#queue = new Queue<T>(most, firstHeard);
  }

  /** Adds a connection; returns the one that gives way, `null` if none has to. */
  push(item: T): T | null {
    if (this.#queue.push(item)) return null;
    const goes = this.#queue.remove(nextToGo);
    // Once closed it holds none, and takes none.
    if (goes === null) return item;
    this.#queue.push(item);
    return goes;
  }

  /** Removes a connection that has ended; nothing happens if it doesn't wait here. */
  delete(item: T): void {
    this.#queue.remove((items) => items.indexOf(item));
  }

  /** Waits for the next connection; for one caller at a time. Rejects when closed. */
  next(): Promise<T> {
    return this.#queue.next();
  }

  /** Ends the wait for a connection; returns those that are left. */
  close(): T[] {
    return this.#queue.close();
  }
}

function firstHeard(items: readonly Waiting[]): number {
  return Math.max(0, items.findIndex(({ below }) => below.heard));
}

function nextToGo(items: readonly Waiting[]): number {
  const silent = items.findIndex(({ below }) => !below.heard);
  return silent === -1 ? Math.floor(Math.random() * items.length) : silent;
}
