/**
 * The plan by which a target becomes the copy of a source: computed from both trees, without a
 * disk.
 */

import { checkBoolean } from "../../internal/checks.ts";
import { BUNDLED_BELOW_BYTES } from "../bundle.ts";
import { computeCoarserTimes, isSameTime } from "../conditions.ts";
import { isGrown, MIN_REUSED_BYTES } from "../reuse.ts";
import type { PlanRules } from "./options.ts";
import { byName, comparableName, type TreeNode } from "./tree.ts";
import {
  badNameError,
  blockedByKeptEntryError,
  blockedByOtherKindError,
  differsAtTargetError,
  missingDirectoryError,
  unreadableEntryError,
} from "./tree_errors.ts";

/** The reason to skip a file that may still be being written. */
export const UNSETTLED = "still being written";

/** What a file may replace. */
export type Condition =
  /**
   * Nothing: the list of the target has no such name. If something has the name nevertheless, the
   * disk takes two names for the same, or the list is out of date.
   */
  | "new"
  /** Only the file that the target lists, as it was listed. */
  | "listed"
  /** Only a file with the same content. */
  | "same"
  /** Whatever has the name: it can't be listed, or read. */
  | "any";

/** A file that is to be copied. */
export interface CopyTask {
  readonly node: TreeNode;
  /** The entry that the target lists, perhaps by another spelling; `null` if it has none. */
  readonly target: TreeNode | null;
  readonly condition: Condition;
  /** The group of a file that gets its name only after a deletion; else `null`. */
  readonly group: DeferredGroup | null;
}

/** The path that a file gets at the target. */
export function targetPath({ node, target }: CopyTask): readonly string[] {
  return target === null ? node.path : [...node.parent!.path, target.name];
}

/** The file of the target that may be replaced; `null` if that is none, or unknown. */
export function listedFileOf({ condition, target }: CopyTask): TreeNode | null {
  return condition !== "new" && target?.kind === "file" ? target : null;
}

/** Whether a file can travel in a bundle: it is small, and the target knows what it may replace. */
export function isSmall({ condition, group, node }: CopyTask): boolean {
  const isKnown = condition === "new" || condition === "listed";
  return node.size < BUNDLED_BELOW_BYTES && group === null && isKnown;
}

/**
 * A file of the source whose name a directory of the target has, or a directory with all in it
 * whose name a file has. The files are received first, then the target's entry is deleted with all
 * the others, then the files get their names.
 */
export interface DeferredGroup {
  /** The entry of the target. */
  readonly obstacle: TreeNode;
  /** The scope of its deletion. */
  readonly scope: DeletionScope;
  readonly copies: CopyTask[];
  /** The directory that gets the name, if it is one, and those in it. */
  readonly newDirectories: TreeNode[];
}

/** A directory of both ends, in which either everything superfluous is deleted, or nothing. */
export interface DeletionScope {
  readonly directory: TreeNode;
  /** The nodes that the target must list by the same names. */
  readonly wanted: TreeNode[];
  /** Skipped nodes that the target may have by the names of superfluous entries. */
  readonly maybePresent: TreeNode[];
}

/** An entry of the target that the source does not have. */
interface Deletion {
  readonly node: TreeNode;
  /** The innermost directory on the way to the entry that both ends have by the same name. */
  readonly scope: DeletionScope;
}

/** A directory that can't be made, and the reason. */
interface BlockedDirectory {
  readonly error: unknown;
  /** Whether a link of the target has the name: that fails alone, and stops no deletions. */
  readonly isLinked: boolean;
}

/** What the two ends have by one path, and what stops or delays all that is below it. */
interface NodePair {
  readonly source: TreeNode | null;
  readonly target: TreeNode | null;
  /** The parent directory that can't be made, so that nothing below it is copied. */
  readonly blocked: BlockedDirectory | null;
  /** The deferred group of this pair, if a file of the target blocks one of its parents. */
  group: DeferredGroup | null;
}

/** All that makes the target like the source. */
export class Plan {
  readonly copies: CopyTask[] = [];
  /** Files of equal sizes, whose contents have to be compared. */
  readonly compares: CopyTask[] = [];
  readonly deferred: DeferredGroup[] = [];
  /** Missing directories, each before those in it. */
  readonly newDirectories: TreeNode[] = [];
  readonly unchanged: TreeNode[] = [];
  /** The unchanged files whose permission bits differ. */
  readonly modeChanges: CopyTask[] = [];
  readonly skipped: { readonly node: TreeNode; readonly reason: string }[] = [];
  readonly failed: { readonly node: TreeNode; readonly error: unknown }[] = [];
  /** The superfluous entries of the target, innermost first. */
  readonly deletions: Deletion[] = [];
  /** Superfluous entries of the target that stay, as they can't be named. */
  readonly unnameable: TreeNode[] = [];
  /** Directories of the target that stay because of their entries. */
  readonly keptDirectories = new Set<TreeNode>();
  /** The number of failures because of links at the target. */
  linked = 0;
  /** Whether a part of the source can't be read or named. */
  isIncomplete = false;
  /** Whether the source has nothing, or the filter has excluded all of it. */
  isEmpty = true;
  readonly #rules: PlanRules;
  readonly #isUnsettled: (file: TreeNode) => boolean;

  /** @param isUnsettled Whether a file of the source may still be being written. */
  constructor(
    source: TreeNode,
    target: TreeNode | null,
    rules: PlanRules,
    isUnsettled: (file: TreeNode) => boolean = () => false,
  ) {
    this.#rules = rules;
    this.#isUnsettled = isUnsettled;
    this.#compare({ source, target, blocked: null, group: null }, null);
  }

  /** Notes a file that is the same at both ends, perhaps but for its permission bits. */
  addUnchanged(task: CopyTask): void {
    const { node, target } = task;
    this.unchanged.push(node);
    const { modes, replace } = this.#rules;
    const isKnown = node.mode !== null && target !== null && target.mode !== null;
    if (modes && replace && isKnown && node.mode !== target.mode) this.modeChanges.push(task);
  }

  fail(node: TreeNode, error: unknown): void {
    this.failed.push({ node, error });
  }

  /** Keeps a node of the target, with the directories that it is in. */
  keep({ parent }: TreeNode): void {
    for (let node = parent; node !== null && !this.keptDirectories.has(node); node = node.parent) {
      this.keptDirectories.add(node);
    }
  }

  /** The number of entries of the target that are to be deleted. */
  get deleted(): number {
    return this.deletions.filter(({ node }) => !this.keptDirectories.has(node)).length;
  }

  /** Fails whatever needs a deletion, since nothing is deleted. */
  cancelDeletions(): void {
    for (const group of this.deferred.splice(0)) {
      for (const [node, error] of failuresOf(group)) this.fail(node, error);
    }
  }

  /** Decides about a file, by the entry of the target. */
  #decideContent(node: TreeNode, target: TreeNode | null): void {
    const { compare, replace } = this.#rules;
    if (target === null) {
      return void this.copies.push({ node, target, condition: "new", group: null });
    }
    // Only the attempt shows whether an unreadable entry is a file.
    const isUnreadable = target.reason === "unreadable";
    const condition = isUnreadable ? "any" : "listed";
    const task: CopyTask = { node, target, condition, group: null };
    if (target.kind !== "file" && !isUnreadable) {
      if (target.reason === "link") this.linked++;
      return this.fail(node, blockedByOtherKindError(node, target));
    }
    const isSameSize = target.kind === "file" && target.size === node.size;
    if (isSameSize && compare === "time" && isSameTime(target.modified, node.modified)) {
      this.addUnchanged(task);
    } else if (isSameSize && (compare === "digest" || (compare === "time" && !replace))) {
      if (node.size === 0) this.addUnchanged(task);
      else this.compares.push(task);
    } else if (replace) {
      this.copies.push(task);
    } else {
      this.fail(node, differsAtTargetError(node, this.#rules));
    }
  }

  /**
   * Compares the entries of a directory.
   *
   * @param above The scope of its deletions, if the source does not have the directory; else the
   * directory is a scope itself.
   */
  #compare(directory: NodePair, above: DeletionScope | null): void {
    const { source } = directory;
    const own: DeletionScope = { directory: source!, wanted: [], maybePresent: [] };
    const scope = above ?? own;
    const skipped: TreeNode[] = [];
    const superfluous = new Set<string>();
    for (const pair of this.#pairsIn(directory)) {
      if (!this.#isIncluded(pair)) continue;
      if (pair.source !== null && pair.source.reason !== "reserved") this.isEmpty = false;
      if (this.#decide(pair, own, scope)) {
        this.#compare(pair, pair.source === null ? scope : null);
      }
      const { source: node } = pair;
      if (node !== null && pair.target === null && this.#isSkipped(node)) skipped.push(node);
      if (!this.#rules.delete || pair.target === null || node !== null) continue;
      superfluous.add(comparableName(pair.target.name));
      if (pair.target.reason === "name") this.unnameable.push(pair.target);
      if (pair.target.kind === "other") this.keep(pair.target);
      else this.deletions.push({ node: pair.target, scope });
    }
    for (const node of skipped) {
      if (superfluous.has(comparableName(node.name))) own.maybePresent.push(node);
    }
  }

  #isSkipped(node: TreeNode): boolean {
    return node.kind === "other" || node.kind === "file" && this.#isUnsettled(node);
  }

  /** The entries of a directory: those of the source by name, then those of the target alone. */
  *#pairsIn({ source, target, blocked, group }: NodePair): Generator<NodePair, void, void> {
    const paired = new Set<TreeNode | null>();
    for (const child of [...source?.children?.values() ?? []].sort(byName)) {
      const counterpart = child.reason === "name" ? null : target?.get(child.name) ?? null;
      paired.add(counterpart);
      yield { source: child, target: counterpart, blocked, group };
    }
    for (const child of target?.children?.values() ?? []) {
      if (!paired.has(child)) yield { source: null, target: child, blocked, group };
    }
  }

  /** Whether the filter includes a pair; an excluded pair is at neither end. */
  #isIncluded({ source, target }: NodePair): boolean {
    const node = source ?? (this.#rules.delete ? target : null);
    if (node === null || this.#passesFilter(node)) return true;
    if (target !== null) this.keep(target);
    return false;
  }

  #passesFilter(node: TreeNode): boolean {
    const { filter } = this.#rules;
    if (filter === undefined) return true;
    const passes: unknown = filter(node.entry);
    // The promise of an async function would include everything; a forgotten `return`, nothing.
    checkBoolean("filter: what it returns", passes);
    return passes;
  }

  /**
   * Decides about a pair.
   *
   * @returns Whether the entries in it have to be compared.
   */
  #decide(pair: NodePair, { wanted }: DeletionScope, scope: DeletionScope): boolean {
    const { source, target, blocked } = pair;
    if (source === null) return target!.kind === "directory";
    const isSkipped = this.#isSkipped(source);
    // The entry of the target must not be deleted, whatever its name is.
    if (isSkipped && target !== null) wanted.push(source);
    if (source.kind === "other") this.#leaveOut(source);
    else if (source.kind === "directory") return this.#decideDirectory(pair, wanted, scope);
    else if (isSkipped) {
      this.skipped.push({ node: source, reason: UNSETTLED });
    } else if (blocked !== null) {
      if (blocked.isLinked) this.linked++;
      this.fail(source, missingDirectoryError(source, blocked.error));
    } else {
      wanted.push(source);
      this.#decideFile(pair, scope);
    }
    return false;
  }

  #leaveOut(node: TreeNode): void {
    const { reason } = node;
    if (reason !== "unreadable" && reason !== "name") {
      return void this.skipped.push({ node, reason: reason! });
    }
    this.isIncomplete = true;
    this.fail(node, reason === "name" ? badNameError(node) : unreadableEntryError(node));
  }

  #decideDirectory(
    pair: NodePair,
    wanted: TreeNode[],
    scope: DeletionScope,
  ): boolean {
    const { source, target, blocked, group } = pair;
    const node = source!;
    wanted.push(node);
    if (blocked !== null) return true;
    if (target?.kind === "directory") return true;
    if (target === null) {
      (group ?? this).newDirectories.push(node);
      return true;
    }
    if (target.kind === "file" && this.#mayDeleteObstacle(target)) {
      pair.group = this.#addGroup(target, scope, [target]);
      pair.group.newDirectories.push(node);
      return true;
    }
    const own: BlockedDirectory = {
      error: blockedByOtherKindError(node, target),
      isLinked: target.reason === "link",
    };
    this.#compare({ ...pair, target: null, blocked: own }, null);
    if (own.isLinked) this.linked++;
    this.fail(node, own.error);
    return false;
  }

  #decideFile({ source, target, group }: NodePair, scope: DeletionScope): void {
    const node = source!;
    if (group !== null) return void group.copies.push(deferredTask(node, group));
    if (target?.kind !== "directory") return this.#decideContent(node, target);
    const nodes: TreeNode[] = [];
    if (!this.#mayDeleteObstacle(target) || !this.#collect(target, nodes)) {
      return this.fail(node, blockedByOtherKindError(node, target));
    }
    const own = this.#addGroup(target, scope, nodes);
    own.copies.push(deferredTask(node, own));
  }

  #addGroup(obstacle: TreeNode, scope: DeletionScope, nodes: readonly TreeNode[]): DeferredGroup {
    const group = { obstacle, scope, copies: [], newDirectories: [] };
    this.deferred.push(group);
    for (const node of nodes) this.deletions.push({ node, scope });
    return group;
  }

  /** Whether an entry of the target in the way may be deleted. */
  #mayDeleteObstacle(target: TreeNode): boolean {
    return this.#rules.delete && this.#rules.replace && this.#passesFilter(target);
  }

  /** Collects a directory of the target, innermost first; false if something in it has to stay. */
  #collect(node: TreeNode, nodes: TreeNode[]): boolean {
    for (const child of node.children?.values() ?? []) {
      if (child.kind === "other" || !this.#passesFilter(child)) return false;
      if (child.kind === "file") nodes.push(child);
      else if (!this.#collect(child, nodes)) return false;
    }
    nodes.push(node);
    return true;
  }
}

function deferredTask(node: TreeNode, group: DeferredGroup): CopyTask {
  return { node, target: null, condition: "new", group };
}

/** What fails if an entry of another kind stays at the target: the file, or the directory. */
export function failuresOf(
  { obstacle, copies, newDirectories }: DeferredGroup,
): [TreeNode, unknown][] {
  const [directory] = newDirectories;
  if (directory === undefined) {
    return copies.map(({ node }) => [node, blockedByKeptEntryError(node, obstacle)]);
  }
  const error = blockedByKeptEntryError(directory, obstacle);
  return [
    [directory, error],
    ...copies.map(({ node }): [TreeNode, unknown] => [node, missingDirectoryError(node, error)]),
  ];
}

/** By file of the source: the file of the target that may have its first bytes. */
export type BasisFiles = ReadonlyMap<TreeNode, TreeNode>;

/**
 * Finds for each file the one of the target that has the same size and time, as a file has that was
 * renamed, moved or copied; or else the one of its name, if that is shorter and older, as a file
 * that has grown is.
 */
export function findBasisFiles(
  copies: readonly CopyTask[],
  source: TreeNode,
  target: TreeNode,
): BasisFiles {
  const basisFiles = new Map<TreeNode, TreeNode>();
  const large = copies.filter(({ node }) => node.size >= MIN_REUSED_BYTES);
  if (large.length === 0) return basisFiles;
  const sizes = new Set(large.map(({ node }) => node.size));
  const alikes = new Map<string, SameSizeAndTime>();
  collect(target, source, sizes, alikes);
  for (const { node, target: listed } of large) {
    const times = [node.modified, ...computeCoarserTimes(node.modified)];
    const alike = times.map((time) => alikes.get(keyOf(node.size, time))).find(Boolean);
    const other = alike?.named.get(node.name) ?? alike?.first;
    // The file at the same path was compared before, and has other bytes.
    if (other !== undefined && other !== listed) basisFiles.set(node, other);
    else if (listed?.kind === "file" && isGrown(listed, node)) basisFiles.set(node, listed);
  }
  return basisFiles;
}

/** Files of the target with the same size and time. */
interface SameSizeAndTime {
  /** If possible, a file whose path the source does not have: it was probably renamed. */
  first: TreeNode;
  readonly named: Map<string, TreeNode>;
}

function keyOf(size: number, time: number): string {
  return `${size} ${time}`;
}

function collect(
  target: TreeNode,
  source: TreeNode | null,
  sizes: ReadonlySet<number>,
  alikes: Map<string, SameSizeAndTime>,
): void {
  for (const node of target.children?.values() ?? []) {
    const same = source?.get(node.name) ?? null;
    if (node.kind === "directory") collect(node, same, sizes, alikes);
    if (node.kind !== "file" || !sizes.has(node.size)) continue;
    const key = keyOf(node.size, node.modified);
    const alike = alikes.get(key) ?? { first: node, named: new Map() };
    if (same === null) alike.first = node;
    alike.named.set(node.name, node);
    alikes.set(key, alike);
  }
}
