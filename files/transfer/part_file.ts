/**
 * The name of the part identifies the version of the file, so that a later call resumes only the
 * same version.
 */

import { copyWithMessage, ignoreNotFound } from "../../internal/caught_errors.ts";
import { notAllowedError } from "../../internal/checks.ts";
import type { Hash } from "node:crypto";
import { lockFile, probeModes, probeOwner, retryLock } from "../disk/files.ts";
import {
  lstatOrNull,
  makeRandomSuffix,
  renameNoReplace,
  replaceFile,
  syncIfPossible,
} from "../disk/names.ts";
import { retryReplace } from "../../internal/retry_replace.ts";
import { basename, dirname, join, realPath } from "../../internal/paths.ts";
import {
  describeFullDisk,
  describeShortage,
  isDiskFullError,
  isFileLimitReached,
  readFreeBytes,
  type Shortage,
} from "../disk/space.ts";
import { TemporaryFile } from "../disk/temporary.ts";
import { hashPrefix, hashText } from "../wire/digest.ts";
import { isSameVersion } from "../disk/file_pieces.ts";
import { isBeingWritten, removeIfUnused } from "../leftovers.ts";
import { chooseFileMode, setFinalMode, type UnsetProperty } from "../wire/metadata.ts";
import { isPartName, PART_SUFFIX } from "../reserved.ts";
import { TransferError } from "../errors.ts";

export interface PartVersion {
  readonly peer: string;
  readonly uri: string;
  readonly etag: string;
  readonly total: number;
}

const VERSION_DIGITS = 32;
/** The length of the longest target name whose part fits in 255 bytes, the limit on Unix. */
const MAX_TARGET_NAME_BYTES = 255 - `..${PART_SUFFIX}`.length - VERSION_DIGITS;
/**
 * The end of the name of a part: a version, or random digits if the part can't be resumed. Parts of
 * small files of a tree have no digits.
 */
const PART_ENDING = /(?:\.(?:[0-9a-f]{16}|[0-9a-f]{32}))?\.degu-part$/;

function makePartPathPrefix(target: string): string {
  const name = basename(target);
  const isShort = new TextEncoder().encode(name).length <= MAX_TARGET_NAME_BYTES;
  return join(dirname(target), `.${isShort ? name : hashText(name)}`);
}

function makePartPath(target: string, version: PartVersion | null): string {
  const versionText = version &&
    JSON.stringify([version.peer, version.uri, version.etag, version.total]);
  const digits = versionText === null
    ? makeRandomSuffix()
    : hashText(versionText).slice(0, VERSION_DIGITS);
  return `${makePartPathPrefix(target)}.${digits}${PART_SUFFIX}`;
}

export class PartIndex {
  readonly #pathsByPrefix = new Map<string, Set<string>>();

  add(path: string): void {
    const prefix = path.replace(PART_ENDING, "");
    if (prefix === path) return;
    this.#pathsByPrefix.getOrInsertComputed(prefix, () => new Set()).add(path);
  }

  findPaths(target: string): readonly string[] {
    return [...this.#pathsByPrefix.get(makePartPathPrefix(target)) ?? []];
  }

  *[Symbol.iterator](): Generator<string, void, void> {
    for (const paths of this.#pathsByPrefix.values()) yield* paths;
  }
}

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
 * The part is locked while bytes are written, so that no other call downloads the same version to
 * the same target. Disposing removes the part, unless a later call can resume the part, or the part
 * was renamed to the target.
 */
export class PartFile implements Disposable {
  readonly modeMask: number | null;
  readonly #target: string;
  /** The target in its real directory, because a link may change during the call. */
  readonly #realTarget: string;
  readonly #partIndex: PartIndex;
  readonly #leftoverPaths: readonly string[];
  #temporaryFile: TemporaryFile | null = null;

  private constructor(
    target: string,
    realTarget: string,
    partIndex: PartIndex,
    modeMask: number | null,
  ) {
    this.#target = target;
    this.#realTarget = realTarget;
    this.#partIndex = partIndex;
    this.#leftoverPaths = partIndex.findPaths(realTarget);
    this.modeMask = modeMask;
  }

  /** Also creates and removes a file, to find the permission bits of new files. */
  static async prepare(target: string, partIndex: PartIndex | null = null): Promise<PartFile> {
    try {
      const directory = await realPath(dirname(target));
      const realTarget = join(directory, basename(target));
      const parts = partIndex ?? findParts(directory);
      for (const path of parts.findPaths(realTarget)) {
        if (!await retryLock(() => !isBeingWritten(path))) throw partInUseError(target, path);
      }
      const modeMask = probeModes(makePartPath(realTarget, null))?.mask ?? null;
      return new PartFile(target, realTarget, parts, modeMask);
    } catch (error) {
      if (!(error instanceof Error) || error instanceof TransferError) throw error;
      // Add the target to the message, because the caller doesn't know the path of the part.
      const problem = error instanceof Deno.errors.NotFound
        ? `the directory ${dirname(target)} doesn't exist; create it before the download`
        : error.message;
      throw copyWithMessage(error, `file: ${target}: ${problem}`);
    }
  }

  get hasLeftovers(): boolean {
    return this.#leftoverPaths.length > 0;
  }

  findLeftoverSize(): number {
    return this.#leftoverPaths.reduce((sum, path) => sum + sizeOf(path), 0);
  }

  get temporaryFile(): TemporaryFile {
    return this.#temporaryFile!;
  }

  findKeptPart(): TransferError["kept"] {
    const paths = this.#temporaryFile === null ? this.#leftoverPaths : [this.#temporaryFile.path];
    const parts = paths.map((path) => ({ path, bytes: sizeOf(path) }));
    return parts.find(({ bytes }) => bytes > 0) ?? null;
  }

  get directory(): string {
    return dirname(this.#realTarget);
  }

  async resume(version: PartVersion): Promise<number> {
    const path = makePartPath(this.#realTarget, version);
    const size = this.#leftoverPaths.includes(path) ? sizeOf(path) : 0;
    if (size === 0 || size > version.total) return 0;
    await this.open(version);
    return (await this.temporaryFile.file.stat()).size;
  }

  async open(version: PartVersion | null): Promise<void> {
    const path = makePartPath(this.#realTarget, version);
    if (this.#temporaryFile !== null) {
      this.#temporaryFile.isKept = this.#temporaryFile.path === path;
    }
    this[Symbol.dispose]();
    const lock = async (file: Deno.FsFile) => {
      if (await lockFile(file)) return true;
      throw partInUseError(this.#target, path);
    };
    const probe = () => probeOwner(makePartPath(this.#realTarget, null));
    try {
      this.#temporaryFile = await TemporaryFile.open(path, lock, { probeOwner: probe });
    } catch (error) {
      // In a directory with the sticky bit, the part of another user can't be removed.
      if (version === null || !(error instanceof Deno.errors.PermissionDenied)) throw error;
      return await this.open(null);
    }
    if (this.#temporaryFile === null) throw partInUseError(this.#target, path);
    this.#temporaryFile.isKept = version !== null;
    this.#partIndex.add(path);
    removeParts(this.#target, this.#leftoverPaths.filter((leftoverPath) => leftoverPath !== path));
  }

  async clear(): Promise<void> {
    await this.temporaryFile.continueFrom(0);
    this.temporaryFile.isKept = false;
  }

  async hashPrefix(stop: number, signal: AbortSignal | undefined): Promise<Hash> {
    const { file, path } = this.temporaryFile;
    const changedError = () => {
      return new TransferError("CHANGED", `${path} was changed while it was in use`);
    };
    return await hashPrefix(file, stop, changedError, signal);
  }

  [Symbol.dispose](): void {
    this.#temporaryFile?.[Symbol.dispose]();
  }
}

/**
 * Synchronous reading takes a fifth of the time of asynchronous reading. On a damaged disk,
 * synchronous reading may miss a part, which is then not resumed.
 */
function findParts(directory: string): PartIndex {
  const partIndex = new PartIndex();
  for (const { name } of Deno.readDirSync(directory)) {
    if (name.startsWith(".")) partIndex.add(join(directory, name));
  }
  return partIndex;
}

function sizeOf(path: string): number {
  try {
    return lstatOrNull(path)?.size ?? 0;
  } catch {
    return 0;
  }
}

/**
 * @param sourceMode The permission bits of the source. With `null`, a replaced file keeps its bits,
 * and a new file gets the usual bits.
 * @returns The properties that the disk has refused; `null` if the part was not renamed.
 */
export async function renamePart(
  { temporaryFile, modeMask }: PartFile,
  target: string,
  initialInfo: Deno.FileInfo | null,
  sourceMode: number | null,
): Promise<readonly UnsetProperty[] | null> {
  const { path, isTimeUnset } = temporaryFile;
  const file = { path, info: null, isTimeUnset, ...chooseFileMode(sourceMode, modeMask) };
  // Synchronous, so that other code of this process can't change the target after the check.
  const unset = await retryReplace(() => {
    const existingInfo = lstatOrNull(target);
    const isUnchangedTarget = existingInfo === null || initialInfo === null
      ? existingInfo === initialInfo
      : isSameVersion(existingInfo, initialInfo);
    if (!isUnchangedTarget) return null;
    // The bits of a replaced link are not bits of a file.
    const unset = setFinalMode(file, existingInfo?.isFile ? existingInfo : null);
    if (existingInfo === null) return renameNoReplace(path, target) ? unset : null;
    replaceFile(path, target);
    return unset;
  });
  if (unset !== null) await syncIfPossible(dirname(target));
  return unset;
}

export function targetChangedError(target: string, options?: ErrorOptions): TransferError {
  const problem = `${target}: the target's file changed during the call, and was kept`;
  const message = `${problem}; look at the file and call again`;
  return new TransferError("TARGET_CHANGED", message, { ...options, problem });
}

/**
 * Returns the path of the file to write: if the target of a download is a symbolic link to a file,
 * the path of this file, so that the link stays.
 */
export async function resolveLocalTarget(target: string): Promise<string> {
  try {
    if (lstatOrNull(target)?.isSymlink !== true) return target;
    // A link to another entry than a file is refused with the message for this entry.
    return (await Deno.stat(target)).isFile ? await realPath(target) : target;
  } catch (cause) {
    const isDangling = cause instanceof Deno.errors.NotFound;
    if (!isDangling && !(cause instanceof Deno.errors.FilesystemLoop)) throw cause;
    const problem = isDangling
      ? "is a symbolic link to a file that does not exist"
      : "is a symbolic link that leads back to itself";
    const message = `file: ${target} ${problem}`;
    throw new TransferError("IN_THE_WAY", message, { problem, cause });
  }
}

export async function checkLocalTarget(
  target: string,
  followLink = true,
): Promise<Deno.FileInfo | null> {
  if (isPartName(basename(target))) {
    throw notAllowedError(
      "file",
      `${target} has the name of a part of a download; choose another name`,
    );
  }
  const lookup = followLink ? Deno.stat(target) : Deno.lstat(target);
  const info = await ignoreNotFound(lookup).catch((cause) => {
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
  // Renaming the part would replace a device with a file.
  if (info?.isFile === false && !info.isSymlink) {
    const problem = "exists and is not a regular file";
    throw new TransferError("IN_THE_WAY", `file: ${target} ${problem}`, { problem });
  }
  return lstatOrNull(target);
}

function partInUseError(target: string, path: string): TransferError {
  const problem = `another download to the same file is in progress, which has locked ${path}; ` +
    "wait for it, or choose another file";
  return new TransferError("IN_USE", `${target}: ${problem}`, { problem });
}

export function toDiskFullError(
  error: unknown,
  file: string,
  length: number | null = null,
  partFile: PartFile | null = null,
): unknown {
  if (!isDiskFullError(error)) return error;
  const { path } = partFile?.findKeptPart() ?? {};
  const partBytes = path === undefined ? 0 : sizeOf(path);
  const neededBytes = length === null ? null : Math.max(0, length - partBytes);
  const freeBytes = readFreeBytes(dirname(file));
  const problem = describeFullDisk(error, " on this device", neededBytes, freeBytes);
  const message = `${file}: ${problem}; free some and call again to resume`;
  const figures = isFileLimitReached(error, neededBytes, freeBytes)
    ? { needed: 0 }
    : { free: freeBytes };
  return diskFullError(message, { cause: error, ...figures }, partFile);
}

export function localDiskFullError(
  file: string,
  shortage: Shortage,
  partFile: PartFile,
): TransferError {
  const problem = describeShortage(shortage, " on this device");
  return diskFullError(`${file}: ${problem}; free some and call again`, {
    needed: shortage.neededBytes,
    free: shortage.freeBytes,
  }, partFile);
}

/** The message has the path of the part, which is a hidden file. */
function diskFullError(
  problem: string,
  options: ConstructorParameters<typeof TransferError>[2],
  partFile: PartFile | null,
): TransferError {
  const keptPart = partFile?.findKeptPart() ?? null;
  const keptText = keptPart === null
    ? ""
    : `; ${keptPart.path} keeps the ${keptPart.bytes} bytes that have arrived`;
  return new TransferError("DISK_FULL", problem + keptText, {
    ...options,
    at: "local",
    kept: keptPart,
  });
}
