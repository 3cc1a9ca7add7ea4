import { rmdirSync } from "node:fs";
import { closeLocked, lockIfFree } from "./disk/files.ts";
import { isSameFile, lstatOrNull, readNames, removeIfPresentSync } from "./disk/names.ts";
import { fileErrorCodeOf, isTooManyOpenFilesError } from "../internal/caught_errors.ts";
import { isOpenInThisProcess } from "./disk/temporary.ts";
import { inUseRefusal, Refusal } from "./refusal.ts";
import { isReservedName, UNFINISHED_NAME_PATTERN, withTrailingSlash } from "./reserved.ts";

export function removeIfUnused(path: string): boolean {
  if (isOpenInThisProcess(path)) return false;
  const statsBefore = lstatOrNull(path);
  using file = openIfPossible(path);
  if (file !== null && !lockIfFree(file)) return false;
  const stats = lstatOrNull(path);
  // Another process has just created a file at the path, and is using it.
  if (statsBefore !== null && stats !== null && !isSameFile(statsBefore, stats)) return false;
  removeIfPresentSync(path);
  return true;
}

/**
 * Returns `null` for an entry that isn't a regular file, such as a FIFO, whose opening waits for a
 * reader.
 *
 * A process gives a complete file its final mode, which may be read-only, just before it renames
 * the file, and may be killed in between.
 *
 * @throws the error of the system if too many files are open, because another process may have
 * locked the file.
 */
function openIfPossible(path: string): Deno.FsFile | null {
  try {
    if (!Deno.lstatSync(path).isFile) return null;
    return Deno.openSync(path, { write: true });
  } catch (error) {
    if (isTooManyOpenFilesError(error)) throw error;
    return null;
  }
}

/**
 * Reports whether this process is writing to a file, or another process has locked it. A small file
 * of a bundle of another process has no lock: if the file is removed, the other process detects
 * this and refuses the file.
 */
export function isBeingWritten(path: string): boolean {
  if (isOpenInThisProcess(path)) return true;
  const file = openIfPossible(path);
  if (file === null) return false;
  const isFree = lockIfFree(file);
  closeLocked(file);
  return !isFree;
}

/**
 * @returns The paths of leftovers, entries of a directory before the directory, and other names.
 */
async function findLeftovers(
  path: string,
): Promise<{ readonly leftovers: readonly string[]; readonly otherNames: readonly string[] }> {
  const leftovers: string[] = [];
  const otherNames: string[] = [];
  for (const name of await readNames(path)) {
    const entryPath = withTrailingSlash(path) + name;
    const stats = isReservedName(name) ? lstatOrNull(entryPath) : null;
    if (stats === null) {
      otherNames.push(name);
      continue;
    }
    const childNames = stats.isDirectory ? await readNames(entryPath) : [];
    const foreignName = childNames.find((childName) =>
      !UNFINISHED_NAME_PATTERN.test(childName) ||
      lstatOrNull(`${entryPath}/${childName}`)?.isFile === false
    );
    if (foreignName !== undefined || !stats.isDirectory && !stats.isFile) {
      throw new Refusal(
        409,
        `${entryPath}${foreignName ? `/${foreignName}` : ""} does not belong to a transfer`,
      );
    }
    // Don't spread the array: the number of arguments of a call is limited.
    for (const childName of childNames) leftovers.push(`${entryPath}/${childName}`);
    leftovers.push(entryPath);
  }
  const usedPart = leftovers.find(isBeingWritten);
  if (usedPart !== undefined) {
    throw inUseRefusal(`${usedPart} is the part of a transfer in progress`);
  }
  return { leftovers, otherNames };
}

/**
 * @param check Throws if the directory may not be removed. Called before each change, in the same
 * tick of the event loop.
 */
export async function removeDirectory(path: string, check: () => void): Promise<void> {
  check();
  try {
    return rmdirSync(path);
  } catch (error) {
    const code = fileErrorCodeOf(error);
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
  const { leftovers, otherNames } = await findLeftovers(path);
  if (otherNames.length > 0) throw new Refusal(409, `${path} is not empty`);
  check();
  for (const leftover of leftovers) Deno.removeSync(leftover);
  rmdirSync(path);
}
