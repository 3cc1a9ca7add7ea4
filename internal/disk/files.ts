/** Files: their locks and permission bits, syncs while they are written, and many in turns. */

import { chmodSync, lstatSync, rmdirSync } from "node:fs";
import { isMissing } from "./names.ts";

const LOCK_ATTEMPTS = 20;
const LOCK_RETRY_MILLISECONDS = 30;

/**
 * Tries for 0.6 seconds whether a file is free: a process that starts another one shares its locks
 * with the new one for a moment.
 */
export async function becomesFree(isFree: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let attempt = 1; !await isFree(); attempt++) {
    if (attempt === LOCK_ATTEMPTS) return false;
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MILLISECONDS));
  }
  return true;
}

/**
 * Locks a file unless another process has locked the file.
 *
 * @returns False if the file stays locked.
 */
export async function lockFile(file: Deno.FsFile): Promise<boolean> {
  return await becomesFree(() => file.tryLock(true));
}

/**
 * The file that is locked for a file which others read meanwhile: on Windows a file beside it,
 * since nobody can read what another process has locked there.
 */
export function lockPathOf(path: string): string {
  return Deno.build.os === "windows" ? `${path}.lock` : path;
}

/**
 * Locks a file at once, unless another process has locked the file. The result is true also where
 * the file system has no locks.
 */
export function lockIfFree(file: Deno.FsFile): boolean {
  try {
    return file.tryLockSync(true);
  } catch {
    return true;
  }
}

/**
 * Closes a locked file. Closing alone leaves it locked for a moment if this process is just
 * starting another one.
 */
export function closeLocked(file: Deno.FsFile): void {
  try {
    file.unlockSync();
  } catch {
    // Some file systems have no locks.
  }
  file.close();
}

/**
 * Finds out by a temporary file which permission bits a new file gets of all that it asks for: that
 * depends on the umask, which can be read only with a permission, and on the directory.
 *
 * @returns `null` where files have no permission bits of their own, as on FAT.
 */
export function grantedBits(temporary: string): number | null {
  using file = Deno.openSync(temporary, { write: true, createNew: true, mode: 0o777 });
  try {
    const { mode } = file.statSync();
    if (mode === null) return null;
    setMode(temporary, 0o600);
    return (lstatSync(temporary).mode & 0o777) === 0o600 ? mode & 0o777 : null;
  } catch (error) {
    if ((error as { code?: unknown }).code === "EPERM") return null;
    throw error;
  } finally {
    Deno.removeSync(temporary);
  }
}

/**
 * Finds out, by a temporary directory, whether this user may remove entries of the directory that
 * it is in. The name is always the same, so that a call removes what a killed one has left.
 *
 * @throws the error of the system if that can't be done.
 */
export function checkRemovable(temporary: string): void {
  try {
    Deno.mkdirSync(temporary);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  try {
    rmdirSync(temporary);
  } catch (error) {
    // Another call has removed it.
    if (!isMissing(error)) throw error;
  }
}

/**
 * Gives a file the permission bits of a mode, without set-user-ID. A file that has them already is
 * left alone, since some file systems have no others.
 */
export function setMode(path: string, mode: number): void {
  // Windows has no permission bits.
  if (Deno.build.os === "windows") return;
  const bits = mode & 0o777;
  if ((lstatSync(path).mode & 0o7777) !== bits) chmodSync(path, bits);
}

/** How a file is opened to set its times or to sync it: Windows does that only for writers. */
const TO_CHANGE_OR_SYNC: Deno.OpenOptions = Deno.build.os === "windows"
  ? { write: true }
  : { read: true };

/**
 * Sets the modification time of a file, synchronously: nothing else of the process runs between a
 * check of the file and this.
 *
 * @throws {Deno.errors.NotCapable} if the program may not write to the file.
 */
export function setModified(path: string, modified: Date): void {
  // Deno needs no permission to set the times of an open file.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") {
    throw new Deno.errors.NotCapable(`no permission to write to ${path}`);
  }
  // The times of node:fs are seconds as floating-point numbers, off by a millisecond.
  using file = Deno.openSync(path, TO_CHANGE_OR_SYNC);
  file.utimeSync(new Date(), modified);
}

/** About how many bytes are written between two syncs. */
const SYNC_BYTES = 67_108_864;

/**
 * Syncs a file that is being written at intervals, in the background: at the end the disk has
 * little left to do. The last sync is the writer's own, and reports whatever has failed.
 */
export class EarlySync {
  readonly #path: string;
  #written: number;
  /** The position behind the bytes that were written when the last sync began. */
  #begun: number;
  /** The position behind the bytes that are on the disk. */
  synced: number;
  #syncing: Promise<void> | null = null;

  /**
   * Does nothing before enough has been written.
   *
   * @param start The position of the first byte that will be written.
   */
  constructor(path: string, start: number) {
    this.#path = path;
    this.#written = this.#begun = this.synced = start;
  }

  add(count: number): void {
    this.#written += count;
    if (this.#written - this.#begun < SYNC_BYTES || this.#syncing !== null) return;
    this.#syncing = this.#sync().catch(() => {}).finally(() => this.#syncing = null);
  }

  async #sync(): Promise<void> {
    const written = this.#begun = this.#written;
    // The file is opened again: through one open file, a sync and a write wait for each other.
    using file = await Deno.open(this.#path, TO_CHANGE_OR_SYNC);
    await file.syncData();
    this.synced = written;
  }

  async idle(): Promise<void> {
    await this.#syncing;
  }
}

/** How long others may wait for the thread. */
const TURN_MILLISECONDS = 4;

/**
 * Measures how long this thread has been occupied. Small files are handled with synchronous
 * operations, which cost a fraction of asynchronous ones; connections are served between two turns.
 */
export class Turns {
  #began = performance.now();

  /** True once others should have their turn. */
  get isOver(): boolean {
    return performance.now() - this.#began >= TURN_MILLISECONDS;
  }

  /**
   * Leaves the thread to others, by a real operation of 60 µs: during it the event loop looks at
   * sockets. Microtasks, `setImmediate` and a `MessageChannel` let no socket in, nor do operations
   * that are ready at once, like most reads and writes of a body.
   *
   * Measured with Deno 2.9.6 on two busy cores, between slices of 4 ms: the thread works 83 % of
   * the time, and 68 % with `setTimeout(0)`, which takes 2.3 ms. A round trip of another process
   * takes 5 to 20 ms, with a timer 5, with `setImmediate` 570.
   *
   * @param path A directory that the program can read.
   */
  async next(path: string): Promise<void> {
    // A directory that is gone is for the caller to find out.
    await Deno.lstat(path).catch(() => {});
    this.#began = performance.now();
  }
}
