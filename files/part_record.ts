/**
 * The record of a part: where it is from, and which version of which file it is.
 *
 * @module
 */

import { ifPresent, removeIfPresent } from "../disk/present.ts";

/** A part is resumed only if all of this is the same. */
export interface PartRecord {
  /** Where the file is: an authority, or an address. */
  readonly peer: string;
  /** Its URI. */
  readonly uri: string;
  /** Its strong entity tag. */
  readonly etag: string;
  /** In bytes. */
  readonly total: number;
  /** SHA-256 of the whole file, if it was known before all of it had arrived; else `null`. */
  readonly sha256: string | null;
  /** Bytes of the part that are synced to the disk, and not only in the memory of the system. */
  readonly synced: number;
}

const FORMAT = "degu-part/1";
/** A URI and an entity tag are from a preamble, which is no longer than this. */
const MAX_RECORD_BYTES = 65536;

/** Reads the record of a part; `null` if there is no valid one. */
export async function readRecord(part: string): Promise<PartRecord | null> {
  const path = recordPath(part);
  // Opening a FIFO would block.
  const info = await ifPresent(Deno.lstat(path));
  if (info === null || !info.isFile || info.size > MAX_RECORD_BYTES) return null;
  try {
    return asRecord(JSON.parse(await Deno.readTextFile(path)));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}

/**
 * Writes the record of a part atomically: a reader finds this one, or the one before.
 *
 * @returns The user who owns it, which is that of this process; `null` on Windows.
 */
export async function writeRecord(part: string, record: PartRecord): Promise<number | null> {
  const path = recordPath(part);
  const temporary = `${path}.tmp`;
  const text = JSON.stringify({ format: FORMAT, ...record });
  await removeIfPresent(temporary);
  await Deno.writeTextFile(temporary, text, { createNew: true, mode: 0o600 });
  const { uid } = await Deno.lstat(temporary);
  await Deno.rename(temporary, path);
  return uid;
}

/** Removes the record of a part, if there is one. */
export async function removeRecord(part: string): Promise<void> {
  await removeIfPresent(recordPath(part));
}

/** The path of the record of a part. */
export function recordPath(part: string): string {
  return `${part}.json`;
}

function asRecord(value: Record<string, unknown> | null): PartRecord | null {
  const { format, peer, uri, etag, total, sha256, synced } = value ?? {};
  if (format !== FORMAT || !isText(peer) || !isText(uri) || !isText(etag)) return null;
  if (!isCount(total) || !isCount(synced) || !(sha256 === null || isText(sha256))) return null;
  return { peer, uri, etag, total, sha256, synced };
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
