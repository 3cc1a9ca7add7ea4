/**
 * Which files of a target may begin with the bytes of files that are to be copied: decided from the
 * lists of both ends, without a disk. Whether they do, their digests show.
 */

import { isGrown, MIN_REUSED_BYTES } from "../reuse.ts";
import type { TreeNode } from "./tree.ts";

/** By file of the source: the file of the target whose bytes may be its beginning. */
export type Beginnings = ReadonlyMap<TreeNode, TreeNode>;

/** A file that is to be copied, and what has its name at the target. */
interface Wanted {
  readonly node: TreeNode;
  readonly target: TreeNode | null;
}

/**
 * Finds for each file the one of the target that has the same size and time, as a file has that was
 * renamed, moved or copied; or else the one of its name, if that is shorter and older, as a file
 * that has grown is.
 */
export function findBeginnings(
  wanted: readonly Wanted[],
  source: TreeNode,
  target: TreeNode,
): Beginnings {
  const found = new Map<TreeNode, TreeNode>();
  const large = wanted.filter(({ node }) => node.size >= MIN_REUSED_BYTES);
  if (large.length === 0) return found;
  const sizes = new Set(large.map(({ node }) => node.size));
  const alikes = new Map<string, SameSizeAndTime>();
  collect(target, source, sizes, alikes);
  for (const { node, target: there } of large) {
    const alike = timesOf(node).map((time) => alikes.get(keyOf(node.size, time))).find(
      Boolean,
    );
    const other = alike?.named.get(node.name) ?? alike?.first;
    // A file of the same name was compared before: it has other bytes.
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

/** The times that a coarser disk may store for that of a file: FAT has even seconds. */
function timesOf({ modified }: TreeNode): number[] {
  return [modified, ...[1000, 2000].map((unit) => Math.floor(modified / unit) * unit)];
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
