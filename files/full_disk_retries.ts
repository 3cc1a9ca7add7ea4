/** Copies of several files to a disk that may have space for only some of them. */

import { isDiskFull, type TransferError } from "./transfer_error.ts";

export interface FullDiskOptions<Task> {
  sizeOf(task: Task): number;
  /** Reports whether an interrupted copy of the file leaves a part. */
  canHavePart(task: Task): boolean;
  /** Removes the part of a file that this device has received. */
  discardPart(task: Task, error: TransferError): void | Promise<void>;
  /** Called for a file that is not tried again. */
  onRefused(task: Task, error: TransferError): void;
  /** Copies files one after the other. */
  copy(tasks: readonly Task[]): Promise<void>;
  /** Distributes files over calls of `copy`. */
  makeBatches(tasks: readonly Task[]): (readonly Task[])[];
}

/**
 * Copies as many files as fit. Files that are copied at the same time may fill a disk that has
 * space for some of them. So after the disk was full during a write, the remaining files are copied
 * one at a time. At the end each refused file is tried once more, the smallest first, and then
 * without the parts of the other refused files.
 */
export class FullDiskRetries<Task> {
  readonly #options: FullDiskOptions<Task>;
  /** True if the disk was full during a write. */
  #isDiskFull = false;
  /** The refused files that are tried again; `null` if files are not tried again. */
  #refusedFiles: Map<Task, TransferError> | null = null;
  /** The free bytes of the server's disk at the last refusal; `null` if the number is unknown. */
  #freeBytes: number | null = null;

  constructor(options: FullDiskOptions<Task>) {
    this.#options = options;
  }

  /**
   * Copies all files.
   *
   * @param copyConcurrently Copies the files at the same time, each batch by the given function.
   */
  async run(
    copyConcurrently: (
      copyBatch: (batch: readonly Task[], copy: () => Promise<void>) => Promise<void>,
    ) => Promise<void>,
  ): Promise<void> {
    const refusedFiles = this.#refusedFiles = new Map<Task, TransferError>();
    const remainingBatches: (readonly Task[])[] = [];
    await copyConcurrently(async (batch, copy) => {
      if (this.#isDiskFull) remainingBatches.push(batch);
      else await copy();
    });
    for (const batch of remainingBatches) await this.#options.copy(batch);
    this.#refusedFiles = null;
    await this.#retry(refusedFiles);
  }

  /** Stores a file with its error; returns false if the file is not tried again. */
  defer(task: Task, error: unknown): boolean {
    if (!isDiskFull(error)) return false;
    const { at, free, isOtherDisk, needed } = error;
    if (at === "remote" && !isOtherDisk) this.#freeBytes = free;
    // A file that was refused before it was sent has not filled the disk.
    if (needed === null && !isOtherDisk) this.#isDiskFull = true;
    this.#refusedFiles?.set(task, error);
    return this.#refusedFiles !== null;
  }

  async #retry(refusedFiles: ReadonlyMap<Task, TransferError>): Promise<void> {
    const { sizeOf, canHavePart, copy, discardPart, onRefused, makeBatches } = this.#options;
    /** The files whose parts may take the space of other files. */
    const unfinishedFiles = new Map(
      Array.from(refusedFiles).filter(([task, { kept, needed }]) =>
        canHavePart(task) && (kept !== null || needed === null)
      ),
    );
    this.#freeBytes = null;
    const tasks = [...refusedFiles.keys()].sort((a, b) => sizeOf(a) - sizeOf(b));
    for (const batch of makeBatches(tasks)) {
      for (const task of batch) unfinishedFiles.delete(task);
      const error = refusedFiles.get(batch[0]!)!;
      if (!error.isOtherDisk && isTooLarge(error, this.#freeBytes)) {
        onRefused(batch[0]!, error);
        continue;
      }
      if (unfinishedFiles.size === 0) {
        await copy(batch);
        continue;
      }
      const refusedAgain = this.#refusedFiles = new Map<Task, TransferError>();
      await copy(batch);
      this.#refusedFiles = null;
      let keptBytes = 0;
      for (const { kept } of unfinishedFiles.values()) keptBytes += kept?.bytes ?? 0;
      for (const [task, error] of refusedAgain) {
        if (!isTooLarge(error, error.free === null ? null : error.free + keptBytes)) continue;
        refusedAgain.delete(task);
        onRefused(task, error);
      }
      if (refusedAgain.size === 0) continue;
      for (const [task, error] of unfinishedFiles) await discardPart(task, error);
      unfinishedFiles.clear();
      this.#freeBytes = null;
      await copy([...refusedAgain.keys()]);
    }
  }
}

/** Reports whether a file that was refused before it was sent needs more than these bytes. */
function isTooLarge({ needed }: TransferError, availableBytes: number | null): boolean {
  return needed !== null && availableBytes !== null && needed > availableBytes;
}
