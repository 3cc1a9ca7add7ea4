/** The content of a directory, or of everything below it, as JSON. */

import { type BigIntStats, closeSync, openSync } from "node:fs";
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
  isUnreadable,
  NOT_UTF8,
  statOrNull,
} from "../disk/names.ts";
import { Turns } from "../disk/files.ts";
import { readRecovered } from "./aside.ts";
import { type DirectoryEntry, formatEntry, type ListedEntry, TREE_END } from "./entries.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { READ_FLAGS } from "./file_pieces.ts";
import { printable } from "../base/printable.ts";
import { isReservedName, prefixOf, reservedPath } from "./reserved.ts";
import { isAbsence, lookAgain, type Root } from "./root.ts";

/** The number of entries that are looked at in a turn: fewer than take too long, even if each is opened. */
const AT_A_TIME = 128;
/** The minimum number of characters in a chunk, except the last. */
const CHUNK_CHARACTERS = 32768;
/** How often entries are described that change meanwhile. */
const ATTEMPTS = 10;
/** How often a directory is read that is removed and made again meanwhile. */
const READINGS = 3;
/** Permission bits of a file that everybody may read: whether this user may needs no look. */
const READABLE = 0o444;

const encoder = new TextEncoder();

/**
 * Makes a body with an array of everything in a directory, or in the tree below it. It is read while it is sent. What is
 * reserved is omitted; what can't be served is of the kind `"other"`. If it can't be told what there is, the body is cut.
 *
 * @param root The directory that is served.
 * @param names The names that lead from it to the one that is read.
 * @returns `null` if there is no directory that may be seen.
 * @throws {Refusal} if there is one that can't be read.
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
    const first = firstPlace(path, resolved.seen);
    // To the end, while there can still be another status: one that can't be read is not short.
    const read = await readRecovered(path);
    statOrNull(reservedPath(path));
    const walk = { root, path, turns: new Turns() };
    const texts = isTree ? treeTexts(walk, first, read) : listTexts(walk, first, read);
    return new ChunkedBodyIter(chunksOf(texts));
  } catch (error) {
    const refusal = root.refusalToRead(error, names);
    if (refusal.status === 404) return null;
    throw refusal;
  }
}

async function* listTexts(
  walk: Walk,
  first: Place,
  read: readonly string[],
): AsyncGenerator<string[], void, void> {
  for await (const entries of readPlace(walk, first, read)) {
    const texts: string[] = [];
    for (const { place, link: _link, ...entry } of entries) {
      if (place === undefined) {
        texts.push(formatEntry({ name: entry.name }, entry));
        continue;
      }
      for await (const [itself] of readPlace({ ...walk, isShallow: true }, place)) {
        texts.push(formatEntry({ name: entry.name }, itself!));
      }
    }
    yield texts;
  }
}

async function* treeTexts(
  walk: Walk,
  first: Place,
  read: readonly string[],
): AsyncGenerator<string[], void, void> {
  for await (const entries of readBelow(walk, first, read)) {
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
  /**
   * Whether directories are read, so that it is known whether they can be, but nothing in them is
   * described.
   */
  readonly isShallow?: boolean;
}

/** A directory that is listed. */
interface Place {
  /** The names that lead to it from where the list begins. */
  readonly names: readonly string[];
  /** Its path, without links. */
  readonly path: string;
  /** `null` where the list begins. */
  readonly above: Place | null;
  readonly modified: Date;
  /** The directory on the disk; `null` if nothing was there. */
  state: FileIdentity | null;
}

function firstPlace(path: string, state: BigIntStats | null): Place {
  return { names: [], path, above: null, modified: new Date(0), state };
}

/**
 * Yields everything below a directory, some entries at a time, parents before what is in them. Each
 * directory is read to its end before it is named: one that can't be is of the kind `"other"`.
 * Memory is needed for the names in the one that is being listed, and for the directories on the
 * way to it.
 *
 * @throws {BodyError} if a directory was replaced while it was listed.
 * @throws the error of the first directory if that can't be read.
 */
export async function* readTree(walk: Walk): AsyncGenerator<ListedEntry[], void, void> {
  const { path } = walk;
  const first = firstPlace(path, statOrNull(path));
  yield* readBelow(walk, first, await readRecovered(path));
}

/** Does {@linkcode readTree} with the names in the first directory. */
async function* readBelow(
  walk: Walk,
  first: Place,
  read: readonly string[],
): AsyncGenerator<ListedEntry[], void, void> {
  const waiting = [first];
  for (let directory; (directory = waiting.pop()) !== undefined;) {
    const { names } = directory;
    const below: Place[] = [];
    for await (const entries of readPlace(walk, directory, directory === first ? read : null)) {
      const listed: ListedEntry[] = [];
      for (const entry of entries) {
        if (entry.place !== undefined) below.push(entry.place);
        else listed.push({ ...entry, path: entry.isItself ? names : [...names, entry.name] });
      }
      yield listed;
    }
    // No spread: a call takes only so many arguments.
    for (const place of below.reverse()) waiting.push(place);
  }
  checkFirst(first);
}

/** Checks that the directory where a list begins is still the same. */
function checkFirst({ path, state }: Place): void {
  if (state === null || !isAt(path, state)) throw replaced(path);
}

/**
 * Checks that a directory that is gone, or another one by now, was removed where it lay: on the
 * same device, and in directories that are still there, or were themselves removed, or made again.
 * Else it has only lost its place, as when a disk is unmounted or a directory is renamed, and the
 * list would be one of what is left.
 */
function checkRemoved(place: Place): void {
  let at = place;
  for (; at.above !== null; at = at.above) {
    const { path, state } = at;
    const now = statOrNull(path);
    if (now === null) continue;
    if (state !== null && isSameFile(now, state)) return;
    // The directory itself may have given way to something else.
    const mayBeOther = at === place || now.isDirectory();
    if (!mayBeOther || Number(now.dev) !== Number(state?.dev)) throw replaced(path);
  }
  checkFirst(at);
}

function replaced(path: string): BodyError {
  return new BodyError(`${printable(path)} was removed or replaced while it was listed`);
}

/**
 * Yields the entries of a directory, some at a time, and before them the directory itself unless
 * the list begins there. If it is removed and made again meanwhile, it is read anew.
 *
 * @param read The names in it, if they have been read.
 */
async function* readPlace(
  walk: Walk,
  place: Place,
  read: readonly string[] | null = null,
): AsyncGenerator<Found[], void, void> {
  const { root, turns, isShallow = false } = walk;
  const { path, modified } = place;
  const name = place.names.at(-1) ?? "";
  let itself: Found[] = read !== null
    ? []
    : [{ name, kind: "directory", size: 0, modified, isItself: true }];
  const unreadable = { ...other(name, "unreadable"), isItself: true } as const;
  const doubtful = new Set<string>();
  const listed = new Set<string>();
  const missing = new Set<string>();
  let looks = 1;
  let names = read ?? [];
  let next = 0;
  const take = (isLost: boolean) => {
    const some = names.slice(next, next + AT_A_TIME);
    const entries = describeAll(walk, place, some, doubtful, missing, isLost);
    if (entries === null) return null;
    next += some.length;
    entries.unshift(...itself);
    itself = [];
    return entries;
  };
  for (let reading = 1; reading <= READINGS; reading++) {
    try {
      if (reading > 1) {
        const now = findAgain(place);
        if (now === null) return;
        // A link to another directory must not be read in its place.
        if (!now.isDirectory()) break;
      }
      if (read === null) {
        for (const name of names.slice(0, next)) listed.add(name);
        const all = await readRecovered(path);
        const left = listed.size === 0 ? all : all.filter((name) => !listed.has(name));
        names = isShallow ? [] : left;
        next = 0;
      }
      while (true) {
        const entries = take(false);
        if (entries === null) break;
        yield entries;
        if (turns.isOver) await turns.next(root.path);
        if (next < names.length) continue;
        if (missing.size === 0) return;
        // What is still listed was not removed: a damaged disk lists names that it does not find.
        const still = new Set(await readRecovered(path));
        const lost = [...missing].filter((name) => still.has(name));
        if (lost.length === 0) return;
        if (++looks > ATTEMPTS) return yield lost.map((name) => other(name, "unreadable"));
        for (const name of names) if (!missing.has(name)) listed.add(name);
        missing.clear();
        names = lost;
        next = 0;
      }
    } catch (error) {
      // A name that was sent as that of a directory can't be taken back.
      const isNamed = itself.length === 0;
      if (isMissing(error)) continue;
      if (isNamed || !isUnreadable(error)) throw error;
      return yield [unreadable];
    }
  }
  const now = findAgain(place);
  if (now === null) return;
  if (itself.length > 0) return yield [unreadable];
  if (!now.isDirectory()) throw replaced(path);
  let isAnyLost = false;
  while (next < names.length) {
    const entries = take(true);
    if (entries === null) break;
    isAnyLost ||= entries.length > 0;
    yield entries;
  }
  // Without an entry that says so the list would seem to be complete.
  if (!isAnyLost) throw replaced(path);
}

/** Finds what has the path of a directory that was removed or replaced; `null` if nothing has. */
function findAgain(place: Place): BigIntStats | null {
  checkRemoved(place);
  const now = statOrNull(place.path);
  place.state = now;
  return now;
}

/**
 * Describes entries of a directory; returns `null` if it is gone, or another one by now.
 *
 * @param doubtful The names so far that are not UTF-8, or look so.
 * @param missing The names so far that nothing was found by.
 * @param isLost Whether the directory changes all the time: then it need not be the same, and what is in it can't be read.
 */
function describeAll(
  { root, isLocal = false }: Walk,
  place: Place,
  names: readonly string[],
  doubtful: Set<string>,
  missing: Set<string>,
  isLost: boolean,
): Found[] | null {
  const { path, state } = place;
  const isTooDeep = path !== root.path &&
    path.slice(prefixOf(root.path).length).split("/").length >= MAX_DEPTH;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const began = Date.now();
    // Also because a directory that may not be searched can't tell what is in it.
    const there = statOrNull(reservedPath(path));
    const reserved = isLocal ? null : there;
    const seen: Seen[] = [];
    const doubtfulHere = new Set(doubtful);
    const missingHere: string[] = [];
    const found = { seen, doubtful: doubtfulHere, missing: missingHere };
    const directory = { root, place, reserved, isTooDeep, isLocal, ...found };
    const entries: Found[] = [];
    for (const name of names) {
      const entry = describe(directory, name);
      if (entry !== null) entries.push(isLost ? other(name, "unreadable") : entry);
    }
    const change = isLocal ? null : changeOf(root, began, place, seen, isLost);
    if (!isLost && (state === null || statOrNull(path) === null || !isSame(place))) return null;
    if (change === "moved") break;
    if (change !== null) continue;
    for (const name of doubtfulHere) doubtful.add(name);
    for (const name of missingHere) missing.add(name);
    return entries;
  }
  throw replaced(path);
}

/** The change since a directory was first looked at; a name on the way to it may be gone. */
function changeOf(
  root: Root,
  began: number,
  place: Place,
  seen: readonly Seen[],
  isLost: boolean,
): ReturnType<typeof lookAgain> {
  const isThere = () => isAnyThere(seen);
  try {
    return place.above === null || isLost
      ? root.changeSince(began, place.path, isThere)
      : lookAgain(isThere, () => isStillBelow(place, place.above!));
  } catch (error) {
    if (isMissing(error)) return "replaced";
    throw error;
  }
}

/**
 * Whether a directory is the one that was named, in the directory that it was named in. Then no
 * link leads to it, as none led to the directory above. A look at every directory on the way would
 * make the work for a tree grow as the square of its depth, and more.
 */
function isStillBelow(place: Place, above: Place): boolean {
  return isSame(place) && isSame(above);
}

/** Whether a directory has its path; a link may get the number of one that was just removed. */
function isSame({ path, state }: Place): boolean {
  const now = Deno.lstatSync(path);
  return now.isDirectory && isSameFile(now, state!);
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

/** An entry of a directory; a directory that has a `place` is yet to be read, and named. */
type Found = DirectoryEntry & Pick<ListedEntry, "link"> & {
  readonly place?: Place;
  /** Whether it is the directory itself. */
  readonly isItself?: true;
};

/** What an entry was when it was described. */
interface Seen {
  readonly path: string;
  readonly info: Deno.FileInfo;
}

/** A directory that is being read. */
interface ReadDirectory {
  readonly root: Root;
  readonly place: Place;
  /** The reserved directory in it. */
  readonly reserved: ReturnType<typeof statOrNull>;
  /** The names so far that are not UTF-8, or look so. */
  readonly doubtful: Set<string>;
  /** Whether paths in it are too long to be asked for. */
  readonly isTooDeep: boolean;
  readonly isLocal: boolean;
  /** The entries so far. */
  readonly seen: Seen[];
  /** The names that nothing was found by. */
  readonly missing: string[];
}

/** What has a name; `null` if nothing has, or nobody may know. */
function describe(directory: ReadDirectory, name: string): Found | null {
  const { place, doubtful, isLocal } = directory;
  if (isReservedName(name)) return isLocal ? other(name, "special") : null;
  const isDoubtful = name.includes(NOT_UTF8);
  // Of equal-looking names only the first can be the real one.
  if (!isName(name) || isDoubtful && doubtful.has(name)) return other(name, "name");
  if (isDoubtful) doubtful.add(name);
  try {
    return describeAt(directory, prefixOf(place.path) + name, name);
  } catch (error) {
    if (codeOf(error) === "ENAMETOOLONG") return other(name, "name");
    // It was removed meanwhile, unless the real name has other bytes.
    if (isMissing(error)) {
      if (isDoubtful) return other(name, "name");
      directory.missing.push(name);
      return null;
    }
    if (isUnreadable(error)) return other(name, "unreadable");
    throw error;
  }
}

function describeAt(
  { root, place, reserved, isTooDeep, isLocal, seen }: ReadDirectory,
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
  const modified = timeOf(info);
  const inner = { names: [...place.names, name], path, above: place, modified, state: info };
  return { name, kind: "directory", size: 0, modified, place: inner };
}

function describeFile(name: string, path: string, info: Deno.FileInfo): DirectoryEntry {
  if (((info.mode ?? 0) & READABLE) !== READABLE) checkReadable(path);
  return { name, kind: "file", size: info.size, modified: timeOf(info) };
}

/** The file that a link leads to, if it is one that is served. */
function fileOfLink(root: Root, path: string): { path: string; info: Deno.FileInfo } | null {
  try {
    return root.findLinked(path);
  } catch (error) {
    // Where this user may not search nobody knows whether it leads out.
    if (isAbsence(error) || codeOf(error) === "EACCES") return null;
    throw error;
  }
}

/** Opens a file, and throws if that can't be done. */
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
