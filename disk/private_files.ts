/**
 * Files that only their owner uses, and whose contents are on the disk when a call returns.
 *
 * @module
 */

import { removeIfPossible } from "./present.ts";

/** Writes a new file, of mode 0600, that is on the disk when this returns. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text, { createNew: true, mode: 0o600 });
  using file = await Deno.open(path, { write: true });
  await file.sync();
}

/**
 * Writes a file, of mode 0600, atomically: every reader finds this text or the one before. Sync the directory if the
 * change has to survive a power failure.
 *
 * @param temporary A path in the same file system, where nothing is.
 */
export async function replacePrivateFile(
  path: string,
  text: string,
  temporary: string,
): Promise<void> {
  try {
    await writePrivateFile(temporary, text);
    await Deno.rename(temporary, path);
  } catch (error) {
    await removeIfPossible(temporary);
    throw error;
  }
}
