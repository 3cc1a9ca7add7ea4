/**
 * The reserved directory by which an inbox is recognized, and what follows: commands leave an inbox
 * out of the directories that they copy, because it has the files of other devices.
 */

import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { describeNameProblem, type TreeEntry } from "@degu/degu/files/client";
import { Failure } from "../failure.ts";
import { RESERVED_DIRECTORY } from "./context.ts";
import { ignoreNotFound, resolveRealPath } from "./local_paths.ts";
import { join, mayRead } from "./paths.ts";

/** The names of the records in the reserved directory, which name the peer of each directory. */
export const RECORD_NAME_PATTERN = /^owner-(.+)$/;

/** Marks a directory as an inbox, before its first upload. */
export async function markInbox(path: string): Promise<void> {
  await Deno.mkdir(join(path, RESERVED_DIRECTORY), { mode: 0o700 }).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
}

function isMarked(dir: string): boolean {
  return existsSync(join(dir, RESERVED_DIRECTORY));
}

/** Reports whether a directory is an inbox in which each peer has its own directory. */
export async function hasPeerDirectories(dir: string): Promise<boolean> {
  const recordsDirectory = join(dir, RESERVED_DIRECTORY);
  if (!mayRead(recordsDirectory)) return false;
  const records = await Array.fromAsync(Deno.readDir(recordsDirectory)).catch(() => []);
  return records.some(({ name }) => RECORD_NAME_PATTERN.test(name));
}

/**
 * Reports whether a directory is an inbox. The directory of a peer in an inbox also has the
 * reserved directory.
 */
export async function isInbox(dir: string): Promise<boolean> {
  const path = await resolveRealPath(dir);
  const isReadable = mayRead(join(path, RESERVED_DIRECTORY));
  return isReadable && isMarked(path) && !await hasPeerDirectories(dirname(path));
}

/**
 * Refuses an inbox as the target of a copy: the copy would replace files of other devices, or add a
 * directory of no peer, with which `degu serve` doesn't start. The directory of a peer is allowed.
 *
 * @param dir The directory that gets the copied entries. If it is missing, it is also an entry.
 */
export async function checkOutsideInbox(dir: string): Promise<void> {
  if (!mayRead(dir)) return;
  let path = await resolveRealPath(dir);
  while (mayRead(path) && await ignoreNotFound(Deno.lstat(path)) === null) path = dirname(path);
  if (!mayRead(path) || !await isInbox(path)) return;
  const problem = `${JSON.stringify(path)} is an inbox of this device`;
  throw new Failure(`${problem}, whose entries belong to peers: name another directory`, null, {
    path,
  });
}

/** Reports whether a directory, which may be missing, is an inbox or in one. */
export async function isInInbox(dir: string): Promise<boolean> {
  for (let path = await resolveRealPath(dir);; path = dirname(path)) {
    if (!mayRead(join(path, RESERVED_DIRECTORY))) return false;
    if (isMarked(path)) return true;
    if (dirname(path) === path) return false;
  }
}

/**
 * Makes a filter that leaves out each inbox below a directory. A directory that is an inbox itself,
 * or in one, is copied whole.
 */
export async function makeInboxFilter(
  root: string,
  onSkipped: (path: readonly string[]) => void,
): Promise<(entry: TreeEntry) => boolean> {
  if (await isInInbox(root)) return () => true;
  const realRoot = await resolveRealPath(root);
  return ({ path, kind }) => {
    const isInboxBelow = kind === "directory" &&
      path.every((name) => describeNameProblem(name) === null) &&
      isMarked(join(realRoot, ...path));
    if (isInboxBelow) onSkipped(path);
    return !isInboxBelow;
  };
}
