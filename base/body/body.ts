/**
 * A body of known length (RFC 9112 §6.2).
 *
 * @module
 */

import { type BodyInput, type ByteSink, largerPiece, type OpenSink } from "./byte_io.ts";
import { decodeText, EMPTY } from "../bytes.ts";
import { checkInteger } from "../checks.ts";
import { Collector } from "./readers.ts";
import { PIECE_BYTES, SourceUse, tooLongError } from "./body_state.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";

/** Converts part of a reused buffer into a value that outlives it. */
type Convert<Value> = (buffer: Uint8Array, start: number, end: number) => Value;

const copyOf: Convert<Uint8Array<ArrayBuffer>> = (buffer, start, end) =>
  (buffer as Uint8Array<ArrayBuffer>).slice(start, end);
const textOf: Convert<string> = (buffer, start, end) => decodeText(buffer.subarray(start, end));

/** The first bytes of a piece, copied if they would keep much more memory alive. */
function partOf(piece: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
  return count * 2 < piece.length ? piece.slice(0, count) : piece.subarray(0, count);
}

/**
 * Checks a content-length that a caller gives.
 *
 * @throws {TypeError} if it is not a number.
 * @throws {RangeError} if it is not an integer from 0 to 2⁵³ − 1.
 */
export function checkContentLength(contentLength: number): void {
  checkInteger("contentLength", contentLength, 0, MAX_LENGTH);
}

/** Whether the last byte of a body has been read; `null` for a body of another class. */
export let isBodyConsumed: (body: object) => boolean | null;

/** How many bytes of a body have been read; `null` for a body of another class. */
export let bodyBytesRead: (body: object) => number | null;

/**
 * A body of known length: one to be sent, from a stream, a file or another source, or one that was
 * received. It can be consumed once.
 *
 * From a file, or any other {@linkcode ByteSource}, exactly `contentLength` bytes are read, from its
 * current position on, and it is left open. A stream must end where the body does. If a source has
 * too few bytes, that is a {@linkcode BodyError}; if a received body was cut off, a `ProtocolError`.
 *
 * @example
 * ```ts
 * import { Body } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const body = new Body(new Blob(["hello, world"]).stream(), 12);
 * assertEquals(new TextDecoder().decode(await body.read(5)), "hello");
 * assertEquals(await body.text(), ", world");
 * ```
 */
export class Body implements AsyncIterable<Uint8Array> {
  /** The length of the whole body in bytes. */
  readonly contentLength: number;
  /** False: the body has a known length and no chunks. */
  readonly chunked = false as const;
  readonly #use: SourceUse;
  #remaining: number;

  /**
   * Makes a body from a source of `contentLength` bytes.
   *
   * @param source Where the bytes come from.
   * @param contentLength How many bytes the whole body has.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}, or the
   * length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: BodyInput, contentLength: number) {
    checkContentLength(contentLength);
    this.#use = new SourceUse(source);
    this.contentLength = this.#remaining = contentLength;
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#use.used;
  }

  /**
   * The body as a byte stream, for default and BYOB readers. Getting it starts the body; canceling it
   * cancels the rest of the body.
   *
   * @throws {BodyError} if something else has been done with the body before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#use.stream(
      Math.min(PIECE_BYTES, this.#remaining),
      (into) => this.#readInto(into),
      () => this.#remaining === 0,
    );
  }

  /**
   * Reads the next `size` bytes, fewer only at the end; without a size, all that are left. The first
   * read after the last byte returns an empty array.
   *
   * @param size 0 to 16777216.
   * @throws {RangeError} if the size is out of range, or more than 16777216 bytes are left; the body
   * stays as it was.
   * @throws {BodyError} if the body is in use, has failed, or was consumed before.
   */
  read(size?: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return this.#readWanted(this.#beginRead(size));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Begins a read; returns how many bytes it is for, or `null` if the body ended before. */
  #beginRead(size?: number): number | null {
    if (size !== undefined) checkInteger("size", size, 0, MAX_READ_BYTES);
    if (!this.#use.beginRead()) return null;
    const wanted = Math.min(size ?? Infinity, this.#remaining);
    if (wanted <= MAX_READ_BYTES) return wanted;
    this.#use.undo();
    throw tooLongError(this, `${wanted}`, "give a size, iterate, or use writeTo");
  }

  #readWanted(wanted: number | null): Promise<Uint8Array<ArrayBuffer>> {
    if (wanted === null) return Promise.resolve(new Uint8Array(0));
    if (wanted === 0) return this.#readNothing();
    return this.#takeBuffered(wanted, copyOf) ?? this.#collect(wanted);
  }

  async #readNothing(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#remaining > 0) {
      this.#use.end();
    } else {
      await this.#finish();
      this.#use.giveEmptyRead();
    }
    return new Uint8Array(0);
  }

  /** Consumes bytes in the source's buffer and converts them; `null` if they haven't all arrived. */
  #takeBuffered<Value>(wanted: number, convert: Convert<Value>): Promise<Value> | null {
    const { reader } = this.#use.source;
    const { bytes, start } = reader;
    if (wanted > reader.buffered) return null;
    reader.start += wanted;
    const ending = this.#endRead(wanted);
    const end = start + wanted;
    return ending === null
      ? Promise.resolve(convert(bytes, start, end))
      : ending.then(() => convert(bytes, start, end));
  }

  async #collect(wanted: number): Promise<Uint8Array<ArrayBuffer>> {
    const collector = new Collector(wanted);
    while (collector.missing > 0) {
      const count = await this.#readSome(collector.room());
      collector.add(count);
      this.#remaining -= count;
    }
    this.#remaining += wanted;
    const ending = this.#endRead(wanted);
    if (ending !== null) await ending;
    return collector.collected();
  }

  /** Ends a read that consumed some bytes. */
  #endRead(count: number): Promise<void> | null {
    const ending = this.#advance(count);
    if (ending === null && !this.#use.isConsumed) this.#use.end();
    return ending;
  }

  /** Reads the bytes that are left, up to 16777216: {@linkcode Body.prototype.read} without a size. */
  bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.read();
  }

  /**
   * Reads the bytes that are left, up to 16777216, as UTF-8 text. A byte order mark is kept.
   *
   * @throws {TypeError} if they are not valid UTF-8; else as {@linkcode Body.prototype.read} does.
   */
  async text(): Promise<string> {
    const wanted = this.#beginRead();
    // Decoded in the buffer: for a small body, a copy costs more than anything else.
    const text = wanted ? this.#takeBuffered(wanted, textOf) : null;
    return text === null ? decodeText(await this.#readWanted(wanted)) : await text;
  }

  /**
   * Reads the bytes that are left, up to 16777216, and parses them as JSON.
   *
   * @throws {SyntaxError} if they are not JSON; else as {@linkcode Body.prototype.text} does.
   */
  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  /**
   * Writes the whole body to a stream, a file or a connection, which is left open and unlocked.
   *
   * @param sink Where the bytes go.
   * @returns How many bytes were written: the content-length.
   * @throws {BodyError} if something else has been done with the body before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#use.write(sink, async (out) => {
      await this.#copyTo(out);
      return this.contentLength;
    });
  }

  async #copyTo(out: OpenSink): Promise<void> {
    const { reader } = this.#use.source;
    const { keepsBytes } = out;
    const here = Math.min(reader.buffered, this.#remaining);
    if (here > 0) {
      const piece = reader.bytes.subarray(reader.start, reader.start + here);
      reader.start += here;
      await this.#passOn(keepsBytes ? piece.slice() : piece, out);
    }
    const most = keepsBytes ? PIECE_BYTES : this.#bestPiece(out);
    let size = Math.min(most, PIECE_BYTES);
    let buffer = EMPTY;
    while (this.#remaining > 0) {
      const wanted = Math.min(size, this.#remaining);
      if (keepsBytes || buffer.length < wanted) buffer = new Uint8Array(wanted);
      const count = await this.#readSome(buffer.subarray(0, wanted));
      // A source that fills the buffer probably has more; a slow one doesn't get much memory.
      if (count === size) size = largerPiece(size, most);
      await this.#passOn(buffer.subarray(0, count), out);
    }
    if (!this.#use.isConsumed) await this.#finish();
  }

  #bestPiece({ pieceBytes }: ByteSink): number {
    const { pieceBytes: usual, mostBytes } = this.#use.source;
    return Math.min(pieceBytes ?? usual, mostBytes);
  }

  /** Writes a piece; the last one only after the source has confirmed that nothing follows. */
  async #passOn(piece: Uint8Array, out: ByteSink): Promise<void> {
    if (piece.length < this.#remaining) {
      this.#remaining -= piece.length;
      await this.#use.wait(out.write(piece));
      return;
    }
    const finishing = this.#use.source.finish();
    if (finishing !== null) await this.#use.fromSource(finishing);
    await this.#use.wait(out.write(piece));
    this.#remaining = 0;
    this.#use.consume();
  }

  /**
   * Iterates over the body in pieces of up to 64 KiB, each a separate array. Leaving the loop
   * early cancels the rest.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    this.#use.begin("iterate", true);
    try {
      while (this.#remaining > 0) {
        const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#remaining));
        yield partOf(piece, await this.#readInto(piece));
      }
      if (!this.#use.isConsumed) await this.#finish();
    } finally {
      this.#use.endIteration();
    }
  }

  /**
   * Cancels the rest: the stream, or the connection, that the body comes from. A server keeps the
   * connection open for an error response. Whatever waits for the body rejects at once with the
   * reason, or with a {@linkcode BodyError} whose `cause` it is; so does every later operation.
   *
   * @param reason What waiting operations reject with, or the `cause` of what they reject with.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#use.cancel(reason);
  }

  /** Reads at least one byte, unless none is left, and moves past what was read. */
  async #readInto(into: Uint8Array): Promise<number> {
    const room = into.length > this.#remaining ? into.subarray(0, this.#remaining) : into;
    const count = room.length === 0 ? 0 : await this.#readSome(room);
    const ending = this.#advance(count);
    if (ending !== null) await ending;
    return count;
  }

  /** Reads at least one byte into the array. */
  async #readSome(into: Uint8Array): Promise<number> {
    const use = this.#use;
    use.checkAlive();
    const buffered = use.source.reader.take(into);
    if (buffered > 0) return buffered;
    const count = await use.fromSource(use.source.read(into));
    if (count !== null) return count;
    const error = use.source.incomplete(this.#remaining);
    use.breakOff(error);
    throw error;
  }

  /** Moves past bytes that were read; past the last one only if the source confirms the end. */
  #advance(count: number): Promise<void> | null {
    this.#remaining -= count;
    if (this.#remaining > 0) return null;
    const finishing = this.#use.source.finish();
    if (finishing === null) {
      this.#use.consume();
      return null;
    }
    return this.#use.fromSource(finishing).then(() => this.#use.consume());
  }

  async #finish(): Promise<void> {
    const ending = this.#advance(0);
    if (ending !== null) await ending;
  }

  static {
    bodyBytesRead = (body) => #use in body ? body.contentLength - body.#remaining : null;
    isBodyConsumed = (body) => {
      if (!(#use in body)) return null;
      // An empty body is at its end from the start.
      return body.#use.isConsumed || body.contentLength === 0;
    };
  }
}
