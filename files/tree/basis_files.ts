import { isGrown, MIN_REUSED_BYTES } from "../wire/reuse.ts";
import type { TransferClient } from "../transfer/client.ts";
import { ignoreReuseTimeout } from "../transfer/remote_digest.ts";
import type { CopyTask } from "./plan.ts";
import type { TreeSide } from "./sides.ts";
import { quotePath, sizeAndTimeKey, sizeAndTimeKeysOf, type TreeNode } from "./tree.ts";

/** Maps a file of the source to the files of the target that may begin with the same bytes. */
export type BasisFiles = ReadonlyMap<TreeNode, BasisCandidates>;

/**
 * The maximum number of candidates for a single file. For more files, there may be twice as many
 * candidates as files, so that hashing the candidates is worth the saved bytes.
 */
const MAX_CANDIDATES = 8;

/** Files of the target that have the same size, and the same time if there are several. */
export class BasisCandidates {
  readonly files: readonly TreeNode[];
  #filesByDigest: Promise<ReadonlyMap<string, TreeNode>> | null = null;

  /** @param files One or more files. */
  constructor(files: readonly TreeNode[]) {
    this.files = files;
  }

  get size(): number {
    return this.files[0]!.size;
  }

  /**
   * Chooses the file to reuse, and returns the digest of `node` if it was computed. Several
   * candidates are told apart by their digests, because a wrong one would be copied in vain.
   */
  async choose(
    node: TreeNode,
    { client, source, target }: {
      readonly client: TransferClient;
      readonly source: TreeSide;
      readonly target: TreeSide;
    },
  ): Promise<{ readonly file: TreeNode; readonly sha256: string | null } | null> {
    if (this.files.length === 1) return { file: this.files[0]!, sha256: null };
    this.#filesByDigest ??= this.#hashAll(client, target).catch((error) => {
      this.#filesByDigest = null;
      throw error;
    });
    const filesByDigest = await this.#filesByDigest;
    const sha256 = filesByDigest.size === 0 ? null : await source.findDigest(node).catch(
      (error) => ignoreReuseTimeout(client, error),
    );
    const file = sha256 === null ? undefined : filesByDigest.get(sha256);
    return file === undefined ? null : { file, sha256 };
  }

  async #hashAll(
    client: TransferClient,
    target: TreeSide,
  ): Promise<ReadonlyMap<string, TreeNode>> {
    const filesByDigest = new Map<string, TreeNode>();
    try {
      for (const file of this.files) {
        const sha256 = await target.findDigest(file);
        if (sha256 !== null) filesByDigest.set(sha256, file);
      }
    } catch (error) {
      ignoreReuseTimeout(client, error);
    }
    return filesByDigest;
  }
}

/** Reports whether any file of the target may be the basis of a file, not only that of its path. */
export function mayBeRenamed({ node, condition }: CopyTask): boolean {
  return condition === "new" && node.size >= MIN_REUSED_BYTES;
}

/**
 * A file of the same size and time was probably renamed, moved or copied. Otherwise, a shorter and
 * older file of the same name has probably grown.
 */
export function findBasisFiles(
  copies: readonly CopyTask[],
  source: TreeNode,
  target: TreeNode,
): BasisFiles {
  const basisFiles = new Map<TreeNode, BasisCandidates>();
  const largeTasks = copies.filter(({ node }) => node.size >= MIN_REUSED_BYTES);
  if (largeTasks.length === 0) return basisFiles;
  const sizes = new Set(largeTasks.map(({ node }) => node.size));
  const groupsBySizeAndTime = new Map<string, FileGroup>();
  collectFiles(target, source, sizes, groupsBySizeAndTime);
  const findGroup = (node: TreeNode) =>
    sizeAndTimeKeysOf(node).map((key) => groupsBySizeAndTime.get(key)).find(Boolean);
  const tasksByGroup = Map.groupBy(largeTasks, ({ node }) => findGroup(node));
  for (const [group, tasks] of tasksByGroup) {
    const files = group === undefined
      ? []
      : group.renamedFiles.length > 0
      ? group.renamedFiles
      : group.files;
    const isHashingWorthwhile = files.length <= Math.max(MAX_CANDIDATES, 2 * tasks.length);
    const candidates = new BasisCandidates(files);
    for (const { node, target: listedNode } of tasks) {
      // The file at the same path was compared before, and has a different content.
      const isOnlyListed = files.length === 1 && listedNode !== null &&
        quotePath(files[0]!.path) === quotePath(listedNode.path);
      if (files.length > 0 && isHashingWorthwhile && !isOnlyListed) {
        basisFiles.set(node, candidates);
      } else if (listedNode?.kind === "file" && isGrown(listedNode, node)) {
        basisFiles.set(node, new BasisCandidates([listedNode]));
      }
    }
  }
  return basisFiles;
}

/** The files of the target with one size and time. */
interface FileGroup {
  readonly files: TreeNode[];
  /** The files whose paths the source does not have: they were probably renamed. */
  readonly renamedFiles: TreeNode[];
}

function collectFiles(
  target: TreeNode,
  source: TreeNode | null,
  sizes: ReadonlySet<number>,
  groupsBySizeAndTime: Map<string, FileGroup>,
): void {
  for (const node of target.children ?? []) {
    const sourceNode = source?.get(node.name) ?? null;
    if (node.kind === "directory") collectFiles(node, sourceNode, sizes, groupsBySizeAndTime);
    if (node.kind !== "file" || !sizes.has(node.size)) continue;
    const key = sizeAndTimeKey(node.size, node.modified);
    const fileGroup = groupsBySizeAndTime.getOrInsertComputed(
      key,
      () => ({ files: [], renamedFiles: [] }),
    );
    fileGroup.files.push(node);
    if (sourceNode === null) fileGroup.renamedFiles.push(node);
  }
}
