/**
 * Files and directories that only their owner uses, and that are on the disk when a call returns.
 *
 * @module
 */

import { ifPresent, removeIfPresent } from "../disk/present.ts";

/** Writes a new file, of mode 0600, that is on the disk when this returns. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text, { createNew: true, mode: 0o600 });
  using file = await Deno.open(path, { write: true });
  await file.sync();
}

/** Reports whether something with this name exists. */
export async function exists(path: string): Promise<boolean> {
  return await ifPresent(Deno.stat(path)) !== null;
}

/** Cleanup after an error, which matters more than a failure here; a later call removes what is left. */
export async function removeIfPossible(path: string): Promise<void> {
  await removeIfPresent(path, { recursive: true }).catch(() => {});
}
