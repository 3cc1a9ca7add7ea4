/**
 * Whether a file is still the same.
 *
 * @module
 */

/** What the file system says of an open file; `node:fs` gives it with `bigint: true`. */
export interface FileState {
  /** The device, and the number of the file on it. */
  readonly dev: bigint;
  readonly ino: bigint;
  /** How many names the file has. */
  readonly nlink: bigint;
  /** In bytes. */
  readonly size: bigint;
  /** When the bytes were last written, in nanoseconds since 1970; Deno cuts it to milliseconds. */
  readonly mtimeNs: bigint;
  /** When anything of the file was last changed, which nobody can set; Deno cuts it to seconds. */
  readonly ctimeNs: bigint;
}

/**
 * How long a file must not have changed before it is known by its times: clocks of file systems
 * advance in steps of some milliseconds, and Deno cuts ctime to seconds, so that a file that changes
 * twice in this time can look the same after both.
 */
export const SETTLED_MILLISECONDS = 2000;

/** Identifies a version of a file, as far as its state can. */
export function versionOf({ dev, ino, size, mtimeNs, ctimeNs }: FileState): string {
  return [dev, ino, size, mtimeNs, ctimeNs].map((part) => part.toString(16)).join("-");
}

/** Whether a file is unchanged, as far as its state shows. */
export function isUnchanged(first: FileState, now: FileState): boolean {
  return versionOf(first) === versionOf(now);
}

/** Whether two states are of one file. */
export function isSameFile(
  one: Pick<FileState, "dev" | "ino">,
  other: Pick<FileState, "dev" | "ino">,
): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/**
 * Whether the bytes that an open file had at first may have been overwritten since.
 *
 * A file that has grown is taken for one that was appended to: a log is written all the time.
 */
export function isOverwritten(first: FileState, now: FileState): boolean {
  if (now.size > first.size) return false;
  if (now.size < first.size || now.mtimeNs !== first.mtimeNs) return true;
  // A name that was taken away, as by a rename over the file, changes ctime and no byte. Whoever has
  // overwritten bytes and set mtime back, has changed ctime as well.
  return now.ctimeNs !== first.ctimeNs && now.nlink >= first.nlink;
}
