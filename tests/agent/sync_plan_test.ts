/** What a synchronization has to do: the plan, carried out on maps in place of file systems. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { planSync, type SyncPlan } from "@degu/internal/agent/sync_plan.ts";
import type { Tree, TreeEntry } from "@degu/internal/agent/tree.ts";

/** A tree by path: size and time of a file, or `null` for a directory. */
type Model = ReadonlyMap<string, readonly [size: number, time: number] | null>;

function treeOf(model: Model, problems: Partial<Tree> = {}): Tree {
  const entries = [...model].toSorted(([a], [b]) => a < b ? -1 : 1).map((
    [path, file],
  ): TreeEntry => ({
    names: path.split("/"),
    kind: file === null ? "directory" : "file",
    size: file?.[0] ?? 0,
    modified: new Date(file?.[1] ?? 0),
  }));
  return { entries, skipped: [], failed: [], ...problems };
}

/** Carries out a plan as a file system would: nothing without its directory, no directory that is not empty. */
function carryOut(plan: SyncPlan, target: Model, source: Model): Model {
  const result = new Map(target);
  const pathOf = ({ names }: TreeEntry) => names.join("/");
  const remove = ({ entry }: SyncPlan["clear"][number]) => {
    const path = pathOf(entry);
    assert(result.has(path), `${path} is not there`);
    assert(![...result.keys()].some((key) => key.startsWith(`${path}/`)), `${path} is not empty`);
    result.delete(path);
  };
  plan.clear.forEach(remove);
  for (const { action, entry } of plan.steps) {
    const path = pathOf(entry);
    for (let i = 1; i < entry.names.length; i++) {
      assertEquals(result.get(entry.names.slice(0, i).join("/")), null, `no directory for ${path}`);
    }
    if (action === "make") assert(!result.has(path), path);
    else assert(result.get(path) !== null, `${path} is a directory`);
    result.set(path, source.get(path)!);
  }
  plan.deletions.forEach(remove);
  return result;
}

const name = fc.constantFrom("a", "b", "a.b", "B", "é");
const file = fc.tuple(fc.nat(2), fc.nat(2));
const model: fc.Arbitrary<Model> = fc.array(
  fc.tuple(fc.array(name, { minLength: 1, maxLength: 3 }), fc.option(file)),
  { maxLength: 12 },
).map((paths) => {
  const made = new Map<string, readonly [number, number] | null>();
  for (const [names, content] of paths) {
    const parents = names.slice(0, -1).map((_, i) => names.slice(0, i + 1).join("/"));
    if (parents.some((path) => made.get(path)) || made.has(names.join("/"))) continue;
    for (const path of parents) made.set(path, null);
    made.set(names.join("/"), content);
  }
  return made;
});

const byPath = (tree: Model) => Object.fromEntries([...tree].sort(([a], [b]) => a < b ? -1 : 1));

Deno.test("with --delete the target becomes equal to the source, and then nothing is left to do", () => {
  fc.assert(fc.property(model, model, (source, target) => {
    fc.pre(source.size > 0);
    const rules = { checksum: false, delete: true };
    const plan = planSync(treeOf(source), treeOf(target), rules);
    const result = carryOut(plan, target, source);
    assertEquals(byPath(result), byPath(source));
    assertEquals(plan.conflicts, []);
    const again = planSync(treeOf(source), treeOf(result), rules);
    assertEquals([again.clear, again.steps, again.deletions], [[], [], []]);
    assertEquals(again.unchanged, [...source.values()].filter((each) => each !== null).length);
  }));
});

Deno.test("without --delete nothing is removed, and everything without a conflict is copied", () => {
  fc.assert(fc.property(model, model, (source, target) => {
    const plan = planSync(treeOf(source), treeOf(target), { checksum: false, delete: false });
    assertEquals([plan.clear, plan.deletions], [[], []]);
    const result = carryOut(plan, target, source);
    for (const path of target.keys()) assert(result.has(path));
    const conflicts = plan.conflicts.map(({ names }) => names.join("/"));
    for (const [path, content] of source) {
      const isBlocked = conflicts.some((each) => path === each || path.startsWith(`${each}/`));
      if (!isBlocked) assertEquals(result.get(path), content);
      else if (target.has(path)) assertEquals(result.get(path), target.get(path));
    }
  }));
});

Deno.test("nothing is deleted, not even a conflicting entry, if something could not be listed", () => {
  const failed = [{ names: ["a"], problem: "closed" }];
  fc.assert(fc.property(model, model, fc.boolean(), (source, target, isSource) => {
    const plan = planSync(
      treeOf(source, isSource ? { failed } : {}),
      treeOf(target, isSource ? {} : { failed }),
      { checksum: false, delete: true },
    );
    assertEquals([plan.clear, plan.deletions, plan.keeps], [[], [], "unlisted"]);
  }));
});

Deno.test("what the source has but skips is kept, with everything below it", () => {
  const target: Model = new Map([["link", null], ["link/a", [1, 1]], ["old", [1, 1]]]);
  const skipped = [{ names: ["link"], problem: "a symbolic link" }];
  const plan = planSync(treeOf(new Map(), { skipped }), treeOf(target), {
    checksum: false,
    delete: true,
  });
  assertEquals(plan.deletions.map(({ entry }) => entry.names), [["old"]]);
});

Deno.test("nothing is written where the target has something that is not followed", () => {
  const source: Model = new Map([["link", null], ["link/a", [1, 1]], ["b", [1, 1]]]);
  const skipped = [{ names: ["link"], problem: "a symbolic link" }];
  const plan = planSync(treeOf(source), treeOf(new Map(), { skipped }), {
    checksum: false,
    delete: true,
  });
  assertEquals(plan.steps.map(({ entry }) => entry.names), [["b"]]);
  assertEquals(plan.conflicts.map(({ names }) => names), [["link"]]);
});

Deno.test("size and time decide, to the millisecond; with --checksum the contents of files with equal size", () => {
  const source: Model = new Map([["a", [1, 1]], ["b", [1, 1]], ["c", [1, 1]]]);
  const target: Model = new Map([["a", [1, 1]], ["b", [1, 2]], ["c", [2, 1]]]);
  const actions = (checksum: boolean) =>
    planSync(treeOf(source), treeOf(target), { checksum, delete: false }).steps
      .map(({ action, entry }) => `${action} ${entry.names}`);
  assertEquals(actions(false), ["copy b", "copy c"]);
  assertEquals(actions(true), ["compare a", "compare b", "copy c"]);
});

Deno.test("an empty source deletes nothing: its disk may be missing", () => {
  const rules = { checksum: false, delete: true };
  const empty = treeOf(new Map());
  const full = treeOf(new Map([["a", [1, 1]], ["d", null]]));
  const plan = planSync(empty, full, rules);
  assertEquals([plan.clear, plan.steps, plan.deletions, plan.keeps], [[], [], [], "empty"]);
  assertEquals(planSync(empty, empty, rules).keeps, null);
  assertEquals(planSync(empty, full, { ...rules, delete: false }).keeps, null);
});

Deno.test("a directory in place of a file can have any number of entries", () => {
  const inside = Array.from({ length: 140_000 }, (_, i) => [`a/${i}`, [0, 0]] as const);
  const target = treeOf(new Map([["a", null], ...inside]));
  const plan = planSync(treeOf(new Map([["a", [1, 0]]])), target, {
    checksum: false,
    delete: true,
  });
  assertEquals(plan.clear.length, inside.length + 1);
});
