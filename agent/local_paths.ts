/** Paths on this device, and the directories in which devices keep their keys. */

import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { TreeEntry } from "../files.ts";
import { bareName } from "../files/reserved.ts";
import { explain, FAILED, Failure } from "./failure.ts";

/**
 * The device's directory: its keys must never leave this machine, and no peer may change them.
 *
 * Another device, such as a copy of this one, is known by its files alone. Whoever may write to a
 * directory can make such files in it. So of a tree these files alone are left out, as errors, and
 * everything beside them is copied.
 */
export type OwnDirectory = Awaited<ReturnType<typeof ownDirectory>>;

/** Finds the device's directory by its inode, so another spelling of its path changes nothing. */
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
    /**
     * Makes a filter that leaves the device's directory, and the files of other devices, out of a
     * tree, which need not exist yet.
     */
    filter: async (
      root: string,
      onLeftOut: (path: readonly string[], isOwn: boolean) => void,
    ) => {
      const real = await realPath(root);
      const names = isIn(own, real) ? relative(real, own).split(sep) : [];
      return ({ path, kind }: TreeEntry) => {
        const there = join(real, ...path);
        // The other end may have a file of this name, which would replace the directory.
        const isCandidate = kind === "directory" || path.length === names.length;
        const isOwnThere = isCandidate && isOwn(there);
        const isOfDevice = isDeviceFile(path.at(-1)!) && isDevice(dirname(there));
        if (!isOwnThere && !isOfDevice) return true;
        onLeftOut(path, isOwnThere);
        return false;
      };
    },
    /**
     * Refuses a path that is, or is inside, the device's directory. The path need not exist yet.
     */
    checkTarget: async (path: string) => {
      if (isIn(await realPath(path), own)) throw keysAt(path);
    },
    /** Refuses a path in this device's directory, or among the keys of another device. */
    checkSource: async (path: string) => {
      const real = await realPath(path);
      if (isIn(real, own) || keysHolder(real) !== null) throw keysAt(path);
    },
  };
}

function keysAt(path: string): Failure {
  return new Failure(
    `${path} is the directory of a device, or in it: its keys must not leave it; choose another one`,
  );
}

/**
 * Finds a device whose keys are at a path or below it, by its files; `null` if there is none.
 *
 * @param levels How many levels below the path are searched.
 * @param except A directory below that is left out, as it is checked by itself.
 */
export async function deviceAt(
  path: string,
  levels: number,
  except: string | null = null,
): Promise<string | null> {
  if (isDevice(path)) return path;
  return keysHolder(path) ?? await deviceBelow(path, levels, except);
}

/** Finds the device in whose `identity` a path lies. */
function keysHolder(path: string): string | null {
  for (let inner = path, dir = dirname(path); dir !== inner; inner = dir, dir = dirname(dir)) {
    if (basename(inner) === IDENTITY && isDevice(dir)) return dir;
  }
  return null;
}

async function deviceBelow(
  dir: string,
  levels: number,
  except: string | null,
): Promise<string | null> {
  if (levels === 0 || !mayRead(dir)) return null;
  try {
    for await (const { name, isDirectory } of Deno.readDir(dir)) {
      if (!isDirectory) continue;
      const path = join(dir, name);
      if (path === except) continue;
      const found = isDevice(path) ? path : await deviceBelow(path, levels - 1, except);
      if (found !== null) return found;
    }
  } catch {
    // A path that can't be listed is a file, or a directory whose keys this user can't read,
    // either.
  }
  return null;
}

/** The directory of a device's keys, in that of the device. */
const IDENTITY = "identity";
/**
 * The mode of a directory in which all may write, but change nothing of others. Where a file system
 * has no modes, all may write, but this bit is not set.
 */
const STICKY_FOR_ALL = 0o1002;
/** The names of what lies in the directory of a device. */
export const DEVICE_FILES: ReadonlySet<string> = new Set([
  "device.json",
  IDENTITY,
  "lock",
  "peers",
  "serving",
]);

/** Whether a disk may take a name for that of a file of a device: some ignore case, and more. */
function isDeviceFile(name: string): boolean {
  return DEVICE_FILES.has(bareName(name).toUpperCase().toLowerCase());
}

/** Whether a directory has the files of a device; no if this program may not look. */
function isDevice(dir: string): boolean {
  const name = join(dir, "device.json");
  try {
    if (!mayRead(name) || !Deno.statSync(name).isFile) return false;
    // In a directory such as /tmp, anybody can make `device.json` and the directory of the keys.
    const isForAll = ((Deno.statSync(dir).mode ?? 0) & STICKY_FOR_ALL) === STICKY_FOR_ALL;
    return !isForAll && Deno.statSync(join(dir, IDENTITY)).isDirectory;
  } catch {
    return false;
  }
}

/** Queries the permission, because reading without it would make Deno ask on the terminal. */
function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

/** The real path of a file, or the real path that a missing file would have. */
async function realPath(path: string): Promise<string> {
  const real = await ifThere(Deno.realPath(path));
  if (real !== null) return real;
  const whole = resolve(path);
  const parent = dirname(whole);
  return parent === whole ? whole : join(await realPath(parent), basename(whole));
}

/** Whether one of two real paths is the other one or inside it. */
export function overlap(one: string, other: string): boolean {
  return isIn(one, other) || isIn(other, one);
}

/** Whether a real path is a directory or inside it. */
export function isIn(path: string, dir: string): boolean {
  const inside = dir.endsWith(sep) ? dir : dir + sep;
  return path === dir || path.startsWith(inside);
}

/**
 * Resolves to the result of a look at a path, or to `null` if nothing is there.
 *
 * @throws {Failure} if the system refuses to look.
 */
export async function ifThere<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    // A missing permission of Deno concerns the whole command.
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new Failure(explain(error), FAILED, { cause: error });
  }
}
