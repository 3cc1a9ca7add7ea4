/**
 * A body of known length (RFC 9112 §6.2).
 *
 * @module
 */

import { type BodyInput, type BodySource, largerPiece, openSource } from "./body_source.ts";
import { BodyUse, cancellation, checkReadSize, writeWhole } from "./body_use.ts";
import { Collector } from "./collector.ts";
import type { ByteSink, OpenSink } from "./byte_io.ts";
import { decodeText, EMPTY } from "../bytes.ts";
import { BodyError, typeName } from "../errors.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";

/** Bytes of one piece of a body that is iterated or streamed, and of the first that is passed on. */
export const PIECE_BYTES = 65536;

/** Makes something of a part of a buffer that is used again afterwards. */
type MakeOfPart<Made> = (buffer: Uint8Array, start: number, end: number) => Made;

const copyOf: MakeOfPart<Uint8Array<ArrayBuffer>> = (buffer, start, end) =>
  (buffer as Uint8Array<ArrayBuffer>).slice(start, end);
const textOf: MakeOfPart<string> = (buffer, start, end) => decodeText(buffer.subarray(start, end));

/** The first bytes of a piece, in memory of their own where they would keep much more alive. */
function partOf(piece: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
  return count * 2 < piece.length ? piece.slice(0, count) : piece.subarray(0, count);
}

/** Closes a byte stream; readers that wait with a buffer of their own get it back empty. */
export function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

/** Checks a content-length that a caller gives. */
export function checkContentLength(contentLength: number): void {
  if (typeof contentLength !== "number") {
    throw new TypeError(`contentLength: need a number; got ${typeName(contentLength)}`);
  }
  if (!Number.isSafeInteger(contentLength) || contentLength < 0) {
    throw new RangeError(
      `contentLength: need an integer from 0 to ${MAX_LENGTH}; got ${contentLength}`,
    );
  }
}

/** Whether the last byte of a body has been taken; `null` where it is of another class. */
export let isBodyConsumed: (body: object) => boolean | null;

/**
 * A body of known length: to be sent, from a stream, a file or another source; or as it was
 * received. It can be consumed once.
 *
 * From a file, and from any other {@linkcode ByteSource}, exactly `contentLength` bytes are taken
 * from where it stands, and it is left open; a stream has to end where the body does. A source with
 * too few bytes is a {@linkcode BodyError}; of a received body that was cut, a `ProtocolError`.
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
  /** Tells the two kinds of bodies apart. */
  readonly chunked = false as const;
  readonly #source: BodySource;
  readonly #use: BodyUse;
  #remaining: number;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;

  /**
   * Makes a body from a source that has `contentLength` bytes.
   *
   * @throws {TypeError} where the source is not a free stream, a file or a {@linkcode ByteSource},
   * or the length is not a number.
   * @throws {RangeError} where the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: BodyInput, contentLength: number) {
    checkContentLength(contentLength);
    this.#source = openSource(source);
    this.#use = new BodyUse(this.#source.interruption);
    this.contentLength = this.#remaining = contentLength;
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#use.used;
  }

  /**
   * The body as a byte stream, for default and BYOB readers. Taking it starts the body; cancelling
   * it gives up the rest.
   *
   * @throws {BodyError} where something else has been done with the body before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= this.#makeReadable();
    return this.#readable;
  }

  /**
   * Reads the next `size` bytes, fewer only at the end, or without a size all that are left. The
   * first read after the last byte gives an empty array.
   *
   * @param size 0 to 16777216.
   * @throws {RangeError} for another size, or where more than 16777216 bytes are left; the body
   * stays as it was.
   * @throws {BodyError} where the body is in use, has failed, or was consumed before.
   */
  read(size?: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return this.#readWanted(this.#beginRead(size));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Begins a read; returns how many bytes it is for, `null` where it is the one after the last. */
  #beginRead(size?: number): number | null {
    if (size !== undefined) checkReadSize(size);
    if (!this.#use.beginRead()) return null;
    const wanted = Math.min(size ?? Infinity, this.#remaining);
    if (wanted <= MAX_READ_BYTES) return wanted;
    this.#use.undo();
    throw new RangeError(
      `${wanted} bytes are left, more than the ${MAX_READ_BYTES} that one read collects; ` +
        "give a size, iterate, or use writeTo",
    );
  }

  #readWanted(wanted: number | null): Promise<Uint8Array<ArrayBuffer>> {
    if (wanted === null) return Promise.resolve(new Uint8Array(0));
    return wanted === 0 ? this.#readNothing() : this.#take(wanted, copyOf) ?? this.#collect(wanted);
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

  /** Takes bytes that are all there already, and makes something of them; `null` where they are not. */
  #take<Made>(wanted: number, make: MakeOfPart<Made>): Promise<Made> | null {
    const { reader } = this.#source;
    const { bytes, start } = reader;
    if (wanted > reader.buffered) return null;
    reader.start += wanted;
    const ending = this.#took(wanted);
    const end = start + wanted;
    return ending === null
      ? Promise.resolve(make(bytes, start, end))
      : ending.then(() => make(bytes, start, end));
  }

  /** What is left as bytes: {@linkcode read} without a size. */
  bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.read();
  }

  /** What is left as text: UTF-8, of which a wrong byte is a `TypeError`; a BOM is kept. */
  async text(): Promise<string> {
    const wanted = this.#beginRead();
    // Decoded where it stands: an array of its own is what a small body costs most.
    const text = wanted ? this.#take(wanted, textOf) : null;
    return text === null ? decodeText(await this.#readWanted(wanted)) : await text;
  }

  /** What is left, parsed as JSON. */
  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  /**
   * Writes the whole body to a stream, a file or a connection, which is left open and free.
   *
   * @returns How many bytes were written: the content-length.
   * @throws {BodyError} where something else has been done with the body before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return writeWhole(this.#use, sink, async (out) => {
      await this.#copyTo(out);
      return this.contentLength;
    }, (error) => this.cancel(error));
  }

  async #copyTo(out: OpenSink): Promise<void> {
    const { reader } = this.#source;
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
      // A source that has filled the buffer has more at hand; slow ones don't get much memory.
      if (count === size) size = largerPiece(size, most);
      await this.#passOn(buffer.subarray(0, count), out);
    }
    if (!this.#use.isConsumed) await this.#finish();
  }

  #bestPiece({ pieceBytes }: ByteSink): number {
    const { pieceBytes: usual, mostBytes } = this.#source;
    return Math.min(pieceBytes ?? usual, mostBytes);
  }

  /** Writes a piece; the last one only when the source has kept its promise. */
  async #passOn(piece: Uint8Array, out: ByteSink): Promise<void> {
    if (piece.length < this.#remaining) {
      this.#remaining -= piece.length;
      await this.#use.wait(out.write(piece));
      return;
    }
    const finishing = this.#source.finish();
    if (finishing !== null) await this.#failing(finishing);
    await this.#use.wait(out.write(piece));
    this.#remaining = 0;
    this.#consume();
  }

  /**
   * Iterates over the body in pieces of up to 64 KiB, each an array of its own. Leaving the loop
   * early gives up the rest.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    this.#use.begin("iterate", true);
    try {
      while (this.#remaining > 0) {
        const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#remaining));
        const count = await this.#readSome(piece);
        const ending = this.#takePart(count);
        if (ending !== null) await ending;
        yield partOf(piece, count);
      }
      if (!this.#use.isConsumed) await this.#finish();
    } finally {
      if (!this.#use.isConsumed) this.cancel(new BodyError("the iteration was abandoned"));
    }
  }

  /**
   * Gives up the rest: cancels the stream, or closes the connection, that the body comes from; on a
   * server the connection stays open for an error response. Whatever waits for the body rejects at
   * once with the reason, or with a {@linkcode BodyError} whose `cause` it is; so does every later
   * operation.
   */
  async cancel(reason?: unknown): Promise<void> {
    if (this.#use.isOver) return;
    const error = cancellation(reason);
    this.#use.fail(error);
    await this.#source.cancel(error);
  }

  /** Reads at least one byte into the array. */
  async #readSome(into: Uint8Array): Promise<number> {
    this.#use.checkAlive();
    const taken = this.#source.reader.take(into);
    if (taken > 0) return taken;
    const count = await this.#failing(this.#source.read(into));
    if (count !== null) return count;
    const error = this.#source.incomplete(this.#remaining);
    this.#fail(error);
    throw error;
  }

  async #collect(wanted: number): Promise<Uint8Array<ArrayBuffer>> {
    const collector = new Collector(wanted);
    while (collector.missing > 0) {
      const count = await this.#readSome(collector.room());
      collector.add(count);
      this.#remaining -= count;
    }
    this.#remaining += wanted;
    const ending = this.#took(wanted);
    if (ending !== null) await ending;
    return collector.collected();
  }

  /** Notes that a read has taken bytes, and ends it. */
  #took(count: number): Promise<void> | null {
    const ending = this.#takePart(count);
    if (ending === null && !this.#use.isConsumed) this.#use.end();
    return ending;
  }

  /** Notes that bytes were taken; where they were the last ones the source has to agree. */
  #takePart(count: number): Promise<void> | null {
    this.#remaining -= count;
    if (this.#remaining > 0) return null;
    const finishing = this.#source.finish();
    if (finishing === null) {
      this.#consume();
      return null;
    }
    return this.#failing(finishing).then(() => this.#consume());
  }

  async #finish(): Promise<void> {
    const ending = this.#takePart(0);
    if (ending !== null) await ending;
  }

  #consume(): void {
    this.#use.consume();
    this.#source.consumed();
  }

  /** Waits for the source; its failure is the body's. */
  #failing<T>(promise: Promise<T>): Promise<T> {
    return this.#use.wait(promise, (error) => this.#fail(error));
  }

  #fail(error: unknown): void {
    this.#use.fail(error);
    this.#source.failed(error);
  }

  #makeReadable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#use.begin("stream", true);
    return new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: Math.max(1, Math.min(PIECE_BYTES, this.#remaining)),
      start: async (controller) => {
        if (this.#remaining > 0) return;
        await this.#finish();
        closeByteStream(controller);
      },
      pull: async (controller) => {
        const request = controller.byobRequest!;
        let view = request.view as Uint8Array;
        view = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
        if (view.length > this.#remaining) view = view.subarray(0, this.#remaining);
        const count = await this.#readSome(view);
        const ending = this.#takePart(count);
        if (ending !== null) await ending;
        request.respond(count);
        if (this.#remaining === 0) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }

  static {
    isBodyConsumed = (body) => {
      if (!(#use in body)) return null;
      // An empty one is at its end from the start.
      return body.#use.isConsumed || body.contentLength === 0;
    };
  }
}
