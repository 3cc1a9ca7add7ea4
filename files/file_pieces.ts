/**
 * A file, read piece by piece.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { EMPTY } from "../base/bytes.ts";
import { type FileIdentity, isSameFile } from "../disk/names.ts";
import { isUnchanged, SETTLED_MILLISECONDS } from "./file_state.ts";

/** Bytes of each of the two buffers for a file of this device. */
const PIECE_BYTES = 2097152;
/** The same for one that is served: there are many of them. */
const SERVED_BYTES = 524288;

/**
 * Yields the bytes of a file from `start` up to, not including, `stop`; each piece is valid until the
 * next is requested. While one is in use the next is being read.
 *
 * @param tooShort Creates the error for a file that ends before `stop`.
 * @param arrived Called with each piece as soon as it has been read, while the one before may still be in use.
 */
export async function* readPieces(
  file: Deno.FsFile | FileHandle,
  start: number,
  stop: number,
  tooShort: () => Error,
  arrived: (piece: Uint8Array) => void = () => {},
): AsyncGenerator<Uint8Array, void, void> {
  const isOurs = file instanceof Deno.FsFile;
  const size = Math.min(isOurs ? PIECE_BYTES : SERVED_BYTES, stop - start);
  let buffer: Uint8Array = new Uint8Array(size);
  let other: Uint8Array = EMPTY;
  let position = start;
  const read = async () => {
    const into = buffer.subarray(0, stop - position);
    const count = isOurs
      ? await file.read(into) ?? 0
      : (await file.read(into, 0, into.length, position)).bytesRead;
    if (count === 0) throw tooShort();
    arrived(into.subarray(0, count));
    return count;
  };
  if (isOurs) await file.seek(start, Deno.SeekMode.Start);
  let reading: Promise<number> | null = null;
  try {
    while (position < stop) {
      const count = await (reading ?? read());
      reading = null;
      const piece = buffer.subarray(0, count);
      position += count;
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

/**
 * Adds pieces to a hash.
 *
 * @param check Called before each piece; what it throws ends the hashing.
 */
export async function hashPieces(
  pieces: AsyncIterable<Uint8Array>,
  hash: Hash,
  check: () => void,
): Promise<void> {
  for await (const piece of pieces) {
    check();
    hash.update(piece);
  }
}

/** What nobody waits for: a FIFO that has just replaced a file would, until somebody writes. A link is not followed. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/**
 * Reads a small file at once.
 *
 * @param seen What has the path, and is a file.
 * @param buffer Gets the bytes.
 * @returns Its metadata; `null` if it has more bytes than the buffer, was replaced, or is being written.
 */
export function readSmall(
  path: string,
  seen: FileIdentity,
  buffer: Uint8Array,
): BigIntStats | null {
  const file = openSync(path, READ_FLAGS);
  try {
    const state = fstatSync(file, { bigint: true });
    return isSameFile(state, seen) && readOpen(file, state, buffer) ? state : null;
  } finally {
    closeSync(file);
  }
}

/**
 * Reads a small file that is open. Its times show a change only if they are older than it: what was changed just before is
 * read twice, and has to be the same.
 *
 * @returns False if it has more bytes than the buffer, or is being written.
 */
export function readOpen(file: number, state: BigIntStats, buffer: Uint8Array): boolean {
  const size = Number(state.size);
  if (!state.isFile() || size > buffer.length) return false;
  const bytes = buffer.subarray(0, size);
  const isSettled = Number(state.ctimeMs) + SETTLED_MILLISECONDS <= Date.now();
  if (!readInto(file, bytes)) return false;
  if (!isSettled) {
    const again = new Uint8Array(size);
    if (!readInto(file, again) || Buffer.compare(bytes, again) !== 0) return false;
  }
  return isUnchanged(state, fstatSync(file, { bigint: true }));
}

function readInto(file: number, buffer: Uint8Array): boolean {
  for (let length = 0; length < buffer.length;) {
    const count = readSync(file, buffer, length, buffer.length - length, length);
    if (count === 0) return false;
    length += count;
  }
  return true;
}
