import { connectionErrorDetails } from "../connection_error_details.ts";
import { BodyError, ProtocolError } from "../errors.ts";
import {
  type ChunkHeader,
  ChunkScanner,
  incompleteChunksError,
  writeChunkHeader,
} from "../wire/chunk.ts";
import type { Framing } from "../wire/headers.ts";
import type { ReadBuffer } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface BodyDecoder {
  readonly framing: NonNullable<Framing>;
  /** The number of consumed bytes, including the framing of chunks. */
  readonly bytesRead: number;
  /** The number of remaining bytes: `Infinity` if it is unknown, 0 at the end. */
  readonly remainingBytes: number;
  /**
   * The number of bytes of data to read past the buffer: 0 if a read by way of the buffer is
   * faster.
   */
  readonly directBytes: number;
  /**
   * Consumes and checks buffered bytes, including the framing of chunks; returns a view of them.
   *
   * @param maxBytes The maximum number of bytes, which a chunked body may exceed.
   */
  take(buffer: ReadBuffer, maxBytes: number): Bytes;
  /** Copies buffered data to an array, without the framing of chunks; returns its size. */
  copy(buffer: ReadBuffer, into: Uint8Array): number;
  /** Counts bytes of {@linkcode directBytes} that were consumed without the decoder. */
  skipData(count: number): void;
  computeMinRemainingBytes(bufferedBytes: number): number;
  /**
   * Makes the error for a source that ends too early.
   *
   * @param isReceived Whether the source is a peer, and not a file or a stream of the program.
   * @param reason Why the peer may have ended the body, if this is known.
   */
  incompleteBodyError(isReceived: boolean, reason: string | null): Error;
}

/** Decodes a body with a content-length (RFC 9112 §6.2). */
export class LengthDecoder implements BodyDecoder {
  readonly framing: number;
  remainingBytes: number;

  constructor(contentLength: number) {
    this.framing = this.remainingBytes = contentLength;
  }

  get bytesRead(): number {
    return this.framing - this.remainingBytes;
  }

  get directBytes(): number {
    return this.remainingBytes;
  }

  take(buffer: ReadBuffer, maxBytes: number): Bytes {
    const bytes = buffer.takeView(Math.min(this.remainingBytes, maxBytes));
    this.remainingBytes -= bytes.length;
    return bytes;
  }

  copy(buffer: ReadBuffer, into: Uint8Array): number {
    if (buffer.bufferedBytes === 0) return 0;
    const bytes = this.take(buffer, into.length);
    into.set(bytes);
    return bytes.length;
  }

  skipData(count: number): void {
    this.remainingBytes -= count;
  }

  computeMinRemainingBytes(): number {
    return this.remainingBytes;
  }

  incompleteBodyError(isReceived: boolean, reason: string | null): Error {
    const { remainingBytes } = this;
    if (!isReceived) {
      return new BodyError(`the source ended ${remainingBytes} bytes before the content-length`);
    }
    const problem = `the peer closed ${remainingBytes} bytes before the end of the body`;
    const message = reason === null ? problem : `${problem}: ${reason}`;
    const error = new ProtocolError("BODY_INCOMPLETE", message);
    return connectionErrorDetails.set(error, { fault: "broken", missingBytes: remainingBytes });
  }
}

const MIN_DIRECT_BYTES = 65536;

/** Decodes a chunked body (RFC 9112 §7.1). */
export class ChunkDecoder implements BodyDecoder {
  readonly framing = "chunked";
  readonly #scanner = new ChunkScanner();

  get bytesRead(): number {
    return this.#scanner.consumedBytes;
  }

  get remainingBytes(): number {
    return this.#scanner.phase === "done" ? 0 : Infinity;
  }

  /** The data of the current chunk before the next framing. */
  get contiguousBytes(): number {
    return this.#scanner.remainingDataBytes;
  }

  /** One read into the buffer can receive several small chunks. */
  get directBytes(): number {
    const { contiguousBytes } = this;
    return contiguousBytes < MIN_DIRECT_BYTES ? 0 : contiguousBytes;
  }

  get header(): ChunkHeader {
    return this.#scanner.header;
  }

  /**
   * Writes the headers of chunks as Degu sends them, and drops the lines of the trailer, in the
   * buffer: the checked bytes may be sent on.
   */
  take(buffer: ReadBuffer): Bytes {
    const { bytes, start, end } = buffer;
    const scanner = this.#scanner;
    let position = start;
    let writtenEnd = start;
    for (;;) {
      const { phase } = scanner;
      const nextPosition = scanner.advance(bytes, position, end);
      if (nextPosition === -1) break;
      if (phase === "header" && !scanner.header.isPlain) {
        writtenEnd = writeChunkHeader(bytes, writtenEnd, scanner.header);
      } else if (phase !== "trailer" || scanner.phase === "done") {
        if (writtenEnd < position) bytes.copyWithin(writtenEnd, position, nextPosition);
        writtenEnd += nextPosition - position;
      }
      position = nextPosition;
    }
    const view = buffer.takeView(position - start);
    return writtenEnd < position ? view.subarray(0, writtenEnd - start) : view;
  }

  copy(buffer: ReadBuffer, into: Uint8Array): number {
    const scanner = this.#scanner;
    let count = 0;
    while (count < into.length) {
      if (scanner.phase === "data") {
        const maxBytes = Math.min(scanner.remainingDataBytes, into.length - count);
        const bytes = buffer.takeView(maxBytes);
        if (bytes.length === 0) break;
        scanner.skipData(bytes.length);
        into.set(bytes, count);
        count += bytes.length;
      } else if (!this.skipFraming(buffer)) break;
    }
    return count;
  }

  skipFraming(buffer: ReadBuffer): boolean {
    const nextPosition = this.#scanner.advance(buffer.bytes, buffer.start, buffer.end);
    if (nextPosition === -1) return false;
    buffer.start = nextPosition;
    return true;
  }

  skipData(count: number): void {
    this.#scanner.skipData(count);
  }

  computeMinRemainingBytes(bufferedBytes: number): number {
    return this.#scanner.computeMinRemainingBytes(bufferedBytes);
  }

  incompleteBodyError(isReceived: boolean, reason: string | null): Error {
    return incompleteChunksError(isReceived, reason);
  }
}
