/**
 * SHA-256 of files: computed in pieces, and kept for files that have not changed.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { fstatSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { forgetOldest } from "../base/forget_oldest.ts";
import { hashPieces, readPieces } from "./file_pieces.ts";
import { type FileState, isUnchanged, SETTLED_MILLISECONDS, versionOf } from "./file_state.ts";
import type { OpenFile } from "./open_file.ts";

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

  /** The same of {@linkcode find}, or else computes it; `null` if the file was changed meanwhile. */
  async findOrCompute(file: OpenFile, signal?: AbortSignal): Promise<string | null> {
    const known = this.find(file);
    if (known !== null) return known;
    const digest = await digestFile(file, signal);
    if (digest !== null) this.remember(file, digest);
    return digest;
  }
}

/**
 * Computes the digest of a file that is open.
 *
 * @param signal Aborts it; it rejects with the reason.
 * @returns `null` if the file was changed meanwhile.
 */
export async function digestFile(file: OpenFile, signal?: AbortSignal): Promise<string | null> {
  const hash = createHash("sha256");
  const changed = new Error();
  try {
    const pieces = readPieces(file.handle, 0, file.size, () => changed);
    await hashPieces(pieces, hash, () => signal?.throwIfAborted());
  } catch (error) {
    if (error === changed) return null;
    throw error;
  }
  return isStill(file) ? hash.digest("hex") : null;
}

/** Reports whether an open file is unchanged since it was opened. */
export function isStill({ handle, state }: { handle: FileHandle; state: FileState }): boolean {
  return isUnchanged(state, fstatSync(handle.fd, { bigint: true }));
}
