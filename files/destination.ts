/**
 * Where a file is written, replaced or deleted: checked without following any link.
 *
 * All of this is synchronous, so that no other request of the process runs between a check and the action
 * that depends on it.
 *
 * @module
 */

import {
  type BigIntStats,
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { dirname } from "node:path";
import { syncIfPossible } from "../disk/sync_if_possible.ts";
import { isSameFile } from "./file_state.ts";
import { Refusal } from "./refusal.ts";
import { isReserved, isReservedName, lookAt, prefixOf, reservedPath } from "./reserved.ts";
import type { Unfinished } from "./unfinished.ts";

/** Permission bits that a file takes over from the one that it replaces; no set-user-ID. */
const KEPT_BITS = 0o777n;

/** What exists on the path to a name below a directory. */
export interface Destination {
  readonly path: string;
  /** The directories to create, outermost first. */
  readonly missing: readonly string[];
  /** The innermost directory that exists. */
  readonly directory: BigIntStats;
  /** What has the name now; a link is not followed. */
  readonly existing: BigIntStats | null;
}

/** Decides, by what has the name, whether it may be replaced or deleted; throws a {@linkcode Refusal}. */
export type Condition = (existing: BigIntStats | null) => void;

/**
 * Checks the path to a name.
 *
 * @param root The real path of the directory that is served.
 * @param names The names from there.
 * @throws {Refusal} if it is the root or reserved, or leads through a link or a file.
 */
function findDestination(root: string, names: readonly string[]): Destination {
  if (names.length === 0) throw new Refusal(403, "the root can't be replaced or deleted");
  if (names.some(isReservedName)) throw reservedName();
  if (Deno.realPathSync(root) !== root) throw new Refusal(403, `${root} now leads somewhere else`);
  let directory = lookAt(root)!;
  const missing: string[] = [];
  let path = root;
  for (const name of names.slice(0, -1)) {
    if (missing.length === 0 && isReserved(path, name)) throw reservedName();
    path = prefixOf(path) + name;
    const state = missing.length > 0 ? null : lookAt(path);
    if (state === null) {
      missing.push(path);
      continue;
    }
    if (state.isSymbolicLink()) throw new Refusal(403, `${path} is a link`);
    if (!state.isDirectory()) throw new Refusal(409, `${path} is not a directory`);
    directory = state;
  }
  const last = names.at(-1)!;
  if (missing.length === 0 && isReserved(path, last)) throw reservedName();
  path = prefixOf(path) + last;
  return { path, missing, directory, existing: missing.length > 0 ? null : lookAt(path) };
}

function reservedName(): Refusal {
  return new Refusal(403, "the name is reserved");
}

/**
 * Checks the path to a file that is written.
 *
 * @throws {Refusal} also if a directory has the name, or anything else that is not a file.
 */
export function findFile(root: string, names: readonly string[]): Destination {
  const destination = findDestination(root, names);
  const { path, existing, directory } = destination;
  if (existing?.isDirectory()) throw new Refusal(409, `${path} is a directory`);
  if (existing !== null && !existing.isFile()) throw new Refusal(403, `${path} is not a file`);
  checkFileSystem(root, path, directory);
  return destination;
}

/** Refuses what nothing can be renamed to from where it is written. */
function checkFileSystem(root: string, path: string, directory: BigIntStats): void {
  const reserved = lookAt(reservedPath(root));
  if (reserved === null || reserved.dev === directory.dev) return;
  throw new Refusal(507, `${path} is on another file system than ${root}`);
}

/** A file or directory that has got its name. */
export interface Moved {
  /** True if nothing had the name before. */
  readonly created: boolean;
  /** The directories that have new entries. */
  readonly changed: readonly string[];
}

/**
 * Renames an unfinished file to its final name, replacing what is there.
 *
 * @param isNew True if nothing may have the name: then one of several processes gets it.
 * @throws {Refusal} as {@linkcode findFile} does, or if the condition does.
 */
export function moveTo(
  root: string,
  names: readonly string[],
  file: Unfinished,
  condition: Condition,
  isNew: boolean,
): Moved {
  const { path, missing, existing } = findFile(root, names);
  condition(existing);
  const mode = existing === null ? file.newMode : existing.mode & KEPT_BITS;
  checkUnfinished(file);
  if (file.mode !== mode) chmodSync(file.path, Number(mode));
  makeDirectories(missing, () => {
    if (isNew) giveNewName(file.path, path);
    else renameSync(file.path, path);
  });
  checkMoved(path, file);
  return { created: existing === null, changed: [dirname(missing[0] ?? path), ...missing] };
}

/** Checks that neither the file nor its directory was replaced. */
function checkUnfinished({ path, state }: Unfinished): void {
  const directory = lookAt(dirname(path));
  const now = directory?.isDirectory() ? lookAt(path) : null;
  if (now !== null && isSameFile(now, state)) return;
  throw new Refusal(409, `${path} was removed or replaced while it was written`);
}

/** Renames a file to a name that does not exist yet; the file system guarantees that, also across processes. */
function giveNewName(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "EEXIST") throw new Refusal(412, `${to} already exists`, {}, { cause: error });
    if (code === "ENOENT" || code === "ENOSPC" || code === "EDQUOT") throw error;
    // There are file systems without hard links. That nothing has the name was seen just now.
    return renameSync(from, to);
  }
  unlinkSync(from);
}

function checkMoved(path: string, { state }: Unfinished): void {
  const directory = dirname(path);
  const now = Deno.realPathSync(directory) === directory ? lookAt(path) : null;
  if (now !== null && isSameFile(now, state)) return;
  throw new Refusal(409, `${path} was replaced by another process at the same time`);
}

/** Makes directories, outermost first, and does what they are for; all of them stay or none. */
function makeDirectories(paths: readonly string[], then: () => void = () => {}): void {
  const made: string[] = [];
  try {
    for (const path of paths) {
      mkdirSync(path);
      made.push(path);
    }
    then();
  } catch (error) {
    removeDirectories(made);
    throw error;
  }
}

/** Removes new directories again, unless somebody else has put something in them. */
function removeDirectories(made: readonly string[]): void {
  try {
    for (const directory of made.toReversed()) rmdirSync(directory);
  } catch {
    // The error that made this necessary is the one to report.
  }
}

/**
 * Makes a directory, and those that it is in.
 *
 * @throws {Refusal} if something else has the name, or the condition does.
 */
export function makeDirectoryAt(
  root: string,
  names: readonly string[],
  condition: Condition,
): Moved {
  const { path, missing, directory, existing } = findDestination(root, names);
  condition(existing);
  if (existing !== null) {
    if (existing.isDirectory()) return { created: false, changed: [] };
    throw new Refusal(409, `${path} is not a directory`);
  }
  checkFileSystem(root, path, directory);
  makeDirectories([...missing, path]);
  return { created: true, changed: [dirname(missing[0] ?? path), ...missing, path] };
}

/**
 * Deletes a file, or a directory that is empty.
 *
 * @param isDirectory True if only a directory may be deleted.
 * @returns The directory that the entry was removed from.
 * @throws {Refusal} if nothing has the name, or if the condition throws one.
 */
export function deleteAt(
  root: string,
  names: readonly string[],
  isDirectory: boolean,
  condition: Condition,
): string {
  const { path, existing } = findDestination(root, names);
  if (existing === null) throw new Refusal(404, `${path} does not exist`);
  if (existing.isDirectory()) {
    condition(existing);
    rmdirSync(path);
  } else if (!existing.isFile()) {
    throw new Refusal(403, `${path} is neither a file nor a directory`);
  } else if (isDirectory) {
    throw new Refusal(404, `${path} is not a directory`);
  } else {
    condition(existing);
    unlinkSync(path);
  }
  return dirname(path);
}

/** Makes changes of directories durable, the innermost first. */
export async function syncDirectories(directories: readonly string[]): Promise<void> {
  for (const path of directories.toReversed()) await syncIfPossible(path);
}
