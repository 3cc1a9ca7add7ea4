/**
 * A bounded queue of items with an asynchronous consumer.
 *
 * @module
 */

/** Returns items in the order in which they came; holds a limited number of them. */
export class Queue<T> {
  readonly #most: number;
  readonly #items: T[] = [];
  #waiting: PromiseWithResolvers<T> | null = null;
  #closed = false;

  /**
   * Makes an empty queue.
   *
   * @param most How many items it may hold.
   */
  constructor(most: number) {
    this.#most = most;
  }

  /** Adds an item; returns false if the queue is full or closed. */
  push(item: T): boolean {
    if (this.#closed) return false;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) waiting.resolve(item);
    else if (this.#items.length < this.#most) this.#items.push(item);
    else return false;
    return true;
  }

  /** Waits for the next item; for one caller at a time. Rejects when closed. */
  next(): Promise<T> {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift()!);
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("the listener is closed"));
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  /** Closes the queue; returns the items that are left. */
  close(): T[] {
    this.#closed = true;
    this.#waiting?.reject(new Deno.errors.Interrupted("the listener was closed"));
    this.#waiting = null;
    return this.#items.splice(0);
  }
}
