import { chmodSync, constants, existsSync, unlinkSync } from "node:fs";
import { checkString } from "../../internal/checks.ts";
import {
  fileErrorCodeOf,
  isTooManyOpenFilesError,
  withPath,
} from "../../internal/caught_errors.ts";
import { quoteName } from "../../internal/quote.ts";
import { isDiskFullError } from "./space.ts";
import { findNameProblem, NAME_PROBLEM_TEXTS, type NameProblem } from "./file_names.ts";
import { dirname, realPathSync } from "../../internal/paths.ts";
import { open } from "node:fs/promises";

/** After other errors, such as a missing permission to search a directory, the path may exist. */
export function isMissingPathError(error: unknown): boolean {
  const code = fileErrorCodeOf(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Deno's replacement for bytes that are not UTF-8. */
export const REPLACEMENT_CHARACTER = "\ufffd";

/**
 * A damaged disk may list a name twice, and so may FAT if a file is replaced at the same time: such
 * a name is returned once. Different names that are not UTF-8 may decode to the same text, which is
 * then returned for each of these names.
 *
 * Use this function to find the entries to copy or delete. If reading fails, the synchronous
 * functions of Deno 2.9 and of its `node:fs` return only the names before the error, and don't
 * throw.
 */
export async function readNames(path: string): Promise<string[]> {
  const names = new Set<string>();
  const lookalikeNames: string[] = [];
  const entries = Deno.readDir(path)[Symbol.asyncIterator]();
  try {
    // `for await` takes 25 % longer for each name.
    for (let result = await entries.next(); !result.done; result = await entries.next()) {
      const { name } = result.value;
      if (names.has(name) && name.includes(REPLACEMENT_CHARACTER)) lookalikeNames.push(name);
      else names.add(name);
    }
  } catch (error) {
    // An error after the first name doesn't have the path of the directory.
    throw withPath(error, "readdir", path);
  }
  return [...names, ...lookalikeNames];
}

/**
 * A name in the form of a short name is no problem if the directory lists it: it is then the name
 * of the file itself, and not the second name of another file.
 */
export function findEntryNameProblem(directory: string, name: string): NameProblem | null {
  const problem = findNameProblem(name);
  return problem === "name-short" && isListed(directory, name) ? null : problem;
}

/**
 * Describes why Windows can't store a name, as text after the name, such as `"is reserved by
 * Windows"`. Returns `null` for any other name, and on other systems.
 *
 * @param name The name of a file or directory, without slashes.
 * @param directory The directory of the entry. Pass the directory if another device has chosen the
 * name: a name that Windows may take for the short name of another file, such as `PROGRA~1`, is
 * then also a problem.
 * @throws {TypeError} if the name is not a string.
 *
 * @example
 * ```ts
 * import { describeNameProblem } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeNameProblem("film.mkv"), null);
 * ```
 */
export function describeNameProblem(name: string, directory: string | null = null): string | null {
  checkString("name", name);
  const problem = directory === null
    ? findNameProblem(name)
    : findEntryNameProblem(directory, name);
  const isAllowed = problem === null || problem === "name-short" && directory === null;
  return isAllowed ? null : NAME_PROBLEM_TEXTS[problem];
}

function isListed(directory: string, name: string): boolean {
  const lowerCaseName = name.toLowerCase();
  try {
    for (const entry of Deno.readDirSync(directory)) {
      if (entry.name.toLowerCase() === lowerCaseName) return true;
    }
  } catch {
    // The directory is missing, or can't be read.
  }
  return false;
}

export function lstatOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (isMissingPathError(error)) return null;
    throw error;
  }
}

/** Deno rounds inodes above 2⁵³, so two files can have the same identity. */
export type FileIdentity = Pick<Deno.FileInfo, "dev" | "ino">;

export function isSameFile(identity: FileIdentity, otherIdentity: FileIdentity): boolean {
  return identity.dev === otherIdentity.dev && identity.ino === otherIdentity.ino;
}

/** Union file systems have inodes above 2⁵³, which Deno rounds, so the times are also compared. */
export function isSameDirectory(info: Deno.FileInfo, otherInfo: Deno.FileInfo): boolean {
  if (!info.isDirectory || !otherInfo.isDirectory || !isSameFile(info, otherInfo)) return false;
  const timesOf = ({ mtime, birthtime }: Deno.FileInfo) => `${Number(mtime)} ${Number(birthtime)}`;
  return Number.isSafeInteger(info.ino) || timesOf(info) === timesOf(otherInfo);
}

export function isFileAtPath(path: string, file: FileIdentity): boolean {
  const info = lstatOrNull(path);
  return info !== null && isSameFile(info, file);
}

/**
 * Makes a function that reports whether a directory is still at its path: false after the directory
 * was moved or removed, or its disk was unmounted. The mount point of an unmounted disk has another
 * device and another inode. A disk that is mounted again may have another device, but has the same
 * inodes.
 */
export function makePresenceCheck(path: string): () => boolean {
  const { dev, ino } = Deno.lstatSync(path);
  return () => {
    try {
      const info = Deno.lstatSync(path);
      return info.isDirectory && (info.dev === dev || info.ino === ino);
    } catch (error) {
      return error instanceof Deno.errors.NotCapable;
    }
  };
}

/** Creates a directory and its missing parents. */
export function createDirectory(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists) || existsSync(path)) throw error;
    throw new Deno.errors.NotFound(
      `dir: ${
        quoteName(path)
      } leads through a symbolic link to a directory that does not exist; is its disk mounted?`,
    );
  }
}

export function removeIfPresentSync(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (fileErrorCodeOf(error) !== "ENOENT") throw error;
  }
}

/**
 * Set `areTested` to true, here and in `agent/peer/deletions.ts`, once the suite has passed on
 * Windows, not only under Wine, and change README.md. Some tests change the value.
 */
export const windowsDeletions = { areTested: false };

export function findDeletionProblem(): string | null {
  return Deno.build.os === "windows" && !windowsDeletions.areTested
    ? "not tested on Windows yet"
    : null;
}

export function makeRandomSuffix(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

/**
 * Renames a file to a path that doesn't exist: of several processes at the same time, one succeeds.
 * A process that is killed meanwhile can leave both names.
 * Synchronous, so that no other code of this process runs between a check and the rename.
 */
export function renameNoReplace(oldPath: string, newPath: string): boolean {
  try {
    Deno.linkSync(oldPath, newPath);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    // A rename would also fail.
    if (isDiskFullError(error)) throw error;
    if (error instanceof Deno.errors.NotFound) {
      const isMissing = [oldPath, dirname(newPath)].some((path) => lstatOrNull(path) === null);
      if (isMissing) throw error;
      // Archivemount, which also keeps the content of a replaced file.
      const problem = "reports an existing file as missing";
      throw new UnsupportedDiskError(newPath, problem, { cause: error });
    }
    // On a file system without hard links another process may create the path after this check.
    if (lstatOrNull(newPath) !== null) return false;
    Deno.renameSync(oldPath, newPath);
    return true;
  }
  unlinkSync(oldPath);
  return true;
}

/**
 * Removes a name of a file, unless another process has given this name to another file. Looks at
 * the file after its rename: before, another process could still replace the file.
 *
 * @param freePath A path on the same file system.
 * @returns False if the name has another file, which keeps it, or gets the free path.
 */
export function removeName(path: string, file: FileIdentity, freePath: string): boolean {
  Deno.renameSync(path, freePath);
  if (!isFileAtPath(freePath, file)) {
    renameNoReplace(freePath, path);
    return false;
  }
  try {
    unlinkSync(freePath);
  } catch {
    // The file has lost the name.
  }
  return true;
}

/**
 * Renames a file to the path of a file, which it replaces. First makes the replaced file writable,
 * because Windows doesn't replace a read-only file.
 *
 * @throws {UnsupportedDiskError} if the file system doesn't replace files, as on some servers of
 * SFTP and SMB.
 */
export function replaceFile(oldPath: string, newPath: string): void {
  if (
    Deno.build.os === "windows" &&
    ((lstatOrNull(newPath)?.mode ?? WRITABLE_MODE) & WRITABLE_MODE) === 0
  ) {
    chmodSync(newPath, WRITABLE_MODE);
  }
  try {
    Deno.renameSync(oldPath, newPath);
  } catch (cause) {
    const isFile = fileErrorCodeOf(cause) === "EEXIST" && lstatOrNull(newPath)?.isFile === true;
    if (!isFile) throw cause;
    const problem = "can't rename a file to the name of an existing file";
    throw new UnsupportedDiskError(newPath, problem, { cause });
  }
}

/** The error of a file system that lacks an operation, or does another one without an error. */
export class UnsupportedDiskError extends Error {
  readonly code = "ENOTSUP";

  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(`${path} can't be stored: its disk ${problem}`, options);
  }
}

/** The permission bits that node:fs reports for a file of Windows that is not read-only. */
const WRITABLE_MODE = 0o222;

/** Reports whether an error can mean that a file system, such as FAT, doesn't accept a name. */
export function isBadNameError(error: unknown): boolean {
  const code = fileErrorCodeOf(error);
  // The file system has accepted the name of an open file.
  const isOfOpenFile = error instanceof Error && "operation" in error;
  return !isOfOpenFile && (code === "EINVAL" || code === "EILSEQ");
}

/** Many file systems can't sync a directory, and have different codes for this. */
const IGNORED_SYNC_CODES: ReadonlySet<unknown> = new Set([
  ...["EACCES", "ELOOP", "EINVAL"],
  ...["EPERM", "EROFS", "EBADF", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"],
]);

/**
 * Syncs a directory, or a file such as a log. Has no effect on Windows, which can't open
 * directories.
 */
export async function syncIfPossible(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    await using entry = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    await entry.sync();
  } catch (error) {
    if (isMissingPathError(error) || IGNORED_SYNC_CODES.has(fileErrorCodeOf(error))) return;
    throw withPath(error, "fsync", path);
  }
}

/** The maximum number of open directories: some systems limit a program to 256 descriptors. */
const MAX_OPEN_DIRECTORIES = 32;

export async function syncAllIfPossible(paths: Iterable<string>): Promise<void> {
  const distinctPaths = new Set(paths);
  const remainingPaths = distinctPaths.values();
  const length = Math.min(MAX_OPEN_DIRECTORIES, distinctPaths.size);
  await Promise.all(Array.from({ length }, async () => {
    for (const path of remainingPaths) await syncIfPossible(path);
  }));
}

export function isFileSystemError(error: unknown): boolean {
  return typeof fileErrorCodeOf(error) === "string" || error instanceof Deno.errors.NotCapable;
}

/** An error because of too many open files doesn't count: a later read may succeed. */
export function isUnreadableError(error: unknown): boolean {
  return isFileSystemError(error) && !isTooManyOpenFilesError(error);
}

export function hasNoSymlink(path: string): boolean {
  try {
    const real = realPathSync(path);
    // A file system may return names in another spelling, so a path that differs from its real path
    // doesn't prove a link. Check each directory on such a path.
    let [directory, realDirectory] = [path, real];
    while (directory !== realDirectory) {
      if (!Deno.lstatSync(directory).isDirectory) return false;
      directory = directory.slice(0, directory.lastIndexOf("/"));
      realDirectory = realDirectory.slice(0, realDirectory.lastIndexOf("/"));
    }
    return true;
  } catch (error) {
    if (isMissingPathError(error) || UNCHECKABLE_PATH_CODES.has(fileErrorCodeOf(error))) {
      return false;
    }
    throw error;
  }
}

/** After an error with one of these codes, a path may have a link. */
const UNCHECKABLE_PATH_CODES: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EIO", "ELOOP"]);
