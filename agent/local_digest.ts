/**
 * Digests of files of this device.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { hashPieces } from "../files/file_pieces.ts";

/** The SHA-256 of a file, as 64 lower-case hexadecimal digits. */
export async function localDigest(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  const file = await Deno.open(path, { read: true });
  await hashPieces(file.readable, hash, signal);
  return hash.digest("hex");
}
