/**
 * A node has only its name, in place of its whole path, because a list may have a million entries.
 */

import { quote } from "@degu/degu/internal";
import { computeCoarserTimes } from "../conditions.ts";
import { type DirectoryEntry, invalidListError, type TreeEntry } from "../entries.ts";
import { fileUri } from "../file_name.ts";
import { isReservedName } from "../reserved_name.ts";
import type { TransferError } from "../errors.ts";

export type SkipReason = NonNullable<DirectoryEntry["reason"]> | "reserved";

export class TreeNode {
  children: Map<string, TreeNode> | null = null;

  constructor(
    readonly parent: TreeNode | null,
    readonly name: string,
    readonly kind: DirectoryEntry["kind"],
    readonly size: number,
    /** The modification time in milliseconds since 1970. */
    readonly modified: number,
    readonly reason: SkipReason | null = null,
    readonly mode: number | null = null,
    /** Whether an unreadable entry is a directory, if that is known. */
    readonly isDirectory?: boolean,
  ) {}

  static makeRoot(): TreeNode {
    return new TreeNode(null, "", "directory", 0, 0);
  }

  get path(): string[] {
    const path: string[] = this.parent === null ? [] : [this.name];
    for (let node = this.parent; node !== null && node.parent !== null; node = node.parent) {
      path.push(node.name);
    }
    return path.reverse();
  }

  get entry(): TreeEntry {
    const { path, name, kind, size, reason, isDirectory } = this;
    const entry = { path, name, kind, size, modified: new Date(this.modified) };
    if (reason === null) return entry;
    const otherEntry: TreeEntry = { ...entry, reason: reason === "reserved" ? "name" : reason };
    return isDirectory === undefined ? otherEntry : { ...otherEntry, isDirectory };
  }

  add(node: TreeNode): boolean {
    // A name that is not UTF-8 is listed as a text that may also be the name of another entry.
    const key = node.reason === "name" ? `\0${node.name}` : node.name;
    this.children ??= new Map();
    const { size } = this.children;
    this.children.set(key, node);
    return this.children.size > size;
  }

  get(name: string): TreeNode | null {
    return this.children?.get(name) ?? null;
  }

  find(path: readonly string[]): TreeNode | null {
    return path.reduce<TreeNode | null>((directory, name) => directory?.get(name) ?? null, this);
  }
}

/** Finds the directory of an entry. */
export function findParent(root: TreeNode, path: readonly string[]): TreeNode {
  let parent: TreeNode | null = root;
  for (let depth = 0; depth < path.length - 1; depth++) {
    parent = parent?.get(path[depth]!) ?? null;
  }
  if (parent?.kind !== "directory") throw missingParentError(path);
  return parent;
}

/**
 * @returns False if the entry was not added, because its name is reserved and the tree is a target.
 */
export function addEntry(
  parent: TreeNode,
  { name, kind, size, modified, reason, isDirectory }: DirectoryEntry,
  isSource = true,
  mode: number | null = null,
): boolean {
  const time = modified.getTime();
  const isReserved = reason !== "name" && isReservedName(name);
  if (isReserved && !isSource) return false;
  const node = isReserved
    ? new TreeNode(parent, name, "other", 0, time, "reserved")
    : new TreeNode(parent, name, kind, size, time, reason ?? null, mode, isDirectory);
  if (!parent.add(node) && reason !== "name") throw duplicateEntryError(node.path);
  return true;
}

function duplicateEntryError(path: readonly string[]): TransferError {
  return invalidListError(`it has ${JSON.stringify(path.join("/"))} twice`);
}

function missingParentError(path: readonly string[]): TransferError {
  const text = JSON.stringify(path.join("/"));
  return invalidListError(`it has ${text} without its directory`);
}

/** Reports whether a time is in a period, which excludes its start and includes its end. */
export function isWithin(time: number, periodStart: number, periodEnd: number): boolean {
  return time > periodStart && time <= periodEnd;
}

export function formatUri(tree: string, path: readonly string[], isDirectory = false): string {
  return tree + fileUri(...path, ...isDirectory ? [""] : []).slice(1);
}

export function sizeAndTimeKey(size: number, modified: number): string {
  return `${size} ${modified}`;
}

/** Returns the keys of a file, first the exact one, then those that a coarser disk may list. */
export function sizeAndTimeKeysOf({ size, modified }: TreeNode): string[] {
  return [modified, ...computeCoarserTimes(modified)].map((time) => sizeAndTimeKey(size, time));
}

export function quotePath(path: readonly string[]): string {
  return path.length === 0 ? "the directory itself" : quote(path.join("/"));
}

/** Normalizes a name: names that a disk may treat as one get the same result. */
export function normalizeName(name: string): string {
  return name.normalize("NFC").toUpperCase().toLowerCase().replace(/[. ]+$/, "");
}

export function findDirectoryAbove(
  node: TreeNode,
  directories: { readonly size: number; has(node: TreeNode): boolean },
): TreeNode | null {
  if (directories.size === 0) return null;
  let { parent } = node;
  while (parent !== null && !directories.has(parent)) ({ parent } = parent);
  return parent;
}
