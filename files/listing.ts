/** The entries of a directory, or of everything below it, as they are on the disk. */

import { type BigIntStats, closeSync, openSync } from "node:fs";
import { BodyError } from "../base.ts";
import {
  fileErrorCode,
  type FileIdentity,
  infoOrNull,
  isMissing,
  isSameFile,
  isUnreadable,
  NOT_UTF8,
  readNames,
  statOrNull,
} from "../internal/disk/names.ts";
import { nameProblem } from "../internal/disk/file_names.ts";
import type { TimeSlice } from "../internal/disk/files.ts";
import type { DirectoryEntry, TreeEntry, WithMode } from "./entries.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { READ_FLAGS } from "./file_pieces.ts";
import { bitsOf } from "./modes.ts";
import { printable } from "../internal/printable.ts";
import { isReservedName, prefixOf, reservedPath } from "./reserved.ts";
import type { Root } from "./root.ts";

/**
 * The number of entries that are described before other work of the process gets its turn. A turn
 * stays short even if each entry has to be opened.
 */
const ENTRIES_A_TURN = 128;
/**
 * Permission bits of a file that everybody may read. Other files are opened, to find out whether
 * this user may read them.
 */
const READABLE = 0o444;

/** A list that is being made. */
export interface ListOptions {
  readonly root: Root;
  /** The real path of the directory where the paths of the entries begin. */
  readonly path: string;
  readonly timeSlice: TimeSlice;
  /**
   * Whether the list is for this device alone: then reserved names are entries of the kind
   * `"other"`.
   */
  readonly isLocal?: boolean;
  /** Whether entries have the permission bits of files. */
  readonly hasModes?: boolean;
}

/** A directory that is listed. */
export interface ListedDirectory {
  readonly path: string;
  /** The directory on the disk when it was found; `null` if there was no directory. */
  readonly state: FileIdentity | null;
  /** The names that lead to the directory from where the list begins. */
  readonly names: readonly string[];
  /** `null` where the list begins. */
  readonly above: ListedDirectory | null;
  readonly modified: Date;
}

/** The directory where a list begins. */
export function rootOfList(path: string, state: BigIntStats | null): ListedDirectory {
  return { names: [], path, above: null, modified: new Date(0), state };
}

/**
 * Yields everything below a directory, some entries at a time, each directory before its entries. A
 * directory is read to its end before it is named; if that fails, its kind is `"other"`.
 * Memory is needed for the names in the directory that is being listed, and for the directories on
 * the way to it.
 *
 * @throws {BodyError} if the first directory was replaced while it was listed.
 * @throws the error of the first directory if that can't be read.
 */
export async function* readTree(
  walk: ListOptions,
): AsyncGenerator<(TreeEntry & WithMode)[], void, void> {
  const { path } = walk;
  yield* readBelow(walk, rootOfList(path, statOrNull(path)));
}

/** Does {@linkcode readTree} for a directory that was found. */
export async function* readBelow(
  walk: ListOptions,
  first: ListedDirectory,
): AsyncGenerator<(TreeEntry & WithMode)[], void, void> {
  const waiting = [first];
  for (let directory; (directory = waiting.pop()) !== undefined;) {
    const { names } = directory;
    const below: ListedDirectory[] = [];
    for await (const entries of readListedDirectory(walk, directory)) {
      const listed: (TreeEntry & WithMode)[] = [];
      for (const entry of entries) {
        if (entry.place !== undefined) below.push(entry.place);
        else listed.push({ ...entry, path: entry.isItself ? names : [...names, entry.name] });
      }
      yield listed;
    }
    // No spread: a call takes only so many arguments.
    for (const place of below.reverse()) waiting.push(place);
  }
  if (!isInPlace(first)) throw replacedWhileReadError(first.path);
}

/** Whether the path of a directory still leads to it. */
function isInPlace({ path, state }: ListedDirectory): boolean {
  const now = infoOrNull(path);
  return now !== null && now.isDirectory && state !== null && isSameFile(now, state);
}

/**
 * Checks that a directory that is no longer at its path was removed, perhaps with the directories
 * above it: the list then leaves it out. If another directory or a link is at its path, as after a
 * disk was unmounted, the list would be wrong.
 */
function checkRemoved(place: ListedDirectory): void {
  let at = place;
  while (at.above !== null && statOrNull(at.path) === null) at = at.above;
  if (at === place || !isInPlace(at)) throw replacedWhileReadError(at.path);
}

function replacedWhileReadError(path: string): BodyError {
  return new BodyError(`${printable(path)} was removed or replaced while it was listed`);
}

/**
 * Yields the entries of a directory, some at a time, and before them the directory itself unless
 * the list begins there. The directory is read once.
 *
 * @throws {BodyError} if another directory is at its path.
 */
export async function* readListedDirectory(
  walk: ListOptions,
  place: ListedDirectory,
): AsyncGenerator<FoundEntry[], void, void> {
  const { root, timeSlice } = walk;
  const { path, modified } = place;
  const name = place.names.at(-1) ?? "";
  const itself: FoundEntry[] = place.above === null
    ? []
    : [{ name, kind: "directory", size: 0, modified, isItself: true }];
  const doubtful = new Set<string>();
  const missing: string[] = [];
  try {
    for (const names of nameBatches(await readNames(path))) {
      const entries = describeAll(walk, place, names, doubtful, missing);
      if (entries === null) return checkRemoved(place);
      yield [...itself.splice(0), ...entries];
      if (timeSlice.isUsedUp) await timeSlice.yield(root.path);
    }
    if (missing.length === 0) return;
    // A name that is still listed was not removed: a damaged disk lists names that it does not
    // find.
    const still = new Set(await readNames(path));
    const lost: string[] = [];
    const listed = missing.filter((name) => still.has(name));
    const entries = describeAll(walk, place, listed, doubtful, lost);
    if (entries === null) return checkRemoved(place);
    yield [...entries, ...lost.map((name) => otherEntry(name, "unreadable"))];
  } catch (error) {
    if (isMissing(error) && !isInPlace(place)) return checkRemoved(place);
    // An entry that says that this is a directory can't be taken back once it was sent.
    if (itself.length === 0 || !isUnreadable(error)) throw error;
    yield [{ ...otherEntry(name, "unreadable"), isItself: true }];
  }
}

/** Divides names into batches, at least one. */
function* nameBatches(names: readonly string[]): Generator<readonly string[], void, void> {
  for (let next = 0; next === 0 || next < names.length; next += ENTRIES_A_TURN) {
    yield names.slice(next, next + ENTRIES_A_TURN);
  }
}

/**
 * Describes entries of a directory; returns `null` if it was removed or replaced.
 *
 * @param doubtful The names so far that are not UTF-8, or look so.
 * @param missing The names so far that a lookup doesn't find.
 */
function describeAll(
  { root, isLocal = false, hasModes = false }: ListOptions,
  place: ListedDirectory,
  names: readonly string[],
  doubtful: Set<string>,
  missing: string[],
): FoundEntry[] | null {
  const { path } = place;
  // A local list has reserved entries, too. The lookup is made all the same: where it fails, no
  // entry of the directory can be looked up.
  const there = statOrNull(reservedPath(path));
  const directory: ReadDirectory = {
    place,
    reserved: isLocal ? null : there,
    isTooDeep: path !== root.path &&
      path.slice(prefixOf(root.path).length).split("/").length >= MAX_DEPTH,
    isLocal,
    hasModes,
    doubtful,
    missing,
  };
  const entries: FoundEntry[] = [];
  for (const name of names) {
    const entry = describeEntry(directory, name);
    if (entry !== null) entries.push(entry);
  }
  return isInPlace(place) ? entries : null;
}

/**
 * An entry of a directory. For a directory with a `place`, its own content is read before the entry
 * is sent.
 */
type FoundEntry = DirectoryEntry & WithMode & {
  readonly place?: ListedDirectory;
  readonly isItself?: true;
};

/** A directory that is being read. */
interface ReadDirectory {
  readonly place: ListedDirectory;
  /** The reserved directory in this one; no list has an entry for it. */
  readonly reserved: ReturnType<typeof statOrNull>;
  /**
   * The names so far with U+FFFD, which Deno puts in place of bytes that are not UTF-8: the name on
   * the disk may have such bytes, or the character itself.
   */
  readonly doubtful: Set<string>;
  /** Whether the paths of its entries have too many names for a request. */
  readonly isTooDeep: boolean;
  readonly isLocal: boolean;
  readonly hasModes: boolean;
  /** The names that are listed, but that a lookup does not find. */
  readonly missing: string[];
}

/** Describes an entry; returns `null` if it does not exist, or is reserved. */
function describeEntry(directory: ReadDirectory, name: string): FoundEntry | null {
  const { place, reserved, doubtful, isLocal, isTooDeep, hasModes } = directory;
  if (isReservedName(name)) return isLocal ? otherEntry(name, "special") : null;
  const isDoubtful = name.includes(NOT_UTF8);
  // Of several names that Deno returns alike, at most one has U+FFFD itself on the disk.
  const isUnnameable = !isName(name) || nameProblem(name) !== null || isTooDeep ||
    isDoubtful && doubtful.has(name);
  if (isUnnameable) return otherEntry(name, "name");
  const path = prefixOf(place.path) + name;
  try {
    const info = Deno.lstatSync(path);
    if (isDoubtful) doubtful.add(name);
    if (info.isSymlink) return otherEntry(name, "link", info);
    if (info.isFile) return describeFile(name, path, info, hasModes);
    if (!info.isDirectory) return otherEntry(name, "special", info);
    if (reserved !== null && isSameFile(info, reserved)) return null;
    const modified = timeOf(info);
    const inner = { names: [...place.names, name], path, above: place, modified, state: info };
    return { name, kind: "directory", size: 0, modified, place: inner };
  } catch (error) {
    if (fileErrorCode(error) === "ENAMETOOLONG") return otherEntry(name, "name");
    if (isMissing(error)) {
      if (isDoubtful) return otherEntry(name, "name");
      directory.missing.push(name);
      return null;
    }
    if (isUnreadable(error)) return otherEntry(name, "unreadable");
    throw error;
  }
}

function describeFile(
  name: string,
  path: string,
  info: Deno.FileInfo,
  hasModes: boolean,
): DirectoryEntry & WithMode {
  if (((info.mode ?? 0) & READABLE) !== READABLE) closeSync(openSync(path, READ_FLAGS));
  const entry = { name, kind: "file", size: info.size, modified: timeOf(info) } as const;
  return hasModes ? { ...entry, mode: bitsOf(info.mode) } : entry;
}

function otherEntry(
  name: string,
  reason: NonNullable<DirectoryEntry["reason"]>,
  info?: Deno.FileInfo,
): DirectoryEntry {
  return { name, kind: "other", size: 0, modified: timeOf(info), reason };
}

/** The time of the last change; 1970 if that is not known, or no Date can hold it. */
function timeOf(info: Deno.FileInfo | undefined): Date {
  const time = info?.mtime;
  return time && !Number.isNaN(time.getTime()) ? time : new Date(0);
}
