/** What a download and an upload of a tree do differently. */

import type { DirectoryEntry } from "../entries.ts";
import type { ListedTree } from "./list_tree.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { TreeNode } from "./tree.ts";
import type { ShrinkingTarget } from "./deletions.ts";
import type { Copy } from "./plan.ts";

/**
 * The outcome of a small file: how many bytes it has; that something has its name, which the list
 * of the target did not have, and the file's SHA-256 if it is known; what may be better when it is
 * requested again, or alone; or an error.
 */
export type FileOutcome =
  | { readonly is: "copied"; readonly bytes: number; readonly sha256: string }
  | { readonly is: "taken"; readonly sha256: string | null }
  | { readonly is: "again" | "failed"; readonly error: unknown }
  | { readonly is: "alone" };

/**
 * The outcome of a directory: why it is not there, or `null`; and if it is, whether nothing had its
 * name.
 */
export interface DirectoryOutcome {
  readonly error: unknown;
  readonly isNew?: boolean;
}

/**
 * The outcome of a file that is at the target: it was removed here, or was gone already; it stays,
 * since it may have changed meanwhile; or it can't be removed.
 */
export type RemovalOutcome =
  | { readonly is: "removed" | "gone" | "kept" }
  | { readonly is: "failed"; readonly error: unknown };

/** The outcomes of items, yielded as soon as they are known, those before an error, too. */
export type Outcomes<Item, What> = AsyncGenerator<readonly [item: Item, what: What], void, void>;

/** The differences between a download and an upload. */
export interface TreeEnds extends ShrinkingTarget {
  /** The entries of a directory of the target now; `null` if it can't be listed. */
  entries(
    client: TransferClient,
    path: readonly string[],
  ): Promise<readonly DirectoryEntry[] | null>;
  readSource(client: TransferClient): Promise<ListedTree>;
  /** Lists the target; `null` if it does not exist. */
  readTarget(client: TransferClient): Promise<ListedTree | null>;
  /**
   * Makes the target if no list of it was to be had.
   *
   * @returns Whether it is there nevertheless: then nobody knows what is in it.
   */
  begin(client: TransferClient, isMissing: boolean): Promise<boolean>;
  pathOf(node: TreeNode): string;
  /** Whether the server lets bytes be reused that are at the target already. */
  readonly canReuse: boolean;
  /** Which permission bits a file of the target gets; `null` if that is not known. */
  findGranted(): number | null;
  /** Gives a file of the target the permission bits of the source, if it is as it was listed. */
  giveMode(client: TransferClient, copy: Copy): Promise<void>;
  /** Copies small files; a file without an outcome may be requested again after an error. */
  copySmall(client: TransferClient, copies: readonly Copy[]): Outcomes<Copy, FileOutcome>;
  /**
   * Copies a single file; one that gets its name after a deletion is received as a part.
   *
   * @param size How many bytes the other end has said that it has.
   * @param beginning The file of the target that may have its beginning; `null` if none has.
   */
  copyAlone(
    client: TransferClient,
    copy: Copy,
    settings: TransferSettings,
    size: number,
    beginning: TreeNode | null,
  ): Promise<TransferResult>;
  /** Gives a file that was received its name; false if its part is gone. */
  place(client: TransferClient, copy: Copy, part: TransferResult): Promise<boolean>;
  /** Makes directories, each after those that it is in. */
  makeDirectories(
    client: TransferClient,
    nodes: readonly TreeNode[],
  ): Outcomes<TreeNode, DirectoryOutcome>;
  /** When a file of the source was last changed or renamed, in milliseconds since 1970. */
  changedAt?(node: TreeNode): number;
  /** Removes files of the source that certainly are what was copied. */
  removeSources?(nodes: readonly TreeNode[]): Outcomes<TreeNode, RemovalOutcome>;
  /** Closes files that could have been removed. */
  close?(): Promise<void>;
  /** Removes the part of a file here that can't get its name. */
  discard?(copy: Copy): void;
  /** Syncs what was removed here. */
  finish?(): Promise<void>;
}
