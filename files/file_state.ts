/**
 * Whether a file is still the same.
 *
 * @module
 */

/** The metadata of an open file, from `node:fs` with `bigint: true`. */
export interface FileState {
  /** The device, and the number of the file on it. */
  readonly dev: bigint;
  readonly ino: bigint;
  /** How many names the file has. */
  readonly nlink: bigint;
  /** In bytes. */
  readonly size: bigint;
  /** When the bytes were last written, in nanoseconds since 1970; Deno truncates it to milliseconds. */
  readonly mtimeNs: bigint;
  /** When anything of the file was last changed, which can't be set; Deno truncates it to seconds. */
  readonly ctimeNs: bigint;
}

/**
 * How long a file must not have changed before its times identify it: clocks of file systems
 * advance in steps of some milliseconds, and Deno truncates ctime to seconds, so that a file that changes
 * twice in this time can look the same after both.
 */
export const SETTLED_MILLISECONDS = 2000;

/** Identifies a version of a file, as far as its state can. */
export function versionOf({ dev, ino, size, mtimeNs, ctimeNs }: FileState): string {
  return [dev, ino, size, mtimeNs, ctimeNs].map((part) => part.toString(16)).join("-");
}

/** Whether a file is unchanged, as far as its state shows. */
export function isUnchanged(first: FileState, now: FileState): boolean {
  return first.dev === now.dev && first.ino === now.ino && first.size === now.size &&
    first.mtimeNs === now.mtimeNs && first.ctimeNs === now.ctimeNs;
}

/**
 * Whether the bytes that an open file had at first may have been overwritten since.
 *
 * A file that has grown is assumed to have been appended to: logs are written all the time.
 */
export function isOverwritten(first: FileState, now: FileState): boolean {
  if (now.size > first.size) return false;
  if (now.size < first.size || now.mtimeNs !== first.mtimeNs) return true;
  // Removing a name, as by a rename over the file, changes ctime and no byte. But overwriting
  // bytes and setting mtime back changes ctime as well.
  return now.ctimeNs !== first.ctimeNs && now.nlink >= first.nlink;
}
