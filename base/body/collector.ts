/**
 * Collects bytes in one array.
 *
 * @module
 */

import { MAX_UNSEEN_BYTES } from "../wire/limits.ts";

/** Growth factor for a size that was announced: the new buffer relative to what has arrived. */
const ANNOUNCED_GROWTH = 8;
/** The same where nobody knows the size: a buffer and the one before it are in memory at once. */
const UNKNOWN_GROWTH = 2;
/** Bytes of the first buffer where nobody knows the size. */
const UNKNOWN_BYTES = 4096;

/** Collects up to `size` bytes; memory grows with what has arrived, not with what was announced. */
export class Collector {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;
  readonly #size: number;
  readonly #growth: number;

  /**
   * Makes a collector.
   *
   * @param size How many bytes were announced.
   */
  constructor(size: number, first = MAX_UNSEEN_BYTES, growth = ANNOUNCED_GROWTH) {
    this.#size = size;
    this.#growth = growth;
    this.#bytes = new Uint8Array(Math.min(size, first));
  }

  /** Makes a collector of an unknown number of bytes, up to `most`. */
  static upTo(most: number): Collector {
    return new Collector(most, UNKNOWN_BYTES, UNKNOWN_GROWTH);
  }

  /** How many bytes have been collected. */
  get length(): number {
    return this.#length;
  }

  /** How many bytes are still wanted. */
  get missing(): number {
    return this.#size - this.#length;
  }

  /** Where the next bytes belong; never empty while some are missing. */
  room(): Uint8Array<ArrayBuffer> {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(Math.min(this.#size, this.#bytes.length * this.#growth));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return this.#length === 0 ? this.#bytes : this.#bytes.subarray(this.#length);
  }

  /** Copies bytes, no more than are missing. */
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

  /** Notes that bytes were put into the room. */
  add(count: number): void {
    this.#length += count;
  }

  /** What has been collected, in an array of its own. */
  collected(): Uint8Array<ArrayBuffer> {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length);
  }
}
