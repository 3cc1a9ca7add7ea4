/**
 * The two sides of a copied tree. A directory of this device and one of a server can each be the
 * source or the target, with the same operations.
 */

import type { DirectoryEntry } from "../entries.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { SourceFile } from "../transfer/source_file.ts";
import type { Outbox } from "./outbox.ts";
import type { CopyTask } from "./plan.ts";
import type { TreeNode } from "./tree.ts";

/** What a server says of itself in the answer to a list. */
export interface ListingServer {
  /** Whether it only adds files. */
  readonly refusesDelete: boolean;
  /** The path of the directory below the root of its app; `null` if its files can't be reused. */
  readonly rootPath: string | null;
}

/** A tree, and the time of its list. */
export interface ListedTree {
  readonly root: TreeNode;
  /**
   * By the clock of the tree's device, in milliseconds since 1970; `null` if the server did not
   * say.
   */
  readonly listed: { readonly began: number; readonly ended: number } | null;
  /** `null` for a tree of this device. */
  readonly server: ListingServer | null;
}

/** A file of this device that is copied. */
export interface LocalFile {
  readonly path: string;
  readonly file: SourceFile;
}

/** A file of a server that is copied. */
export interface RemoteFile {
  readonly client: TransferClient;
  readonly uri: string;
}

/** A small file of a source. */
export interface SmallContent {
  /** Valid until the next file is read. */
  readonly bytes: Uint8Array;
  readonly modified: Date;
  /** The permission bits; `null` if they are not known, or not copied. */
  readonly mode: number | null;
  readonly sha256: string;
}

export type FileOutcome =
  | { readonly kind: "copied"; readonly bytes: number; readonly sha256: string }
  /** Something that the condition excludes has the name. The SHA-256 is that of the source. */
  | { readonly kind: "conflict"; readonly sha256: string | null }
  /** Another request may succeed. */
  | { readonly kind: "retry"; readonly error: unknown }
  /** The file is too large for a bundle by now. */
  | { readonly kind: "retry-single" }
  | { readonly kind: "failed"; readonly error: unknown };

export interface DirectoryOutcome {
  /** Why the directory could not be made; `null` if it exists. */
  readonly error: unknown;
  /** Whether nothing had the name before. */
  readonly isNew?: boolean;
}

/** The outcomes of items, yielded as soon as they are known, also those before an error. */
export type Outcomes<Item, Outcome> = AsyncGenerator<
  readonly [item: Item, outcome: Outcome],
  void,
  void
>;

/** The digest of a file if nothing has its name. */
export const ABSENT = "absent";

/** What a side can do as a source and as a target. */
export interface TreeSide {
  /** Lists the whole tree; resolves to `null` if the directory of a target does not exist. */
  list(): Promise<ListedTree | null>;
  /** Finds the SHA-256 of a file; resolves to `null` if it can't be read. */
  digest(node: TreeNode): Promise<string | null>;
  /**
   * Finds the SHA-256 of each of many small files: `null` if it can't be read, or is larger by now;
   * {@linkcode ABSENT} if nothing has the name.
   */
  digests(nodes: readonly TreeNode[]): Promise<(string | null)[]>;
  /** Makes the changes of this call survive a power failure. */
  finish(): Promise<void>;
}

/** @typeParam Content An open file, in the form in which the target takes it. */
export interface TreeSource<Content = unknown> extends TreeSide {
  /** Removes files once they are at the target; `null` without `move`. */
  readonly outbox: Outbox | null;
  /** Reads small files, in this order. */
  get(tasks: readonly CopyTask[]): Outcomes<CopyTask, SmallContent | FileOutcome>;
  /** Opens a file of any size, while a function uses it. */
  open<T>(node: TreeNode, use: (content: Content) => Promise<T>): Promise<T>;
}

export interface TreeTarget<Content = unknown> extends TreeSide {
  /** Whether the server is known to only add files, where the call may replace some. */
  readonly onlyAdds: boolean;
  /** Lists a directory as it is now; resolves to `null` if it is gone. */
  listDirectory(path: readonly string[]): Promise<readonly DirectoryEntry[] | null>;
  /** Looks up a name, also one that the list spells otherwise; resolves to `null` if it is free. */
  stat(node: TreeNode): Promise<DirectoryEntry | null>;
  /**
   * Makes the directory of the target.
   *
   * @param isMissing Whether there was no list of it.
   * @returns Whether it exists nevertheless, so that its content is unknown.
   */
  begin(isMissing: boolean): Promise<boolean>;
  /** Writes small files of a source. A file without an outcome may be put again after an error. */
  put(tasks: readonly CopyTask[], source: TreeSource<Content>): Outcomes<CopyTask, FileOutcome>;
  /**
   * Writes a file of a source. A task of a group gets its name by {@linkcode place}.
   *
   * @param basis The file of the target that may have the first bytes; `null` if none has.
   */
  putSingle(
    task: CopyTask,
    source: TreeSource<Content>,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult>;
  /** Gives a file of a group its name; resolves to false if its bytes are gone. */
  place(task: CopyTask): Promise<boolean>;
  /** Removes the bytes of a file that does not get its name. */
  discard(task: CopyTask): void;
  /** Gives a file the permission bits of the source, if it is as it was listed. */
  setMode(task: CopyTask): Promise<void>;
  /** Makes directories, each after those that it is in. */
  mkdir(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome>;
  /** Removes a file that is as it was listed, or an empty directory. */
  remove(node: TreeNode): Promise<void>;
}
