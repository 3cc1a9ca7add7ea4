/**
 * Writing many small files at a time, by a server or a download, with the same guarantees as for
 * single files.
 *
 * Small files are written and renamed with synchronous operations, in time slices: asynchronous
 * operations take several times as much processor time, and checks stay valid until the thread is
 * yielded. Creating a file of 1000 bytes, writing it and setting its time takes 13 to 24 µs of
 * processor time with synchronous operations, and 61 to 94 µs if writing and setting the time are
 * asynchronous (Deno 2.9.6). Only waiting for the disk is asynchronous.
 */

import { diskSyncQueue, TimeSlice } from "./disk/files.ts";
import { isFileInUseError, retryReplace } from "../internal/retry_replace.ts";
import { syncAllIfPossible } from "./disk/names.ts";
import { fileErrorCodeOf, isTooManyOpenFilesError, withPath } from "../internal/caught_errors.ts";
import { isDiskFullError } from "./disk/space.ts";
import type { TemporaryFile } from "./disk/temporary.ts";
import type { Condition, Parent, Root } from "./root.ts";
import type { UnsetProperty } from "./wire/metadata.ts";

/**
 * The minimum number of files that are renamed together, on a slow disk. Each batch costs a sync of
 * each directory, and the outcomes of its files are known after its last file.
 */
const MIN_BATCH_FILES = 16;

export interface SmallFile {
  readonly names: readonly string[];
  /** The modification time of the file; `null` for a directory. */
  readonly modified: Date | null;
  readonly isNew: boolean;
  readonly condition?: Condition | undefined;
}

export interface PreparedDirectory {
  readonly changedDirectories: readonly string[];
  /** The result of the lookup of the directory; `null` if the directory was created since. */
  readonly knownParent: Parent | null;
}

export interface FileCopy {
  readonly temporaryFile: TemporaryFile;
  readonly changedDirectories: readonly string[];
}

export interface SmallFilesTarget<F extends SmallFile> {
  readonly root: Root;
  /**
   * Called once for each directory in a time slice.
   *
   * @param knownParent The directory that was prepared last, if its path still leads to it.
   */
  prepareDirectory(directory: readonly string[], knownParent: Parent | null): PreparedDirectory;
  createTemporaryFile(file: F): TemporaryFile;
  /**
   * Copies a temporary file that can't be renamed to the directory of its target. Left out if
   * temporary files are beside their targets.
   *
   * @param error The error of the rename, which is thrown if it has another reason.
   */
  copyBeside?(file: F, temporaryFile: TemporaryFile, error: unknown): Promise<FileCopy>;
  /**
   * Rejects if no further file may be renamed, for example because the peer is no longer trusted.
   */
  checkAllowed(): Promise<void>;
}

/**
 * `isCreated` is false if a file was replaced or the directory existed, and `null` after an error.
 */
export type SmallFileOutcome<F> =
  | {
    readonly file: F;
    readonly isCreated: boolean;
    readonly unset: readonly UnsetProperty[];
    readonly error: null;
  }
  | { readonly file: F; readonly isCreated: null; readonly error: NonNullable<unknown> };

function makeFailedOutcome<F>(file: F, error: unknown): SmallFileOutcome<F> {
  return { file, isCreated: null, error: error! };
}

interface StagedFile<F> {
  readonly file: F;
  readonly temporaryFile: TemporaryFile | null;
  /** Resolves to `null` once the content is on the disk, or to the error. */
  readonly synced: Promise<unknown>;
}

const SYNCED = Promise.resolve(null);

/** While a batch is synced to the disk and renamed, the next files are received. */
export class SmallFiles<F extends SmallFile> implements AsyncDisposable {
  readonly #target: SmallFilesTarget<F>;
  readonly #timeSlice = new TimeSlice();
  readonly #changedDirectories = new Set<string>();
  /** The outcomes of the current batch, whose names may not be synced to the disk yet. */
  readonly #batchOutcomes: SmallFileOutcome<F>[] = [];
  readonly #outcomes: SmallFileOutcome<F>[] = [];
  #stagedFiles: StagedFile<F>[] = [];
  /** The path of the last received file's directory, until the end of the time slice. */
  #preparedPath: string | null = null;
  #preparedParent: Parent | null = null;
  /** Resolves when the files of the previous batch are renamed. */
  #batchNamed: Promise<void> = Promise.resolve();
  /** The path of the directory in which files are renamed in this time slice. */
  #namingPath: string | null = null;
  #namingParent: Parent | null = null;

  constructor(target: SmallFilesTarget<F>) {
    this.#target = target;
  }

  async add(file: F, content: Uint8Array): Promise<void> {
    for (let isRetry = false;; isRetry = true) {
      try {
        this.#write(file, content);
        break;
      } catch (error) {
        this.#preparedPath = null;
        if (isRetry || !isTooManyOpenFilesError(error) && !isDiskFullError(error)) {
          return void this.#outcomes.push(makeFailedOutcome(file, error));
        }
        // Renaming the open files closes them, which frees descriptors. If a disk counts links as
        // files, removing a file that can't be renamed there makes space for the others.
        await this.#nameReceivedFiles();
        await this.#batchNamed;
      }
    }
    const batchFiles = Math.max(MIN_BATCH_FILES, diskSyncQueue.limit);
    if (this.#stagedFiles.length >= batchFiles) await this.#nameReceivedFiles();
    else if (this.#timeSlice.isUsedUp) await this.#timeSlice.yield(this.#target.root.path);
    else return;
    this.#preparedPath = null;
  }

  #write(file: F, content: Uint8Array): void {
    const { names, modified } = file;
    if (modified === null) {
      return void this.#stagedFiles.push({ file, temporaryFile: null, synced: SYNCED });
    }
    const directory = names.slice(0, -1);
    const directoryPath = directory.join("/");
    const isConfirmed = this.#preparedPath !== null && !this.#timeSlice.isUsedUp;
    if (this.#preparedPath !== directoryPath || !isConfirmed) {
      const { changedDirectories, knownParent } = this.#target.prepareDirectory(
        directory,
        isConfirmed ? this.#preparedParent : this.#target.root.confirmParent(this.#preparedParent),
      );
      for (const path of changedDirectories) this.#changedDirectories.add(path);
      this.#preparedPath = directoryPath;
      this.#preparedParent = knownParent;
    }
    const temporaryFile = this.#target.createTemporaryFile(file);
    try {
      const { file: openFile } = temporaryFile;
      for (let position = 0; position < content.length;) {
        position += openFile.writeSync(content.subarray(position));
      }
      temporaryFile.setModifiedSync(modified);
    } catch (error) {
      temporaryFile[Symbol.dispose]();
      throw withPath(error, "write", temporaryFile.path);
    }
    const synced = diskSyncQueue.run(() => temporaryFile.sync());
    // Close the file without waiting for the next file: a silent client must not keep a descriptor
    // open for each file.
    if (!temporaryFile.isLocked) synced.finally(() => temporaryFile.close());
    this.#stagedFiles.push({ file, temporaryFile, synced });
  }

  async #nameReceivedFiles(): Promise<void> {
    await this.#batchNamed;
    const stagedFiles = this.#stagedFiles;
    this.#stagedFiles = [];
    this.#batchNamed = this.#nameBatch(stagedFiles);
    // The error is handled where the promise is awaited.
    this.#batchNamed.catch(() => {});
  }

  async #nameBatch(stagedFiles: readonly StagedFile<F>[]): Promise<void> {
    try {
      const errors: unknown[] = [];
      for (const { synced } of stagedFiles) errors.push(await synced);
      let isChecked = false;
      for (const [index, stagedFile] of stagedFiles.entries()) {
        if (!isChecked || this.#timeSlice.isUsedUp) {
          this.#namingPath = null;
          if (isChecked) await this.#timeSlice.yield(this.#target.root.path);
          await this.#target.checkAllowed();
          isChecked = true;
        }
        try {
          if (errors[index] !== null) throw errors[index];
          this.#nameFile(stagedFile);
        } catch (error) {
          const lastError = await this.#retryNaming(stagedFile, error);
          if (lastError !== null) {
            stagedFile.temporaryFile?.[Symbol.dispose]();
            this.#batchOutcomes.push(makeFailedOutcome(stagedFile.file, lastError));
          }
        }
        // The missing directories may have been created for this file, so look them up again for
        // the next file.
        if ((this.#namingParent?.missingDirectories.length ?? 0) > 0) this.#namingPath = null;
      }
    } finally {
      for (const { temporaryFile } of stagedFiles) temporaryFile?.[Symbol.dispose]();
      this.#namingPath = null;
      const changedDirectories = [...this.#changedDirectories];
      this.#changedDirectories.clear();
      await syncAllIfPossible(changedDirectories);
      this.#outcomes.push(...this.#batchOutcomes.splice(0));
    }
  }

  /** @returns `null` if the file is named, or the error. */
  async #retryNaming(stagedFile: StagedFile<F>, error: unknown): Promise<unknown> {
    const { file, temporaryFile } = stagedFile;
    if (temporaryFile === null) return error;
    const nameAgain = (namedFile: TemporaryFile) => {
      this.#namingPath = null;
      this.#nameFile({ ...stagedFile, temporaryFile: namedFile });
    };
    try {
      if (fileErrorCodeOf(error) === "EXDEV") {
        const copy = await this.#target.copyBeside?.(file, temporaryFile, error);
        if (copy === undefined) return error;
        using copiedFile = copy.temporaryFile;
        nameAgain(copiedFile);
        for (const path of copy.changedDirectories) this.#changedDirectories.add(path);
        return null;
      }
      if (Deno.build.os !== "windows" || !isFileInUseError(error)) return error;
      await retryReplace(() => nameAgain(temporaryFile));
      return null;
    } catch (lastError) {
      return lastError;
    }
  }

  #nameFile({ file, temporaryFile }: StagedFile<F>): void {
    const { names, isNew, condition } = file;
    const { root } = this.#target;
    const parent = this.#findNamingDirectory(names.slice(0, -1));
    const { isCreated, changedDirectories, unset } = temporaryFile === null
      ? { ...root.makeDirectory(names, undefined, parent), unset: [] }
      : root.moveIntoPlace(names, temporaryFile, { isNew, parent, condition });
    if (temporaryFile !== null) temporaryFile.isKept = true;
    for (const path of changedDirectories) this.#changedDirectories.add(path);
    this.#batchOutcomes.push({ file, isCreated, unset, error: null });
  }

  #findNamingDirectory(directory: readonly string[]): Parent {
    const path = directory.join("/");
    if (this.#namingPath !== path || this.#namingParent === null) {
      const { root } = this.#target;
      const knownParent = this.#namingPath === null
        ? root.confirmParent(this.#namingParent)
        : this.#namingParent;
      this.#namingParent = root.findParent(directory, knownParent);
      this.#namingPath = path;
    }
    return this.#namingParent;
  }

  /** Waits until all received files are renamed, and the names are synced to the disk. */
  async flush(): Promise<void> {
    await this.#nameReceivedFiles();
    await this.#batchNamed;
  }

  /** Outcomes are also returned after another method has thrown. */
  takeOutcomes(): readonly SmallFileOutcome<F>[] {
    return this.#outcomes.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batchNamed.catch(() => {});
    for (const { temporaryFile, synced } of this.#stagedFiles) {
      await synced;
      temporaryFile?.[Symbol.dispose]();
    }
  }
}
