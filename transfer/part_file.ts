/**
 * The file that a download is written to until it is complete.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { lockFile } from "../disk/lock.ts";
import { ifPresent, removeIfPresent } from "../disk/present.ts";
import { syncIfPossible } from "../disk/sync_if_possible.ts";
import { isPartName, PART_SUFFIX } from "../files/part_name.ts";
import { readPieces } from "./file_pieces.ts";
import { createFile, isAt, openRegularFile } from "./local_files.ts";
import { type PartRecord, readRecord, removeRecord, writeRecord } from "./part_record.ts";
import { TransferError } from "./transfer_error.ts";

/** What the file systems of Unix allow, without what the names of a record have more. */
const MAX_PART_NAME_BYTES = 255 - ".json.tmp".length;
/** How often a part may be taken away between two looks before something else is wrong. */
const MAX_ATTEMPTS = 20;

/** Where a part is, and which file it becomes. */
interface PartLocation {
  readonly target: string;
  readonly path: string;
  /** Whether the target may be there already. */
  readonly replaces: boolean;
}

/** What there is of a file from an earlier call. */
export interface KeptPart {
  readonly record: PartRecord;
  /** In bytes. */
  readonly size: number;
}

/**
 * A part, beside its target and locked: nobody else downloads to the same target. It is removed when it
 * is disposed of, unless a later call can continue, or it has become the target.
 */
export class PartFile implements AsyncDisposable {
  readonly #target: string;
  readonly #path: string;
  readonly #replaces: boolean;
  #file: Deno.FsFile;
  // From an earlier call, or made by somebody else.
  #found: boolean;
  // What another call has left is not lost because this one fails before it begins.
  #keep: boolean;
  #hasRecord: boolean;
  #exists = true;

  private constructor(
    { target, path, replaces }: PartLocation,
    file: Deno.FsFile,
    found: boolean,
  ) {
    this.#target = target;
    this.#path = path;
    this.#replaces = replaces;
    this.#file = file;
    this.#found = this.#keep = this.#hasRecord = found;
  }

  /**
   * Opens the part of a target, or makes it.
   *
   * @param replaces Whether the target may be there already.
   * @throws {Deno.errors.IsADirectory} if the target is a directory, `Deno.errors.AlreadyExists` if it is
   * there and must not be.
   * @throws {RangeError} if it is something else.
   * @throws {TransferError} if another download to the target is under way.
   */
  static async open(target: string, replaces: boolean): Promise<PartFile> {
    await checkTarget(target, replaces);
    try {
      return await PartFile.#open({ target, path: partPath(target), replaces });
    } catch (error) {
      // It names the part, of which the caller knows nothing.
      const isPlain = error instanceof Error && !(error instanceof TransferError);
      if (isPlain) error.message = `file: ${target}: ${error.message}`;
      throw error;
    }
  }

  static async #open(location: PartLocation): Promise<PartFile> {
    const { target, path } = location;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const created = await createFile(path);
      const file = created ?? await openRegularFile(path);
      if (file === null) continue;
      try {
        await lock(file, target);
        // Whoever had it locked may have renamed or removed it just now.
        if (await isAt(path, file)) return new PartFile(location, file, created === null);
      } catch (error) {
        file.close();
        throw error;
      }
      file.close();
    }
    throw inUse(target);
  }

  /** What may be continued; `null` if there is nothing, or somebody else could have made it. */
  async kept(): Promise<KeptPart | null> {
    const record = this.#found ? await readRecord(this.#path) : null;
    if (record === null) return null;
    const { size, uid, nlink } = await this.#file.stat();
    if (size === 0 || size > record.total || (nlink ?? 1) > 1) return null;
    // In a directory that is shared by many, this is how to know one's own without --allow-sys.
    return await writeRecord(this.#path, record) === uid ? { record, size } : null;
  }

  /** Gives what is kept, up to a position; each piece is valid until the next is asked for. */
  readTo(stop: number): AsyncIterable<Uint8Array> {
    return readPieces(this.#file, 0, stop, () => {
      return new TransferError("CHANGED", `${this.#path} was changed while it was in use`);
    });
  }

  /**
   * Begins anew, with an empty file of this user's.
   *
   * @param record What is known of the file, so that a later call can continue; `null` if none can.
   */
  async begin(record: PartRecord | null): Promise<void> {
    await removeRecord(this.#path);
    if (this.#found) await this.#replace();
    if (record !== null) await writeRecord(this.#path, record);
    this.#keep = this.#hasRecord = record !== null;
  }

  /** Replaces the file that was found by a new one; the path always leads to a locked file. */
  async #replace(): Promise<void> {
    const path = `${this.#path}.new`;
    await removeIfPresent(path);
    const file = await Deno.open(path, { read: true, write: true, createNew: true });
    try {
      await lock(file, this.#target);
      await Deno.rename(path, this.#path);
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file.close();
    this.#file = file;
    this.#found = false;
  }

  /** Goes to where what is kept ends, and drops what is behind it. */
  async continueFrom(offset: number): Promise<void> {
    await this.#file.truncate(offset);
    await this.#file.seek(offset, Deno.SeekMode.Start);
  }

  /** Writes all of the bytes behind those that were written before. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let written = 0; written < bytes.length;) {
      written += await this.#file.write(bytes.subarray(written));
    }
  }

  /** Sets the time of its last change. */
  async setModified(modified: Date): Promise<void> {
    await this.#file.utime(new Date(), modified);
  }

  /** Has everything that was written on the disk when it resolves. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  /** The same, and notes in the record how many bytes that are. */
  async noteSynced(record: PartRecord): Promise<void> {
    // Opened once more: what is being written through the other one does not have to wait.
    using file = await Deno.open(this.#path, { read: true });
    await file.syncData();
    await writeRecord(this.#path, record);
  }

  /** Gives the part, which is synced, the name of the target; the permission bits of that stay. */
  async complete(): Promise<void> {
    const replaced = await ifPresent(Deno.lstat(this.#target));
    if (replaced !== null && !this.#replaces) throw alreadyExists(this.#target);
    if (replaced !== null && replaced.isFile && replaced.mode !== null) {
      await Deno.chmod(this.#path, replaced.mode & 0o777);
    }
    if (this.#replaces) await Deno.rename(this.#path, this.#target);
    else await this.#nameAnew();
    this.#exists = false;
    await syncIfPossible(dirname(this.#target));
    if (this.#hasRecord) await removeRecord(this.#path);
  }

  /** Gives it the name of the target unless that has come into being just now. */
  async #nameAnew(): Promise<void> {
    try {
      await Deno.link(this.#path, this.#target);
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) throw alreadyExists(this.#target);
      // A file system without links: there somebody else may have been quicker.
      return await Deno.rename(this.#path, this.#target);
    }
    await Deno.remove(this.#path);
  }

  /** Has it removed at the end: no call can continue it. */
  discard(): void {
    this.#keep = false;
  }

  /** Closes the file, and removes it unless a later call can continue. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#exists && !this.#keep) {
        await removeRecord(this.#path);
        await removeIfPresent(this.#path);
      }
    } finally {
      this.#file.close();
    }
  }
}

/** The path of the part of a target: hidden, beside it. */
function partPath(target: string): string {
  const name = basename(target);
  const usual = `.${name}${PART_SUFFIX}`;
  if (new TextEncoder().encode(usual).length <= MAX_PART_NAME_BYTES) {
    return join(dirname(target), usual);
  }
  const hash = createHash("sha256").update(name).digest("hex");
  return join(dirname(target), `.${hash}${PART_SUFFIX}`);
}

async function checkTarget(target: string, replaces: boolean): Promise<void> {
  if (isPartName(basename(target))) {
    throw new RangeError(
      `file: ${target} has the name of a part of a download; choose another name`,
    );
  }
  const info = await ifPresent(Deno.stat(target));
  if (info?.isDirectory || target.endsWith("/")) {
    throw new Deno.errors.IsADirectory(
      `file: ${target} is a directory; need the path of a file, which may be in it`,
    );
  }
  if (info === null) return;
  // A device would be replaced by a file.
  if (!info.isFile) throw new RangeError(`file: ${target} is there and is not a regular file`);
  if (!replaces) throw alreadyExists(target);
}

function alreadyExists(target: string): Error {
  return new Deno.errors.AlreadyExists(
    `file: ${target} is there already; choose another name, or replace it with replace: true`,
  );
}

async function lock(file: Deno.FsFile, target: string): Promise<void> {
  if (!await lockFile(file)) throw inUse(target);
}

function inUse(target: string): TransferError {
  return new TransferError(
    "IN_USE",
    `${target}: another download to the same file is under way; wait for it, or choose another file`,
  );
}
