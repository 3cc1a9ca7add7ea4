/** A check whether other users of the system could read or replace a file. */

import { dirname, isAbsolute, join } from "node:path";

/** Permission bits by which others can change a file, or the entries of a directory. */
export const WRITABLE_BY_OTHERS = 0o022;

/** Permission bits by which others can do anything with a file. */
export const USABLE_BY_OTHERS = 0o077;

const STICKY = 0o1000;
const ROOT = 0;

/** The largest number of links that lead to each other; the system reports a loop before. */
const MAX_LINKS = 40;

/** Checks paths, and each directory above them once. */
export class PrivatePaths {
  /**
   * The user of this process; `null` on Windows, where nothing is checked because access doesn't
   * depend on modes. Needs `--allow-sys=uid`.
   */
  readonly #user: number | null = Deno.uid();
  /** Directories that no other user can change, and that are no links. */
  readonly #checked = new Set<string>();

  /**
   * Makes sure that a file or directory, and every directory and link on the way, belongs to the
   * user of this process or to root, and that no other user can change it. The file itself, or the
   * target of a link, must have none of the forbidden bits. Directories above may be writable if
   * the sticky bit keeps others from replacing files of this user. Paths that the program may not
   * read are not checked.
   *
   * @throws {Deno.errors.PermissionDenied} if another user has access.
   */
  async check(path: string, forbidden: number): Promise<void> {
    if (this.#user === null) return;
    await this.checkWay(path);
    const info = await Deno.stat(path);
    this.#checkOwner(path, info, "run chown on it");
    // A system with owners of files has modes, too.
    if ((info.mode! & forbidden) === 0) return;
    throw new Deno.errors.PermissionDenied(
      `${path} is open to other users (mode ${modeOf(info)}): ${howToClose(info)}, ${IF_USED}`,
    );
  }

  /** Tells whether a file belongs to the user of this process; always true on Windows. */
  isOwn({ uid }: Deno.FileInfo): boolean {
    return this.#user === null || uid === this.#user;
  }

  /**
   * Checks the directories and links on the way to a path, name after name as the system does; the
   * path need not exist.
   */
  async checkWay(path: string): Promise<void> {
    if (this.#user === null) return;
    let at = "/";
    let rest = path.split("/");
    let links = 0;
    while (rest.length > 0) {
      const [name = "", ...others] = rest;
      rest = others;
      at = join(at, name);
      if (this.#checked.has(at)) continue;
      const info = await statIfReadable(at);
      if (info?.isSymlink && ++links <= MAX_LINKS) {
        this.#checkOwner(at, info, ELSEWHERE);
        const target = await Deno.readLink(at);
        rest = [...target.split("/"), ...rest];
        at = isAbsolute(target) ? "/" : dirname(at);
      } else if (info !== null && rest.length > 0) {
        this.#checkAbove(at, info);
      }
    }
  }

  #checkAbove(path: string, info: Deno.FileInfo): void {
    this.#checkOwner(path, info, ELSEWHERE);
    const mode = info.mode!;
    if ((mode & WRITABLE_BY_OTHERS) === 0 || (mode & STICKY) !== 0) {
      this.#checked.add(path);
      return;
    }
    throw new Deno.errors.PermissionDenied(
      `${path} is open to other users (mode ${modeOf(info)}), who could replace what is ` +
        `in it: run chmod go-w on it or ${ELSEWHERE}, ${IF_USED}`,
    );
  }

  #checkOwner(path: string, info: Deno.FileInfo, remedy: string): void {
    if (info.uid === ROOT || this.isOwn(info)) return;
    throw new Deno.errors.PermissionDenied(
      `${path} belongs to another user (uid ${info.uid}), who could change it: ${remedy}, ${IF_USED}`,
    );
  }
}

const ELSEWHERE = "take a directory elsewhere";

const IF_USED = "and if somebody may have used that, remove the identity and pair the device again";

/** The command that restricts access; none for a directory that is shared by all. */
function howToClose({ mode, isDirectory }: Deno.FileInfo): string {
  if (!isDirectory) return "run chmod 600 on it";
  if ((mode! & STICKY) === 0) return "run chmod 700 on it";
  return "it is shared by many, so use a directory of its own, which may be inside it";
}

/** Reads the metadata of a path if the program may read it; never prompts for the permission. */
async function statIfReadable(path: string): Promise<Deno.FileInfo | null> {
  const { state } = await Deno.permissions.query({ name: "read", path });
  if (state !== "granted") return null;
  try {
    return await Deno.lstat(path);
  } catch (error) {
    const { NotFound, NotCapable, PermissionDenied } = Deno.errors;
    if ([NotFound, NotCapable, PermissionDenied].some((each) => error instanceof each)) return null;
    throw error;
  }
}

function modeOf({ mode }: Deno.FileInfo): string {
  return (mode! & 0o7777).toString(8);
}
