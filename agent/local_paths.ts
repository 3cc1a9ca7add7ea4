/** Paths on this device, and the directory of the device itself. */

import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { TreeEntry } from "../files.ts";
import { explain, FAILED, Failure } from "./failure.ts";

/** The directory of the device: its keys must never leave this device, and no peer may write or delete there. */
export type OwnDirectory = Awaited<ReturnType<typeof ownDirectory>>;

/** Looks at the directory of the device. */
export async function ownDirectory(home: string) {
  const own = await Deno.realPath(home);
  const { dev, ino } = await Deno.stat(own);
  const isOwn = (path: string) => {
    try {
      const there = Deno.lstatSync(path);
      return ino !== null && there.ino === ino && there.dev === dev;
    } catch {
      return false;
    }
  };
  return {
    /** Makes a filter that leaves it out of a tree at a path, where nothing need be, whatever its spelling there. */
    filter: async (root: string, onSkipped: (path: readonly string[]) => void) => {
      const real = await realPath(root);
      const names = isIn(own, real) ? relative(real, own).split(sep) : [];
      return ({ path, kind }: TreeEntry) => {
        // The other end may have a file of this name, which would take its place.
        const isCandidate = kind === "directory" || path.length === names.length;
        if (!isCandidate || !isOwn(join(real, ...path))) return true;
        onSkipped(path);
        return false;
      };
    },
    /** Checks a path that a person has named, where nothing need be: it must not be in it. */
    check: async (path: string) => {
      if (!isIn(await realPath(path), own)) return;
      throw new Failure(
        `${path} is the directory of this device, or in it: its keys must not leave it; choose another one`,
      );
    },
  };
}

/** The real path of something, or that which it would have: of what is there already of the way to it. */
async function realPath(path: string): Promise<string> {
  const real = await ifThere(Deno.realPath(path));
  if (real !== null) return real;
  const whole = resolve(path);
  const parent = dirname(whole);
  return parent === whole ? whole : join(await realPath(parent), basename(whole));
}

/** Whether a real path is that of a directory, or in it. */
export function isIn(path: string, dir: string): boolean {
  const inside = dir.endsWith(sep) ? dir : dir + sep;
  return path === dir || path.startsWith(inside);
}

/**
 * Resolves to `null` if there is nothing at a path that was looked at.
 *
 * @throws {Failure} if that can't be told.
 */
export async function ifThere<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    // A missing permission of Deno concerns all of the command.
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new Failure(explain(error), FAILED, { cause: error });
  }
}
