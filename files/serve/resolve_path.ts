/**
 * Reading below a root: which place the names of a request have, whether a peer may see that place,
 * and how a file there is opened.
 *
 * No link below the root is followed: what has a name that is a link, leads through one, or is
 * reserved, counts as absent. The path is looked at once, just before the file is opened. A local
 * user who exchanges directories and links at that moment is outside of the threat model
 * (docs/security.md).
 */

import type { BigIntStats } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { fileErrorCode, hasNoSymlink, isMissing, isUnreadable } from "../../internal/disk/names.ts";
import { nameProblem } from "../../internal/disk/file_names.ts";
import { realPath } from "../../internal/disk/paths.ts";
import { type OpenFile, READ_FLAGS } from "../file_pieces.ts";
import { notFoundRefusal, type Refusal, unreadableRefusal } from "../refusal.ts";
import { isReservedAt, isReservedName } from "../reserved.ts";
import type { Root } from "../root.ts";

/** The place that the names of a request have. */
interface Resolved {
  /** The path, on which no link is. */
  readonly path: string;
  /** The metadata of the file or directory at that path. */
  readonly state: BigIntStats;
}

/**
 * Finds the place that names have; `null` if a link is on the way to it, or a reserved name.
 *
 * @throws an error that {@linkcode isAbsence} recognizes if nothing is there.
 */
export async function resolvePath(
  root: Root,
  names: readonly string[],
): Promise<Resolved | null> {
  if (isHidden(root, names)) return null;
  const path = root.pathOf(names);
  const real = await realPath(path);
  const isAsNamed = real === path || names.length === 0 ||
    hasNoSymlink(root.pathOf(names.slice(0, -1)));
  if (!isAsNamed) return null;
  // Nothing is opened before its kind is known: opening a device can have effects.
  return { path, state: await lstat(path, { bigint: true }) };
}

/**
 * Opens a file below a root; `null` if there is none that a peer may see.
 *
 * @throws {Refusal} if something is there that can't be read.
 */
export async function openServedFile(
  root: Root,
  names: readonly string[],
): Promise<OpenFile | "directory" | null> {
  try {
    const resolved = await resolvePath(root, names);
    if (resolved?.state.isDirectory()) return "directory";
    return resolved?.state.isFile() ? await openAt(resolved.path) : null;
  } catch (error) {
    return nullIfAbsent(root, error, names);
  }
}

/** Opens what has a path; `null` if that is no file by then. */
async function openAt(path: string): Promise<OpenFile | null> {
  const handle = await open(path, READ_FLAGS);
  let file: OpenFile | null = null;
  try {
    const checkedAt = Date.now();
    const state = await handle.stat({ bigint: true });
    const { size, mode } = state;
    if (state.isFile()) file = { handle, path, size: Number(size), mode, state, checkedAt };
    return file;
  } finally {
    if (file === null) await handle.close();
  }
}

/**
 * Whether one of the names is reserved, leads to a directory that has a reserved name, or can't be
 * on the disk.
 */
function isHidden({ path }: Root, names: readonly string[]): boolean {
  return names.some((name) => isReservedName(name) || nameProblem(name) !== null) ||
    isReservedAt(path, names) ||
    isReservedAt(path, names.slice(0, -1));
}

/** Codes of errors of a path that leads to nothing. */
const NOWHERE_CODES: ReadonlySet<unknown> = new Set(["ELOOP", "ENAMETOOLONG"]);

/** Whether an error means that a peer may see nothing at a path. */
function isAbsence(error: unknown): boolean {
  // The program may lack permission for a part of the directory.
  return isMissing(error) || error instanceof Deno.errors.NotCapable ||
    NOWHERE_CODES.has(fileErrorCode(error));
}

/**
 * Converts an error of reading to the refusal that a peer gets: 403 if the file or directory with
 * these names can't be read, be it damaged or closed to this user, and 404 if a peer may see
 * nothing there.
 *
 * @throws the error if it says nothing about that file or directory.
 */
export function refusalToRead(root: Root, error: unknown, names: readonly string[]): Refusal {
  if (isAbsence(error)) return notFoundRefusal();
  if (!isUnreadable(error)) throw error;
  return hasNoLink(root, names) ? unreadableRefusal(error) : notFoundRefusal();
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

/** Whether no link is among the names, as far as this user can look. */
function hasNoLink(root: Root, names: readonly string[]): boolean {
  for (let depth = 1; depth <= names.length; depth++) {
    try {
      if (Deno.lstatSync(root.pathOf(names.slice(0, depth))).isSymlink) return false;
    } catch (error) {
      return !isAbsence(error);
    }
  }
  return true;
}
