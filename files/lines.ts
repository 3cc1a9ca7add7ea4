/** Lines that arrive in pieces: those of bundles and of lists. */

import { EMPTY_BYTES } from "../internal/bytes.ts";

/** The most bytes of a line, with its line feed: a peer can't fill the memory by one. */
export const MAX_LINE_BYTES = 65536;

export const LINE_FEED = 0x0a;

/** The bytes of an incomplete line, or of the incomplete content behind a line. */
export class LineBuffer {
  #bytes: Uint8Array<ArrayBuffer> = EMPTY_BYTES;
  /** The number of bytes that are buffered. */
  length = 0;

  add(part: Uint8Array): void {
    const length = this.length + part.length;
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(length * 2);
      larger.set(this.#bytes.subarray(0, this.length));
      this.#bytes = larger;
    }
    this.#bytes.set(part, this.length);
    this.length = length;
  }

  /** Returns the buffered bytes and this part behind them; valid until more bytes are added. */
  take(part: Uint8Array): Uint8Array {
    if (this.length === 0) return part;
    this.add(part);
    const whole = this.#bytes.subarray(0, this.length);
    this.length = 0;
    return whole;
  }

  /**
   * Takes the rest of a line from a position of a piece on, and returns the line without its line
   * feed and the position behind it; `null` if the line goes on in the next piece.
   *
   * @param tooLong Creates the error for a line of more than {@linkcode MAX_LINE_BYTES}.
   */
  takeLine(
    piece: Uint8Array,
    start: number,
    tooLong: () => Error,
  ): { readonly line: Uint8Array; readonly end: number } | null {
    const stop = piece.indexOf(LINE_FEED, start);
    const part = piece.subarray(start, stop < 0 ? undefined : stop);
    if (this.length + part.length >= MAX_LINE_BYTES) throw tooLong();
    if (stop >= 0) return { line: this.take(part), end: stop + 1 };
    this.add(part);
    return null;
  }
}
