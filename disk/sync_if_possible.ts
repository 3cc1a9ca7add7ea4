/**
 * Names in directories that another program may change at any time.
 *
 * @module
 */

import { syncDirectory } from "./sync_directory.ts";

/** What a directory is not synced for: it can't be read, was deleted again, or the file system can't do it. */
const HARMLESS: ReadonlySet<unknown> = new Set(["EACCES", "ENOENT", "EINVAL"]);

/** Resolves once the names in a directory are on the disk, or it is clear that they can't be synced. */
export async function syncIfPossible(path: string): Promise<void> {
  try {
    await syncDirectory(path);
  } catch (error) {
    if (!HARMLESS.has((error as { code?: unknown }).code)) throw error;
  }
}
