/**
 * Parts of downloads: the bytes of a file that have arrived, next to its target. The name of a part
 * says which version of the file they are of, so that a later call finds them again.
 */

import { notAllowedError } from "../../internal/checks.ts";
import type { Hash } from "node:crypto";
import { lockFile, probeModeMask, retryLock, setMode } from "../../internal/disk/files.ts";
import {
  ignoreNotFound,
  lstatExactOrNull,
  lstatOrNull,
  makeRandomSuffix,
  renameNoReplace,
  replaceFile,
  retryReplace,
  syncIfPossible,
} from "../../internal/disk/names.ts";
import { basename, dirname, join, realPath } from "../../internal/disk/paths.ts";
import {
  formatSpaceFigures,
  isDiskFullError,
  readFreeBytes,
  type Shortage,
} from "../../internal/disk/space.ts";
import { TemporaryFile } from "../../internal/disk/temporary.ts";
import { hashOfText, hashPrefix } from "../digest.ts";
import { isBeingWritten, removeIfUnused } from "../leftovers.ts";
import { modeOfWritten } from "../modes.ts";
import { isPartName, PART_SUFFIX } from "../reserved.ts";
import { type KeptPart, TransferError } from "../transfer_error.ts";

/** Which version of a file a part has bytes of: only the same version is resumed. */
export interface PartVersion {
  /** Where the file is: an authority, or an address. */
  readonly peer: string;
  readonly uri: string;
  /** The strong entity tag. */
  readonly etag: string;
  /** In bytes. */
  readonly total: number;
}

/** The digits of a version in the name of a part. */
const VERSION_DIGITS = 32;
/** The limit of Unix file systems, minus what the name of a part adds. */
const MAX_TARGET_NAME_BYTES = 255 - `..${PART_SUFFIX}`.length - VERSION_DIGITS;
/**
 * The end of the name of a part: a version, or random digits if it can't be resumed. Parts of small
 * files of a tree have neither.
 */
const PART_END = /(?:\.(?:[0-9a-f]{16}|[0-9a-f]{32}))?\.degu-part$/;

/** Returns the prefix of the paths of all parts of a target. */
function partPathPrefix(target: string): string {
  const name = basename(target);
  const isShort = new TextEncoder().encode(name).length <= MAX_TARGET_NAME_BYTES;
  return join(dirname(target), `.${isShort ? name : hashOfText(name)}`);
}

function partPath(target: string, version: PartVersion | null): string {
  const text = version && JSON.stringify([version.peer, version.uri, version.etag, version.total]);
  const digits = text === null ? makeRandomSuffix() : hashOfText(text).slice(0, VERSION_DIGITS);
  return `${partPathPrefix(target)}.${digits}${PART_SUFFIX}`;
}

/** The parts in a directory, or in those of a tree, by their targets. */
export class FoundParts {
  readonly #paths = new Map<string, Set<string>>();

  /** @param path The path of an entry with a reserved name. */
  add(path: string): void {
    const start = path.replace(PART_END, "");
    if (start === path) return;
    this.#paths.set(start, (this.#paths.get(start) ?? new Set()).add(path));
  }

  /** The paths of all parts of a target. */
  of(target: string): readonly string[] {
    return [...this.#paths.get(partPathPrefix(target)) ?? []];
  }

  *[Symbol.iterator](): Generator<string, void, void> {
    for (const paths of this.#paths.values()) yield* paths;
  }
}

/**
 * Removes parts of a target.
 *
 * @throws {TransferError} if a process still writes to one.
 */
export function removeParts(target: string, paths: readonly string[]): void {
  for (const path of paths) {
    let isRemoved = true;
    try {
      isRemoved = removeIfUnused(path);
    } catch {
      // The path is a directory, or this user may not remove the part: keep it.
    }
    if (!isRemoved) throw partInUseError(target, path);
  }
}

/**
 * The part of a target, locked while bytes are written: no other call downloads the same version to
 * the same target. The part is removed when this is disposed of, unless a later call can resume it,
 * or it has become the target.
 */
export class PartFile implements Disposable {
  /** Which permission bits a new file gets in the directory of the target. */
  readonly modeMask: number | null;
  readonly #target: string;
  /** The target, in the real directory: a link may lead somewhere else later. */
  readonly #realTarget: string;
  readonly #foundParts: FoundParts;
  /** The paths of the parts that calls before have left. */
  readonly #leftovers: readonly string[];
  #temporary: TemporaryFile | null = null;

  private constructor(target: string, real: string, found: FoundParts, modeMask: number | null) {
    this.#target = target;
    this.#realTarget = real;
    this.#foundParts = found;
    this.#leftovers = found.of(real);
    this.modeMask = modeMask;
  }

  /**
   * Finds what calls before have left of a target, in a directory where this user can write.
   *
   * @param found The parts in its directory, if the caller has found them.
   * @throws {TransferError} if another download to the target is in progress.
   */
  static async find(target: string, found: FoundParts | null = null): Promise<PartFile> {
    try {
      const directory = await realPath(dirname(target));
      const real = join(directory, basename(target));
      const parts = found ?? findParts(directory);
      for (const path of parts.of(real)) {
        if (!await retryLock(() => !isBeingWritten(path))) throw partInUseError(target, path);
      }
      return new PartFile(target, real, parts, probeModeMask(partPath(real, null)));
    } catch (error) {
      // Name the target, since the caller doesn't know the path of the part.
      if (error instanceof Error && !(error instanceof TransferError)) {
        error.message = `file: ${target}: ${error.message}`;
      }
      throw error;
    }
  }

  /** Whether there may be bytes to resume. */
  get hasLeftovers(): boolean {
    return this.#leftovers.length > 0;
  }

  /** The bytes of all parts that calls before have left. */
  get leftoverBytes(): number {
    return this.#leftovers.reduce((sum, path) => sum + sizeOf(path), 0);
  }

  /** The open part. */
  get temporary(): TemporaryFile {
    return this.#temporary!;
  }

  /** The path of the part that has some bytes, and their number; `null` without one. */
  get kept(): KeptPart | null {
    const paths = this.#temporary === null ? this.#leftovers : [this.#temporary.path];
    const all = paths.map((path) => ({ path, bytes: sizeOf(path) }));
    return all.find(({ bytes }) => bytes > 0) ?? null;
  }

  get directory(): string {
    return dirname(this.#realTarget);
  }

  /** Opens the part that has bytes of this version; resolves to their number, 0 without a part. */
  async resume(version: PartVersion): Promise<number> {
    const path = partPath(this.#realTarget, version);
    const size = this.#leftovers.includes(path) ? sizeOf(path) : 0;
    if (size === 0 || size > version.total) return 0;
    await this.open(version);
    return (await this.temporary.file.stat()).size;
  }

  /**
   * Opens or creates the part of a version, and removes those of others.
   *
   * @param version `null` if no later call can resume the part.
   * @throws {TransferError} if another download of this version to the target is in progress.
   */
  async open(version: PartVersion | null): Promise<void> {
    const path = partPath(this.#realTarget, version);
    if (this.#temporary !== null) this.#temporary.isKept = this.#temporary.path === path;
    this[Symbol.dispose]();
    this.#temporary = await TemporaryFile.open(path, async (file) => {
      if (await lockFile(file)) return true;
      throw partInUseError(this.#target, path);
    });
    if (this.#temporary === null) throw partInUseError(this.#target, path);
    this.#temporary.isKept = version !== null;
    this.#foundParts.add(path);
    removeParts(this.#target, this.#leftovers.filter((other) => other !== path));
  }

  /** Gives up the bytes of the open part. */
  async clear(): Promise<void> {
    await this.temporary.continueFrom(0);
    this.temporary.isKept = false;
  }

  async hashTo(stop: number, signal: AbortSignal | undefined): Promise<Hash> {
    const { file, path } = this.temporary;
    const changed = () => {
      return new TransferError("CHANGED", `${path} was changed while it was in use`);
    };
    return await hashPrefix(file, stop, changed, signal);
  }

  [Symbol.dispose](): void {
    this.#temporary?.[Symbol.dispose]();
  }
}

/**
 * Finds the parts in a directory: synchronously, in a fifth of the time. A part that a damaged disk
 * does not list is not resumed.
 */
function findParts(directory: string): FoundParts {
  const found = new FoundParts();
  for (const { name } of Deno.readDirSync(directory)) {
    if (name.startsWith(".")) found.add(join(directory, name));
  }
  return found;
}

/** Returns the bytes of a part; 0 for a missing part, or one that this user may not look up. */
function sizeOf(path: string): number {
  try {
    return Number(lstatExactOrNull(path)?.size ?? 0);
  } catch {
    return 0;
  }
}

/**
 * Renames a part to its target. The new name is on the disk when this returns.
 *
 * @param replaces Whether the target may already exist.
 * @param seen The target as it was when the call began.
 * @param source The permission bits of the source; `null` if a replaced file keeps its own, and a
 * new one gets the usual ones.
 * @returns False if another file has the name.
 */
export async function renamePart(
  { temporary, modeMask }: PartFile,
  target: string,
  replaces: boolean,
  seen: Deno.FileInfo | null,
  source: number | null,
): Promise<boolean> {
  const part = temporary.path;
  const isRenamed = await retryReplace(() => {
    return renameNow(part, modeMask, target, replaces, seen, source);
  });
  if (isRenamed) await syncIfPossible(dirname(target));
  return isRenamed;
}

/** Does {@linkcode renamePart} synchronously: no other code of this process runs in between. */
function renameNow(
  part: string,
  modeMask: number | null,
  target: string,
  replaces: boolean,
  seen: Deno.FileInfo | null,
  source: number | null,
): boolean {
  const replaced = lstatOrNull(target);
  if (replaced !== null && (!replaces || !isSameVersion(replaced, seen))) return false;
  const { newMode, hasOwnMode } = modeOfWritten(source, modeMask);
  const mode = replaced?.isFile && !hasOwnMode ? replaced.mode : newMode;
  // Until now only this user could read the part.
  if (mode !== null) setMode(part, mode);
  if (replaced !== null) replaceFile(part, target);
  else if (!renameNoReplace(part, target)) return false;
  return true;
}

function isSameVersion(now: Deno.FileInfo, seen: Deno.FileInfo | null): boolean {
  return (["dev", "ino", "size"] as const).every((key) => now[key] === seen?.[key]) &&
    now.mtime?.getTime() === seen?.mtime?.getTime();
}

export function targetChangedError(target: string, options?: ErrorOptions): TransferError {
  const problem = `${target}: what has this name changed meanwhile, and stays`;
  const message = `${problem}; look at it and call again`;
  return new TransferError("TARGET_CHANGED", message, { ...options, problem });
}

/**
 * Checks what a download is to become, and returns what has its name.
 *
 * @throws {TransferError} if something that is not a file has its name.
 * @throws {RangeError} if it can't be the name of a file.
 */
export async function checkLocalTarget(target: string): Promise<Deno.FileInfo | null> {
  if (isPartName(basename(target))) {
    throw notAllowedError(
      "file",
      `${target} has the name of a part of a download; choose another name`,
    );
  }
  const info = await ignoreNotFound(Deno.stat(target)).catch((cause) => {
    if (!(cause instanceof Deno.errors.NotADirectory)) throw cause;
    const problem = `file: ${target}: ${dirname(target)} is not a directory`;
    throw new TransferError("IN_THE_WAY", problem, { cause });
  });
  if (info?.isDirectory) {
    const problem = "is a directory";
    const message = `file: ${target} ${problem}; pass the path of a file, for example one in it`;
    throw new TransferError("IN_THE_WAY", message, { problem });
  }
  if (target.endsWith("/")) {
    throw notAllowedError("file", `${target} is a directory; add the name of the file`);
  }
  // A device would be replaced by a file.
  if (info?.isFile === false) {
    const problem = "exists and is not a regular file";
    throw new TransferError("IN_THE_WAY", `file: ${target} ${problem}`, { problem });
  }
  return lstatOrNull(target);
}

export function alreadyExistsError(target: string): TransferError {
  const problem = "already exists";
  const advice = "choose another name, or replace it with replace: true";
  return new TransferError("EXISTS", `file: ${target} ${problem}; ${advice}`, { problem });
}

/** The error of a target that another download is writing. */
export function partInUseError(target: string, path: string): TransferError {
  const problem = `another download to the same file is in progress, which has locked ${path}; ` +
    "wait for it, or choose another file";
  return new TransferError("IN_USE", `${target}: ${problem}`, { problem });
}

/**
 * Converts the error of a disk that has filled up, which has no class of its own; other errors are
 * returned unchanged.
 *
 * @param total Bytes of the whole file; `null` if they are not known.
 */
export function toDiskFullError(
  error: unknown,
  file: string,
  total: number | null = null,
  part: PartFile | null = null,
): unknown {
  if (!isDiskFullError(error)) return error;
  const needed = total === null ? null : total - (part?.kept?.bytes ?? 0);
  const free = readFreeBytes(dirname(file));
  const problem = "there is no space left on this device, or its quota is exceeded" +
    `${formatSpaceFigures(needed, free)}; free some and call again to resume`;
  return diskFullError(`${file}: ${problem}`, { cause: error, free }, part);
}

/**
 * Creates the error for a file that is larger than the free space, before any of its bytes was
 * moved.
 */
export function localDiskFullError(
  file: string,
  { neededBytes: needed, freeBytes: free }: Shortage,
  part: PartFile,
): TransferError {
  const problem = `there is too little space on this device${formatSpaceFigures(needed, free)}`;
  return diskFullError(`${file}: ${problem}; free some and call again`, { needed, free }, part);
}

/** Creates the error of a full disk, with the part of the target, which is hidden. */
function diskFullError(
  problem: string,
  options: ConstructorParameters<typeof TransferError>[2],
  part: PartFile | null,
): TransferError {
  const kept = part?.kept ?? null;
  const words = kept === null
    ? ""
    : `; ${kept.path} keeps the ${kept.bytes} bytes that have arrived`;
  return new TransferError("DISK_FULL", problem + words, { ...options, at: "local", kept });
}
