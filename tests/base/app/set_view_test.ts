/** A read-only view of a set. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { SetView } from "@degu/internal/base/app/session.ts";

const sets = fc.uniqueArray(fc.integer({ min: 0, max: 9 })).map((items) => new Set(items));

Deno.test("each method returns the same as that of a Set", () => {
  fc.assert(fc.property(sets, sets, fc.integer({ min: 0, max: 9 }), (set, other, item) => {
    const view = new SetView(set);
    assertEquals(view.size, set.size);
    assertEquals(view.has(item), set.has(item));
    for (const method of ["values", "keys", "entries"] as const) {
      assertEquals([...view[method]()] as unknown[], [...set[method]()]);
    }
    assertEquals([...view], [...set]);
    for (const like of [other, new SetView(other)]) {
      assertEquals([...view.union(like)], [...set.union(other)]);
      assertEquals([...view.intersection(like)], [...set.intersection(other)]);
      assertEquals([...view.difference(like)], [...set.difference(other)]);
      assertEquals([...view.symmetricDifference(like)], [...set.symmetricDifference(other)]);
      assertEquals(view.isSubsetOf(like), set.isSubsetOf(other));
      assertEquals(view.isSupersetOf(like), set.isSupersetOf(other));
      assertEquals(view.isDisjointFrom(like), set.isDisjointFrom(other));
    }
    assertEquals(Deno.inspect(view), Deno.inspect(set));
  }));
});

Deno.test("the view always shows the current set", () => {
  const set = new Set([1]);
  const view = new SetView(set);
  set.add(2);
  assertEquals([view.size, [...view]], [2, [1, 2]]);
  const seen: unknown[] = [];
  view.forEach((item, same, whole) => {
    seen.push([item, same]);
    assertStrictEquals(whole, view);
    set.delete(item);
  });
  assertEquals(seen, [[1, 1], [2, 2]]);
  assertEquals(view.size, 0);
});

Deno.test("forEach uses the given `this`", () => {
  const self = {};
  new SetView(new Set([1])).forEach(function (this: unknown) {
    assertStrictEquals(this, self);
  }, self);
});

Deno.test("the view can't change the set, and what it returns is a copy", () => {
  const set = new Set([1]);
  const view = new SetView(set);
  for (const method of ["add", "delete", "clear"]) assert(!(method in view), method);
  view.union(new Set([2])).clear();
  assertEquals([...set], [1]);
  const shown = Object.values(Object.getOwnPropertyDescriptors(view));
  assertEquals(shown, []);
});
