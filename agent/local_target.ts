/**
 * Where files go on this device.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { FAILED, Failure } from "./failure.ts";

/** Where things go. */
export interface LocalTarget {
  readonly path: string;
  /** Whether files go into the directory at this path and keep their names. */
  readonly isDirectory: boolean;
}

/**
 * Decides what a target on the command line means: a directory that is there, or a path that ends with a slash, is what
 * files are put into; everything else is the new name of the only one.
 *
 * @param several Whether there are several sources: then only a directory can be meant.
 * @throws {Failure} if a directory is needed and something else is there, or if the parent directory doesn't exist.
 */
export async function findLocalTarget(path: string, several: boolean): Promise<LocalTarget> {
  const info = await statIfThere(path);
  if (info?.isDirectory) return { path, isDirectory: true };
  const isDirectory = several || path.endsWith("/");
  if (isDirectory && info !== null) throw notDirectory(path);
  const parent = dirname(path);
  if (info === null && !(await statIfThere(parent))?.isDirectory) {
    throw new Failure(FAILED, `there is no directory ${parent}: make it first, with "mkdir -p"`);
  }
  return { path, isDirectory };
}

/** Where a file goes. */
export function filePathIn({ path, isDirectory }: LocalTarget, name: string): string {
  return isDirectory ? join(path, name) : path;
}

/**
 * Where a directory goes: always below the target, which is created if there is none. So the same command means the
 * same when it is run again.
 *
 * @param name Its name; none if it is all that is shared.
 * @throws {Failure} if something else is there.
 */
export async function directoryPathIn(
  { path }: LocalTarget,
  name: string | undefined,
): Promise<string> {
  for (const each of name === undefined ? [path] : [path, join(path, name)]) {
    const info = await statIfThere(each);
    if (info !== null && !info.isDirectory) throw notDirectory(each);
  }
  return name === undefined ? path : join(path, name);
}

function notDirectory(path: string): Failure {
  return new Failure(FAILED, `${path} is not a directory: choose another target`);
}

/** Follows a path, links included; `null` if nothing is there. */
export async function statIfThere(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    throw error;
  }
}
