/**
 * Which directories can be served.
 *
 * @module
 */

import { basename, dirname, join, sep } from "node:path";
import { FAILED, Failure, USAGE } from "./failure.ts";

/** A directory to serve. */
export interface ServedDirectory {
  /** Its real path. */
  readonly path: string;
  /** Whether it is new. */
  readonly isMade: boolean;
}

/**
 * Checks the directory of `--share` or `--inbox`. An inbox that is not there is made, for its owner alone, if the directory
 * that it is to be in is there.
 *
 * @throws {Failure} if there is no such directory, if the permission to write to an inbox is missing, or if the
 * device itself is in it, or it in the device: peers could read its keys.
 */
export async function checkServed(
  option: "--share" | "--inbox",
  dir: string,
  home: string,
): Promise<ServedDirectory> {
  const there = await realDirectory(option, dir);
  const path = there ?? await pathToMake(option, dir);
  const device = await Deno.realPath(home);
  if (!isIn(device, path) && !isIn(path, device)) {
    if (option === "--inbox") checkWritable(path);
    if (there === null) await Deno.mkdir(path, { mode: 0o700 });
    return { path, isMade: there === null };
  }
  throw new Failure(
    USAGE,
    `${option}: ${dir} has the directory of this device in it, ${home}, or is in that, so peers could read its ` +
      "keys: serve another directory, or move the device and say where it is with --home",
  );
}

/** Otherwise this would be noticed only when the first peer is refused. */
function checkWritable(path: string): void {
  if (Deno.permissions.requestSync({ name: "write", path }).state === "granted") return;
  throw new Failure(
    FAILED,
    `--inbox: Requires write access to ${path}, run again with --allow-write=${path}`,
  );
}

/** The real path of a directory; `null` if nothing is there. */
async function realDirectory(option: string, dir: string): Promise<string | null> {
  try {
    const real = await Deno.realPath(dir);
    if ((await Deno.stat(real)).isDirectory) return real;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    if (!(error instanceof Deno.errors.NotADirectory)) throw error;
  }
  throw new Failure(FAILED, `${option}: ${dir} is no directory`);
}

/** Where an inbox is made: in a directory that is there, as a typing error in a path should not make a tree. */
async function pathToMake(option: string, dir: string): Promise<string> {
  const parent = await realDirectory(option, dirname(dir));
  if (option === "--inbox" && parent !== null) return join(parent, basename(dir));
  throw new Failure(
    FAILED,
    `${option}: there is no directory ${dir}; make it first: mkdir -p ${dir}`,
  );
}

/** Whether a real path is that of a directory, or in it. */
export function isIn(path: string, dir: string): boolean {
  const inside = dir.endsWith(sep) ? dir : dir + sep;
  return path === dir || path.startsWith(inside);
}
