/**
 * Names on the disk: looked up, listed, given, removed and synced, so that a crash leaves no half
 * of a change; and what the errors of the system say of them.
 */

import { type BigIntStats, chmodSync, constants, lstatSync, unlinkSync } from "node:fs";
import { dirname, realPathSync } from "./paths.ts";
import { open } from "node:fs/promises";

/**
 * The code of an error of the system, such as `"ENOENT"`; `undefined` if the error has none. Some
 * errors, like that of a damaged inode, have no code in Deno and only a number in their message:
 * their code is `"errno 117"`.
 */
export function fileErrorCode(error: unknown): unknown {
  const { code, message } = (error ?? {}) as {
    readonly code?: unknown;
    readonly message?: unknown;
  };
  if (code !== undefined || typeof message !== "string") return code;
  const [, number] = /\(os error (\d+)\)/.exec(message) ?? [];
  if (number === undefined) return undefined;
  // ERROR_SHARING_VIOLATION and ERROR_LOCK_VIOLATION.
  if (Deno.build.os === "windows" && (number === "32" || number === "33")) return "EBUSY";
  return number === "23" ? "ENFILE" : `errno ${number}`;
}

/**
 * Whether an error says that nothing has a path. Other errors, like that of a directory that may
 * not be searched, leave open whether something has it.
 */
export function isMissing(error: unknown): boolean {
  const code = fileErrorCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Resolves to `null` if nothing has the requested name. */
export async function ifPresent<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** The names in a directory; none if it is missing. */
export async function namesIn(path: string): Promise<string[]> {
  return await ifPresent(Array.fromAsync(Deno.readDir(path), ({ name }) => name)) ?? [];
}

/** Deno's replacement for bytes that are not UTF-8. */
export const NOT_UTF8 = "\ufffd";

/**
 * Reads all names in a directory, to its end. A damaged disk may list a name twice, and so may FAT
 * if a file is replaced meanwhile: that name is returned once. Names that are not UTF-8 may look
 * the same, and each of them is returned.
 *
 * Every synchronous way of Deno 2.9 to read a directory, those of `node:fs` too, takes an error in
 * its middle for its end: the rest of the names on a damaged disk would be missing without a word.
 * Therefore nothing that is copied or deleted is found in another way.
 *
 * @throws the error of the system if the directory can't be read to its end.
 */
export async function readNames(path: string): Promise<string[]> {
  const names = new Set<string>();
  const alike: string[] = [];
  const entries = Deno.readDir(path)[Symbol.asyncIterator]();
  try {
    // With `for await`, each name takes a quarter more.
    for (let next = await entries.next(); !next.done; next = await entries.next()) {
      const { name } = next.value;
      if (names.has(name) && name.includes(NOT_UTF8)) alike.push(name);
      else names.add(name);
    }
  } catch (error) {
    // The error of a directory that fails in its middle doesn't have its path.
    const isVague = error instanceof Error && !error.message.includes(path);
    if (isVague) error.message += `: readdir '${path}'`;
    throw error;
  }
  return [...names, ...alike];
}

/**
 * The metadata of a path, with exact numbers, without following links; `null` if nothing has the
 * path.
 */
export function statOrNull(path: string): BigIntStats | null {
  return nullIfMissing(() => lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null);
}

/** The metadata of a path, as {@linkcode statOrNull} finds it, rounded, in half the time. */
export function infoOrNull(path: string): Deno.FileInfo | null {
  return nullIfMissing(() => Deno.lstatSync(path));
}

function nullIfMissing<T>(look: () => T): T | null {
  try {
    return look();
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** The numbers that identify a file by any name: exact from `node:fs`, or rounded from `Deno`. */
export interface FileIdentity {
  readonly dev: bigint | number;
  readonly ino: bigint | number | null;
}

export function isSameFile(one: FileIdentity, other: FileIdentity): boolean {
  return isSameNumber(one.dev, other.dev) && isSameNumber(one.ino, other.ino);
}

function isSameNumber(one: bigint | number | null, other: bigint | number | null): boolean {
  return typeof one === typeof other ? one === other : Number(one) === Number(other);
}

/** Whether a path is that of this file, and not of a link to it. */
export function isAt(path: string, file: FileIdentity): boolean {
  const there = infoOrNull(path);
  return there !== null && isSameFile(there, file);
}

/**
 * Makes a function that tells whether a directory is still at its path: false after the directory
 * was moved or removed, or its disk was unmounted. Then the path may have another directory, the
 * mount point, of another device and with another inode. A disk that is mounted again may have
 * another device, but has the same inodes.
 */
export function presenceOf(path: string): () => boolean {
  const { dev, ino } = Deno.lstatSync(path);
  return () => {
    try {
      const now = Deno.lstatSync(path);
      return now.isDirectory && (now.dev === dev || now.ino === ino);
    } catch (error) {
      return error instanceof Deno.errors.NotCapable;
    }
  };
}

/**
 * Removes a file, or anything else that has this path, unless nothing has.
 *
 * @param options `recursive` also removes a directory with its content.
 */
export async function removeIfPresent(path: string, options?: Deno.RemoveOptions): Promise<void> {
  await ifPresent(Deno.remove(path, options));
}

/** Removes a file unless it is missing, before anything else of this process runs. */
export function removeIfPresentSync(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (fileErrorCode(error) !== "ENOENT") throw error;
  }
}

/**
 * Cleans up after an error, which matters more than a failure here; a later call removes the rest.
 *
 * @param options Give `recursive` only for a path that nobody else can give to a filled directory.
 */
export async function removeIfPossible(path: string, options?: Deno.RemoveOptions): Promise<void> {
  await removeIfPresent(path, options).catch(() => {});
}

export async function exists(path: string): Promise<boolean> {
  return await ifPresent(Deno.stat(path)) !== null;
}

/**
 * Makes 64 random bits, as 16 hexadecimal digits, for the names of temporary files and authorities.
 */
export function randomSuffix(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

/**
 * Gives a file a name that nothing has: if several processes try at the same time, one succeeds.
 * Synchronous, so that nothing else of this process runs between a check and the new name.
 *
 * @returns False if something has the name.
 */
export function giveNewName(from: string, to: string): boolean {
  let isLinked = true;
  try {
    Deno.linkSync(from, to);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    if (RENAME_FAILS_TOO_CODES.has(fileErrorCode(error))) throw error;
    isLinked = false;
  }
  if (isLinked) {
    unlinkSync(from);
    return true;
  }
  // On file systems without hard links another process may be faster after this check.
  if (infoOrNull(to) !== null) return false;
  Deno.renameSync(from, to);
  return true;
}

/**
 * Renames a file to a name that a file may have. Windows replaces no read-only file, so that one
 * loses this attribute first.
 */
export function replaceFile(from: string, to: string): void {
  if (Deno.build.os === "windows" && ((infoOrNull(to)?.mode ?? WRITABLE) & WRITABLE) === 0) {
    chmodSync(to, WRITABLE);
  }
  Deno.renameSync(from, to);
}

/** The permission bits of node:fs for a file of Windows that is not read-only. */
const WRITABLE = 0o222;

/**
 * Runs a function that replaces a file, again for 0.6 seconds while another program keeps the file
 * open: virus scanners do that on Windows for a moment. Elsewhere an open file can be replaced.
 */
export async function whenReplaceable<T>(replace: () => T): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return replace();
    } catch (error) {
      if (Deno.build.os !== "windows" || attempt === REPLACE_ATTEMPTS || !isHeldOpen(error)) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, REPLACE_RETRY_MILLISECONDS));
    }
  }
}

const REPLACE_ATTEMPTS = 20;
const REPLACE_RETRY_MILLISECONDS = 30;

/** Whether an error of Windows may say that another program has a file open. */
export function isHeldOpen(error: unknown): boolean {
  return HELD_OPEN_CODES.has(fileErrorCode(error));
}

/** ERROR_ACCESS_DENIED and ERROR_SHARING_VIOLATION. */
const HELD_OPEN_CODES: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EBUSY"]);

/** Errors of creating a link that a rename would meet, too. */
const RENAME_FAILS_TOO_CODES: ReadonlySet<unknown> = new Set(["ENOENT", "ENOSPC", "EDQUOT"]);

/**
 * Resolves once the names in a directory are on the disk, where the system can open directories.
 */
export async function syncDirectory(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  // Without O_DIRECTORY, opening a FIFO that has replaced the directory would wait for a writer.
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Errors of a directory that can't be read, was replaced, or that its file system can't sync. */
const HARMLESS_SYNC_CODES: ReadonlySet<unknown> = new Set(["EACCES", "ELOOP", "EINVAL"]);

/** Resolves once the names in a directory are on the disk, or if the directory can't be synced. */
export async function syncIfPossible(path: string): Promise<void> {
  try {
    await syncDirectory(path);
  } catch (error) {
    if (!isMissing(error) && !HARMLESS_SYNC_CODES.has(fileErrorCode(error))) throw error;
  }
}

/**
 * The most directories that are open at the same time: some systems give a program 256 descriptors.
 */
const MAX_OPEN_DIRECTORIES = 32;

export async function syncAllIfPossible(paths: Iterable<string>): Promise<void> {
  const all = new Set(paths);
  const next = all.values();
  await Promise.all(Array.from({ length: Math.min(MAX_OPEN_DIRECTORIES, all.size) }, async () => {
    for (const path of next) await syncIfPossible(path);
  }));
}

/** Whether the process, or the system, has too many files open at the moment. */
export function isOverload(error: unknown): boolean {
  const code = fileErrorCode(error);
  return code === "EMFILE" || code === "ENFILE";
}

/** Whether an error comes from the file system, or from a missing permission of Deno. */
export function isFileSystemError(error: unknown): boolean {
  return typeof fileErrorCode(error) === "string" || error instanceof Deno.errors.NotCapable;
}

/**
 * Whether an error comes from the entry that has a path: the disk does not give the entry, or this
 * user may not have it. Running out of descriptors says nothing about the entry.
 */
export function isUnreadable(error: unknown): boolean {
  return isFileSystemError(error) && !isOverload(error);
}

/** Whether a path leads to a directory without a link on the way. */
export function isReal(path: string): boolean {
  try {
    const real = realPathSync(path);
    // A file system may return names in another spelling, so each directory whose path differs from
    // the real path is checked to be no link.
    let [above, realAbove] = [path, real];
    while (above !== realAbove) {
      if (!Deno.lstatSync(above).isDirectory) return false;
      above = above.slice(0, above.lastIndexOf("/"));
      realAbove = realAbove.slice(0, realAbove.lastIndexOf("/"));
    }
    return true;
  } catch (error) {
    if (isMissing(error) || HIDDEN_PATH_CODES.has(fileErrorCode(error))) return false;
    throw error;
  }
}

/** Whether a path leads to a file without a link on the way. */
export function isRealFile(path: string): boolean {
  return Deno.lstatSync(path).isFile && isReal(dirname(path));
}

/** Errors after which nobody knows whether a path is real, so that it counts as not real. */
const HIDDEN_PATH_CODES: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EIO", "ELOOP"]);
