/**
 * Connections that wait for their handshake.
 *
 * @module
 */

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
  readonly #most: number;
  /** The oldest first. */
  readonly #items: T[] = [];
  #asking: PromiseWithResolvers<T> | null = null;
  #closed = false;

  /**
   * Creates an empty one.
   *
   * @param most How many connections it may hold.
   */
  constructor(most: number) {
    this.#most = most;
  }

  /** Adds a connection; returns the one that gives way, `null` if none has to. */
  push(item: T): T | null {
    if (this.#closed) return item;
    const asking = this.#asking;
    this.#asking = null;
    if (asking !== null) {
      asking.resolve(item);
      return null;
    }
    const goes = this.#items.length < this.#most ? null : this.#takeNextToGo();
    this.#items.push(item);
    return goes;
  }

  #takeNextToGo(): T {
    const silent = this.#items.findIndex(({ below }) => !below.heard);
    return this.#takeAt(silent === -1 ? Math.floor(Math.random() * this.#most) : silent);
  }

  #takeAt(index: number): T {
    return this.#items.splice(index, 1)[0]!;
  }

  /** Removes a connection that has ended; nothing happens if it doesn't wait here. */
  delete(item: T): void {
    const index = this.#items.indexOf(item);
    if (index !== -1) this.#takeAt(index);
  }

  /** Waits for the next connection; for one caller at a time. Rejects when closed. */
  next(): Promise<T> {
    if (this.#items.length > 0) {
      const heard = this.#items.findIndex(({ below }) => below.heard);
      return Promise.resolve(this.#takeAt(Math.max(heard, 0)));
    }
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("the listener is closed"));
    this.#asking = Promise.withResolvers();
    return this.#asking.promise;
  }

  /** Ends the wait for a connection; returns those that are left. */
  close(): T[] {
    this.#closed = true;
    this.#asking?.reject(new Deno.errors.Interrupted("the listener was closed"));
    this.#asking = null;
    return this.#items.splice(0);
  }
}
