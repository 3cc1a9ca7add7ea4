/** The reader of a body, pulled by every operation; `body.ts` tells where the bytes go. */

import { EMPTY } from "../../internal/bytes.ts";
import { checkInteger, copyOptions } from "../../internal/checks.ts";
import { connectionErrorDetails } from "../connection_error_details.ts";
import { BodyError, ProtocolError } from "../errors.ts";
import { type Chunk, ChunkScanner, incompleteChunksError } from "../wire/chunk.ts";
import type { Framing } from "../wire/headers.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodyEnd, type BodySource, SOURCE_KINDS } from "./body_source.ts";
import { BodyState } from "./body_state.ts";
import { Collector, type OpenSink, type ReadBuffer } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Converts bytes in the turn in which they were read: the next read changes a shared buffer. */
export type Convert<Value> = (bytes: Bytes, isOwn: boolean) => Value;

/** The bytes themselves, for the program to keep. */
export const ownBytes: Convert<Bytes> = (bytes, isOwn) => isOwn ? bytes : bytes.slice();

/** What a sink does with pieces of a body, and the best number of bytes for one. */
type PieceUse = Pick<OpenSink, "keepsBytes" | "pieceBytes">;

/** Pieces for a program. */
const KEPT: PieceUse = { keepsBytes: true };

/**
 * The largest piece of an iterated or streamed body, and the first piece of a body that is passed
 * on.
 */
const PIECE_BYTES = 65536;
/** The factor by which the next piece may be larger than one that was full. */
const GROWTH = 4;

/**
 * Reads a body from its source, in the framing of a subclass: first what has arrived in the buffer,
 * then straight from the source, and no byte behind the body. After any error a reader must not be
 * used again.
 *
 * Each read returns a promise only if bytes are still to come, since each wait takes a turn.
 */
export abstract class BodyReader extends BodyState {
  /** True once the last byte has been read, and the source ends there if it must. */
  done = false;
  protected readonly source: BodySource;
  protected readonly buffer: ReadBuffer;
  /** The number of bytes in the last view of the buffer that a sink got. */
  #viewed = 0;

  /** Makes a reader that starts at the source's current position. */
  constructor(source: BodySource, framing: NonNullable<Framing>) {
    super(framing);
    this.source = source;
    this.buffer = source.buffer;
  }

  // ───────────────────────── the framing

  /** The number of bytes that have been read, as they were sent. */
  abstract readonly bytes: number;
  /** The number of bytes that are left; `Infinity` if nobody knows. */
  abstract readonly remaining: number;
  /** The number of bytes of data that come next, with nothing between them. */
  protected abstract readonly run: number;
  /** True once the last byte has been taken out of the source. */
  protected abstract readonly isAtEnd: boolean;
  /** The most bytes that the buffer may read from the source now. */
  protected abstract readonly mostToFill: number;
  /** Takes data that has arrived; of chunks, of all that are in the buffer. */
  protected abstract take(into: Uint8Array): number;
  /** Counts bytes of data that were taken out of the source. */
  protected abstract skip(count: number): void;
  /**
   * Checks and counts encoded bytes that are in the buffer; returns how many are complete.
   *
   * @param most How many bytes are wanted; checked bytes of chunks may be more.
   */
  protected abstract scan(most: number): number;
  /** Makes the error for a source that ends too early. */
  protected abstract incompleteBodyError(): Error;

  // ───────────────────────── bytes

  /** Reads data into an array, at least one byte unless none is left or the array is empty. */
  protected read(into: Uint8Array): number | Promise<number> {
    const count = this.take(into);
    return count === 0 && into.length > 0 && !this.isAtEnd
      ? this.#receive(into)
      : this.confirm(count);
  }

  async #receive(into: Uint8Array): Promise<number> {
    while (this.run === 0) {
      await this.fill();
      const count = this.take(into);
      if (count > 0 || this.isAtEnd) return this.confirm(count);
    }
    // A stopped body may still read in the background, and would get bytes that follow the body.
    this.checkAlive();
    // The buffer is empty, and the data goes past it.
    const count = await this.source.read(into.subarray(0, this.run));
    if (count === null) throw this.incompleteBodyError();
    this.skip(count);
    return this.confirm(count);
  }

  protected async fill(most = Infinity): Promise<void> {
    this.checkAlive();
    const count = await this.buffer.fill(Math.min(most, this.mostToFill));
    if (count === 0) throw this.incompleteBodyError();
  }

  /**
   * Passes on what a read has returned: at once, unless the last byte is among it and the source
   * must end there.
   */
  protected confirm<Value>(read: Value): Value | Promise<Value> {
    if (!this.isAtEnd) return read;
    if (SOURCE_KINDS[this.source.kind].behind === "nothing") return this.#expectEnd(read);
    this.done = true;
    return read;
  }

  async #expectEnd<Value>(read: Value): Promise<Value> {
    const { buffer, source } = this;
    if (buffer.buffered > 0 || await source.read(new Uint8Array(1)) !== null) {
      throw new BodyError("the source has more bytes than the body");
    }
    this.done = true;
    return read;
  }

  /**
   * Reads the next piece as the body was sent. The piece is valid until the next call; if the sink
   * keeps bytes, for as long as it likes.
   */
  nextPiece(use: PieceUse): Bytes | Promise<Bytes> {
    const { keepsBytes } = use;
    const count = this.scan(keepsBytes ? PIECE_BYTES : Infinity);
    if (count === 0 && !this.isAtEnd) return this.#receivePiece(use);
    const piece = this.buffer.view(count);
    this.#viewed = count;
    return this.confirm(keepsBytes ? piece.slice() : piece);
  }

  async #receivePiece(use: PieceUse): Promise<Bytes> {
    const { keepsBytes, pieceBytes } = use;
    const { buffer, remaining } = this;
    if (keepsBytes && remaining < Infinity) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, remaining));
      return partOf(piece, await this.#receive(piece));
    }
    const { usualBytes, mostBytes } = SOURCE_KINDS[this.source.kind];
    const most = keepsBytes ? PIECE_BYTES : Math.min(pieceBytes ?? usualBytes, mostBytes);
    const { length } = buffer.bytes;
    // A source that fills the buffer probably has more; a slow source doesn't get much memory.
    const first = remaining < Infinity ? PIECE_BYTES : 0;
    const wanted = this.#viewed * 2 > length ? length * GROWTH : first;
    buffer.grow(Math.min(wanted, most, remaining));
    let count = 0;
    while (count === 0 && !this.isAtEnd) {
      await this.fill(most);
      count = this.scan(most);
    }
    const piece = buffer.view(count);
    this.#viewed = count;
    return this.confirm(keepsBytes ? piece.slice() : piece);
  }

  // ───────────────────────── operations

  /** Whether no byte has been read, and no operation waits for one. */
  get isUnread(): boolean {
    return this.bytes === 0 && this.interruption.waiting === null;
  }

  /** Reads data for the operation that has begun. */
  #readInto(into: Uint8Array): number | Promise<number> {
    return this.pull(() => this.read(into));
  }

  /**
   * Reads the data that is left, or `size` bytes of it, and converts it, if possible in the
   * source's buffer: a copy is the greatest cost of a small body.
   *
   * @param options The most bytes that the caller wants; `"read"` for the limit of `read()`.
   */
  async readRest<Value>(
    options: BodyReadOptions | undefined | "read",
    convert: Convert<Value>,
    size?: number,
  ): Promise<Value> {
    if (size !== undefined) checkInteger("size", size, 0, MAX_READ_BYTES);
    const limit = options === "read" ? null : limitOf(options);
    if (!this.beginRead()) return convert(EMPTY, false);
    const most = limit ?? MAX_READ_BYTES;
    const wanted = Math.min(size ?? Infinity, this.remaining);
    if (wanted > most && wanted < Infinity) {
      const error = tooLongError(this, limit, `${wanted}`);
      this.undo();
      const isUnwanted = limit !== null && SOURCE_KINDS[this.source.kind].tooLong === "is canceled";
      if (isUnwanted) this.cancel(error);
      throw error;
    }
    const isOwn = wanted > this.buffer.buffered;
    let bytes = isOwn ? this.#collectRest(wanted, most, limit) : this.#viewRest(wanted);
    // Awaiting bytes that are there already would take a turn, too.
    if (bytes instanceof Promise) bytes = await bytes;
    try {
      return convert(bytes, isOwn);
    } finally {
      // The operation ends when the bytes are converted, since then the connection may read into
      // their buffer. A read of no bytes at the end is the last read that is allowed.
      this.end(this.done, wanted === 0);
    }
  }

  #viewRest(count: number): Bytes | Promise<Bytes> {
    const bytes = this.buffer.view(count);
    this.skip(count);
    const confirmed = this.confirm(bytes);
    return confirmed instanceof Promise ? this.pull(() => confirmed) : confirmed;
  }

  async #collectRest(wanted: number, most: number, limit: number | null): Promise<Bytes> {
    // Room for one byte more than is allowed shows whether there are too many.
    const collector = wanted < Infinity ? new Collector(wanted) : Collector.upTo(most + 1);
    while (collector.missing > 0 && !this.done) {
      collector.add(await this.#readInto(collector.room()));
    }
    if (collector.length <= most) return collector.collected();
    const error = tooLongError(this, limit, "more");
    this.cancel(error);
    throw error;
  }

  /** Takes the bytes of an untouched body of known length that have all arrived; else `null`. */
  takeArrived(): Bytes | null {
    const { remaining, buffer } = this;
    if (buffer.buffered < remaining) return null;
    this.beginRead();
    const bytes = buffer.view(remaining).slice();
    this.skip(remaining);
    this.end(true);
    return bytes;
  }

  /** Iterates over the body; leaving the loop early cancels the rest. */
  async *iterate<Item extends { readonly length: number }>(
    next: () => Item | Promise<Item>,
  ): AsyncGenerator<Item, void, void> {
    this.beginWhole("iterate");
    try {
      while (!this.done) {
        let item = this.pull(next);
        // Only an item that is still to come is awaited: an await takes a turn, in which the
        // exchange of an empty body may end, and the end of an exchange stops a body that is in
        // use.
        if (item instanceof Promise) item = await item;
        if (this.done) this.end(true);
        // The only piece of an empty body is empty.
        if (item.length > 0) yield item;
      }
    } finally {
      this.endIteration();
    }
  }

  /** Iterates over pieces of up to 64 KiB, each a separate array. */
  pieces(): AsyncGenerator<Bytes, void, void> {
    return this.iterate(() => this.nextPiece(KEPT));
  }

  /** Makes a byte stream of the data of a whole body. */
  stream(): ReadableStream<Bytes> {
    const size = Math.min(PIECE_BYTES, this.remaining);
    this.beginWhole("stream");
    return new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: Math.max(1, size),
      start: async (controller) => {
        if (size > 0) return;
        await this.#pull(EMPTY);
        closeByteStream(controller);
      },
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        const count = await this.#pull(new Uint8Array(buffer, byteOffset, byteLength));
        if (count > 0) request.respond(count);
        if (this.done) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }

  /** Reads for a stream, and ends its operation with the last byte; waits as an iteration does. */
  async #pull(into: Uint8Array): Promise<number> {
    let count = this.#readInto(into);
    if (count instanceof Promise) count = await count;
    if (this.done) this.end(true);
    return count;
  }

  protected override async writePieces(out: OpenSink): Promise<number> {
    const next = () => this.nextPiece(out);
    let written = 0;
    while (!this.done) {
      let piece = this.pull(next);
      // The first piece is written in this turn if it is there, together with a preamble.
      if (piece instanceof Promise) piece = await piece;
      written += piece.length;
      if (piece.length > 0) await out.write(piece);
    }
    this.end(true);
    return written;
  }

  protected override closeSource(
    end: BodyEnd,
    error?: unknown,
    reason?: unknown,
  ): Promise<void> | void {
    return this.source.over(end, error, reason);
  }
}

/** Reads as many bytes as the content-length says (RFC 9112 §6.2). */
export class LengthReader extends BodyReader {
  remaining: number;
  readonly #length: number;

  /** Makes a reader of `contentLength` bytes from the source's current position on. */
  constructor(source: BodySource, contentLength: number) {
    super(source, contentLength);
    this.#length = this.remaining = contentLength;
  }

  get bytes(): number {
    return this.#length - this.remaining;
  }

  protected get run(): number {
    return this.remaining;
  }

  protected get mostToFill(): number {
    return this.remaining;
  }

  protected get isAtEnd(): boolean {
    return this.remaining === 0;
  }

  protected take(into: Uint8Array): number {
    if (this.buffer.buffered === 0) return 0;
    const count = this.buffer.take(into.subarray(0, this.remaining));
    this.remaining -= count;
    return count;
  }

  protected skip(count: number): void {
    this.remaining -= count;
  }

  protected scan(most: number): number {
    const count = Math.min(this.buffer.buffered, this.remaining, most);
    this.remaining -= count;
    return count;
  }

  protected incompleteBodyError(): Error {
    const { remaining } = this;
    if (SOURCE_KINDS[this.source.kind].behind !== "messages") {
      return new BodyError(`the source ended ${remaining} bytes before the content-length`);
    }
    const problem = `the peer closed ${remaining} bytes before the end of the body`;
    const error = new ProtocolError("BODY_INCOMPLETE", problem);
    return connectionErrorDetails.add(error, { fault: "broken", missingBytes: remaining });
  }
}

/** Reads chunks (RFC 9112 §7.1), their data, or the encoded bytes, checked. */
export class ChunkedReader extends BodyReader {
  readonly remaining = Infinity;
  readonly #scanner = new ChunkScanner();

  /** Makes a reader that starts at the source's current position. */
  constructor(source: BodySource) {
    super(source, "chunked");
  }

  get bytes(): number {
    return this.#scanner.consumed;
  }

  protected get run(): number {
    return this.#scanner.phase === "data" ? this.#scanner.remaining : 0;
  }

  protected get mostToFill(): number {
    return SOURCE_KINDS[this.source.kind].behind === "of others"
      ? this.#scanner.minRemainingBytes(this.buffer.buffered)
      : Infinity;
  }

  protected get isAtEnd(): boolean {
    return this.#scanner.phase === "done";
  }

  protected take(into: Uint8Array): number {
    const { buffer } = this;
    const scanner = this.#scanner;
    let count = 0;
    while (count < into.length) {
      const { start } = buffer;
      const isData = scanner.phase === "data";
      const end = isData ? Math.min(buffer.end, start + into.length - count) : buffer.end;
      const next = scanner.advance(buffer.bytes, start, end);
      if (next === -1) break;
      buffer.start = next;
      if (!isData) continue;
      into.set(buffer.bytes.subarray(start, next), count);
      count += next - start;
    }
    return count;
  }

  protected skip(count: number): void {
    this.#scanner.skipData(count);
  }

  /** Puts the sizes of chunks into lower case, the only case that is sent. */
  protected scan(): number {
    const { bytes, start, end } = this.buffer;
    const scanner = this.#scanner;
    let at = start;
    for (;;) {
      const { phase } = scanner;
      const next = scanner.advance(bytes, at, end);
      if (next === -1) return at - start;
      if (phase === "line") lowerSize(bytes, at, next);
      at = next;
    }
  }

  protected incompleteBodyError(): Error {
    return incompleteChunksError();
  }

  /** Reads the next chunk for the operation that has begun, and ends that. */
  async readChunk(): Promise<Chunk<Bytes>> {
    this.beginChunk();
    const chunk = await this.pull(() => this.#nextChunk());
    this.end(this.done);
    return chunk;
  }

  /** Iterates over the chunks, the empty last one included. */
  chunks(): AsyncGenerator<Chunk<Bytes>, void, void> {
    return this.iterate(() => this.#nextChunk());
  }

  async #nextChunk(): Promise<Chunk<Bytes>> {
    while (!this.#passPart()) await this.fill();
    const { size, extension } = this.#scanner.header;
    const isThere = size <= this.buffer.buffered;
    const data = isThere ? this.buffer.view(size).slice() : await this.#collect(size);
    if (isThere) this.skip(size);
    while (!this.#passPart()) await this.fill();
    return this.confirm([extension, data]);
  }

  /** Reads the data of a chunk that has not all arrived. */
  async #collect(size: number): Promise<Bytes> {
    const collector = new Collector(size);
    while (collector.missing > 0) collector.add(await this.read(collector.room()));
    return collector.collected();
  }

  /** Passes the line or the end of a chunk; false if not all of it has arrived. */
  #passPart(): boolean {
    const { buffer } = this;
    const next = this.#scanner.advance(buffer.bytes, buffer.start, buffer.end);
    if (next === -1) return false;
    buffer.start = next;
    return true;
  }
}

const SEMICOLON = 0x3b, CR = 0x0d, LOWER = 0x20;

/** Sets the bit that makes a letter lower case; digits have it already. */
function lowerSize(bytes: Uint8Array, at: number, end: number): void {
  for (; at < end && bytes[at] !== SEMICOLON && bytes[at] !== CR; at++) bytes[at]! |= LOWER;
}

/** The first bytes of a piece, copied if they would keep much more memory alive. */
function partOf(piece: Bytes, count: number): Bytes {
  return count * 2 < piece.length ? piece.slice(0, count) : piece.subarray(0, count);
}

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

// ───────────────────────── no more than is wanted

/** How much of a body is read at once. */
export interface BodyReadOptions {
  /**
   * The most bytes, 0 to 16777216. A longer body is a {@linkcode BodyError} with the code
   * `"TOO_LONG"`; if it is that of a response, it is then canceled.
   *
   * @default {16777216}
   */
  maxBytes?: number | undefined;
}

/** The most bytes that the options of a read allow. */
function limitOf(options: BodyReadOptions | undefined): number {
  if (options === undefined) return MAX_READ_BYTES;
  const { maxBytes = MAX_READ_BYTES } = copyOptions(options, ["maxBytes"]);
  checkInteger("maxBytes", maxBytes, 0, MAX_READ_BYTES);
  return maxBytes;
}

/** The readers of bodies that had more bytes than were wanted, by the error that said so. */
const tooLongBodies = new WeakMap<Error, BodyReader>();

/**
 * The error for a body with more bytes than are wanted.
 *
 * @param limit The limit of the caller; `null` for the limit of `read()`.
 * @param left The number of bytes that are left, as far as it is known.
 */
function tooLongError(
  reader: BodyReader,
  limit: number | null,
  left: string,
): RangeError | BodyError {
  const error = limit === null
    ? new RangeError(
      `one read returns at most ${MAX_READ_BYTES} bytes; ${left} are left: give a size, iterate, ` +
        "or use writeTo",
    )
    : new BodyError(
      `the body has ${left} bytes, and at most ${limit} are wanted: raise maxBytes, iterate, or use ` +
        "writeTo",
      { code: "TOO_LONG" },
    );
  tooLongBodies.set(error, reader);
  return error;
}

/** Whether an error says that the body of this reader has more bytes than were wanted. */
export function isTooLongFor(reader: BodyState | null, error: unknown): boolean {
  return reader !== null && error instanceof Error && tooLongBodies.get(error) === reader;
}
