/**
 * Collects bytes in one array.
 *
 * @module
 */

import { MAX_UNSEEN_BYTES } from "../wire/limits.ts";

/** Growth factor for a size that was announced: the new buffer relative to what has arrived. */
const ANNOUNCED_GROWTH = 8;
/** The same for an unknown size: smaller, since the last buffer and the one before are both in memory. */
const UNKNOWN_GROWTH = 2;
/** Bytes of the first buffer for an unknown size. */
const UNKNOWN_BYTES = 4096;

/** Collects up to `size` bytes. Its memory grows with what has arrived, not with what was announced. */
export class Collector {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;
  readonly #size: number;
  readonly #growth: number;

  /**
   * Makes a collector.
   *
   * @param size How many bytes were announced.
   * @param first Bytes of the first buffer, at most.
   * @param growth How many times as large each buffer is as the one before, at most.
   */
  constructor(size: number, first = MAX_UNSEEN_BYTES, growth = ANNOUNCED_GROWTH) {
    this.#size = size;
    this.#growth = growth;
    this.#bytes = new Uint8Array(Math.min(size, first));
  }

  /** Makes a collector for an unknown number of bytes, up to `most`. */
  static upTo(most: number): Collector {
    return new Collector(most, UNKNOWN_BYTES, UNKNOWN_GROWTH);
  }

  /** How many bytes have been collected. */
  get length(): number {
    return this.#length;
  }

  /** How many bytes are still missing. */
  get missing(): number {
    return this.#size - this.#length;
  }

  /** Where to put the next bytes; never empty while some are missing. */
  room(): Uint8Array<ArrayBuffer> {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(Math.min(this.#size, this.#bytes.length * this.#growth));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return this.#length === 0 ? this.#bytes : this.#bytes.subarray(this.#length);
  }

  /** Copies bytes, which must not be more than are missing. */
  append(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const room = this.room();
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      this.add(piece.length);
      at += piece.length;
    }
  }

  /** Adds bytes that were put into the {@linkcode room}. */
  add(count: number): void {
    this.#length += count;
  }

  /** The bytes collected so far, in an array of their own. */
  collected(): Uint8Array<ArrayBuffer> {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length);
  }
}
