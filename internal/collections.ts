/** Collections whose memory is bounded: groups whose members come and go, and maps with a limit. */

/** An object that can be a member of one group at a time. */
export interface Member {
  /** The place in the group; -1 outside of a group. Only the group sets it. */
  place: number;
}

/**
 * A set whose members come and go by the thousand. A `Set` makes a new table after every few of
 * them. An old table refers to its former members and to the new table: if one of these tables
 * survives a few collections of garbage, all later tables stay in memory with their members, up to
 * the next full collection.
 */
export class Members<T extends Member> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  /** Adds an object that is not a member yet. */
  add(member: T): void {
    member.place = this.#all.push(member) - 1;
  }

  /** Removes a member; returns false for any other object. */
  delete(member: T): boolean {
    const { place } = member;
    if (place < 0) return false;
    const last = this.#all.pop()!;
    if (last !== member) {
      this.#all[place] = last;
      last.place = place;
    }
    member.place = -1;
    return true;
  }

  /** The members at this moment, without those that are removed before their turn. */
  *[Symbol.iterator](): Generator<T> {
    for (const member of [...this.#all]) {
      if (member.place >= 0) yield member;
    }
  }
}

/**
 * Removes the oldest entry of a map that has more than `most` entries: strangers could otherwise
 * fill it without limit.
 */
export function forgetOldest<Key>(map: Map<Key, unknown>, most: number): void {
  if (map.size > most) map.delete(map.keys().next().value!);
}
