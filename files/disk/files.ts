import { chmodSync, lstatSync } from "node:fs";

const LOCK_ATTEMPTS = 20;
const LOCK_RETRY_MILLISECONDS = 30;

/** A process that starts another process briefly shares its locks with the new process. */
export async function retryLock(tryLock: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let attempt = 1; !await tryLock(); attempt++) {
    if (attempt === LOCK_ATTEMPTS) return false;
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MILLISECONDS));
  }
  return true;
}

export async function lockFile(file: Deno.FsFile): Promise<boolean> {
  return await retryLock(() => file.tryLock(true));
}

/** Returns true also on a file system without locks. */
export function lockIfFree(file: Deno.FsFile): boolean {
  try {
    return file.tryLockSync(true);
  } catch {
    return true;
  }
}

/** Unlocks the file first: a process that is starting may still share the lock after the close. */
export function closeLocked(file: Deno.FsFile): void {
  try {
    file.unlockSync();
  } catch {
    // Some file systems have no locks.
  }
  file.close();
}

/** The permission bits of new files in a directory. */
export interface ModeSupport {
  /** The bits of a new file that is created with all bits. */
  readonly mask: number;
  /** True if the file system refuses or ignores every change of the bits, as FAT does. */
  readonly isFixed: boolean;
}

/**
 * The bits depend on the directory and on the umask, which can't be read without an extra
 * permission.
 *
 * @returns `null` on Windows, which has no permission bits.
 */
export function probeModes(temporaryPath: string): ModeSupport | null {
  using file = Deno.openSync(temporaryPath, { write: true, createNew: true, mode: 0o777 });
  try {
    const { mode } = file.statSync();
    if (mode === null || Deno.build.os === "windows") return null;
    return { mask: mode & 0o777, isFixed: setMode(temporaryPath, 0o600) !== 0o600 };
  } finally {
    Deno.removeSync(temporaryPath);
  }
}

/**
 * Returns the owner of a new file at a path, which on some file systems, such as SMB, is not the
 * user of the process. Returns `null` on Windows.
 */
export function probeOwner(temporaryPath: string): number | null {
  using file = Deno.openSync(temporaryPath, { write: true, createNew: true, mode: 0o600 });
  try {
    return file.statSync().uid;
  } finally {
    Deno.removeSync(temporaryPath);
  }
}

/**
 * Sets the permission bits of a file, if the disk allows it.
 *
 * @returns The bits that the file has now.
 */
export function setMode(path: string, mode: number): number {
  const bits = mode & 0o777;
  // Windows has no permission bits.
  if (Deno.build.os === "windows") return bits;
  if ((lstatSync(path).mode & 0o7777) === bits) return bits;
  ignoreRefusal(() => chmodSync(path, bits));
  return lstatSync(path).mode & 0o777;
}

/**
 * Calls a function that sets a time, the permission bits or the group of a file. No error of the
 * disk is thrown, whatever its code: these properties are not content, and many file systems refuse
 * them.
 *
 * @returns False if the disk has refused the change.
 */
export function ignoreRefusal(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

/**
 * Returns the group that a directory passes on to its new entries; `null` if they get the group of
 * the process.
 */
export function inheritedGroupOf({ mode, gid }: Deno.FileInfo): number | null {
  // On BSD and macOS, every directory passes on its group.
  const isInherited = Deno.build.os !== "linux" || ((mode ?? 0) & SET_GROUP_ID) !== 0;
  return isInherited ? gid : null;
}

const SET_GROUP_ID = 0o2000;

/** Sets the group of a file, if this user may do so. */
export function setGroup(path: string, group: number): void {
  if (Deno.lstatSync(path).gid === group) return;
  ignoreRefusal(() => Deno.chownSync(path, null, group));
}

/** Options to open a file whose times are set or that is synced: Windows requires write access. */
const CHANGE_OPTIONS: Deno.OpenOptions = Deno.build.os === "windows"
  ? { write: true }
  : { read: true };

/**
 * Sets the modification time of a file, if it differs, synchronously, so that no other code of the
 * process runs between a check of the file and the change.
 *
 * @returns False if the disk has refused the time.
 */
export function setModified(path: string, modifiedTime: Date): boolean {
  // Deno checks no permission before it sets the times of an open file.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") {
    throw new Deno.errors.NotCapable(`no permission to write to ${path}`);
  }
  let isSet = false;
  ignoreRefusal(() => {
    // `utimesSync` of node:fs takes floating-point seconds, which are off by a millisecond.
    using file = Deno.openSync(path, CHANGE_OPTIONS);
    // To set an equal time would change ctime, and the file would count as changed.
    isSet = file.statSync().mtime?.getTime() === modifiedTime.getTime() ||
      setOpenFileModified(file, path, modifiedTime);
  });
  return isSet;
}

/**
 * Sets the modification time of an open file, and looks whether the disk has stored another time:
 * some protocols have 32 bits for the seconds, and others have no time before 1980.
 */
export function setOpenFileModified(file: Deno.FsFile, path: string, modifiedTime: Date): boolean {
  let storedTime: Date | null = null;
  ignoreRefusal(() => {
    file.utimeSync(new Date(), modifiedTime);
    // `lstat` takes 8 µs, and `stat` of the open file 28 µs: Deno 2.9 looks up each name of its
    // path.
    storedTime = Deno.lstatSync(path).mtime;
  });
  return isStoredTime(storedTime, modifiedTime);
}

/** The time to which FAT rounds. Each disk has its own precision, which the comparison ignores. */
const MAX_ROUNDING_MILLISECONDS = 2000;

/** @param storedTime The time of the file; `null` if it can't be read. */
export function isStoredTime(storedTime: Date | null, modifiedTime: Date): boolean {
  if (storedTime === null) return false;
  return Math.abs(storedTime.getTime() - modifiedTime.getTime()) <= MAX_ROUNDING_MILLISECONDS;
}

const MIN_BYTES_BETWEEN_SYNCS = 16_777_216;
const MAX_BYTES_BETWEEN_SYNCS = 67_108_864;
/** The intended time of a sync, which determines the number of bytes up to the next sync. */
const SYNC_MILLISECONDS = 1000;

/**
 * Syncs a file at intervals while another part of the program writes it, so that the final sync is
 * short. On a slow disk the writer waits for the syncs, and so does its peer: the peer sees bytes
 * advance, and not a long silence after the last byte. Errors are ignored: the writer's final sync
 * reports them.
 */
export class BackgroundSync {
  readonly #path: string;
  #writtenPosition: number;
  #syncStartPosition: number;
  #bytesBetweenSyncs = MIN_BYTES_BETWEEN_SYNCS;
  syncedPosition: number;
  #pendingSync: Promise<void> | null = null;

  constructor(path: string, start: number) {
    this.#path = path;
    this.#writtenPosition = this.#syncStartPosition = this.syncedPosition = start;
  }

  async add(count: number): Promise<void> {
    this.#writtenPosition += count;
    while (this.#writtenPosition - this.#syncStartPosition >= this.#bytesBetweenSyncs) {
      await this.#pendingSync;
      this.#pendingSync ??= this.#sync().catch(() => {}).finally(() => this.#pendingSync = null);
    }
  }

  async #sync(): Promise<void> {
    const bytes = this.#writtenPosition - this.#syncStartPosition;
    const writtenPosition = this.#syncStartPosition = this.#writtenPosition;
    const startedAt = performance.now();
    // With the writer's open file, a sync and a write would wait for each other.
    using file = await Deno.open(this.#path, CHANGE_OPTIONS);
    await file.syncData();
    this.syncedPosition = writtenPosition;
    const milliseconds = performance.now() - startedAt;
    this.#bytesBetweenSyncs = Math.min(
      MAX_BYTES_BETWEEN_SYNCS,
      Math.max(MIN_BYTES_BETWEEN_SYNCS, bytes * SYNC_MILLISECONDS / milliseconds),
    );
  }

  async waitUntilIdle(): Promise<void> {
    await this.#pendingSync;
  }
}

const SLICE_MILLISECONDS = 4;

/**
 * The time that synchronous work may occupy the thread. Small files are read and written
 * synchronously, in a fraction of the time of asynchronous operations.
 */
export class TimeSlice {
  #startedAt = performance.now();

  get isUsedUp(): boolean {
    return performance.now() - this.#startedAt >= SLICE_MILLISECONDS;
  }

  /**
   * Lets the event loop poll sockets, by an operation of 60 µs in another thread. The event loop
   * doesn't poll sockets for microtasks, `setImmediate`, a `MessageChannel`, and operations that
   * are ready at once, like most reads and writes of a body.
   *
   * Measured with Deno 2.9.6 on two busy cores, between slices of 4 ms: the thread works 83 % of
   * the time, and 68 % with `setTimeout(0)`, which takes 2.3 ms. A round trip of another process
   * takes 5 to 20 ms, compared with 5 ms for `setTimeout(0)` and 570 ms for `setImmediate`.
   *
   * @param path A directory that the program can read.
   */
  async yield(path: string): Promise<void> {
    // If the directory was removed, the caller's next operation fails.
    await Deno.lstat(path).catch(() => {});
    this.#startedAt = performance.now();
  }
}

const MIN_CONCURRENT_SYNCS = 4;
const MAX_CONCURRENT_SYNCS = 64;
/** If a sync takes longer, fewer syncs run at the same time. */
const MAX_SYNC_MILLISECONDS = 500;

/**
 * Runs as many syncs at the same time as the disk finishes in half a second. If a disk does one
 * sync after the other, a synchronous operation waits for all running syncs, and blocks the event
 * loop. On other disks, concurrent syncs share their work.
 */
class DiskSyncQueue {
  #limit = 16;
  #minMilliseconds = Infinity;
  #runningCount = 0;
  readonly #waiters: (() => void)[] = [];

  get limit(): number {
    return this.#limit;
  }

  /** Resolves to `null`, or to the error of the sync. */
  run(sync: () => Promise<void>): Promise<unknown> {
    if (this.#runningCount < this.#limit) return this.#start(sync);
    return new Promise((resolve) => this.#waiters.push(() => resolve(this.#start(sync))));
  }

  // Hot path: a second promise for each file costs 5 % of the time to write a small file.
  #start(sync: () => Promise<void>): Promise<unknown> {
    this.#runningCount++;
    const startedAt = performance.now();
    const finish = (error: unknown) => {
      this.#adjustLimit(performance.now() - startedAt);
      this.#runningCount--;
      while (this.#runningCount < this.#limit && this.#waiters.length > 0) this.#waiters.shift()!();
      return error;
    };
    return sync().then(() => finish(null), finish);
  }

  #adjustLimit(milliseconds: number): void {
    this.#minMilliseconds = Math.min(this.#minMilliseconds, milliseconds);
    // On a network disk, a single sync can take as long as many at the same time.
    const hasWaited = milliseconds > MIN_CONCURRENT_SYNCS * this.#minMilliseconds;
    this.#limit = milliseconds > MAX_SYNC_MILLISECONDS && hasWaited
      ? Math.max(MIN_CONCURRENT_SYNCS, Math.floor(this.#limit / 2))
      : Math.min(MAX_CONCURRENT_SYNCS, this.#limit + 1);
  }
}

export const diskSyncQueue = new DiskSyncQueue();
