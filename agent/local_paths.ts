/** Paths on this device, and the directory of its keys. */

import { findDeletionProblem, findNameProblem } from "@degu/degu/agent_support";
import { basename, dirname } from "node:path";
import type { TreeEntry } from "@degu/degu/files";
import { join, realPath, relative, resolve } from "./paths.ts";
import { explain } from "./explain.ts";
import { Failure } from "./failure.ts";

/** The device's directory. Its keys must never leave this machine, and no peer may change them. */
export type DeviceDirectory = Awaited<ReturnType<typeof findDeviceDirectory>>;

/**
 * Finds the device's directory. Compares inodes, to recognize every spelling of its path.
 */
export async function findDeviceDirectory(home: string) {
  const devicePath = await realPath(home);
  const { dev, ino } = await Deno.stat(devicePath);
  const isDeviceDirectory = (path: string) => {
    try {
      const info = Deno.lstatSync(path);
      return ino !== null && info.ino === ino && info.dev === dev;
    } catch {
      return false;
    }
  };
  return {
    /** Makes a filter that skips the device's directory in a tree, which may be missing. */
    filter: async (root: string, onSkipped: (path: readonly string[]) => void) => {
      const realRoot = await resolveRealPath(root);
      const names = isInside(devicePath, realRoot) ? relative(realRoot, devicePath).split("/") : [];
      return ({ path, kind }: TreeEntry) => {
        // Don't look up a name that can't be on this disk.
        if (path.some((name) => findNameProblem(name) !== null)) return true;
        // A file of this name on the peer would replace the directory.
        const isCandidate = kind === "directory" || path.length === names.length;
        if (!isCandidate || !isDeviceDirectory(join(realRoot, ...path))) return true;
        onSkipped(path);
        return false;
      };
    },
    /** Refuses a path that is, or is in, the device's directory. The path may be missing. */
    check: async (path: string) => {
      if (isInside(await resolveRealPath(path), devicePath)) throw makeDeviceDirectoryFailure(path);
    },
  };
}

/** Refuses a command or an option that deletes, on a system on which deleting is not tested. */
export function checkDeleting(name: string): void {
  const problem = findDeletionProblem();
  if (problem !== null) throw new Failure(`${name}: ${problem}: no file is deleted`);
}

function makeDeviceDirectoryFailure(path: string): Failure {
  return new Failure(
    `${
      JSON.stringify(path)
    } is the directory of the device, or in it: its keys must not leave it; choose another path`,
  );
}

/** Returns the real path of a file, or of a missing file after its creation. */
async function resolveRealPath(path: string): Promise<string> {
  const existingPath = await ignoreNotFound(realPath(path));
  if (existingPath !== null) return existingPath;
  const absolutePath = resolve(path);
  const parent = dirname(absolutePath);
  return parent === absolutePath
    ? absolutePath
    : join(await resolveRealPath(parent), basename(absolutePath));
}

/** Returns the advice for a path with unexpanded wildcards; `null` for any other path. */
export function findWildcardHint(path: string): string | null {
  return /[*?[]/.test(path)
    ? "degu does not expand wildcards: name each file, or a directory with -r"
    : null;
}

/** Makes the failure of a command whose source is not on this device. */
export function makeMissingSourceFailure(path: string): Failure {
  const hint = findWildcardHint(path) ?? "check the name, and the current directory";
  const problem = `${JSON.stringify(path)} does not exist: ${hint}`;
  return new Failure(problem, "NOT_THERE", { path });
}

/** Returns true if one of two real paths is inside the other, or if they are the same. */
export function arePathsNested(firstPath: string, secondPath: string): boolean {
  return isInside(firstPath, secondPath) || isInside(secondPath, firstPath);
}

/** Returns true if a real path is a directory or inside it. */
export function isInside(path: string, dir: string): boolean {
  const prefix = dir.endsWith("/") ? dir : `${dir}/`;
  return path === dir || path.startsWith(prefix);
}

/** Returns true if an error means that a path doesn't exist or, on Windows, can't exist. */
export function isNotFound(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return code === "ENOENT" || code === "ENOTDIR";
}

/**
 * Resolves to the result of a file operation, or to `null` if the path does not exist.
 *
 * @throws {Failure} if the operation fails otherwise.
 */
export async function ignoreNotFound<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (isNotFound(error)) return null;
    // A missing Deno permission ends the whole command.
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new Failure(explain(error), null, { cause: error });
  }
}

/** Checks that a directory is writable: creates a file with a reserved name, and removes it. */
export async function checkWritable(dir: string): Promise<void> {
  const path = join(dir, `.${crypto.randomUUID()}.degu-part`);
  (await Deno.open(path, { write: true, createNew: true })).close();
  await Deno.remove(path);
}
