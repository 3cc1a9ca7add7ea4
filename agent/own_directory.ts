/**
 * The directory of the device itself.
 *
 * @module
 */

import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { TreeEntry } from "../files.ts";
import { FAILED, Failure } from "./failure.ts";

/** Why the directory of the device is skipped. */
export const OWN_DIRECTORY = "the directory of this device, with its keys";

/** The directory of the device: its keys must never leave this device, and no peer may write or delete there. */
export class OwnDirectory {
  readonly #path: string;
  readonly #info: Deno.FileInfo;

  private constructor(path: string, info: Deno.FileInfo) {
    this.#path = path;
    this.#info = info;
  }

  /** Looks at it. */
  static async at(home: string): Promise<OwnDirectory> {
    const path = await Deno.realPath(home);
    return new OwnDirectory(path, await Deno.stat(path));
  }

  /** Whether something that was looked at is this directory, whatever its path. */
  is({ dev, ino }: Deno.FileInfo): boolean {
    return ino !== null && ino === this.#info.ino && dev === this.#info.dev;
  }

  /**
   * Makes a filter that leaves this directory out of a tree, whatever its spelling there.
   *
   * @param root The path of the tree on this device, where nothing need be.
   * @param onSkipped Called with the path when it is skipped.
   */
  async filter(
    root: string,
    onSkipped: (path: readonly string[]) => void,
  ): Promise<(entry: TreeEntry) => boolean> {
    const real = await realPath(root);
    const names = isIn(this.#path, real) ? relative(real, this.#path).split(sep) : [];
    return ({ path, kind }) => {
      // The other end may have a file of this name, which would take its place.
      const isCandidate = kind === "directory" || path.length === names.length;
      if (!isCandidate || !this.#isAt(join(real, ...path))) return true;
      onSkipped(path);
      return false;
    };
  }

  #isAt(path: string): boolean {
    try {
      return this.is(Deno.lstatSync(path));
    } catch {
      return false;
    }
  }

  /**
   * Checks a path that a person has named, where nothing need be.
   *
   * @throws {Failure} if it is that of this directory, or of something in it.
   */
  async check(path: string): Promise<void> {
    if (!isIn(await realPath(path), this.#path)) return;
    throw new Failure(
      FAILED,
      `${path} is the directory of this device, or in it: its keys must not leave it; choose another one`,
    );
  }
}

/** The real path of something, or that which it would have: of what is there already of the way to it. */
async function realPath(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw error;
    }
    const whole = resolve(path);
    const parent = dirname(whole);
    return parent === whole ? whole : join(await realPath(parent), basename(whole));
  }
}

/** Whether a real path is that of a directory, or in it. */
export function isIn(path: string, dir: string): boolean {
  const inside = dir.endsWith(sep) ? dir : dir + sep;
  return path === dir || path.startsWith(inside);
}
