/** Files: locked, private, and on the disk; and many of them in turns. */

import { chmodSync, lstatSync } from "node:fs";
import { isAt, removeIfPossible, removeIfPresent, statOrNull } from "./names.ts";

const TRIES = 20;
const PAUSE_MILLISECONDS = 30;

/**
 * Locks a file unless another open file of it is locked. Tries for 0.6 seconds: a process that
 * starts another one shares its locks with it for a moment, even those of files that it has just closed.
 *
 * @returns False if it stays locked.
 */
export async function lockFile(file: Deno.FsFile): Promise<boolean> {
  for (let tries = 1; !await file.tryLock(true); tries++) {
    if (tries === TRIES) return false;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  return true;
}

/** Locks a file at once, unless another open file of it is locked; true also where the file system has no locks. */
export function lockIfFree(file: Deno.FsFile): boolean {
  try {
    return file.tryLockSync(true);
  } catch {
    return true;
  }
}

/** How often a file may disappear between two checks before something else is wrong. */
const OPENINGS = 20;

/** A file that only this process writes. */
export interface LockedFile {
  readonly file: Deno.FsFile;
  /** Its metadata when it was locked. */
  readonly state: Deno.FileInfo;
  readonly isNew: boolean;
}

/**
 * Opens a file that only this process writes, or creates it with mode 0600. What is there, but is no regular file or has
 * a second name, is removed: a link is not followed, and a killed process may have left a complete file with two names.
 *
 * @param lock Locks it. If it returns false, all of this is tried again.
 * @returns `null` if other processes remove or replace it all the time.
 */
export async function openLocked(
  path: string,
  lock: (file: Deno.FsFile) => Promise<boolean>,
): Promise<LockedFile | null> {
  for (let attempt = 0; attempt < OPENINGS; attempt++) {
    const old = statOrNull(path);
    const isNew = old === null || !old.isFile() || old.nlink > 1n;
    if (old !== null && isNew) await removeIfPresent(path);
    const file = await openIfUnchanged(path, isNew);
    if (file === null) continue;
    try {
      if (await lock(file)) {
        const state = await file.stat();
        // The previous holder of the lock may have just renamed or removed it.
        if (state.isFile && isAt(path, state)) return { file, state, isNew };
      }
    } catch (error) {
      file.close();
      throw error;
    }
    file.close();
  }
  return null;
}

/** Opens a file; `null` if another process was faster to create or remove it. */
async function openIfUnchanged(path: string, createNew: boolean): Promise<Deno.FsFile | null> {
  try {
    return await Deno.open(path, { read: true, write: true, createNew, mode: 0o600 });
  } catch (error) {
    const { AlreadyExists, NotFound } = Deno.errors;
    if (createNew ? error instanceof AlreadyExists : error instanceof NotFound) return null;
    throw error;
  }
}

/**
 * Finds out the mode of new files, `null` where files have none, by a temporary one: it depends on the umask, which can be read
 * only with a permission, and on the directory.
 */
export function newFileMode(temporary: string): number | null {
  using file = Deno.openSync(temporary, { write: true, createNew: true });
  try {
    return file.statSync().mode;
  } finally {
    Deno.removeSync(temporary);
  }
}

/** Gives a file the permission bits of a mode, no set-user-ID: not where it has them, since some file systems have no others. */
export function setMode(path: string, mode: number): void {
  const bits = mode & 0o777;
  if ((lstatSync(path).mode & 0o7777) !== bits) chmodSync(path, bits);
}

/** Creates a file of mode 0600 with a text; it is opened once, since somebody else might give its name to another one. */
async function createPrivateFile(path: string, text: string): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  try {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    return file;
  } catch (error) {
    file.close();
    // That of an open file doesn't say which: it may be the disk of this one that is full.
    if (error instanceof Error) error.message += `: write '${path}'`;
    throw error;
  }
}

/** Writes a new file, of mode 0600, that is on the disk when this returns. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  using file = await createPrivateFile(path, text);
  await file.sync();
}

/**
 * Writes a file, of mode 0600, aside, and renames it: every reader finds this text or the one before.
 *
 * @param temporary A path in the same file system, where nothing is.
 * @param prepare What has to be done with the file before it has its name.
 * @returns The file, still open.
 */
export async function writeAside(
  path: string,
  text: string,
  temporary: string,
  prepare: (file: Deno.FsFile) => Promise<void> = () => Promise.resolve(),
): Promise<Deno.FsFile> {
  let file: Deno.FsFile | null = null;
  try {
    file = await createPrivateFile(temporary, text);
    await prepare(file);
    await Deno.rename(temporary, path);
    return file;
  } catch (error) {
    file?.close();
    await removeIfPossible(temporary);
    throw error;
  }
}

/** Does {@linkcode writeAside} with a synced file. Sync the directory if the change has to survive a power failure. */
export async function replacePrivateFile(
  path: string,
  text: string,
  temporary: string,
): Promise<void> {
  using _file = await writeAside(path, text, temporary, (file) => file.sync());
}

/** About how many bytes are written between two syncs. */
const SYNC_BYTES = 67_108_864;

/**
 * Syncs what was written to a file at intervals, in the background: at the end the disk has little left to do. The last
 * sync is the writer's own, and reports whatever has failed.
 */
export class EarlySync {
  readonly #path: string;
  readonly #noted: (bytes: number) => Promise<void>;
  /** Bytes that were written, and that were so when the last sync began. */
  #written = 0;
  #begun = 0;
  #synced = 0;
  #syncing: Promise<void> | null = null;

  /**
   * Does nothing before enough has been written.
   *
   * @param synced Called with how many bytes are on the disk.
   */
  constructor(path: string, synced: (bytes: number) => Promise<void> = () => Promise.resolve()) {
    this.#path = path;
    this.#noted = synced;
  }

  /** Counts bytes that were written. */
  add(count: number): void {
    this.#written += count;
    if (this.#written - this.#begun < SYNC_BYTES || this.#syncing !== null) return;
    this.#syncing = this.#sync().catch(() => {}).finally(() => this.#syncing = null);
  }

  async #sync(): Promise<void> {
    const bytes = this.#begun = this.#written;
    // Opened again: through one open file, a sync and a write wait for each other.
    using file = await Deno.open(this.#path, { read: true });
    await file.syncData();
    this.#synced = bytes;
    await this.#noted(bytes);
  }

  /** Bytes that are on the disk, of those that were counted. */
  get synced(): number {
    return this.#synced;
  }

  /** Resolves when nothing is going on in the background. */
  async settle(): Promise<void> {
    await this.#syncing;
  }

  /** Syncs the rest, if that is possible. */
  async finish(): Promise<void> {
    await this.#syncing;
    if (this.#written > this.#begun) await this.#sync().catch(() => {});
  }
}

/** How long others may wait for the thread. */
const TURN_MILLISECONDS = 4;

/**
 * Measures how long this thread has been occupied. Small files are handled with synchronous operations, which cost a
 * fraction of asynchronous ones; connections are served between two turns.
 */
export class Turns {
  #began = performance.now();

  /** True once others should have their turn. */
  get isOver(): boolean {
    return performance.now() - this.#began >= TURN_MILLISECONDS;
  }

  /**
   * Leaves the thread to others, by a real operation of 50 µs: microtasks, `setImmediate` and a `MessageChannel` let no
   * socket in (measured: 470 ms for a round trip), nor do operations that are ready at once, like most reads and writes of
   * a body; and a timer takes 2 ms.
   *
   * @param path A directory that the program can read.
   */
  async next(path: string): Promise<void> {
    // Whether it is still there is for the caller to find out.
    await Deno.lstat(path).catch(() => {});
    this.#began = performance.now();
  }
}
