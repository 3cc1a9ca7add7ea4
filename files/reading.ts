/**
 * Reading below a root: where the names of a request lead, whether a peer may see that place, and
 * how a file there is opened.
 *
 * Reading follows a link to a file or directory below the root. A name that leads out of the root,
 * or is reserved, counts as absent.
 *
 * Deno opens a whole path, not component by component: between a check and the use of a path,
 * another process can put a link in the place of a directory. So the path that was found, which has
 * no links, is checked before a file is opened and once more afterwards. That second check notices
 * a deployment that replaces directories or links meanwhile. A local user who exchanges them back
 * and forth, at the right moments, is outside of the threat model (docs/security.md).
 */

import type { BigIntStats } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { dirname } from "node:path";
import {
  codeOf,
  type FileIdentity,
  isAt,
  isMissing,
  isReal,
  isSameFile,
  isUnreadable,
} from "../disk/names.ts";
import { type OpenFile, READ_FLAGS } from "./file_pieces.ts";
import { notFound, type Refusal, unreadable } from "./refusal.ts";
import { isReserved, isReservedName, prefixOf } from "./reserved.ts";
import type { Root } from "./root.ts";

/** How often a file is opened that is replaced at the same moment, as by a PUT. */
const MAX_OPENINGS = 10;

/** The place to which the names of a request lead. */
interface Resolved {
  /** The real path, which has no links. */
  readonly path: string;
  /** The metadata of the file or directory at that path. */
  readonly state: BigIntStats;
}

/**
 * Finds where names lead to; `null` if that is outside of the root, or reserved.
 *
 * @throws an error that {@linkcode isAbsence} recognizes if nothing is there.
 */
export async function resolveBelow(
  root: Root,
  names: readonly string[],
): Promise<Resolved | null> {
  if (names.some(isReservedName)) return null;
  const path = await Deno.realPath(root.pathOf(names));
  if (!contains(root, path)) return null;
  // Nothing is opened before its kind is known: opening a device can have effects.
  return { path, state: await lstat(path, { bigint: true }) };
}

/**
 * Opens a file below a root; `null` if there is none that a peer may see.
 *
 * @throws {Refusal} if something is there that can't be read.
 */
export async function openBelow(
  root: Root,
  names: readonly string[],
): Promise<OpenFile | "directory" | null> {
  try {
    for (let opening = 0; opening < MAX_OPENINGS; opening++) {
      const resolved = await resolveBelow(root, names);
      if (resolved === null) return null;
      const { path, state } = resolved;
      if (state.isFile()) {
        const file = await openIfSame(path, state);
        if (file !== null) return file;
      } else if (!state.isDirectory()) return null;
      else if (isStillAt(path, state)) return "directory";
    }
    return null;
  } catch (error) {
    return nullIfAbsent(root, error, names);
  }
}

/**
 * Opens a file at a real path; `null` if another file, or a link, has meanwhile come into its way.
 */
async function openIfSame(path: string, checked: FileIdentity): Promise<OpenFile | null> {
  // O_NOFOLLOW has an effect only with --allow-all: otherwise Deno resolves the links of a path
  // before it opens their target, wherever that is. So nothing relies on the flag; the file that
  // was opened has to be the file that was checked.
  const handle = await open(path, READ_FLAGS);
  let file: OpenFile | null = null;
  try {
    const lookedAt = Date.now();
    const state = await handle.stat({ bigint: true });
    if (state.isFile() && isSameFile(state, checked) && isStillAt(path, state)) {
      file = { handle, path, size: Number(state.size), state, lookedAt };
    }
    return file;
  } finally {
    if (file === null) await handle.close();
  }
}

/** Whether a real path still has no links, and leads to the same file or directory. */
function isStillAt(path: string, state: FileIdentity): boolean {
  return isReal(dirname(path)) && isAt(path, state);
}

/** Finds the file to which a link leads; `null` if that is no file which a peer may see. */
export function findLinkedFile(
  root: Root,
  link: string,
): { readonly path: string; readonly info: Deno.FileInfo } | null {
  for (let look = 0; look < MAX_OPENINGS; look++) {
    const path = Deno.realPathSync(link);
    if (!contains(root, path)) return null;
    const info = Deno.lstatSync(path);
    if (!info.isFile) return null;
    if (isStillAt(path, info)) return { path, info };
  }
  return null;
}

/** Whether a real path is that of a root, or below it with no reserved name on the way. */
export function contains({ path: rootPath }: Root, real: string): boolean {
  if (real === rootPath) return true;
  const prefix = prefixOf(rootPath);
  if (!real.startsWith(prefix)) return false;
  let directory = rootPath;
  for (const name of real.slice(prefix.length).split("/")) {
    if (isReserved(directory, name)) return false;
    directory = prefixOf(directory) + name;
  }
  return true;
}

/** Codes of errors of a path that leads to nothing. */
const NOWHERE: ReadonlySet<unknown> = new Set(["ELOOP", "ENAMETOOLONG"]);

/** Whether an error means that a peer may see nothing at a path. */
export function isAbsence(error: unknown): boolean {
  // The program may lack permission for a part of the directory; Deno does not check the targets of
  // links.
  return isMissing(error) || error instanceof Deno.errors.NotCapable ||
    NOWHERE.has(codeOf(error));
}

/**
 * Converts an error of reading to the refusal that a peer gets: 403 if the file or directory with
 * these names can't be read, be it damaged or closed to this user, and 404 if a peer may see
 * nothing there.
 *
 * @throws the error if it says nothing about that file or directory.
 */
export function refusalToRead(root: Root, error: unknown, names: readonly string[]): Refusal {
  if (isAbsence(error)) return notFound();
  if (!isUnreadable(error)) throw error;
  return leadsInside(root, names) ? unreadable(error) : notFound();
}

/**
 * Returns `null` after an error of reading where a peer may see nothing at these names.
 *
 * @throws {Refusal} as {@linkcode refusalToRead} returns it, if something is there.
 */
export function nullIfAbsent(root: Root, error: unknown, names: readonly string[]): null {
  const refusal = refusalToRead(root, error, names);
  if (refusal.status === 404) return null;
  throw refusal;
}

/**
 * Whether names lead to a place below a root, as far as this user can look: a link to a place that
 * is closed to this user may lead out, and counts as if it did.
 */
function leadsInside(root: Root, names: readonly string[]): boolean {
  for (let depth = 1; depth <= names.length; depth++) {
    let isLink = false;
    try {
      isLink = Deno.lstatSync(root.pathOf(names.slice(0, depth))).isSymlink;
      if (isLink) return contains(root, Deno.realPathSync(root.pathOf(names)));
    } catch (error) {
      return !isLink && !isAbsence(error);
    }
  }
  return true;
}
