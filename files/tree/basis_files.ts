import { computeCoarserTimes } from "../conditions.ts";
import { isGrown, MIN_REUSED_BYTES } from "../reuse.ts";
import type { CopyTask } from "./plan.ts";
import type { TreeNode } from "./tree.ts";

/** The files of the target that may have a prefix of a file of the source, by that file. */
export type BasisFiles = ReadonlyMap<TreeNode, TreeNode>;

/**
 * Finds a basis file of the target for each large file. A file of the same size and time was
 * probably renamed, moved or copied. Otherwise, a shorter and older file of the same name has
 * probably grown.
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
  const filesBySizeAndTime = new Map<string, SameSizeAndTime>();
  collectFiles(target, source, sizes, filesBySizeAndTime);
  for (const { node, target: listedNode } of largeTasks) {
    const times = [node.modified, ...computeCoarserTimes(node.modified)];
    const sameSizeAndTime = times.map((time) => filesBySizeAndTime.get(formatKey(node.size, time)))
      .find(Boolean);
    const otherFile = sameSizeAndTime?.filesByName.get(node.name) ?? sameSizeAndTime?.firstFile;
    // The file at the same path was compared before, and has a different content.
    if (otherFile !== undefined && otherFile !== listedNode) basisFiles.set(node, otherFile);
    else if (listedNode?.kind === "file" && isGrown(listedNode, node)) {
      basisFiles.set(node, listedNode);
    }
  }
  return basisFiles;
}

interface SameSizeAndTime {
  /** A file whose path the source does not have, if possible, because it was probably renamed. */
  firstFile: TreeNode;
  readonly filesByName: Map<string, TreeNode>;
}

function formatKey(size: number, time: number): string {
  return `${size} ${time}`;
}

function collectFiles(
  target: TreeNode,
  source: TreeNode | null,
  sizes: ReadonlySet<number>,
  filesBySizeAndTime: Map<string, SameSizeAndTime>,
): void {
  for (const node of target.children?.values() ?? []) {
    const sourceNode = source?.get(node.name) ?? null;
    if (node.kind === "directory") collectFiles(node, sourceNode, sizes, filesBySizeAndTime);
    if (node.kind !== "file" || !sizes.has(node.size)) continue;
    const key = formatKey(node.size, node.modified);
    const sameSizeAndTime = filesBySizeAndTime.get(key) ??
      { firstFile: node, filesByName: new Map() };
    if (sourceNode === null) sameSizeAndTime.firstFile = node;
    sameSizeAndTime.filesByName.set(node.name, node);
    filesBySizeAndTime.set(key, sameSizeAndTime);
  }
}
