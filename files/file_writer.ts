/** Writes the body of a message to a file, at both ends. */

import type { Hash } from "node:crypto";
import type { BodyIn, ByteSink } from "../base.ts";
import { EMPTY_BYTES } from "../internal/bytes.ts";
import { ChunkedValidator, type ChunkHeader } from "../base/wire/chunk.ts";
import type { TemporaryFile } from "../internal/disk/temporary.ts";
import { DIGEST_EXTENSION } from "./digest.ts";
import { Refusal } from "./refusal.ts";

/** Bytes of each of the two buffers. */
const BUFFER_BYTES = 524288;
/** Bytes of a chunked body that are taken at a time. */
const CHUNKED_PIECE_BYTES = 262144;

/** The file that a body is written to, and its limits. */
export interface BodyFile {
  /** The open file, at the position of the first byte. */
  readonly file: Pick<TemporaryFile, "write" | "waitUntilIdle">;
  /** Called with the number of bytes of each write. */
  readonly onWrite?: (count: number) => void;
  /** The position of the first byte. */
  readonly start: number;
  /** The position that all bytes must stay below. */
  readonly limit: number;
  /** The bytes of the whole file, if they were announced. */
  readonly length: number | null;
  /** Hashes all bytes; `null` if their digest is not needed. */
  readonly hash: Hash | null;
}

/**
 * Writes a body into a file.
 *
 * @returns The digest that the last chunk of the body has; `null` if there is none.
 * @throws {Refusal} if the body has more bytes than allowed, or another number than was announced.
 * @throws the error of the body or the file; the bytes received before are then in the file.
 */
export async function receiveBody(body: BodyIn, target: BodyFile): Promise<string | null> {
  const length = body === null ? 0 : body.chunked ? Infinity : body.contentLength;
  const writer = new FileWriter(target, length);
  const chunks = body?.chunked ? new ChunkSink(writer) : null;
  try {
    await body?.writeTo(chunks ?? writer);
  } finally {
    await writer.drain();
  }
  writer.checkEnd();
  return chunks === null ? null : chunks.digest;
}

/** Takes the data out of the chunked coding. */
class ChunkSink implements ByteSink {
  readonly pieceBytes = CHUNKED_PIECE_BYTES;
  digest: string | null = null;
  readonly #writer: FileWriter;
  readonly #validator = new ChunkedValidator();
  /**
   * The data of the chunks of a write, joined: for small chunks, a view of each would use a hundred
   * times the memory.
   */
  #data = EMPTY_BYTES;

  constructor(writer: FileWriter) {
    this.#writer = writer;
  }

  async write(encoded: Uint8Array): Promise<void> {
    if (this.#data.length < encoded.length) this.#data = new Uint8Array(encoded.length);
    let length = 0;
    this.#validator.validate(encoded, (part, header, bytes) => {
      if (part === "line") return this.#readDigest(header);
      if (part !== "data") return;
      this.#data.set(bytes, length);
      length += bytes.length;
    });
    await this.#writer.write(this.#data.subarray(0, length));
  }

  /** Reads the digest of each chunk: in the end it is that of the last one. */
  #readDigest({ extension }: ChunkHeader): void {
    this.digest = extension?.[0] === DIGEST_EXTENSION ? extension[1] : null;
  }
}

/**
 * Writes bytes while more of them arrive: through two buffers, one of which is being written and
 * hashed. Bytes that arrive are written at once, or together after the write in progress.
 */
class FileWriter implements ByteSink {
  readonly #target: BodyFile;
  readonly #capacity: number;
  #position: number;
  #buffer = new Uint8Array(0);
  #otherBuffer = new Uint8Array(0);
  /** Bytes in the buffer that is not being written. */
  #bufferedBytes = 0;
  #pendingWrite: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(target: BodyFile, bytes: number) {
    this.#target = target;
    this.#position = target.start;
    this.#capacity = Math.min(BUFFER_BYTES, bytes);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { length, limit } = this.#target;
    const position = this.#position + bytes.length;
    if (position > (length ?? Infinity)) throw lengthMismatchRefusal(length);
    if (position > limit) throw new Refusal(413, `more than ${limit} bytes`);
    for (let bufferedCount = 0; bufferedCount < bytes.length;) {
      while (this.#bufferedBytes === this.#capacity) await this.#pendingWrite;
      if (this.#failure !== null) throw this.#failure.error;
      bufferedCount += this.#copyToBuffer(bytes, bufferedCount);
      if (this.#pendingWrite === null) this.#writeBuffered();
    }
    this.#position = position;
  }

  async drain(): Promise<void> {
    while (this.#pendingWrite !== null) await this.#pendingWrite;
    await this.#target.file.waitUntilIdle();
    if (this.#failure !== null) throw this.#failure.error;
  }

  checkEnd(): void {
    const { length } = this.#target;
    if (length !== null && this.#position !== length) throw lengthMismatchRefusal(length);
  }

  #copyToBuffer(bytes: Uint8Array, start: number): number {
    if (this.#buffer.length === 0) this.#buffer = new Uint8Array(this.#capacity);
    const count = Math.min(bytes.length - start, this.#capacity - this.#bufferedBytes);
    this.#buffer.set(bytes.subarray(start, start + count), this.#bufferedBytes);
    this.#bufferedBytes += count;
    return count;
  }

  /** Begins to write and hash the buffered bytes, and repeats that until the buffer is empty. */
  #writeBuffered(): void {
    const piece = this.#buffer.subarray(0, this.#bufferedBytes);
    [this.#buffer, this.#otherBuffer] = [this.#otherBuffer, this.#buffer];
    this.#bufferedBytes = 0;
    this.#pendingWrite = this.#writeAll(piece).then(() => {
      this.#pendingWrite = null;
      if (this.#bufferedBytes > 0) this.#writeBuffered();
    }, (error) => {
      this.#pendingWrite = null;
      this.#failure = { error };
      this.#bufferedBytes = 0;
    });
    this.#target.hash?.update(piece);
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    await this.#target.file.write(bytes);
    this.#target.onWrite?.(bytes.length);
  }
}

function lengthMismatchRefusal(length: number | null): Refusal {
  return new Refusal(400, `the file does not have the ${length} bytes that were announced`);
}
