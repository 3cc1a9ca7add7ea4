/** The names of files that are not complete: no peer can list, read, write or delete what has one. */

import { isSameFile, randomSuffix, statOrNull } from "../disk/names.ts";

/**
 * The name of the directory for unfinished files in the one that an app serves; never served, listed, written or deleted by a
 * peer, at any depth: a directory below this one may be the root of another app, with its own unfinished files.
 */
export const RESERVED = ".degu-files";

/** Returns its path. */
export function reservedPath(root: string): string {
  return `${prefixOf(root)}${RESERVED}`;
}

/** The names of unfinished files in that directory; nothing else there is ever removed. */
export const UNFINISHED_NAME = /^(?:put-[0-9a-f]{32}|part-[0-9a-f]{32}-[0-9a-f]{64})$/;

/** The prefix of every path in a directory. */
export function prefixOf(directory: string): string {
  return directory.endsWith("/") ? directory : `${directory}/`;
}

/** The suffix of the name of a part of a download, which is kept next to its target. */
export const PART_SUFFIX = ".degu-part";

/**
 * The name of the directory for things that are put aside, in the directory that they were in. The
 * name is that of a part of a file without a name, which can't exist, so no part is mistaken for it.
 * Every version of the program hides it as it hides parts, and deletes nothing in it as left over.
 */
export const ASIDE = `.${PART_SUFFIX}`;

/** A path in a directory that nothing else has: with the name of a part, so that nobody lists it. */
export function unusedPath(directory: string): string {
  return `${prefixOf(directory)}.${randomSuffix()}${PART_SUFFIX}`;
}

/** Parts, their replacements and their records; ignoring case, as some file systems do. */
const PART_NAME = /^\..*\.degu-part(\.new|\.json(\.tmp)?)?$/isu;

/**
 * Reports whether a name is that of a part or of a file that belongs to one. A peer that used such a name could forge
 * what a download resumes, or change what another peer has sent.
 */
export function isPartName(name: string): boolean {
  return PART_NAME.test(foldName(name));
}

/** Dots and spaces at the end, and what is not seen. */
const IGNORED = /[. ]+$|\p{Default_Ignorable_Code_Point}/gu;
const DOT = 0x2e;
const LAST_ASCII = 0x7f;

/** A name without what some disks ignore in it: FAT at the end, ext4 with `casefold` anywhere. */
function foldName(name: string): string {
  const first = name.charCodeAt(0);
  // No other name can be reserved: of many names in a list each step counts.
  return first === DOT || first > LAST_ASCII ? name.replace(IGNORED, "") : name;
}

/** The name, ignoring case as some file systems do. */
const RESERVED_NAME = /^\.degu-files$/iu;

/** Reports whether a name is reserved everywhere: for unfinished files, or for parts of downloads. */
export function isReservedName(name: string): boolean {
  const folded = foldName(name);
  return RESERVED_NAME.test(folded) || PART_NAME.test(folded);
}

/**
 * Reports whether a name in a directory is reserved, or refers to the reserved directory there. A file system with
 * short and long names has several such names: so the directory itself is compared, too.
 */
export function isReserved(directory: string, name: string): boolean {
  if (isReservedName(name)) return true;
  const reserved = statOrNull(reservedPath(directory));
  if (reserved === null) return false;
  const named = statOrNull(prefixOf(directory) + name);
  return named !== null && isSameFile(named, reserved);
}
