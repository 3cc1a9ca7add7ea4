/** Random cases: two trees that have much in common, options, and what happens meanwhile. */

import fc from "fast-check";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import type { Plan } from "./disk.ts";

/** What one side has under a name. */
export type Side =
  | { readonly is: "nothing" | "fifo" | "socket" }
  | { readonly is: "file"; readonly size: number; readonly time: number; readonly mode: number }
  | { readonly is: "directory"; readonly mode: number; readonly unnamed: boolean }
  | { readonly is: "link"; readonly to: string };

/** What the target has under a name, in words of what the source has there. */
export type Relation =
  | "same"
  | "same size and time"
  | "touched"
  | "rounded"
  | "rounded to even seconds"
  | "within a millisecond"
  | "nothing"
  | Side;

/** A name with what both sides have there. What lies below belongs to each side that has a directory. */
export interface Pair {
  readonly name: string;
  readonly source: Side;
  readonly target: Relation;
  readonly below: readonly Pair[];
}

/** The options of a transfer that are no functions. */
export interface Options {
  readonly compare: "time" | "digest" | "nothing";
  readonly replace: boolean;
  readonly delete: boolean;
  readonly connections: number;
  readonly verify: boolean;
  /** What the filter refuses. */
  readonly hidden: { readonly names: readonly string[]; readonly kind: string | null };
}

/** What a change does to an entry of a side. */
export interface Change {
  /** When it happens: at the n-th event, at the n-th request, or so many milliseconds after the plan. */
  readonly when: { readonly on: "event" | "request" | "milliseconds"; readonly n: number };
  readonly side: "source" | "target";
  /** Which entry: the remainder by their number. */
  readonly which: number;
  readonly what:
    | "rewrite"
    | "rewrite in place"
    | "grow"
    | "remove"
    | "rename"
    | "link to a file"
    | "link to a directory"
    | "fifo"
    | "become a directory"
    | "become a file"
    | "close"
    | "add";
}

/** What goes wrong. */
export type Fault =
  | { readonly is: "nothing" }
  | { readonly is: "changes"; readonly changes: readonly Change[] }
  | { readonly is: "abort" | "cut"; readonly when: Change["when"] }
  | { readonly is: "full"; readonly kibibytes: number };

/** One run. */
export interface Case {
  readonly download: boolean;
  /** Whether a Connection is passed in place of a Client. */
  readonly connection: boolean;
  /** Where the tree lies below the server's root: at it, or in a directory of this name. */
  readonly place: string;
  /** Whether the local root is a link to a directory. */
  readonly linked: boolean;
  readonly targetMissing: boolean;
  readonly pairs: readonly Pair[];
  readonly options: Options;
  readonly fault: Fault;
}

const plainNames = ["a", "b", "c", "A", "B", "ab", "x y", "-r", ".hidden", "index.html"];
const similarNames = ["\u00e9", "e\u0301", "\u00c9", "E\u0301", "\u00df", "\u1e9e", "k", "\u212a"];
const oddNames = [
  "\u0130",
  "i\u0307",
  "%41",
  "#?&",
  "a\\b",
  "*",
  "\n",
  '"',
  "\u{1f389}",
  "n".repeat(255),
  "\u00e9".repeat(127),
  "constructor",
  "__proto__",
];
const reservedNames = [
  ".degu-files",
  ".DEGU-files",
  ".a.degu-part",
  ".a.degu-part.json",
  ".b.degu-part.new",
  ".x y.degu-part",
];

const name = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...plainNames) },
  { weight: 4, arbitrary: fc.constantFrom(...similarNames) },
  { weight: 2, arbitrary: fc.constantFrom(...oddNames) },
  { weight: 1, arbitrary: fc.constantFrom(...reservedNames) },
);

const size = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom(4, 5, 100, 3000) },
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constantFrom(65_535, 65_536) },
  { weight: 1, arbitrary: fc.constant(200_001) },
);

/** Odd and even seconds, whole ones, before 1970, and in the future. */
export const times = [
  1_700_000_001_123,
  1_700_000_002_456,
  1_700_000_003_000,
  1_700_000_004_000,
  0,
  -1_500,
  4_102_444_801_001,
];

const file = fc.record({
  is: fc.constant("file" as const),
  size,
  time: fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(0, 1, 2, 3) },
    { weight: 1, arbitrary: fc.constantFrom(4, 5, 6) },
  ),
  mode: fc.oneof(
    { weight: 20, arbitrary: fc.constant(0o644) },
    { weight: 2, arbitrary: fc.constantFrom(0o600, 0o755, 0o444) },
    { weight: 1, arbitrary: fc.constantFrom(0, 0o200) },
  ),
});

const directory = fc.record({
  is: fc.constant("directory" as const),
  mode: fc.oneof(
    { weight: 30, arbitrary: fc.constant(0o755) },
    { weight: 1, arbitrary: fc.constantFrom(0, 0o300, 0o400, 0o600, 0o500) },
  ),
  unnamed: fc.oneof(
    { weight: 30, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
});

/** The targets of links: `%outside` and `%beside` stand for directories that are not in the tree. */
const link = fc.record({
  is: fc.constant("link" as const),
  to: fc.constantFrom(
    "a",
    "b",
    "../a",
    ".",
    "..",
    "nowhere",
    "%outside/secret",
    "%outside",
    "%beside/neighbor",
    "%beside",
  ),
});

const side = fc.oneof(
  { weight: 10, arbitrary: file as fc.Arbitrary<Side> },
  { weight: 8, arbitrary: directory as fc.Arbitrary<Side> },
  { weight: 4, arbitrary: fc.constant<Side>({ is: "nothing" }) },
  { weight: 2, arbitrary: link as fc.Arbitrary<Side> },
  { weight: 1, arbitrary: fc.constantFrom<Side>({ is: "fifo" }, { is: "socket" }) },
);

const relation = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<Relation>("same", "nothing") },
  {
    weight: 4,
    arbitrary: fc.constantFrom<Relation>(
      "same size and time",
      "touched",
      "rounded",
      "rounded to even seconds",
      "within a millisecond",
    ),
  },
  { weight: 4, arbitrary: side as fc.Arbitrary<Relation> },
);

const { pairs } = fc.letrec<{ pairs: readonly Pair[] }>((tie) => ({
  pairs: fc.array(
    fc.record({
      name,
      source: side,
      target: relation,
      below: fc.option(tie("pairs"), { nil: [], freq: 3, depthSize: "small" }),
    }),
    { maxLength: 6, depthIdentifier: "tree" },
  ),
}));

const options: fc.Arbitrary<Options> = fc.record({
  compare: fc.oneof(
    { weight: 6, arbitrary: fc.constant("time" as const) },
    { weight: 2, arbitrary: fc.constant("digest" as const) },
    { weight: 1, arbitrary: fc.constant("nothing" as const) },
  ),
  replace: fc.oneof(
    { weight: 6, arbitrary: fc.constant(true) },
    { weight: 1, arbitrary: fc.constant(false) },
  ),
  delete: fc.oneof(
    { weight: 3, arbitrary: fc.constant(true) },
    { weight: 1, arbitrary: fc.constant(false) },
  ),
  connections: fc.constantFrom(4, 1, 2),
  verify: fc.oneof(
    { weight: 6, arbitrary: fc.constant(true) },
    { weight: 1, arbitrary: fc.constant(false) },
  ),
  hidden: fc.record({
    names: fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(name, { minLength: 1, maxLength: 2 }) },
    ),
    kind: fc.oneof(
      { weight: 12, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.constantFrom("other", "directory") },
    ),
  }),
});

const when: fc.Arbitrary<Change["when"]> = fc.record({
  on: fc.constantFrom("event" as const, "request" as const, "milliseconds" as const),
  n: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat(9) }),
});

const change: fc.Arbitrary<Change> = fc.record({
  when,
  side: fc.constantFrom("source" as const, "target" as const),
  which: fc.nat(40),
  what: fc.constantFrom<Change["what"]>(
    "rewrite",
    "rewrite in place",
    "grow",
    "remove",
    "rename",
    "link to a file",
    "link to a directory",
    "link to a directory",
    "link to a directory",
    "fifo",
    "become a directory",
    "become a file",
    "close",
    "add",
    "add",
  ),
});

function faults(canFill: boolean): fc.Arbitrary<Fault> {
  const nothing = fc.constant<Fault>({ is: "nothing" });
  const full = fc.record({ is: fc.constant("full" as const), kibibytes: fc.nat(160) });
  return fc.oneof(
    { weight: 10, arbitrary: nothing },
    {
      weight: 5,
      arbitrary: fc.record({
        is: fc.constant("changes" as const),
        changes: fc.array(change, { minLength: 1, maxLength: 4 }),
      }) as fc.Arbitrary<Fault>,
    },
    {
      weight: 3,
      arbitrary: fc.record({
        is: fc.constantFrom("abort" as const, "abort" as const, "cut" as const),
        when,
      }) as fc.Arbitrary<Fault>,
    },
    { weight: 2, arbitrary: canFill ? full as fc.Arbitrary<Fault> : nothing },
  );
}

/** Cases; with a disk that gets full only where there is one of its own for that. */
export function cases(canFill: boolean): fc.Arbitrary<Case> {
  return fc.record({
    download: fc.boolean(),
    connection: fc.oneof(
      { weight: 3, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    place: fc.constantFrom("t", "", "a b/\u00e9"),
    linked: fc.oneof(
      { weight: 8, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    targetMissing: fc.oneof(
      { weight: 12, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    pairs,
    options,
    fault: faults(canFill),
  });
}

/** The same without anything that keeps deletions from being made: links, special files, modes and names that are not UTF-8. */
export function plain(pairs: readonly Pair[]): readonly Pair[] {
  const plainSide = (side: Side): Side => {
    if (side.is === "file") return { ...side, mode: 0o644 };
    if (side.is === "directory") return { ...side, mode: 0o755, unnamed: false };
    return { is: "nothing" };
  };
  return pairs.map(({ name, source, target, below }) => ({
    name,
    source: plainSide(source),
    target: typeof target === "object" ? plainSide(target) : target,
    below: plain(below),
  }));
}

/** Where links of a tree lead to. */
export interface LinkTargets {
  readonly outside: string;
  readonly beside: string;
}

/** What is to be made for the source and for the target. */
export function plansOf(
  pairs: readonly Pair[],
  links: LinkTargets,
  firstId = 1,
): { readonly source: Plan; readonly target: Plan } {
  let id = firstId;
  const resolve = (to: string) =>
    to.replace("%outside", links.outside).replace("%beside", links.beside);
  const planOf = (side: Side, entries: Map<string, Plan>): Plan | null => {
    switch (side.is) {
      case "nothing":
        return null;
      case "file":
        return { ...side, kind: "file", id: id++, modified: times[side.time]! };
      case "directory":
        return { ...side, kind: "directory", entries };
      case "link":
        return { kind: "link", target: resolve(side.to) };
      default:
        return { kind: side.is };
    }
  };
  const related = (relation: Relation, source: Plan | null, entries: Map<string, Plan>) => {
    if (typeof relation === "object") return planOf(relation, entries);
    if (relation === "nothing" || source === null) return null;
    if (source.kind === "directory") return { ...source, entries };
    if (source.kind !== "file" || relation === "same") return source;
    const { modified } = source;
    switch (relation) {
      case "same size and time":
        return { ...source, id: id++ };
      case "touched":
        return { ...source, modified: modified + 86_400_001 };
      case "rounded":
        return { ...source, modified: Math.floor(modified / 1000) * 1000 };
      case "rounded to even seconds":
        return { ...source, modified: Math.floor(modified / 2000) * 2000 };
      case "within a millisecond":
        return { ...source, modified: modified + 0.4 };
    }
  };
  const divide = (list: readonly Pair[]) => {
    const source = new Map<string, Plan>(), target = new Map<string, Plan>();
    const seen = new Set<string>();
    for (const pair of list) {
      if (seen.has(pair.name)) continue;
      seen.add(pair.name);
      const below = divide(pair.below);
      const one = planOf(pair.source, below.source);
      const other = related(pair.target, one, below.target);
      for (const [side, plan] of [[source, one], [target, other]] as const) {
        const made = plan !== null && isReservedName(pair.name) ? asPart(pair.name, plan) : plan;
        if (made !== null) side.set(pair.name, made);
      }
    }
    return { source, target };
  };
  const { source, target } = divide(pairs);
  const root = { kind: "directory", mode: 0o755, unnamed: false } as const;
  return { source: { ...root, entries: source }, target: { ...root, entries: target } };
}

/** What a transfer leaves under a reserved name: an empty directory, or a file; `null` for anything else. */
function asPart(name: string, plan: Plan): Plan | null {
  if (plan.kind === "file") return name.endsWith("-files") ? null : { ...plan, mode: 0o600 };
  if (plan.kind !== "directory" || !name.endsWith("-files")) return null;
  return { ...plan, mode: 0o700, unnamed: false, entries: new Map() };
}
