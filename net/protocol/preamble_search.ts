import type { ReadBuffer } from "../../base/body/byte_io.ts";
import { ConnectionError } from "../../base/errors.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import {
  type CheckPrefix,
  findPreambleEnd,
  preambleTooLargeError,
} from "../../base/wire/preamble.ts";

const CR = 0x0d, LF = 0x0a;

/** Searches the preambles of a connection, one after the other, in the received bytes. */
export class PreambleSearch {
  readonly buffer: ReadBuffer;
  readonly #checkPrefix: CheckPrefix;
  #searchedBytes = 0;
  #isLineSkipped = false;

  /** @param checkPrefix Throws if no valid preamble begins with the given bytes. */
  constructor(buffer: ReadBuffer, checkPrefix: CheckPrefix) {
    this.buffer = buffer;
    this.#checkPrefix = checkPrefix;
  }

  /** Whether no byte of the next preamble was found yet. */
  get isAtStart(): boolean {
    return this.#searchedBytes === 0;
  }

  /** Grows at the first byte: from 0, or after an empty line from 1. */
  get step(): number {
    return (this.isAtStart ? 0 : 1) + (this.#isLineSkipped ? 1 : 0);
  }

  /** Throws if the connection ends within a preamble. */
  checkEnd(): void {
    if (this.isAtStart) return;
    const problem = "the peer closed the connection within a preamble";
    throw new ConnectionError(problem, { fault: "broken", code: "PREAMBLE_INCOMPLETE" });
  }

  /** @returns The position of its end, or -1 if more bytes are needed. */
  findEnd(): number {
    const { buffer } = this;
    const searchStart = buffer.start + Math.max(0, this.#searchedBytes - 3);
    const preambleEnd = findPreambleEnd(buffer.bytes, searchStart, buffer.end);
    const size = preambleEnd < 0 ? buffer.bufferedBytes + 1 : preambleEnd - buffer.start;
    // Don't check a whole preamble: the errors of the parser are better.
    if (buffer.bufferedBytes > 0 && (preambleEnd < 0 || size > MAX_PREAMBLE_BYTES)) {
      const { bytes, start } = buffer;
      // Check at most this prefix: the response must not depend on how the bytes arrive.
      const prefixEnd = Math.min(buffer.end, start + MAX_PREAMBLE_BYTES);
      this.#checkPrefix(bytes, start, start + this.#searchedBytes, prefixEnd);
    }
    if (size > MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
    if (preambleEnd < 0) this.needMore();
    else this.end();
    return preambleEnd;
  }

  /**
   * Skips one empty line before the preamble (RFC 9112 §2.2): some clients send it after a body.
   */
  protected skipEmptyLine(): void {
    const { bytes, start, bufferedBytes } = this.buffer;
    if (this.#isLineSkipped || bufferedBytes < 2) return;
    if (bytes[start] !== CR || bytes[start + 1] !== LF) return;
    this.buffer.start += 2;
    this.#searchedBytes = 0;
    this.#isLineSkipped = true;
  }

  /** Takes the buffered bytes, and the next ones, as bytes of the current preamble. */
  protected needMore(): void {
    this.#searchedBytes = this.buffer.bufferedBytes;
  }

  protected end(): void {
    this.#searchedBytes = 0;
    this.#isLineSkipped = false;
  }
}
