/**
 * The source and the target of a copied tree. A local directory and a directory of a server have
 * the same operations, so that each can be the source or the target.
 */

import type { DirectoryEntry } from "../wire/entries.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { SourceFile } from "../transfer/source_file.ts";
import type { UnsetProperty } from "../wire/metadata.ts";
import type { CopyTask } from "./plan.ts";
import type { TreeNode } from "./tree.ts";

export interface ListingServer {
  readonly isAddOnly: boolean;
  /** The path of the directory below the root of its app; `null` if its files can't be reused. */
  readonly rootPath: string | null;
}

export interface ListedTree {
  readonly root: TreeNode;
  /**
   * The period of the listing in milliseconds since 1970, by the clock of the tree's device; `null`
   * if the response had no date.
   */
  readonly listPeriod: { readonly start: number; readonly end: number } | null;
  /** `null` for a tree of this device. */
  readonly server: ListingServer | null;
}

export interface LocalFile {
  readonly path: string;
  readonly file: SourceFile;
}

export interface RemoteFile {
  readonly client: TransferClient;
  readonly uri: string;
}

export interface SmallContent {
  /** Valid until the next file is read. */
  readonly bytes: Uint8Array;
  readonly modified: Date;
  readonly mode: number | null;
  readonly sha256: string;
}

export type FileOutcome =
  | {
    readonly kind: "copied";
    readonly bytes: number;
    readonly sha256: string;
    readonly unset: readonly UnsetProperty[];
  }
  /** The task's condition protects an entry of the target. `sha256` is the digest of the source. */
  | { readonly kind: "conflict"; readonly sha256: string | null }
  /** The file may have been sent, so the target may have it. An error follows. */
  | { readonly kind: "unanswered" }
  | { readonly kind: "retry"; readonly error: unknown }
  /** The file has grown and is too large for a bundle. */
  | { readonly kind: "retry-single" }
  | { readonly kind: "failed"; readonly error: unknown };

export interface DirectoryOutcome {
  readonly error: unknown;
  readonly isNew?: boolean;
}

/** Yields the outcome of each item as soon as it is known, even if an error follows. */
export type Outcomes<Item, Outcome> = AsyncGenerator<
  readonly [item: Item, outcome: Outcome],
  void,
  void
>;

export const ABSENT_DIGEST = "absent";

export interface TreeSide {
  /** Lists the tree; resolves to `null` if the directory of a target does not exist. */
  list(): Promise<ListedTree | null>;
  /**
   * Finds the SHA-256 of each file; `null` if the file can't be read.
   *
   * @param isBundled True to send one request for many files. The result of a server is then also
   * `null` for a file that isn't small, and `ABSENT_DIGEST` for a file that doesn't exist.
   */
  findDigests(nodes: readonly TreeNode[], isBundled: boolean): Promise<(string | null)[]>;
}

export interface TreeSource<Content = unknown> extends TreeSide {
  readSmallFiles(tasks: readonly CopyTask[]): Outcomes<CopyTask, SmallContent | FileOutcome>;
  open<T>(node: TreeNode, useContent: (content: Content) => Promise<T>): Promise<T>;
}

export interface TreeTarget<Content = unknown> extends TreeSide {
  listDirectory(path: readonly string[]): Promise<readonly DirectoryEntry[] | null>;
  /** Looks up an entry, also by another spelling of its name; resolves to `null` if none exists. */
  lookUpEntry(node: TreeNode): Promise<DirectoryEntry | null>;
  /**
   * @param isMissing True if the directory could not be listed.
   * @returns True if the directory exists and can't be listed, so that its entries are unknown.
   */
  prepareDirectory(isMissing: boolean): Promise<boolean>;
  /** After an error, files without an outcome may be sent again. */
  writeSmallFiles(
    tasks: readonly CopyTask[],
    source: TreeSource<Content>,
  ): Outcomes<CopyTask, FileOutcome>;
  /**
   * @param basis A file of the target that may begin with the same bytes, so that they aren't sent;
   * `null` if no such file is known.
   */
  writeFile(
    task: CopyTask,
    source: TreeSource<Content>,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult>;
  /**
   * Sets the permission bits, and perhaps the time, of a file with the same content to the values
   * of the source, unless the file has changed. Resolves to the properties that the disk has
   * refused.
   */
  setMetadata(task: CopyTask): Promise<readonly UnsetProperty[]>;
  /** Creates directories in the order of `nodes`, in which parents precede their entries. */
  mkdir(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome>;
  /** Removes an empty directory, or a file that is unchanged since the list. */
  remove(node: TreeNode): Promise<void>;
}
