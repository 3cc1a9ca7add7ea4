import { checkString } from "@degu/degu/internal";

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
 * reserved in every directory: a `FilesApp` doesn't serve, list, write or delete entries of this
 * name. A name that differs from a reserved name only in characters that some disks ignore is also
 * reserved.
 *
 * @param name The name of a file or directory, without the path.
 * @throws {TypeError} if the name is not a string.
 *
 * @example
 * ```ts
 * import { isReservedName } from "@degu/files";
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
