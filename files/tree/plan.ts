/** The plan to make a target equal to a source, computed from both lists without disk access. */

import { BUNDLED_BELOW_BYTES } from "../wire/bundle.ts";
import { isSameTime } from "../wire/conditions.ts";
import type { PlanRules } from "./options.ts";
import {
  normalizeName,
  sizeAndTimeKey,
  sizeAndTimeKeysOf,
  type SkipReason,
  type TreeNode,
} from "./tree.ts";
import {
  badNameError,
  blockedByOtherKindError,
  differsAtTargetError,
  parentNotCreatedError,
  unreadableEntryError,
} from "./tree_errors.ts";

/** The entry of the target that a copy may replace. */
type CopyCondition =
  /**
   * No entry, because the list of the target does not have the name. If the name exists, the disk
   * treats two names as one, or the list is out of date.
   */
  | "new"
  /** Only the file that the target lists, if it is unchanged. */
  | "listed"
  /** Only a file with the same content. */
  | "same"
  /** Any file, because the target can't be listed, or its file can't be read. */
  | "any";

export interface CopyTask {
  readonly node: TreeNode;
  /** The entry that the target lists, perhaps by another spelling; `null` without such an entry. */
  readonly target: TreeNode | null;
  readonly condition: CopyCondition;
  /** The SHA-256 of the source and the target, if they were compared and are the same. */
  readonly sha256?: string | null;
}

export function targetPathOf({ node, target }: CopyTask): readonly string[] {
  return target === null ? node.path : [...node.parent!.path, target.name];
}

export function hasOtherMode(
  { node, target }: CopyTask,
  { modes }: Pick<PlanRules, "modes">,
): boolean {
  const targetMode = target?.mode ?? null;
  return modes && node.mode !== null && targetMode !== null && node.mode !== targetMode;
}

/** Reports whether a file of the target with the same content gets the time of its source. */
export function needsTime(
  { node, target }: CopyTask,
  { compare }: Pick<PlanRules, "compare">,
): boolean {
  return compare === "time" && target !== null && !isSameTime(target.modified, node.modified);
}

export function listedFileOf({ condition, target }: CopyTask): TreeNode | null {
  return condition !== "new" && target?.kind === "file" ? target : null;
}

/** The maximum number of files that are deleted although fewer files stay. */
const MAX_MINOR_LOSS = 10;

/** Bundles support only some conditions. */
export function isBundled({ condition, node }: CopyTask): boolean {
  return node.size < BUNDLED_BELOW_BYTES && (condition === "new" || condition === "listed");
}

/** A directory of both trees in which either all superfluous entries are deleted, or none. */
export interface DeletionScope {
  readonly directory: TreeNode;
  /** The nodes that the target must list by the same names before entries are deleted. */
  readonly expectedNodes: TreeNode[];
  /** Skipped nodes whose names are similar to the names of superfluous entries. */
  readonly skippedNodes: TreeNode[];
}

interface Deletion {
  readonly node: TreeNode;
  /** The innermost parent directory that source and target have by the same name. */
  readonly scope: DeletionScope;
}

interface Blockage {
  readonly error: unknown;
  /** True if the failures below the directory don't prevent deletions. */
  readonly isTolerated: boolean;
}

interface NodePair {
  readonly source: TreeNode | null;
  readonly target: TreeNode | null;
  readonly blockedDirectory: Blockage | null;
}

interface SkippedEntry {
  readonly node: TreeNode;
  readonly reason: Exclude<SkipReason, "unreadable" | "name">;
}

/** Makes a function that finds the entries of the same names, if it is called in their order. */
function makeFinder(directory: TreeNode | null): (node: TreeNode) => TreeNode | null {
  const nodes = directory?.children ?? [];
  let index = 0;
  return ({ name, reason }) => {
    while (index < nodes.length && nodes[index]!.name < name) index++;
    const node = nodes[index];
    const isSame = node?.name === name && node.reason !== "name" && reason !== "name";
    return isSame ? node : null;
  };
}

export class Plan {
  readonly copies: CopyTask[] = [];
  readonly compareTasks: CopyTask[] = [];
  /** The missing directories, parents first. */
  readonly newDirectories: TreeNode[] = [];
  /** Files without changes; a directory stands for all its files. */
  readonly unchangedNodes: TreeNode[] = [];
  /** Files of which only the time or the permission bits change. */
  readonly metadataChanges: CopyTask[] = [];
  readonly pendingFiles: TreeNode[] = [];
  readonly skippedEntries: SkippedEntry[] = [];
  readonly failedEntries: { readonly node: TreeNode; readonly error: unknown }[] = [];
  /** The superfluous entries of the target, innermost first. */
  readonly deletions: Deletion[] = [];
  /** The superfluous entries of the target whose names can't be sent, so that they are kept. */
  readonly unnameableNodes: TreeNode[] = [];
  readonly keptDirectories = new Set<TreeNode>();
  /** The files whose paths the target does not have as files. */
  readonly #addedFiles: TreeNode[] = [];
  /** The number of files of the target whose paths the source has as files. */
  #stayingFileCount = 0;
  /** The number of failures because of entries in the way that don't prevent deletions. */
  toleratedFailureCount = 0;
  /** True if an entry of the source can't be read or named. */
  isIncomplete = false;
  /** True if the source has only directories, or the filter has excluded all other entries. */
  #hasOnlyDirectories = true;
  readonly #rules: PlanRules;
  readonly #isUnsettled: (file: TreeNode) => boolean;

  constructor(
    source: TreeNode,
    target: TreeNode | null,
    rules: PlanRules,
    isUnsettled: (file: TreeNode) => boolean = () => false,
  ) {
    this.#rules = rules;
    this.#isUnsettled = isUnsettled;
    this.#planEntries({ source, target, blockedDirectory: null }, null);
  }

  addUnchanged(task: CopyTask, unchangedNodes: TreeNode[] = this.unchangedNodes): void {
    const changesMetadata = this.#rules.replace &&
      (hasOtherMode(task, this.#rules) || needsTime(task, this.#rules));
    if (changesMetadata) this.metadataChanges.push(task);
    else unchangedNodes.push(task.node);
  }

  addFailure(node: TreeNode, error: unknown): void {
    this.failedEntries.push({ node, error });
  }

  keepParents({ parent }: TreeNode): void {
    for (let node = parent; node !== null && !this.keptDirectories.has(node); node = node.parent) {
      this.keptDirectories.add(node);
    }
  }

  /**
   * Describes the deletions if the source has no files, or more files of the target would be
   * deleted than stay: the source may be the wrong directory. Returns `null` if few would be
   * deleted. A deleted and an added file of the same size and time are probably one renamed file,
   * and count as neither.
   */
  describeMajorLoss(): string | null {
    const deletedNodes = this.deletions.map(({ node }) => node)
      .filter((node) => !this.keptDirectories.has(node));
    if (this.#hasOnlyDirectories && deletedNodes.length > 0) {
      return "the source has no files to copy, and entries of the target would be deleted";
    }
    const deletedFiles = deletedNodes.filter((node) =>
      node.kind === "file" && node.reason === null
    );
    const counts = new Map<string, number>();
    for (const { size, modified } of deletedFiles) {
      const key = sizeAndTimeKey(size, modified);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    let deleted = deletedFiles.length;
    for (const file of this.#addedFiles) {
      const key = sizeAndTimeKeysOf(file).find((key) => (counts.get(key) ?? 0) > 0);
      if (key === undefined) continue;
      counts.set(key, counts.get(key)! - 1);
      deleted--;
    }
    if (deleted <= MAX_MINOR_LOSS || deleted <= this.#stayingFileCount) return null;
    const found = deletedFiles.length + this.#stayingFileCount;
    const renamed = deletedFiles.length - deleted;
    const renamedText = renamed === 0 ? "" : ` (${renamed} others count as renamed)`;
    return `${deleted} of ${found} files would be deleted${renamedText}, more than stay`;
  }

  #planContent(
    node: TreeNode,
    target: TreeNode | null,
    isObstacle: boolean,
    unchangedFiles: TreeNode[],
  ): void {
    const { compare, replace } = this.#rules;
    if (target === null) return void this.copies.push({ node, target, condition: "new" });
    // An unreadable entry may be a file. Only the attempt to replace the entry shows that.
    const mayBeFile = target.reason === "unreadable";
    const condition = mayBeFile ? "any" : "listed";
    const task: CopyTask = { node, target, condition };
    if (target.kind !== "file" && !mayBeFile) {
      return void this.#addBlockage(node, target, isObstacle);
    }
    const isSameSize = target.kind === "file" && target.size === node.size;
    const isUnchanged = isSameSize &&
      (node.size === 0 || compare === "time" && isSameTime(target.modified, node.modified));
    if (isUnchanged) {
      this.addUnchanged(task, unchangedFiles);
    } else if (isSameSize) {
      this.compareTasks.push(task);
    } else if (replace) {
      this.copies.push(task);
    } else {
      this.addFailure(node, differsAtTargetError(node, this.#rules.refusesReplacement));
    }
  }

  /**
   * @param outerScope The scope of the deletions if the source does not have the directory; `null`
   * if the directory is a scope itself.
   */
  #planEntries(directory: NodePair, outerScope: DeletionScope | null): void {
    const { source, target } = directory;
    const unchangedFiles: TreeNode[] = [];
    let fileCount = 0;
    const ownScope: DeletionScope = { directory: source!, expectedNodes: [], skippedNodes: [] };
    const scope = outerScope ?? ownScope;
    const skippedChildren: TreeNode[] = [];
    const superfluousNames = new Set<string>();
    for (const pair of this.#makePairs(directory)) {
      if (pair.source?.kind === "file" || pair.target?.kind === "file") fileCount++;
      if (!this.#isIncluded(pair)) continue;
      // Mount points without their disks are empty directories.
      if (pair.source !== null && pair.source.kind !== "directory") {
        if (pair.source.reason !== "reserved") this.#hasOnlyDirectories = false;
      }
      if (pair.source?.kind === "file") {
        if (pair.target?.kind === "file") this.#stayingFileCount++;
        else this.#addedFiles.push(pair.source);
      }
      const isObstacle = this.#isDeletableObstacle(pair);
      if (this.#planPair(pair, ownScope.expectedNodes, unchangedFiles, isObstacle)) {
        this.#planEntries(pair, pair.source === null ? scope : null);
      }
      if (isObstacle) this.#planEntries({ ...pair, source: null }, scope);
      const { source: node } = pair;
      if (node !== null && pair.target === null && this.#isSkipped(node)) {
        skippedChildren.push(node);
      }
      if (!this.#rules.delete || pair.target === null || node !== null && !isObstacle) continue;
      superfluousNames.add(normalizeName(pair.target.name));
      if (pair.target.reason === "name") this.unnameableNodes.push(pair.target);
      if (pair.target.kind === "other") this.keepParents(pair.target);
      else this.deletions.push({ node: pair.target, scope });
    }
    for (const node of skippedChildren) {
      if (superfluousNames.has(normalizeName(node.name))) ownScope.skippedNodes.push(node);
    }
    if (fileCount > 0 && unchangedFiles.length === fileCount) {
      this.unchangedNodes.push(source!);
      source!.entries!.forgetFiles();
      target!.entries!.forgetFiles();
    } else {
      for (const file of unchangedFiles) this.unchangedNodes.push(file);
    }
  }

  #isSkipped(node: TreeNode): boolean {
    return node.kind === "other" || node.kind === "file" && this.#isUnsettled(node);
  }

  *#makePairs(
    { source, target, blockedDirectory }: NodePair,
  ): Generator<NodePair, void, void> {
    const findInTarget = makeFinder(target);
    for (const child of source?.children ?? []) {
      yield { source: child, target: findInTarget(child), blockedDirectory };
    }
    const findInSource = makeFinder(source);
    for (const child of target?.children ?? []) {
      if (findInSource(child) === null) yield { source: null, target: child, blockedDirectory };
    }
  }

  #isIncluded({ source, target }: NodePair): boolean {
    const node = source ?? (this.#rules.delete ? target : null);
    if (node === null || this.#passesFilter(node)) return true;
    if (target !== null) this.keepParents(target);
    return false;
  }

  #passesFilter(node: TreeNode): boolean {
    return this.#rules.filter?.(node.entry) ?? true;
  }

  /** @returns True if the entries of the directories must be planned. */
  #planPair(
    pair: NodePair,
    expectedNodes: TreeNode[],
    unchangedFiles: TreeNode[],
    isObstacle: boolean,
  ): boolean {
    const { source, target, blockedDirectory } = pair;
    if (source === null) return target!.kind === "directory";
    const isSkipped = this.#isSkipped(source);
    // The target must list the skipped entry by this name before entries are deleted: if its disk
    // has changed the name, the entry looks superfluous.
    if (isSkipped && target !== null) expectedNodes.push(source);
    if (source.kind === "other") this.#skip(source);
    else if (source.kind === "directory") {
      return this.#planDirectory(pair, expectedNodes, isObstacle);
    } else if (isSkipped) {
      this.pendingFiles.push(source);
    } else if (blockedDirectory !== null) {
      if (blockedDirectory.isTolerated) this.toleratedFailureCount++;
      this.addFailure(source, parentNotCreatedError(source, blockedDirectory.error));
    } else {
      expectedNodes.push(source);
      this.#planContent(source, target, isObstacle, unchangedFiles);
    }
    return false;
  }

  #skip(node: TreeNode): void {
    const { reason } = node;
    if (reason !== "unreadable" && reason !== "name") {
      return void this.skippedEntries.push({ node, reason: reason! });
    }
    this.isIncomplete = true;
    this.addFailure(node, reason === "name" ? badNameError(node) : unreadableEntryError(node));
  }

  #planDirectory(pair: NodePair, expectedNodes: TreeNode[], isObstacle: boolean): boolean {
    const { source, target, blockedDirectory } = pair;
    const node = source!;
    expectedNodes.push(node);
    if (blockedDirectory !== null || target?.kind === "directory") return true;
    if (target === null) {
      this.newDirectories.push(node);
      return true;
    }
    const blockage = this.#addBlockage(node, target, isObstacle);
    this.#planEntries({ ...pair, target: null, blockedDirectory: blockage }, null);
    return false;
  }

  #addBlockage(node: TreeNode, target: TreeNode, isObstacle: boolean): Blockage {
    const error = blockedByOtherKindError(node, target, isObstacle);
    // A link blocks only its own path.
    const isTolerated = isObstacle || target.reason === "link";
    if (isTolerated) this.toleratedFailureCount++;
    this.addFailure(node, error);
    return { error, isTolerated };
  }

  /**
   * Reports whether the target has an entry of another kind, which is superfluous: the entry is
   * deleted at the end, so that the next call can copy the entry of the source.
   */
  #isDeletableObstacle({ source, target }: NodePair): boolean {
    if (source === null || target === null || target.kind === "other") return false;
    return source.kind !== target.kind && !this.#isSkipped(source) && this.#rules.delete &&
      this.#rules.replace && this.#passesFilter(target);
  }
}
