import { checkContentLength, MessageBody } from "./body.ts";
import { BodyState } from "./body_reader.ts";
import type { BodyOutcome } from "./body_source.ts";
import { checkUnchanged, type OpenSink, toSourceError } from "./byte_io.ts";
import { EMPTY_BYTES, makePlainView } from "../../internal/bytes.ts";
import { checkBoolean, checkOptions, wrongTypeError } from "../../internal/checks.ts";
import {
  type Chunk,
  encodeChunk,
  encodeChunkInto,
  encodedLengthOf,
  type PreparedChunk,
  prepareSourceChunk,
} from "../wire/chunk.ts";
import { BodyError } from "../errors.ts";
import { typeNameOf } from "../../internal/quote.ts";

type AnyIterable<T> = Iterable<T> | AsyncIterable<T>;
type AnyIterator<T> = Iterator<T> | AsyncIterator<T>;

class ItemSource<T> {
  readonly #iterable: AnyIterable<T>;
  #iterator: AnyIterator<T> | null = null;
  /** `"idle"` also before the first `next()`, which opens the iterator. */
  #phase: "idle" | "pending" | "ended" = "idle";

  constructor(source: AnyIterable<T>) {
    const iterable = source as Partial<Iterable<T> & AsyncIterable<T>> | null | undefined;
    if (
      typeof source === "string" || (typeof iterable?.[Symbol.asyncIterator] !== "function" &&
        typeof iterable?.[Symbol.iterator] !== "function")
    ) {
      throw wrongTypeError("source", "an iterable", source);
    }
    this.#iterable = source;
  }

  next(): IteratorResult<T> | Promise<IteratorResult<T>> {
    this.#phase = "pending";
    try {
      this.#iterator ??= this.#openIterator();
      const result = this.#iterator.next();
      return "then" in result
        ? Promise.resolve(result).then(this.#onItem, this.#onError)
        : this.#onItem(result);
    } catch (error) {
      return this.#onError(error);
    }
  }

  readonly #onItem = (result: IteratorResult<T>): IteratorResult<T> => {
    this.#phase = result.done === true ? "ended" : "idle";
    return result;
  };

  readonly #onError = (error: unknown): never => {
    // An iterator that throws has ended.
    this.#phase = "ended";
    throw toSourceError(error);
  };

  #openIterator(): AnyIterator<T> {
    const iterable = this.#iterable as Iterable<T> & AsyncIterable<T>;
    return typeof iterable[Symbol.asyncIterator] === "function"
      ? iterable[Symbol.asyncIterator]()
      : iterable[Symbol.iterator]();
  }

  async onEnd(_outcome: BodyOutcome, _error?: unknown, reason?: unknown): Promise<void> {
    if (this.#phase === "ended") return;
    try {
      // The iterator of a stream cancels the stream with this reason.
      const returnPromise = (this.#iterator ?? this.#openIterator()).return?.(reason);
      // Don't wait for a generator with a pending item: the item may never arrive.
      if (this.#phase === "pending") Promise.resolve(returnPromise).catch(() => {});
      else await returnPromise;
    } catch {
      // The body has ended, with or without an error of its iterator.
    }
  }
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

class PieceWriter extends BodyState<ItemSource<Uint8Array>> {
  protected override async writePieces(sink: OpenSink): Promise<number> {
    const contentLength = this.framing as number;
    const checker = new ContentLengthChecker(contentLength);
    for (;;) {
      const item = this.source.next();
      const { done, value } = await (item instanceof Promise ? this.waitFor(item) : item);
      if (done) break;
      if (!(value instanceof Uint8Array)) {
        throw new BodyError(`the source's items must be Uint8Arrays; got ${typeNameOf(value)}`);
      }
      const bytes = checker.count(value);
      if (bytes !== null) {
        await this.waitFor(sink.write(sink.keepsBytes ? bytes.slice() : bytes));
      }
    }
    const lastBytes = checker.finish();
    if (lastBytes !== null) await this.waitFor(sink.write(lastBytes));
    this.endOperation(true);
    return contentLength;
  }
}

/**
 * A body of known length from an iterable of byte arrays. The body can be sent once.
 *
 * The items must have exactly `contentLength` bytes in total. The last item is written only after
 * the iterable has ended, so an iterable with a wrong length never makes a complete message.
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
   * Makes a body from an iterable whose items have `contentLength` bytes in total.
   *
   * @param source The bytes, in pieces of any size.
   * @param contentLength The number of bytes in the whole body.
   * @throws {TypeError} if the source is not an iterable, or the length not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, contentLength: number) {
    checkContentLength(contentLength);
    super(new PieceWriter(contentLength, new ItemSource(source)));
    this.contentLength = contentLength;
  }
}

const MAX_JOINED_BYTES = 131072;
/**
 * All chunks of a write are taken from the source in one tick of the event loop, and an HTTP
 * request over another socket needs many ticks. Without this limit, 128 KiB of one-byte chunks in
 * each write would delay such a request by a second.
 */
const MAX_JOINED_CHUNKS = 512;
const BUFFER_GROWTH_FACTOR = 2;
const CRLF = new Uint8Array([0x0d, 0x0a]);
const encoder = new TextEncoder();

/**
 * The first chunk is written at once. The chunks that the source yields during a write are copied,
 * and joined in the next write.
 */
class ChunkWriter extends BodyState<ItemSource<Chunk>> {
  readonly #isSequential: boolean;
  #buffer: Uint8Array<ArrayBuffer> = EMPTY_BYTES;
  #bufferedBytes = 0;
  #bufferedChunks = 0;
  #writtenBuffer: Uint8Array<ArrayBuffer> = EMPTY_BYTES;
  #pendingWrite: Promise<void> | null = null;
  /** Resolves once no chunk is buffered, or the body is stopped; `null` if no write is pending. */
  #flushPromise: Promise<void> | null = null;

  /** @param isSequential Whether each chunk is requested only after the previous was written. */
  constructor(source: AnyIterable<Chunk>, isSequential: boolean) {
    super("chunked", new ItemSource(source));
    this.#isSequential = isSequential;
  }

  protected override async writePieces(sink: OpenSink): Promise<number> {
    let totalBytes = 0;
    let lastChunk: PreparedChunk | null = null;
    const write = (chunk: PreparedChunk) => {
      totalBytes += encodedLengthOf(chunk);
      return this.#writeChunk(sink, chunk);
    };
    try {
      for (;;) {
        let item = this.source.next();
        // Don't await the first item if it is ready, so that it is sent with the preamble. During a
        // write, wait a microtask after each item, so that an error of the write ends this loop.
        if (item instanceof Promise) item = await this.waitFor(item);
        else if (this.#flushPromise !== null) await null;
        if (item.done) break;
        if (lastChunk !== null) throw new BodyError("the source has a chunk after the empty one");
        const chunk = prepareSourceChunk(item.value);
        if (chunk.size === 0) {
          lastChunk = chunk;
          continue;
        }
        const promise = write(chunk);
        if (promise !== null) await promise;
        if (this.#isSequential) await this.#flush();
      }
      if (lastChunk === null) throw new BodyError("the source ended without an empty chunk");
    } catch (error) {
      // After an error of the source, send the chunks before the error.
      if (!this.isStopped) await this.#flush();
      throw error;
    }
    await write(lastChunk);
    await this.#flush();
    this.endOperation(true);
    return totalBytes;
  }

  /** Returns a promise only if the next item must not be requested yet. */
  #writeChunk(sink: OpenSink, chunk: PreparedChunk): Promise<void> | null {
    const length = encodedLengthOf(chunk);
    if (length > MAX_JOINED_BYTES) return this.#writeLargeChunk(sink, chunk);
    const end = this.#bufferedBytes + length;
    if (end > MAX_JOINED_BYTES || this.#bufferedChunks === MAX_JOINED_CHUNKS) {
      return this.#writeChunkLater(sink, chunk);
    }
    this.checkNotStopped();
    checkUnchanged(chunk.data, chunk.size);
    this.#makeRoom(end);
    encodeChunkInto(this.#buffer, this.#bufferedBytes, chunk);
    this.#bufferedBytes = end;
    this.#bufferedChunks++;
    this.#flushPromise ??= this.#writeBuffered(sink);
    return null;
  }

  async #writeChunkLater(sink: OpenSink, chunk: PreparedChunk): Promise<void> {
    await this.waitFor(this.#pendingWrite!);
    await this.#writeChunk(sink, chunk);
  }

  async #writeLargeChunk(sink: OpenSink, chunk: PreparedChunk): Promise<void> {
    await this.#flush();
    const { header, size, data } = chunk;
    checkUnchanged(data, size);
    if (sink.keepsBytes) return await this.waitFor(sink.write(encodeChunk(chunk)));
    await this.waitFor(sink.write(encoder.encode(header)));
    checkUnchanged(data, size);
    await this.waitFor(sink.write(data));
    await this.waitFor(sink.write(CRLF));
  }

  #makeRoom(size: number): void {
    const { length } = this.#buffer;
    if (size <= length) return;
    const capacity = Math.min(Math.max(size, length * BUFFER_GROWTH_FACTOR), MAX_JOINED_BYTES);
    const newBuffer = new Uint8Array(capacity);
    newBuffer.set(this.#buffer.subarray(0, this.#bufferedBytes));
    this.#buffer = newBuffer;
  }

  async #flush(): Promise<void> {
    if (this.#flushPromise !== null) await this.waitFor(this.#flushPromise);
  }

  async #writeBuffered(sink: OpenSink): Promise<void> {
    try {
      while (this.#bufferedBytes > 0 && !this.isStopped) {
        const bytes = this.#buffer.subarray(0, this.#bufferedBytes);
        [this.#buffer, this.#writtenBuffer] = [this.#writtenBuffer, this.#buffer];
        this.#bufferedBytes = this.#bufferedChunks = 0;
        await (this.#pendingWrite = sink.write(sink.keepsBytes ? bytes.slice() : bytes));
      }
    } catch (error) {
      // Don't wait for the next item, which may never arrive.
      this.interruption.rejectPending?.(error);
      this.cancel(error);
    }
    this.#flushPromise = this.#pendingWrite = null;
    // A body that waits for its source needs no memory.
    this.#buffer = this.#writtenBuffer = EMPTY_BYTES;
  }
}

/**
 * A chunked body from an iterable of chunks. The body can be sent once.
 *
 * Only the last chunk must have empty data. It is written after the iterable has ended, so an
 * iterable that fails never makes a complete message.
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
   * @param source The chunks; only the last chunk is empty.
   * @param options With `sequential: true`, each chunk is requested only after the previous chunk
   * was written, so that the source knows which chunks were written. By default, the body joins the
   * chunks that the source yields during a write, which is faster for small chunks.
   * @throws {TypeError} if the source is not an iterable, or an option is of a wrong type or
   * unknown.
   *
   * @example Know which chunks were written
   * ```ts
   * import { type Chunk, ChunkedBodyIter } from "@degu/degu/base";
   * import { assertEquals } from "@std/assert";
   *
   * const events: string[] = [];
   * function* chunks(): Iterable<Chunk> {
   *   for (const name of ["a", "b"]) {
   *     yield [null, new TextEncoder().encode(name)];
   *     events.push(`${name} was written`);
   *   }
   *   yield [null, new Uint8Array(0)];
   * }
   * const sink = new WritableStream<Uint8Array>({ write: () => void events.push("write") });
   * await new ChunkedBodyIter(chunks(), { sequential: true }).writeTo(sink);
   * assertEquals(events, ["write", "a was written", "write", "b was written", "write"]);
   * ```
   */
  constructor(
    source: Iterable<Chunk> | AsyncIterable<Chunk>,
    options?: { readonly sequential?: boolean | undefined },
  ) {
    const isSequential = options !== undefined &&
      checkOptions(options, { sequential: checkBoolean }).sequential === true;
    super(new ChunkWriter(source, isSequential));
  }
}
