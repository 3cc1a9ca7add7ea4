/** Whether other users of the system could read or replace a file. */

import { dirname, isAbsolute, join } from "node:path";

/** Permission bits by which others can change a file, or what is in a directory. */
export const WRITABLE_BY_OTHERS = 0o022;

/** Permission bits by which others can do anything with a file. */
export const USABLE_BY_OTHERS = 0o077;

const STICKY = 0o1000;
const ROOT = 0;

/** Links that lead on to each other; more than any system follows, which reports a loop itself. */
const MAX_LINKS = 40;

/** Looks at paths, and at each directory and link above them once. */
export class PrivatePaths {
  /** `null` on Windows, where nothing is checked because access doesn't depend on modes. Needs `--allow-sys=uid`. */
  readonly #user: number | null = Deno.uid();
  readonly #checked = new Set<string>();

  /**
   * Makes sure that a file or directory, and every directory and link that leads to it, belongs to the user of this
   * process or to root, and that no other user can change it. The file itself, or the target of a link, must have none of
   * the forbidden bits. Directories above may be writable if the sticky bit keeps others from replacing what is not theirs.
   * What the program may not read is not checked.
   *
   * @throws {Deno.errors.PermissionDenied} if another user could.
   */
  async check(path: string, forbidden: number): Promise<void> {
    if (this.#user === null) return;
    await this.checkWay(path);
    const info = await Deno.stat(path);
    this.#checkOwner(path, info, "run chown on it");
    // Where files have owners they have modes.
    if ((info.mode! & forbidden) === 0) return;
    throw new Deno.errors.PermissionDenied(
      `${path} is open to other users (mode ${modeOf(info)}): ${howToClose(info)}, ${IF_USED}`,
    );
  }

  /** True if something belongs to the user of this process; on Windows always. */
  isOwn({ uid }: Deno.FileInfo): boolean {
    return this.#user === null || uid === this.#user;
  }

  /** Makes sure of what leads to a path, by following it as the system does, name after name; the path need not exist. */
  async checkWay(path: string): Promise<void> {
    if (this.#user === null) return;
    let at = "/";
    let rest = path.split("/");
    let links = 0;
    await this.#checkAbove(at);
    while (rest.length > 0) {
      const [name = "", ...others] = rest;
      rest = others;
      at = join(at, name);
      const target = await this.#checkLink(at);
      if (target !== null && ++links <= MAX_LINKS) {
        rest = [...target.split("/"), ...rest];
        at = isAbsolute(target) ? "/" : dirname(at);
      } else if (rest.length > 0) {
        await this.#checkAbove(at);
      }
    }
  }

  /** Returns the target of a link; `null` if it isn't a link, or can't be read. */
  async #checkLink(path: string): Promise<string | null> {
    const info = await statIfReadable(path);
    if (info === null || !info.isSymlink) return null;
    this.#checkOwner(path, info, ELSEWHERE);
    return await Deno.readLink(path);
  }

  async #checkAbove(path: string): Promise<void> {
    if (this.#checked.has(path)) return;
    const info = await statIfReadable(path);
    if (info === null) return;
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

/** How to restrict access; a directory that is shared by all must be left as it is. */
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
