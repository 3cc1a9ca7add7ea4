/**
 * The plan by which a target becomes the copy of a source: computed from both trees, without a
 * disk.
 */

import { checkBoolean } from "../../internal/checks.ts";
import { coarserTimes, isSameTime } from "../conditions.ts";
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

/**
 * What a file may replace:
 *
 * - `"nothing"`: the list of the target has no such name. Where something has it nevertheless, the
 *   target takes two names for the same;
 * - `"target"`: the entry of the target, or, if no list has told of any, whatever is there;
 * - `"same"`: only a file with the same content.
 */
type Replaced = "nothing" | "target" | "same";

/** A file that is to be copied. */
export interface CopyTask {
  readonly node: TreeNode;
  /** What the target lists for it, perhaps in another spelling; `null` if there is nothing. */
  readonly target: TreeNode | null;
  readonly replaces: Replaced;
  /** What the file belongs to if it gets its name only after a deletion; else `null`. */
  readonly late: DeferredGroup | null;
}

/** Whether nothing may have the name of a file. */
export function isNew({ replaces }: CopyTask): boolean {
  return replaces === "nothing";
}

/** The path that a file gets at the target. */
export function targetPath({ node, target }: CopyTask): readonly string[] {
  return target === null ? node.path : [...node.parent!.path, target.name];
}

/** The file of the target that a copy may replace; `null` if there is none, or none is known. */
export function replacedBy(copy: CopyTask): TreeNode | null {
  return !isNew(copy) && copy.target?.kind === "file" ? copy.target : null;
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
  /** The directory above because of which nothing here can be copied; `null` if there is none. */
  readonly blocked: BlockedDirectory | null;
  /** What the pair belongs to if it is in a directory whose name a file of the target has. */
  late: DeferredGroup | null;
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
    this.#compare({ source, target, blocked: null, late: null }, null);
  }

  /** Notes a file that is the same at both ends, perhaps but for its permission bits. */
  addUnchanged(copy: CopyTask): void {
    const { node, target } = copy;
    this.unchanged.push(node);
    const { modes, replace } = this.#rules;
    const isKnown = node.mode !== null && target !== null && target.mode !== null;
    if (modes && replace && isKnown && node.mode !== target.mode) this.modeChanges.push(copy);
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
    for (const late of this.deferred.splice(0)) {
      for (const [node, error] of failuresOf(late)) this.fail(node, error);
    }
  }

  /** Decides about a file, by the entry of the target. */
  #decideContent(node: TreeNode, target: TreeNode | null): void {
    const { compare, replace } = this.#rules;
    if (target === null) {
      return void this.copies.push({ node, target, replaces: "nothing", late: null });
    }
    const copy: CopyTask = { node, target, replaces: "target", late: null };
    // Whether an unreadable entry is a file, only the attempt tells.
    const isFile = target.kind === "file" || target.reason === "unreadable";
    if (!isFile) {
      if (target.reason === "link") this.linked++;
      return this.fail(node, blockedByOtherKindError(node, target));
    }
    const hasSize = target.kind === "file" && target.size === node.size;
    if (hasSize && compare === "time" && isSameTime(target.modified, node.modified)) {
      this.addUnchanged(copy);
    } else if (hasSize && (compare === "digest" || (compare === "time" && !replace))) {
      if (node.size === 0) this.addUnchanged(copy);
      else this.compares.push(copy);
    } else if (replace) {
      this.copies.push(copy);
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
  *#pairsIn({ source, target, blocked, late }: NodePair): Generator<NodePair, void, void> {
    const found = new Set<TreeNode | null>();
    for (const child of [...source?.children?.values() ?? []].sort(byName)) {
      const there = child.reason === "name" ? null : target?.get(child.name) ?? null;
      found.add(there);
      yield { source: child, target: target && there, blocked, late };
    }
    for (const child of target?.children?.values() ?? []) {
      if (!found.has(child)) yield { source: null, target: child, blocked, late };
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
    // The entry of the target must not be deleted, whatever its name there.
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
    const { source, target, blocked, late } = pair;
    const node = source!;
    wanted.push(node);
    if (blocked !== null) return true;
    if (target?.kind === "directory") return true;
    if (target === null) {
      (late ?? this).newDirectories.push(node);
      return true;
    }
    if (target.kind === "file" && this.#mayGiveWay(target)) {
      pair.late = this.#addLate(target, scope, [target]);
      pair.late.newDirectories.push(node);
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

  #decideFile({ source, target, late }: NodePair, scope: DeletionScope): void {
    const node = source!;
    if (late !== null) return void late.copies.push(deferredTask(node, late));
    if (target?.kind !== "directory") return this.#decideContent(node, target);
    const nodes: TreeNode[] = [];
    if (!this.#mayGiveWay(target) || !this.#collect(target, nodes)) {
      return this.fail(node, blockedByOtherKindError(node, target));
    }
    const own = this.#addLate(target, scope, nodes);
    own.copies.push(deferredTask(node, own));
  }

  #addLate(obstacle: TreeNode, scope: DeletionScope, nodes: readonly TreeNode[]): DeferredGroup {
    const late = { obstacle, scope, copies: [], newDirectories: [] };
    this.deferred.push(late);
    for (const node of nodes) this.deletions.push({ node, scope });
    return late;
  }

  /** Whether something of another kind may give way. */
  #mayGiveWay(target: TreeNode): boolean {
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

function deferredTask(node: TreeNode, late: DeferredGroup): CopyTask {
  return { node, target: null, replaces: "nothing", late };
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

/** By file of the source: the file of the target whose bytes may be its beginning. */
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
  const found = new Map<TreeNode, TreeNode>();
  const large = copies.filter(({ node }) => node.size >= MIN_REUSED_BYTES);
  if (large.length === 0) return found;
  const sizes = new Set(large.map(({ node }) => node.size));
  const alikes = new Map<string, SameSizeAndTime>();
  collect(target, source, sizes, alikes);
  for (const { node, target: there } of large) {
    const times = [node.modified, ...coarserTimes(node.modified)];
    const alike = times.map((time) => alikes.get(keyOf(node.size, time))).find(Boolean);
    const other = alike?.named.get(node.name) ?? alike?.first;
    // The file at the same path was compared before, and has other bytes.
    if (other !== undefined && other !== there) found.set(node, other);
    else if (there?.kind === "file" && isGrown(there, node)) found.set(node, there);
  }
  return found;
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
