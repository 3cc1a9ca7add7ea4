/**
 * Syncs directories that another program may change at any time.
 *
 * @module
 */

import { syncDirectory } from "./sync_directory.ts";

/** Errors that are ignored: the directory can't be read, was deleted, or its file system can't sync it. */
const HARMLESS: ReadonlySet<unknown> = new Set(["EACCES", "ENOENT", "EINVAL"]);

/** Resolves when the names in a directory are on the disk, or can't be synced. */
export async function syncIfPossible(path: string): Promise<void> {
  try {
    await syncDirectory(path);
  } catch (error) {
    if (!HARMLESS.has((error as { code?: unknown }).code)) throw error;
  }
}
