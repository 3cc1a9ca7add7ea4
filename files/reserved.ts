import { checkString } from "../internal/checks.ts";

/** The pattern ignores case, because some file systems do. */
const PART_NAME_PATTERN = /^\..*\.degu-part$/isu;

/** A peer that could write a file with such a name could forge the first bytes of a download. */
export function isPartName(name: string): boolean {
  return PART_NAME_PATTERN.test(normalizeDotName(name));
}

const DOT = 0x2e;
const LAST_ASCII = 0x7f;

/**
 * Removes the characters that a disk may ignore in names: FAT ignores them at the end, ext4 with
 * `casefold` anywhere.
 */
function removeIgnoredCharacters(name: string): string {
  return name.replace(/[. ]+$|\p{Default_Ignorable_Code_Point}/gu, "");
}

function normalizeDotName(name: string): string {
  const firstCharacter = name.charCodeAt(0);
  // Skip the replacement for most names, because lists may have many names.
  return firstCharacter === DOT || firstCharacter > LAST_ASCII
    ? removeIgnoredCharacters(name)
    : name;
}

const RESERVED_DIRECTORY_PATTERN = /^\.degu-(?:files|kept)$/iu;

/**
 * Reports whether a name is reserved for incomplete files or earlier versions. The name is
 * reserved in every directory: a `FilesApp` doesn't serve, list or write entries of this name, and
 * deletes them only with their directory. A name that differs from a reserved name only in
 * characters that some disks ignore is also reserved.
 *
 * @param name The name of a file or directory, without the path.
 * @throws {TypeError} if the name is not a string.
 *
 * @example
 * ```ts
 * import { isReservedName } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isReservedName(".degu-files"), true);
 * assertEquals(isReservedName(".degu-kept"), true);
 * assertEquals(isReservedName(".film.mkv.degu-part"), true);
 * assertEquals(isReservedName("film.mkv"), false);
 * ```
 */
export function isReservedName(name: string): boolean {
  checkString("name", name);
  const normalizedName = normalizeDotName(name);
  return normalizedName.startsWith(".") &&
    (RESERVED_DIRECTORY_PATTERN.test(normalizedName) || PART_NAME_PATTERN.test(normalizedName));
}

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
