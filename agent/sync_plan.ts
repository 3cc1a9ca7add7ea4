/**
 * What a one-way synchronization has to do.
 *
 * @module
 */

import { keyOf, type Tree, type TreeEntry, type TreeProblem } from "./tree.ts";

/** One step. */
export interface SyncStep {
  /**
   * - `"make"`: a directory that is missing.
   * - `"copy"`: a file that is new or differs.
   * - `"compare"`: a file of the same size on both sides, whose contents have to be compared.
   * - `"delete"`: what the source does not have, or what is in the way of something of another kind.
   */
  readonly action: "make" | "copy" | "compare" | "delete";
  /** Of the source; of the target for `"delete"`. */
  readonly entry: TreeEntry;
}

/** What is to be done, in this order. */
export interface SyncPlan {
  /** What is in the way of something of another kind, the innermost first. */
  readonly clear: readonly SyncStep[];
  /** Directories and files, each directory before what is in it. */
  readonly steps: readonly SyncStep[];
  /** What the source does not have, the innermost first. */
  readonly deletions: readonly SyncStep[];
  /** What can't be done, and why. */
  readonly conflicts: readonly TreeProblem[];
  /** Files that are the same by size and time. */
  readonly unchanged: number;
  /**
   * Why what the source does not have is kept, though it was to be deleted; `null` if it is not.
   *
   * - `"unlisted"`: something could not be listed.
   * - `"empty"`: the source has nothing at all, as the directory of a disk that is not mounted.
   */
  readonly keeps: "unlisted" | "empty" | null;
}

/** How to synchronize. */
export interface SyncRules {
  /** Whether to compare contents instead of times. */
  readonly checksum: boolean;
  /** Whether to delete what the source does not have. */
  readonly delete: boolean;
}

/** Compares two trees, with no side effects. */
export function planSync(source: Tree, target: Tree, rules: SyncRules): SyncPlan {
  const there = new Map(target.entries.map((entry) => [keyOf(entry.names), entry]));
  const wanted = new Map(source.entries.map((entry) => [keyOf(entry.names), entry]));
  const isComplete = source.failed.length === 0 && target.failed.length === 0;
  const deletes = rules.delete && isComplete;
  const kept = protectedKeys(source);
  const clear: SyncStep[] = [];
  const steps: SyncStep[] = [];
  const conflicts: TreeProblem[] = [];
  const blocked = blockedKeys(target);
  let unchanged = 0;
  for (const entry of source.entries) {
    const key = keyOf(entry.names);
    if (isBelow(entry.names, blocked)) {
      blocked.add(key);
      continue;
    }
    const other = there.get(key);
    const problem = blocked.has(key)
      ? "something that is not followed has this name at the target"
      : problemOf(entry, other, deletes);
    if (problem !== null) {
      conflicts.push({ names: entry.names, problem });
      blocked.add(key);
    } else if (other !== undefined && other.kind !== entry.kind) {
      for (const each of below(other, target).toReversed()) clear.push(deletionOf(each));
      steps.push({ action: entry.kind === "file" ? "copy" : "make", entry });
    } else {
      const action = actionFor(entry, other, rules);
      if (action !== null) steps.push({ action, entry });
      else if (entry.kind === "file") unchanged++;
    }
  }
  const cleared = new Set(clear.map(({ entry }) => keyOf(entry.names)));
  const superfluous = target.entries.filter(({ names }) => {
    const key = keyOf(names);
    return !wanted.has(key) && !cleared.has(key) && !kept.has(key) && !isBelow(names, kept);
  });
  const isEmpty = isVoid(source) && superfluous.length > 0;
  return {
    clear,
    steps,
    deletions: deletes && !isEmpty ? superfluous.toReversed().map(deletionOf) : [],
    conflicts,
    unchanged,
    keeps: !rules.delete ? null : !isComplete ? "unlisted" : isEmpty ? "empty" : null,
  };
}

function isVoid({ entries, skipped }: Tree): boolean {
  return entries.length === 0 && skipped.length === 0;
}

function deletionOf(entry: TreeEntry): SyncStep {
  return { action: "delete", entry };
}

/** What to do for an entry of the source, beside one of the same kind or none; `null` for nothing. */
function actionFor(
  entry: TreeEntry,
  other: TreeEntry | undefined,
  { checksum }: SyncRules,
): "make" | "copy" | "compare" | null {
  if (entry.kind === "directory") return other === undefined ? "make" : null;
  if (other === undefined || other.size !== entry.size) return "copy";
  if (checksum) return "compare";
  return isSameTime(other, entry) ? null : "copy";
}

/** Whether two files were last changed at the same time, to the millisecond: all that either side knows. */
function isSameTime(one: TreeEntry, other: TreeEntry): boolean {
  return one.modified.getTime() === other.modified.getTime();
}

/** Whether two files are the same as far as size and time say. */
export function looksSame(one: TreeEntry, other: TreeEntry): boolean {
  return one.kind === other.kind && one.size === other.size && isSameTime(one, other);
}

function problemOf(
  entry: TreeEntry,
  other: TreeEntry | undefined,
  deletes: boolean,
): string | null {
  if (other === undefined || other.kind === entry.kind || deletes) return null;
  return `a ${other.kind} of this name is at the target, and a ${entry.kind} at the source; ` +
    "remove one of the two, or use --delete";
}

/** What must stay at the target even if the source doesn't list it: the source does have something of this name. */
function protectedKeys({ skipped, failed }: Tree): Set<string> {
  return new Set([...skipped, ...failed].map(({ names }) => keyOf(names)));
}

/** Names that can't be written: at the target they belong to neither a file nor a directory. */
function blockedKeys({ skipped }: Tree): Set<string> {
  return new Set(skipped.map(({ names }) => keyOf(names)));
}

/** Whether a directory on the way to a name is among these. */
function isBelow(names: readonly string[], keys: ReadonlySet<string>): boolean {
  if (keys.size === 0) return false;
  return names.some((_, i) => i > 0 && keys.has(keyOf(names.slice(0, i))));
}

/** An entry and all that is below it. */
function below(top: TreeEntry, { entries }: Tree): TreeEntry[] {
  if (top.kind === "file") return [top];
  const prefix = `${keyOf(top.names)}/`;
  return entries.filter((entry) => entry === top || keyOf(entry.names).startsWith(prefix));
}
