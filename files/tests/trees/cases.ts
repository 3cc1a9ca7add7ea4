/** Random cases: two similar trees, options, and changes during the transfer. */

import fc from "fast-check";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import type { Plan } from "./disk.ts";
import type { LIES } from "./lies.ts";

/** The type of the values of an arbitrary; any other type is unchanged. */
export type Made<A> = A extends fc.Arbitrary<infer T> ? T : A;

type Side = Made<typeof side>;
/** The entry of the target under a name, relative to that of the source. */
type Relation = Made<typeof relation>;
/** The options of a transfer, except for functions. */
export type Options = Made<typeof options>;
/** Changes of other processes to an entry of a side during the copy. */
export type Change = Made<typeof change>;
/** One run. */
export type Case = Made<ReturnType<typeof cases>> & {
  /** The trees of a row, in place of `pairs`. */
  readonly trees?: { readonly source: string; readonly target: string };
  /** What else a row does. */
  readonly script?: Script;
};

/** The options of a row that random cases don't have. */
export interface Script {
  readonly move: boolean;
  readonly write: true | "add";
  readonly list: boolean;
  readonly changes: readonly ScriptedChange[];
  /**
   * The messages with files that are lost: the first to each URI, or all before the first pause.
   */
  readonly lost: "request" | "response" | null;
  readonly isCutUntilPause: boolean;
  /** Whether the first request with a file or for a deletion is delayed until the next call. */
  readonly isLate: boolean;
  /** The requests with the lies of `LIES`. */
  readonly lies: keyof typeof LIES | null;
  /** The refused files with requests of their own, or `null` for all requests with files. */
  readonly refused: { readonly status: number; readonly paths: readonly string[] | null } | null;
}

/** A change of a file by another process. */
export interface ScriptedChange {
  /**
   * When the server gets the first request with the file, when it has handled this request, or in
   * the pause before a retry.
   */
  readonly moment: "sent" | "stored" | "pause";
  readonly side: "source" | "target";
  readonly what: "append" | "replace" | "touch" | "directory" | "remove" | "write";
  readonly path: string;
}

/**
 * A name with the entries of both sides. The entries below it belong to each side that has a
 * directory.
 */
interface Pair {
  readonly name: string;
  readonly source: Side;
  readonly target: Relation;
  readonly below: readonly Pair[];
}

const plainNames = ["a", "b", "c", "A", "B", "ab", "x y", "-r", ".hidden", "index.html"];
const similarNames = ["\u00e9", "e\u0301", "\u00c9", "E\u0301", "\u00df", "\u1e9e", "k", "\u212a"];
const oddNames = [
  ...["\u0130", "i\u0307", "%41", "#?&", "a\\b", "*", "\n", '"', "\u{1f389}"],
  ...["n".repeat(255), "\u00e9".repeat(127), "constructor", "__proto__"],
];
const reservedNames = [".degu-files", ".DEGU-files", ".a.degu-part", ".x y.degu-part"];

/** Makes an arbitrary of some values and of other arbitraries, by weight. */
function oneOf<const Choices extends readonly (readonly [weight: number, of: unknown])[]>(
  ...choices: Choices
) {
  return fc.oneof(...choices.map(([weight, choice]) => {
    return { weight, arbitrary: choice instanceof fc.Arbitrary ? choice : fc.constant(choice) };
  })) as fc.Arbitrary<Made<Choices[number][1]>>;
}

const anyOf = fc.constantFrom;

const name = oneOf(
  [12, anyOf(...plainNames)],
  [4, anyOf(...similarNames)],
  [2, anyOf(...oddNames)],
  [1, anyOf(...reservedNames)],
);

const size = oneOf([10, anyOf(4, 5, 100, 3000)], [2, 0], [2, anyOf(65_535, 65_536)], [1, 200_001]);

/** Times with odd, even and whole seconds, before 1970, and in the future. */
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
  is: fc.constant("file"),
  size,
  time: oneOf([5, anyOf(0, 1, 2, 3)], [1, anyOf(4, 5, 6)]),
  mode: oneOf([20, 0o644], [2, anyOf(0o600, 0o755, 0o444)], [1, anyOf(0, 0o200)]),
});

const directory = fc.record({
  is: fc.constant("directory"),
  mode: oneOf([30, 0o755], [1, anyOf(0, 0o300, 0o400, 0o600, 0o500)]),
  unnamed: oneOf([30, false], [1, true]),
});

/** The targets of links: `%outside` and `%beside` stand for directories outside of the tree. */
const link = fc.record({
  is: fc.constant("link"),
  to: anyOf(
    ...["a", "b", "../a", ".", "..", "nowhere"],
    ...["%outside/secret", "%outside", "%beside/neighbor", "%beside"],
  ),
});

const side = oneOf(
  [10, file],
  [8, directory],
  [4, { is: "nothing" }],
  [2, link],
  [1, anyOf({ is: "fifo" }, { is: "socket" })],
);

const relation = oneOf(
  [5, anyOf("same", "nothing")],
  [
    4,
    anyOf(
      ...["same size and time", "touched", "rounded"] as const,
      ...["rounded to even seconds", "within a millisecond"] as const,
    ),
  ],
  [5, anyOf(...["grown", "grown otherwise", "renamed", "renamed otherwise", "copied"] as const)],
  [4, side],
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

const options = fc.record({
  compare: oneOf([6, "time"], [2, "digest"]),
  replace: oneOf([6, true], [1, false]),
  modes: oneOf([6, true], [1, false]),
  delete: oneOf([3, true], [1, false]),
  connections: anyOf(4, 1, 2),
  retries: oneOf([3, 0], [1, 2]),
  /** Whether an empty source deletes all entries, with `delete`. */
  deleteAll: oneOf([2, false], [1, true]),
  /**
   * The names that the filter refuses, also of one kind, like `file:a`, and the kind that it
   * refuses.
   */
  hidden: fc.record({
    names: oneOf([3, [] as string[]], [1, fc.array(name, { minLength: 1, maxLength: 2 })]),
    kind: oneOf([12, null], [1, anyOf("other", "directory")]),
  }),
});

/**
 * The moment of a change: at the n-th event, at the n-th request, or this many milliseconds after
 * the plan; or a request that compares or copies a prefix, before or after every second one.
 */
const when = fc.record({
  on: anyOf("event", "request", "milliseconds", "reuse"),
  n: oneOf([2, 0], [3, fc.nat(9)]),
});

const change = fc.record({
  when,
  side: anyOf("source", "target"),
  /** The index of an entry, modulo their number. */
  which: fc.nat(40),
  what: oneOf(
    [3, "link to a directory"],
    [2, "add"],
    [
      10,
      anyOf(
        ...["rewrite", "rewrite in place", "grow", "remove", "rename"] as const,
        ...["link to a file", "fifo", "become a directory", "become a file", "close"] as const,
      ),
    ],
  ),
});

/** Changes of a second writer to a file of the target that the source also has. */
const write = fc.record({
  when,
  /** The index of a file, modulo their number. */
  which: fc.nat(40),
  what: oneOf(
    [4, "other content"],
    [1, anyOf("other content of this size", "the source's content", "nothing")],
  ),
});

/** Changes of a second writer while a tree is copied. */
export const writes = fc.array(write, { minLength: 1, maxLength: 5 });
export type Write = Made<typeof write>;

/** Statuses with which a server refuses a request, although it could process it. */
const refusedStatus = anyOf(400, 401, 403, 404, 405, 409, 412, 413, 416, 500, 503, 507);

function faults(canFill: boolean) {
  const changes = fc.array(change, { minLength: 1, maxLength: 4 });
  const nothing = fc.constant({ is: "nothing" });
  const full = fc.record({ is: fc.constant("full"), kibibytes: fc.nat(160) });
  return oneOf(
    [10, nothing],
    [5, fc.record({ is: fc.constant("changes"), changes })],
    [3, fc.record({ is: anyOf("abort", "abort", "cut"), when })],
    [3, fc.record({ is: fc.constant("refusal"), request: fc.nat(9), status: refusedStatus })],
    [2, canFill ? full : nothing],
  );
}

/** Makes cases; with a disk that becomes full only if a separate disk can be mounted. */
export function cases(canFill: boolean) {
  return fc.record({
    download: fc.boolean(),
    /** Whether bytes of the target are reused. Then most files are large enough for reuse. */
    reuse: fc.boolean(),
    /** Whether a Connection is passed instead of a Client. */
    connection: oneOf([3, false], [1, true]),
    /** The directory of the tree below the server's root; empty for the root itself. */
    place: anyOf("t", "", "a b/\u00e9"),
    /** Whether the local root is a link to a directory. */
    linked: oneOf([8, false], [1, true]),
    targetMissing: oneOf([12, false], [1, true]),
    sourceEmpty: oneOf([12, false], [1, true]),
    pairs,
    options,
    fault: faults(canFill),
  });
}

/** Removes entries with reserved names, which would be in the way of unfinished files. */
export function removeReserved(pairs: readonly Pair[]): readonly Pair[] {
  return pairs.filter(({ name }) => !isReservedName(name))
    .map((pair) => ({ ...pair, below: removeReserved(pair.below) }));
}

/**
 * Removes entries that prevent deletions: links, special files, modes, and names that are not
 * UTF-8.
 */
export function removeObstacles(pairs: readonly Pair[]): readonly Pair[] {
  const plainSide = (side: Side): Side => {
    if (side.is === "file") return { ...side, mode: 0o644 };
    if (side.is === "directory") return { ...side, mode: 0o755, unnamed: false };
    return { is: "nothing" };
  };
  return pairs.map(({ name, source, target, below }) => ({
    name,
    source: plainSide(source),
    target: typeof target === "object" ? plainSide(target) : target,
    below: removeObstacles(below),
  }));
}

/**
 * Cases in which most files have the same prefix as others, and change while they are compared or
 * copied.
 */
export const reusing = fc.record({
  it: cases(false),
  first: fc.nat(9),
  changes: fc.array(
    fc.record({
      when: fc.record({ on: fc.constant("reuse" as const), n: fc.nat(3) }),
      side: anyOf("source", "target"),
      which: fc.nat(40),
      what: anyOf("rewrite", "rewrite in place", "grow", "remove", "rename"),
    }),
    { minLength: 1, maxLength: 3 },
  ),
}).map(({ it: testCase, first, changes }): Case => {
  const pairs = removeObstacles(testCase.pairs).map((pair, i): Pair => {
    const { source } = pair;
    if (source.is !== "file") return pair;
    const target = anyKept[(first + i) % anyKept.length]!;
    return { ...pair, source: { ...source, size: source.size < 100 ? 100 : source.size }, target };
  });
  return {
    ...testCase,
    reuse: true,
    targetMissing: false,
    pairs,
    fault: { is: "changes", changes },
  };
});
const anyKept = ["renamed", "grown", "copied"] as const;

/** Directories outside of the tree that links lead to. */
interface LinkTargets {
  readonly outside: string;
  readonly beside: string;
}

/** The locations of a case's trees. */
export interface Site extends LinkTargets {
  readonly dir: string;
  /** The server's root. */
  readonly root: string;
  /** The tree below the server's root. */
  readonly remote: string;
  readonly uri: string;
  /** The local tree, as passed to the call. */
  readonly local: string;
}

/** The minimal size of a file whose bytes are reused. */
export const REUSED_FROM_BYTES = 65_536;
const DAY = 86_400_001;

/** The trees to create at the source and at the target. */
export function plansOf(
  pairs: readonly Pair[],
  links: LinkTargets,
  reuse: boolean,
  firstId = 1,
): { readonly source: Plan; readonly target: Plan } {
  let id = firstId;
  const resolve = (linkTarget: string) =>
    linkTarget.replace("%outside", links.outside).replace("%beside", links.beside);
  const planOf = (side: Side, entries: Map<string, Plan>): Plan | null => {
    switch (side.is) {
      case "nothing":
        return null;
      case "file":
        return {
          ...side,
          kind: "file",
          id: id++,
          size: side.size + (reuse && side.size > 4 ? REUSED_FROM_BYTES : 0),
          modified: times[side.time]!,
        };
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
    if (relation === "renamed" || relation === "copied") return source;
    if (source.kind === "directory") return { ...source, entries };
    if (source.kind !== "file" || relation === "same") return source;
    const { modified } = source;
    switch (relation) {
      case "same size and time":
      case "renamed otherwise":
        return { ...source, id: id++ };
      case "touched":
        return { ...source, modified: modified + DAY };
      case "grown":
      case "grown otherwise":
        return {
          ...source,
          id: relation === "grown" ? source.id : id++,
          size: Math.max(source.size - 90, Math.min(source.size, 4)),
          modified: modified - DAY,
        };
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
    const usedNames = new Set<string>();
    for (const pair of list) {
      if (usedNames.has(pair.name)) continue;
      usedNames.add(pair.name);
      const below = divide(pair.below);
      const sourcePlan = planOf(pair.source, below.source);
      const targetPlan = related(pair.target, sourcePlan, below.target);
      const { target: targetRelation } = pair;
      const isRenamed = targetRelation === "renamed" || targetRelation === "renamed otherwise";
      if (targetRelation === "copied" && targetPlan !== null) {
        source.set(`copied ${id++}`, targetPlan);
      }
      const targetName = isRenamed ? `renamed ${id++}` : pair.name;
      const add = (side: Map<string, Plan>, name: string, plan: Plan | null) => {
        const planned = plan !== null && isReservedName(name) ? asPart(name, plan) : plan;
        if (planned !== null) side.set(name, planned);
      };
      add(source, pair.name, sourcePlan);
      add(target, targetName, targetPlan);
    }
    return { source, target };
  };
  const { source, target } = divide(pairs);
  const root = { kind: "directory", mode: 0o755, unnamed: false } as const;
  return { source: { ...root, entries: source }, target: { ...root, entries: target } };
}

/**
 * Returns a leftover of a transfer under a reserved name: an empty directory, or a file; `null` for
 * any other entry.
 */
function asPart(name: string, plan: Plan): Plan | null {
  if (plan.kind === "file") return name.endsWith("-files") ? null : { ...plan, mode: 0o600 };
  if (plan.kind !== "directory" || !name.endsWith("-files")) return null;
  return { ...plan, mode: 0o700, unnamed: false, entries: new Map() };
}
