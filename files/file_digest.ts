/**
 * SHA-256 of files: computed in pieces, and kept for files that have not changed.
 *
 * @module
 */

import { createHash, type Hash } from "node:crypto";
import { fstatSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { forgetOldest } from "../base/forget_oldest.ts";
import { type FileState, isUnchanged, SETTLED_MILLISECONDS, versionOf } from "./file_state.ts";
import type { OpenFile } from "./open_file.ts";

/** Bytes that are read at a time. */
const PIECE_BYTES = 524288;
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
}

/**
 * Computes the digest of a file that is open.
 *
 * @param signal Aborts it; it rejects with the reason.
 * @returns `null` if the file was changed meanwhile.
 */
export async function digestFile(file: OpenFile, signal?: AbortSignal): Promise<string | null> {
  const hash = createHash("sha256");
  await hashBytes(file.handle, file.size, hash, () => signal?.throwIfAborted());
  return isStill(file) ? hash.digest("hex") : null;
}

/** Reports whether an open file is unchanged since it was opened. */
export function isStill({ handle, state }: { handle: FileHandle; state: FileState }): boolean {
  return isUnchanged(state, fstatSync(handle.fd, { bigint: true }));
}

/**
 * Feeds the first bytes of a file to a hash; fewer if it ends before. While a piece is being hashed the next
 * is being read.
 *
 * @param check Called before each piece; what it throws ends the hashing.
 */
export async function hashBytes(
  handle: FileHandle,
  count: number,
  hash: Hash,
  check: () => void,
): Promise<void> {
  if (count === 0) return;
  const size = Math.min(PIECE_BYTES, count);
  let buffer = new Uint8Array(size);
  let otherBuffer = new Uint8Array(size);
  let position = 0;
  const read = () => handle.read(buffer, 0, Math.min(size, count - position), position);
  let reading = read();
  try {
    while (position < count) {
      const { bytesRead } = await reading;
      if (bytesRead === 0) return;
      check();
      const piece = buffer.subarray(0, bytesRead);
      position += bytesRead;
      [buffer, otherBuffer] = [otherBuffer, buffer];
      reading = read();
      hash.update(piece);
    }
  } finally {
    // The buffer is in use until then; and the caller closes the file.
    await reading.catch(() => {});
  }
}
