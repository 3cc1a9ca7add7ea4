/**
 * Private files: of mode 0600, and complete or not there at all; and the check that no other user
 * of the system can read or replace them.
 */

import { replaceFile, whenReplaceable } from "../../internal/disk/names.ts";
import { Temporary } from "../../internal/disk/temporary.ts";

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
  prepare: (file: Temporary) => Promise<void>,
): Promise<Temporary> {
  const file = Temporary.create(aside, PRIVATE);
  try {
    await writePrivateText(file, text);
    await prepare(file);
    await whenReplaceable(() => replaceFile(aside, path));
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

/** Permission bits by which others can change a file, or the entries of a directory. */
export const WRITABLE_BY_OTHERS = 0o022;

/** Permission bits by which others can do anything with a file. */
export const USABLE_BY_OTHERS = 0o077;

const STICKY = 0o1000;
const ROOT = 0;

/**
 * Makes sure that a file or directory belongs to the user of this process or to root, and has none
 * of the forbidden bits. A link counts as its target, and the directories above are not looked at.
 * On Windows nothing is checked, because access doesn't depend on modes there. Needs
 * `--allow-sys=uid`.
 *
 * @throws {Deno.errors.PermissionDenied} if another user has access.
 */
export async function checkPrivate(path: string, forbidden: number): Promise<void> {
  const user = Deno.uid();
  if (user === null) return;
  const info = await Deno.stat(path);
  if (info.uid !== ROOT && info.uid !== user) {
    throw new Deno.errors.PermissionDenied(
      `${path} belongs to another user (uid ${info.uid}), who could change it: run chown on it, ${IF_USED}`,
    );
  }
  // A system with owners of files has modes, too.
  const mode = info.mode! & 0o7777;
  if ((mode & forbidden) === 0) return;
  throw new Deno.errors.PermissionDenied(
    `${path} is open to other users (mode ${mode.toString(8)}): ${howToClose(info)}, ${IF_USED}`,
  );
}

const IF_USED = "and if somebody may have used that, remove the identity and pair the device again";

/** The command that restricts access; none for a directory that is shared by all. */
function howToClose({ mode, isDirectory }: Deno.FileInfo): string {
  if (!isDirectory) return "run chmod 600 on it";
  if ((mode! & STICKY) === 0) return "run chmod 700 on it";
  return "it is shared by many, so use a directory of its own, which may be inside it";
}
