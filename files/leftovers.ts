/** What interrupted transfers have left: parts and unfinished files, which go unless somebody still writes to them. */

import { rmdirSync } from "node:fs";
import { lockIfFree } from "../disk/files.ts";
import {
  codeOf,
  isOverload,
  isSameFile,
  readNames,
  removeIfPresentSync,
  statOrNull,
} from "../disk/names.ts";
import { isHeldHere } from "../disk/temporary.ts";
import { Refusal } from "./refusal.ts";
import { isReservedName, prefixOf, UNFINISHED_NAME } from "./reserved.ts";

/** Removes an unfinished file; returns false if this process, or another one, is writing it. */
export function removeUnheld(path: string): boolean {
  if (isHeldHere(path)) return false;
  const before = statOrNull(path);
  using file = openIfPossible(path);
  if (file !== null && !lockIfFree(file)) return false;
  const now = statOrNull(path);
  // A file that another process has just put there is in use.
  if (before !== null && now !== null && !isSameFile(before, now)) return false;
  removeIfPresentSync(path);
  return true;
}

/**
 * Opens a file; `null` if it is gone, or left from a process that made it read-only before renaming it. Without a descriptor
 * left nobody can tell whether another process has locked it.
 */
function openIfPossible(path: string): Deno.FsFile | null {
  try {
    return Deno.openSync(path, { write: true });
  } catch (error) {
    if (isOverload(error)) throw error;
    return null;
  }
}

/**
 * Reports whether this process writes to a file, or another one has locked it. An upload of another process that can't be resumed
 * has no lock; if its file is removed, it notices, and is refused.
 */
function isHeld(path: string): boolean {
  if (isHeldHere(path)) return true;
  using file = openIfPossible(path);
  return file !== null && !lockIfFree(file);
}

/**
 * Removes a directory that is empty, or has nothing but left-over parts.
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
  const { paths, isElseEmpty } = await findLeftovers(path);
  if (!isElseEmpty) throw new Refusal(409, `${path} is not empty`);
  check();
  for (const left of paths) Deno.removeSync(left);
  rmdirSync(path);
}

/** The refusal to remove a part that somebody still writes to. */
export class HeldPart extends Refusal {}

/**
 * Finds what interrupted transfers have left in a directory: parts of downloads with their records, and what an app that has
 * served the directory has left unfinished, before the directory that it is in. Refuses if somebody still writes to one of them.
 */
export async function findLeftovers(
  path: string,
): Promise<{ readonly paths: readonly string[]; readonly isElseEmpty: boolean }> {
  const paths: string[] = [];
  let isElseEmpty = true;
  for (const name of await readNames(path)) {
    const at = prefixOf(path) + name;
    const state = isReservedName(name) ? statOrNull(at) : null;
    if (state === null) {
      isElseEmpty = false;
      continue;
    }
    const inside = state.isDirectory() ? await readNames(at) : [];
    const stranger = inside.find((inner) =>
      !UNFINISHED_NAME.test(inner) || statOrNull(`${at}/${inner}`)?.isFile() === false
    );
    if (stranger !== undefined || !state.isDirectory() && !state.isFile()) {
      throw new Refusal(409, `${at}${stranger ? `/${stranger}` : ""} is no part of a transfer`);
    }
    // One by one: a call takes only so many arguments.
    for (const inner of inside) paths.push(`${at}/${inner}`);
    paths.push(at);
  }
  const held = paths.find(isHeld);
  if (held !== undefined) throw new HeldPart(409, `${held} is the part of a transfer in progress`);
  return { paths, isElseEmpty };
}
