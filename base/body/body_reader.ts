/** The readers of bodies, of known length and chunked. `body.ts` has an overview. */

import { EMPTY_BYTES } from "../../internal/bytes.ts";
import { checkInteger, copyOptions } from "../../internal/checks.ts";
import { isInstance } from "../../internal/error_details.ts";
import { connectionErrorDetails } from "../connection_error_details.ts";
import { BodyError, ProtocolError } from "../errors.ts";
import { type Chunk, ChunkScanner, incompleteChunksError } from "../wire/chunk.ts";
import type { Framing } from "../wire/headers.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodyOutcome, type BodySource, SOURCE_KINDS } from "./body_source.ts";
import { BodyState } from "./body_state.ts";
import { Collector, type OpenSink, type ReadBuffer } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Converts bytes, before the next read changes the buffer.
 *
 * @param hasOwnMemory Whether the bytes are outside of the buffer.
 */
export type BytesConverter<Value> = (bytes: Bytes, hasOwnMemory: boolean) => Value;

/** Copies the bytes, unless they already have memory of their own that the program can keep. */
export const copyIfShared: BytesConverter<Bytes> = (bytes, hasOwnMemory) =>
  hasOwnMemory ? bytes : bytes.slice();

/** Whether a sink keeps the pieces of a body, and its preferred number of bytes of a piece. */
type SinkPreferences = Pick<OpenSink, "keepsBytes" | "pieceBytes">;

/** The preferences for pieces that a program gets, and may keep. */
const PROGRAM_PREFERENCES: SinkPreferences = { keepsBytes: true };

/**
 * The maximum size of a piece of an iterated or streamed body, and of the first piece for a sink.
 */
const PIECE_BYTES = 65536;
/** The factor by which the buffer grows after a piece that has filled more than half of it. */
const GROWTH_FACTOR = 4;

/**
 * Reads a body from its source, in the framing of a subclass: first the buffered bytes, then
 * directly from the source, and never beyond the body. After an error, a reader must not be used
 * again.
 *
 * Reads return a promise only if they must wait for bytes, because each await costs a tick of the
 * event loop.
 */
export abstract class BodyReader extends BodyState {
  /** Whether the last byte was read, and the source has ended if it must end with the body. */
  isDone = false;
  protected readonly source: BodySource;
  protected readonly buffer: ReadBuffer;
  /** The size of the last piece that was a view of the buffer. */
  #lastViewBytes = 0;

  /** @param source The source, whose current position is the start of the body. */
  constructor(source: BodySource, framing: NonNullable<Framing>) {
    super(framing);
    this.source = source;
    this.buffer = source.buffer;
  }

  // ───────────────────────── the framing

  /** The number of bytes that were read, including the framing of chunks. */
  abstract readonly bytesRead: number;
  /** The number of remaining bytes; `Infinity` if it is unknown. */
  abstract readonly remainingBytes: number;
  /** The number of bytes of data before the next framing of chunks. */
  protected abstract readonly contiguousBytes: number;
  /** Whether the last byte was read from the source. */
  protected abstract readonly isAtEnd: boolean;
  /** The maximum number of bytes that the buffer may now read from the source. */
  protected abstract readonly maxFill: number;
  /** Copies buffered data to an array, without the framing of chunks; returns its size. */
  protected abstract copyBufferedData(into: Uint8Array): number;
  /**
   * Counts bytes of data that were read without {@linkcode copyBufferedData} and
   * {@linkcode validateBuffered}.
   */
  protected abstract countDataRead(count: number): void;
  /**
   * Checks buffered bytes, including the framing of chunks; returns the number of valid bytes.
   *
   * @param maxBytes The maximum number of bytes, which a chunked body may exceed.
   */
  protected abstract validateBuffered(maxBytes: number): number;
  /** Makes the error for a source that ends too early. */
  protected abstract incompleteBodyError(): Error;

  // ───────────────────────── bytes

  /** Reads data into an array: at least one byte, except at the end or for an empty array. */
  protected read(into: Uint8Array): number | Promise<number> {
    const count = this.copyBufferedData(into);
    return count === 0 && into.length > 0 && !this.isAtEnd
      ? this.#readMore(into)
      : this.checkEnd(count);
  }

  async #readMore(into: Uint8Array): Promise<number> {
    while (this.contiguousBytes === 0) {
      await this.fillBuffer();
      const count = this.copyBufferedData(into);
      if (count > 0 || this.isAtEnd) return this.checkEnd(count);
    }
    // Check again: after a stop during the wait, the bytes would belong to the next message.
    this.checkNotStopped();
    // The buffer is empty: read directly into the array.
    const count = await this.source.read(into.subarray(0, this.contiguousBytes));
    if (count === null) throw this.incompleteBodyError();
    this.countDataRead(count);
    return this.checkEnd(count);
  }

  protected async fillBuffer(maxBytes = Infinity): Promise<void> {
    this.checkNotStopped();
    const count = await this.buffer.fill(Math.min(maxBytes, this.maxFill));
    if (count === 0) throw this.incompleteBodyError();
  }

  /**
   * Returns the result of a read. After the last byte, if the source must end with the body,
   * returns a promise that waits for the end of the source.
   */
  protected checkEnd<Value>(result: Value): Value | Promise<Value> {
    if (!this.isAtEnd) return result;
    if (SOURCE_KINDS[this.source.kind].followedBy === "nothing") {
      return this.#awaitSourceEnd(result);
    }
    this.isDone = true;
    return result;
  }

  async #awaitSourceEnd<Value>(result: Value): Promise<Value> {
    const { buffer, source } = this;
    if (buffer.bufferedBytes > 0 || await source.read(new Uint8Array(1)) !== null) {
      throw new BodyError("the source has more bytes than the body");
    }
    this.isDone = true;
    return result;
  }

  /**
   * Reads the next piece, including the framing of chunks. The piece is valid until the next call,
   * or forever if the sink keeps bytes.
   */
  readPiece(preferences: SinkPreferences): Bytes | Promise<Bytes> {
    const { keepsBytes } = preferences;
    const count = this.validateBuffered(keepsBytes ? PIECE_BYTES : Infinity);
    if (count === 0 && !this.isAtEnd) return this.#readMorePiece(preferences);
    const piece = this.buffer.takeView(count);
    this.#lastViewBytes = count;
    return this.checkEnd(keepsBytes ? piece.slice() : piece);
  }

  async #readMorePiece(preferences: SinkPreferences): Promise<Bytes> {
    const { keepsBytes, pieceBytes } = preferences;
    const { buffer, remainingBytes } = this;
    if (keepsBytes && remainingBytes < Infinity) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, remainingBytes));
      return copySmallPart(piece, await this.#readMore(piece));
    }
    const { defaultBytes, maxBytes } = SOURCE_KINDS[this.source.kind];
    const maxPieceBytes = keepsBytes ? PIECE_BYTES : Math.min(pieceBytes ?? defaultBytes, maxBytes);
    const { length } = buffer.bytes;
    // A source that fills the buffer probably has more bytes. A slow source gets little memory.
    const initialCapacity = remainingBytes < Infinity ? PIECE_BYTES : 0;
    const capacity = this.#lastViewBytes * 2 > length ? length * GROWTH_FACTOR : initialCapacity;
    buffer.grow(Math.min(capacity, maxPieceBytes, remainingBytes));
    let count = 0;
    while (count === 0 && !this.isAtEnd) {
      await this.fillBuffer(maxPieceBytes);
      count = this.validateBuffered(maxPieceBytes);
    }
    const piece = buffer.takeView(count);
    this.#lastViewBytes = count;
    return this.checkEnd(keepsBytes ? piece.slice() : piece);
  }

  // ───────────────────────── operations

  /** Reads data for the pending operation. */
  #readInto(into: Uint8Array): number | Promise<number> {
    return this.readFromSource(() => this.read(into));
  }

  /**
   * Reads and converts the remaining data, or `size` bytes of it. If possible, converts bytes in
   * the buffer of the source, because a copy is the greatest cost of a small body.
   *
   * @param options The limit of the caller; `"read"` for that of `read()`.
   */
  async readRemaining<Value>(
    options: BodyReadOptions | undefined | "read",
    convert: BytesConverter<Value>,
    size?: number,
  ): Promise<Value> {
    if (size !== undefined) checkInteger("size", size, 0, MAX_READ_BYTES);
    const limit = options === "read" ? null : maxBytesOf(options);
    if (!this.beginRead(options === "read")) return convert(EMPTY_BYTES, false);
    const maxBytes = limit ?? MAX_READ_BYTES;
    const requestedBytes = Math.min(size ?? Infinity, this.remainingBytes);
    if (requestedBytes > maxBytes && requestedBytes < Infinity) {
      const error = tooLongError(this, limit, `${requestedBytes}`);
      this.rollback();
      const shouldCancel = limit !== null && SOURCE_KINDS[this.source.kind].onTooLong === "cancel";
      if (shouldCancel) this.cancel(error);
      throw error;
    }
    const hasOwnMemory = requestedBytes > this.buffer.bufferedBytes;
    let bytes = hasOwnMemory
      ? this.#collectRemaining(requestedBytes, maxBytes, limit)
      : this.#viewRemaining(requestedBytes);
    // Don't await buffered bytes: an await costs a tick of the event loop.
    if (bytes instanceof Promise) bytes = await bytes;
    try {
      return convert(bytes, hasOwnMemory);
    } finally {
      // End the operation after the conversion, because the connection may then overwrite the
      // buffer. After the last byte, `read()` may be called once more, and returns no bytes. A call
      // that requested no bytes counts as this call, so every later call throws.
      this.endOperation(this.isDone, requestedBytes === 0);
    }
  }

  #viewRemaining(count: number): Bytes | Promise<Bytes> {
    const bytes = this.buffer.takeView(count);
    this.countDataRead(count);
    const result = this.checkEnd(bytes);
    return result instanceof Promise ? this.readFromSource(() => result) : result;
  }

  async #collectRemaining(
    requestedBytes: number,
    maxBytes: number,
    limit: number | null,
  ): Promise<Bytes> {
    // Collect one byte more than the limit, to detect a longer body.
    const collector = requestedBytes < Infinity
      ? new Collector(requestedBytes)
      : Collector.upTo(maxBytes + 1);
    while (collector.missingBytes > 0 && !this.isDone) {
      collector.countWritten(await this.#readInto(collector.makeRoom()));
    }
    if (collector.length <= maxBytes) return collector.toBytes();
    const error = tooLongError(this, limit, "more");
    this.cancel(error);
    throw error;
  }

  /** Reads an untouched body whose bytes are all buffered; returns `null` for any other body. */
  readIfBuffered(): Bytes | null {
    const { remainingBytes, buffer } = this;
    if (buffer.bufferedBytes < remainingBytes) return null;
    this.beginRead(false);
    const bytes = buffer.takeView(remainingBytes).slice();
    this.countDataRead(remainingBytes);
    this.endOperation(true);
    return bytes;
  }

  /** Iterates over the body; leaving the loop early cancels the body. */
  async *iterate<Item extends { readonly length: number }>(
    readItem: () => Item | Promise<Item>,
  ): AsyncGenerator<Item, void, void> {
    this.beginWholeOperation("iterate");
    try {
      while (!this.isDone) {
        let item = this.readFromSource(readItem);
        // Don't await a buffered item: the exchange could end during the await, which stops a body
        // in use.
        if (item instanceof Promise) item = await item;
        if (this.isDone) this.endOperation(true);
        // An empty body has one piece, which is empty.
        if (item.length > 0) yield item;
      }
    } finally {
      this.endIteration();
    }
  }

  /** Iterates over pieces of up to 64 KiB, each a separate array. */
  iteratePieces(): AsyncGenerator<Bytes, void, void> {
    return this.iterate(() => this.readPiece(PROGRAM_PREFERENCES));
  }

  /** Makes a byte stream of the data of a whole body. */
  makeStream(): ReadableStream<Bytes> {
    const size = Math.min(PIECE_BYTES, this.remainingBytes);
    this.beginWholeOperation("stream");
    return new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: Math.max(1, size),
      start: async (controller) => {
        if (size > 0) return;
        await this.#readForStream(EMPTY_BYTES);
        closeByteStream(controller);
      },
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        const count = await this.#readForStream(new Uint8Array(buffer, byteOffset, byteLength));
        if (count > 0) request.respond(count);
        if (this.isDone) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }

  /** Reads data for a stream; after the last byte, ends its operation. */
  async #readForStream(into: Uint8Array): Promise<number> {
    let count = this.#readInto(into);
    if (count instanceof Promise) count = await count;
    if (this.isDone) this.endOperation(true);
    return count;
  }

  protected override async writePieces(sink: OpenSink): Promise<number> {
    const readNextPiece = () => this.readPiece(sink);
    let writtenBytes = 0;
    while (!this.isDone) {
      let piece = this.readFromSource(readNextPiece);
      // Don't await a buffered piece, so that it is sent together with the preamble.
      if (piece instanceof Promise) piece = await piece;
      writtenBytes += piece.length;
      if (piece.length > 0) await this.waitFor(sink.write(piece));
    }
    this.endOperation(true);
    return writtenBytes;
  }

  protected override closeSource(
    outcome: BodyOutcome,
    error?: unknown,
    reason?: unknown,
  ): Promise<void> | void {
    return this.source.onEnd(outcome, error, reason);
  }
}

/** Reads a body with a content-length (RFC 9112 §6.2). */
export class LengthReader extends BodyReader {
  remainingBytes: number;
  readonly #contentLength: number;

  /** @param source The source, whose current position is the start of the body. */
  constructor(source: BodySource, contentLength: number) {
    super(source, contentLength);
    this.#contentLength = this.remainingBytes = contentLength;
  }

  get bytesRead(): number {
    return this.#contentLength - this.remainingBytes;
  }

  protected get contiguousBytes(): number {
    return this.remainingBytes;
  }

  protected get maxFill(): number {
    return this.remainingBytes;
  }

  protected get isAtEnd(): boolean {
    return this.remainingBytes === 0;
  }

  protected copyBufferedData(into: Uint8Array): number {
    if (this.buffer.bufferedBytes === 0) return 0;
    const count = this.buffer.copyTo(into.subarray(0, this.remainingBytes));
    this.remainingBytes -= count;
    return count;
  }

  protected countDataRead(count: number): void {
    this.remainingBytes -= count;
  }

  protected validateBuffered(maxBytes: number): number {
    const count = Math.min(this.buffer.bufferedBytes, this.remainingBytes, maxBytes);
    this.remainingBytes -= count;
    return count;
  }

  protected incompleteBodyError(): Error {
    const { remainingBytes } = this;
    if (SOURCE_KINDS[this.source.kind].followedBy !== "messages") {
      return new BodyError(`the source ended ${remainingBytes} bytes before the content-length`);
    }
    const problem = `the peer closed ${remainingBytes} bytes before the end of the body`;
    const error = new ProtocolError("BODY_INCOMPLETE", problem);
    return connectionErrorDetails.set(error, { fault: "broken", missingBytes: remainingBytes });
  }
}

/** Reads a chunked body (RFC 9112 §7.1): its chunks, its data, or its encoded bytes. */
export class ChunkedReader extends BodyReader {
  readonly remainingBytes = Infinity;
  readonly #scanner = new ChunkScanner();

  /** @param source The source, whose current position is the start of the body. */
  constructor(source: BodySource) {
    super(source, "chunked");
  }

  get bytesRead(): number {
    return this.#scanner.consumedBytes;
  }

  protected get contiguousBytes(): number {
    return this.#scanner.phase === "data" ? this.#scanner.remainingDataBytes : 0;
  }

  protected get maxFill(): number {
    return SOURCE_KINDS[this.source.kind].followedBy === "foreign bytes"
      ? this.#scanner.computeMinRemainingBytes(this.buffer.bufferedBytes)
      : Infinity;
  }

  protected get isAtEnd(): boolean {
    return this.#scanner.phase === "done";
  }

  protected copyBufferedData(into: Uint8Array): number {
    const { buffer } = this;
    const scanner = this.#scanner;
    let count = 0;
    while (count < into.length) {
      const { start } = buffer;
      const isData = scanner.phase === "data";
      const end = isData ? Math.min(buffer.end, start + into.length - count) : buffer.end;
      const nextPosition = scanner.advance(buffer.bytes, start, end);
      if (nextPosition === -1) break;
      buffer.start = nextPosition;
      if (!isData) continue;
      into.set(buffer.bytes.subarray(start, nextPosition), count);
      count += nextPosition - start;
    }
    return count;
  }

  protected countDataRead(count: number): void {
    this.#scanner.skipData(count);
  }

  /**
   * Also converts the sizes of chunks to lower case in the buffer: the checked bytes may be sent
   * on, and Degu sends sizes only in lower case.
   */
  protected validateBuffered(): number {
    const { bytes, start, end } = this.buffer;
    const scanner = this.#scanner;
    let position = start;
    for (;;) {
      const { phase } = scanner;
      const nextPosition = scanner.advance(bytes, position, end);
      if (nextPosition === -1) return position - start;
      if (phase === "line") convertSizeToLowerCase(bytes, position, nextPosition);
      position = nextPosition;
    }
  }

  protected incompleteBodyError(): Error {
    return incompleteChunksError();
  }

  /** Reads the next chunk. */
  async readChunk(): Promise<Chunk<Bytes>> {
    this.beginChunkRead();
    const chunk = await this.readFromSource(() => this.#readNextChunk());
    this.endOperation(this.isDone);
    return chunk;
  }

  /** Iterates over the chunks, including the empty last chunk. */
  iterateChunks(): AsyncGenerator<Chunk<Bytes>, void, void> {
    return this.iterate(() => this.#readNextChunk());
  }

  async #readNextChunk(): Promise<Chunk<Bytes>> {
    while (!this.#skipFraming()) await this.fillBuffer();
    const { size, extension } = this.#scanner.header;
    const isBuffered = size <= this.buffer.bufferedBytes;
    const data = isBuffered ? this.buffer.takeView(size).slice() : await this.#collectData(size);
    if (isBuffered) this.countDataRead(size);
    while (!this.#skipFraming()) await this.fillBuffer();
    return this.checkEnd([extension, data]);
  }

  /** Reads the data of a chunk that is not completely buffered. */
  async #collectData(size: number): Promise<Bytes> {
    const collector = new Collector(size);
    while (collector.missingBytes > 0) {
      collector.countWritten(await this.read(collector.makeRoom()));
    }
    return collector.toBytes();
  }

  /** Skips the line or the end of a chunk; returns false if it is not completely buffered. */
  #skipFraming(): boolean {
    const { buffer } = this;
    const nextPosition = this.#scanner.advance(buffer.bytes, buffer.start, buffer.end);
    if (nextPosition === -1) return false;
    buffer.start = nextPosition;
    return true;
  }
}

const SEMICOLON = 0x3b, CR = 0x0d, LOWER_CASE_BIT = 0x20;

/** Converts the hexadecimal size in a chunk's line to lower case. Digits don't change. */
function convertSizeToLowerCase(bytes: Uint8Array, position: number, end: number): void {
  for (; position < end && bytes[position] !== SEMICOLON && bytes[position] !== CR; position++) {
    bytes[position]! |= LOWER_CASE_BIT;
  }
}

/** Returns the first bytes of a piece; a copy if they are less than half of its memory. */
function copySmallPart(piece: Bytes, count: number): Bytes {
  return count * 2 < piece.length ? piece.slice(0, count) : piece.subarray(0, count);
}

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

// ───────────────────────── the limit of a read

/** The limit on the size of a body that a read returns. */
export interface BodyReadOptions {
  /**
   * The maximum number of bytes, 0 to 16777216. A longer body causes a {@linkcode BodyError} with
   * the code `"TOO_LONG"`; the body of a response is then canceled.
   *
   * @default {16777216}
   */
  maxBytes?: number | undefined;
}

/** Returns the limit in the options of a read. */
function maxBytesOf(options: BodyReadOptions | undefined): number {
  if (options === undefined) return MAX_READ_BYTES;
  const { maxBytes = MAX_READ_BYTES } = copyOptions(options, ["maxBytes"]);
  checkInteger("maxBytes", maxBytes, 0, MAX_READ_BYTES);
  return maxBytes;
}

/** The reader of the body for each error of a read that exceeded its limit. */
const readersByTooLongError = new WeakMap<Error, BodyReader>();

/**
 * Makes the error for a body that exceeds the limit of a read.
 *
 * @param limit The limit of the caller; `null` for that of `read()`.
 * @param actualBytes The number of remaining bytes as text; `"more"` if it is unknown.
 */
function tooLongError(
  reader: BodyReader,
  limit: number | null,
  actualBytes: string,
): RangeError | BodyError {
  const error = limit === null
    ? new RangeError(
      `one read returns at most ${MAX_READ_BYTES} bytes; ${actualBytes} remain: pass a size, iterate, ` +
        "or use writeTo",
    )
    : new BodyError(
      `the body has ${actualBytes} bytes, but at most ${limit} are allowed: raise maxBytes, iterate, or use ` +
        "writeTo",
      { code: "TOO_LONG" },
    );
  readersByTooLongError.set(error, reader);
  return error;
}

/** Reports whether an error is that of a read of this body that exceeded its limit. */
export function isTooLongErrorOf(reader: BodyState | null, error: unknown): boolean {
  return reader !== null && isInstance(error, Error) && readersByTooLongError.get(error) === reader;
}
