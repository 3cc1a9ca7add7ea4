/**
 * Small files that are written many at a time, by a server or a download, each with the promises of
 * a single file.
 *
 * Small files are written and renamed with synchronous operations, in time slices: an asynchronous
 * operation costs several times as much, and what is checked holds until the thread is yielded.
 * To create a file of 1000 bytes, write it and set its time takes 13 to 24 µs of processor time;
 * if writing and setting alone are asynchronous, 61 to 94 µs (Deno 2.9.6). Only waiting for the
 * disk is asynchronous.
 */

import { TimeSlice } from "../internal/disk/files.ts";
import {
  isFileInUseError,
  isTooManyOpenFilesError,
  retryReplace,
  syncAllIfPossible,
} from "../internal/disk/names.ts";
import type { TemporaryFile } from "../internal/disk/temporary.ts";
import type { Condition, Parent, Root } from "./root.ts";

/** How many files get their names together. */
const BATCH = 64;

/** A small file, or a directory, that is placed below a root. */
export interface SmallFile {
  /** The names from the root. */
  readonly names: readonly string[];
  /** The time that the file gets; `null` for a directory. */
  readonly modified: Date | null;
  /** Whether the path must not exist. */
  readonly isNew: boolean;
  /** Decides about the file that has the name. */
  readonly condition?: Condition | undefined;
}

/** The result of the preparations to write the files of a directory. */
export interface PreparedDirectory {
  /** The directories that have new entries. */
  readonly changed: readonly string[];
  /** The directory, if it existed. */
  readonly parent: Parent | null;
}

/** Where and how small files are written. */
export interface SmallFilesTarget<F extends SmallFile> {
  /** The directory that the names begin at. */
  readonly root: Root;
  /**
   * Prepares to write the files of a directory: once in each turn.
   *
   * @param lastParent The directory that was prepared before in the same time slice, or `null`.
   */
  prepare(directory: readonly string[], lastParent: Parent | null): PreparedDirectory;
  /** Makes the temporary file of a file. */
  make(file: F): TemporaryFile;
  /** Rejects if no file may get its name any more. */
  admit(): Promise<void>;
}

/** The outcome of a file: whether it was created or replaced a file, or the error. */
export type SmallFileOutcome<F> =
  | { readonly file: F; readonly isCreated: boolean; readonly error: null }
  | { readonly file: F; readonly isCreated: null; readonly error: NonNullable<unknown> };

function failedOutcome<F>(file: F, error: unknown): SmallFileOutcome<F> {
  return { file, isCreated: null, error: error! };
}

/** A file whose content has been written, or a directory. */
interface ArrivedFile<F> {
  readonly file: F;
  readonly temporary: TemporaryFile | null;
  /** Resolves to `null` once the content is on the disk, or to the error. */
  readonly synced: Promise<unknown>;
}

const SYNCED = Promise.resolve(null);

/** A directory in which files get their names in one turn. */
interface EnteredDirectory {
  readonly key: string;
  readonly parent: Parent;
}

/** Writes small files: while some are synced to the disk and named, others arrive. */
export class SmallFiles<F extends SmallFile> implements AsyncDisposable {
  readonly #placement: SmallFilesTarget<F>;
  readonly #timeSlice = new TimeSlice();
  /** The directories that have new entries. */
  readonly #changed = new Set<string>();
  /**
   * The outcomes of the batch, whose names may not be on the disk yet, and those that are known.
   */
  #batchOutcomes: SmallFileOutcome<F>[] = [];
  #outcomes: SmallFileOutcome<F>[] = [];
  #arrived: ArrivedFile<F>[] = [];
  /** The directory of the file that arrived before, until the turn is over. */
  #prepared: { readonly key: string; readonly parent: Parent | null } | null = null;
  /** Resolves when the files before those that arrive now have their names. */
  #naming: Promise<void> = Promise.resolve();
  /** Where files get their names in this turn. */
  #entered: EnteredDirectory | null = null;

  constructor(placement: SmallFilesTarget<F>) {
    this.#placement = placement;
  }

  /** Writes a file, which gets its name later. */
  async add(file: F, content: Uint8Array): Promise<void> {
    for (let isRepeated = false;; isRepeated = true) {
      try {
        this.#write(file, content);
        break;
      } catch (error) {
        this.#prepared = null;
        if (isRepeated || !isTooManyOpenFilesError(error)) {
          return void this.#outcomes.push(failedOutcome(file, error));
        }
        // There are descriptors again when the files that are open have their names.
        await this.#nameArrived();
        await this.#naming;
      }
    }
    if (this.#arrived.length >= BATCH) await this.#nameArrived();
    else if (this.#timeSlice.isUsedUp) await this.#timeSlice.yield(this.#placement.root.path);
    else return;
    this.#prepared = null;
  }

  #write(file: F, content: Uint8Array): void {
    const { names, modified } = file;
    if (modified === null) {
      return void this.#arrived.push({ file, temporary: null, synced: SYNCED });
    }
    const directory = names.slice(0, -1);
    const key = directory.join("/");
    if (this.#prepared?.key !== key || this.#timeSlice.isUsedUp) {
      const known = this.#timeSlice.isUsedUp ? null : this.#prepared?.parent ?? null;
      const { changed, parent } = this.#placement.prepare(directory, known);
      for (const path of changed) this.#changed.add(path);
      this.#prepared = { key, parent };
    }
    const temporary = this.#placement.make(file);
    try {
      const { file: open } = temporary;
      for (let at = 0; at < content.length;) at += open.writeSync(content.subarray(at));
      open.utimeSync(new Date(), modified);
    } catch (error) {
      temporary[Symbol.dispose]();
      throw error;
    }
    const synced = temporary.sync().then(() => null, (error) => error);
    // Don't wait for the next file: a silent client must not hold a descriptor for each file.
    if (!temporary.isLocked) synced.finally(() => temporary.close());
    this.#arrived.push({ file, temporary, synced });
  }

  /** Lets the files that have arrived get their names, after those before. */
  async #nameArrived(): Promise<void> {
    await this.#naming;
    const arrived = this.#arrived;
    this.#arrived = [];
    this.#naming = this.#nameBatch(arrived);
    // An error is thrown later, where the promise is awaited.
    this.#naming.catch(() => {});
  }

  async #nameBatch(arrived: readonly ArrivedFile<F>[]): Promise<void> {
    try {
      const errors: unknown[] = [];
      for (const { synced } of arrived) errors.push(await synced);
      let isAdmitted = false;
      for (const [i, arrivedFile] of arrived.entries()) {
        if (!isAdmitted || this.#timeSlice.isUsedUp) {
          this.#entered = null;
          if (isAdmitted) await this.#timeSlice.yield(this.#placement.root.path);
          await this.#placement.admit();
          isAdmitted = true;
        }
        try {
          if (errors[i] !== null) throw errors[i];
          this.#name(arrivedFile);
        } catch (error) {
          if (await this.#nameLater(arrivedFile, error)) continue;
          this.#batchOutcomes.push(failedOutcome(arrivedFile.file, error));
        }
        // Directories that were missing may have been made just now, so the next file looks for
        // them anew.
        if (this.#entered !== null && this.#entered.parent.missing.length > 0) this.#entered = null;
      }
    } finally {
      for (const { temporary } of arrived) temporary?.[Symbol.dispose]();
      this.#entered = null;
      const changed = [...this.#changed];
      this.#changed.clear();
      await syncAllIfPossible(changed);
      this.#outcomes.push(...this.#batchOutcomes);
      this.#batchOutcomes = [];
    }
  }

  /**
   * Gives a file its name once no other program has the old file open, on Windows; false if that
   * doesn't help.
   */
  async #nameLater(each: ArrivedFile<F>, error: unknown): Promise<boolean> {
    if (Deno.build.os !== "windows" || each.temporary === null || !isFileInUseError(error)) {
      return false;
    }
    try {
      await retryReplace(() => {
        this.#entered = null;
        this.#name(each);
      });
      return true;
    } catch {
      return false;
    }
  }

  /** Gives a file its name, or creates a directory. */
  #name({ file, temporary }: ArrivedFile<F>): void {
    const { names, isNew, condition } = file;
    const { root } = this.#placement;
    const parent = this.#enter(names.slice(0, -1));
    if (temporary === null) {
      const { created, changed } = root.makeDirectory(names, undefined, parent);
      for (const path of changed) this.#changed.add(path);
      this.#batchOutcomes.push({ file, isCreated: created, error: null });
      return;
    }
    const { created, changed } = root.moveIntoPlace(names, temporary, { isNew, parent, condition });
    temporary.isKept = true;
    for (const path of changed) this.#changed.add(path);
    this.#batchOutcomes.push({ file, isCreated: created, error: null });
  }

  /** Finds the directory in which a name is given. */
  #enter(directory: readonly string[]): Parent {
    const key = directory.join("/");
    if (this.#entered?.key !== key) {
      const known = this.#entered?.parent ?? null;
      const parent = this.#placement.root.findParent(directory, { known });
      this.#entered = { key, parent };
    }
    return this.#entered.parent;
  }

  /** Waits until all files that have arrived have their names, and the names are on the disk. */
  async flush(): Promise<void> {
    await this.#nameArrived();
    await this.#naming;
  }

  /**
   * Takes the outcomes that are known, each once; an error of another call doesn't remove them.
   */
  takeOutcomes(): readonly SmallFileOutcome<F>[] {
    const outcomes = this.#outcomes;
    this.#outcomes = [];
    return outcomes;
  }

  /** Removes the temporary files that have not been renamed to their names. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#naming.catch(() => {});
    for (const { temporary, synced } of this.#arrived) {
      await synced;
      temporary?.[Symbol.dispose]();
    }
  }
}
