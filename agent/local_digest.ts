/**
 * Digests of files of this device.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** The SHA-256 of a file, as 64 lower-case hexadecimal digits. */
export async function localDigest(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  const file = await Deno.open(path, { read: true });
  for await (const piece of file.readable) {
    signal?.throwIfAborted();
    hash.update(piece);
  }
  return hash.digest("hex");
}
