import { existsSync } from "node:fs";
import { isSameDirectory, lstatOrNull } from "./disk/names.ts";
import { isReservedName } from "./reserved_name.ts";

/**
 * The name is reserved at any depth, because a subdirectory may be on another file system, or the
 * root of another app, with its own unfinished uploads.
 */
export const RESERVED_DIRECTORY_NAME = ".degu-files";

/** The directory of earlier versions. Unlike `.degu-files`, it doesn't mark an inbox. */
export const KEPT_DIRECTORY_NAME = ".degu-kept";

export function reservedDirectoryOf(root: string): string {
  return `${withTrailingSlash(root)}${RESERVED_DIRECTORY_NAME}`;
}

/** The small files of a bundle are not locked, so another process may be writing them. */
export const UNLOCKED_PREFIX = "put-";
/** A file that is not locked was left by a killed process. */
export const LOCKED_PREFIX = "put-locked-";

/** The names of unfinished uploads in the reserved directory. Files with other names are kept. */
export const UNFINISHED_NAME_PATTERN =
  /^(?:put-(?:locked-)?[0-9a-f]{32}|part-[0-9a-f]{32}-[0-9a-f]{64})$/;

export function withTrailingSlash(directory: string): string {
  return directory.endsWith("/") ? directory : `${directory}/`;
}

export const PART_SUFFIX = ".degu-part";

/**
 * Returns the path at which a call tests whether entries of a directory can be removed. The name is
 * reserved, so a list doesn't have it.
 */
export function deletionTestPathOf(directory: string): string {
  return `${withTrailingSlash(directory)}.trial${PART_SUFFIX}`;
}

/** Only the last name is looked up, because a reserved directory has only files. */
export function isReservedPath(root: string, names: readonly string[]): boolean {
  const name = names.at(-1);
  if (name === undefined) return false;
  const parentNames = names.slice(0, -1);
  return isReservedEntry(
    parentNames.length === 0 ? root : withTrailingSlash(root) + parentNames.join("/"),
    name,
  );
}

/**
 * A file system with short and long names has several names for a directory, so the identity of the
 * directory is also compared.
 */
export function isReservedEntry(directory: string, name: string, info?: Deno.FileInfo): boolean {
  if (isReservedName(name)) return true;
  const isReserved = (reservedPath: string) => {
    // Most directories have no reserved directory, and a failing `lstat` takes ten times as long.
    if (!existsSync(reservedPath)) return false;
    const reservedInfo = lstatOrNull(reservedPath);
    const namedInfo = reservedInfo && (info ?? lstatOrNull(withTrailingSlash(directory) + name));
    return reservedInfo !== null && namedInfo !== null && isSameDirectory(reservedInfo, namedInfo);
  };
  if (isReserved(reservedDirectoryOf(directory))) return true;
  // Each short name of a directory with this name has the character.
  return name.includes("~") && isReserved(withTrailingSlash(directory) + KEPT_DIRECTORY_NAME);
}
