/**
 * A directory in which peers read and write, or that a tree is copied to: what a file or directory in it is called is
 * looked up, given, replaced and removed here.
 *
 * **Where a name leads.** Who reads follows a link to a file in the directory, who writes follows none. A name that leads out of
 * the directory, or is reserved, is absent for who reads, and refused to who writes.
 *
 * **What is temporary.** A file is written under a reserved name, which no peer can list, read, write or delete: in a directory
 * of its own if a peer sends it, beside its target if this device has asked for it. Who makes one holds or locks it,
 * and removes it unless it got its name or can be resumed: {@linkcode UnfinishedFiles} for a PUT, {@linkcode PartFile} for a
 * download, {@linkcode SmallFiles} for many at a time in both directions.
 *
 * **Who may replace what.** A file gives way to a file, if the request's condition holds. A directory, a link, or a file where a
 * directory is needed gives way only to a client that has seen just that ({@linkcode Replaceable}).
 *
 * **How a part becomes the file.** {@linkcode Root.place} looks at the path, the condition and the part, and renames it. Like
 * every check with the action that depends on it this is synchronous: no other request of the process runs in between. What
 * another process does at the same moment is found out by a look afterwards.
 */

import { type BigIntStats, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setMode } from "../disk/files.ts";
import {
  codeOf,
  type FileIdentity,
  giveNewName,
  isAt,
  isMissing,
  isReal,
  isSameFile,
  isUnreadable,
  statOrNull,
} from "../disk/names.ts";
import { Aside, putBackIn, removeDirectory } from "./aside.ts";
import { type FileState, type OpenFile, READ_FLAGS, SETTLED_MILLISECONDS } from "./file_pieces.ts";
import { notFound, Refusal, unreadable } from "./refusal.ts";
import { isReserved, isReservedName, prefixOf, reservedPath } from "./reserved.ts";

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

/** Decides, by what has the name, whether it may be replaced or deleted; throws a {@linkcode Refusal}. */
export type Condition = (existing: BigIntStats | null) => void;

/** A directory on the disk, or to be created, in which something gets a name. Valid as long as nothing else can run. */
export interface Parent {
  readonly path: string;
  /** The innermost directory on the way that exists. */
  readonly base: string;
  /** The directories to create in it, outermost first. */
  readonly missing: readonly string[];
  /** The file that gives way to the first of them. */
  readonly obstacle: string | null;
}

/** What exists on the path to a name. */
interface Destination {
  readonly path: string;
  readonly parent: Parent;
  /** What has the name now; a link is not followed. */
  readonly existing: BigIntStats | null;
}

/** A complete file without a name. */
export interface Complete {
  readonly path: string;
  /** `null` if nobody else can have chosen its path. */
  readonly state: FileIdentity | null;
  /** The mode that it gets if nothing had its name; `null` if it has that already, or files have none. */
  readonly newMode: number | null;
}

/** How a file gets its name. */
interface Move {
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

/** A file or directory that was given its name. */
export interface Moved {
  /** True if nothing had the name before. */
  readonly created: boolean;
  /** The directories that have new entries. */
  readonly changed: readonly string[];
}

/** How often what was opened is looked at if somebody may be exchanging directories at this moment. */
const LOOKS = 16;
/** How often if no name on the way has changed lately: the times of some file systems never do. */
const SETTLED_LOOKS = 3;

/** How often opening is tried if the file is replaced, as by a PUT, at the same moment. */
const ATTEMPTS = 10;

/** A directory, and what has a name in it. Paths in it are given as names. */
export class Root {
  /** Its real path. */
  readonly path: string;
  readonly #unfinished: string | null;

  /**
   * Looks at nothing yet.
   *
   * @param unfinished The directory of files that get a name here; `null` if each lies beside its target.
   */
  constructor(path: string, unfinished: string | null = null) {
    this.path = path;
    this.#unfinished = unfinished;
  }

  /** The path that names lead to, if no link is on it. */
  pathOf(names: readonly string[]): string {
    return names.length === 0 ? this.path : prefixOf(this.path) + names.join("/");
  }

  /**
   * Opens a file for reading.
   *
   * A symbolic link is followed if it leads to a file in the directory. Everything else that
   * leads out of it, or is not a regular file, counts as absent. So does what has a reserved
   * name, or is below one.
   *
   * Between a check and the use of what was checked, another process can exchange a directory for a
   * link. So after the file was opened the path that was found, which has no links, is checked again, several times: each
   * time it must lead to itself, and to the same file. (By a link that was asked for each look would last as long as who made
   * it likes, and its access time would tell when.) To get past that, an attacker must
   * exchange directory and link at exactly the right moments, within some microseconds, and guess
   * which ones these are. (Opening a path component by component would rule this out, but Deno can't do that.)
   *
   * @throws {Refusal} if something is there that can't be read.
   */
  async open(names: readonly string[]): Promise<OpenFile | "directory" | null> {
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const began = Date.now();
        const resolved = await this.resolve(names);
        if (resolved === null) return null;
        const { real, seen } = resolved;
        if (!seen.isFile() && !seen.isDirectory()) return null;
        const found = seen.isFile()
          ? await this.#openSame(real, seen, began)
          : this.#changeOf(real, real, seen, began) ?? "directory";
        if (found === "moved") return null;
        if (found !== "replaced") return found;
      }
      return null;
    } catch (error) {
      const refusal = this.refusalToRead(error, names);
      if (refusal.status === 404) return null;
      throw refusal;
    }
  }

  /**
   * Converts an error of reading to what a peer is told: 403 if what has this path can't be read,
   * be it damaged or closed to this user, and 404 if nothing may be seen there.
   *
   * @throws the error if it is not one of what has this path.
   */
  refusalToRead(error: unknown, names: readonly string[]): Refusal {
    if (isAbsence(error)) return notFound();
    if (!isUnreadable(error)) throw error;
    return this.#leadsInside(names) ? unreadable(error) : notFound();
  }

  /**
   * Whether a path leads into the directory, as far as it can be looked at: a link may lead out,
   * for all that is known.
   */
  #leadsInside(names: readonly string[]): boolean {
    for (let depth = 1; depth <= names.length; depth++) {
      let isLink = false;
      try {
        isLink = Deno.lstatSync(this.pathOf(names.slice(0, depth))).isSymlink;
        if (isLink) return this.contains(Deno.realPathSync(this.pathOf(names)));
      } catch (error) {
        return !isLink && !isAbsence(error);
      }
    }
    return true;
  }

  /**
   * Finds where a path leads to without links, for reading; `null` if that is outside of the directory, or reserved.
   *
   * @throws an error that {@linkcode isAbsence} recognizes if nothing is there.
   */
  async resolve(names: readonly string[]): Promise<{ real: string; seen: BigIntStats } | null> {
    if (names.some(isReservedName)) return null;
    const real = await Deno.realPath(this.pathOf(names));
    if (!this.contains(real)) return null;
    // Checked before it is opened: opening a device can have effects.
    return { real, seen: await lstat(real, { bigint: true }) };
  }

  async #openSame(
    real: string,
    seen: FileState,
    began: number,
  ): Promise<OpenFile | "replaced" | null> {
    // O_NOFOLLOW has an effect only if the program may read everything: otherwise Deno resolves the
    // links of a path before it opens their target, wherever that is. So nothing relies on it;
    // what matters is that the file that was opened is the one that was checked.
    const handle = await open(real, READ_FLAGS);
    let change: null | "replaced" | "moved" = "replaced";
    try {
      const lookedAt = Date.now();
      const state = await handle.stat({ bigint: true });
      if (state.isFile() && isSameFile(state, seen)) {
        change = this.#changeOf(dirname(real), real, state, began);
      }
      if (change === null) return { handle, path: real, size: Number(state.size), state, lookedAt };
    } finally {
      if (change !== null) await handle.close();
    }
    return change === "replaced" ? change : null;
  }

  /** Looks at the file that a link leads to, as often as if it were opened; `null` if it is none that is served. */
  findLinked(link: string): { readonly path: string; readonly info: Deno.FileInfo } | null {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const began = Date.now();
      const path = Deno.realPathSync(link);
      if (!this.contains(path)) return null;
      const info = Deno.lstatSync(path);
      if (!info.isFile) return null;
      const change = this.#changeOf(dirname(path), path, info, began);
      if (change === null) return { path, info };
      if (change === "moved") return null;
    }
    return null;
  }

  #changeOf(
    directory: string,
    real: string,
    state: FileIdentity,
    began: number,
  ): null | "replaced" | "moved" {
    return this.changeSince(began, directory, () => isSameFile(Deno.lstatSync(real), state));
  }

  /**
   * Looks again at what was opened: whether the same is still there, and, at moments that nobody can foresee, whether its path leads
   * where it led. Who exchanges a directory for a link and back, at whatever pace, has to guess each of them. Synchronous, to
   * leave less time between two looks: what was just opened is in the cache.
   *
   * @param began When it was first looked at, in milliseconds since 1970.
   * @param directory The real path of the directory that it is in.
   */
  changeSince(
    began: number,
    directory: string,
    isSame: () => boolean,
    isReal = () => this.isWithoutLinks(directory),
  ): null | "replaced" | "moved" {
    const isSettled = this.#isOlder(directory, began - SETTLED_MILLISECONDS);
    return lookAgain(isSame, isReal, isSettled ? SETTLED_LOOKS : LOOKS);
  }

  /**
   * Whether no name in a directory, nor on the way to it from this one, has changed since a time: then nobody exchanges any of
   * them. Who can exchange what this directory is in decides what is served the next time that the program starts.
   */
  #isOlder(directory: string, time: number): boolean {
    for (let path = directory;; path = dirname(path)) {
      const { ctime } = Deno.lstatSync(path);
      if (ctime === null || ctime.getTime() > time) return false;
      if (path === this.path) return true;
    }
  }

  /**
   * Whether no directory on the way from this one to one in it is a link. From the innermost outwards: from the outermost, as a path
   * is resolved, who exchanges the innermost of many sees by the time that it takes which look this is before it gets there.
   */
  isWithoutLinks(directory: string): boolean {
    for (let path = directory; path !== this.path; path = dirname(path)) {
      if (!Deno.lstatSync(path).isDirectory) return false;
    }
    return Deno.realPathSync(this.path) === this.path;
  }

  /** Reports whether a real path is in the directory, and nothing on it is reserved. */
  contains(real: string): boolean {
    if (real === this.path) return true;
    const prefix = prefixOf(this.path);
    if (!real.startsWith(prefix)) return false;
    let directory = this.path;
    for (const name of real.slice(prefix.length).split("/")) {
      if (isReserved(directory, name)) return false;
      directory = prefixOf(directory) + name;
    }
    return true;
  }

  /**
   * Checks the path to a directory in which something gets a name.
   *
   * @throws {Refusal} if it is reserved, or leads through a link, or a file that may not give way.
   */
  findParent(names: readonly string[], replaceable: Replaceable = NOTHING): Parent {
    if (names.some(isReservedName)) throw reservedName();
    if (Deno.realPathSync(this.path) !== this.path) {
      throw new Refusal(403, `${this.path} now leads somewhere else`);
    }
    const missing: string[] = [];
    let obstacle: string | null = null;
    let { path } = this;
    let base = path;
    for (const name of names) {
      if (missing.length === 0 && isReserved(path, name)) throw reservedName();
      path = prefixOf(path) + name;
      const state = missing.length > 0 ? null : statOrNull(path);
      if (state?.isDirectory()) {
        base = path;
        continue;
      }
      if (state !== null) {
        if (state.isSymbolicLink()) throw new Refusal(403, `${path} is a link`);
        checkObstacle(path, state, replaceable);
        obstacle = path;
      }
      missing.push(path);
    }
    putBackIn(base);
    return { path, base, missing, obstacle };
  }

  /** Checks the path to a name, which is given, replaced or deleted. */
  #find(
    names: readonly string[],
    replaceable: Replaceable,
    checked?: Parent,
    isNew = false,
  ): Destination {
    const name = names.at(-1);
    if (name === undefined) throw new Refusal(403, "the root can't be replaced or deleted");
    const parent = checked ?? this.findParent(names.slice(0, -1), replaceable);
    if (isReservedName(name)) throw reservedName();
    const path = prefixOf(parent.path) + name;
    const existing = isNew || parent.missing.length > 0 ? null : statOrNull(path);
    // By whatever name.
    const reserved = existing === null ? null : statOrNull(reservedPath(parent.path));
    if (reserved !== null && isSameFile(existing!, reserved)) throw reservedName();
    return { path, parent, existing };
  }

  /**
   * Checks the path to a file that is written.
   *
   * @param parent Its directory, if it has been checked before in the same turn.
   * @param isNew Whether the name is given only if nothing has it: a look would tell nothing more.
   * @throws {Refusal} also if a directory or a link has the name and may not give way, or anything else that is not a file;
   * if no unfinished file could be renamed to it.
   */
  findFile(
    names: readonly string[],
    replaceable: Replaceable = NOTHING,
    parent?: Parent,
    isNew = false,
  ): Destination {
    const destination = this.#find(names, replaceable, parent, isNew);
    const { path, existing } = destination;
    if (existing?.isDirectory()) {
      if (replaceable.directory === null) throw new Refusal(409, `${path} is a directory`);
    } else if (existing !== null && !existing.isFile()) {
      const givesWay = existing.isSymbolicLink() && replaceable.link;
      if (!givesWay) throw new Refusal(403, `${path} is not a file`);
    }
    if (parent === undefined) this.#checkFileSystem(destination);
    return destination;
  }

  /** Refuses a target on another file system, to which no unfinished file can be renamed. */
  #checkFileSystem({ path, parent }: Destination): void {
    const unfinished = this.#unfinished === null ? null : statOrNull(this.#unfinished);
    const directory = statOrNull(parent.base);
    // What has vanished the rename finds out.
    if (unfinished === null || directory === null || unfinished.dev === directory.dev) return;
    throw new Refusal(507, `${path} is on another file system than ${this.path}`);
  }

  /**
   * Renames a complete file to its final name, replacing what is there.
   *
   * @throws {Refusal} as {@linkcode findFile} does, or if the condition does.
   */
  place(
    names: readonly string[],
    file: Complete,
    { condition, isNew, replaceable = NOTHING, parent: checked }: Move,
  ): Moved {
    // Of many files in a row each look counts.
    const isUnseen = isNew && checked !== undefined;
    const { path, parent, existing } = this.findFile(names, replaceable, checked, isUnseen);
    if (existing?.isDirectory()) throw new Refusal(409, `${path} is a directory`);
    condition?.(existing);
    checkIsAt(file.path, file);
    const mode = existing?.isFile() ? Number(existing.mode) : file.newMode;
    if (mode !== null) setMode(file.path, mode);
    makeDirectories(parent.missing, parent.obstacle, () => {
      // The last looks before what can't be undone: microseconds are left.
      if (checked === undefined) {
        this.#checkPlaced(parent.path, () => existing === null || isAt(path, existing));
      }
      if (!isNew) return renameSync(file.path, path);
      if (giveNewName(file.path, path, file.state)) return;
      // A directory or a link is refused in another way.
      this.findFile(names, replaceable, checked);
      throw new Refusal(412, `${path} already exists`);
    });
    checkIsAt(path, file);
    if (checked === undefined) this.#checkPlaced(parent.path, () => isPlaced(path, file));
    return { created: existing === null, changed: [parent.base, ...parent.missing] };
  }

  /**
   * Creates a directory and its missing parents.
   *
   * @param checked The directories that were made, or found, just before.
   * @throws {Refusal} if something else has the name and may not give way, or if the condition throws one.
   */
  makeDirectory(
    names: readonly string[],
    condition: Condition,
    replaceable: Replaceable = NOTHING,
    checked: CheckedDirectories | null = null,
  ): Moved {
    const above = checked?.find(this, names.slice(0, -1)) ?? undefined;
    const destination = this.#find(names, replaceable, above);
    const { path, parent, existing } = destination;
    condition(existing);
    if (existing?.isDirectory()) {
      checked?.add(this, path, above !== undefined);
      return { created: false, changed: [] };
    }
    const isLink = existing?.isSymbolicLink() && replaceable.link;
    if (existing !== null && !isLink) checkObstacle(path, existing, replaceable);
    this.#checkFileSystem(destination);
    const obstacle = existing === null ? parent.obstacle : path;
    makeDirectories([...parent.missing, path], obstacle);
    checked?.add(this, path, above !== undefined);
    return { created: true, changed: [parent.base, ...parent.missing, path] };
  }

  /**
   * Deletes a file, or a directory that is empty but for left-over parts, which go with it; with `isDirectory` nothing else.
   *
   * @throws {Refusal} if nothing has the name, or if the condition throws one.
   */
  async remove(
    names: readonly string[],
    isDirectory: boolean,
    condition: Condition,
  ): Promise<{ readonly wasFile: boolean; readonly changed: string }> {
    const { path, parent, existing } = this.#find(names, NOTHING);
    if (existing === null) throw new Refusal(404, `${path} does not exist`);
    const wasFile = existing.isFile();
    if (!wasFile && !existing.isDirectory()) {
      throw new Refusal(403, `${path} is neither a file nor a directory`);
    }
    if (wasFile && isDirectory) throw new Refusal(404, `${path} is not a directory`);
    condition(existing);
    // The last looks before what can't be undone: microseconds are left.
    const check = () => this.#checkPlaced(parent.path, () => isAt(path, existing));
    if (!wasFile) {
      await removeDirectory(path, check);
    } else {
      check();
      unlinkSync(path);
    }
    this.#checkPlaced(parent.path, () => !isAt(path, existing));
    return { wasFile, changed: dirname(path) };
  }

  /** Checks that a directory is not a link, in which something has just changed or is about to, and what else must hold there. */
  #checkPlaced(directory: string, isSame: () => boolean): void {
    // It counts as changed.
    const change = this.changeSince(0, directory, isSame, () => isReal(directory));
    if (change !== null) throw replaced(directory);
  }

  /**
   * Deletes a file or directory, as {@linkcode remove} does, of which a list has told: a sixth of its time, as nothing on the
   * way there is looked at but whether it is a link.
   *
   * @param isSame Whether it is what the list has told of.
   * @throws {Refusal} if it is not, or the way there has become another one.
   */
  async removeListed(
    names: readonly string[],
    isSame: (now: Deno.FileInfo) => boolean,
  ): Promise<void> {
    const path = this.pathOf(names);
    const check = () => {
      const now = Deno.lstatSync(path);
      if (!isReal(dirname(path))) throw new Refusal(409, `${path} is reached by a link, or gone`);
      if (!isSame(now)) throw new Refusal(409, `${path} is not what it was when it was listed`);
      return now;
    };
    if (check().isDirectory) await removeDirectory(path, check);
    else Deno.removeSync(path);
  }
}

// ───────────────────────── to read

/** Errors of a path that leads to nothing. */
const NOWHERE: ReadonlySet<unknown> = new Set(["ELOOP", "ENAMETOOLONG"]);

/**
 * Looks again at what was opened, at moments that nobody can foresee: {@linkcode Root.changeSince}.
 *
 * @param isReal Whether the path of its directory leads where it led.
 */
export function lookAgain(
  isSame: () => boolean,
  isReal: () => boolean,
  looks: number = LOOKS,
): null | "replaced" | "moved" {
  for (let look = 0; look < looks; look++) {
    if (Math.random() < 0.5 && !isReal()) return "moved";
    if (!isSame()) return "replaced";
  }
  return isReal() ? null : "moved";
}

/**
 * Some directories in a row that were made, or found. The next one in any of them needs no look at
 * each directory on the way, only whether it is the same, in the same one: else the work for nested
 * directories would grow as the square of their depth, and more.
 */
export class CheckedDirectories {
  readonly #states = new Map<string, FileIdentity>();
  #last: string | null = null;

  /** The directory of these names, if it is the one that was checked, in the one that it is in. */
  find(root: Root, names: readonly string[]): Parent | null {
    const path = root.pathOf(names);
    const isKnown = names.length > 0 && this.#isSame(path) && this.#isSame(dirname(path));
    return isKnown ? { path, base: path, missing: [], obstacle: null } : null;
  }

  #isSame(path: string): boolean {
    const state = this.#states.get(path);
    return state !== undefined && isAt(path, state);
  }

  /**
   * Adds a directory, with those that it is in.
   *
   * @param isInKnown Whether it was made or found in one of these.
   * @throws {Refusal} if a link leads to it.
   */
  add(root: Root, path: string, isInKnown: boolean): void {
    if (!isInKnown) {
      if (!isReal(path)) throw replaced(path);
      for (let above = path, depth = 0; depth < 2 && above !== root.path; depth++) {
        above = dirname(above);
        this.#states.set(above, Deno.lstatSync(above));
      }
    }
    this.#states.set(path, Deno.lstatSync(path));
    this.#last = path;
  }

  /** Throws a {@linkcode Refusal} if a link leads to the last one by now. */
  check(): void {
    if (this.#last !== null && !isReal(this.#last)) throw replaced(this.#last);
  }
}

/** Reports whether an error means that nothing may be seen there. */
export function isAbsence(error: unknown): boolean {
  // The program may lack permission for a part of the directory; Deno does not check the targets of links.
  return isMissing(error) || error instanceof Deno.errors.NotCapable ||
    NOWHERE.has(codeOf(error));
}

/**
 * Makes a function that tells whether a directory is still at its path. It is not if it was moved
 * or removed, or if its disk was unmounted: then another one may be there, that it was mounted on,
 * of another device and with another inode. A disk that is mounted again may have another device,
 * but has the same inodes.
 */
export function presenceOf(path: string): () => boolean {
  const { dev, ino } = Deno.lstatSync(path);
  return () => {
    try {
      const now = Deno.lstatSync(path);
      return now.isDirectory && (now.dev === dev || now.ino === ino);
    } catch (error) {
      return error instanceof Deno.errors.NotCapable;
    }
  };
}

// ───────────────────────── to write

function reservedName(): Refusal {
  return new Refusal(403, "the name is reserved");
}

/** Refuses to replace a file by a directory, unless the client has seen exactly this file. */
function checkObstacle(path: string, state: BigIntStats, { file }: Replaceable): void {
  // In milliseconds, as lists have it.
  const modified = file && state.isFile() ? Deno.lstatSync(path).mtime : null;
  const isSeen = Number(state.size) === file?.size &&
    modified?.getTime() === file.modified.getTime();
  if (!isSeen) throw new Refusal(409, `${path} is not a directory`);
}

/** Whether a path is that of a complete file, if somebody else could have chosen it. */
function isPlaced(path: string, { state }: Complete): boolean {
  return state === null || isAt(path, state);
}

function checkIsAt(path: string, file: Complete): void {
  if (!isPlaced(path, file)) throw replaced(path);
}

/** Checks that a directory where something has got a name was not exchanged for a link before. */
export function checkStillThere({ path }: Parent): void {
  if (!isReal(path)) throw replaced(path);
}

function replaced(path: string): Refusal {
  return new Refusal(409, `${path} was removed or replaced by another process at the same time`);
}

/**
 * Creates directories, to the first of which a file or a link may give way, and runs a function; if
 * that throws, all is as before.
 */
function makeDirectories(
  paths: readonly string[],
  obstacle: string | null,
  then: () => void = () => {},
): void {
  const made: string[] = [];
  using aside = obstacle === null ? null : Aside.put(obstacle);
  try {
    for (const path of paths) {
      try {
        Deno.mkdirSync(path);
        made.push(path);
      } catch (error) {
        // Another process was faster.
        if (codeOf(error) !== "EEXIST" || !Deno.lstatSync(path).isDirectory) throw error;
      }
    }
    then();
  } catch (error) {
    removeDirectories(made);
    aside?.putBack();
    throw error;
  }
  aside?.removeFile();
}

/** Removes new directories again, unless somebody else has put something in them. */
function removeDirectories(made: readonly string[]): void {
  try {
    for (const directory of made.toReversed()) rmdirSync(directory);
  } catch {
    // The error that made this necessary is the one to report.
  }
}
