/** The file that a download is written to until it is complete. */

import type { Hash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import {
  type LockedFile,
  lockFile,
  newFileMode,
  openLocked,
  setMode,
  writeAside,
} from "../disk/files.ts";
import {
  codeOf,
  giveNewName,
  ifPresent,
  removeIfPossible,
  removeIfPresent,
  removeIfPresentSync,
  statOrNull,
  syncIfPossible,
} from "../disk/names.ts";
import { freeBytes, isDiskFull, type Shortage, spaceFigures } from "../disk/space.ts";
import { fingerprintOf, hashStart } from "./digest.ts";
import { removeUnheld } from "./leftovers.ts";
import { isPartName, PART_SUFFIX, unusedPath } from "./reserved.ts";
import { TransferError } from "./transfer_error.ts";

/** The limit of Unix file systems, minus what the names of a record add. */
const MAX_PART_NAME_BYTES = 255 - ".json.tmp".length;

/**
 * What a part is worth: found as another call, or another program, has left it; resumable by a later call; removed at
 * the end; or the target by now.
 */
type Phase = "found" | "resumable" | "temporary" | "complete";

/**
 * A part, next to its target and locked: nobody else downloads to the same target. It is removed when it
 * is disposed of, unless a later call can resume it, or it has become the target.
 */
export class PartFile implements AsyncDisposable {
  /** Where it is. */
  readonly path: string;
  readonly #target: string;
  /** Whether the target may already exist. */
  readonly #replaces: boolean;
  /** Where it really is: a directory may be exchanged for a link just when it is opened. */
  readonly #real: string;
  #file: Deno.FsFile;
  #phase: Phase;
  /** Whether a sync has failed: the system reports a loss once, and the next sync succeeds. */
  #isLossy = false;

  private constructor(target: string, replaces: boolean, opened: LockedFile, real: string) {
    this.path = partPath(target);
    this.#real = real;
    this.#target = target;
    this.#replaces = replaces;
    this.#file = opened.file;
    this.#phase = opened.isNew ? "temporary" : "found";
  }

  /**
   * Opens or creates the part of a target.
   *
   * @param replaces Whether the target may already exist.
   * @param isChecked Whether what the target is now does not matter.
   * @param isNew Whether none was there: else it is that of a target whose name the disk takes for
   * the same.
   * @throws {Deno.errors.IsADirectory} if the target is a directory, `Deno.errors.AlreadyExists` if it is
   * there and must not be.
   * @throws {RangeError} if the target is something else.
   * @throws {TransferError} if another download to the target is in progress.
   */
  static async open(
    target: string,
    replaces: boolean,
    isChecked = false,
    isNew = false,
  ): Promise<PartFile> {
    if (!isChecked) await checkTarget(target, replaces);
    const path = partPath(target);
    try {
      const opened = await lockPart(target);
      if (isNew && !opened.isNew) {
        opened.file.close();
        throw partInUse(target);
      }
      // Of the directory: a link may have replaced the part by now.
      const directory = await Deno.realPath(dirname(path)).catch(() => dirname(path));
      return new PartFile(target, replaces, opened, join(directory, basename(path)));
    } catch (error) {
      // The path of the part says nothing to the caller.
      if (error instanceof Error && !(error instanceof TransferError)) {
        error.message = `file: ${target}: ${error.message}`;
      }
      throw error;
    }
  }

  /** The open file. */
  get file(): Deno.FsFile {
    return this.#file;
  }

  /** What can be resumed; `null` if there is nothing, or another user could have made it. */
  async kept(): Promise<{ record: PartRecord; size: number } | null> {
    const record = this.#phase === "found" ? await readRecord(this.path) : null;
    if (record === null) return null;
    const { size, uid, nlink } = await this.#file.stat();
    if (size === 0 || size > record.total || (nlink ?? 1) > 1) return null;
    // In a shared directory, this identifies one's own files without --allow-sys.
    return await writeRecord(this.path, record) === uid ? { record, size } : null;
  }

  /** Hashes what is kept, up to a position. */
  async hashTo(stop: number, signal: AbortSignal | undefined): Promise<Hash> {
    return await hashStart(this.#file, stop, () => {
      return new TransferError("CHANGED", `${this.path} was changed while it was in use`);
    }, () => signal?.throwIfAborted());
  }

  /**
   * Starts over, with an empty file of this user's.
   *
   * @param record Describes the file, so that a later call can resume; `null` if none can.
   */
  async begin(record: PartRecord | null): Promise<void> {
    await removeIfPresent(recordPaths(this.path)[0]);
    if (this.#phase === "found") {
      await removeIfPresent(this.path);
      const { file, isNew } = await lockPart(this.#target);
      this.#file.close();
      this.#file = file;
      // Another download was faster.
      if (!isNew) throw partInUse(this.#target);
    }
    if (record !== null) await writeRecord(this.path, record);
    this.#phase = record === null ? "temporary" : "resumable";
  }

  /** Seeks to the end of what is kept, and drops what follows. */
  async continueFrom(offset: number): Promise<void> {
    await this.#file.truncate(offset);
    await this.#file.seek(offset, Deno.SeekMode.Start);
  }

  /** Gives the synced part its name; as nothing else is said, that of the target. */
  async complete(place: (part: string) => Promise<void> = () => this.#rename()): Promise<void> {
    await place(this.path);
    const mayHaveRecord = this.#phase !== "temporary";
    this.#phase = "complete";
    await syncIfPossible(dirname(this.#target));
    if (mayHaveRecord) await removeIfPresent(recordPaths(this.path)[0]);
  }

  /** Renames it to the target, whose permission bits are kept; a new file gets the usual ones. */
  async #rename(): Promise<void> {
    const replaced = await ifPresent(Deno.lstat(this.#target));
    if (replaced !== null && !this.#replaces) throw alreadyExists(this.#target);
    const mode = replaced?.isFile ? replaced.mode : newFileMode(unusedPath(dirname(this.path)));
    // Until now only this user could read it.
    if (mode !== null) setMode(this.path, mode);
    if (this.#replaces) await Deno.rename(this.path, this.#target);
    else if (!giveNewName(this.path, this.#target)) throw alreadyExists(this.#target);
  }

  /**
   * Makes sure, after the disk was full, that the part has only bytes that are on the disk: a
   * failed sync may have lost some.
   *
   * @param synced The position up to which all is known to be there.
   */
  async keepSynced(synced: number): Promise<void> {
    await this.sync().catch(() => {});
    if (this.#isLossy) await this.#file.truncate(synced);
  }

  /** Syncs it to the disk. */
  async sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (error) {
      this.#isLossy = true;
      throw error;
    }
  }

  /** Marks it for removal: no call can resume it. */
  discard(): void {
    this.#phase = "temporary";
  }

  /** Closes the file, and removes it unless a later call can resume it. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#phase === "temporary") {
        for (const path of new Set([this.path, this.#real])) {
          for (const each of [...recordPaths(path), path]) await removeIfPossible(each);
        }
      }
    } finally {
      this.#file.close();
    }
  }
}

/** A part is resumed only if all of this is the same. */
export interface PartRecord {
  /** Where the file is: an authority, or an address. */
  readonly peer: string;
  /** Its URI. */
  readonly uri: string;
  /** Its strong entity tag. */
  readonly etag: string;
  /** In bytes. */
  readonly total: number;
  /** SHA-256 of the whole file, if it was known before all of it had arrived; else `null`. */
  readonly sha256: string | null;
  /** Bytes of the part that are synced to the disk, and not only in the memory of the system. */
  readonly synced: number;
}

const FORMAT = "degu-part/1";
/** A URI and an entity tag are from a preamble, which is no longer than this. */
const MAX_RECORD_BYTES = 65536;

/** Reads the record of a part; `null` if there is no valid one. */
export async function readRecord(part: string): Promise<PartRecord | null> {
  const [path] = recordPaths(part);
  // Opening a FIFO would block.
  const info = await ifPresent(Deno.lstat(path));
  if (info === null || !info.isFile || info.size > MAX_RECORD_BYTES) return null;
  try {
    const { format, ...record } = JSON.parse(await Deno.readTextFile(path));
    const isValid = format === FORMAT && Object.keys(FIELDS).every((name) => {
      return FIELDS[name as keyof PartRecord](record[name]);
    });
    return isValid ? record : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}

/**
 * Writes the record of a part atomically: a reader finds this one, or the one before.
 *
 * @returns The user who owns it, which is that of this process; `null` on Windows.
 */
export async function writeRecord(part: string, record: PartRecord): Promise<number | null> {
  const [path, temporary] = recordPaths(part);
  const text = JSON.stringify({ format: FORMAT, ...record });
  await removeIfPresent(temporary);
  using file = await writeAside(path, text, temporary);
  return (await file.stat()).uid;
}

/** The paths of the record of a part, and of one that is being written. */
function recordPaths(part: string): [record: string, temporary: string] {
  return [`${part}.json`, `${part}.json.tmp`];
}

/**
 * Removes the part that another call has left of a target, with its record.
 *
 * @throws {TransferError} if a download to the target is in progress.
 */
export function removePart(target: string): void {
  const part = partPath(target);
  if (!Deno.lstatSync(part).isFile) Deno.removeSync(part);
  else if (!removeUnheld(part)) throw partInUse(target);
  for (const path of recordPaths(part)) removeIfPresentSync(path);
}

const isText = (value: unknown) => typeof value === "string";
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const FIELDS: Readonly<Record<keyof PartRecord, (value: unknown) => boolean>> = {
  peer: isText,
  uri: isText,
  etag: isText,
  total: isCount,
  sha256: (value) => value === null || isText(value),
  synced: isCount,
};

/** Opens or creates the part of a target, locked. */
async function lockPart(target: string): Promise<LockedFile> {
  const opened = await openLocked(partPath(target), async (file) => {
    if (await lockFile(file)) return true;
    throw partInUse(target);
  });
  if (opened === null) throw partInUse(target);
  return opened;
}

/** The path of the part of a target: a hidden file next to it. */
export function partPath(target: string): string {
  const name = basename(target);
  const usual = `.${name}${PART_SUFFIX}`;
  if (new TextEncoder().encode(usual).length <= MAX_PART_NAME_BYTES) {
    return join(dirname(target), usual);
  }
  const hash = fingerprintOf(name);
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
      `file: ${target} is a directory; pass the path of a file, for example one in it`,
    );
  }
  if (info === null) return;
  // A device would be replaced by a file.
  if (!info.isFile) throw new RangeError(`file: ${target} exists and is not a regular file`);
  if (!replaces) throw alreadyExists(target);
}

function alreadyExists(target: string): Error {
  return new Deno.errors.AlreadyExists(
    `file: ${target} already exists; choose another name, or replace it with replace: true`,
  );
}

/** The error of a target that another download is writing. */
function partInUse(target: string): TransferError {
  const path = partPath(target);
  const uid = statOrNull(path)?.uid ?? null;
  const owner = uid === null ? "" : `, a file of the user with the uid ${uid}`;
  return new TransferError(
    "IN_USE",
    `${target}: another download to the same file is in progress, which has locked ${path}${owner}; ` +
      "wait for it, or choose another file",
  );
}

/**
 * Replaces the error for a part that this user may not open or replace, by one that says whose it is: in a directory such as
 * /tmp only its owner can remove it. Other errors are returned unchanged.
 */
export function explainForeignPart(error: unknown, target: string): unknown {
  const isDenied = error instanceof Deno.errors.PermissionDenied || codeOf(error) === "EPERM";
  if (!isDenied) return error;
  const part = partPath(target);
  const paths = [part, ...recordPaths(part)];
  // Of several the one that the system names: the part may be ours, and its record somebody else's.
  const path = paths.find((path) => (error as Error).message.includes(`'${path}'`)) ?? part;
  let uid: number | null;
  try {
    ({ uid } = Deno.lstatSync(path));
  } catch {
    // It is gone, or its directory may not be searched: then nothing is known of it.
    return error;
  }
  return new Deno.errors.PermissionDenied(
    `file: ${target}: ${path}, which is left of another download, can't be replaced: it belongs to the ` +
      `user with the uid ${uid}, who can remove it; or choose another name or directory`,
    { cause: error },
  );
}

/**
 * Converts the error of a disk that has filled up, which has no class of its own; other errors are
 * returned unchanged.
 *
 * @param total Bytes of the whole file; `null` if that is not known.
 */
export function explainFullDisk(
  error: unknown,
  file: string,
  total: number | null = null,
): unknown {
  if (!isDiskFull(error)) return error;
  const needed = total === null ? null : total - keptBytes(file);
  const figures = spaceFigures(needed, freeBytes(dirname(file)));
  return new TransferError(
    "DISK_FULL",
    `${file}: there is no space left on this device, or its quota is exceeded${figures}; ` +
      `free some and call again to resume${keptPart(file)}`,
    { cause: error },
  );
}

/** Creates the error for a file that is larger than the free space, before any of it was moved. */
export function noSpaceHere(file: string, { needed, free }: Shortage): TransferError {
  return new TransferError(
    "DISK_FULL",
    `${file}: there is too little space on this device${spaceFigures(needed, free)}; ` +
      `free some and call again${keptPart(file)}`,
    { needed },
  );
}

/** The words of a message for the part of a target, which is hidden. */
function keptPart(target: string): string {
  const bytes = keptBytes(target);
  return bytes > 0 ? `; ${partPath(target)} keeps the ${bytes} bytes that have arrived` : "";
}

/**
 * Bytes of a file that its part seems to have: neither locked nor compared with the peer's file.
 */
export async function keptOf(target: string, uri: string, total: number): Promise<number> {
  const record = await readRecord(partPath(target)).catch(() => null);
  if (record === null || record.uri !== uri || record.total !== total) return 0;
  return Math.min(keptBytes(target), total);
}

/** Bytes of the part of a target, for a message; 0 if there is none, or it can't be looked at. */
function keptBytes(target: string): number {
  try {
    const { isFile, size } = Deno.lstatSync(partPath(target));
    return isFile ? size : 0;
  } catch {
    return 0;
  }
}
