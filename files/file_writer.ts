/**
 * Writes the body of a request to a file.
 *
 * @module
 */

import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { BodyIn } from "../base/body/bodies.ts";
import type { ByteSink } from "../base/body/byte_io.ts";
import { Refusal } from "./refusal.ts";

/** Bytes that are written at a time. */
const PIECE_BYTES = 524288;

/** The destination of a body. */
export interface Destined {
  readonly handle: FileHandle;
  /** The position of the first byte. */
  readonly start: number;
  /** The position that the last byte must stay below. */
  readonly limit: number;
  /** Hashes all bytes; `null` if their digest is not needed. */
  readonly hash: Hash | null;
}

/**
 * Writes a body into a file.
 *
 * @throws {Refusal} if it has more bytes than allowed.
 * @throws the error of the body or the file; the bytes received before are then in the file.
 */
export async function receive(body: BodyIn, destined: Destined): Promise<void> {
  if (body === null) return;
  const writer = new FileWriter(destined);
  try {
    if (!body.chunked) await body.writeTo(writer);
    else for await (const [, data] of body) await writer.write(data);
  } finally {
    await writer.settle();
  }
}

/**
 * Writes the given bytes while the next ones arrive: through two buffers, of which one is
 * being written, and hashed meanwhile.
 */
class FileWriter implements ByteSink {
  readonly #handle: FileHandle;
  readonly #limit: number;
  readonly #hash: Hash | null;
  #position: number;
  #buffer = new Uint8Array(0);
  #otherBuffer = new Uint8Array(0);
  #writing: Promise<void> = Promise.resolve();

  constructor({ handle, start, limit, hash }: Destined) {
    this.#handle = handle;
    this.#position = start;
    this.#limit = limit;
    this.#hash = hash;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.#limit - this.#position) {
      throw new Refusal(413, `more than ${this.#limit} bytes`);
    }
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      await this.#writePiece(bytes.subarray(start, start + PIECE_BYTES));
    }
  }

  /** Waits until everything is in the file. */
  settle(): Promise<void> {
    return this.#writing;
  }

  async #writePiece(bytes: Uint8Array): Promise<void> {
    const copy = this.#copy(bytes);
    await this.#writing;
    this.#writing = this.#writeAll(copy, this.#position);
    // The next write gets the error, or the final wait.
    this.#writing.catch(() => {});
    this.#position += copy.length;
    this.#hash?.update(copy);
  }

  /** Copies bytes into the buffer that is not being written. */
  #copy(bytes: Uint8Array): Uint8Array {
    const buffer = this.#otherBuffer.length < bytes.length
      ? new Uint8Array(bytes.length)
      : this.#otherBuffer;
    this.#otherBuffer = this.#buffer;
    this.#buffer = buffer;
    buffer.set(bytes);
    return buffer.subarray(0, bytes.length);
  }

  async #writeAll(bytes: Uint8Array, position: number): Promise<void> {
    let written = 0;
    while (written < bytes.length) {
      const { bytesWritten } = await this.#handle.write(
        bytes,
        written,
        bytes.length - written,
        position + written,
      );
      written += bytesWritten;
    }
  }
}
