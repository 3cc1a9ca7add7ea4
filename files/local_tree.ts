/**
 * Trees on the disks of this device: listing one, placing files in it, and removing what is in it.
 *
 * Operations on paths are synchronous, which takes a fifth of the time of asynchronous ones, in turns of a few
 * milliseconds: connections and timers of the program wait no longer than that.
 *
 * A directory may be exchanged for a link at any time. So no path is relied on for longer than a turn: before something is
 * placed or removed the real path of its directory is compared with what it has to be, and after the last one again.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { lockIfFree, newFileMode } from "../disk/files.ts";
import {
  fold,
  foldedNames,
  giveNewName,
  isOverload,
  randomSuffix,
  syncAllIfPossible,
} from "../disk/names.ts";
import { Turns } from "../disk/turns.ts";
import { MAX_PATH_BYTES } from "./entries.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { explainForeignPart, inUse, partPath } from "./part_file.ts";
import { isPartName, isReservedName, PART_SUFFIX, prefixOf } from "./reserved.ts";
import { TransferError } from "./transfer_error.ts";
import { type Copy, existsAlready, inTheWay, type Obstacle, show, TreeNode } from "./tree.ts";
import { isUnfinishedName, removeUnlocked } from "./unfinished.ts";

/** Deno's replacement for bytes that are not UTF-8. */
const NOT_UTF8 = "\ufffd";
/** A directory whose own entry has more bytes than this is listed by another thread. */
const LARGE_DIRECTORY_BYTES = 65536;
const ALL_READ = 0o444;
const ALL_SEARCH = 0o111;

/**
 * Lists a tree. Links are not followed, but for the root, which may be one.
 *
 * @param root The path of the directory.
 * @param onReserved Called with the path of what has a reserved name; if it is left out, that is in the tree, as something
 * that is not copied.
 * @throws {Deno.errors.NotFound} if there is none; `Deno.errors.NotADirectory` if it is something else.
 */
export async function readLocalTree(
  root: string,
  signal: AbortSignal,
  onReserved?: (path: string) => void,
): Promise<TreeNode> {
  const turns = new Turns();
  const tree = TreeNode.root();
  const info = Deno.statSync(root);
  if (!info.isDirectory) {
    throw new Deno.errors.NotADirectory(`dir: ${root} is not a directory`);
  }
  const open: OpenDirectory[] = [
    { node: tree, path: prefixOf(root), info, bytes: 0, names: await namesIn(root, info) },
  ];
  for (let directory; (directory = open.at(-1)) !== undefined;) {
    if (turns.isOver) {
      await turns.next(root);
      signal.throwIfAborted();
    }
    const name = directory.names.pop();
    if (name === undefined) {
      open.pop();
      continue;
    }
    const { node: parent, path } = directory;
    const add = (
      kind: TreeNode["kind"],
      info: Deno.FileInfo | null,
      reason?: TreeNode["reason"],
    ) => {
      const time = info?.mtime?.getTime() ?? 0;
      const size = kind === "file" ? info!.size : 0;
      const node = new TreeNode(parent, name, kind, size, Number.isNaN(time) ? 0 : time, reason);
      parent.add(node);
      return node;
    };
    if (isReservedName(name)) {
      if (onReserved === undefined) add("other", null, "reserved");
      else onReserved(path + name);
      continue;
    }
    const bytes = directory.bytes + Buffer.byteLength(name) + 1;
    const info = statOrReason(path + name);
    if (info === null || info === "too long") {
      // It has vanished, unless no path leads to it.
      if (info !== null || name.includes(NOT_UTF8)) add("other", null, "name");
      else checkOpen(open);
    } else if (info === "unreadable") {
      add("other", null, "unreadable");
    } else if (info.isSymlink) {
      add("other", info, "link");
    } else if (!info.isFile && !info.isDirectory) {
      add("other", info, "special");
    } else if (
      open.length > MAX_DEPTH || bytes - 1 > MAX_PATH_BYTES || !isName(name) ||
      parent.get(name) !== null
    ) {
      // The second of two names that look the same isn't UTF-8.
      add("other", info, "name");
    } else if (info.isFile) {
      if (isReadable(path + name, info)) add("file", info);
      else add("other", info, "unreadable");
    } else {
      const names = await namesOrReason(path + name, info);
      if (typeof names === "string") add("other", info, names);
      else if (names !== null) {
        open.push({ node: add("directory", info), path: `${path}${name}/`, info, bytes, names });
      } else checkOpen(open);
    }
  }
  checkSame(prefixOf(root), info);
  return tree;
}

/** A directory that is being listed. */
interface OpenDirectory {
  readonly node: TreeNode;
  /** With a slash at the end. */
  readonly path: string;
  readonly info: Deno.FileInfo;
  /** Of its path in the tree. */
  readonly bytes: number;
  /** That are yet to be looked at. */
  readonly names: string[];
}

/**
 * Checks that what has vanished was removed from a directory that is still there: else it has only lost its place, as when a
 * disk is unmounted or a directory is renamed, and the list would be one of what is left.
 */
function checkOpen(open: readonly OpenDirectory[]): void {
  for (const { path, info } of open.toReversed()) {
    if (statOrReason(path) !== null) return checkSame(path, info);
  }
  checkSame(open[0]!.path, open[0]!.info);
}

/** Checks that a directory is the one that was listed. */
function checkSame(path: string, { dev, ino }: Deno.FileInfo): void {
  const now = statOrReason(path);
  if (now !== null && typeof now !== "string" && now.dev === dev && now.ino === ino) return;
  throw new TransferError(
    "CHANGED",
    `${path} was removed or replaced while it was listed; call again`,
  );
}

/** The metadata of what has a path; `null` if nothing has. */
function statOrReason(path: string): Deno.FileInfo | "too long" | "unreadable" | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (isMissing(error)) return null;
    const { code } = error as { code?: unknown };
    if (code === "ENAMETOOLONG") return "too long";
    if (UNREADABLE.has(code)) return "unreadable";
    throw error;
  }
}

/** A loop of links, too, has replaced a directory on the way. */
const UNREADABLE: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EIO", "ELOOP"]);

function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    (error as { code?: unknown } | null)?.code === "ENOTDIR";
}

function isReadable(path: string, { mode }: Deno.FileInfo): boolean {
  if (mode === null || (mode & ALL_READ) === ALL_READ) return true;
  try {
    Deno.openSync(path, { read: true }).close();
    return true;
  } catch {
    return false;
  }
}

async function namesIn(path: string, { size }: Deno.FileInfo): Promise<string[]> {
  if (size <= LARGE_DIRECTORY_BYTES) return Array.from(Deno.readDirSync(path), ({ name }) => name);
  return await Array.fromAsync(Deno.readDir(path), ({ name }) => name);
}

/** The names in a directory; `null` if it is gone. */
async function namesOrReason(
  path: string,
  info: Deno.FileInfo,
): Promise<string[] | "unreadable" | "name" | null> {
  try {
    const names = await namesIn(path, info);
    // The names can be read, but what they lead to perhaps not.
    if (((info.mode ?? ALL_SEARCH) & ALL_SEARCH) !== ALL_SEARCH) Deno.lstatSync(`${path}/.`);
    return names;
  } catch (error) {
    if (isMissing(error)) return null;
    return (error as { code?: unknown }).code === "ENAMETOOLONG" ? "name" : "unreadable";
  }
}

/** A small file that has arrived, and was verified. */
export interface Arrived {
  readonly copy: Copy;
  readonly content: Uint8Array;
  readonly modified: Date;
  /** Of the content, if it was compared. */
  readonly sha256: string | null;
}

/**
 * A part of a small file. It is locked, so that nobody takes it for left over; its name is nobody else's, so it needs no check
 * that it is still there.
 */
interface Part {
  readonly copy: Copy;
  readonly path: string;
  readonly file: Deno.FsFile;
  /** Whether it has the mode of a new file, and not one that only this user can read. */
  readonly isUsual: boolean;
  /** Resolves to `null` once the content is on the disk, or to the error. */
  readonly synced: Promise<unknown>;
  /** Whether it has the name of its file. */
  isPlaced: boolean;
}

/** How many files of a batch are placed between two looks at the real path of their directory. */
const AT_A_TIME = 64;
/** For so many new files it is faster to list their directory than to look for each of them. */
const LISTED_FROM = 16;
const KEPT_BITS = 0o777;
/** What the names of the parts of small files begin with. */
const SMALL_PREFIX = ".small-";
const SMALL_PART = /\/\.small-[0-9a-f]{16}-\d+\.degu-part$/;
const FULL: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** The target of a download: files are placed in it, and what is in it is removed. */
export class LocalTarget {
  readonly #dir: string;
  readonly #replace: boolean;
  readonly #signal: AbortSignal;
  #root: string | null;
  /** The mode of new files; `undefined` until it is needed. */
  #newMode: number | null | undefined;
  /** The parts of earlier runs. */
  readonly #parts = new Set<string>();
  /** What the names of the parts of this run's small files begin with. */
  readonly #partPrefix = `${SMALL_PREFIX}${randomSuffix()}-`;
  #partCount = 0;

  /** Changes nothing yet. */
  constructor(dir: string, replace: boolean, signal: AbortSignal) {
    this.#dir = dir;
    this.#replace = replace;
    this.#signal = signal;
    this.#root = realPathOf(dir);
  }

  /** Its real path; before it exists the one that was given. */
  get root(): string {
    return this.#root ?? this.#dir;
  }

  /** Lists it; `null` if it does not exist. */
  async read(): Promise<TreeNode | null> {
    if (this.#root === null) return null;
    return await readLocalTree(this.#root, this.#signal, (path) => {
      if (path.endsWith(PART_SUFFIX)) this.#parts.add(path);
    });
  }

  /** Makes the directory if it is missing, and removes the parts of small files that a killed run has left. */
  begin(): void {
    for (const path of this.#parts) {
      if (!SMALL_PART.test(path)) continue;
      try {
        if (Deno.lstatSync(path).isFile) removeUnlocked(path);
      } catch {
        // It is gone, or somebody else's.
      }
    }
    if (this.#root !== null) return;
    Deno.mkdirSync(this.#dir, { recursive: true });
    this.#root = Deno.realPathSync(this.#dir);
  }

  /** The path of a node of the source, once it is here. */
  pathOf(node: TreeNode): string {
    return prefixOf(this.root) + node.path.join("/");
  }

  /**
   * Makes a directory, and those that it is in; none of them may be a link.
   *
   * @param changed Gets the directories that have a new entry.
   */
  makeDirectory(node: TreeNode, changed: Set<string>): void {
    const path = node.parent === null ? this.root : this.pathOf(node);
    if (isReal(path)) return;
    if (node.parent === null) {
      throw new TransferError(
        "CONFLICT",
        `${this.root} was removed, or leads to another place now`,
      );
    }
    this.makeDirectory(node.parent, changed);
    try {
      Deno.mkdirSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      const info = Deno.lstatSync(path);
      if (!info.isDirectory) throw inTheWay(node, kindOf(info));
    }
    changed.add(path.slice(0, path.lastIndexOf("/")) || "/");
    changed.add(path);
  }

  /**
   * Places small files: each is written to a part, synced, and renamed.
   *
   * @returns For each of them the reason why it was not placed, or `null`.
   * @throws {TransferError} if the disk is full; the reason of the signal.
   */
  async place(files: readonly Arrived[]): Promise<unknown[]> {
    const errors = new Map<Copy, unknown>();
    const changed = new Set<string>();
    for (let at = 0; at < files.length;) {
      at += await this.#placeSome(files.slice(at), errors, changed);
    }
    await syncAllIfPossible(changed);
    return files.map(({ copy }) => errors.get(copy) ?? null);
  }

  /** Places as many of them as can be open at once; returns their number. */
  async #placeSome(
    files: readonly Arrived[],
    errors: Map<Copy, unknown>,
    changed: Set<string>,
  ): Promise<number> {
    const turns = new Turns();
    const parts: Part[] = [];
    let count = 0;
    try {
      let directory: TreeNode | null = null;
      for (const { copy, content, modified } of files) {
        if (turns.isOver) {
          await turns.next(this.root);
          this.#signal.throwIfAborted();
          directory = null;
        }
        const { node } = copy;
        try {
          if (directory !== node.parent) this.makeDirectory(node.parent!, changed);
          directory = node.parent;
          parts.push(this.#write(copy, content, modified));
        } catch (error) {
          // There are descriptors again when those that are open have their names.
          if (isOverload(error) && parts.length > 0) break;
          directory = null;
          const explained = await explainForeignPart(error, this.pathOf(node));
          errors.set(copy, this.#explain(explained, copy));
        }
        count++;
      }
      for (const { copy, synced } of parts) {
        const error = await synced;
        if (error !== null) errors.set(copy, this.#explain(error, copy));
      }
      this.#signal.throwIfAborted();
      await turns.next(this.root);
      for (let start = 0, stop; start < parts.length; start = stop) {
        const { parent } = parts[start]!.copy.node;
        stop = start + 1;
        while (stop < parts.length && stop - start < AT_A_TIME) {
          if (parts[stop]!.copy.node.parent !== parent) break;
          stop++;
        }
        this.#rename(parts.slice(start, stop), errors, changed);
        if (turns.isOver) await turns.next(this.root);
      }
    } finally {
      await Promise.all(parts.map(({ synced }) => synced));
      for (const part of parts) discard(part);
    }
    return count;
  }

  /** Writes a part. */
  #write(copy: Copy, content: Uint8Array, modified: Date): Part {
    const target = this.pathOf(copy.node);
    const old = this.#parts.size === 0 ? "" : partPath(target);
    if (this.#parts.delete(old)) removePart(old, target);
    const directory = target.slice(0, target.lastIndexOf("/") + 1);
    const path = `${directory}${this.#partPrefix}${this.#partCount++}${PART_SUFFIX}`;
    const isUsual = copy.target === null;
    const mode = isUsual ? 0o666 : 0o600;
    const file = Deno.openSync(path, { write: true, createNew: true, mode });
    try {
      lockIfFree(file);
      for (let at = 0; at < content.length;) at += file.writeSync(content.subarray(at));
      file.utimeSync(new Date(), modified);
      const synced = file.sync().then(() => null, (error) => error);
      return { copy, path, file, synced, isUsual, isPlaced: false };
    } catch (error) {
      discard({ path, file, isPlaced: false });
      throw error;
    }
  }

  /** The usual mode of new files, found out in a directory where one is about to be named. */
  #usualMode(directory: string): number | null {
    if (this.#newMode === undefined) this.#newMode = newFileMode(unusedPart(directory));
    return this.#newMode;
  }

  /** Renames parts of one directory, in one turn. */
  #rename(parts: readonly Part[], errors: Map<Copy, unknown>, changed: Set<string>): void {
    const directory = this.#directoryOf(parts[0]!.copy.node);
    const isSafe = isReal(directory);
    const names = isSafe && parts.length >= LISTED_FROM ? foldedNames(directory) : null;
    for (const part of parts) {
      const { copy, path, isUsual } = part;
      if (errors.has(copy)) continue;
      try {
        if (!isSafe) throw moved(directory);
        this.#giveName(copy, path, names?.has(fold(copy.node.name)) === false, isUsual);
        part.isPlaced = true;
      } catch (error) {
        errors.set(copy, this.#explain(error, copy));
      }
    }
    changed.add(directory);
    if (isReal(directory)) return;
    for (const { copy } of parts) errors.set(copy, moved(directory));
  }

  #directoryOf({ parent }: TreeNode): string {
    return parent!.parent === null ? this.root : this.pathOf(parent!);
  }

  /**
   * Gives a complete part the name of its file, after what is in its way has gone.
   *
   * @returns What was removed, innermost first.
   */
  placePart(copy: Copy, part: string, way: Obstacle | null): readonly TreeNode[] {
    const { node, obstacle } = copy;
    const directory = this.#directoryOf(node);
    const place = () => {
      if (!isReal(directory)) throw moved(directory);
      this.#giveName(copy, part);
      if (!isReal(directory)) throw moved(directory);
    };
    if (way?.kind === "file") {
      this.#replaceFile(way.node, (changed) => {
        this.makeDirectory(node.parent!, changed);
        place();
      });
      return [way.node];
    }
    if (obstacle?.kind !== "directory") {
      place();
      return [];
    }
    if (!isReal(directory)) throw moved(directory);
    this.#checkTree(obstacle);
    this.#exchange(this.pathOf(obstacle.node), place, (aside) => {
      try {
        this.#removeTree(obstacle, aside);
      } catch (error) {
        Deno.renameSync(this.pathOf(node), part);
        throw error;
      }
    });
    return obstacle.nodes;
  }

  /** Replaces a file by a directory, and what is in it. */
  #replaceFile(node: TreeNode, make: (changed: Set<string>) => void): void {
    const path = this.pathOf(node);
    if (!Deno.lstatSync(path).isFile) throw changedAt(path);
    const changed = new Set<string>();
    this.#exchange(path, () => {
      try {
        make(changed);
      } catch (error) {
        for (const made of [...changed].toReversed()) {
          if (prefixOf(made).startsWith(`${path}/`)) removeIfEmpty(made);
        }
        throw error;
      }
    }, (aside) => Deno.removeSync(aside));
  }

  /** Moves something aside while something else takes its place, and then removes it; if either fails, it comes back. */
  #exchange(path: string, place: () => void, remove: (aside: string) => void): void {
    const directory = path.slice(0, path.lastIndexOf("/"));
    const aside = unusedPart(directory);
    Deno.renameSync(path, aside);
    try {
      place();
      remove(aside);
    } catch (error) {
      Deno.renameSync(aside, path);
      throw error;
    }
  }

  /** Synced to the disk: the directory of a file, and all those that it is in. */
  async syncAbove(node: TreeNode): Promise<void> {
    const directories = new Set([this.root]);
    for (let { parent } = node; parent !== null && parent.parent !== null; { parent } = parent) {
      directories.add(this.pathOf(parent));
    }
    await syncAllIfPossible(directories);
  }

  /**
   * Renames a part, whose directory was checked in the same turn.
   *
   * @param isNew Whether nothing is known to have the name.
   * @param isUsual Whether the part has the mode of a new file.
   */
  #giveName({ node, obstacle }: Copy, part: string, isNew = false, isUsual = false): void {
    const path = this.pathOf(node);
    const info = isNew ? null : statOrReason(path);
    if (typeof info === "string") {
      throw new Deno.errors.PermissionDenied(`${path} can't be looked at`);
    }
    if (info?.isFile && !this.#replace) throw existsAlready(node);
    if (info !== null && !info.isFile && !(info.isSymlink && obstacle?.kind === "link")) {
      throw inTheWay(node, kindOf(info));
    }
    const mode = info?.isFile
      ? info.mode
      : isUsual
      ? null
      : this.#usualMode(path.slice(0, path.lastIndexOf("/")));
    if (mode !== null && (isUsual || (mode & KEPT_BITS) !== 0o600)) {
      Deno.chmodSync(part, mode & KEPT_BITS);
    }
    if (this.#replace || info !== null) Deno.renameSync(part, path);
    else if (!giveNewName(part, path)) throw existsAlready(node);
  }

  /** What has the path of a node now: as the target would list it; `null` if nothing has. */
  look(node: TreeNode): TreeNode | null {
    const path = this.pathOf(node);
    const info = statOrReason(path);
    if (info === null) return null;
    if (typeof info === "string") {
      return new TreeNode(null, node.name, "other", 0, 0, "unreadable");
    }
    const { kind, reason } = kindOf(info);
    return new TreeNode(null, node.name, kind, info.size, info.mtime?.getTime() ?? 0, reason);
  }

  /** The names in a directory of the target. */
  names(path: readonly string[]): Set<string> {
    const directory = [this.root, ...path].join("/");
    try {
      return new Set(Array.from(Deno.readDirSync(directory), ({ name }) => name));
    } catch (error) {
      if (isMissing(error)) return new Set();
      throw error;
    }
  }

  /** Removes a file or an empty directory of the target, unless it is something else by now. */
  remove(node: TreeNode): void {
    const directory = this.#directoryOf(node);
    if (!isReal(directory)) throw moved(directory);
    if (node.kind === "directory") this.#removeDirectory(this.pathOf(node));
    else this.#removeFile(node);
  }

  /** Makes a directory in the place of what is in its way. */
  replaceByDirectory(node: TreeNode, obstacle: Obstacle): readonly TreeNode[] {
    const directory = this.#directoryOf(node);
    if (!isReal(directory)) throw moved(directory);
    if (obstacle.kind === "file") {
      this.#replaceFile(obstacle.node, (changed) => this.makeDirectory(node, changed));
      return [obstacle.node];
    }
    const path = this.pathOf(node);
    const make = () => this.makeDirectory(node, new Set());
    if (!Deno.lstatSync(path).isSymlink) make();
    else this.#exchange(path, make, (aside) => Deno.removeSync(aside));
    return [];
  }

  /** Removes a file that is as it was listed, or was replaced by another one. */
  #removeFile(node: TreeNode): void {
    const path = this.pathOf(node);
    if (!Deno.lstatSync(path).isFile) throw changedAt(path);
    Deno.removeSync(path);
  }

  #removeDirectory(path: string): void {
    if (!Deno.lstatSync(path).isDirectory) throw changedAt(path);
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (Array.from(Deno.readDirSync(path)).some(({ name }) => !isReservedName(name))) throw error;
      removeParts(path);
      Deno.removeSync(path);
    }
  }

  /** Checks that what is in a directory is what was listed. */
  #checkTree({ nodes }: Obstacle & { kind: "directory" }): void {
    const listed = new Set(nodes);
    for (const node of nodes) {
      const path = this.pathOf(node);
      const info = Deno.lstatSync(path);
      const isSame = node.kind === "directory"
        ? info.isDirectory
        : info.isFile && info.size === node.size && info.mtime?.getTime() === node.modified;
      if (!isSame) throw changedAt(path);
      if (node.kind !== "directory") continue;
      for (const { name } of Deno.readDirSync(path)) {
        const child = node.get(name);
        if (child !== null ? !listed.has(child) : !isReservedName(name)) throw changedAt(path);
      }
      checkParts(path);
    }
  }

  /** Removes a directory, which was checked in the same turn and has this path now, and everything in it. */
  #removeTree({ node: top, nodes }: Obstacle & { kind: "directory" }, path: string): void {
    const depth = top.path.length;
    for (const node of nodes) {
      const at = [path, ...node.path.slice(depth)].join("/");
      if (node.kind === "directory") this.#removeDirectory(at);
      else Deno.removeSync(at);
    }
  }

  /** An error of the disk, for one file; throws what is so for all of them. */
  #explain(error: unknown, { node }: Copy): unknown {
    const { code } = error as { code?: unknown };
    if (FULL.has(code)) throw diskFull(this.root, error);
    const isPlain = error instanceof Error && !(error instanceof TransferError);
    if (isPlain && !error.message.includes(node.name)) {
      error.message = `${show(node.path)}: ${error.message}`;
    }
    return error;
  }
}

/** A path in a directory that nothing else has: with the name of a part, so that nobody lists it. */
function unusedPart(directory: string): string {
  return `${prefixOf(directory)}.${randomSuffix()}${PART_SUFFIX}`;
}

function removeIfEmpty(directory: string): void {
  try {
    Deno.removeSync(directory);
  } catch {
    // Somebody else has put something there.
  }
}

function diskFull(root: string, cause: unknown): TransferError {
  return new TransferError(
    "DISK_FULL",
    `${root}: there is no space left on this device, or its quota is exceeded; free some and call ` +
      "again to continue",
    { cause },
  );
}

/** The real path of something; `null` if there is nothing. */
export function realPathOf(path: string): string | null {
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Whether a path leads to a directory, and not through a link. */
export function isReal(path: string): boolean {
  try {
    const real = Deno.realPathSync(path);
    // A file system that ignores case may give another spelling.
    return real === path || fold(real) === fold(path);
  } catch (error) {
    if (isMissing(error) || UNREADABLE.has((error as { code?: unknown }).code)) return false;
    throw error;
  }
}

/** Whether a path leads to a file, and not through a link. */
export function isRealFile(path: string): boolean {
  return Deno.lstatSync(path).isFile && isReal(path.slice(0, path.lastIndexOf("/")) || "/");
}

function moved(directory: string): TransferError {
  return new TransferError(
    "CONFLICT",
    `${directory} was removed or closed to this user meanwhile, or is reached by a symbolic link, which is not followed`,
  );
}

function changedAt(path: string): TransferError {
  return new TransferError(
    "CHANGED",
    `${path} is not what it was when it was listed, so nothing of it is removed; call again`,
  );
}

/** How something is listed. */
function kindOf(info: Deno.FileInfo): { kind: TreeNode["kind"]; reason: TreeNode["reason"] } {
  if (info.isFile) return { kind: "file", reason: null };
  if (info.isDirectory) return { kind: "directory", reason: null };
  return { kind: "other", reason: info.isSymlink ? "link" : "special" };
}

/** Removes a part that nobody holds, with what belongs to it. */
function removePart(path: string, target: string): void {
  if (!Deno.lstatSync(path).isFile) Deno.removeSync(path);
  else if (!removeUnlocked(path)) throw inUse(target);
  for (const suffix of [".new", ".json", ".json.tmp"]) {
    try {
      Deno.removeSync(path + suffix);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Closes a part, and removes it if it was not renamed. */
function discard({ path, file, isPlaced }: Pick<Part, "path" | "file" | "isPlaced">): void {
  try {
    if (!isPlaced) Deno.removeSync(path);
  } catch {
    // The error that made it superfluous is the one to report.
  } finally {
    file.close();
  }
}

/** Parts and reserved directories in a directory. */
function reservedIn(directory: string): string[] {
  return Array.from(Deno.readDirSync(directory), ({ name }) => name).filter(isReservedName);
}

/** Checks that nobody holds a part in a directory. */
function checkParts(directory: string): void {
  for (const name of reservedIn(directory)) {
    const path = `${directory}/${name}`;
    if (!name.endsWith(PART_SUFFIX) || !Deno.lstatSync(path).isFile) continue;
    using file = Deno.openSync(path, { write: true });
    if (!lockIfFree(file)) throw inUse(path);
  }
}

/** Removes the parts in a directory that nobody holds. */
function removeParts(directory: string): void {
  for (const name of reservedIn(directory)) {
    const path = `${directory}/${name}`;
    const info = statOrReason(path);
    if (info === null || typeof info === "string") continue;
    if (info.isDirectory && !isPartName(name)) {
      for (const { name } of Deno.readDirSync(path)) {
        const inside = `${path}/${name}`;
        if (!isUnfinishedName(name)) throw foreign(inside);
        if (!removeUnlocked(inside)) throw held(inside);
      }
      Deno.removeSync(path);
    } else if (info.isDirectory) {
      continue;
    } else if (name.endsWith(PART_SUFFIX) && info.isFile) {
      if (!removeUnlocked(path)) throw held(path);
    } else {
      Deno.removeSync(path);
    }
  }
}

function foreign(path: string): TransferError {
  return new TransferError(
    "CONFLICT",
    `${path} is not the part of a transfer, though it has its place, so its directory stays`,
  );
}

function held(path: string): TransferError {
  return new TransferError(
    "IN_USE",
    `${path} is the part of a transfer that is in progress, so its directory stays; call again later`,
  );
}
