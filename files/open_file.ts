/**
 * Opening a file that a peer names, and no other.
 *
 * @module
 */

import { type BigIntStats, constants, lstatSync } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { type FileState, isSameFile } from "./file_state.ts";
import { isReserved, isReservedName, prefixOf } from "./reserved.ts";

/** A file that is open for reading, with what it was when it was opened. */
export interface OpenFile {
  readonly handle: FileHandle;
  /** Where it was found, without links. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** What the file system said of it. */
  readonly state: FileState;
  /** When it said so, or just before, in milliseconds since 1970. */
  readonly lookedAt: number;
}

/** What is at a path: a file, a directory, or nothing that anybody is to see. */
export type Found = OpenFile | "directory" | null;

/** A path without links, and what the file system says of what is there. */
export interface Resolved {
  readonly real: string;
  readonly seen: BigIntStats;
}

/**
 * Opens the file at a path below a directory.
 *
 * A symbolic link is followed where it leads to a file in the directory. Everything else, what
 * leads out of it, is no regular file or can't be read, is as good as absent. So is what has a reserved
 * name, or is below one.
 *
 * Between a check and the use of what was checked somebody else can exchange a directory for a
 * link. So once the file is open the path is looked at again, several times: each time it has to
 * lead to the same place, and the same file has to be there. Who wants to get past that has to
 * exchange directory and link at just the right moments each time, within some microseconds. (What
 * would rule it out, to open a path component by component, Deno can't do.)
 *
 * @param root The real path of the directory.
 * @param names The names that lead there from it.
 */
export async function openBelow(root: string, names: readonly string[]): Promise<Found> {
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const resolved = await resolveBelow(root, names);
      if (resolved === null) return null;
      const { real, seen } = resolved;
      if (seen.isDirectory()) return "directory";
      if (!seen.isFile()) return null;
      const found = await openSame(prefixOf(root) + names.join("/"), real, seen);
      if (found !== "replaced") return found;
    }
    return null;
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

/**
 * Finds where a path below a directory leads to.
 *
 * @returns `null` if that is outside of the directory, or reserved.
 * @throws what {@linkcode isAbsence} knows if nothing is there.
 */
export async function resolveBelow(
  root: string,
  names: readonly string[],
): Promise<Resolved | null> {
  if (names.some(isReservedName)) return null;
  const prefix = prefixOf(root);
  const real = await Deno.realPath(prefix + names.join("/"));
  if (real !== root) {
    if (!real.startsWith(prefix)) return null;
    let directory = root;
    for (const name of real.slice(prefix.length).split("/")) {
      if (isReserved(directory, name)) return null;
      directory = prefixOf(directory) + name;
    }
  }
  // Looked at before it is opened: to open a device can have effects.
  return { real, seen: await lstat(real, { bigint: true }) };
}

/** How often a file is opened that is replaced by another one, as by a PUT, at that very moment. */
const ATTEMPTS = 10;

async function openSame(
  path: string,
  real: string,
  seen: FileState,
): Promise<OpenFile | "replaced" | null> {
  // A FIFO that has taken the place of the file would block the opening until somebody writes.
  // O_NOFOLLOW has an effect only where the program may read everything: else Deno resolves the
  // links of a path before it opens what they lead to, wherever that is. So nothing relies on it;
  // what counts is that the file that was opened is the one that was looked at.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
  const handle = await open(real, flags);
  let found: OpenFile | "replaced" | null = null;
  try {
    const lookedAt = Date.now();
    const state = await handle.stat({ bigint: true });
    const change = state.isFile() && isSameFile(state, seen)
      ? changeSince(path, real, state)
      : "replaced";
    if (change === null) found = { handle, path: real, size: Number(state.size), state, lookedAt };
    else if (change === "replaced") found = change;
  } finally {
    if (found === null || found === "replaced") await handle.close();
  }
  return found;
}

/** How often the path of an open file is looked at. */
const LOOKS = 3;

/**
 * What has happened to the path of an open file: nothing, or it leads to another file now, or to
 * another place. Synchronous, to leave less time between two looks: what was opened just now is in the cache.
 */
function changeSince(path: string, real: string, opened: FileState): null | "replaced" | "moved" {
  for (let look = 0; look < LOOKS; look++) {
    if (Deno.realPathSync(path) !== real) return "moved";
    if (!isSameFile(lstatSync(real, { bigint: true }), opened)) return "replaced";
  }
  return null;
}

const ABSENCE: ReadonlySet<unknown> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EACCES",
  "ELOOP",
  "ENAMETOOLONG",
  // What a socket answers, if one takes the place of the file.
  "ENXIO",
]);

/** Whether an error means that nothing is there for anybody to see. */
export function isAbsence(error: unknown): boolean {
  // A part of the directory may be denied to the program; where links lead to, Deno does not ask.
  return error instanceof Deno.errors.NotCapable || ABSENCE.has((error as { code?: unknown }).code);
}
