/**
 * What is in a directory and all those below it, here or on another device.
 *
 * @module
 */

/** A file or directory in a tree. */
export interface TreeEntry {
  /** The names from the root of the tree on. */
  readonly names: readonly string[];
  /** What it is. */
  readonly kind: "file" | "directory";
  /** Bytes of a file; 0 for a directory. */
  readonly size: number;
  /** When it was last changed. */
  readonly modified: Date;
}

/** Something in a tree that is left out, or could not be looked at. */
export interface TreeProblem {
  /** The names from the root of the tree on. */
  readonly names: readonly string[];
  /** Why. */
  readonly problem: string;
}

/** What is in a directory and all those below it. */
export interface Tree {
  /** Files and directories, each directory before what is in it. */
  readonly entries: readonly TreeEntry[];
  /** What is neither a file nor a directory, such as a symbolic link: it is left out. */
  readonly skipped: readonly TreeProblem[];
  /** What could not be listed. If there is any of it, nothing may be concluded from what is missing. */
  readonly failed: readonly TreeProblem[];
}

/** The key of an entry: no name has a slash. */
export function keyOf(names: readonly string[]): string {
  return names.join("/");
}

/** The directories with nothing below them: those that are not made for the files in them. */
export function leafDirectories({ entries }: Tree): (readonly string[])[] {
  const parents = new Set(entries.map(({ names }) => keyOf(names.slice(0, -1))));
  const all = [[], ...entries.filter(({ kind }) => kind === "directory").map(({ names }) => names)];
  return all.filter((names) => !parents.has(keyOf(names)));
}
