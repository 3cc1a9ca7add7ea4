/**
 * How much of a message the socket has taken.
 *
 * @module
 */

import type { Framing } from "../base/wire/headers.ts";

const CR = 0x0d, LF = 0x0a;

/** What comes next in a chunked body. */
type Part = "size" | "extension" | "data" | "end";

/**
 * Counts the bytes of data of one message as the socket takes them: neither its preamble nor the lines
 * between chunks. The bytes have been checked before, so nothing is checked here; it never throws.
 */
export class SentBytes {
  /** Bytes of data that were sent. */
  data = 0;
  /** When the first byte was sent, by `performance.now()`; `null` before. */
  firstByteAt: number | null = null;
  /** When the last byte so far was sent, likewise. */
  lastByteAt: number | null = null;
  #preamble: number;
  readonly #chunked: boolean;
  #part: Part = "size";
  #size = 0;
  #remaining = 0;

  /**
   * Counts one message.
   *
   * @param preamble Bytes of its preamble.
   */
  constructor(preamble: number, framing: Framing | undefined) {
    this.#preamble = preamble;
    this.#chunked = framing === "chunked";
  }

  /** The socket has taken the first `count` of these bytes. */
  add(bytes: Uint8Array, count: number): void {
    if (count === 0) return;
    this.lastByteAt = performance.now();
    this.firstByteAt ??= this.lastByteAt;
    const start = Math.min(this.#preamble, count);
    this.#preamble -= start;
    if (this.#chunked) this.#walk(bytes, start, count);
    else this.data += count - start;
  }

  #walk(bytes: Uint8Array, at: number, end: number): void {
    while (at < end) {
      if (this.#part !== "data") {
        this.#step(bytes[at++]!);
        continue;
      }
      const count = Math.min(this.#remaining, end - at);
      this.data += count;
      this.#remaining -= count;
      at += count;
      if (this.#remaining === 0) this.#part = "end";
    }
  }

  /** Moves past a byte of the line before a chunk's data, or after it. */
  #step(byte: number): void {
    if (byte === LF) {
      const isLine = this.#part !== "end";
      this.#remaining = this.#size;
      this.#size = 0;
      this.#part = isLine && this.#remaining > 0 ? "data" : "size";
    } else if (this.#part === "size") {
      const digit = byte === CR ? NaN : parseInt(String.fromCharCode(byte), 16);
      if (Number.isNaN(digit)) this.#part = "extension";
      else this.#size = this.#size * 16 + digit;
    }
  }
}
