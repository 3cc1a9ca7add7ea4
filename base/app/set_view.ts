/**
 * A read-only view of a set.
 *
 * @module
 */

import { INSPECT, type Inspect } from "../inspect.ts";

/** A live view of a set that offers no way to change it. */
export class SetView<T> implements ReadonlySet<T> {
  readonly #set: ReadonlySet<T>;

  /** Makes a view of a set. */
  constructor(set: ReadonlySet<T>) {
    this.#set = set;
  }

  /** How many items there are. */
  get size(): number {
    return this.#set.size;
  }

  /** Whether an item is there. */
  has(item: T): boolean {
    return this.#set.has(item);
  }

  /** Calls a function with each item; items may be removed meanwhile. */
  forEach(call: (item: T, same: T, set: ReadonlySet<T>) => void, thisArg?: unknown): void {
    for (const item of this.#set) call.call(thisArg, item, item, this);
  }

  /** The items, in the order in which they were added. */
  values(): SetIterator<T> {
    return this.#set.values();
  }

  /** The same. */
  keys(): SetIterator<T> {
    return this.#set.keys();
  }

  /** Each item, twice. */
  entries(): SetIterator<[T, T]> {
    return this.#set.entries();
  }

  /** The items. */
  [Symbol.iterator](): SetIterator<T> {
    return this.#set.values();
  }

  /** A set of all items of both. */
  union<U>(other: ReadonlySetLike<U>): Set<T | U> {
    return this.#set.union(other);
  }

  /** A set of the items that are in both. */
  intersection<U>(other: ReadonlySetLike<U>): Set<T & U> {
    return this.#set.intersection(other);
  }

  /** A set of the items that are not in the other one. */
  difference<U>(other: ReadonlySetLike<U>): Set<T> {
    return this.#set.difference(other);
  }

  /** A set of the items that are in one of the two only. */
  symmetricDifference<U>(other: ReadonlySetLike<U>): Set<T | U> {
    return this.#set.symmetricDifference(other);
  }

  /** Whether all items are in the other one. */
  isSubsetOf(other: ReadonlySetLike<unknown>): boolean {
    return this.#set.isSubsetOf(other);
  }

  /** Whether all items of the other one are here. */
  isSupersetOf(other: ReadonlySetLike<unknown>): boolean {
    return this.#set.isSupersetOf(other);
  }

  /** Whether no item is in both. */
  isDisjointFrom(other: ReadonlySetLike<unknown>): boolean {
    return this.#set.isDisjointFrom(other);
  }

  /** What `console.log` and `Deno.inspect` show: the items. */
  [INSPECT](inspect: Inspect, options: unknown): string {
    return inspect(new Set(this.#set), options);
  }
}
