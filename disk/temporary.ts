/** Temporary files: their content is being written, and their names come last. */

import { lockIfFree, setMode } from "./files.ts";
import {
  type FileIdentity,
  isAt,
  removeIfPresent,
  removeIfPresentSync,
  statOrNull,
} from "./names.ts";

/**
 * The fate of a temporary file when it is disposed of: a `found` or `resumable` one stays for a later
 * call, a `temporary` one is removed, a `named` one has its name already.
 */
export type Phase = "found" | "resumable" | "temporary" | "named";

/** How often a file may disappear between two checks before something else is wrong. */
const OPENINGS = 20;

/** How many temporary files of this process have each path. */
const held = new Map<string, number>();

/** Whether this process has a temporary file of this path: then nobody takes the file for left over. */
export function isHeldHere(path: string): boolean {
  return held.has(path);
}

function hold(path: string, change: 1 | -1): void {
  const count = (held.get(path) ?? 0) + change;
  if (count === 0) held.delete(path);
  else held.set(path, count);
}

/** How a file is created. */
export interface CreateOptions {
  /**
   * The mode that the file gets with a new name: until then only this user can read the file. `null`,
   * the default, if the file may have the default mode from the beginning.
   */
  readonly newMode?: number | null;
  /** Whether the file is locked until it has its name: somebody could take it for left over. */
  readonly isLocked?: boolean;
  /** Whether another file in the place of this one is noticed. */
  readonly isIdentified?: boolean;
}

/** A file that is open and held by this process, until it has its name or is given up. */
export class Temporary implements Disposable {
  /** Where the file lies until it has its name. */
  readonly path: string;
  /** Open until {@linkcode close} is called. */
  readonly file: Deno.FsFile;
  /** What the file is; `null` if nobody else can have chosen its path. */
  readonly state: FileIdentity | null;
  /** The mode that the file gets where nothing had its name; `null` if the file has that mode already. */
  readonly newMode: number | null;
  /** Whether other processes can see, by its lock, that the file is in use. */
  readonly isLocked: boolean;
  /** The fate of the file. */
  phase: Phase;
  /** The suffixes of the paths of all files that are removed together, this one first. */
  readonly #suffixes: readonly string[];
  #isOpen = true;
  /** Whether a sync has failed: the system reports a loss once, and the next sync succeeds. */
  #isLossy = false;

  private constructor(
    path: string,
    file: Deno.FsFile,
    state: FileIdentity | null,
    phase: Phase,
    newMode: number | null,
    isLocked: boolean,
    companions: readonly string[] = [],
  ) {
    this.path = path;
    this.file = file;
    this.state = state;
    this.phase = phase;
    this.newMode = newMode;
    this.isLocked = isLocked;
    this.#suffixes = ["", ...companions];
    hold(path, 1);
  }

  /** Creates a file, in one turn, at a path that nobody else chooses. */
  static create(path: string, options: CreateOptions = {}): Temporary {
    const { newMode = null, isLocked = false, isIdentified = false } = options;
    const mode = newMode === null ? 0o666 : 0o600;
    const file = Deno.openSync(path, { write: true, createNew: true, mode });
    if (isLocked) lockIfFree(file);
    const state = isIdentified ? file.statSync() : null;
    return new Temporary(path, file, state, "temporary", newMode, isLocked);
  }

  /**
   * Opens a file that only this process writes, or creates one with mode 0600. Anything else at the
   * path is removed, and so is a file with a second name: a link is not followed, and a killed process
   * may have left a complete file with two names.
   *
   * @param lock Locks the file. If it returns false, all of this is tried again.
   * @param companions What is added to the path of each file that is removed with this one.
   * @returns `null` if other processes remove or replace the file all the time.
   */
  static async open(
    path: string,
    lock: (file: Deno.FsFile) => Promise<boolean>,
    newMode: number | null = null,
    companions: readonly string[] = [],
  ): Promise<Temporary | null> {
    hold(path, 1);
    try {
      for (let attempt = 0; attempt < OPENINGS; attempt++) {
        const old = statOrNull(path);
        const isNew = old === null || !old.isFile() || old.nlink > 1n;
        if (old !== null && isNew) await removeIfPresent(path);
        const file = await openIfUnchanged(path, isNew);
        if (file === null) continue;
        try {
          const state = await lock(file) ? await file.stat() : null;
          // The previous holder of the lock may have just renamed or removed the file.
          if (state?.isFile && isAt(path, state)) {
            const phase = isNew ? "temporary" : "found";
            return new Temporary(path, file, state, phase, newMode, true, companions);
          }
        } catch (error) {
          file.close();
          throw error;
        }
        file.close();
      }
      return null;
    } finally {
      hold(path, -1);
    }
  }

  /** Drops the bytes from a position on, where the next byte is written then. */
  async continueFrom(position: number): Promise<void> {
    await this.file.truncate(position);
    await this.file.seek(position, Deno.SeekMode.Start);
  }

  /** Writes a text. */
  async writeText(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    try {
      for (let at = 0; at < bytes.length;) at += await this.file.write(bytes.subarray(at));
    } catch (error) {
      // The error of an open file doesn't name the file, whose disk may be the one that is full.
      if (error instanceof Error) error.message += `: write '${this.path}'`;
      throw error;
    }
  }

  /** Syncs the content to the disk. */
  async sync(): Promise<void> {
    try {
      await this.file.sync();
    } catch (error) {
      this.#isLossy = true;
      throw error;
    }
  }

  /**
   * Makes sure, after the disk was full, that the file has only bytes that are on the disk: a failed
   * sync may have lost some.
   *
   * @param synced The position up to which everything is known to be there.
   */
  async keepSynced(synced: number): Promise<void> {
    await this.sync().catch(() => {});
    if (this.#isLossy) await this.file.truncate(synced);
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

  /** Removes the file with its companions, if it is still there. */
  remove(): void {
    if (!this.isThere) return;
    for (const suffix of this.#suffixes) removeIfPresentSync(this.path + suffix);
  }

  /** Closes the file before all else has come to its end. */
  close(): void {
    if (this.#isOpen) this.file.close();
    this.#isOpen = false;
  }

  /** Closes the file, removes it if nobody wants it any more, and no longer holds it. */
  [Symbol.dispose](): void {
    // Not every file system removes a file that is open; nobody may take over a locked one before.
    if (!this.isLocked) this.close();
    try {
      if (this.phase === "temporary") this.remove();
    } catch {
      // The error that made the file superfluous is the one to report.
    } finally {
      this.close();
      hold(this.path, -1);
    }
  }
}

/** Opens a file; `null` if another process was faster to create or remove the file. */
async function openIfUnchanged(path: string, createNew: boolean): Promise<Deno.FsFile | null> {
  try {
    return await Deno.open(path, { read: true, write: true, createNew, mode: 0o600 });
  } catch (error) {
    const { AlreadyExists, NotFound } = Deno.errors;
    if (createNew ? error instanceof AlreadyExists : error instanceof NotFound) return null;
    throw error;
  }
}
