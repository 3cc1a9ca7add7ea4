/**
 * Temporary files: their content is being written, and their names come last.
 *
 * Each file that this package writes is a {@linkcode Temporary} first. The file is made, and held,
 * so that no code in this process takes it for left over; then it is written, synced and renamed.
 * When it is disposed of, the file is removed unless it was kept. Four kinds of files differ in
 * data alone:
 *
 * - An upload of which nothing is kept lies in the reserved directory, at a path that nobody else
 *   chooses; so do the small files of a bundle.
 * - The part of an upload lies there, too, at a path that the same upload finds again
 *   ({@linkcode Temporary.open}). The part of a download lies beside its target.
 * - The small files of a downloaded tree lie beside their targets. Each is locked, since the next
 *   download there removes parts that nobody has locked.
 * - A private file, of an identity or a device, lies beside its name, with mode 0600.
 */

import { closeLocked, EarlySync, lockIfFree, setMode } from "./files.ts";
import { isAt, removeIfPresent, removeIfPresentSync, statOrNull } from "./names.ts";

/** The differences between temporary files. */
export interface TemporaryOptions {
  /**
   * The mode that the file gets with a new name: until then only this user can read the file.
   * `null`, the default, if the file gets no other mode than its first one.
   */
  readonly newMode?: number | null;
  /**
   * The mode that the file is created with, less the umask, and keeps: for a file whose content is
   * verified already.
   */
  readonly mode?: number | undefined;
  /** Whether the file keeps its mode when it replaces a file; else it gets the mode of that one. */
  readonly hasOwnMode?: boolean;
  /** Whether the file is locked until it has its name: somebody could take it for left over. */
  readonly isLocked?: boolean;
}

/** How often a file may disappear between two checks before something else is wrong. */
const OPENINGS = 20;

/** The temporary files of this process, which nobody may take for left over. */
const unfinished = new Set<Temporary>();

/** Whether this process writes a temporary file at a path. */
export function isHeldHere(path: string): boolean {
  return [...unfinished].some((each) => each.path === path);
}

/** A file that this process writes, until the file has its name or is given up. */
export class Temporary implements Disposable {
  /** Where the file lies until it has its name. */
  readonly path: string;
  readonly file: Deno.FsFile;
  /** The identity of the file; `null` if nobody else can have chosen its path. */
  readonly state: Deno.FileInfo | null;
  readonly newMode: number | null;
  readonly hasOwnMode: boolean;
  readonly isLocked: boolean;
  /**
   * Whether the file stays when it is disposed of: for a later call, or since it has its name.
   */
  isKept: boolean;
  #isOpen = true;
  /** Syncs the file while {@linkcode write} is called. */
  #earlySync: EarlySync | null = null;
  /** Whether a sync has failed: the system reports a loss once, and the next sync succeeds. */
  #isLossy = false;

  private constructor(
    path: string,
    how: Deno.OpenOptions,
    options: TemporaryOptions,
    isIdentified = false,
  ) {
    const { newMode = null, isLocked = false, hasOwnMode = options.mode !== undefined } = options;
    this.path = path;
    this.file = Deno.openSync(path, how);
    try {
      this.state = isIdentified ? this.file.statSync() : null;
    } catch (error) {
      this.file.close();
      throw error;
    }
    this.newMode = newMode;
    this.hasOwnMode = hasOwnMode;
    this.isLocked = isLocked;
    this.isKept = how.createNew !== true;
    unfinished.add(this);
  }

  /** Creates a file at a path that nobody else chooses. */
  static create(path: string, options: TemporaryOptions = {}): Temporary {
    const mode = options.mode ?? (typeof options.newMode === "number" ? 0o600 : 0o666);
    const temporary = new Temporary(path, { write: true, createNew: true, mode }, options);
    if (temporary.isLocked) lockIfFree(temporary.file);
    return temporary;
  }

  /**
   * Opens a file that only this process writes, or creates one with mode 0600. Anything else at the
   * path is removed, and so is a file with a second name: a link is not followed, and a killed
   * process may have left a complete file with two names.
   *
   * @param lock Locks the file. If the result is false, all of this is tried again.
   * @returns `null` if other processes remove or replace the file all the time.
   */
  static async open(
    path: string,
    lock: (file: Deno.FsFile) => Promise<boolean>,
    options: TemporaryOptions = {},
  ): Promise<Temporary | null> {
    for (let attempt = 0; attempt < OPENINGS; attempt++) {
      const old = statOrNull(path);
      const isNew = old === null || !old.isFile() || old.nlink > 1n;
      if (old !== null && isNew) await removeIfPresent(path);
      const temporary = openIfUnchanged(isNew, () => {
        const how = { read: true, write: true, createNew: isNew, mode: 0o600 };
        return new Temporary(path, how, { ...options, isLocked: true }, true);
      });
      if (temporary === null) continue;
      let isOurs = false;
      temporary.isKept = true;
      try {
        // The previous holder of the lock may have just renamed or removed the file.
        isOurs = await lock(temporary.file) && temporary.isThere && temporary.state!.isFile;
        if (!isOurs) continue;
        temporary.isKept = !isNew;
        return temporary;
      } finally {
        if (!isOurs) temporary[Symbol.dispose]();
      }
    }
    return null;
  }

  /** Drops the bytes from a position on, where the next byte is written then. */
  async continueFrom(position: number): Promise<void> {
    await this.file.truncate(position);
    await this.file.seek(position, Deno.SeekMode.Start);
    this.#earlySync = new EarlySync(this.path, position);
  }

  /** Writes all of the bytes, and syncs at intervals, in the background. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let count = 0; count < bytes.length;) {
      count += await this.file.write(bytes.subarray(count));
    }
    this.#earlySync ??= new EarlySync(this.path, 0);
    this.#earlySync.add(bytes.length);
  }

  /** Resolves when no sync is in progress in the background. */
  async idle(): Promise<void> {
    await this.#earlySync?.idle();
  }

  sync(): Promise<void> {
    return this.file.sync().catch((error) => {
      this.#isLossy = true;
      throw error;
    });
  }

  /**
   * Makes sure, after the disk was full, that the file has only bytes that are on the disk: a
   * failed sync may have lost some.
   */
  async keepSynced(): Promise<void> {
    await this.sync().catch(() => {});
    if (this.#isLossy) await this.file.truncate(this.#earlySync?.synced ?? 0);
    try {
      // The file may already have the mode of the one that it was to replace.
      if (this.isThere) setMode(this.path, 0o600);
    } catch {
      // The disk that is full is the error to report.
    }
  }

  /** Whether no other file has taken the place of this one. */
  get isThere(): boolean {
    return this.state === null || isAt(this.path, this.state);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.isLocked) closeLocked(this.file);
    else this.file.close();
  }

  /** Closes the file, and removes it if nobody wants it any more. */
  [Symbol.dispose](): void {
    // A file is closed before it is removed, because not every file system removes an open one. A
    // locked file is removed first, so that nobody else can take it over.
    if (!this.isLocked) this.close();
    try {
      if (!this.isKept && this.isThere) removeIfPresentSync(this.path);
    } catch {
      // The error that made the file superfluous is the one to report.
    } finally {
      this.close();
      unfinished.delete(this);
    }
  }
}

/** Opens a file; `null` if another process was faster to create or remove the file. */
function openIfUnchanged(isNew: boolean, open: () => Temporary): Temporary | null {
  try {
    return open();
  } catch (error) {
    const { AlreadyExists, NotFound } = Deno.errors;
    if (isNew ? error instanceof AlreadyExists : error instanceof NotFound) return null;
    throw error;
  }
}
