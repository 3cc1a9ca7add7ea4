/**
 * Files that are being written, in the reserved directory.
 *
 * @module
 */

import { type BigIntStats, readdirSync, unlinkSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { lockFile } from "../disk/lock.ts";
import { isSameFile } from "./file_state.ts";
import { Refusal } from "./refusal.ts";
import { lookAt, makeReserved, prefixOf, reservedPath } from "./reserved.ts";

const MODE_BITS = 0o7777n;
/** What the names of unfinished files look like; nothing else is ever removed. */
const NAME = /^(?:put-[0-9a-f]{32}|part-[0-9a-f]{32}-[0-9a-f]{64})$/;

/** How often a part is opened that another process makes or removes at that very moment. */
const ATTEMPTS = 5;

/** The paths of the files that this process writes at the moment. */
export const inUse = new Set<string>();

/** A file that is being written. */
export class Unfinished implements AsyncDisposable {
  readonly path: string;
  readonly handle: FileHandle;
  /** What the file system said of it when it was opened. */
  readonly state: BigIntStats;
  /** The mode of a file that is new, as the process makes them. */
  readonly newMode: bigint;
  /** Whether it stays if it does not get a name. */
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
    return this.state.mode & MODE_BITS;
  }

  /** Makes an empty file that is removed on dispose, unless it has got a name. */
  static async create(root: string): Promise<Unfinished> {
    makeReserved(root);
    return await Unfinished.#open(pathOf(root, `put-${randomDigits()}`), "wx+", 0o666);
  }

  /**
   * Makes the file of a part, or opens it; only this user can read it. One that another process writes to
   * is removed, and a new one made: that process notices before it gives the file a name.
   */
  static async openPart(path: string, root: string): Promise<Unfinished> {
    const { newMode } = await probe(root);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const old = lookAt(path);
      // A process that was killed has left a second name of a file that is served.
      if (old !== null && (!old.isFile() || old.nlink > 1n)) removeIfThere(path);
      const file = await Unfinished.#open(
        path,
        lookAt(path) === null ? "wx+" : "r+",
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

  /** Makes sure that this process alone writes to the file, and that it is still the one of this name. */
  async #takeLock(): Promise<boolean> {
    try {
      this.#lock = await Deno.open(this.path, { write: true });
      // There are file systems without locks.
      if (!await lockFile(this.#lock).catch(() => true)) return false;
    } catch {
      // It has no name any more.
    }
    const now = lookAt(this.path);
    if (now !== null && isSameFile(now, this.state)) return true;
    this.isKept = true;
    return false;
  }

  /** Closes the file, and removes it unless it is kept or has got a name. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.handle.close();
      if (!this.isKept) removeIfThere(this.path);
    } finally {
      this.#lock?.close();
      inUse.delete(this.path);
    }
  }
}

/** Finds out which mode the process gives to files: to ask for its umask takes a permission. */
async function probe(root: string): Promise<Unfinished> {
  await using file = await Unfinished.create(root);
  return file;
}

/** Says where a file of the reserved directory is. */
export function pathOf(root: string, name: string): string {
  return prefixOf(reservedPath(root)) + name;
}

function randomDigits(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toHex();
}

/** Removes a file; no matter whether it is there. */
function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw error;
  }
}

/**
 * Removes an unfinished file unless another process writes to it.
 *
 * @returns False if one does.
 */
export function removeUnlocked(path: string): boolean {
  const before = lookAt(path);
  let file: Deno.FsFile | null = null;
  try {
    file = Deno.openSync(path, { write: true });
  } catch {
    // It is gone, or is left from a process that has made it read-only, before it was to be renamed.
  }
  try {
    if (file !== null && !isLockable(file)) return false;
    const now = lookAt(path);
    // What another process has put there meanwhile is in use.
    if (before !== null && now !== null && !isSameFile(before, now)) return false;
    removeIfThere(path);
    return true;
  } finally {
    file?.close();
  }
}

function isLockable(file: Deno.FsFile): boolean {
  try {
    return file.tryLockSync(true);
  } catch {
    // There are file systems without locks.
    return true;
  }
}

/** What is in the reserved directory. */
export interface Listed {
  readonly path: string;
  readonly size: number;
  /** When it was last written to, in milliseconds since 1970. */
  readonly modified: number;
  /** True if this process does not write to it. */
  readonly isIdle: boolean;
}

/** The unfinished files whose names begin so. */
export function listUnfinished(root: string, beginning: string): Listed[] {
  const directory = lookAt(reservedPath(root));
  if (!directory?.isDirectory()) return [];
  const listed: Listed[] = [];
  for (const name of readdirSync(reservedPath(root))) {
    if (!name.startsWith(beginning) || !NAME.test(name)) continue;
    const path = pathOf(root, name);
    const state = lookAt(path);
    if (!state?.isFile()) continue;
    const size = Number(state.size);
    listed.push({ path, size, modified: Number(state.mtimeMs), isIdle: !inUse.has(path) });
  }
  return listed;
}
