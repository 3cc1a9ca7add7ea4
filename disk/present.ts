/**
 * What may or may not be on the disk.
 *
 * @module
 */

/** Resolves to `null` if nothing has the requested name. */
export async function ifPresent<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/**
 * Removes a file, or whatever else has this name, if anything has.
 *
 * @param options `recursive` also removes a directory with all that is in it.
 */
export async function removeIfPresent(path: string, options?: Deno.RemoveOptions): Promise<void> {
  await ifPresent(Deno.remove(path, options));
}

/** Cleanup after an error, which matters more than a failure here; a later call removes what is left. */
export async function removeIfPossible(path: string): Promise<void> {
  await removeIfPresent(path, { recursive: true }).catch(() => {});
}

/** Reports whether something with this name exists. */
export async function exists(path: string): Promise<boolean> {
  return await ifPresent(Deno.stat(path)) !== null;
}
