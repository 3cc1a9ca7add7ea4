/** What a download and an upload of a tree do differently. */

import type { DirectoryEntry } from "../entries.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { ListedTree } from "./read_tree.ts";
import type { Outbox } from "./outbox.ts";
import type { CopyTask } from "./plan.ts";
import type { TreeNode } from "./tree.ts";

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

/** The outcomes of items, yielded as soon as they are known, those before an error, too. */
export type Outcomes<Item, What> = AsyncGenerator<readonly [item: Item, what: What], void, void>;

/** A file of which the target has all as a part, and that gets its name after a deletion. */
export interface DeferredPart {
  readonly result: TransferResult;
  /** Gives the file its name; false if the part is gone. */
  place(client: TransferClient): Promise<boolean>;
  /** Removes a part here. */
  discard(): void;
}

/** The differences between a download and an upload. */
export interface TreeEnds {
  /** The source, if its files are removed once they are at the target. */
  readonly outbox: Outbox | null;
  /** Whether the server is known to only add files, where the call may replace some. */
  readonly onlyAdds: boolean;
  readSource(client: TransferClient): Promise<ListedTree>;
  /** Lists the target; `null` if it does not exist. */
  readTarget(client: TransferClient): Promise<ListedTree | null>;
  /** The entries of a directory of the target now; `null` if it is gone. */
  list(
    client: TransferClient,
    path: readonly string[],
  ): Promise<readonly DirectoryEntry[] | null>;
  /** Whether the target finds anything by the name of a node, which it does not list. */
  has(client: TransferClient, node: TreeNode): Promise<boolean>;
  /**
   * Makes the target if no list of it was to be had.
   *
   * @returns Whether it is there nevertheless: then nobody knows what is in it.
   */
  begin(client: TransferClient, isMissing: boolean): Promise<boolean>;
  /** The path here of a node of either tree. */
  pathOf(node: TreeNode): string;
  /** Which permission bits a file of the target gets; `null` if that is not known. */
  findGranted(): number | null;
  /** Gives a file of the target the permission bits of the source, if it is as it was listed. */
  giveMode(client: TransferClient, copy: CopyTask): Promise<void>;
  /** Copies small files; a file without an outcome may be requested again after an error. */
  copySmall(client: TransferClient, copies: readonly CopyTask[]): Outcomes<CopyTask, FileOutcome>;
  /**
   * Copies a single file.
   *
   * @param beginning The file of the target that may have its beginning; `null` if none has.
   */
  copySingle(
    client: TransferClient,
    copy: CopyTask,
    settings: TransferSettings,
    beginning: TreeNode | null,
  ): Promise<TransferResult>;
  /** Copies a single file that gets its name after a deletion. */
  copyPart(
    client: TransferClient,
    copy: CopyTask,
    settings: TransferSettings,
  ): Promise<DeferredPart>;
  /** Removes what is left here of a file that does not get its name. */
  discard?(copy: CopyTask): void;
  /** Makes directories, each after those that it is in. */
  makeDirectories(
    client: TransferClient,
    nodes: readonly TreeNode[],
  ): Outcomes<TreeNode, DirectoryOutcome>;
  /** Removes a file of the target, if it is as it was listed, or an empty directory. */
  remove(client: TransferClient, node: TreeNode): Promise<void>;
  /** Syncs what was removed here. */
  finish(): Promise<void>;
}
