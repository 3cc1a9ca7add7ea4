/**
 * A bounded queue of items with an asynchronous consumer.
 *
 * @module
 */

/** Chooses one of the items, the oldest first, by its index; -1 for none. */
export type Choose<T> = (items: readonly T[]) => number;

/** Holds a limited number of items, and returns them in the order in which they came unless told otherwise. */
export class Queue<T> {
  readonly #most: number;
  readonly #first: Choose<T>;
  readonly #items: T[] = [];
  #waiting: PromiseWithResolvers<T> | null = null;
  #closed = false;

  /**
   * Makes an empty queue.
   *
   * @param most How many items it may hold.
   * @param first Which of one or more items is the next.
   */
  constructor(most: number, first: Choose<T> = () => 0) {
    this.#most = most;
    this.#first = first;
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

  /** Removes and returns an item; `null` if there is none to choose. */
  remove(choose: Choose<T>): T | null {
    const index = choose(this.#items);
    return index < 0 ? null : this.#items.splice(index, 1)[0] ?? null;
  }

  /** Waits for the next item; for one caller at a time. Rejects when closed. */
  next(): Promise<T> {
    if (this.#items.length > 0) return Promise.resolve(this.remove(this.#first)!);
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
