/**
 * Locks of files between processes.
 *
 * @module
 */

const TRIES = 10;
const PAUSE_MILLISECONDS = 30;

/**
 * Locks a file unless another open file of it is locked. Tries for a third of a second: a process that
 * starts another one shares its locks with it for a moment, even those of files that it has just closed.
 *
 * @returns False if it stays locked.
 */
export async function lockFile(file: Deno.FsFile): Promise<boolean> {
  for (let tries = 1; !await file.tryLock(true); tries++) {
    if (tries === TRIES) return false;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  return true;
}
