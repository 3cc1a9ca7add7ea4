/**
 * What gives way to something of another kind: a directory to a file, a file or a link to a
 * directory. No rename replaces one by the other, so there is a moment in which nothing has the name.
 *
 * The old thing is put aside, in a reserved directory beside it, until the new one has the name; then
 * the old one is removed, and if anything fails it is put back. A process that is killed in between
 * leaves the old one aside: the next call that lists the directory, or writes or deletes something in
 * it, puts the old one back, or removes it where the new one is there ({@linkcode recoverIn}).
 *
 *     photos  →  ..degu-part/0123456789abcdef/photos
 *
 * Nothing is deleted that the client has not seen. What was changed, or has come, since it was put
 * aside stays there, and whoever is concerned is told so. The time at which something was put aside is
 * that of the directory made for it, which has no other entry.
 */

import { type BigIntStats, lstatSync, rmdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { Turns } from "../disk/files.ts";
import {
  codeOf,
  isMissing,
  isOfFileSystem,
  randomSuffix,
  readNames,
  statOrNull,
} from "../disk/names.ts";
import { findLeftovers, hold, isHeldHere } from "./leftovers.ts";
import { Refusal } from "./refusal.ts";
import { ASIDE, isReservedName, prefixOf } from "./reserved.ts";

/** Decides whether what lies aside is what the client has seen: otherwise it stays. */
export type IsSeen = (path: string, now: Deno.FileInfo) => boolean;

/**
 * A file, link or directory that was put aside; until this is disposed of, nothing else in this
 * process puts it back or removes it.
 */
export class Aside implements Disposable {
  /** Where it is now. */
  readonly path: string;
  /** Where it was. */
  readonly #origin: string;
  readonly #state: BigIntStats;
  readonly #held: Disposable;

  private constructor(origin: string, path: string, state: BigIntStats) {
    this.#origin = origin;
    this.path = path;
    this.#state = state;
    this.#held = hold(dirname(path));
  }

  [Symbol.dispose](): void {
    this.#held[Symbol.dispose]();
  }

  /**
   * Puts aside what has a path.
   *
   * @param longest The longest path in it, which must not become too long for the system.
   * @throws the error of the system if it can't be moved, as a mount point: then nothing has changed.
   */
  static put(origin: string, longest = ""): Aside {
    const state = lstatSync(origin, { bigint: true });
    const place = `${prefixOf(dirname(origin))}${ASIDE}/${randomSuffix()}`;
    const path = `${place}/${basename(origin)}`;
    Deno.mkdirSync(place, { recursive: true, mode: 0o700 });
    try {
      statOrNull(prefixOf(path) + longest);
      Deno.renameSync(origin, path);
    } catch (error) {
      removePlace(place);
      throw error;
    }
    return new Aside(origin, path, state);
  }

  /**
   * Gives it its name again.
   *
   * @throws {Refusal} if another process has given the name to something else: then it stays aside.
   */
  putBack(): void {
    // Another process may have put it back already.
    if (statOrNull(this.path) === null) return;
    if (statOrNull(this.#origin) !== null) {
      throw keptAside(this.path, `another process has replaced ${this.#origin}`);
    }
    Deno.renameSync(this.path, this.#origin);
    removePlace(dirname(this.path));
  }

  /**
   * Removes a file or a link.
   *
   * @throws {Refusal} if it has changed meanwhile: then it stays aside.
   */
  removeFile(): void {
    const now = statOrNull(this.path);
    if (now === null) return;
    if (now.size !== this.#state.size || now.mtimeNs !== this.#state.mtimeNs) {
      throw keptAside(this.path, "it was changed at the same time");
    }
    Deno.removeSync(this.path);
    removePlace(dirname(this.path));
  }

  /**
   * Removes a directory with what the client has seen in it.
   *
   * @param removed Called with the path of each file that was removed.
   * @returns The refusal because of which something stays aside; `null` if nothing does.
   */
  async removeTree(isSeen: IsSeen, removed: (path: string) => void): Promise<Refusal | null> {
    return await removeAside(this.path, this.#origin, isSeen, removed);
  }
}

/** Something that was put aside by a call that may have been interrupted. */
interface Found {
  /** The directory that was made for it. */
  readonly place: string;
  readonly path: string;
  /** Where it was. */
  readonly origin: string;
}

/** Finds what lies aside in a directory, but for what this process itself has put aside just now. */
function findAside(directory: string): Found[] {
  const container = prefixOf(directory) + ASIDE;
  const found: Found[] = [];
  try {
    if (!statOrNull(container)?.isDirectory()) return [];
    for (const { name } of Deno.readDirSync(container)) {
      const place = `${container}/${name}`;
      if (isHeldHere(place)) continue;
      const names = [...Deno.readDirSync(place)].map(({ name }) => name);
      if (names.length === 0 && mayWrite(place)) removePlace(place);
      for (const name of names) {
        if (isReservedName(name)) continue;
        found.push({ place, path: `${place}/${name}`, origin: prefixOf(directory) + name });
      }
    }
    if (mayWrite(container)) removeIfEmpty(container);
  } catch (error) {
    // Another user's, perhaps.
    if (!isOfFileSystem(error)) throw error;
  }
  return found;
}

/** Whether the program may write to a path; nobody is asked for the permission. */
function mayWrite(path: string): boolean {
  return Deno.permissions.querySync({ name: "write", path }).state === "granted";
}

/**
 * Puts back what an interrupted call has put aside in a directory, where nothing has its name: so
 * nothing else gets the name. Synchronous, for use in the turn in which something is written there.
 */
export function putBackIn(directory: string): void {
  for (const { place, path, origin } of findAside(directory)) {
    if (!mayWrite(directory) || statOrNull(origin) !== null) continue;
    Deno.renameSync(path, origin);
    removePlace(place);
  }
}

/**
 * Ends what an interrupted call has begun in a directory: puts back what was put aside, or, where its
 * successor is there, removes it.
 *
 * @returns The names that nothing has, as what had them can't be put back.
 */
export async function recoverIn(directory: string): Promise<readonly string[]> {
  const lost: string[] = [];
  for (const found of findAside(directory)) {
    if (mayWrite(directory)) await recover(found);
    const isLost = statOrNull(found.origin) === null && statOrNull(found.path) !== null;
    if (isLost) lost.push(basename(found.path));
  }
  return lost;
}

/** Does the rest for one of them, if the disk lets it. */
async function recover(found: Found): Promise<void> {
  try {
    await putBackOrRemove(found);
  } catch (error) {
    if (!isOfFileSystem(error)) throw error;
  }
}

async function putBackOrRemove({ place, path, origin }: Found): Promise<void> {
  const old = Deno.lstatSync(path);
  if (!old.isDirectory) await removeEmpty(origin);
  const now = statOrNull(origin);
  if (now === null) {
    Deno.renameSync(path, origin);
    removePlace(place);
    return;
  }
  // Something of the same kind is no successor: both stay.
  if (old.isDirectory ? !now.isFile() : !now.isDirectory()) return;
  using _held = hold(place);
  const { mtime, dev } = Deno.lstatSync(place);
  const latest = (mtime?.getTime() ?? 0) + TIME_STEP_MILLISECONDS;
  await removeAside(path, origin, (at, now) => {
    // A directory has lost some of its entries perhaps. A file that is moved gets another ctime.
    const changed = now.isDirectory ? null : at === path ? now.mtime : now.ctime;
    return now.dev === dev && (changed?.getTime() ?? 0) <= latest;
  });
}

/** The coarsest step of the times of a file system, that of FAT. */
const TIME_STEP_MILLISECONDS = 2000;

/** Removes a directory that has nothing in it but such directories: no file has got its name there. */
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

/** Removes what lies aside, as far as the client has seen it; returns why something stays. */
async function removeAside(
  path: string,
  origin: string,
  isSeen: IsSeen,
  removed: (path: string) => void = () => {},
): Promise<Refusal | null> {
  const turns = new Turns();
  const pause = async () => {
    if (turns.isOver) await turns.next(dirname(origin));
  };
  try {
    await removeSeen(path, isSeen, removed, pause);
    removePlace(dirname(path));
    return null;
  } catch (error) {
    if (!(error instanceof Refusal) && !isOfFileSystem(error)) throw error;
    return keptAside(path, `${(error as Error).message}`, { cause: error });
  }
}

/** Removes a file, a link, or a directory with all that is in it; stops at what was not seen. */
async function removeSeen(
  path: string,
  isSeen: IsSeen,
  removed: (path: string) => void,
  pause: () => Promise<void>,
): Promise<void> {
  try {
    const now = Deno.lstatSync(path);
    if (!isSeen(path, now)) throw new Refusal(409, `${path} is not what was seen`);
    if (!now.isDirectory) {
      Deno.removeSync(path);
      return removed(path);
    }
    for (const name of await readNames(path)) {
      await pause();
      if (!isReservedName(name)) await removeSeen(`${path}/${name}`, isSeen, removed, pause);
    }
    await removeDirectory(path, () => {});
  } catch (error) {
    // Another process does the same.
    if (!isMissing(error)) throw error;
  }
}

/** Removes the directory that was made for something, and the one that it is in, once they are empty. */
function removePlace(place: string): void {
  removeIfEmpty(place);
  removeIfEmpty(dirname(place));
}

function removeIfEmpty(directory: string): void {
  try {
    Deno.removeSync(directory);
  } catch (error) {
    // Something else lies there, or it is gone.
    if (!isOfFileSystem(error)) throw error;
  }
}

function keptAside(path: string, reason: string, options?: ErrorOptions): Refusal {
  return new Refusal(409, `${path} is kept: ${reason}`, {}, options);
}

/**
 * Reads all names in a directory that is listed, after the end of what an interrupted call has begun.
 * A name whose file or directory can't be put back is among them: a list without it would seem
 * complete.
 */
export async function readRecovered(path: string): Promise<string[]> {
  const names = await readNames(path);
  if (!names.includes(ASIDE)) return names;
  const lost = await recoverIn(path);
  return [...await readNames(path), ...lost];
}

/**
 * Removes a directory that is empty, or has nothing but what interrupted transfers have left.
 *
 * @param check Throws if it may not be removed: called before each change, in the same turn.
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
