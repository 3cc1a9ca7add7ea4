/**
 * Reading below a root: resolves the names of a request to a path, checks that a peer may see the
 * path, and opens the file.
 *
 * Links below the root are not followed: a path that is a link, leads through a link, or is
 * reserved, counts as missing. The path is looked up once, just before the file is opened. A local
 * user who exchanges directories and links at the same time is outside of the threat model
 * (docs/security.md).
 */

import { open } from "node:fs/promises";
import { hasNoSymlink, isMissingPathError, isUnreadableError } from "../disk/names.ts";
import { fileErrorCodeOf } from "../../internal/caught_errors.ts";
import { realPath } from "../../internal/paths.ts";
import { versionedStampOf } from "../wire/conditions.ts";
import { type OpenFile, READ_FLAGS, statOpenFile } from "../disk/file_pieces.ts";
import { notFoundRefusal, Refusal, unreadableRefusal } from "../refusal.ts";
import { isReservedName } from "../reserved.ts";
import { isReservedPath, type Root } from "../root.ts";

/** @throws an error that {@linkcode isAbsenceError} recognizes if the path does not exist. */
export async function resolvePath(
  root: Root,
  names: readonly string[],
): Promise<{ readonly path: string; readonly stats: Deno.FileInfo } | null> {
  if (names.some(isReservedName) || root.findBadName(names) !== null) return null;
  const path = root.pathOf(names);
  // Asynchronous, and before the other lookups: see `FirstLook`.
  const real = await realPath(path);
  if (isReservedPath(root.path, names) || isReservedPath(root.path, names.slice(0, -1))) {
    return null;
  }
  const isWithoutLinks = real === path || names.length === 0 ||
    hasNoSymlink(root.pathOf(names.slice(0, -1)));
  if (!isWithoutLinks) return null;
  // Look up the kind before opening: opening a device can have side effects.
  return { path, stats: Deno.lstatSync(path) };
}

export async function openServedFile(
  root: Root,
  names: readonly string[],
): Promise<OpenFile | "directory" | null> {
  const file = await findServedFile(root, names);
  return file instanceof Refusal ? null : file;
}

/**
 * If the file exists, and its metadata can't be sent, returns the refusal of a request to read it,
 * which has the stamp by which a peer can delete the file.
 */
export async function findServedFile(
  root: Root,
  names: readonly string[],
): Promise<OpenFile | "directory" | Refusal | null> {
  try {
    const resolvedPath = await resolvePath(root, names);
    if (resolvedPath?.stats.isDirectory) return "directory";
    return resolvedPath?.stats.isFile ? await openFileAt(resolvedPath.path) : null;
  } catch (error) {
    return toNullIfAbsent(root, error, names);
  }
}

async function openFileAt(path: string): Promise<OpenFile | Refusal | null> {
  const handle = await open(path, READ_FLAGS);
  let file: OpenFile | null = null;
  try {
    const checkedAt = Date.now();
    const stats = statOpenFile(handle.fd);
    if (!stats.isFile) return null;
    if (!Number.isSafeInteger(stats.size)) {
      const problem = `the size of ${path} can't be represented`;
      return new Refusal(404, problem, { "file-stamp": versionedStampOf(stats) });
    }
    return file = { handle, path, size: stats.size, mode: stats.mode, stats, checkedAt };
  } finally {
    if (file === null) await handle.close();
  }
}

const INVALID_PATH_CODES: ReadonlySet<unknown> = new Set(["ELOOP", "ENAMETOOLONG"]);

/** Reports whether a peer gets 404 Not Found because of an error. */
function isAbsenceError(error: unknown): boolean {
  // The program may lack the permission for a subdirectory.
  return isMissingPathError(error) || error instanceof Deno.errors.NotCapable ||
    INVALID_PATH_CODES.has(fileErrorCodeOf(error));
}

/** @throws the error itself unless the path is missing or unreadable. */
export function toReadRefusal(root: Root, error: unknown, names: readonly string[]): Refusal {
  if (isAbsenceError(error)) return notFoundRefusal();
  if (!isUnreadableError(error)) throw error;
  return hasNoLink(root, names) ? unreadableRefusal(error) : notFoundRefusal();
}

export function toNullIfAbsent(root: Root, error: unknown, names: readonly string[]): null {
  const refusal = toReadRefusal(root, error, names);
  if (refusal.status === 404) return null;
  throw refusal;
}

/** Reports whether the path of the names has no link, as far as this user can look up the path. */
function hasNoLink(root: Root, names: readonly string[]): boolean {
  for (let depth = 1; depth <= names.length; depth++) {
    try {
      if (Deno.lstatSync(root.pathOf(names.slice(0, depth))).isSymlink) return false;
    } catch (error) {
      return !isAbsenceError(error);
    }
  }
  return true;
}
