/**
 * Files and directories that only their owner uses, and that are on the disk when a call returns.
 *
 * @module
 */

/** Writes a new file, of mode 0600, that is on the disk when this returns. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text, { createNew: true, mode: 0o600 });
  using file = await Deno.open(path, { write: true });
  await file.sync();
}

/** Makes the names in a directory durable, where the system can open directories. */
export async function syncDirectory(dir: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using handle = await Deno.open(dir, { read: true });
  await handle.sync();
}

/** Reports whether something with this name exists. */
export async function exists(path: string): Promise<boolean> {
  return await ifPresent(Deno.stat(path)) !== null;
}

/** Removes whatever has this name. */
export async function removeIfPresent(path: string): Promise<void> {
  await ifPresent(Deno.remove(path, { recursive: true }));
}

/** Cleanup after an error, which matters more than a failure here; a later call removes what is left. */
export async function removeIfPossible(path: string): Promise<void> {
  await removeIfPresent(path).catch(() => {});
}

/** Resolves to `null` if nothing has the requested name. */
export async function ifPresent<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
