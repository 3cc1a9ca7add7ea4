/**
 * Where a file is written, replaced or deleted: checked without following any link.
 *
 * Checks and the action that depends on them are synchronous, so that no other request of the process runs
 * between them.
 *
 * @module
 */

import {
  type BigIntStats,
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { dirname } from "node:path";
import { BodyError } from "../base/errors.ts";
import {
  codeOf,
  type FileIdentity,
  fold,
  foldedNames,
  giveNewName,
  isAt,
  isReal,
  isSameFile,
  statOrNull,
} from "../disk/names.ts";
import { Turns } from "../disk/turns.ts";
import { digestTree, type TreeEntry } from "./entries.ts";
import { readTree } from "./listing.ts";
import { Refusal } from "./refusal.ts";
import { isReserved, isReservedName, prefixOf, reservedPath, unusedPart } from "./reserved.ts";
import { isHeld, isUnfinishedName } from "./unfinished.ts";

/** Permission bits that a file takes over from the one that it replaces; no set-user-ID. */
const KEPT_BITS = 0o777n;

/** What may give way to a file or directory: only what the client says it has seen there. */
export interface Replaceable {
  /** The SHA-256 of the tree of a directory that has the name of the file. */
  readonly directory: string | null;
  /** A file that has the name of a directory. */
  readonly file: { readonly size: number; readonly modified: Date } | null;
  /** Whether a link that has the name may be replaced; it is never followed. */
  readonly link: boolean;
}

/** Nothing gives way but a file to a file. */
export const NOTHING: Replaceable = { directory: null, file: null, link: false };

/** A directory on the disk, or to be created, in which something gets a name. Valid as long as nothing else can run. */
export interface Parent {
  readonly path: string;
  /** The directories to create, outermost first. */
  readonly missing: readonly string[];
  /** The file that gives way to the first of them. */
  readonly obstacle: string | null;
  /** The names in it, folded, if it was listed: a name that is not among them is new. */
  readonly names?: Set<string> | null;
}

/** What exists on the path to a name below a directory. */
export interface Destination {
  readonly path: string;
  readonly parent: Parent;
  /** What has the name now; a link is not followed. */
  readonly existing: BigIntStats | null;
}

/** Decides, by what has the name, whether it may be replaced or deleted; throws a {@linkcode Refusal}. */
export type Condition = (existing: BigIntStats | null) => void;

/**
 * Checks the path to a directory in which something gets a name.
 *
 * @param root The real path of the directory that is served.
 * @param names The names from there.
 * @throws {Refusal} if it is reserved, or leads through a link, or a file that may not give way.
 */
export function findParent(
  root: string,
  names: readonly string[],
  replaceable: Replaceable = NOTHING,
): Parent {
  if (names.some(isReservedName)) throw reservedName();
  if (Deno.realPathSync(root) !== root) throw new Refusal(403, `${root} now leads somewhere else`);
  const isThere = isExactly(names.length === 0 ? root : prefixOf(root) + names.join("/"));
  const missing: string[] = [];
  let obstacle: string | null = null;
  let path = root;
  for (const name of names) {
    if (missing.length === 0 && isReserved(path, name)) throw reservedName();
    path = prefixOf(path) + name;
    const state = isThere || missing.length > 0 ? null : statOrNull(path);
    if (isThere || state?.isDirectory()) continue;
    if (state !== null) {
      if (state.isSymbolicLink()) throw new Refusal(403, `${path} is a link`);
      checkObstacle(path, state, replaceable);
      obstacle = path;
    }
    missing.push(path);
  }
  return { path, missing, obstacle };
}

/** Whether a path leads to a directory, and no link is on the way: then nothing of it needs a look of its own. */
function isExactly(path: string): boolean {
  try {
    return Deno.realPathSync(path) === path && Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** Lists a directory, if that is faster than to look for many names in it. */
export function withNames(parent: Parent): Parent {
  return { ...parent, names: parent.missing.length > 0 ? null : foldedNames(parent.path) };
}

/** Finds a name in a directory. */
function findIn(parent: Parent, name: string): Destination {
  if (isReservedName(name)) throw reservedName();
  const path = prefixOf(parent.path) + name;
  const isNew = parent.missing.length > 0 || parent.names?.has(fold(name)) === false;
  const existing = isNew ? null : statOrNull(path);
  // By whatever name.
  const reserved = existing === null ? null : statOrNull(reservedPath(parent.path));
  if (reserved !== null && isSameFile(existing!, reserved)) throw reservedName();
  return { path, parent, existing };
}

/** Checks the path to a name. */
function findDestination(
  root: string,
  names: readonly string[],
  replaceable?: Replaceable,
): Destination {
  const name = names.at(-1);
  if (name === undefined) throw new Refusal(403, "the root can't be replaced or deleted");
  return findIn(findParent(root, names.slice(0, -1), replaceable), name);
}

function reservedName(): Refusal {
  return new Refusal(403, "the name is reserved");
}

/** Refuses to remove a file for a directory, unless the client has seen this file. */
function checkObstacle(path: string, state: BigIntStats, { file }: Replaceable): void {
  // In milliseconds, as lists have it.
  const modified = file && state.isFile() ? Deno.lstatSync(path).mtime : null;
  const isSeen = Number(state.size) === file?.size &&
    modified?.getTime() === file.modified.getTime();
  if (!isSeen) throw new Refusal(409, `${path} is not a directory`);
}

/**
 * Checks the path to a file that is written.
 *
 * @param parent Its directory, if it has been checked before in the same turn.
 * @throws {Refusal} also if a directory or a link has the name and may not give way, or anything else that is not a file.
 */
export function findFile(
  root: string,
  names: readonly string[],
  replaceable: Replaceable = NOTHING,
  parent?: Parent,
): Destination {
  const destination = parent === undefined
    ? findDestination(root, names, replaceable)
    : findIn(parent, names.at(-1)!);
  const { path, existing } = destination;
  if (existing?.isDirectory()) {
    if (replaceable.directory === null) throw new Refusal(409, `${path} is a directory`);
  } else if (existing !== null && !existing.isFile()) {
    const givesWay = existing.isSymbolicLink() && replaceable.link;
    if (!givesWay) throw new Refusal(403, `${path} is not a file`);
  }
  return destination;
}

/** Refuses a target on another file system, to which no unfinished file of the root can be renamed. */
export function checkFileSystem(
  root: string,
  { path, parent }: Destination,
): void {
  const unfinished = statOrNull(reservedPath(root));
  const directory = statOrNull(
    parent.missing.length > 0 ? dirname(parent.missing[0]!) : parent.path,
  );
  // What has vanished the rename finds out.
  if (unfinished === null || directory === null || unfinished.dev === directory.dev) return;
  throw new Refusal(507, `${path} is on another file system than ${root}`);
}

/** A file or directory that was given its name. */
export interface Moved {
  /** True if nothing had the name before. */
  readonly created: boolean;
  /** The directories that have new entries. */
  readonly changed: readonly string[];
}

/** A complete file without a name. */
export interface Complete {
  readonly path: string;
  /** `null` if nobody else can have chosen its path. */
  readonly state: FileIdentity | null;
  /** Its mode; `null` if that is the one of a new file. */
  readonly mode: bigint | null;
  /** The mode of a new file; `null` if it is the same, or files have none. */
  readonly newMode: bigint | null;
}

/** How a file gets its name. */
export interface Move {
  readonly condition?: Condition;
  /** True if nothing may have the name: then one of several processes gets it. */
  readonly isNew: boolean;
  readonly replaceable?: Replaceable;
  /**
   * The directory of the file, if it has been checked before in the same turn. Then the caller checks after the last file
   * that it is still there.
   */
  readonly parent?: Parent | undefined;
}

/**
 * Renames an unfinished file to its final name, replacing what is there.
 *
 * @throws {Refusal} as {@linkcode findFile} does, or if the condition does.
 */
export function moveTo(
  root: string,
  names: readonly string[],
  file: Complete,
  { condition, isNew, replaceable = NOTHING, parent: checked }: Move,
): Moved {
  const { path, parent, existing } = findFile(root, names, replaceable, checked);
  if (existing?.isDirectory()) throw new Refusal(409, `${path} is a directory`);
  condition?.(existing);
  const mode = existing?.isFile() ? existing.mode & KEPT_BITS : file.newMode;
  if (file.state !== null && !isAt(file.path, file.state)) throw replaced(file.path);
  if (mode !== null && file.mode !== mode) chmodSync(file.path, Number(mode));
  makeDirectories(parent.missing, parent.obstacle, () => {
    if (!isNew) renameSync(file.path, path);
    else if (!giveNewName(file.path, path)) throw new Refusal(412, `${path} already exists`);
  });
  parent.names?.add(fold(names.at(-1)!));
  if (file.state !== null && !isAt(path, file.state)) throw replaced(path);
  if (checked === undefined) checkStillThere(parent);
  return { created: existing === null, changed: changedBy(parent, path) };
}

function changedBy({ missing }: Parent, path: string): string[] {
  return [dirname(missing[0] ?? path), ...missing];
}

/** Checks that a directory where something has got a name was not exchanged for a link before. */
export function checkStillThere({ path }: Parent): void {
  if (!isReal(path)) throw replaced(path);
}

function replaced(path: string): Refusal {
  return new Refusal(409, `${path} was removed or replaced by another process at the same time`);
}

/**
 * Creates directories, outermost first, and then runs a function; if that throws, everything is as before.
 *
 * @param obstacle What gives way to the first one.
 */
function makeDirectories(
  paths: readonly string[],
  obstacle: string | null,
  then: () => void = () => {},
): void {
  const made: string[] = [];
  const aside = obstacle === null ? null : unusedPart(dirname(obstacle));
  if (aside !== null) renameSync(obstacle!, aside);
  try {
    for (const path of paths) {
      try {
        mkdirSync(path);
        made.push(path);
      } catch (error) {
        // Another process was faster.
        if (codeOf(error) !== "EEXIST" || !Deno.lstatSync(path).isDirectory) throw error;
      }
    }
    then();
  } catch (error) {
    removeDirectories(made);
    if (aside !== null) renameSync(aside, obstacle!);
    throw error;
  }
  if (aside !== null) unlinkSync(aside);
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
 * Creates a directory and its missing parents.
 *
 * @param check Called if it is missing, with where it will be.
 * @throws {Refusal} if something else has the name and may not give way, or if the condition throws one.
 */
export function makeDirectoryAt(
  root: string,
  names: readonly string[],
  condition: Condition,
  replaceable: Replaceable = NOTHING,
  check: (root: string, destination: Destination) => void = checkFileSystem,
): Moved {
  const destination = findDestination(root, names, replaceable);
  const { path, parent, existing } = destination;
  condition(existing);
  if (existing?.isDirectory()) return { created: false, changed: [] };
  const isLink = existing?.isSymbolicLink() && replaceable.link;
  if (existing !== null && !isLink) checkObstacle(path, existing, replaceable);
  check(root, destination);
  const obstacle = existing === null ? parent.obstacle : path;
  makeDirectories([...parent.missing, path], obstacle);
  return { created: true, changed: [...changedBy(parent, path), path] };
}

/**
 * Deletes a file, or a directory that is empty but for left-over parts, which go with it.
 *
 * @param isDirectory True if only a directory may be deleted.
 * @returns Whether it was a file, and the directory that it was removed from.
 * @throws {Refusal} if nothing has the name, or if the condition throws one.
 */
export function deleteAt(
  root: string,
  names: readonly string[],
  isDirectory: boolean,
  condition: Condition,
): { readonly wasFile: boolean; readonly changed: string } {
  const { path, existing } = findDestination(root, names);
  if (existing === null) throw new Refusal(404, `${path} does not exist`);
  if (existing.isDirectory()) {
    condition(existing);
    removeDirectory(path);
  } else if (!existing.isFile()) {
    throw new Refusal(403, `${path} is neither a file nor a directory`);
  } else if (isDirectory) {
    throw new Refusal(404, `${path} is not a directory`);
  } else {
    condition(existing);
    unlinkSync(path);
  }
  return { wasFile: existing.isFile(), changed: dirname(path) };
}

/** Removes a directory that is empty, or has nothing but left-over parts. */
export function removeDirectory(path: string): void {
  try {
    return rmdirSync(path);
  } catch (error) {
    const code = codeOf(error);
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
  const { files, directories, isElseEmpty } = findLeftovers(path);
  if (!isElseEmpty) throw new Refusal(409, `${path} is not empty`);
  for (const file of files) unlinkSync(file);
  for (const directory of directories) rmdirSync(directory);
  rmdirSync(path);
}

/** What interrupted transfers have left in a directory. */
interface Leftovers {
  /** Parts of downloads with their records, and unfinished files of an app that has served the directory. */
  readonly files: readonly string[];
  /** The directories of such apps. */
  readonly directories: readonly string[];
  /** True if there is nothing else in it. */
  readonly isElseEmpty: boolean;
}

/** The refusal to remove a part that somebody still writes to. */
export class HeldPart extends Refusal {
  /** Creates a refusal. */
  constructor(message: string) {
    super(409, message);
  }
}

/** @throws {Refusal} if somebody still writes to one of them. */
function findLeftovers(path: string): Leftovers {
  const files: string[] = [];
  const directories: string[] = [];
  let isElseEmpty = true;
  for (const name of readdirSync(path)) {
    const at = prefixOf(path) + name;
    const state = isReservedName(name) ? statOrNull(at) : null;
    if (state?.isFile()) {
      files.push(at);
    } else if (state?.isDirectory()) {
      directories.push(at);
      for (const inner of readdirSync(at)) {
        if (!isUnfinishedName(inner)) {
          throw new Refusal(409, `${prefixOf(at)}${inner} is no part of a transfer`);
        }
        files.push(prefixOf(at) + inner);
      }
    } else if (state !== null) {
      throw new Refusal(409, `${at} is no part of a transfer`);
    } else {
      isElseEmpty = false;
    }
  }
  const held = files.find(isHeld);
  if (held !== undefined) throw new HeldPart(`${held} is the part of a transfer in progress`);
  return { files, directories, isElseEmpty };
}

/** The most entries of a directory that gives way: all of them are held in memory. */
const MAX_CLEARED = 100_000;

/**
 * Removes a directory that gives way to a file, if it has exactly what the client has seen: innermost first, and each entry
 * only if it is still the same.
 *
 * @param condition Decides, by the directory, whether it may be removed.
 * @param confirm Called before anything is removed.
 * @returns The names of the files that were removed; `null` if no directory is in the way.
 * @throws {Refusal} if it has anything else, or anything that a peer could not delete.
 */
export async function clearWay(
  root: string,
  names: readonly string[],
  replaceable: Replaceable,
  condition: Condition,
  confirm: () => Promise<void>,
): Promise<(readonly string[])[] | null> {
  const turns = new Turns();
  const { path, existing } = findFile(root, names, replaceable);
  if (!existing?.isDirectory()) return null;
  condition(existing);
  const changed = () => new Refusal(409, `${path} is not what the client has seen`);
  const seen: TreeEntry[] = [];
  try {
    for await (const entries of readTree({ root, path, turns })) {
      seen.push(...entries);
      if (seen.length > MAX_CLEARED) throw new Refusal(409, `more than ${MAX_CLEARED} entries`);
    }
  } catch (error) {
    throw error instanceof BodyError ? changed() : error;
  }
  if (digestTree(seen) !== replaceable.directory) throw changed();
  const pathOf = (entry: TreeEntry) => prefixOf(path) + entry.path.join("/");
  findLeftovers(path);
  for (const entry of seen) {
    if (turns.isOver) await turns.next(root);
    const at = pathOf(entry);
    if (entry.kind === "directory") findLeftovers(at);
    // A link to a file is listed as that file.
    else if (entry.kind === "other" || !statOrNull(at)?.isFile()) {
      throw new Refusal(409, `${at} can't be removed by a peer`);
    }
  }
  await confirm();
  // What can't be moved, such as a mount point, can't be removed either: then nothing in it may be lost.
  const aside = unusedPart(dirname(path));
  renameSync(path, aside);
  renameSync(aside, path);
  const removed: (readonly string[])[] = [];
  for (const entry of seen.reverse()) {
    if (turns.isOver) await turns.next(root);
    const at = pathOf(entry);
    if (!isReal(dirname(at))) throw changed();
    if (entry.kind === "directory") {
      removeDirectory(at);
      continue;
    }
    const { isFile, size, mtime } = Deno.lstatSync(at);
    const isSame = isFile && size === entry.size && mtime?.getTime() === entry.modified.getTime();
    if (!isSame) throw changed();
    unlinkSync(at);
    removed.push([...names, ...entry.path]);
  }
  const { existing: now } = findFile(root, names, replaceable);
  if (now === null || !isSameFile(now, existing)) throw changed();
  removeDirectory(path);
  return removed;
}
