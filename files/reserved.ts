/**
 * The directory that an app keeps unfinished files in, below the one that it serves, and other names that
 * no peer can use.
 *
 * @module
 */

import { type BigIntStats, chmodSync, lstatSync, mkdirSync } from "node:fs";
import { isSameFile } from "./file_state.ts";
import { isPartName } from "./part_name.ts";
import { Refusal } from "./refusal.ts";

/**
 * The name of the directory; never served, listed, written or deleted by a peer, at any depth: a directory
 * below this one may be another app's, with unfinished files of its own.
 */
export const RESERVED = ".degu-files";

/** Says where it is. */
export function reservedPath(root: string): string {
  return `${prefixOf(root)}${RESERVED}`;
}

/** What the path of everything in a directory begins with. */
export function prefixOf(directory: string): string {
  return directory.endsWith("/") ? directory : `${directory}/`;
}

/** The name as a file system may take it that ignores case. */
const RESERVED_NAME = /^\.degu-files$/iu;

/** Whether a name is reserved, wherever it is: for unfinished files, or for parts of downloads. */
export function isReservedName(name: string): boolean {
  return RESERVED_NAME.test(name) || isPartName(name);
}

/**
 * Whether a name in a directory is reserved, or means the reserved directory there. On a file system that
 * has short names beside long ones there are several which do: so the directory is compared, too.
 */
export function isReserved(directory: string, name: string): boolean {
  if (isReservedName(name)) return true;
  const reserved = lookAt(reservedPath(directory));
  if (reserved === null) return false;
  const named = lookAt(prefixOf(directory) + name);
  return named !== null && isSameFile(named, reserved);
}

/**
 * Makes the directory, mode 0700, where there is none.
 *
 * @throws {Refusal} if there is something else of this name.
 */
export function makeReserved(root: string): void {
  const path = reservedPath(root);
  let state = lookAt(path);
  if (state === null) {
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      // Another process was first.
      if ((error as { code?: unknown }).code !== "EEXIST") throw error;
    }
    state = lstatSync(path, { bigint: true });
  }
  if (!state.isDirectory()) {
    throw new Refusal(403, `${path} is needed for unfinished files, and is not a directory`);
  }
  if ((state.mode & 0o077n) !== 0n) closeToOthers(path);
}

function closeToOthers(path: string): void {
  try {
    chmodSync(path, 0o700);
  } catch {
    // A file system without modes, where the mount decides who may read.
  }
}

/** What the file system says of a path, links not followed; `null` if there is nothing. */
export function lookAt(path: string): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null;
}
