/**
 * Trees of files in memory: as nodes rather than entries with whole paths, since a list may have a
 * million entries.
 */

import { quote } from "../../internal/quote.ts";
import { type DirectoryEntry, invalidListError, type TreeEntry } from "../entries.ts";
import { fileUri } from "../file_name.ts";
import { isReservedName } from "../reserved.ts";
import type { TransferError } from "../transfer_error.ts";

/** The reasons of entries that can't be copied: those of lists, and a reserved name. */
export type Reason = NonNullable<DirectoryEntry["reason"]> | "reserved";

/** A file, a directory or another entry of a tree, with its place in the tree. */
export class TreeNode {
  readonly parent: TreeNode | null;
  readonly name: string;
  readonly kind: DirectoryEntry["kind"];
  readonly size: number;
  /** In milliseconds since 1970. */
  readonly modified: number;
  readonly reason: Reason | null;
  /** The permission bits of a file; `null` if they are not known. */
  readonly mode: number | null;
  /** The entries of a directory; `null` if it has none. */
  children: Map<string, TreeNode> | null = null;

  /** A root has no parent, and no name. */
  constructor(
    parent: TreeNode | null,
    name: string,
    kind: DirectoryEntry["kind"],
    size: number,
    modified: number,
    reason: Reason | null = null,
    mode: number | null = null,
  ) {
    this.parent = parent;
    this.name = name;
    this.kind = kind;
    this.size = size;
    this.modified = modified;
    this.reason = reason;
    this.mode = mode;
  }

  static root(): TreeNode {
    return new TreeNode(null, "", "directory", 0, 0);
  }

  get path(): string[] {
    const path: string[] = this.parent === null ? [] : [this.name];
    for (let node = this.parent; node !== null && node.parent !== null; node = node.parent) {
      path.push(node.name);
    }
    return path.reverse();
  }

  /** The entry that users see, as in a list. */
  get entry(): TreeEntry {
    const { path, name, kind, size, reason } = this;
    const modified = new Date(this.modified);
    return reason === null
      ? { path, name, kind, size, modified }
      : { path, name, kind, size, modified, reason: reason === "reserved" ? "name" : reason };
  }

  /**
   * Adds an entry.
   *
   * @returns False if another entry has the name.
   */
  add(node: TreeNode): boolean {
    // A name that is not UTF-8 looks like another name.
    const key = node.reason === "name" ? `\0${node.name}` : node.name;
    this.children ??= new Map();
    if (this.children.has(key)) return false;
    this.children.set(key, node);
    return true;
  }

  /** Returns the entry of a name; `null` if no entry that can be requested has it. */
  get(name: string): TreeNode | null {
    return this.children?.get(name) ?? null;
  }
}

/**
 * Adds an entry of a list to its tree; false if the entry of a target is left out, as its name is
 * reserved.
 *
 * @throws {TransferError} unless its directory was added before, and its path was not.
 */
export function addEntry(
  root: TreeNode,
  entry: TreeEntry,
  isSource = true,
  mode: number | null = null,
): boolean {
  const { path, name, kind, size, modified, reason } = entry;
  let parent: TreeNode | null = root;
  for (let depth = 0; depth < path.length - 1; depth++) {
    parent = parent?.get(path[depth]!) ?? null;
  }
  if (parent?.kind !== "directory") throw missingParentError(path);
  const time = modified.getTime();
  const isReserved = reason !== "name" && isReservedName(name);
  if (isReserved && !isSource) return false;
  const node = isReserved
    ? new TreeNode(parent, name, "other", 0, time, "reserved")
    : new TreeNode(parent, name, kind, size, time, reason ?? null, mode);
  if (!parent.add(node) && reason !== "name") throw duplicateEntryError(path);
  return true;
}

function duplicateEntryError(path: readonly string[]): TransferError {
  return invalidListError(`it has ${JSON.stringify(path.join("/"))} twice`);
}

function missingParentError(path: readonly string[]): TransferError {
  const text = JSON.stringify(path.join("/"));
  return invalidListError(`it has ${text} without its directory`);
}

/** Whether a time lies in a span that includes its last moment, and not its first one. */
export function isWithin(time: number, after: number, until: number): boolean {
  return time > after && time <= until;
}

/** The URI of a path in the tree of a URI, with a final `/` only for a directory. */
export function uriOfPath(tree: string, path: readonly string[], isDirectory = false): string {
  return tree + fileUri(...path, ...isDirectory ? [""] : []).slice(1);
}

export function quotePath(path: readonly string[]): string {
  return quote(path.join("/"));
}

export function byName(one: TreeNode, other: TreeNode): number {
  return one.name < other.name ? -1 : 1;
}

/** A name without what a disk may change in it: how letters are composed, their case, the end. */
export function comparableName(name: string): string {
  return name.normalize("NFC").toUpperCase().toLowerCase().replace(/[. ]+$/, "");
}

/** The innermost of some directories that a node is in. */
export function directoryAbove(
  node: TreeNode,
  some: { readonly size: number; has(node: TreeNode): boolean },
): TreeNode | null {
  if (some.size === 0) return null;
  let { parent } = node;
  while (parent !== null && !some.has(parent)) ({ parent } = parent);
  return parent;
}
