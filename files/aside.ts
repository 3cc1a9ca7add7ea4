/**
 * The way in which something gives way to a thing of another kind: a directory to a file, a file or
 * a link to a directory. No rename replaces the old thing by the new one, so for a moment nothing
 * has the name.
 *
 * The old thing is put aside, in a reserved directory beside it, until the new one has the name.
 * Then the old thing is removed; if anything fails, the old thing is put back. A process that is
 * killed in between leaves the old thing aside. The next call that lists the directory, or changes
 * anything in it, then puts the old thing back, or removes it where the new one is there.
 *
 *     photos  →  ..degu-part/0123456789abcdef-4711/photos
 *
 * Nothing is deleted that the client has not seen. A file that has come or changed since its
 * directory was put aside stays there, and the caller is told so. The directory with the random
 * name has no other entry, so its modification time tells when the old thing was put aside; behind
 * its dash is the inode of the new thing. Anything else that has the name by then is no successor:
 * the old thing stays aside, and every list of the directory has its path.
 */

import { type BigIntStats, lstatSync, rmdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { Turns } from "../disk/files.ts";
import {
  codeOf,
  isMissing,
  isOfFileSystem,
  isUnreadable,
  randomSuffix,
  readNames,
  statOrNull,
} from "../disk/names.ts";
import { hold, isHeldHere } from "../disk/temporary.ts";
import { findLeftovers } from "./leftovers.ts";
import { Refusal } from "./refusal.ts";
import { ASIDE, isReservedName, prefixOf } from "./reserved.ts";

/**
 * Decides whether a thing that lies aside, or a file or directory in it, is as the client has seen
 * it: only then it is removed. The name is `""` for the thing itself.
 */
type IsSeen = (name: string, now: Deno.FileInfo) => boolean;

/**
 * A file, link or directory that was put aside. Until the object is disposed of, no other call of
 * this process puts the thing back or removes it.
 */
export class Aside implements Disposable {
  readonly #path: string;
  /** The path that the thing had. */
  readonly #origin: string;
  readonly #state: BigIntStats;
  readonly #held: Disposable;

  private constructor(origin: string, path: string, state: BigIntStats) {
    this.#origin = origin;
    this.#path = path;
    this.#state = state;
    this.#held = hold(dirname(path));
  }

  [Symbol.dispose](): void {
    this.#held[Symbol.dispose]();
  }

  /**
   * Puts a thing aside.
   *
   * @param successor The path of the file or directory for which the thing gives way.
   * @throws the error of the system if the thing can't be moved, as a mount point: then nothing has
   * changed.
   */
  static put(origin: string, successor: string): Aside {
    const state = lstatSync(origin, { bigint: true });
    const mark = markOf(lstatSync(successor, { bigint: true }));
    const place = `${containerIn(dirname(origin))}/${randomSuffix()}${mark}`;
    const path = `${place}/${basename(origin)}`;
    Deno.mkdirSync(place, { recursive: true, mode: 0o700 });
    try {
      // Another user could take away whatever lies in a directory of theirs, or lead elsewhere by a
      // link.
      const { isDirectory, uid } = Deno.lstatSync(dirname(place));
      if (!isDirectory || uid !== Deno.lstatSync(place).uid) {
        throw new Refusal(403, `${dirname(place)} is a link, or belongs to another user`);
      }
      Deno.renameSync(origin, path);
    } catch (error) {
      removePlace(place);
      throw error;
    }
    return new Aside(origin, path, state);
  }

  /**
   * Puts a file or a link aside, and gives its name to a new directory.
   *
   * @throws the error of the system if that can't be done: then nothing has changed.
   */
  static makeDirectory(origin: string): Aside {
    const container = containerIn(dirname(origin));
    // If this process is killed, the next call removes the empty directory.
    const directory = `${container}/${randomSuffix()}`;
    Deno.mkdirSync(container, { recursive: true, mode: 0o700 });
    let aside: Aside | null = null;
    try {
      Deno.mkdirSync(directory);
      aside = Aside.put(origin, directory);
      Deno.renameSync(directory, origin);
      return aside;
    } catch (error) {
      removePlace(directory);
      using _aside = aside;
      aside?.putBack();
      throw error;
    }
  }

  /**
   * Gives the thing its name again.
   *
   * @throws {Refusal} if another process has given the name to something else: then the thing stays
   * aside.
   */
  putBack(): void {
    // Another process may have put the thing back already.
    if (statOrNull(this.#path) === null) return;
    if (statOrNull(this.#origin) !== null) {
      throw keepForGood(this.#path, `another process has replaced ${this.#origin}`);
    }
    Deno.renameSync(this.#path, this.#origin);
    removePlace(dirname(this.#path));
  }

  /**
   * Removes a file or a link.
   *
   * @throws {Refusal} if the file has changed meanwhile: then the file stays aside.
   */
  removeFile(): void {
    const now = statOrNull(this.#path);
    if (now === null) return;
    if (now.size !== this.#state.size || now.mtimeNs !== this.#state.mtimeNs) {
      throw keepForGood(this.#path, "it was changed at the same time");
    }
    Deno.removeSync(this.#path);
    removePlace(dirname(this.#path));
  }

  /**
   * Removes a directory, as far as the client has seen it.
   *
   * @param removed Called with the name of each file that was removed.
   * @returns The refusal because of which a part stays aside; `null` if nothing does.
   */
  async removeTree(isSeen: IsSeen, removed: (name: string) => void): Promise<Refusal | null> {
    try {
      await removeSeen(this.#path, isSeen, removed, this.#origin);
      return null;
    } catch (error) {
      if (error instanceof Refusal) return keepForGood(this.#path, error.message);
      if (!isOfFileSystem(error)) throw error;
      return keptAside(this.#path, `${(error as Error).message}`);
    }
  }
}

/** Where things lie aside that were in a directory. */
function containerIn(directory: string): string {
  return prefixOf(directory) + ASIDE;
}

/**
 * The end of a random name that tells for which file or directory a thing has given way: another
 * one that somebody else has put there meanwhile is no reason to remove the thing.
 */
function markOf({ ino }: BigIntStats): string {
  return `-${ino}`;
}

/** A thing that lies aside, perhaps since a call was interrupted. */
interface Found {
  /** The path, in the directory with the random name. */
  readonly path: string;
  /** The path that the thing had. */
  readonly origin: string;
}

/**
 * Whether a path is a directory in which things may lie aside. A link is none, since nobody has put
 * aside what it leads to; nor is a directory that a call of this process holds.
 */
function isPlace(path: string): boolean {
  return !isHeldHere(path) && statOrNull(path)?.isDirectory() === true;
}

/** The things in a directory with a random name; without any, the directory is removed. */
function thingsIn(directory: string, place: string, names: readonly string[]): Found[] {
  if (names.length === 0 && mayWrite(place)) removePlace(place);
  return names.filter((name) => !isReservedName(name)).map((name) => {
    return { path: `${place}/${name}`, origin: prefixOf(directory) + name };
  });
}

/** Whether the program may write to a path; the user is not asked for the permission. */
function mayWrite(path: string): boolean {
  return Deno.permissions.querySync({ name: "write", path }).state === "granted";
}

/**
 * Puts things back that an interrupted call has put aside in a directory, if nothing has their
 * names: so nothing else gets these names. Synchronous, for the turn in which something is written
 * there.
 *
 * @returns Whether anything was put back.
 */
export function putBackIn(directory: string): boolean {
  const container = containerIn(directory);
  let isAny = false;
  for (const name of namesIn(container)) {
    const place = `${container}/${name}`;
    for (const found of thingsIn(directory, place, namesIn(place))) {
      if (!mayWrite(directory) || statOrNull(found.origin) !== null) continue;
      isAny = putBackIfPossible(found) || isAny;
    }
  }
  return isAny;
}

/** Puts a thing back; false if that can't be done, as another user may have put it aside. */
function putBackIfPossible({ path, origin }: Found): boolean {
  try {
    Deno.renameSync(path, origin);
  } catch (error) {
    if (!isOfFileSystem(error)) throw error;
    return false;
  }
  removePlace(dirname(path));
  return true;
}

/** Reads the names in a directory, as far as they can be read; a list says what can't be. */
function namesIn(path: string): string[] {
  try {
    return isPlace(path) ? [...Deno.readDirSync(path)].map(({ name }) => name) : [];
  } catch (error) {
    // The directory may belong to another user, who has put something aside.
    if (!isOfFileSystem(error)) throw error;
    return [];
  }
}

/**
 * Ends an interrupted call in a directory: puts back each thing that lies aside, or removes it
 * where its successor is there.
 *
 * @returns The names that nothing has, because the things can't be put back. A thing whose name
 * something else has, and a directory that can't be read and may have further things, are included
 * by their paths, which no request can name.
 */
export async function recoverIn(directory: string): Promise<readonly string[]> {
  const container = containerIn(directory);
  const lost: string[] = [];
  const relative = (path: string) => path.slice(prefixOf(directory).length);
  const read = async (path: string) => {
    try {
      // Not `namesIn`: the rest of the names on a damaged disk would be missing without a word.
      return isPlace(path) ? await readNames(path) : null;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (!isMissing(error)) lost.push(`${relative(path)}/`);
      return null;
    }
  };
  const names = await read(container);
  if (names === null) return lost;
  for (const name of names) {
    const place = `${container}/${name}`;
    for (const found of thingsIn(directory, place, await read(place) ?? [])) {
      if (mayWrite(directory)) {
        await putBackOrRemove(found).catch((error) => {
          if (!(error instanceof Refusal) && !isOfFileSystem(error)) throw error;
        });
      }
      if (statOrNull(found.path) === null) continue;
      const isNameFree = statOrNull(found.origin) === null;
      lost.push(isNameFree ? basename(found.path) : relative(found.path));
    }
  }
  if (mayWrite(container)) removeIfEmpty(container);
  return lost;
}

/** Puts a thing back, or removes it where its successor is, as far as it has not changed since. */
async function putBackOrRemove(found: Found): Promise<void> {
  const { path, origin } = found;
  const place = dirname(path);
  const now = statOrNull(origin);
  const isSuccessor = now !== null && basename(place).endsWith(markOf(now)) &&
    now.isDirectory() !== Deno.lstatSync(path).isDirectory;
  if (isSuccessor) await removeEmpty(origin);
  if (statOrNull(origin) === null) return void putBackIfPossible(found);
  if (!isSuccessor) return;
  using _held = hold(place);
  const { mtime, dev } = Deno.lstatSync(place);
  const latest = (mtime?.getTime() ?? 0) + TICK_MILLISECONDS;
  const isSeen: IsSeen = (_name, { isDirectory, ctime, mtime, dev: on }) => {
    // Removing entries changes the times of their directory, so the times of directories don't
    // count.
    return on === dev && (isDirectory || (ctime ?? mtime ?? FUTURE).getTime() <= latest);
  };
  await removeSeen(path, isSeen, () => {}, origin);
}

/** The most by which two times of the same change may differ: a step of the clock of the system. */
const TICK_MILLISECONDS = 20;
const FUTURE = new Date(8.64e15);

/**
 * Removes a directory that is empty, or has nothing but one such directory in it: the file for
 * which it was made never got its name.
 */
async function removeEmpty(path: string): Promise<void> {
  const chain: string[] = [];
  for (let at: string | undefined = path; at !== undefined;) {
    if (!statOrNull(at)?.isDirectory()) return;
    chain.push(at);
    const [name, another]: string[] = await readNames(at);
    if (another !== undefined) return;
    at = name === undefined ? undefined : `${at}/${name}`;
  }
  for (const directory of chain.reverse()) rmdirSync(directory);
}

/**
 * Removes a thing that lies aside, with everything in it; stops at the first that was not seen.
 *
 * @throws {Refusal} if that was not seen.
 */
async function removeSeen(
  thing: string,
  isSeen: IsSeen,
  removed: (name: string) => void,
  origin: string,
): Promise<void> {
  const turns = new Turns();
  const remove = async (names: readonly string[]) => {
    const path = [thing, ...names].join("/");
    try {
      const now = Deno.lstatSync(path);
      if (!isSeen(names.join("/"), now)) throw new Refusal(409, `${path} is not what was seen`);
      if (!now.isDirectory) {
        Deno.removeSync(path);
        return removed(names.join("/"));
      }
      for (const name of await readNames(path)) {
        if (turns.isOver) await turns.next(dirname(origin));
        if (!isReservedName(name)) await remove([...names, name]);
      }
      await removeDirectory(path, () => {});
    } catch (error) {
      // Another process removes the same thing.
      if (!isMissing(error)) throw error;
    }
  };
  await remove([]);
  removePlace(dirname(thing));
}

/** Removes the directory with the random name, and the one above, if they are empty. */
function removePlace(place: string): void {
  removeIfEmpty(place);
  removeIfEmpty(dirname(place));
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    // Something else lies there, or the directory is gone.
    if (!isOfFileSystem(error)) throw error;
  }
}

/** Lets a thing that lies aside seem to be older than any change: so no later call removes it. */
function keepForGood(path: string, reason: string): Refusal {
  Deno.utimeSync(dirname(path), 0, 0);
  return keptAside(path, reason);
}

function keptAside(path: string, reason: string): Refusal {
  return new Refusal(409, `${path} is kept: ${reason}`);
}

/**
 * Reads all names in a directory for a list, after the end of an interrupted call there. A name
 * whose thing can't be put back is included: without it the list would seem to be complete.
 */
export async function readRecovered(path: string): Promise<string[]> {
  const names = await readNames(path);
  if (!names.includes(ASIDE)) return names;
  const lost = await recoverIn(path);
  return [...await readNames(path), ...lost];
}

/**
 * Removes a directory that has no entries, or only leftovers of interrupted transfers.
 *
 * @param check Throws if the directory may not be removed: called before each change, in the same
 * turn.
 */
export async function removeDirectory(path: string, check: () => void): Promise<void> {
  check();
  try {
    return rmdirSync(path);
  } catch (error) {
    const code = codeOf(error);
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
  await recoverIn(path);
  const { leftovers, names } = await findLeftovers(path);
  if (names.length > 0) throw new Refusal(409, `${path} is not empty`);
  check();
  for (const left of leftovers) Deno.removeSync(left);
  rmdirSync(path);
}
