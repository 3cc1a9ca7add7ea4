import { EMPTY_BYTES, writeAscii } from "../../internal/bytes.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";

const MIN_BUFFER_BYTES = 1024;
const BUFFER_GROWTH_FACTOR = 4;
const MAX_JOINED_BYTES = 65536;

/**
 * The buffer in which the preambles of all connections are formatted, each within one synchronous
 * call. `null` during such a call, because a getter of a header may make another request.
 */
let preambleBuffer: Uint8Array | null = null;

/** Returns the buffer for a preamble, which {@linkcode MessageBuffer.prototype.take} takes back. */
export function borrowPreambleBuffer(): Uint8Array {
  const buffer = preambleBuffer ?? new Uint8Array(MAX_PREAMBLE_BYTES);
  preambleBuffer = null;
  return buffer;
}

/** The preamble of a connection's message, and a small body, or the first part of a body. */
export class MessageBuffer {
  #bytes: Uint8Array = EMPTY_BYTES;
  /**
   * The part of `#bytes` that was sent last, reused because many messages have the same length.
   */
  #view: Uint8Array = EMPTY_BYTES;
  #usedBytes = 0;

  /**
   * Copies the preamble from the buffer of {@linkcode borrowPreambleBuffer}, which the caller must
   * not use afterward. If formatting the preamble fails, the caller need not call this method: the
   * next message gets a new buffer.
   */
  take(buffer: Uint8Array, length: number): void {
    this.#resize(length);
    // Not with set(), which would need a view of the preamble for each message.
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) bytes[i] = buffer[i]!;
    preambleBuffer = buffer;
  }

  /** Appends a small body to the preamble; returns the message, or `null` if it is too large. */
  append(length: number, bytes: Uint8Array, count: number = bytes.length): Uint8Array | null {
    const totalBytes = length + count;
    if (totalBytes > MAX_JOINED_BYTES) return null;
    this.#makeRoom(length, totalBytes);
    this.#bytes.set(bytes, length);
    return this.view(totalBytes);
  }

  /** Appends a text of ASCII characters, which is short: no array of its bytes is necessary. */
  appendText(length: number, text: string): Uint8Array {
    const totalBytes = length + text.length;
    this.#makeRoom(length, totalBytes);
    writeAscii(this.#bytes, length, text);
    return this.view(totalBytes);
  }

  #makeRoom(preambleBytes: number, totalBytes: number): void {
    if (totalBytes > this.#bytes.length) {
      const preamble = this.#bytes.subarray(0, preambleBytes);
      this.#resize(totalBytes);
      this.#bytes.set(preamble);
    }
    this.#usedBytes = totalBytes;
  }

  /** Fills the buffer behind the preamble with the start of a large body. */
  fill(length: number, body: Uint8Array): Uint8Array {
    this.#bytes.set(body.subarray(0, this.#bytes.length - length), length);
    return this.#bytes;
  }

  view(length: number): Uint8Array {
    if (this.#view.length !== length) this.#view = this.#bytes.subarray(0, length);
    return this.#view;
  }

  #resize(size: number): void {
    const { length } = this.#bytes;
    let newLength = length;
    if (this.#usedBytes * BUFFER_GROWTH_FACTOR <= length) {
      newLength = Math.floor(length / BUFFER_GROWTH_FACTOR);
    }
    if (newLength < MIN_BUFFER_BYTES) newLength = MIN_BUFFER_BYTES;
    while (newLength < size) newLength *= BUFFER_GROWTH_FACTOR;
    if (newLength !== length) {
      this.#bytes = new Uint8Array(newLength);
      this.#view = EMPTY_BYTES;
    }
    this.#usedBytes = size;
  }
}
