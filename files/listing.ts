import { closeSync, openSync } from "node:fs";
import { BodyError, printable } from "../base.ts";
import {
  describeNameProblem,
  type FileIdentity,
  isMissingPathError,
  isSameDirectory,
  isSameFile,
  isUnreadableError,
  lstatOrNull,
  readNames,
  REPLACEMENT_CHARACTER,
} from "./disk/names.ts";
import { fileErrorCodeOf } from "../internal/caught_errors.ts";
import type { TimeSlice } from "./disk/files.ts";
import { sentTimeOf } from "./wire/conditions.ts";
import type { DirectoryEntry, OptionalMode } from "./wire/entries.ts";
import { isFileName, MAX_DEPTH } from "./wire/file_name.ts";
import { READ_FLAGS } from "./disk/file_pieces.ts";
import { permissionBitsOf } from "./wire/metadata.ts";
import { isReservedName, reservedDirectoryOf, withTrailingSlash } from "./reserved.ts";
import type { Root } from "./root.ts";

/**
 * The maximum number of entries to describe in one tick of the event loop. With this number, a tick
 * is short even if each entry must be opened.
 */
const MAX_ENTRIES_PER_TICK = 128;
/** Other files are opened, because only opening shows whether this user may read them. */
const READABLE_BITS = 0o444;

export interface ListOptions {
  readonly root: Root;
  readonly timeSlice: TimeSlice;
  /** A local list has reserved names as entries of the kind `"other"`. */
  readonly isLocal?: boolean;
  readonly hasModes?: boolean;
  /** Whether the names of a directory are in order. */
  readonly isSorted?: boolean;
  /** Subdirectories are not read. */
  readonly isFlat?: boolean;
}

export interface ListedEntries {
  /** The names from the root of the list to the directory of the entries. */
  readonly names: readonly string[];
  readonly entries: readonly (DirectoryEntry & OptionalMode)[];
}

export interface ListedDirectory {
  readonly path: string;
  readonly identity: FileIdentity | null;
  /** The names from the root of the list to the directory. */
  readonly names: readonly string[];
  readonly parent: ListedDirectory | null;
  readonly modified: Date;
}

export function makeListRoot(path: string, identity: FileIdentity | null): ListedDirectory {
  return { names: [], path, parent: null, modified: new Date(0), identity };
}

/**
 * Yields all entries below a directory in batches, each directory before its entries. A directory
 * is read to its end before its own entry is yielded; if reading fails, the kind of the entry is
 * `"other"`.
 */
export async function* readTree(
  options: ListOptions,
  listRoot: ListedDirectory = makeListRoot(options.root.path, lstatOrNull(options.root.path)),
): AsyncGenerator<ListedEntries, void, void> {
  const pendingDirectories = [listRoot];
  for (let directory; (directory = pendingDirectories.pop()) !== undefined;) {
    const subdirectories: ListedDirectory[] = [];
    for await (const batch of readListedDirectory(options, directory)) {
      yield batch;
      for (const subdirectory of batch.subdirectories) subdirectories.push(subdirectory);
    }
    // Don't spread the array: the number of arguments of a call is limited.
    for (const child of subdirectories.reverse()) pendingDirectories.push(child);
  }
  if (!isAtPath(listRoot)) throw replacedWhileReadError(listRoot.path);
}

function isAtPath({ path, identity }: ListedDirectory): boolean {
  const info = lstatOrNull(path);
  return info !== null && info.isDirectory && identity !== null && isSameFile(info, identity);
}

/**
 * The list omits a removed directory. If another directory or a link is at the path, for example
 * after a disk was unmounted, the list would be wrong.
 */
function checkRemoved(directory: ListedDirectory): void {
  let nearestDirectory = directory;
  while (nearestDirectory.parent !== null && lstatOrNull(nearestDirectory.path) === null) {
    nearestDirectory = nearestDirectory.parent;
  }
  if (nearestDirectory === directory || !isAtPath(nearestDirectory)) {
    throw replacedWhileReadError(nearestDirectory.path);
  }
}

function replacedWhileReadError(path: string): BodyError {
  return new BodyError(`${printable(path)} was removed or replaced while it was listed`);
}

async function* readListedDirectory(
  options: ListOptions,
  directory: ListedDirectory,
): AsyncGenerator<Batch, void, void> {
  const { root, timeSlice } = options;
  const { path, names, parent, modified } = directory;
  const name = names.at(-1) ?? "";
  const makeOwnBatch = (entry: DirectoryEntry): Batch => {
    return { names: parent!.names, entries: [entry], subdirectories: [] };
  };
  let isOwnEntryListed = parent === null;
  const missingNames: string[] = [];
  const context: EntryContext = {
    ...options,
    directory,
    doubtfulNames: new Set(),
    isTooDeep: path !== root.path &&
      path.slice(withTrailingSlash(root.path).length).split("/").length >= MAX_DEPTH,
    missingNames,
  };
  try {
    const allNames = await readNames(path);
    if (options.isSorted) allNames.sort();
    for (const entryNames of splitIntoBatches(allNames, timeSlice)) {
      const batch = describeEntries(context, entryNames);
      if (batch === null) return checkRemoved(directory);
      if (!isOwnEntryListed) {
        isOwnEntryListed = true;
        yield makeOwnBatch({ name, kind: "directory", size: 0, modified });
      }
      yield batch;
      if (timeSlice.isUsedUp) await timeSlice.yield(root.path);
    }
    if (missingNames.length === 0) return;
    // A damaged disk lists names that a lookup does not find. So a name that is still listed is
    // unreadable, not removed.
    const presentNames = new Set(await readNames(path));
    const unreadableNames: string[] = [];
    const stillListedNames = missingNames.filter((name) => presentNames.has(name));
    const retryContext = { ...context, missingNames: unreadableNames };
    const batch = describeEntries(retryContext, stillListedNames);
    if (batch === null) return checkRemoved(directory);
    yield batch;
    yield {
      names,
      entries: unreadableNames.map((name) => makeOtherEntry(name, "unreadable")),
      subdirectories: [],
    };
  } catch (error) {
    if (isMissingPathError(error) && !isAtPath(directory)) return checkRemoved(directory);
    // If the directory's own entry was already yielded, it can't be changed to the kind "other".
    if (isOwnEntryListed || !isUnreadableError(error)) throw error;
    yield makeOwnBatch({ ...makeOtherEntry(name, "unreadable"), isDirectory: true });
  }
}

function* splitIntoBatches(
  names: readonly string[],
  timeSlice: TimeSlice,
): Generator<Iterable<string>, void, void> {
  let index = 0;
  function* takeBatch(): Generator<string, void, void> {
    const end = Math.min(index + MAX_ENTRIES_PER_TICK, names.length);
    // On a slow disk, a single lookup may use up the time of the tick.
    for (let isFirst = true; index < end && (isFirst || !timeSlice.isUsedUp); isFirst = false) {
      yield names[index++]!;
    }
  }
  do yield takeBatch(); while (index < names.length);
}

function describeEntries(context: EntryContext, names: Iterable<string>): Batch | null {
  const { directory } = context;
  // A local list also needs this lookup: if it fails, no entry of the directory can be looked up.
  const reservedDirectory = lstatOrNull(reservedDirectoryOf(directory.path));
  const entries: (DirectoryEntry & OptionalMode)[] = [];
  const subdirectories: ListedDirectory[] = [];
  for (const name of names) {
    const entry = describeEntry(context, name, reservedDirectory, subdirectories);
    if (entry !== null) entries.push(entry);
  }
  return isAtPath(directory) ? { names: directory.names, entries, subdirectories } : null;
}

interface Batch extends ListedEntries {
  /** The subdirectories to read. Each has its own entry in the list once it was read. */
  readonly subdirectories: readonly ListedDirectory[];
}

interface EntryContext extends ListOptions {
  readonly directory: ListedDirectory;
  /**
   * The names so far with U+FFFD. Deno replaces bytes that are not UTF-8 by this character, so the
   * name on the disk may have such bytes or the character itself.
   */
  readonly doubtfulNames: Set<string>;
  /** True if the paths of the entries have too many names for a request. */
  readonly isTooDeep: boolean;
  readonly missingNames: string[];
}

function describeEntry(
  context: EntryContext,
  name: string,
  reservedDirectory: Deno.FileInfo | null,
  subdirectories: ListedDirectory[],
): DirectoryEntry & OptionalMode | null {
  const { directory, doubtfulNames, isLocal, isTooDeep, missingNames } = context;
  if (isReservedName(name)) return isLocal ? makeOtherEntry(name, "special") : null;
  const isDoubtful = name.includes(REPLACEMENT_CHARACTER);
  // If Deno returns several equal names, at most one of them has U+FFFD itself on the disk.
  const isUnnameable = !isFileName(name) || describeNameProblem(name) !== null || isTooDeep ||
    isDoubtful && doubtfulNames.has(name);
  if (isUnnameable) return makeOtherEntry(name, "name");
  const path = withTrailingSlash(directory.path) + name;
  let info: Deno.FileInfo | null = null;
  try {
    info = Deno.lstatSync(path);
    if (isDoubtful) doubtfulNames.add(name);
    if (info.isSymlink) return makeOtherEntry(name, "link", info);
    if (info.isFile) {
      if (((info.mode ?? 0) & READABLE_BITS) !== READABLE_BITS) {
        closeSync(openSync(path, READ_FLAGS));
      }
      return makeFileEntry(name, info, context.hasModes ? permissionBitsOf(info.mode) : null);
    }
    if (!info.isDirectory) return makeOtherEntry(name, "special", info);
    const isReserved = reservedDirectory !== null && isSameDirectory(info, reservedDirectory);
    if (isReserved && !isLocal) return null;
    const modified = timeOf(info);
    if (context.isFlat) return { name, kind: "directory", size: 0, modified };
    const names = [...directory.names, name];
    subdirectories.push({ names, path, parent: directory, modified, identity: info });
    return null;
  } catch (error) {
    if (fileErrorCodeOf(error) === "ENAMETOOLONG") return makeOtherEntry(name, "name");
    if (isMissingPathError(error)) {
      if (isDoubtful) return makeOtherEntry(name, "name");
      missingNames.push(name);
      return null;
    }
    if (!isUnreadableError(error)) throw error;
    const entry = makeOtherEntry(name, "unreadable");
    return info === null ? entry : { ...entry, isDirectory: info.isDirectory };
  }
}

export function makeFileEntry(
  name: string,
  info: Deno.FileInfo,
  mode: number | null = null,
): DirectoryEntry & OptionalMode {
  if (!Number.isSafeInteger(info.size)) {
    return { ...makeOtherEntry(name, "unreadable", info), isDirectory: false };
  }
  return { name, kind: "file", size: info.size, modified: timeOf(info), mode };
}

export function makeOtherEntry(
  name: string,
  reason: NonNullable<DirectoryEntry["reason"]>,
  info?: Deno.FileInfo,
): DirectoryEntry {
  return { name, kind: "other", size: 0, modified: timeOf(info), reason };
}

export function timeOf(info: Deno.FileInfo | undefined): Date {
  return sentTimeOf(info?.mtime ?? null);
}
