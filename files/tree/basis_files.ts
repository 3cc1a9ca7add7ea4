import { isGrown, MIN_REUSED_BYTES } from "../wire/reuse.ts";
import type { CopyTask } from "./plan.ts";
import { sizeAndTimeKey, sizeAndTimeKeysOf, type TreeNode } from "./tree.ts";

/** Maps a file of the source to the file of the target that may begin with the same bytes. */
export type BasisFiles = ReadonlyMap<TreeNode, TreeNode>;

/**
 * A file of the same size and time was probably renamed, moved or copied. Otherwise, a shorter and
 * older file of the same name has probably grown.
 */
export function findBasisFiles(
  copies: readonly CopyTask[],
  source: TreeNode,
  target: TreeNode,
): BasisFiles {
  const basisFiles = new Map<TreeNode, TreeNode>();
  const largeTasks = copies.filter(({ node }) => node.size >= MIN_REUSED_BYTES);
  if (largeTasks.length === 0) return basisFiles;
  const sizes = new Set(largeTasks.map(({ node }) => node.size));
  const filesBySizeAndTime = new Map<string, TargetFile>();
  collectFiles(target, source, sizes, filesBySizeAndTime);
  for (const { node, target: listedNode } of largeTasks) {
    // The files of a renamed directory keep their names.
    const file = sizeAndTimeKeysOf(node).flatMap((key) => [`${key} ${node.name}`, key])
      .map((key) => filesBySizeAndTime.get(key)?.node).find(Boolean);
    // The file at the same path was compared before, and has a different content.
    if (file !== undefined && file !== listedNode) basisFiles.set(node, file);
    else if (listedNode?.kind === "file" && isGrown(listedNode, node)) {
      basisFiles.set(node, listedNode);
    }
  }
  return basisFiles;
}

/**
 * Yields the tasks in groups, so that a file of the target is replaced in a later group than the
 * files that it is the basis of: `log.1` after `log.2`. Files that changed places are one group.
 */
export function* groupByBasis(
  tasks: readonly CopyTask[],
  basisFiles: BasisFiles,
): Iterable<readonly CopyTask[]> {
  let remaining = tasks;
  while (remaining.length > 0) {
    const neededFiles = new Set<TreeNode>();
    for (const { node, target } of remaining) {
      const basis = basisFiles.get(node);
      if (basis !== undefined && basis !== target) neededFiles.add(basis);
    }
    const isReplacedLater = ({ target }: CopyTask) => target !== null && neededFiles.has(target);
    const later = remaining.filter(isReplacedLater);
    if (later.length === remaining.length) return yield remaining;
    yield remaining.filter((task) => !isReplacedLater(task));
    remaining = later;
  }
}

interface TargetFile {
  readonly node: TreeNode;
  /** True if the source does not have the path: the file was probably renamed. */
  readonly isRenamed: boolean;
}

/** Of several files with one size and time, collects the first one that was probably renamed. */
function collectFiles(
  target: TreeNode,
  source: TreeNode | null,
  sizes: ReadonlySet<number>,
  filesBySizeAndTime: Map<string, TargetFile>,
): void {
  for (const node of target.children ?? []) {
    const sourceNode = source?.get(node.name) ?? null;
    if (node.kind === "directory") collectFiles(node, sourceNode, sizes, filesBySizeAndTime);
    if (node.kind !== "file" || !sizes.has(node.size)) continue;
    const isRenamed = sourceNode === null;
    const sizeAndTime = sizeAndTimeKey(node.size, node.modified);
    for (const key of [sizeAndTime, `${sizeAndTime} ${node.name}`]) {
      const known = filesBySizeAndTime.get(key);
      if (known === undefined || isRenamed && !known.isRenamed) {
        filesBySizeAndTime.set(key, { node, isRenamed });
      }
    }
  }
}
