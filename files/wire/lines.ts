/** The maximum length of a line with its line feed, so that a long line can't fill the memory. */
export const MAX_LINE_BYTES = 65536;

export const LINE_FEED = 0x0a;

/** Throws for a line that is not UTF-8. */
export const lineDecoder: TextDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A buffer for an incomplete line, or for the incomplete file that follows a line in a bundle. */
export class LineBuffer {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  length = 0;

  add(bytes: Uint8Array): void {
    const length = this.length + bytes.length;
    if (length > this.#bytes.length) {
      const largerBuffer = new Uint8Array(length * 2);
      largerBuffer.set(this.#bytes.subarray(0, this.length));
      this.#bytes = largerBuffer;
    }
    this.#bytes.set(bytes, this.length);
    this.length = length;
  }

  /** The result is valid until the next `add`. */
  take(bytes: Uint8Array): Uint8Array {
    if (this.length === 0) return bytes;
    this.add(bytes);
    const bufferedBytes = this.#bytes.subarray(0, this.length);
    this.length = 0;
    return bufferedBytes;
  }

  takeLine(
    piece: Uint8Array,
    start: number,
    makeTooLongError: () => Error,
  ): { readonly line: Uint8Array; readonly nextPosition: number } | null {
    const lineFeedPosition = piece.indexOf(LINE_FEED, start);
    const bytes = piece.subarray(start, lineFeedPosition < 0 ? undefined : lineFeedPosition);
    if (this.length + bytes.length >= MAX_LINE_BYTES) throw makeTooLongError();
    if (lineFeedPosition >= 0) {
      return { line: this.take(bytes), nextPosition: lineFeedPosition + 1 };
    }
    this.add(bytes);
    return null;
  }
}
