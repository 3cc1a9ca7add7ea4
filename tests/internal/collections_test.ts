/** Groups, and maps that forget. */
import { assertEquals } from "@std/assert";
import { forgetOldest, type Member, Members } from "@degu/internal/internal/collections.ts";
import fc from "fast-check";

interface Named extends Member {
  readonly name: string;
}

/** A group of members with one-letter names. */
function membersOf(names: string): { group: Members<Named>; member: Record<string, Named> } {
  const group = new Members<Named>();
  const member: Record<string, Named> = {};
  for (const name of names) group.add(member[name] = { name, place: -1 });
  return { group, member };
}

const namesOf = (group: Members<Named>) => [...group].map(({ name }) => name).sort().join("");

const ROWS: readonly [rule: string, removed: string, left: string][] = [
  ["the first", "a", "bcd"],
  ["one in the middle", "b", "acd"],
  ["the last", "d", "abc"],
  ["one that took the place of another", "ad", "bc"],
  ["all", "cabd", ""],
];

for (const [rule, removed, left] of ROWS) {
  Deno.test(`members: removed is ${rule}, and no other`, () => {
    const { group, member } = membersOf("abcd");
    for (const name of removed) assertEquals(group.delete(member[name]!), true);
    assertEquals([namesOf(group), group.size], [left, left.length]);
  });
}

Deno.test("members: what is none, or none any more, can't be removed", () => {
  const { group, member } = membersOf("ab");
  assertEquals(group.delete({ name: "c", place: -1 }), false);
  assertEquals([group.delete(member["a"]!), group.delete(member["a"]!)], [true, false]);
  assertEquals(namesOf(group), "b");
});

Deno.test("members: what is removed before its turn has none, and what is added meanwhile neither", () => {
  const { group, member } = membersOf("abcd");
  const seen = [];
  for (const { name } of group) {
    seen.push(name);
    if (name === "a") {
      group.delete(member["a"]!);
      group.delete(member["c"]!);
      group.add({ name: "e", place: -1 });
    }
  }
  assertEquals(seen.sort().join(""), "abd");
  assertEquals(namesOf(group), "bde");
});

Deno.test("a map keeps the most recently added entries, up to its limit", () => {
  const keys = fc.array(fc.integer({ min: 0, max: 20 }));
  fc.assert(fc.property(keys, fc.integer({ min: 1, max: 10 }), (added, most) => {
    const map = new Map<number, number>();
    const expected: number[] = [];
    for (const [i, key] of added.entries()) {
      map.set(key, i);
      forgetOldest(map, most);
      if (!expected.includes(key)) expected.push(key);
      if (expected.length > most) expected.shift();
      assertEquals([...map.keys()], expected);
    }
  }));
});
