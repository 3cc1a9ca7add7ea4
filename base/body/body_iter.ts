/**
 * Bodies from iterables, to be sent.
 *
 * @module
 */

import { checkContentLength } from "./body.ts";
import { BodyUse, cancellation, writeWhole } from "./body_use.ts";
import type { ByteSink, OpenSink } from "./byte_io.ts";
import { checkUnchanged, viewOf } from "../bytes.ts";
import { type Chunk, encodeChunk, makeSendableOf, type SendableChunk } from "../wire/chunk.ts";
import { BodyError, typeName } from "../errors.ts";

type AnyIterable<T> = Iterable<T> | AsyncIterable<T>;
type AnyIterator<T> = Iterator<T> | AsyncIterator<T>;

/** What both kinds have in common: one pass over the source, which is always ended or returned. */
class IterableSource<T> {
  readonly #iterable: AnyIterable<T>;
  readonly #use = new BodyUse();
  #iterator: AnyIterator<T> | null = null;
  // True from when the iterator is asked for an item until it gives one.
  #asked = false;
  #ended = false;

  constructor(source: AnyIterable<T>) {
    const iterable = source as Partial<Iterable<T> & AsyncIterable<T>> | null | undefined;
    if (
      typeof source === "string" || (typeof iterable?.[Symbol.asyncIterator] !== "function" &&
        typeof iterable?.[Symbol.iterator] !== "function")
    ) {
      throw new TypeError(`source: need an iterable; got ${typeName(source)}`);
    }
    this.#iterable = source;
  }

  get used(): boolean {
    return this.#use.used;
  }

  /** Runs `write` over the items with an open sink; the iterator is ended whatever happens. */
  pass(
    sink: WritableStream<Uint8Array> | ByteSink,
    write: (next: () => Promise<IteratorResult<T>>, out: OpenSink) => Promise<number>,
  ): Promise<number> {
    return writeWhole(this.#use, sink, async (out) => {
      const iterator = this.#iterator = this.#open();
      const written = await write(() => this.#use.wait(this.#next(iterator)), {
        ...out,
        write: (bytes) => this.#use.wait(out.write(bytes)),
      });
      this.#use.consume();
      return written;
    }, (error) => this.cancel(error));
  }

  async #next(iterator: AnyIterator<T>): Promise<IteratorResult<T>> {
    this.#asked = true;
    try {
      const result = await iterator.next();
      this.#ended = result.done === true;
      return result;
    } catch (error) {
      // An iterator that throws has ended by itself.
      this.#ended = true;
      throw error;
    } finally {
      this.#asked = false;
    }
  }

  #open(): AnyIterator<T> {
    const iterable = this.#iterable as Iterable<T> & AsyncIterable<T>;
    return typeof iterable[Symbol.asyncIterator] === "function"
      ? iterable[Symbol.asyncIterator]()
      : iterable[Symbol.iterator]();
  }

  async cancel(reason: unknown): Promise<void> {
    if (this.#use.isOver) return;
    this.#use.fail(cancellation(reason));
    if (this.#ended) return;
    try {
      // The iterator of a stream cancels it with this.
      const returning = (this.#iterator ?? this.#open()).return?.(reason);
      if (!this.#asked) await returning;
      // A generator returns only after the item that it was asked for, which may never come.
      else Promise.resolve(returning).catch(() => {});
    } catch {
      // It was asked to end; that it failed while it ended changes nothing for us.
    }
  }
}

/**
 * A body of known length from an iterable of byte arrays. It can be sent once.
 *
 * The items together have to have exactly `contentLength` bytes. The one that completes them is
 * written only when the iterable has ended, so that a wrong one never makes a complete message.
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
export class BodyIter {
  /** The length of the whole body in bytes. */
  readonly contentLength: number;
  /** Tells the two kinds of bodies apart. */
  readonly chunked = false as const;
  readonly #source: IterableSource<Uint8Array>;

  /**
   * Makes a body from an iterable whose items have `contentLength` bytes in all.
   *
   * @throws {TypeError} where the source is not an iterable, or the length not a number.
   * @throws {RangeError} where the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, contentLength: number) {
    checkContentLength(contentLength);
    this.#source = new IterableSource(source);
    this.contentLength = contentLength;
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#source.used;
  }

  /**
   * Writes the whole body to a stream, a file or a connection, which is left open and free.
   *
   * @returns How many bytes were written: the content-length.
   * @throws {BodyError} where the items have more or fewer bytes, or the body was used before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#source.pass(sink, async (next, out) => {
      let left = this.contentLength;
      let last: Uint8Array | null = null;
      for (;;) {
        const { done, value } = await next();
        if (done) break;
        if (!(value instanceof Uint8Array)) {
          throw new BodyError(`the source gave a ${typeName(value)}; need Uint8Array`);
        }
        const bytes = viewOf(value);
        if (bytes.length > left) {
          const most = this.contentLength;
          throw new BodyError(`the source gave more than the content-length of ${most} bytes`);
        }
        left -= bytes.length;
        if (left > 0) await out.write(out.keepsBytes ? bytes.slice() : bytes);
        // A copy: the source is asked once more, and may use the same memory again.
        else if (bytes.length > 0) last = bytes.slice();
      }
      if (left > 0) {
        throw new BodyError(`the source ended ${left} bytes before the content-length`);
      }
      if (last !== null) await out.write(last);
      return this.contentLength;
    });
  }

  /**
   * Gives the body up: ends the iterator. If it is being sent, that rejects at once with the reason,
   * or with a {@linkcode BodyError} whose `cause` it is, and the message is cut.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#source.cancel(reason);
  }
}

/** Chunks up to this size go out in one write together with their line. */
const STAGED_BYTES = 131072;
const CRLF = new Uint8Array([0x0d, 0x0a]);

/** Writes a chunk as it is encoded; returns how many bytes that were. */
async function writeChunk(out: OpenSink, chunk: SendableChunk): Promise<number> {
  const total = chunk.line.length + chunk.size + CRLF.length;
  if (out.keepsBytes || total <= STAGED_BYTES) {
    await out.write(encodeChunk(chunk));
  } else {
    await out.write(chunk.line);
    checkUnchanged(chunk.data, chunk.size);
    await out.write(chunk.data);
    await out.write(CRLF);
  }
  return total;
}

/**
 * A chunked body from an iterable of chunks. It can be sent once.
 *
 * The last chunk, and only that, has empty data; it is written only when the iterable has ended.
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
export class ChunkedBodyIter {
  /** Tells the two kinds of bodies apart. */
  readonly chunked = true as const;
  readonly #source: IterableSource<Chunk>;

  /**
   * Makes a body from an iterable of chunks.
   *
   * @throws {TypeError} where the source is not an iterable.
   */
  constructor(source: Iterable<Chunk> | AsyncIterable<Chunk>) {
    this.#source = new IterableSource(source);
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#source.used;
  }

  /**
   * Writes the whole body, encoded, to a stream, a file or a connection, which is left open and
   * free.
   *
   * @returns How many bytes were written, those of the coding included.
   * @throws {BodyError} where an item is not a chunk that can be sent, the empty one is not the
   * last or missing, or the body was used before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#source.pass(sink, async (next, out) => {
      let written = 0;
      let last: SendableChunk | null = null;
      for (;;) {
        const { done, value } = await next();
        if (done) break;
        if (last !== null) throw new BodyError("the source gave a chunk after the empty one");
        const chunk = makeSendableOf(value);
        if (chunk.size === 0) last = chunk;
        else written += await writeChunk(out, chunk);
      }
      if (last === null) throw new BodyError("the source ended without an empty chunk");
      return written + await writeChunk(out, last);
    });
  }

  /**
   * Gives the body up: ends the iterator. If it is being sent, that rejects at once with the reason,
   * or with a {@linkcode BodyError} whose `cause` it is, and the message is cut.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#source.cancel(reason);
  }
}
