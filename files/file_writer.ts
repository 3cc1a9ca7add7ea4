import type { Hash } from "node:crypto";
import type { BodyIn, ByteSink } from "../base.ts";
import { ChunkedValidator } from "../base/wire/chunk.ts";
import type { TemporaryFile } from "./disk/temporary.ts";
import { POOLED_BYTES, releaseBuffer, takeBuffer } from "./disk/file_pieces.ts";
import { SHA256_BYTES } from "./wire/digest.ts";
import { Refusal } from "./refusal.ts";

const RECEIVED_PIECE_BYTES = 262144;

export interface BodyFile {
  /** The open file, at the position of the first byte. */
  readonly file: Pick<TemporaryFile, "write" | "waitUntilIdle">;
  readonly onWrite?: (count: number) => void;
  readonly start: number;
  /** The maximum position of the end of the body. */
  readonly limit: number;
  /** The length of the whole file in bytes; `null` if the client's headers don't have it. */
  readonly length: number | null;
  readonly hash: Hash | null;
  /** True if the last bytes of the body are the SHA-256 of the whole file. */
  readonly isDigestLast: boolean;
}

/**
 * @returns The digest at the end of the body; `null` if the body has no digest.
 * @throws the error of the body or the file; the file then has the bytes that were received before.
 */
export async function receiveBody(body: BodyIn, target: BodyFile): Promise<string | null> {
  const length = body === null ? 0 : body.chunked ? Infinity : body.contentLength;
  const writer = new FileWriter(target, length);
  try {
    await body?.writeTo(body.chunked ? new ChunkSink(writer) : writer);
  } finally {
    await writer.drain();
  }
  writer.checkEnd();
  return writer.digest;
}

class ChunkSink implements ByteSink {
  readonly pieceBytes = RECEIVED_PIECE_BYTES;
  readonly #writer: FileWriter;
  readonly #validator = new ChunkedValidator();
  /**
   * The joined data of the chunks of a write. For small chunks, a view of each chunk would use a
   * hundred times as much memory.
   */
  #data = new Uint8Array(0);

  constructor(writer: FileWriter) {
    this.#writer = writer;
  }

  async write(encoded: Uint8Array): Promise<void> {
    if (this.#data.length < encoded.length) this.#data = new Uint8Array(encoded.length);
    let length = 0;
    this.#validator.validate(encoded, (part, _header, bytes) => {
      if (part !== "data") return;
      this.#data.set(bytes, length);
      length += bytes.length;
    });
    await this.#writer.write(this.#data.subarray(0, length));
  }
}

/**
 * Writes and hashes bytes from one buffer, while further bytes are received into another buffer.
 * Received bytes are written at once, or together after the write in progress.
 */
class FileWriter implements ByteSink {
  readonly pieceBytes = RECEIVED_PIECE_BYTES;
  digest: string | null = null;
  readonly #target: BodyFile;
  readonly #capacity: number;
  readonly #digestBytes: number;
  #position: number;
  /** The position of the first buffered byte. */
  #bufferStart: number;
  #buffer: Uint8Array = new Uint8Array(0);
  #otherBuffer: Uint8Array = new Uint8Array(0);
  #bufferedBytes = 0;
  #pendingWrite: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(target: BodyFile, bytes: number) {
    this.#target = target;
    this.#position = this.#bufferStart = target.start;
    this.#digestBytes = target.isDigestLast ? SHA256_BYTES : 0;
    this.#capacity = Math.min(POOLED_BYTES, bytes);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { length, limit } = this.#target;
    const position = this.#position + bytes.length;
    const fileBytes = position - this.#digestBytes;
    if (fileBytes > (length ?? Infinity)) throw lengthMismatchRefusal(length);
    if (fileBytes > limit) throw new Refusal(413, `more than ${limit} bytes`);
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
    const unwritten = this.#buffer.subarray(0, this.#bufferedBytes);
    if (this.#target.isDigestLast) this.digest = unwritten.toHex();
    releaseBuffer(this.#buffer);
    releaseBuffer(this.#otherBuffer);
    this.#buffer = this.#otherBuffer = new Uint8Array(0);
    await this.#target.file.waitUntilIdle();
    if (this.#failure !== null) throw this.#failure.error;
  }

  checkEnd(): void {
    const { length } = this.#target;
    const fileBytes = this.#position - this.#digestBytes;
    if (length !== null && fileBytes !== length) throw lengthMismatchRefusal(length);
  }

  #copyToBuffer(bytes: Uint8Array, start: number): number {
    if (this.#buffer.length === 0) this.#buffer = takeBuffer(this.#capacity);
    const count = Math.min(bytes.length - start, this.#capacity - this.#bufferedBytes);
    this.#buffer.set(bytes.subarray(start, start + count), this.#bufferedBytes);
    this.#bufferedBytes += count;
    return count;
  }

  /** The number of buffered bytes that are, or may be, bytes of the digest. */
  get #heldBackBytes(): number {
    if (this.#digestBytes === 0) return 0;
    const { length } = this.#target;
    return length === null
      ? Math.min(this.#bufferedBytes, this.#digestBytes)
      : Math.max(0, this.#bufferStart + this.#bufferedBytes - length);
  }

  #writeBuffered(): void {
    const heldBackBytes = this.#heldBackBytes;
    const count = this.#bufferedBytes - heldBackBytes;
    if (count === 0) return;
    const piece = this.#buffer.subarray(0, count);
    const heldBack = this.#buffer.subarray(count, this.#bufferedBytes);
    [this.#buffer, this.#otherBuffer] = [this.#otherBuffer, this.#buffer];
    this.#bufferedBytes = 0;
    this.#bufferStart += count;
    if (heldBackBytes > 0) this.#copyToBuffer(heldBack, 0);
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
