/** Bodies from iterables, to be sent. */

import { checkContentLength, MessageBody } from "./body.ts";
import { BodyState } from "./body_state.ts";
import type { BodyEnd } from "./body_source.ts";
import { checkUnchanged, type OpenSink } from "./byte_io.ts";
import { viewOf } from "../../internal/bytes.ts";
import { wrongTypeError } from "../../internal/checks.ts";
import { type Chunk, encodeChunk, type PreparedChunk, prepareSourceChunk } from "../wire/chunk.ts";
import { BodyError } from "../errors.ts";
import { typeName } from "../../internal/quote.ts";

type AnyIterable<T> = Iterable<T> | AsyncIterable<T>;
type AnyIterator<T> = Iterator<T> | AsyncIterator<T>;

/** A single pass over an iterable, whose iterator is closed however the pass ends. */
abstract class Items<T> extends BodyState {
  readonly #iterable: AnyIterable<T>;
  #iterator: AnyIterator<T> | null = null;
  /** What the iterator is doing; it opens when it is asked for the first item. */
  #phase: "waiting" | "asked" | "ended" = "waiting";

  constructor(source: AnyIterable<T>, framing: number | "chunked") {
    super(framing);
    const iterable = source as Partial<Iterable<T> & AsyncIterable<T>> | null | undefined;
    if (
      typeof source === "string" || (typeof iterable?.[Symbol.asyncIterator] !== "function" &&
        typeof iterable?.[Symbol.iterator] !== "function")
    ) {
      throw wrongTypeError("source", "an iterable", source);
    }
    this.#iterable = source;
  }

  /** Asks for the next item, and waits for it until the body is stopped. */
  protected next(): Promise<IteratorResult<T>> {
    return this.wait(this.#next());
  }

  async #next(): Promise<IteratorResult<T>> {
    this.#phase = "asked";
    try {
      this.#iterator ??= this.#open();
      const result = await this.#iterator.next();
      this.#phase = result.done === true ? "ended" : "waiting";
      return result;
    } catch (error) {
      // An iterator that throws has ended by itself.
      this.#phase = "ended";
      throw error;
    }
  }

  #open(): AnyIterator<T> {
    const iterable = this.#iterable as Iterable<T> & AsyncIterable<T>;
    return typeof iterable[Symbol.asyncIterator] === "function"
      ? iterable[Symbol.asyncIterator]()
      : iterable[Symbol.iterator]();
  }

  /** Closes the iterator, unless it has ended. */
  protected override async closeSource(
    _end: BodyEnd,
    _error?: unknown,
    reason?: unknown,
  ): Promise<void> {
    if (this.#phase === "ended") return;
    try {
      // The iterator of a stream cancels the stream with this reason.
      const returning = (this.#iterator ?? this.#open()).return?.(reason);
      // A generator can return only after the pending item, which may never come.
      if (this.#phase === "asked") Promise.resolve(returning).catch(() => {});
      else await returning;
    } catch {
      // An iterator that fails to close changes nothing: the body is over.
    }
  }
}

/** Counts bytes against a content-length, and holds the last ones back until the source ends. */
export class LengthGate {
  readonly #contentLength: number;
  readonly #holdsLast: boolean;
  #left: number;
  #last: Uint8Array | null = null;

  /** Checks the length. */
  constructor(contentLength: number, holdsLast = true) {
    checkContentLength(contentLength);
    this.#contentLength = this.#left = contentLength;
    this.#holdsLast = holdsLast;
  }

  /** Counts an item; returns the bytes to pass on at once, or `null` if there are none yet. */
  take(item: Uint8Array): Uint8Array | null {
    const bytes = viewOf(item);
    if (bytes.length > this.#left) {
      throw new BodyError(
        `the source has more than the content-length of ${this.#contentLength} bytes`,
      );
    }
    if (bytes.length === 0) return null;
    this.#left -= bytes.length;
    if (this.#left > 0 || !this.#holdsLast) return bytes;
    // The source may reuse the memory for the next item, so the bytes are copied.
    this.#last = bytes.slice();
    return null;
  }

  /** The last bytes, if there are any; throws if the source had too few. */
  end(): Uint8Array | null {
    if (this.#left === 0) return this.#last;
    throw new BodyError(`the source ended ${this.#left} bytes before the content-length`);
  }
}

/** The byte arrays of a body of known length. */
class Pieces extends Items<Uint8Array> {
  readonly #contentLength: number;

  constructor(source: AnyIterable<Uint8Array>, contentLength: number) {
    super(source, contentLength);
    this.#contentLength = contentLength;
  }

  protected override async writePieces(out: OpenSink): Promise<number> {
    const gate = new LengthGate(this.#contentLength);
    for (;;) {
      const { done, value } = await this.next();
      if (done) break;
      if (!(value instanceof Uint8Array)) {
        throw new BodyError(`the source's items must be Uint8Arrays; got ${typeName(value)}`);
      }
      const bytes = gate.take(value);
      if (bytes !== null) await out.write(out.keepsBytes ? bytes.slice() : bytes);
    }
    const last = gate.end();
    if (last !== null) await out.write(last);
    this.end(true);
    return this.#contentLength;
  }
}

/**
 * A body of known length from an iterable of byte arrays. The body can be sent once.
 *
 * The items must have exactly `contentLength` bytes in all. The last item is written only after the
 * iterable has ended, so an iterable with a wrong length never makes a complete message.
 *
 * @example
 * ```ts
 * import { BodyIter } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const encoder = new TextEncoder();
 * const body = new BodyIter([encoder.encode("hello, "), encoder.encode("world")], 12);
 * const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
 * const text = new Response(readable).text();
 * assertEquals(await body.writeTo(writable), 12);
 * await writable.close();
 * assertEquals(await text, "hello, world");
 * ```
 */
export class BodyIter extends MessageBody {
  /** The length of the whole body in bytes. */
  readonly contentLength: number;
  /** False: the body has a known length and no chunks. */
  readonly chunked = false as const;

  /**
   * Makes a body from an iterable whose items have `contentLength` bytes in all.
   *
   * @param source The bytes, in pieces of any size.
   * @param contentLength The number of bytes in the whole body.
   * @throws {TypeError} if the source is not an iterable, or the length not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, contentLength: number) {
    checkContentLength(contentLength);
    super(new Pieces(source, contentLength));
    this.contentLength = contentLength;
  }
}

/** A chunk of up to this many bytes is written together with its line. */
const STAGED_BYTES = 131072;
const CRLF = new Uint8Array([0x0d, 0x0a]);

/** Writes an encoded chunk; returns its number of bytes. */
async function writeChunk(out: OpenSink, chunk: PreparedChunk): Promise<number> {
  const total = chunk.line.length + chunk.size + CRLF.length;
  if (out.keepsBytes || total <= STAGED_BYTES) {
    checkUnchanged(chunk.data, chunk.size);
    await out.write(encodeChunk(chunk));
  } else {
    await out.write(chunk.line);
    checkUnchanged(chunk.data, chunk.size);
    await out.write(chunk.data);
    await out.write(CRLF);
  }
  return total;
}

/** The chunks of a body. */
class Chunks extends Items<Chunk> {
  protected override async writePieces(out: OpenSink): Promise<number> {
    let written = 0;
    let last: PreparedChunk | null = null;
    for (;;) {
      const { done, value } = await this.next();
      if (done) break;
      if (last !== null) throw new BodyError("the source has a chunk after the empty one");
      const chunk = prepareSourceChunk(value);
      if (chunk.size === 0) last = chunk;
      else written += await writeChunk(out, chunk);
    }
    if (last === null) throw new BodyError("the source ended without an empty chunk");
    written += await writeChunk(out, last);
    this.end(true);
    return written;
  }
}

/**
 * A chunked body from an iterable of chunks. The body can be sent once.
 *
 * The last chunk, and no other, must have empty data. This chunk is written only after the iterable
 * has ended, so an iterable that fails never makes a complete message.
 *
 * @example
 * ```ts
 * import { type Chunk, ChunkedBodyIter } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const encoder = new TextEncoder();
 * function* chunks(): Iterable<Chunk> {
 *   yield [null, encoder.encode("hello")];
 *   yield [["key", "value"], new Uint8Array(0)];
 * }
 * const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
 * const text = new Response(readable).text();
 * await new ChunkedBodyIter(chunks()).writeTo(writable);
 * await writable.close();
 * assertEquals(await text, "5\r\nhello\r\n0;key=value\r\n\r\n");
 * ```
 */
export class ChunkedBodyIter extends MessageBody {
  /** True: the body consists of chunks. */
  readonly chunked = true as const;

  /**
   * Makes a body from an iterable of chunks.
   *
   * @param source The chunks; the last one, and no other, is empty.
   * @throws {TypeError} if the source is not an iterable.
   */
  constructor(source: Iterable<Chunk> | AsyncIterable<Chunk>) {
    super(new Chunks(source, "chunked"));
  }
}
