/**
 * Leftovers of interrupted transfers: parts and unfinished files, which may be removed unless this
 * process or another one still writes to them.
 */

import { rmdirSync } from "node:fs";
import { closeLocked, lockIfFree } from "../internal/disk/files.ts";
import {
  fileErrorCodeOf,
  isSameFile,
  isTooManyOpenFilesError,
  lstatExactOrNull,
  readNames,
  removeIfPresentSync,
} from "../internal/disk/names.ts";
import { isOpenInThisProcess } from "../internal/disk/temporary.ts";
import { inUseRefusal, Refusal } from "./refusal.ts";
import { isReservedName, UNFINISHED_NAME_PATTERN, withTrailingSlash } from "./reserved.ts";

/**
 * Removes an unfinished file, unless this process or another one is writing it: then the result is
 * false.
 */
export function removeIfUnused(path: string): boolean {
  if (isOpenInThisProcess(path)) return false;
  const statsBefore = lstatExactOrNull(path);
  using file = openIfPossible(path);
  if (file !== null && !lockIfFree(file)) return false;
  const stats = lstatExactOrNull(path);
  // Another process has just created a file at the path, and uses it.
  if (statsBefore !== null && stats !== null && !isSameFile(statsBefore, stats)) return false;
  removeIfPresentSync(path);
  return true;
}

/**
 * Opens a file; `null` if it is gone, or read-only: a process makes a complete file read-only just
 * before it renames it, and may be killed then.
 *
 * @throws the error of the system if too many files are open: another process may have locked the
 * file.
 */
function openIfPossible(path: string): Deno.FsFile | null {
  try {
    return Deno.openSync(path, { write: true });
  } catch (error) {
    if (isTooManyOpenFilesError(error)) throw error;
    return null;
  }
}

/**
 * Whether this process writes to a file, or another one has locked it. An upload of another process
 * that can't be resumed has no lock; the upload notices if its file is removed, and is refused.
 */
export function isBeingWritten(path: string): boolean {
  if (isOpenInThisProcess(path)) return true;
  const file = openIfPossible(path);
  if (file === null) return false;
  const isFree = lockIfFree(file);
  closeLocked(file);
  return !isFree;
}

/** The content of a directory: leftovers of interrupted transfers, and everything else. */
interface DirectoryContent {
  /** The paths of leftovers; the content of a directory comes before the directory. */
  readonly leftovers: readonly string[];
  readonly names: readonly string[];
}

/**
 * Reads a directory, and tells leftovers of interrupted transfers from everything else. Leftovers
 * are parts of downloads, and unfinished files of an app that has served the directory.
 *
 * @throws {Refusal} if a process still writes to a leftover, or if an entry of another kind has a
 * reserved name.
 */
async function findLeftovers(path: string): Promise<DirectoryContent> {
  const leftovers: string[] = [];
  const names: string[] = [];
  for (const name of await readNames(path)) {
    const entryPath = withTrailingSlash(path) + name;
    const stats = isReservedName(name) ? lstatExactOrNull(entryPath) : null;
    if (stats === null) {
      names.push(name);
      continue;
    }
    const childNames = stats.isDirectory() ? await readNames(entryPath) : [];
    const foreignName = childNames.find((childName) =>
      !UNFINISHED_NAME_PATTERN.test(childName) ||
      lstatExactOrNull(`${entryPath}/${childName}`)?.isFile() === false
    );
    if (foreignName !== undefined || !stats.isDirectory() && !stats.isFile()) {
      throw new Refusal(
        409,
        `${entryPath}${foreignName ? `/${foreignName}` : ""} is no part of a transfer`,
      );
    }
    // Each name is added by itself: a call takes only so many arguments.
    for (const childName of childNames) leftovers.push(`${entryPath}/${childName}`);
    leftovers.push(entryPath);
  }
  const usedPart = leftovers.find(isBeingWritten);
  if (usedPart !== undefined) {
    throw inUseRefusal(`${usedPart} is the part of a transfer in progress`);
  }
  return { leftovers, names };
}

/**
 * Removes a directory that has no entries, or only leftovers of interrupted transfers.
 *
 * @param check Throws if the directory may not be removed: called before each change, in the same
 * turn.
 */
export async function removeDirectory(path: string, check: () => void): Promise<void> {
  check();
  try {
    return rmdirSync(path);
  } catch (error) {
    const code = fileErrorCodeOf(error);
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
  const { leftovers, names } = await findLeftovers(path);
  if (names.length > 0) throw new Refusal(409, `${path} is not empty`);
  check();
  for (const leftover of leftovers) Deno.removeSync(leftover);
  rmdirSync(path);
}
