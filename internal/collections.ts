/** An object that can be in one {@linkcode SwapRemoveSet} at a time. */
export interface SwapRemoveEntry {
  /** The index of the entry in its set; -1 outside of a set. Only the set changes it. */
  index: number;
}

/**
 * A set for thousands of short-lived objects, backed by an array. V8's `Set` chains its old hash
 * tables, so removed members of a `Set` can stay in memory until the next full garbage collection.
 */
export class SwapRemoveSet<T extends SwapRemoveEntry> {
  readonly #entries: T[] = [];

  get size(): number {
    return this.#entries.length;
  }

  add(entry: T): void {
    entry.index = this.#entries.push(entry) - 1;
  }

  delete(entry: T): boolean {
    const { index } = entry;
    if (index < 0) return false;
    const lastEntry = this.#entries.pop()!;
    if (lastEntry !== entry) {
      this.#entries[index] = lastEntry;
      lastEntry.index = index;
    }
    entry.index = -1;
    return true;
  }

  /**
   * Iterates over the entries that the set has at the start, except for entries that are removed
   * before the iteration reaches them.
   */
  *[Symbol.iterator](): Generator<T> {
    for (const entry of [...this.#entries]) {
      if (entry.index >= 0) yield entry;
    }
  }
}

/**
 * Removes the oldest entry of a map or set that has more than `maxSize` entries: otherwise peers
 * could fill it without limit.
 */
export function evictOldest<Key>(map: Map<Key, unknown> | Set<Key>, maxSize: number): void {
  if (map.size > maxSize) map.delete(map.keys().next().value!);
}
