/** A directory that gives way to a file. */

import { renameSync } from "node:fs";
import { dirname } from "node:path";
import { BodyError } from "../base/errors.ts";
import { isSameFile, statOrNull } from "../disk/names.ts";
import { Turns } from "../disk/files.ts";
import { digestTree, type TreeEntry } from "./entries.ts";
import { findLeftovers } from "./leftovers.ts";
import { readTree } from "./listing.ts";
import { Refusal } from "./refusal.ts";
import { unusedPath } from "./reserved.ts";
import type { Condition, Replaceable, Root } from "./root.ts";

/** The most entries of a directory that gives way: all of them are held in memory. */
const MAX_CLEARED = 100_000;

/**
 * Removes a directory that gives way to a file, if it has exactly what the client has seen: innermost first, and each entry
 * only if it is still the same.
 *
 * @param condition Decides, by the directory, whether it may be removed.
 * @param confirm Called before anything is removed.
 * @returns The names of the files that were removed.
 * @throws {Refusal} if it has anything else, or anything that a peer could not delete.
 */
export async function clearWay(
  root: Root,
  names: readonly string[],
  replaceable: Replaceable,
  condition: Condition,
  confirm: () => Promise<void>,
): Promise<(readonly string[])[]> {
  if (replaceable.directory === null) return [];
  const turns = new Turns();
  const { path, existing } = root.findFile(names, replaceable);
  if (!existing?.isDirectory()) return [];
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
  const namesOf = (entry: TreeEntry) => [...names, ...entry.path];
  await findLeftovers(path);
  for (const entry of seen) {
    if (turns.isOver) await turns.next(root.path);
    const at = root.pathOf(namesOf(entry));
    if (entry.kind === "directory") await findLeftovers(at);
    // A link to a file is listed as that file.
    else if (entry.kind === "other" || !statOrNull(at)?.isFile()) {
      throw new Refusal(409, `${at} can't be removed by a peer`);
    }
  }
  await confirm();
  // What can't be moved, such as a mount point, can't be removed either: then nothing in it may be lost.
  const aside = unusedPath(dirname(path));
  renameSync(path, aside);
  renameSync(aside, path);
  const removed: (readonly string[])[] = [];
  for (const entry of seen.reverse()) {
    if (turns.isOver) await turns.next(root.path);
    const at = namesOf(entry);
    await root.removeListed(at, ({ isFile, isDirectory, size, mtime }) => {
      if (entry.kind === "directory") return isDirectory;
      return isFile && size === entry.size && mtime?.getTime() === entry.modified.getTime();
    });
    if (entry.kind === "file") removed.push(at);
  }
  await root.removeListed(names, (now) => isSameFile(now, existing));
  return removed;
}
