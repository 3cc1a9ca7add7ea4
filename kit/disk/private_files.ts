/** Private files: of mode 0600, and complete or not there at all. */

import { Temporary } from "./temporary.ts";

const PRIVATE = { newMode: 0o600 };

async function writePrivateText({ file, path }: Temporary, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  } catch (error) {
    // The error of writing doesn't name the file, whose path shows which disk is full.
    if (error instanceof Error) error.message += `: write '${path}'`;
    throw error;
  }
}

/** Writes a new file that is on the disk when this returns. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  using file = Temporary.create(path, PRIVATE);
  await writePrivateText(file, text);
  await file.sync();
  file.isKept = true;
}

/**
 * Writes a file aside, and renames it: every reader finds this text or the one before.
 *
 * @param aside A path in the same file system, where nothing is.
 * @param prepare Prepares the file before it has its name.
 * @returns The file, still open.
 */
export async function writeAside(
  path: string,
  text: string,
  aside: string,
  prepare: (file: Temporary) => Promise<void> = () => Promise.resolve(),
): Promise<Temporary> {
  const file = Temporary.create(aside, PRIVATE);
  try {
    await writePrivateText(file, text);
    await prepare(file);
    await Deno.rename(aside, path);
    file.isKept = true;
    return file;
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/**
 * Replaces a file, by {@linkcode writeAside}, whose content is on the disk when this returns. Sync
 * the directory if the change has to survive a power failure.
 */
export async function replacePrivateFile(path: string, text: string, aside: string): Promise<void> {
  using _file = await writeAside(path, text, aside, (file) => file.sync());
}
