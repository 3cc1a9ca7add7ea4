/** A file that a peer names: opened, and no other, and its SHA-256. */

import { type BigIntStats, fstatSync, lstatSync } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { forgetOldest } from "../base/forget_oldest.ts";
import { codeOf, isMissing, isSameFile } from "../disk/names.ts";
import {
  type FileState,
  hashStart,
  isUnchanged,
  READ_FLAGS,
  SETTLED_MILLISECONDS,
  versionOf,
} from "./file_pieces.ts";
import { isReserved, isReservedName, prefixOf } from "./reserved.ts";

/** A file that is open for reading, with its state when it was opened. */
export interface OpenFile {
  readonly handle: FileHandle;
  /** Its path, without links. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Its metadata. */
  readonly state: FileState;
  /** When the metadata was read, or just before, in milliseconds since 1970. */
  readonly lookedAt: number;
}

/** What is at a path: a file, a directory, or nothing that may be seen. */
export type Found = OpenFile | "directory" | null;

/** A path without links, and the metadata of what is there. */
export interface Resolved {
  readonly real: string;
  readonly seen: BigIntStats;
}

/**
 * Opens the file at a path below a directory.
 *
 * A symbolic link is followed if it leads to a file in the directory. Everything else that
 * leads out of it, is not a regular file or can't be read, counts as absent. So does what has a reserved
 * name, or is below one.
 *
 * Between a check and the use of what was checked, another process can exchange a directory for a
 * link. So after the file was opened the path is checked again, several times: each time it must
 * lead to the same place, and to the same file. To get past that, an attacker must
 * exchange directory and link at exactly the right moments, within some microseconds. (Opening
 * a path component by component would rule this out, but Deno can't do that.)
 *
 * @param root The real path of the directory.
 * @param names The names from there to the file.
 */
export async function openBelow(root: string, names: readonly string[]): Promise<Found> {
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const resolved = await resolveBelow(root, names);
      if (resolved === null) return null;
      const { real, seen } = resolved;
      if (seen.isDirectory()) return "directory";
      if (!seen.isFile()) return null;
      const found = await openSame(prefixOf(root) + names.join("/"), real, seen);
      if (found !== "replaced") return found;
    }
    return null;
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

/**
 * Finds where a path below a directory leads to.
 *
 * @returns `null` if that is outside of the directory, or reserved.
 * @throws an error that {@linkcode isAbsence} recognizes if nothing is there.
 */
export async function resolveBelow(
  root: string,
  names: readonly string[],
): Promise<Resolved | null> {
  if (names.some(isReservedName)) return null;
  const real = await Deno.realPath(prefixOf(root) + names.join("/"));
  if (!isServed(root, real)) return null;
  // Checked before it is opened: opening a device can have effects.
  return { real, seen: await lstat(real, { bigint: true }) };
}

/** Reports whether a real path is in a directory, and nothing on it is reserved. */
export function isServed(root: string, real: string): boolean {
  if (real === root) return true;
  const prefix = prefixOf(root);
  if (!real.startsWith(prefix)) return false;
  let directory = root;
  for (const name of real.slice(prefix.length).split("/")) {
    if (isReserved(directory, name)) return false;
    directory = prefixOf(directory) + name;
  }
  return true;
}

/** How often opening is tried if the file is replaced, as by a PUT, at the same moment. */
const ATTEMPTS = 10;

async function openSame(
  path: string,
  real: string,
  seen: FileState,
): Promise<OpenFile | "replaced" | null> {
  // O_NOFOLLOW has an effect only if the program may read everything: otherwise Deno resolves the
  // links of a path before it opens their target, wherever that is. So nothing relies on it;
  // what matters is that the file that was opened is the one that was checked.
  const handle = await open(real, READ_FLAGS);
  let change: null | "replaced" | "moved" = "replaced";
  try {
    const lookedAt = Date.now();
    const state = await handle.stat({ bigint: true });
    if (state.isFile() && isSameFile(state, seen)) change = changeSince(path, real, state);
    if (change === null) return { handle, path: real, size: Number(state.size), state, lookedAt };
  } finally {
    if (change !== null) await handle.close();
  }
  return change === "replaced" ? change : null;
}

/** How often the path of an open file is checked. */
const LOOKS = 3;

/**
 * Checks the path of an open file: whether it is unchanged, or now leads to another file or
 * another place. Synchronous, to leave less time between two checks: a file that was just opened is in the cache.
 */
function changeSince(path: string, real: string, opened: FileState): null | "replaced" | "moved" {
  for (let look = 0; look < LOOKS; look++) {
    if (Deno.realPathSync(path) !== real) return "moved";
    if (!isSameFile(lstatSync(real, { bigint: true }), opened)) return "replaced";
  }
  return null;
}

/** Errors of what can't be served. ENXIO is the one for a socket, if one replaces the file. */
const NOT_SERVED: ReadonlySet<unknown> = new Set(["EACCES", "ELOOP", "ENAMETOOLONG", "ENXIO"]);

/** Reports whether an error means that nothing may be seen there. */
export function isAbsence(error: unknown): boolean {
  // The program may lack permission for a part of the directory; Deno does not check the targets of links.
  return isMissing(error) || error instanceof Deno.errors.NotCapable ||
    NOT_SERVED.has(codeOf(error));
}

/** The number of digests that are cached; a large directory must not fill the memory. */
const MAX_KEPT = 10_000;

/** The digests of files that have not changed since. */
export class KnownDigests {
  readonly #digests = new Map<string, string>();

  /** The SHA-256 of a file in hexadecimal digits; `null` if it is not known. */
  find({ state }: Pick<OpenFile, "state">): string | null {
    return this.#digests.get(versionOf(state)) ?? null;
  }

  /**
   * Keeps the digest of a file that was unchanged when its last byte was read. One that had changed just
   * before it was opened is not kept: a later change could have the same times.
   */
  remember({ state, lookedAt }: Pick<OpenFile, "state" | "lookedAt">, digest: string): void {
    const changed = Number(state.ctimeNs / 1_000_000n);
    if (changed > lookedAt - SETTLED_MILLISECONDS) return;
    this.#digests.set(versionOf(state), digest);
    forgetOldest(this.#digests, MAX_KEPT);
  }

  /**
   * Finds the digest, or else computes it; `null` if the file was changed meanwhile.
   *
   * @param signal Aborts it; it rejects with the reason.
   */
  async findOrCompute(file: OpenFile, signal?: AbortSignal): Promise<string | null> {
    const known = this.find(file);
    if (known !== null) return known;
    const changed = new Error();
    const check = () => signal?.throwIfAborted();
    try {
      const hash = await hashStart(file.handle, file.size, () => changed, check);
      const now = fstatSync(file.handle.fd, { bigint: true });
      if (!isUnchanged(file.state, now)) return null;
      const digest = hash.digest("hex");
      this.remember(file, digest);
      return digest;
    } catch (error) {
      if (error === changed) return null;
      throw error;
    }
  }
}
