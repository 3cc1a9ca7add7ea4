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
const MAX_BATCH_FILES = 64;

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
  readonly changedDirectories: readonly string[];
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
  prepareDirectory(directory: readonly string[], lastParent: Parent | null): PreparedDirectory;
  /** Makes the temporary file of a file. */
  createTemporaryFile(file: F): TemporaryFile;
  /** Rejects if no file may get its name any more. */
  checkAllowed(): Promise<void>;
}

/** The outcome of a file: whether it was created or replaced a file, or the error. */
export type SmallFileOutcome<F> =
  | { readonly file: F; readonly isCreated: boolean; readonly error: null }
  | { readonly file: F; readonly isCreated: null; readonly error: NonNullable<unknown> };

function makeFailedOutcome<F>(file: F, error: unknown): SmallFileOutcome<F> {
  return { file, isCreated: null, error: error! };
}

/** A file whose content has been written, or a directory. */
interface ReceivedFile<F> {
  readonly file: F;
  readonly temporaryFile: TemporaryFile | null;
  /** Resolves to `null` once the content is on the disk, or to the error. */
  readonly synced: Promise<unknown>;
}

const SYNCED_PROMISE = Promise.resolve(null);

/** A directory in which files get their names in one turn. */
interface NamingDirectory {
  readonly key: string;
  readonly parent: Parent;
}

/** Writes small files: while some are synced to the disk and named, others arrive. */
export class SmallFiles<F extends SmallFile> implements AsyncDisposable {
  readonly #target: SmallFilesTarget<F>;
  readonly #timeSlice = new TimeSlice();
  /** The directories that have new entries. */
  readonly #changedDirectories = new Set<string>();
  /**
   * The outcomes of the batch, whose names may not be on the disk yet, and those that are known.
   */
  #batchOutcomes: SmallFileOutcome<F>[] = [];
  #outcomes: SmallFileOutcome<F>[] = [];
  #receivedFiles: ReceivedFile<F>[] = [];
  /** The directory of the file that arrived before, until the turn is over. */
  #preparedDirectory: { readonly key: string; readonly parent: Parent | null } | null = null;
  /** Resolves when the files before those that arrive now have their names. */
  #batchNamed: Promise<void> = Promise.resolve();
  /** Where files get their names in this turn. */
  #namingDirectory: NamingDirectory | null = null;

  constructor(target: SmallFilesTarget<F>) {
    this.#target = target;
  }

  /** Writes a file, which gets its name later. */
  async add(file: F, content: Uint8Array): Promise<void> {
    for (let isRetry = false;; isRetry = true) {
      try {
        this.#write(file, content);
        break;
      } catch (error) {
        this.#preparedDirectory = null;
        if (isRetry || !isTooManyOpenFilesError(error)) {
          return void this.#outcomes.push(makeFailedOutcome(file, error));
        }
        // There are descriptors again when the files that are open have their names.
        await this.#nameReceivedFiles();
        await this.#batchNamed;
      }
    }
    if (this.#receivedFiles.length >= MAX_BATCH_FILES) await this.#nameReceivedFiles();
    else if (this.#timeSlice.isUsedUp) await this.#timeSlice.yield(this.#target.root.path);
    else return;
    this.#preparedDirectory = null;
  }

  #write(file: F, content: Uint8Array): void {
    const { names, modified } = file;
    if (modified === null) {
      return void this.#receivedFiles.push({ file, temporaryFile: null, synced: SYNCED_PROMISE });
    }
    const directory = names.slice(0, -1);
    const key = directory.join("/");
    if (this.#preparedDirectory?.key !== key || this.#timeSlice.isUsedUp) {
      const knownParent = this.#timeSlice.isUsedUp ? null : this.#preparedDirectory?.parent ?? null;
      const { changedDirectories, parent } = this.#target.prepareDirectory(directory, knownParent);
      for (const path of changedDirectories) this.#changedDirectories.add(path);
      this.#preparedDirectory = { key, parent };
    }
    const temporaryFile = this.#target.createTemporaryFile(file);
    try {
      const { file: openFile } = temporaryFile;
      for (let position = 0; position < content.length;) {
        position += openFile.writeSync(content.subarray(position));
      }
      openFile.utimeSync(new Date(), modified);
    } catch (error) {
      temporaryFile[Symbol.dispose]();
      throw error;
    }
    const synced = temporaryFile.sync().then(() => null, (error) => error);
    // Don't wait for the next file: a silent client must not hold a descriptor for each file.
    if (!temporaryFile.isLocked) synced.finally(() => temporaryFile.close());
    this.#receivedFiles.push({ file, temporaryFile, synced });
  }

  /** Lets the files that have arrived get their names, after those before. */
  async #nameReceivedFiles(): Promise<void> {
    await this.#batchNamed;
    const receivedFiles = this.#receivedFiles;
    this.#receivedFiles = [];
    this.#batchNamed = this.#nameBatch(receivedFiles);
    // An error is thrown later, where the promise is awaited.
    this.#batchNamed.catch(() => {});
  }

  async #nameBatch(receivedFiles: readonly ReceivedFile<F>[]): Promise<void> {
    try {
      const errors: unknown[] = [];
      for (const { synced } of receivedFiles) errors.push(await synced);
      let isChecked = false;
      for (const [index, receivedFile] of receivedFiles.entries()) {
        if (!isChecked || this.#timeSlice.isUsedUp) {
          this.#namingDirectory = null;
          if (isChecked) await this.#timeSlice.yield(this.#target.root.path);
          await this.#target.checkAllowed();
          isChecked = true;
        }
        try {
          if (errors[index] !== null) throw errors[index];
          this.#nameFile(receivedFile);
        } catch (error) {
          if (await this.#retryNaming(receivedFile, error)) continue;
          this.#batchOutcomes.push(makeFailedOutcome(receivedFile.file, error));
        }
        // Directories that were missing may have been made just now, so the next file looks for
        // them anew.
        if (this.#namingDirectory !== null && this.#namingDirectory.parent.missing.length > 0) {
          this.#namingDirectory = null;
        }
      }
    } finally {
      for (const { temporaryFile } of receivedFiles) temporaryFile?.[Symbol.dispose]();
      this.#namingDirectory = null;
      const changedDirectories = [...this.#changedDirectories];
      this.#changedDirectories.clear();
      await syncAllIfPossible(changedDirectories);
      this.#outcomes.push(...this.#batchOutcomes);
      this.#batchOutcomes = [];
    }
  }

  /**
   * Gives a file its name once no other program has the old file open, on Windows; false if that
   * doesn't help.
   */
  async #retryNaming(receivedFile: ReceivedFile<F>, error: unknown): Promise<boolean> {
    if (
      Deno.build.os !== "windows" || receivedFile.temporaryFile === null || !isFileInUseError(error)
    ) {
      return false;
    }
    try {
      await retryReplace(() => {
        this.#namingDirectory = null;
        this.#nameFile(receivedFile);
      });
      return true;
    } catch {
      return false;
    }
  }

  /** Gives a file its name, or creates a directory. */
  #nameFile({ file, temporaryFile }: ReceivedFile<F>): void {
    const { names, isNew, condition } = file;
    const { root } = this.#target;
    const parent = this.#findNamingDirectory(names.slice(0, -1));
    if (temporaryFile === null) {
      const { isCreated, changedDirectories } = root.makeDirectory(names, undefined, parent);
      for (const path of changedDirectories) this.#changedDirectories.add(path);
      this.#batchOutcomes.push({ file, isCreated, error: null });
      return;
    }
    const { isCreated, changedDirectories } = root.moveIntoPlace(names, temporaryFile, {
      isNew,
      parent,
      condition,
    });
    temporaryFile.isKept = true;
    for (const path of changedDirectories) this.#changedDirectories.add(path);
    this.#batchOutcomes.push({ file, isCreated, error: null });
  }

  /** Finds the directory in which a name is given. */
  #findNamingDirectory(directory: readonly string[]): Parent {
    const key = directory.join("/");
    if (this.#namingDirectory?.key !== key) {
      const knownParent = this.#namingDirectory?.parent ?? null;
      const parent = this.#target.root.findParent(directory, { knownParent });
      this.#namingDirectory = { key, parent };
    }
    return this.#namingDirectory.parent;
  }

  /** Waits until all files that have arrived have their names, and the names are on the disk. */
  async flush(): Promise<void> {
    await this.#nameReceivedFiles();
    await this.#batchNamed;
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
    await this.#batchNamed.catch(() => {});
    for (const { temporaryFile, synced } of this.#receivedFiles) {
      await synced;
      temporaryFile?.[Symbol.dispose]();
    }
  }
}
