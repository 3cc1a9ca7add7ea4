/**
 * Trees of this device.
 *
 * @module
 */

import { join } from "node:path";
import { escapeName } from "../files.ts";
import { isReservedName } from "../files/reserved.ts";
import { explain } from "./failure.ts";
import type { OwnDirectory } from "./own_directory.ts";
import { type Tree, type TreeEntry, walkTree } from "./tree.ts";

/** What Deno substitutes for bytes that are not UTF-8. */
const NOT_UTF8 = "\ufffd";

/** Why the directory of the device is left out. */
export const OWN_DIRECTORY = "the directory of this device, with its keys";

/** The path of names below a directory. */
export function pathBelow(root: string, names: readonly string[]): string {
  return join(root, ...names);
}

/**
 * Lists a directory and all those below it, in the order of their names. Links are not followed.
 *
 * @param root The directory, which may be a link itself.
 * @param own The directory of the device, which is left out.
 * @param signal Ends it with its reason.
 */
export async function readLocalTree(
  root: string,
  own: OwnDirectory,
  signal: AbortSignal,
): Promise<Tree> {
  return await walkTree(async (directory) => {
    try {
      return await readDirectory(root, directory, own);
    } catch (error) {
      return { entries: [], skipped: [], failed: [{ names: directory, problem: explain(error) }] };
    }
  }, signal);
}

/** What there is of a name: an entry, or what keeps it from being one. */
interface Found {
  readonly names: readonly string[];
  readonly entry?: TreeEntry;
  /** Why it is left out. */
  readonly skipped?: string;
  /** Why it can't be moved, though it should. */
  readonly failed?: string;
}

async function readDirectory(
  root: string,
  directory: readonly string[],
  own: OwnDirectory,
): Promise<Tree> {
  const path = pathBelow(root, directory);
  const all = await Array.fromAsync(Deno.readDir(path), async ({ name }) => {
    return await look(root, [...directory, name], own);
  });
  const found = all.filter((each) => each !== null);
  return {
    entries: found.flatMap(({ entry }) => entry ?? []),
    skipped: found.flatMap(({ names, skipped }) => skipped ? { names, problem: skipped } : []),
    failed: found.flatMap(({ names, failed }) => failed ? { names, problem: failed } : []),
  };
}

/** Examines the entry of a name; `null` if it was removed meanwhile or isn't one of the user's files. */
async function look(
  root: string,
  names: readonly string[],
  own: OwnDirectory,
): Promise<Found | null> {
  const name = names.at(-1)!;
  // A partial file of an interrupted transfer.
  if (isReservedName(name)) return null;
  const info = await lookAt(pathBelow(root, names));
  if (info === null) {
    const isGarbled = name.includes(NOT_UTF8);
    return isGarbled ? { names, failed: "its name is not UTF-8: rename it" } : null;
  }
  if (info.isSymlink) return { names, skipped: "a symbolic link, which is not followed" };
  if (!info.isFile && !info.isDirectory) {
    return { names, skipped: "neither a file nor a directory" };
  }
  if (own.is(info)) return { names, skipped: OWN_DIRECTORY };
  const failed = problemOf(name);
  if (failed !== null) return { names, failed };
  const kind = info.isFile ? "file" : "directory";
  const size = info.isFile ? info.size : 0;
  return { names, entry: { names, kind, size, modified: info.mtime ?? new Date(0) } };
}

/** What keeps a name from being sent; `null` if nothing does. */
function problemOf(name: string): string | null {
  try {
    escapeName(name);
    return null;
  } catch (error) {
    return `its name can't be sent: ${(error as Error).message}`;
  }
}

/** What is at a path, without following a link; `null` if nothing is there. */
export async function lookAt(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
