/**
 * A list may have a million entries, so a node has its name in place of its path, and the files of
 * a directory are nodes only while they are needed.
 */

import { quoteName } from "../../internal/quote.ts";
import { computeCoarserTimes } from "../wire/conditions.ts";
import type { DirectoryEntry, TreeEntry } from "../wire/entries.ts";
import { fileUri, isSamePath } from "../wire/file_name.ts";
import { isReservedName } from "../reserved.ts";
import type { TransferError } from "../errors.ts";
import { invalidListError } from "../transfer_error.ts";

export type SkipReason = NonNullable<DirectoryEntry["reason"]> | "reserved";

export class TreeNode {
  /** The entries of a directory; `null` for other kinds. */
  readonly entries: DirectoryEntries | null;

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
  ) {
    this.entries = kind === "directory" ? new DirectoryEntries(this) : null;
  }

  static makeRoot(): TreeNode {
    return new TreeNode(null, "", "directory", 0, 0);
  }

  /** The sorted entries of a directory; `null` for other kinds. */
  get children(): readonly TreeNode[] | null {
    return this.entries?.nodes ?? null;
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

  /** Finds an entry whose name is known, so not an entry with the reason `name`. */
  get(name: string): TreeNode | null {
    return this.entries?.find(name) ?? null;
  }
}

/** Compares names. The text that a list shows for a name that is not UTF-8 may also be a name. */
function compareNodes(a: TreeNode, b: TreeNode): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return Number(a.reason === "name") - Number(b.reason === "name");
}

function findNode(nodes: readonly TreeNode[], name: string): TreeNode | null {
  let start = 0;
  for (let end = nodes.length; start < end;) {
    const middle = (start + end) >>> 1;
    if (nodes[middle]!.name < name) start = middle + 1;
    else end = middle;
  }
  const node = nodes[start];
  return node?.name === name && node.reason !== "name" ? node : null;
}

/**
 * The entries of a directory. Files are packed, because nodes for the files of a whole list take
 * several times the memory, and more time.
 */
class DirectoryEntries {
  readonly #directory: TreeNode;
  #files: PackedFiles | null = null;
  #addedFiles: AddedFiles | null = null;
  /** The entries that are not files; sorted if the list is complete. */
  #others: TreeNode[] = [];
  #nodes: readonly TreeNode[] | null = null;

  constructor(directory: TreeNode) {
    this.#directory = directory;
  }

  addFile(name: string, size: number, modified: number, mode: number | null): void {
    this.#addedFiles ??= { names: [], numbers: [] };
    this.#addedFiles.names.push(name);
    this.#addedFiles.numbers.push(size, modified, mode ?? -1);
  }

  addOther(node: TreeNode): void {
    this.#others.push(node);
  }

  /** Packs the files, unless others were packed before. */
  pack(): void {
    if (this.#files !== null || this.#addedFiles === null) return;
    this.#files = new PackedFiles(this.#addedFiles);
    this.#addedFiles = null;
  }

  /** Sorts the entries of a complete list, and those of its subdirectories. */
  complete(): void {
    this.pack();
    const isSorted = this.#addedFiles === null && this.#others.length === 0;
    if (!isSorted || this.#files?.hasNameTwice) this.#sort();
    for (const { entries } of this.#others) entries?.complete();
  }

  #sort(): void {
    if (this.#addedFiles !== null) {
      for (const { name, size, modified, mode } of this.#files?.makeNodes(this.#directory) ?? []) {
        this.addFile(name, size, modified, mode);
      }
      this.#files = new PackedFiles(this.#addedFiles);
    }
    const sortedNodes = this.nodes;
    const nodes = sortedNodes.filter((node, index) => {
      const previousNode = sortedNodes[index - 1];
      if (previousNode?.name !== node.name) return true;
      if (node.reason !== "name") throw duplicateEntryError(node.path);
      return previousNode.reason !== "name";
    });
    this.#others = nodes.filter(({ kind }) => kind !== "file");
    this.#addedFiles = null;
    this.#nodes = null;
  }

  get nodes(): readonly TreeNode[] {
    if (this.#nodes !== null) return this.#nodes;
    const files = this.#files?.makeNodes(this.#directory) ?? [];
    return this.#nodes = this.#others.length === 0
      ? files
      : [...files, ...this.#others].sort(compareNodes);
  }

  find(name: string): TreeNode | null {
    return findNode(this.#others, name) ?? findNode(this.nodes, name);
  }

  /** Drops the nodes of the files: `nodes` makes new ones. Other nodes stay the same. */
  forgetFiles(): void {
    this.#nodes = null;
  }
}

interface AddedFiles {
  readonly names: string[];
  /** The size, the time and the mode of each file; -1 if the mode is unknown. */
  readonly numbers: number[];
}

/** Files of a directory as one text and one array, sorted by their names. */
class PackedFiles {
  /** The names, with a slash between them, which no name has. */
  readonly #names: string;
  readonly #numbers: Float64Array;
  readonly hasNameTwice: boolean;

  constructor({ names, numbers }: AddedFiles) {
    const order = Array.from(names, (_, index) => index).sort((a, b) =>
      names[a]! < names[b]! ? -1 : Number(names[a]! > names[b]!)
    );
    this.#names = order.map((index) => names[index]).join("/");
    this.#numbers = new Float64Array(3 * names.length);
    order.forEach((oldIndex, index) => {
      for (let i = 0; i < 3; i++) this.#numbers[3 * index + i] = numbers[3 * oldIndex + i]!;
    });
    this.hasNameTwice = order.some((oldIndex, index) => {
      return index > 0 && names[oldIndex] === names[order[index - 1]!];
    });
  }

  makeNodes(directory: TreeNode): TreeNode[] {
    return this.#names.split("/").map((name, index) => {
      const size = this.#numbers[3 * index]!;
      const modified = this.#numbers[3 * index + 1]!;
      const mode = this.#numbers[3 * index + 2]!;
      return new TreeNode(directory, name, "file", size, modified, null, mode < 0 ? null : mode);
    });
  }
}

export class TreeBuilder {
  readonly #root = TreeNode.makeRoot();
  readonly #isSource: boolean;
  readonly #subdirectories = new Map<TreeNode, Map<string, TreeNode>>();
  /** The directory of the last entry. */
  #parent: TreeNode = this.#root;
  #parentPath: readonly string[] = [];

  constructor(isSource = true) {
    this.#isSource = isSource;
  }

  /** @returns False if the entry was not added: its name is reserved, and the tree is a target. */
  add(
    parentPath: readonly string[],
    { name, kind, size, modified, reason, isDirectory }: DirectoryEntry,
    mode: number | null = null,
  ): boolean {
    const parent = this.#findParent(parentPath);
    if (parent === null) throw missingParentError([...parentPath, name]);
    const time = modified.getTime();
    const isReserved = reason !== "name" && isReservedName(name);
    if (isReserved && !this.#isSource) return false;
    if (kind === "file" && !isReserved) {
      parent.entries!.addFile(name, size, time, mode);
      return true;
    }
    const node = isReserved
      ? new TreeNode(parent, name, "other", 0, time, "reserved")
      : new TreeNode(parent, name, kind, size, time, reason ?? null, mode, isDirectory);
    parent.entries!.addOther(node);
    if (node.kind === "directory") {
      this.#subdirectories.getOrInsertComputed(parent, () => new Map()).set(name, node);
    }
    return true;
  }

  #findParent(path: readonly string[]): TreeNode | null {
    if (isSamePath(path, this.#parentPath)) return this.#parent;
    let parent: TreeNode | undefined = this.#root;
    for (const name of path) parent = parent && this.#subdirectories.get(parent)?.get(name);
    if (parent === undefined) return null;
    this.#parent.entries!.pack();
    this.#parent = parent;
    this.#parentPath = path;
    return parent;
  }

  /** Returns the root of the complete tree. */
  build(): TreeNode {
    this.#root.entries!.complete();
    return this.#root;
  }
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
  return path.length === 0 ? "the directory itself" : quoteName(path.join("/"));
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
