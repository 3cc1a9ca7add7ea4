/**
 * Files of this device.
 *
 * @module
 */

import { ifPresent, removeIfPresent } from "../disk/present.ts";
import { TransferError } from "./transfer_error.ts";

const NO_SPACE: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Opens a new file of mode 0600 for reading and writing; `null` if something has that name. */
export async function createFile(path: string): Promise<Deno.FsFile | null> {
  try {
    return await Deno.open(path, { read: true, write: true, createNew: true, mode: 0o600 });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return null;
    throw error;
  }
}

/**
 * Opens a regular file for reading and writing, but not a link to one; `null` if there is none. Anything else
 * with that name is removed: only this package uses it.
 */
export async function openRegularFile(path: string): Promise<Deno.FsFile | null> {
  const info = await ifPresent(Deno.lstat(path));
  if (info === null) return null;
  if (!info.isFile) {
    await removeIfPresent(path);
    return null;
  }
  return await ifPresent(Deno.open(path, { read: true, write: true }));
}

/**
 * Finds out the mode of new files, `null` where files have none: it depends on the umask, which can be read only with a
 * permission, and on the directory.
 *
 * @param temporary A path in the directory, where nothing is.
 */
export function newFileMode(temporary: string): number | null {
  using file = Deno.openSync(temporary, { write: true, createNew: true });
  try {
    return file.statSync().mode;
  } finally {
    Deno.removeSync(temporary);
  }
}

/** Reports whether a path leads to this open file, and not through a link. */
export async function isAt(path: string, file: Deno.FsFile): Promise<boolean> {
  const [there, opened] = await Promise.all([ifPresent(Deno.lstat(path)), file.stat()]);
  return there !== null && there.isFile && there.dev === opened.dev && there.ino === opened.ino;
}

/** Converts the error of a full disk, which has no class of its own; other errors are returned unchanged. */
export function explainFullDisk(error: unknown, file: string): unknown {
  if (!NO_SPACE.has((error as { code?: unknown } | null)?.code)) return error;
  return new TransferError(
    "DISK_FULL",
    `${file}: there is no space left on this device, or its quota is exceeded; free some and call ` +
      "again to resume",
    { cause: error },
  );
}
