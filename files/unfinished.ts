/**
 * Files that are being written, in the reserved directory.
 *
 * @module
 */

import { type BigIntStats, readdirSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { lockFile, lockIfFree, newFileMode } from "../disk/files.ts";
import {
  type FileIdentity,
  isOverload,
  isSameFile,
  removeIfPresentSync,
  statOrNull,
} from "../disk/names.ts";
import { Refusal } from "./refusal.ts";
import { makeReserved, prefixOf, reservedPath } from "./reserved.ts";

const MODE_BITS = 0o7777;
/** The pattern of the names of unfinished files; nothing else is ever removed. */
const NAME = /^(?:put-[0-9a-f]{32}|part-[0-9a-f]{32}-[0-9a-f]{64})$/;

/** How often opening is tried if another process creates or removes the part at the same moment. */
const ATTEMPTS = 5;

/** The paths of the files that this process is writing. */
export const inUse = new Set<string>();

/** A file that is being written. */
export class Unfinished implements AsyncDisposable {
  readonly path: string;
  readonly handle: FileHandle;
  /** Its metadata when it was opened. */
  readonly state: BigIntStats;
  /** The default mode of new files. */
  readonly newMode: bigint;
  /** Whether it is kept if it does not get a name. */
  isKept = false;

  /** Keeps other processes from writing to a part; a file with a random name needs none. */
  #lock: Deno.FsFile | null = null;

  private constructor(path: string, handle: FileHandle, state: BigIntStats, newMode?: bigint) {
    this.path = path;
    this.handle = handle;
    this.state = state;
    this.newMode = newMode ?? this.mode;
  }

  /** Its mode. */
  get mode(): bigint {
    return this.state.mode & BigInt(MODE_BITS);
  }

  /** Writes some of the bytes at a position; returns how many. */
  async write(bytes: Uint8Array, position: number): Promise<number> {
    return (await this.handle.write(bytes, 0, bytes.length, position)).bytesWritten;
  }

  /** Creates an empty file that is removed on dispose, unless it was given a name. */
  static async create(root: string): Promise<Unfinished> {
    makeReserved(root);
    return await Unfinished.#open(newPath(root), "wx+", 0o666);
  }

  /**
   * Creates or opens the file of a part; only this user can read it. One that another process is writing
   * is removed, and a new one created: the other process notices before it gives the file a name.
   */
  static async openPart(path: string, root: string): Promise<Unfinished> {
    makeReserved(root);
    const newMode = BigInt((newFileMode(newPath(root)) ?? 0) & MODE_BITS);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const old = statOrNull(path);
      // A killed process has left a second name of a served file.
      if (old !== null && (!old.isFile() || old.nlink > 1n)) removeIfPresentSync(path);
      const file = await Unfinished.#open(
        path,
        statOrNull(path) === null ? "wx+" : "r+",
        0o600,
        newMode,
      );
      if (await file.#takeLock()) return file;
      await file[Symbol.asyncDispose]();
    }
    throw new Refusal(409, `other processes write to ${path}`);
  }

  static async #open(path: string, flags: string, mode: number, newMode?: bigint) {
    inUse.add(path);
    let handle: FileHandle | null = null;
    try {
      handle = await open(path, flags, mode);
      return new Unfinished(path, handle, await handle.stat({ bigint: true }), newMode);
    } catch (error) {
      inUse.delete(path);
      await handle?.close();
      throw error;
    }
  }

  /** Checks that only this process writes to the file, and that the file still has this name. */
  async #takeLock(): Promise<boolean> {
    try {
      this.#lock = await Deno.open(this.path, { write: true });
      // Some file systems have no locks.
      if (!await lockFile(this.#lock).catch(() => true)) return false;
    } catch {
      // It no longer has a name.
    }
    const now = statOrNull(this.path);
    if (now !== null && isSameFile(now, this.state)) return true;
    this.isKept = true;
    return false;
  }

  /** Closes the file, and removes it unless it is kept or was given a name. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.handle.close();
      if (!this.isKept) removeIfPresentSync(this.path);
    } finally {
      this.#lock?.close();
      inUse.delete(this.path);
    }
  }
}

/** Returns the path of a file in the reserved directory. */
export function pathOf(root: string, name: string): string {
  return prefixOf(reservedPath(root)) + name;
}

/** Returns a path in the reserved directory that nobody else chooses. */
export function newPath(root: string): string {
  return pathOf(root, `put-${crypto.getRandomValues(new Uint8Array(16)).toHex()}`);
}

/** Whether a name is that of an unfinished file. */
export function isUnfinishedName(name: string): boolean {
  return NAME.test(name);
}

/**
 * Sets the modification time of a file. Synchronous, so that no other request of the process runs
 * between a check of the file and this.
 *
 * @param seen The metadata of the file.
 * @throws {Refusal} if another file has the path now, or the program may not write to it.
 */
export function setModified(path: string, seen: FileIdentity, modified: Date): void {
  // Deno needs no permission to set the times of an open file.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") throw new Refusal(403, `no permission to write to ${path}`);
  // Not with node:fs: it has times in seconds as floating-point numbers, and is off by a millisecond.
  using file = Deno.openSync(path, { read: true });
  if (!isSameFile(file.statSync(), seen)) throw new Refusal(409, `${path} was replaced meanwhile`);
  file.utimeSync(new Date(), modified);
}

/**
 * Removes an unfinished file unless another process is writing it.
 *
 * @returns False if one is.
 */
export function removeUnlocked(path: string): boolean {
  const before = statOrNull(path);
  const file = openIfPossible(path);
  try {
    if (file !== null && !lockIfFree(file)) return false;
    const now = statOrNull(path);
    // A file that another process has just put there is in use.
    if (before !== null && now !== null && !isSameFile(before, now)) return false;
    removeIfPresentSync(path);
    return true;
  } finally {
    file?.close();
  }
}

/**
 * Opens a file; `null` if it is gone, or left from a process that made it read-only before renaming it. Without a descriptor
 * left nobody can tell whether another process has locked it.
 */
function openIfPossible(path: string): Deno.FsFile | null {
  try {
    return Deno.openSync(path, { write: true });
  } catch (error) {
    if (isOverload(error)) throw error;
    return null;
  }
}

/**
 * Reports whether this process writes to a file, or another one has locked it. An upload of another process that can't be resumed
 * has no lock; if its file is removed, it notices, and is refused.
 */
export function isHeld(path: string): boolean {
  if (inUse.has(path)) return true;
  using file = openIfPossible(path);
  return file !== null && !lockIfFree(file);
}

/** The content of the reserved directory. */
export interface Listed {
  readonly path: string;
  readonly size: number;
  /** When it was last written to, in milliseconds since 1970. */
  readonly modified: number;
  /** True if this process is not writing it. */
  readonly isIdle: boolean;
}

/** The unfinished files whose names have this prefix. */
export function listUnfinished(root: string, prefix: string): Listed[] {
  const directory = statOrNull(reservedPath(root));
  if (!directory?.isDirectory()) return [];
  const listed: Listed[] = [];
  for (const name of readdirSync(reservedPath(root))) {
    if (!name.startsWith(prefix) || !NAME.test(name)) continue;
    const path = pathOf(root, name);
    const state = statOrNull(path);
    if (!state?.isFile()) continue;
    const size = Number(state.size);
    listed.push({ path, size, modified: Number(state.mtimeMs), isIdle: !inUse.has(path) });
  }
  return listed;
}
