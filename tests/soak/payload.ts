/** Bytes derived from a number, so that both ends can detect loss, change and duplication. */

import { crc32 } from "node:zlib";
import type { Chunk } from "@degu/degu/base";
import { concat } from "../support/streams.ts";

/** What is to be made: `size` bytes, which `seed` decides. */
export interface Payload {
  readonly seed: number;
  readonly size: number;
}

const BLOCK = 65536;

/** The bytes, in pieces of uneven lengths. */
export function* pieces({ seed, size }: Payload): Generator<Uint8Array<ArrayBuffer>> {
  let state = seed | 0;
  for (let made = 0; made < size;) {
    const words = new Uint32Array(1 + (state >>> 3) % (BLOCK / 4));
    for (let i = 0; i < words.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      words[i] = state;
    }
    const piece = new Uint8Array(words.buffer).subarray(0, size - made);
    made += piece.length;
    yield piece;
  }
}

/** The same as chunks, some of them with an extension, and the empty one. */
export function* chunks(payload: Payload): Generator<Chunk> {
  let index = 0;
  for (const piece of pieces(payload)) {
    yield [index % 3 === 0 ? ["index", String(index)] : null, piece];
    index++;
  }
  yield [["end", "yes"], new Uint8Array()];
}

export function whole(payload: Payload): Uint8Array {
  return concat(pieces(payload));
}

/** A checksum that grows with the pieces. */
export class Checksum {
  #value = 0;
  size = 0;

  add(piece: Uint8Array): void {
    this.#value = crc32(piece, this.#value);
    this.size += piece.length;
  }

  toString(): string {
    return `${this.size}-${this.#value.toString(16)}`;
  }
}

export function checksumOf(payload: Payload): string {
  const checksum = new Checksum();
  for (const piece of pieces(payload)) checksum.add(piece);
  return String(checksum);
}
