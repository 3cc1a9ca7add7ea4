/**
 * Files of this device.
 *
 * @module
 */

import { ifPresent, removeIfPresent } from "../disk/present.ts";
import { TransferError } from "./transfer_error.ts";

const NO_SPACE: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Opens a new file for reading and writing; `null` if there is something of that name. */
export async function createFile(path: string): Promise<Deno.FsFile | null> {
  try {
    return await Deno.open(path, { read: true, write: true, createNew: true });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return null;
    throw error;
  }
}

/**
 * Opens a regular file for reading and writing, and no link to one; `null` if there is none. What else
 * has that name is removed: nobody but this package uses it.
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

/** True if a path, itself and not by a link, leads to this open file. */
export async function isAt(path: string, file: Deno.FsFile): Promise<boolean> {
  const [there, opened] = await Promise.all([ifPresent(Deno.lstat(path)), file.stat()]);
  return there !== null && there.isFile && there.dev === opened.dev && there.ino === opened.ino;
}

/** Names a full disk, for which the system has no error class; other errors stay as they are. */
export function explainFullDisk(error: unknown, file: string): unknown {
  if (!NO_SPACE.has((error as { code?: unknown } | null)?.code)) return error;
  return new TransferError(
    "DISK_FULL",
    `${file}: there is no space left on this device, or its quota is reached; free some and call ` +
      "again to continue",
    { cause: error },
  );
}
