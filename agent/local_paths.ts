/** Paths on this device, and the directories in which devices keep their keys. */

import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { TreeEntry } from "../files.ts";
import { explain, FAILED, Failure } from "./failure.ts";

/**
 * The device's directory: its keys must never leave this machine, and no peer may change them. The
 * same holds for directories of other devices, such as a copy of this one's.
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
     * Makes a filter that leaves the device's directory out of a tree, which need not exist yet.
     */
    filter: async (root: string, onSkipped: (path: readonly string[]) => void) => {
      const real = await realPath(root);
      const names = isIn(own, real) ? relative(real, own).split(sep) : [];
      return ({ path, kind }: TreeEntry) => {
        // The other end may have a file of this name, which would replace the directory.
        const isCandidate = kind === "directory" || path.length === names.length;
        const there = join(real, ...path);
        if (!isCandidate || !isOwn(there) && !isDevice(there)) return true;
        onSkipped(path);
        return false;
      };
    },
    /**
     * Refuses a path that is, or is inside, a device's directory. The path need not exist yet.
     */
    check: async (path: string) => {
      const real = await realPath(path);
      if (!isIn(real, own) && deviceAround(real) === null) return;
      throw new Failure(
        `${path} is the directory of a device, or in it: its keys must not leave it; choose another one`,
      );
    },
  };
}

/**
 * Finds the directory of a device that has a path in it, or a known one that is in it; `null` if
 * there is none.
 *
 * @param path A real path.
 * @param known Real paths of the directories of devices.
 */
export function deviceAt(path: string, known: readonly string[]): string | null {
  return known.find((dir) => isIn(path, dir) || isIn(dir, path)) ?? deviceAround(path);
}

function deviceAround(path: string): string | null {
  if (isDevice(path)) return path;
  const parent = dirname(path);
  return parent === path ? null : deviceAround(parent);
}

/** Finds the directory of a device below a path, by its files; `null` if there is none. */
export async function deviceBelow(dir: string, levels: number): Promise<string | null> {
  if (levels === 0 || !mayRead(dir)) return null;
  try {
    for await (const { name, isDirectory } of Deno.readDir(dir)) {
      if (!isDirectory) continue;
      const path = join(dir, name);
      const found = isDevice(path) ? path : await deviceBelow(path, levels - 1);
      if (found !== null) return found;
    }
  } catch {
    // A file, and a directory that this user may not list: its keys can't be read, either.
  }
  return null;
}

/**
 * Whether a directory has the files of a device; no if this program may not look. The keys are
 * private. What a peer has sent is not, unless the umask makes everything so: a peer can hardly
 * make a directory that passes for a device's.
 */
function isDevice(dir: string): boolean {
  const [name, identity] = [join(dir, "device.json"), join(dir, "identity")];
  try {
    if (!mayRead(name) || !Deno.statSync(name).isFile) return false;
    const { isDirectory, mode } = Deno.statSync(identity);
    return isDirectory && ((mode ?? 0) & 0o077) === 0;
  } catch {
    return false;
  }
}

/** Asks first, because Deno would ask on the terminal. */
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
