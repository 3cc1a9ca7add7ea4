/** What comes and goes, in no order. */

/** What can be a member, of one group at a time. */
export interface Member {
  /** Its place in the group; -1 outside of it. Only the group sets it. */
  place: number;
}

/**
 * A set whose members come and go by the thousand. A `Set` makes a new table after every few of them; the old table
 * refers to what was in it and to the new one, and if one of these tables grows old, all that follow stay in memory,
 * with all that was in them, up to the next collection of everything.
 */
export class Members<T extends Member> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  /** Adds what is not a member yet. */
  add(member: T): void {
    member.place = this.#all.push(member) - 1;
  }

  /** Removes a member; false if it is none. */
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
