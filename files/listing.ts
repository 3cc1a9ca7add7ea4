/** The content of a directory, or of everything below it, as JSON. */

import { closeSync, openSync } from "node:fs";
import { ChunkedBodyIter } from "../base/body/body_iter.ts";
import { EMPTY } from "../base/bytes.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import { BodyError } from "../base/errors.ts";
import {
  codeOf,
  type FileIdentity,
  isAt,
  isMissing,
  isSameFile,
  statOrNull,
} from "../disk/names.ts";
import { Turns } from "../disk/files.ts";
import { type DirectoryEntry, formatEntry, type ListedEntry, TREE_END } from "./entries.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { READ_FLAGS } from "./file_pieces.ts";
import { printable } from "../base/printable.ts";
import { isReservedName, prefixOf, reservedPath } from "./reserved.ts";
import { isAbsence, lookAgain, type Root } from "./root.ts";

/** The number of entries that are looked at in a turn: fewer than take too long, even if each is opened. */
// mutant `128` → `129`: one more at a time
const AT_A_TIME = 128;
/** A directory whose own entry has more bytes than this is listed by another thread. */
// mutant `65536` → `65537`: a larger one is listed here
const LARGE_DIRECTORY_BYTES = 65536;
/** The minimum number of characters in a chunk, except the last. */
// mutant `32768` → `32769`: it is the size of a piece
const CHUNK_CHARACTERS = 32768;
/** How often entries are described that change meanwhile. */
const ATTEMPTS = 10;
/** Deno's replacement for bytes that are not UTF-8. */
const NOT_UTF8 = "\ufffd";
/** Permission bits of a file that everybody may read: whether this user may needs no look. */
// mutant `0o444` → `293`: more files are opened than have to be
const READABLE = 0o444;

const encoder = new TextEncoder();

/**
 * Makes a body with an array of everything in a directory, or in the tree below it. It is read while it is sent. What is
 * reserved is omitted; what can't be served is of the kind `"other"`. If it can't be told what there is, the body is cut.
 *
 * @param root The directory that is served.
 * @param names The names that lead from it to the one that is read.
 * @returns `null` if there is no directory that may be seen.
 */
export async function listBelow(
  root: Root,
  names: readonly string[],
  isTree: boolean,
): Promise<ChunkedBodyIter | null> {
  try {
    const resolved = await root.resolve(names);
    if (resolved === null || !resolved.seen.isDirectory()) return null;
    const path = resolved.real;
    // Only to check that it can be read and searched: a body that is never sent must not leave it open.
    for await (const _entry of Deno.readDir(path)) break;
    statOrNull(reservedPath(path));
    return new ChunkedBodyIter(chunksOf(isTree ? treeTexts(root, path) : listTexts(root, path)));
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

async function* listTexts(root: Root, path: string): AsyncGenerator<string[], void, void> {
  const walk = { root, path, turns: new Turns() };
  for await (const entries of readEntries(walk, { path, state: statOrNull(path) })) {
    yield entries.map(({ link: _link, ...entry }) => formatEntry({ name: entry.name }, entry));
  }
}

async function* treeTexts(root: Root, path: string): AsyncGenerator<string[], void, void> {
  for await (const entries of readTree({ root, path, turns: new Turns() })) {
    yield entries.map((entry) => formatEntry({ path: entry.path }, entry));
  }
  yield [TREE_END];
}

async function* chunksOf(elements: AsyncIterable<string[]>): AsyncGenerator<Chunk, void, void> {
  let text = "[";
  let separator = "\n";
  for await (const batch of elements) {
    for (const element of batch) {
      text += separator + element;
      separator = ",\n";
    }
    if (text.length < CHUNK_CHARACTERS) continue;
    yield [null, encoder.encode(text)];
    text = "";
  }
  yield [null, encoder.encode(`${text}\n]\n`)];
  yield [null, EMPTY];
}

/** What is listed. */
interface Walk {
  /** The directory that is served. */
  readonly root: Root;
  /** The real path of a directory in it, where the paths of the entries begin. */
  readonly path: string;
  readonly turns: Turns;
  /**
   * Whether the list is for this device alone: then links are not followed, what is reserved is in it, as of the kind
   * `"other"`, and nobody could be led to what he may not see.
   */
  readonly isLocal?: boolean;
}

/**
 * Yields everything below a directory, some entries at a time, parents before what is in them. Memory is needed for
 * the directories on the way to the one that is read.
 *
 * @throws {BodyError} if a directory was replaced while it was read.
 * @throws the error of a directory that can't be read any more.
 */
export async function* readTree(walk: Walk): AsyncGenerator<ListedEntry[], void, void> {
  const { path } = walk;
  const first: WaitingDirectory = { names: [], path, state: statOrNull(path), above: null };
  const waiting = [first];
  for (let directory; (directory = waiting.pop()) !== undefined;) {
    const { names } = directory;
    const below: WaitingDirectory[] = [];
    try {
      for await (const entries of readEntries(walk, directory)) {
        yield entries.map(({ state: _, ...entry }) => ({ ...entry, path: [...names, entry.name] }));
        for (const { name, kind, state = null } of entries) {
          if (kind !== "directory") continue;
          const path = prefixOf(directory.path) + name;
          below.push({ names: [...names, name], path, state, above: directory });
        }
      }
    } catch (error) {
      // It was removed after it was named.
      if (directory === first || !isGone(error, directory.path)) throw error;
      checkAbove(directory);
    }
    waiting.push(...below.reverse());
  }
  checkSame(first);
}

function isGone(error: unknown, path: string): boolean {
  return codeOf(error) === "ENOENT" && statOrNull(path) === null;
}

/** A directory as it was when it was named. */
interface NamedDirectory {
  /** Its path, without links. */
  readonly path: string;
  readonly state: FileIdentity & { readonly size: number | bigint } | null;
  /** The directory that it was named in; none if that was not listed. */
  readonly above?: NamedDirectory | null;
}

/** A directory that is yet to be read. */
interface WaitingDirectory extends NamedDirectory {
  readonly names: readonly string[];
  readonly above: WaitingDirectory | null;
}

/**
 * Checks that a directory that is gone was removed from one that is still there: else what seems to be removed has only lost its
 * place, as when a disk is unmounted or a directory is renamed, and the list would be one of what is left.
 */
function checkAbove(gone: WaitingDirectory): void {
  let { above } = gone;
  while (above!.above !== null && statOrNull(above!.path) === null) above = above!.above;
  checkSame(above!);
}

/** Checks that a directory is the one that was named. */
function checkSame({ path, state }: NamedDirectory): void {
  const now = statOrNull(path);
  if (now === null || state === null || !isSameFile(now, state)) throw replaced(path);
}

function replaced(path: string): BodyError {
  return new BodyError(`${printable(path)} was removed or replaced while it was listed`);
}

/** Yields the entries of a directory, some at a time, each time after a check that it was not replaced. */
async function* readEntries(
  { root, turns, isLocal = false }: Walk,
  named: NamedDirectory,
): AsyncGenerator<Found[], void, void> {
  const { path, state } = named;
  const doubtful = new Set<string>();
  let names: string[] = [];
  const isTooDeep = path !== root.path &&
    path.slice(prefixOf(root.path).length).split("/").length >= MAX_DEPTH;
  const describeAll = () => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const began = Date.now();
      const reserved = isLocal ? null : statOrNull(reservedPath(path));
      const seen: Seen[] = [];
      const doubtfulHere = new Set(doubtful);
      const directory = { root, path, reserved, doubtful: doubtfulHere, isTooDeep, isLocal, seen };
      const entries: Found[] = [];
      for (const name of names) {
        const entry = describe(directory, name);
        if (entry !== null) entries.push(entry);
      }
      const isThere = () => isAnyThere(seen);
      const change = isLocal
        ? null
        : named.above
        ? lookAgain(isThere, () => isStillBelow(named))
        : root.changeSince(began, path, isThere);
      checkSame(named);
      if (change === "moved") break;
      if (change !== null) continue;
      for (const name of doubtfulHere) doubtful.add(name);
      names = [];
      return entries;
    }
    throw replaced(path);
  };
  // mutant `>` → `>=`: one more is listed by another thread
  const isLarge = Number(state?.size) > LARGE_DIRECTORY_BYTES;
  // mutant `isLarge` → `true`: it is listed by another thread
  // mutant `isLarge` → `false`: it is listed here
  for await (const { name } of isLarge ? Deno.readDir(path) : Deno.readDirSync(path)) {
    names.push(name);
    if (names.length < AT_A_TIME) continue;
    yield describeAll();
    // mutant `turns.isOver` → `true`: a turn more
    if (turns.isOver) await turns.next(root.path);
  }
  yield describeAll();
  // mutant `turns.isOver` → `true`: a turn more
  if (turns.isOver) await turns.next(root.path);
}

/**
 * Whether a directory is the one that was named, in the directory that it was named in. Then no link
 * leads to it, as none led to the directory above. A look at every directory on the way would make
 * the work for a tree grow as the square of its depth, and more.
 */
function isStillBelow({ path, state, above }: NamedDirectory): boolean {
  return isSameFile(Deno.lstatSync(path), state!) &&
    isSameFile(Deno.lstatSync(above!.path), above!.state!);
}

/**
 * Whether one of the entries, that nobody can foresee, is still what was described: so a list of another directory, for a link to
 * which this one was exchanged, is found out even if it is back in its place.
 */
function isAnyThere(seen: readonly Seen[]): boolean {
  if (seen.length === 0) return true;
  const { path, info } = seen[Math.floor(Math.random() * seen.length)]!;
  return isAt(path, info);
}

/** An entry, whether it is a link to a file, and of a directory what it is on the disk. */
type Found = DirectoryEntry & Pick<ListedEntry, "link"> & Partial<Pick<NamedDirectory, "state">>;

/** What an entry was when it was described. */
interface Seen {
  readonly path: string;
  readonly info: Deno.FileInfo;
}

/** A directory that is being read. */
interface ReadDirectory {
  readonly root: Root;
  /** Its path, without links. */
  readonly path: string;
  /** The reserved directory in it. */
  readonly reserved: ReturnType<typeof statOrNull>;
  /** The names so far that are not UTF-8, or look so. */
  readonly doubtful: Set<string>;
  /** Whether paths in it are too long to be asked for. */
  readonly isTooDeep: boolean;
  readonly isLocal: boolean;
  /** The entries so far. */
  readonly seen: Seen[];
}

/** What has a name; `null` if nothing has, or nobody may know. */
function describe(directory: ReadDirectory, name: string): Found | null {
  const { path, doubtful, isLocal } = directory;
  if (isReservedName(name)) return isLocal ? other(name, "special") : null;
  const isDoubtful = name.includes(NOT_UTF8);
  // Of equal-looking names only the first can be the real one.
  if (!isName(name) || isDoubtful && doubtful.has(name)) return other(name, "name");
  if (isDoubtful) doubtful.add(name);
  try {
    return describeAt(directory, prefixOf(path) + name, name);
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENAMETOOLONG") return other(name, "name");
    // It was removed meanwhile, unless the real name has other bytes.
    if (isMissing(error)) return isDoubtful ? other(name, "name") : null;
    if (isAbsence(error) || code === "EPERM" || code === "EIO") return other(name, "unreadable");
    throw error;
  }
}

function describeAt(
  { root, reserved, isTooDeep, isLocal, seen }: ReadDirectory,
  path: string,
  name: string,
): Found | null {
  const info = Deno.lstatSync(path);
  seen.push({ path, info });
  if (isTooDeep) return other(name, "name");
  if (info.isSymlink) {
    // A link to a directory is not followed: two of them can lead to each other, and who follows the list would never end.
    const target = isLocal ? null : fileOfLink(root, path);
    return target === null
      ? other(name, "link", info)
      : { ...describeFile(name, target.path, target.info), link: true };
  }
  if (info.isFile) return describeFile(name, path, info);
  if (!info.isDirectory) return other(name, "special", info);
  if (reserved !== null && isSameFile(info, reserved)) return null;
  checkReadable(path);
  // A directory that may not be searched can't tell what is in it.
  statOrNull(reservedPath(path));
  return { name, kind: "directory", size: 0, modified: timeOf(info), state: info };
}

function describeFile(name: string, path: string, info: Deno.FileInfo): DirectoryEntry {
  // mutant `((info.mode ?? 0) & READABLE) !== READABLE` → `true`: each file is opened
  // mutant `&` → `|`: each file is opened
  if (((info.mode ?? 0) & READABLE) !== READABLE) checkReadable(path);
  return { name, kind: "file", size: info.size, modified: timeOf(info) };
}

/** The file that a link leads to, if it is one that is served. */
function fileOfLink(root: Root, path: string): { path: string; info: Deno.FileInfo } | null {
  try {
    return root.findLinked(path);
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

/** Opens a file or directory, and throws if that can't be done. */
function checkReadable(path: string): void {
  closeSync(openSync(path, READ_FLAGS));
}

function other(
  name: string,
  reason: NonNullable<DirectoryEntry["reason"]>,
  info?: Deno.FileInfo,
): DirectoryEntry {
  return { name, kind: "other", size: 0, modified: timeOf(info), reason };
}

/** When something was last changed; 1970 if that is not known, or no Date can hold it. */
function timeOf(info: Deno.FileInfo | undefined): Date {
  const time = info?.mtime;
  return time && !Number.isNaN(time.getTime()) ? time : new Date(0);
}
