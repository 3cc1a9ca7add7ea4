/**
 * Temporary files, which get their final names when their content is complete.
 *
 * Each file that this package writes is a {@linkcode TemporaryFile} first. The file is created and
 * registered, so that no other code of this process removes the file as a leftover; then the file
 * is written, synced and renamed. Disposal removes a file that is not marked as kept. The three
 * kinds differ only in their paths and options:
 *
 * - An upload that can't be resumed, and a small file of a bundle, is in the reserved directory, at
 *   a random path.
 * - The part of an upload is also in the reserved directory, at a path that a resumed upload
 *   computes again ({@linkcode TemporaryFile.open}). The part of a download is beside its target.
 * - A small file of a downloaded tree is beside its target. The file is locked, because the next
 *   download to that directory removes parts without a lock.
 */

import {
  BackgroundSync,
  closeLocked,
  isStoredTime,
  lockIfFree,
  setMode,
  setOpenFileModified,
} from "./files.ts";
import { isFileAtPath, lstatOrNull, removeIfPresentSync } from "./names.ts";
import { ignoreNotFound, withPath } from "../../internal/caught_errors.ts";

export interface TemporaryFileOptions {
  /**
   * The mode that the file gets before it is renamed; until then only this user can read the file.
   * `null`, the default, if the file keeps the mode that it was created with.
   */
  readonly newMode?: number | null;
  /**
   * The mode, less the umask, that the file gets at its creation and keeps. For a file whose
   * content was verified before.
   */
  readonly mode?: number | undefined;
  /** Whether the file keeps its own mode, and doesn't get the mode of a file that it replaces. */
  readonly hasOwnMode?: boolean;
  /** Whether the file is locked until it is renamed: other processes remove unlocked leftovers. */
  readonly isLocked?: boolean;
  /** Creates a file beside the file to find its owner, whom an existing file must belong to. */
  readonly probeOwner?: () => number | null;
}

const MAX_OPEN_ATTEMPTS = 20;

const openFiles = new Set<TemporaryFile>();

export function isOpenInThisProcess(path: string): boolean {
  return [...openFiles].some((file) => file.path === path);
}

export class TemporaryFile implements Disposable {
  readonly path: string;
  readonly file: Deno.FsFile;
  /** The metadata of the file; `null` if its path is random, so that no other file can have it. */
  readonly info: Deno.FileInfo | null;
  readonly newMode: number | null;
  readonly hasOwnMode: boolean;
  readonly isLocked: boolean;
  /** Whether disposal keeps the file: for a later call, or because it was renamed. */
  isKept: boolean;
  /** Whether the disk has refused the modification time. */
  isTimeUnset = false;
  #isOpen = true;
  /** Whether the file was created and has no bytes yet, so that its position is 0. */
  #isNew: boolean;
  #backgroundSync: BackgroundSync | null = null;
  /** Whether a sync has failed: the system reports lost bytes once, and the next sync succeeds. */
  #hasSyncFailed = false;

  private constructor(
    path: string,
    openOptions: Deno.OpenOptions,
    options: TemporaryFileOptions,
    isIdentified = false,
  ) {
    const { newMode = null, isLocked = false, hasOwnMode = options.mode !== undefined } = options;
    this.path = path;
    this.file = Deno.openSync(path, openOptions);
    try {
      this.info = isIdentified ? this.file.statSync() : null;
    } catch (error) {
      this.file.close();
      throw error;
    }
    this.newMode = newMode;
    this.hasOwnMode = hasOwnMode;
    this.isLocked = isLocked;
    this.#isNew = openOptions.createNew === true;
    this.isKept = !this.#isNew;
    openFiles.add(this);
  }

  static create(path: string, options: TemporaryFileOptions = {}): TemporaryFile {
    const mode = options.mode ?? (typeof options.newMode === "number" ? 0o600 : 0o666);
    const temporaryFile = new TemporaryFile(path, { write: true, createNew: true, mode }, options);
    if (temporaryFile.isLocked) lockIfFree(temporaryFile.file);
    return temporaryFile;
  }

  /**
   * An entry of another kind at the path, such as a link, is removed. A file with two hard links is
   * also removed: a killed process may have left a complete file with two names. So is the file of
   * another owner, if the options have `probeOwner`.
   */
  static async open(
    path: string,
    lock: (file: Deno.FsFile) => Promise<boolean>,
    options: TemporaryFileOptions = {},
  ): Promise<TemporaryFile | null> {
    const { probeOwner } = options;
    for (let attempt = 0; attempt < MAX_OPEN_ATTEMPTS; attempt++) {
      const existingInfo = lstatOrNull(path);
      const isNew = existingInfo === null || !existingInfo.isFile ||
        (existingInfo.nlink ?? 1) > 1 ||
        probeOwner !== undefined && existingInfo.uid !== probeOwner();
      if (existingInfo !== null && isNew) await ignoreNotFound(Deno.remove(path));
      const openOptions = { read: true, write: true, createNew: isNew, mode: 0o600 };
      let temporaryFile: TemporaryFile;
      try {
        temporaryFile = new TemporaryFile(path, openOptions, { ...options, isLocked: true }, true);
      } catch (error) {
        // Another process has created or removed the file since then.
        const { AlreadyExists, NotFound } = Deno.errors;
        if (error instanceof (isNew ? AlreadyExists : NotFound)) continue;
        throw error;
      }
      let isLocked = false;
      temporaryFile.isKept = true;
      try {
        // Another process may have renamed or removed the file before it released its lock.
        isLocked = await lock(temporaryFile.file) && temporaryFile.isAtPath() &&
          temporaryFile.info!.isFile;
        if (!isLocked) continue;
        temporaryFile.isKept = !isNew;
        return temporaryFile;
      } finally {
        if (!isLocked) temporaryFile[Symbol.dispose]();
      }
    }
    return null;
  }

  async continueFrom(position: number): Promise<void> {
    if (!this.#isNew || position > 0) {
      await this.file.truncate(position).catch((error) => {
        throw withPath(error, "ftruncate", this.path);
      });
      // Synchronous, because a seek doesn't use the disk.
      this.file.seekSync(position, Deno.SeekMode.Start);
    }
    this.#backgroundSync = new BackgroundSync(this.path, position);
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#isNew = false;
    try {
      for (let count = 0; count < bytes.length;) {
        count += await this.file.write(bytes.subarray(count));
      }
    } catch (error) {
      throw withPath(error, "write", this.path);
    }
    this.#backgroundSync ??= new BackgroundSync(this.path, 0);
    await this.#backgroundSync.add(bytes.length);
  }

  async setModified(modified: Date): Promise<void> {
    const storedTime = this.file.utime(new Date(), modified)
      .then(() => this.file.stat()).then(({ mtime }) => mtime, () => null);
    this.isTimeUnset = !isStoredTime(await storedTime, modified);
  }

  setModifiedSync(modified: Date): void {
    this.isTimeUnset = !setOpenFileModified(this.file, this.path, modified);
  }

  async waitUntilIdle(): Promise<void> {
    await this.#backgroundSync?.waitUntilIdle();
  }

  sync(): Promise<void> {
    return this.file.sync().catch((error) => {
      this.#hasSyncFailed = true;
      throw withPath(error, "fsync", this.path);
    });
  }

  /**
   * Prepares the file to be kept after the disk was full: if a sync has failed, truncates the file
   * to the bytes that are on the disk.
   */
  async truncateToSynced(): Promise<void> {
    await this.sync().catch(() => {});
    if (this.#hasSyncFailed) await this.file.truncate(this.#backgroundSync?.syncedPosition ?? 0);
    try {
      // The file may already have the mode of the file that it would have replaced.
      if (this.isAtPath()) setMode(this.path, 0o600);
    } catch {
      // The caller reports the full disk.
    }
  }

  isAtPath(): boolean {
    return this.info === null || isFileAtPath(this.path, this.info);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.isLocked) closeLocked(this.file);
    else this.file.close();
  }

  [Symbol.dispose](): void {
    // Close an unlocked file first, because not every file system removes an open file. Remove a
    // locked file before closing it, so that no other process can lock the file before its removal.
    if (!this.isLocked) this.close();
    try {
      if (!this.isKept && this.isAtPath()) removeIfPresentSync(this.path);
    } catch {
      // The caller reports the error because of which the file is removed.
    } finally {
      this.close();
      openFiles.delete(this);
    }
  }
}
