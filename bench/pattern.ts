/**
 * The bytes of large bodies: a repeated random block of 1 MiB. A receiver compares a few bytes of
 * each piece and counts all bytes, and so detects lost, duplicated and shifted bytes.
 */

import { Buffer } from "node:buffer";
import { Random } from "../tests/fuzz/random.ts";

const blockLength = 1 << 20;
const random = new Random(1);
/** The repeated block of every large body. Don't modify it. */
const block = Uint8Array.from({ length: blockLength }, () => random.below(256));

/** The source of a large body, which is read into buffers or as pieces. */
export class PatternSource {
  #position = 0;

  constructor(readonly total: number) {}

  /** Fills `buffer`, at the end only a part of it; returns the length, or `null` after the end. */
  read(buffer: Uint8Array): Promise<number | null> {
    const count = Math.min(buffer.length, this.total - this.#position);
    if (count === 0) return Promise.resolve(null);
    let filled = 0;
    while (filled < count) {
      const offset = (this.#position + filled) % blockLength;
      const part = block.subarray(offset, Math.min(blockLength, offset + count - filled));
      buffer.set(part, filled);
      filled += part.length;
    }
    this.#position += count;
    return Promise.resolve(count);
  }

  /** Yields pieces of `length` bytes, which are views of the block; the last may be shorter. */
  *pieces(length: number): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    while (this.#position < this.total) {
      const offset = this.#position % blockLength;
      const size = Math.min(length, this.total - this.#position, blockLength - offset);
      this.#position += size;
      yield block.subarray(offset, offset + size);
    }
  }
}

/** Checks the bytes of a large body as they arrive, in pieces of any size. */
export class PatternChecker {
  #position = 0;

  constructor(
    private readonly total: number,
    private readonly period: Uint8Array = block,
    private readonly tail: Uint8Array = new Uint8Array(),
  ) {}

  /** Counts a piece and compares its first, middle and last byte. */
  check(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#compare(piece, 0);
    this.#compare(piece, piece.length >> 1);
    this.#compare(piece, piece.length - 1);
    this.#position += piece.length;
  }

  /** Does the same as {@linkcode PatternChecker.check}, as the method of a `ByteSink`. */
  write(piece: Uint8Array): Promise<void> {
    this.check(piece);
    return Promise.resolve();
  }

  /** Throws if the checked pieces don't have the total length. */
  checkLength(): void {
    if (this.#position !== this.total) {
      throw new Error(`expected a body of ${this.total} bytes, not ${this.#position}`);
    }
  }

  #compare(piece: Uint8Array, index: number): void {
    const position = this.#position + index;
    const tailStart = this.total - this.tail.length;
    const expected = position < tailStart
      ? this.period[position % this.period.length]
      : this.tail[position - tailStart];
    if (piece[index] !== expected) {
      throw new Error(`the body differs from what was sent at byte ${position}`);
    }
  }
}

/**
 * Makes a checker for the chunked coding of a body, whose length must be a multiple of 1 MiB.
 */
export function makeEncodedChecker(total: number, pieceLength: number): PatternChecker {
  const head = Buffer.from(`${pieceLength.toString(16)}\r\n`);
  const chunks: Uint8Array[] = [];
  for (let offset = 0; offset < blockLength; offset += pieceLength) {
    chunks.push(head, block.subarray(offset, offset + pieceLength), Buffer.from("\r\n"));
  }
  const period = Buffer.concat(chunks);
  const tail = Buffer.from("0\r\n\r\n");
  return new PatternChecker(total / blockLength * period.length + tail.length, period, tail);
}

/** Formats the number of bytes that starts a raw transfer. */
export function formatAmount(byteCount: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigUint64Array.of(BigInt(byteCount)).buffer);
}

export function parseAmount(prefix: Uint8Array): number {
  return Number(new BigUint64Array(prefix.slice(0, 8).buffer)[0]);
}
