import { computeCoarserTimes } from "../conditions.ts";
import { isGrown, MIN_REUSED_BYTES } from "../reuse.ts";
import type { CopyTask } from "./plan.ts";
import type { TreeNode } from "./tree.ts";

/** Maps a file of the source to a file of the target that may begin with the same bytes. */
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
  const groupsBySizeAndTime = new Map<string, FileGroup>();
  collectFiles(target, source, sizes, groupsBySizeAndTime);
  for (const { node, target: listedNode } of largeTasks) {
    const times = [node.modified, ...computeCoarserTimes(node.modified)];
    const fileGroup = times.map((time) => groupsBySizeAndTime.get(formatKey(node.size, time)))
      .find(Boolean);
    const otherFile = fileGroup?.filesByName.get(node.name) ?? fileGroup?.firstFile;
    // The file at the same path was compared before, and has a different content.
    if (otherFile !== undefined && otherFile !== listedNode) basisFiles.set(node, otherFile);
    else if (listedNode?.kind === "file" && isGrown(listedNode, node)) {
      basisFiles.set(node, listedNode);
    }
  }
  return basisFiles;
}

interface FileGroup {
  /** If possible, a file whose path the source does not have: such a file was probably renamed. */
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
  groupsBySizeAndTime: Map<string, FileGroup>,
): void {
  for (const node of target.children?.values() ?? []) {
    const sourceNode = source?.get(node.name) ?? null;
    if (node.kind === "directory") collectFiles(node, sourceNode, sizes, groupsBySizeAndTime);
    if (node.kind !== "file" || !sizes.has(node.size)) continue;
    const key = formatKey(node.size, node.modified);
    const fileGroup = groupsBySizeAndTime.get(key) ??
      { firstFile: node, filesByName: new Map() };
    if (sourceNode === null) fileGroup.firstFile = node;
    fileGroup.filesByName.set(node.name, node);
    groupsBySizeAndTime.set(key, fileGroup);
  }
}
