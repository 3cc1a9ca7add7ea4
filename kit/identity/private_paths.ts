/** A check whether other users of the system could read or replace a file. */

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
