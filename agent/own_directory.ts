/**
 * The directory of the device itself.
 *
 * @module
 */

import { resolve, sep } from "node:path";
import { FAILED, Failure } from "./failure.ts";

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

async function realPath(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw error;
    }
    return resolve(path);
  }
}

/** Whether a real path is that of a directory, or in it. */
export function isIn(path: string, dir: string): boolean {
  const inside = dir.endsWith(sep) ? dir : dir + sep;
  return path === dir || path.startsWith(inside);
}
