/**
 * Parts of files as bodies that close their file.
 *
 * @module
 */

import type { FileHandle } from "node:fs/promises";
import { BodyIter } from "../base/body_iter.ts";
import type { OpenFile } from "./open_file.ts";

/** Up to so many bytes are read at once, and go out in one write with what precedes them. */
const SMALL_BYTES = 32768;
/** Bytes of each of the two buffers that a larger part goes through. */
const PIECE_BYTES = 524288;

const forgotten = new FinalizationRegistry<FileHandle>((handle) => {
  handle.close().catch(() => {});
});

/**
 * Makes a body of the bytes of a file from `start` up to, not including, `stop`; the file is
 * closed: at once where they are few, else once the body has been sent, cancelled, or collected.
 *
 * @throws {Error} where the file has become shorter.
 */
export async function makeFileBody(
  { handle }: OpenFile,
  start: number,
  stop: number,
): Promise<Uint8Array | BodyIter> {
  if (stop - start > SMALL_BYTES) {
    return new BodyIter(new FilePieces(handle, start, stop), stop - start);
  }
  try {
    const bytes = new Uint8Array(stop - start);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, start + length);
      if (bytesRead === 0) throw new Error("the file became shorter while it was read");
      length += bytesRead;
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

/**
 * The bytes in pieces, each valid until the next is asked for. While one is being sent the next is
 * being read. A file that became shorter ends early, which a body notices.
 *
 * An object instead of a generator, which could not close a file before it was started.
 */
class FilePieces implements AsyncIterableIterator<Uint8Array> {
  readonly #handle: FileHandle;
  readonly #stop: number;
  readonly #size: number;
  #position: number;
  #next: Promise<Uint8Array> | null = null;
  #buffer: Uint8Array | null = null;
  #otherBuffer: Uint8Array | null = null;
  #closed = false;

  constructor(handle: FileHandle, start: number, stop: number) {
    this.#handle = handle;
    this.#position = start;
    this.#stop = stop;
    this.#size = Math.min(PIECE_BYTES, stop - start);
    forgotten.register(this, handle, this);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#closed) return { done: true, value: undefined };
    try {
      const piece = await (this.#next ?? this.#read());
      this.#next = null;
      if (piece.length > 0) {
        if (this.#position < this.#stop) this.#readAhead();
        return { done: false, value: piece };
      }
    } catch (error) {
      await this.#close();
      throw error;
    }
    await this.#close();
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    await this.#close();
    return { done: true, value: undefined };
  }

  #readAhead(): void {
    this.#next = this.#read();
    // Whoever asks for the next piece gets the error; perhaps nobody does.
    this.#next.catch(() => {});
  }

  /** Reads into the buffer that is not being sent; nothing at the end. */
  async #read(): Promise<Uint8Array> {
    const buffer = this.#otherBuffer ?? new Uint8Array(this.#size);
    this.#otherBuffer = this.#buffer;
    this.#buffer = buffer;
    const length = Math.min(buffer.length, this.#stop - this.#position);
    if (length === 0) return buffer.subarray(0, 0);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, this.#position);
    this.#position += bytesRead;
    return buffer.subarray(0, bytesRead);
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    forgotten.unregister(this);
    // Its memory is in use until then.
    await this.#next?.catch(() => {});
    await this.#handle.close();
  }
}
