/**
 * A file, read piece by piece.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { readSync } from "node:fs";
import { SETTLED_MILLISECONDS } from "./file_state.ts";
import type { Hash } from "node:crypto";
import { EMPTY } from "../base/bytes.ts";

/** Bytes of each of the two buffers. */
const PIECE_BYTES = 2097152;

/**
 * Yields the bytes of a file from `start` up to, not including, `stop`; each piece is valid until the
 * next is requested. While one is in use the next is being read.
 *
 * @param tooShort Creates the error for a file that ends before `stop`.
 * @param arrived Called with each piece as soon as it has been read, while the one before may still be in use.
 */
export async function* readPieces(
  file: Deno.FsFile,
  start: number,
  stop: number,
  tooShort: () => Error,
  arrived: (piece: Uint8Array) => void = () => {},
): AsyncGenerator<Uint8Array, void, void> {
  const size = Math.min(PIECE_BYTES, stop - start);
  let buffer: Uint8Array = new Uint8Array(size);
  let other: Uint8Array = EMPTY;
  let position = start;
  const read = async () => {
    const into = buffer.subarray(0, stop - position);
    const count = await file.read(into);
    if (count !== null) arrived(into.subarray(0, count));
    return count;
  };
  await file.seek(start, Deno.SeekMode.Start);
  let reading: Promise<number | null> | null = null;
  try {
    while (position < stop) {
      const count = await (reading ?? read());
      reading = null;
      if (count === null) throw tooShort();
      const piece = buffer.subarray(0, count);
      position += piece.length;
      if (other.length === 0 && position < stop) other = new Uint8Array(size);
      [buffer, other] = [other, buffer];
      if (position < stop) {
        reading = read();
        // It is awaited before the next piece, and in the end.
        reading.catch(() => {});
      }
      yield piece;
    }
  } finally {
    // Its buffer, and the position of the file, are in use until then.
    await reading?.catch(() => {});
  }
}

/** Adds pieces to a hash; rejects with the signal's reason if that is aborted. */
export async function hashPieces(
  pieces: AsyncIterable<Uint8Array>,
  hash: Hash,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const piece of pieces) {
    signal?.throwIfAborted();
    hash.update(piece);
  }
}

/**
 * Reads a small file at once. Its times show a change only if they are older than it: what was changed just before is read
 * twice, and has to be the same.
 *
 * @param file An open file.
 * @param buffer Gets the bytes, as many as the file has.
 * @param ctimeMs When it was last changed, in milliseconds since 1970.
 * @returns False if it has fewer bytes, or is being written.
 */
export function readWhole(file: number, buffer: Uint8Array, ctimeMs: number): boolean {
  const isSettled = ctimeMs + SETTLED_MILLISECONDS <= Date.now();
  if (!readInto(file, buffer)) return false;
  if (isSettled) return true;
  const again = new Uint8Array(buffer.length);
  return readInto(file, again) && Buffer.compare(buffer, again) === 0;
}

function readInto(file: number, buffer: Uint8Array): boolean {
  for (let length = 0; length < buffer.length;) {
    const count = readSync(file, buffer, length, buffer.length - length, length);
    if (count === 0) return false;
    length += count;
  }
  return true;
}
