/**
 * Parts of downloads: the bytes of a file that have arrived, next to its target, and the record by
 * which a later call resumes them.
 */

import type { Hash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { lockFile, newFileMode, setMode } from "../disk/files.ts";
import {
  codeOf,
  giveNewName,
  ifPresent,
  removeIfPresent,
  removeIfPresentSync,
  statOrNull,
  syncIfPossible,
} from "../disk/names.ts";
import { writeAside } from "../disk/private_files.ts";
import { freeBytes, isDiskFull, type Shortage, spaceFigures } from "../disk/space.ts";
import { Temporary } from "../disk/temporary.ts";
import { fingerprintOf, hashStart } from "./digest.ts";
import { removeUnheld } from "./leftovers.ts";
import { isPartName, PART_SUFFIX, unusedPath } from "./reserved.ts";
import { TransferError } from "./transfer_error.ts";

const RECORD_SUFFIX = ".json";
/** The suffix of the path of a record that is being written. */
const NEW_RECORD_SUFFIX = `${RECORD_SUFFIX}.tmp`;
/** The suffixes of the files that belong to a part. */
const COMPANIONS = [RECORD_SUFFIX, NEW_RECORD_SUFFIX];
/** The limit of Unix file systems, minus what the names of a record add. */
const MAX_PART_NAME_BYTES = 255 - NEW_RECORD_SUFFIX.length;

/**
 * A part, next to its target and locked: nobody else downloads to the same target. The part is
 * removed when it is disposed of, unless a later call can resume it, or it has become the target.
 */
export class PartFile implements Disposable {
  readonly #target: string;
  temporary: Temporary;

  private constructor(target: string, temporary: Temporary) {
    this.#target = target;
    this.temporary = temporary;
  }

  /**
   * Opens or creates the part of a target.
   *
   * @throws {TransferError} if another download to the target is in progress.
   */
  static async open(target: string): Promise<PartFile> {
    try {
      // A link to the directory may lead somewhere else by the time that the part is removed.
      const directory = await Deno.realPath(dirname(target));
      return new PartFile(target, await openPart(target, directory));
    } catch (error) {
      // The path of the part says nothing to the caller.
      if (error instanceof Error && !(error instanceof TransferError)) {
        error.message = `file: ${target}: ${error.message}`;
      }
      throw error;
    }
  }

  /** Finds the bytes that an earlier call has left; `null` if there are none. */
  async kept(): Promise<KeptPart | null> {
    const { file, path, isFound } = this.temporary;
    const record = isFound ? await readRecord(path) : null;
    if (record === null) return null;
    const { size, uid, nlink } = await file.stat();
    return size === 0 || size > record.total || Number(nlink) > 1 ? null : { record, size, uid };
  }

  /** Whether a part is this user's: another user could have made it, and its record. */
  async isOwn({ record, uid }: KeptPart): Promise<boolean> {
    // The record is written anew, so its owner is this user, whose uid is thus known without
    // --allow-sys.
    return await writeRecord(this.temporary.path, record) === uid;
  }

  async hashTo(stop: number, signal: AbortSignal | undefined): Promise<Hash> {
    const { file, path } = this.temporary;
    const changed = () => {
      return new TransferError("CHANGED", `${path} was changed while it was in use`);
    };
    return await hashStart(file, stop, changed, signal);
  }

  /**
   * Starts over, with an empty file of this user's.
   *
   * @param record Describes the file, so that a later call can resume; `null` if none can.
   */
  async startOver(record: PartRecord | null): Promise<void> {
    const { path, isFound } = this.temporary;
    await removeIfPresent(path + RECORD_SUFFIX);
    if (isFound) {
      this.temporary.remove();
      this.temporary[Symbol.dispose]();
      this.temporary = await openPart(this.#target, dirname(path));
      // Another download was faster.
      if (this.temporary.isFound) throw partInUse(this.#target);
    }
    if (record !== null) await writeRecord(path, record);
    this.temporary.isKept = record !== null;
  }

  [Symbol.dispose](): void {
    this.temporary[Symbol.dispose]();
  }
}

async function openPart(target: string, directory: string): Promise<Temporary> {
  const path = join(directory, basename(partPath(target)));
  const lock = async (file: Deno.FsFile) => {
    if (await lockFile(file)) return true;
    throw partInUse(target);
  };
  const opened = await Temporary.open(path, lock, { companions: COMPANIONS });
  if (opened === null) throw partInUse(target);
  return opened;
}

/**
 * Renames a part to its target, whose permission bits are kept; a new file gets the usual ones. The
 * new name is on the disk when this returns.
 *
 * @param replaces Whether the target may already exist.
 */
export async function renamePart(part: string, target: string, replaces: boolean): Promise<void> {
  const replaced = await ifPresent(Deno.lstat(target));
  if (replaced !== null && !replaces) throw alreadyExists(target);
  const mode = replaced?.isFile ? replaced.mode : newFileMode(unusedPath(dirname(part)));
  // Until now only this user could read the part.
  if (mode !== null) setMode(part, mode);
  if (replaces) await Deno.rename(part, target);
  else if (!giveNewName(part, target)) throw alreadyExists(target);
  await syncIfPossible(dirname(target));
}

/** Removes the record of a part, once the part has the name of its file. */
export async function removeRecord(part: string): Promise<void> {
  await removeIfPresent(part + RECORD_SUFFIX);
}

/** A part that an earlier call has left. */
export interface KeptPart {
  readonly record: PartRecord;
  /** In bytes. */
  readonly size: number;
  readonly uid: number | null;
}

/** The version of a file that a part has bytes of: only the same version is resumed. */
export interface PartRecord {
  /** Where the file is: an authority, or an address. */
  readonly peer: string;
  readonly uri: string;
  /** The strong entity tag. */
  readonly etag: string;
  /** In bytes. */
  readonly total: number;
  /** SHA-256 of the whole file, if it was known before all of it had arrived; else `null`. */
  readonly sha256: string | null;
}

const FORMAT = "degu-part/1";
/** The limit of a preamble, which a URI and an entity tag are from. */
const MAX_RECORD_BYTES = 65536;

/** Reads the record of a part; `null` if there is no valid one. */
export async function readRecord(part: string): Promise<PartRecord | null> {
  const path = part + RECORD_SUFFIX;
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
 * @returns The owner of the record, who is the user of this process; `null` on Windows.
 */
export async function writeRecord(part: string, record: PartRecord): Promise<number | null> {
  const aside = part + NEW_RECORD_SUFFIX;
  const text = JSON.stringify({ format: FORMAT, ...record });
  await removeIfPresent(aside);
  using written = await writeAside(part + RECORD_SUFFIX, text, aside);
  return (await written.file.stat()).uid;
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
  for (const suffix of COMPANIONS) removeIfPresentSync(part + suffix);
}

const isText = (value: unknown) => typeof value === "string";
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const FIELDS: Readonly<Record<keyof PartRecord, (value: unknown) => boolean>> = {
  peer: isText,
  uri: isText,
  etag: isText,
  total: isCount,
  sha256: (value) => value === null || isText(value),
};

/** The path of the part of a target: a hidden file next to the target. */
export function partPath(target: string): string {
  const name = basename(target);
  const usual = `.${name}${PART_SUFFIX}`;
  if (new TextEncoder().encode(usual).length <= MAX_PART_NAME_BYTES) {
    return join(dirname(target), usual);
  }
  const hash = fingerprintOf(name);
  return join(dirname(target), `.${hash}${PART_SUFFIX}`);
}

/**
 * Checks what a download is to become.
 *
 * @param replaces Whether the target may already exist.
 * @throws {Deno.errors.IsADirectory} if the target is a directory, `Deno.errors.AlreadyExists` if
 * the target is there and must not be.
 * @throws {RangeError} if the target is something else.
 */
export async function checkTarget(target: string, replaces: boolean): Promise<void> {
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
export function partInUse(target: string): TransferError {
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
 * Replaces the error for a part that this user may not open or replace by one that names the owner:
 * in a directory such as /tmp, only the owner can remove the part. Other errors are returned
 * unchanged.
 */
export function explainForeignPart(error: unknown, target: string): unknown {
  const isDenied = error instanceof Deno.errors.PermissionDenied || codeOf(error) === "EPERM";
  if (!isDenied) return error;
  const part = partPath(target);
  // The path that the system names: the part may be ours, and its record somebody else's.
  const isNamed = (path: string) => (error as Error).message.includes(`/${basename(path)}'`);
  const path = COMPANIONS.map((suffix) => part + suffix).find(isNamed) ?? part;
  let uid: number | null;
  try {
    ({ uid } = Deno.lstatSync(path));
  } catch {
    // Nothing is known of a file that is gone, or whose directory may not be searched.
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
 * @param total Bytes of the whole file; `null` if they are not known.
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

/**
 * Creates the error for a file that is larger than the free space, before any of its bytes was
 * moved.
 */
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
  return bytes === 0 ? "" : `; ${partPath(target)} keeps the ${bytes} bytes that have arrived`;
}

/**
 * Counts the bytes of the part of a target, for a message; 0 if there is no part, or nobody may
 * look.
 */
function keptBytes(target: string): number {
  try {
    return Deno.lstatSync(partPath(target)).size;
  } catch {
    return 0;
  }
}
