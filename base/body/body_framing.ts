import { isOutOfBounds, makePlainView } from "../../internal/bytes.ts";
import { checkInteger, checkUint8Array } from "../../internal/checks.ts";
import { BodyError, ConnectionError } from "../errors.ts";
import {
  type Chunk,
  ChunkedValidator,
  type ChunkHeader,
  ChunkScanner,
  encodeChunk,
  incompleteChunksError,
  prepareChunk,
  type PreparedChunk,
  prepareSourceChunk,
  type RangeChecker,
  writeChunkHeader,
} from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES, MAX_LENGTH } from "../wire/limits.ts";
import { Collector, type ReadBuffer } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export type BodyDecoder = LengthDecoder | ChunkDecoder;

/** Decodes a body with a content-length (RFC 9112 §6.2). */
export class LengthDecoder {
  readonly framing: number;
  /** The number of remaining bytes: `Infinity` if it is unknown, 0 at the end. */
  remainingBytes: number;

  constructor(contentLength: number) {
    this.framing = this.remainingBytes = contentLength;
  }

  /** The number of consumed bytes, including the framing of chunks. */
  get bytesRead(): number {
    return this.framing - this.remainingBytes;
  }

  /** The cost of the chunks, for a program that reads each. */
  get readCost(): number {
    return 0;
  }

  /** The bytes of data to read past the buffer: 0 if a read by way of the buffer is faster. */
  get directBytes(): number {
    return this.remainingBytes;
  }

  /**
   * Consumes and checks buffered bytes, including the framing of chunks; returns a view of them.
   *
   * @param maxBytes The maximum number of bytes, which a chunked body may exceed.
   */
  take(buffer: ReadBuffer, maxBytes: number): Bytes {
    const bytes = buffer.takeView(Math.min(this.remainingBytes, maxBytes));
    this.remainingBytes -= bytes.length;
    return bytes;
  }

  /** Copies buffered data to an array, without the framing of chunks; returns its size. */
  copy(buffer: ReadBuffer, into: Uint8Array): number {
    if (buffer.bufferedBytes === 0) return 0;
    const bytes = this.take(buffer, into.length);
    into.set(bytes);
    return bytes.length;
  }

  /** Counts bytes of {@linkcode directBytes} that were consumed without the decoder. */
  skipData(count: number): void {
    this.remainingBytes -= count;
  }

  computeMinRemainingBytes(): number {
    return this.remainingBytes;
  }

  /**
   * Makes the error for a source that ends too early.
   *
   * @param isReceived Whether the source is a peer, and not a file or a stream of the program.
   * @param reason Why the peer may have ended the body, if this is known.
   */
  incompleteBodyError(isReceived: boolean, reason: string | null): Error {
    const { remainingBytes } = this;
    if (!isReceived) {
      return new BodyError(`the source ended ${remainingBytes} bytes before the content-length`);
    }
    const problem = `the peer closed ${remainingBytes} bytes before the end of the body`;
    const message = reason === null ? problem : `${problem}: ${reason}`;
    return new ConnectionError(message, {
      fault: "broken",
      code: "BODY_INCOMPLETE",
      missingBytes: remainingBytes,
    });
  }
}

const MIN_DIRECT_BYTES = 65536;
/**
 * The maximum cost of a piece, in chunks without an extension: more small chunks of a large buffer
 * would keep other connections waiting.
 */
const MAX_PIECE_COST = 4096;
/** The cost of a chunk without an extension that a program reads as a chunk. */
export const READ_CHUNK_COST = 16;

/** Decodes a chunked body (RFC 9112 §7.1). */
export class ChunkDecoder {
  readonly framing = "chunked";
  readonly #scanner: ChunkScanner;

  /** @param allowsPadding Whether spaces and tabs may follow a chunk header. */
  constructor(allowsPadding = false) {
    this.#scanner = new ChunkScanner(allowsPadding);
  }

  get bytesRead(): number {
    return this.#scanner.consumedBytes;
  }

  get readCost(): number {
    // The scanner counts 1 for each chunk without an extension.
    return this.#scanner.cost + (READ_CHUNK_COST - 1) * this.#scanner.chunkCount;
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

  checkRange(checker: RangeChecker): void {
    this.#scanner.rangeChecker = checker;
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
    const maxCost = scanner.cost + MAX_PIECE_COST;
    while (scanner.cost < maxCost) {
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
    const maxCost = scanner.cost + MAX_PIECE_COST;
    // Don't return without data that has arrived: the caller would wait for more.
    while (count < into.length && (count === 0 || scanner.cost < maxCost)) {
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

export function checkContentLength(contentLength: number): void {
  checkInteger("contentLength", contentLength, 0, MAX_LENGTH);
}

/** Compares bytes with a content-length, and retains the last bytes until the source has ended. */
export class ContentLengthChecker {
  readonly #contentLength: number;
  readonly #retainsLast: boolean;
  #remaining: number;
  #lastBytes: Uint8Array | null = null;

  constructor(contentLength: number, retainsLast = true) {
    checkContentLength(contentLength);
    this.#contentLength = this.#remaining = contentLength;
    this.#retainsLast = retainsLast;
  }

  count(item: Uint8Array): Uint8Array | null {
    const bytes = makePlainView(item);
    if (bytes.length > this.#remaining) {
      throw new BodyError(
        `the source has more than the content-length of ${this.#contentLength} bytes`,
      );
    }
    if (bytes.length === 0) return null;
    this.#remaining -= bytes.length;
    if (this.#remaining > 0 || !this.#retainsLast) return bytes;
    // The source may reuse the memory for the next item, so the bytes are copied.
    this.#lastBytes = bytes.slice();
    return null;
  }

  finish(): Uint8Array | null {
    if (this.#remaining === 0) return this.#lastBytes;
    throw new BodyError(`the source ended ${this.#remaining} bytes before the content-length`);
  }
}

function makeLengthTransformer(
  contentLength: number,
  retainsLast: boolean,
): Transformer<Uint8Array, Uint8Array> {
  const checker = new ContentLengthChecker(contentLength, retainsLast);
  return {
    transform(item, controller) {
      checkUint8Array("chunk", item);
      const bytes = checker.count(item);
      if (bytes !== null) controller.enqueue(bytes);
    },
    flush(controller) {
      const lastBytes = checker.finish();
      if (lastBytes !== null) controller.enqueue(lastBytes);
    },
  };
}

/**
 * A transform stream for bytes to send. The stream errors unless exactly `contentLength` bytes are
 * written to it. The last piece is forwarded when the source has ended, so a source with a wrong
 * length never makes a complete message.
 *
 * @example
 * ```ts
 * import { LengthEncoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const stream = new Blob(["hello"]).stream().pipeThrough(new LengthEncoderStream(5));
 * const text = await new Response(stream).text();
 * assertEquals(text, "hello");
 * ```
 */
export class LengthEncoderStream extends TransformStream<Uint8Array, Uint8Array> {
  /**
   * Makes the stream.
   *
   * @param contentLength The number of bytes that must be written.
   * @throws {TypeError} if the length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(contentLength: number) {
    super(makeLengthTransformer(contentLength, true));
  }
}

/**
 * A transform stream for received bytes. The stream errors unless exactly `contentLength` bytes are
 * written to it. Unlike {@linkcode LengthEncoderStream}, it forwards the last piece at once.
 */
export class LengthDecoderStream extends TransformStream<Uint8Array, Uint8Array> {
  /**
   * Makes the stream.
   *
   * @param contentLength The number of bytes that must be written.
   * @throws {TypeError} if the length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(contentLength: number) {
    super(makeLengthTransformer(contentLength, false));
  }
}

/**
 * A transform stream from bytes, or chunks with extensions, to the chunked coding. Empty byte
 * arrays are skipped. The last chunk is added at the end unless it was written.
 *
 * @example
 * ```ts
 * import { ChunkedEncoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const stream = ReadableStream.from([new TextEncoder().encode("hello")])
 *   .pipeThrough(new ChunkedEncoderStream());
 * const text = await new Response(stream).text();
 * assertEquals(text, "5\r\nhello\r\n0\r\n\r\n");
 * ```
 */
export class ChunkedEncoderStream
  extends TransformStream<Uint8Array | Chunk, Uint8Array<ArrayBuffer>> {
  /**
   * Makes the stream, which errors at a chunk that can't be sent or that follows the last chunk.
   */
  constructor() {
    let lastChunk: PreparedChunk | null = null;
    super({
      transform(item, controller) {
        if (item instanceof Uint8Array && item.length === 0 && !isOutOfBounds(item)) return;
        if (lastChunk !== null) throw new BodyError("a chunk after the last one");
        const chunk = prepareSourceChunk(item instanceof Uint8Array ? [null, item] : item);
        // Retain the last chunk until the end: it would complete a message that may still fail.
        if (chunk.size === 0) lastChunk = chunk;
        else controller.enqueue(encodeChunk(chunk));
      },
      flush(controller) {
        controller.enqueue(encodeChunk(lastChunk ?? prepareChunk([null, new Uint8Array(0)])));
      },
    });
  }
}

/**
 * A transform stream from the chunked coding to chunks, including the empty last chunk. A chunk of
 * more than 16777216 bytes becomes several, of which the first has the extension. Invalid bytes
 * are a `ProtocolError`, bytes after the last chunk a `BodyError`.
 *
 * @example
 * ```ts
 * import { ChunkedDecoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const encoded = new Blob(["5;key=value\r\nhello\r\n0\r\n\r\n"]).stream();
 * const extensions = [];
 * for await (const [extension] of encoded.pipeThrough(new ChunkedDecoderStream())) {
 *   extensions.push(extension);
 * }
 * assertEquals(extensions, [["key", "value"], null]);
 * ```
 */
export class ChunkedDecoderStream
  extends TransformStream<Uint8Array, Chunk<Uint8Array<ArrayBuffer>>> {
  /** Makes the stream. */
  constructor() {
    const validator = new ChunkedValidator();
    let data = new Collector(0);
    let extension: Chunk[0] = null;
    let remainingBytes = 0;
    const startChunk = (newExtension: Chunk[0], size: number) => {
      extension = newExtension;
      remainingBytes = size;
      data = new Collector(Math.min(size, MAX_CHUNK_BYTES));
    };
    super({
      transform(bytes, controller) {
        checkUint8Array("chunk", bytes);
        validator.validate(bytes, (part, header, piece) => {
          if (part === "header") {
            startChunk(header.extension, header.size);
          } else if (part === "data") {
            for (let start = 0; start < piece.length;) {
              if (data.missingBytes === 0) {
                controller.enqueue([extension, data.toBytes()]);
                startChunk(null, remainingBytes);
              }
              const part = piece.subarray(start, start + data.missingBytes);
              data.append(part);
              start += part.length;
              remainingBytes -= part.length;
            }
          } else if (part === "crlf" || validator.isComplete) {
            controller.enqueue([extension, data.toBytes()]);
          }
        });
      },
      flush() {
        validator.finish();
      },
    });
  }
}
