/**
 * The reserved directory by which an inbox is recognized, and what follows: commands leave an inbox
 * out of the directories that they copy, because it has the files of other devices.
 */

import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { describeNameProblem, type TreeEntry } from "@degu/degu/files/client";
import { RESERVED_DIRECTORY } from "./context.ts";
import { resolveRealPath } from "./local_paths.ts";
import { join, mayRead } from "./paths.ts";

/** Marks a directory as an inbox, before its first upload. */
export async function markInbox(path: string): Promise<void> {
  await Deno.mkdir(join(path, RESERVED_DIRECTORY), { mode: 0o700 }).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
}

function isMarked(dir: string): boolean {
  return existsSync(join(dir, RESERVED_DIRECTORY));
}

/** Reports whether a directory, which may be missing, is an inbox or in one. */
export async function isInInbox(dir: string): Promise<boolean> {
  for (let path = await resolveRealPath(dir);; path = dirname(path)) {
    if (!mayRead(join(path, RESERVED_DIRECTORY))) return false;
    if (isMarked(path)) return true;
    if (dirname(path) === path) return false;
  }
}

/**
 * Makes a filter that leaves out each inbox below a directory. A directory that is an inbox itself,
 * or in one, is copied whole.
 */
export async function makeInboxFilter(
  root: string,
  onSkipped: (path: readonly string[]) => void,
): Promise<(entry: TreeEntry) => boolean> {
  if (await isInInbox(root)) return () => true;
  const realRoot = await resolveRealPath(root);
  return ({ path, kind }) => {
    const isInbox = kind === "directory" &&
      path.every((name) => describeNameProblem(name) === null) &&
      isMarked(join(realRoot, ...path));
    if (isInbox) onSkipped(path);
    return !isInbox;
  };
}
