/** The set without gaps, and maps that evict their oldest entries. */
import { assertEquals } from "@std/assert";
import {
  evictOldest,
  type SwapRemoveEntry,
  SwapRemoveSet,
} from "@degu/internal/internal/collections.ts";
import fc from "fast-check";

interface NamedEntry extends SwapRemoveEntry {
  readonly name: string;
}

/** Makes a set of entries with one-letter names. */
function makeSet(
  names: string,
): { set: SwapRemoveSet<NamedEntry>; entries: Record<string, NamedEntry> } {
  const set = new SwapRemoveSet<NamedEntry>();
  const entries: Record<string, NamedEntry> = {};
  for (const name of names) set.add(entries[name] = { name, index: -1 });
  return { set, entries };
}

const namesOf = (set: SwapRemoveSet<NamedEntry>) =>
  [...set].map(({ name }) => name).sort().join("");

const ROWS: readonly [rule: string, removed: string, remaining: string][] = [
  ["the first", "a", "bcd"],
  ["an entry in the middle", "b", "acd"],
  ["the last", "d", "abc"],
  ["an entry that was moved to the index of a removed entry", "ad", "bc"],
  ["all", "cabd", ""],
];

for (const [rule, removed, remaining] of ROWS) {
  Deno.test(`a SwapRemoveSet removes ${rule}, and no other entry`, () => {
    const { set, entries } = makeSet("abcd");
    for (const name of removed) assertEquals(set.delete(entries[name]!), true);
    assertEquals([namesOf(set), set.size], [remaining, remaining.length]);
  });
}

Deno.test("a SwapRemoveSet doesn't remove an object that is not an entry, or was removed before", () => {
  const { set, entries } = makeSet("ab");
  assertEquals(set.delete({ name: "c", index: -1 }), false);
  assertEquals([set.delete(entries["a"]!), set.delete(entries["a"]!)], [true, false]);
  assertEquals(namesOf(set), "b");
});

Deno.test("an iteration over a SwapRemoveSet skips entries that are removed or added during it", () => {
  const { set, entries } = makeSet("abcd");
  const visited = [];
  for (const { name } of set) {
    visited.push(name);
    if (name === "a") {
      set.delete(entries["a"]!);
      set.delete(entries["c"]!);
      set.add({ name: "e", index: -1 });
    }
  }
  assertEquals(visited.sort().join(""), "abd");
  assertEquals(namesOf(set), "bde");
});

Deno.test("a map keeps the most recently added entries, up to its limit", () => {
  const keys = fc.array(fc.integer({ min: 0, max: 20 }));
  fc.assert(fc.property(keys, fc.integer({ min: 1, max: 10 }), (added, maxSize) => {
    const map = new Map<number, number>();
    const expected: number[] = [];
    for (const [i, key] of added.entries()) {
      map.set(key, i);
      evictOldest(map, maxSize);
      if (!expected.includes(key)) expected.push(key);
      if (expected.length > maxSize) expected.shift();
      assertEquals([...map.keys()], expected);
    }
  }));
});
