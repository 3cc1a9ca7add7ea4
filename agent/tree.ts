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
  /** What could not be listed. If this isn't empty, a missing name doesn't mean that there is no such file. */
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

/**
 * Lists a directory and all those below it, each before what is in it, and the entries of each by name.
 *
 * @param listDirectory Lists one directory, by its names from the root; the names of what it gives begin there, too.
 * @param signal Ends it with its reason.
 */
export async function walkTree(
  listDirectory: (names: readonly string[]) => Promise<Tree>,
  signal: AbortSignal,
): Promise<Tree> {
  const entries: TreeEntry[] = [];
  const skipped: TreeProblem[] = [];
  const failed: TreeProblem[] = [];
  const waiting: (readonly string[])[] = [[]];
  for (let directory; (directory = waiting.pop()) !== undefined;) {
    signal.throwIfAborted();
    const listed = await listDirectory(directory);
    const found = listed.entries.toSorted(byName);
    // One by one: a call can't have as many arguments as a directory can have entries.
    for (const entry of found) entries.push(entry);
    for (const problem of listed.skipped.toSorted(byName)) skipped.push(problem);
    for (const problem of listed.failed.toSorted(byName)) failed.push(problem);
    for (const { kind, names } of found.toReversed()) if (kind === "directory") waiting.push(names);
  }
  return { entries, skipped, failed };
}

type Named = Pick<TreeEntry, "names">;

/** The order of two entries of one directory. */
function byName({ names: a }: Named, { names: b }: Named): number {
  return a.at(-1)! < b.at(-1)! ? -1 : 1;
}
