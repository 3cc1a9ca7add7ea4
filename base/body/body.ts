/**
 * The classes of bodies, and an overview of received and sent bodies.
 *
 * **A received body** is made by `net/transport/incoming_body.ts` when its preamble has been read.
 * Its parts:
 *
 * - The *source* (`BodySource`) returns bytes: of a connection, a file, a stream or memory.
 *   Its buffer holds bytes that were received, possibly including bytes of the next message.
 * - The *decoder* (`body_framing.ts`) finds the end of the body: after `contentLength` bytes, or
 *   with the last chunk.
 * - The *reader* (`body_reader.ts`) takes bytes from the buffer, then reads from the source into
 *   the memory that the program gets, and never consumes bytes beyond the body. The reader extends
 *   `BodyState`, which allows one operation at a time, until the body has ended.
 *
 * An operation (`text`, `writeTo`, a loop, …) begins, reads until the reader is done, and ends. The
 * operation doesn't await buffered bytes, because each await costs a microtask.
 *
 * A body ends once, and `BodyState.#finish` reports the outcome to the source:
 *
 * - *consumed*: the last byte was read. The connection continues with the next message.
 * - *canceled*: the program doesn't need the remaining bytes. It has called `cancel` or left a
 *   loop, a sink has failed, the body exceeds the limit of a read, or an app returned a response
 *   without reading a long request. A client closes its connection. A server sends its response,
 *   then lingers: it drops the remaining bytes, because a close with unread bytes would reset the
 *   connection, and the peer would lose the response.
 * - *broken*: the source has failed, because the peer disconnected, sent no bytes in time, or
 *   sent invalid chunks. The connection is closed; after invalid chunks, a server first sends a 400
 *   if it can.
 *
 * A canceled or broken body rejects the pending operation and every later operation, as does a body
 * whose request's signal was aborted. If a request body exceeds the app's limit (`TOO_LONG`), the
 * response is 413; if the content-length alone exceeds the limit, the app can still read the body
 * in another way. `Response.discard`, and a server whose app ignores a request, read a few
 * remaining bytes, which consumes the body, and cancel a longer body.
 *
 * **A sent body** is a text or an array, which `net/transport/message_sender.ts` writes together
 * with the preamble; or a body of one of the four classes, which writes itself to a `MessageSink`:
 * from a source as above, which in a proxy is another connection, or from an iterable (`BodyState`
 * of `body_reader.ts`). `sent_body.ts` converts streams and generators to iterables of chunks. The
 * sink joins the first piece with the preamble, and compares the number of bytes with the
 * content-length. The last piece is written only when the source has ended where it must, so that
 * an error always leaves the message incomplete.
 */

import { decodeText, EMPTY_BYTES } from "../../internal/bytes.ts";
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  copyOptions,
  wrongTypeError,
} from "../../internal/checks.ts";
import { typeNameOf } from "../../internal/quote.ts";
import { BodyError } from "../errors.ts";
import {
  type Chunk,
  encodeChunk,
  encodeChunkInto,
  encodedLengthOf,
  type PreparedChunk,
  prepareSourceChunk,
  type RangeChecker,
} from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES, MAX_READ_BYTES } from "../wire/limits.ts";
import {
  checkContentLength,
  ChunkDecoder,
  ContentLengthChecker,
  LengthDecoder,
} from "./body_framing.ts";
import {
  type BodyOutcome,
  BodyReader,
  BodyState,
  type BytesConverter,
  type ContentError,
  copyIfShared,
  openFile,
  openSource,
} from "./body_reader.ts";
import {
  type ByteSink,
  type ByteSource,
  checkUnchanged,
  Collector,
  type OpenSink,
  toSourceError,
} from "./byte_io.ts";

function parseMaxBytes(options: { maxBytes?: number | undefined } | undefined): number {
  if (options === undefined) return MAX_READ_BYTES;
  const { maxBytes = MAX_READ_BYTES } = copyOptions(options, ["maxBytes"]);
  checkInteger("maxBytes", maxBytes, 0, MAX_READ_BYTES);
  return maxBytes;
}

let readState: (body: object) => BodyState | null;

/** A body of one of the four classes. It can be consumed, or sent, once. */
export abstract class MessageBody {
  readonly #state: BodyState;

  /** @internal */
  constructor(state: BodyState) {
    this.#state = state;
  }

  static {
    readState = (body) => #state in body ? body.#state : null;
  }

  /** Whether an operation has begun. */
  get used(): boolean {
    return this.#state.used;
  }

  /**
   * Writes the whole body to a stream, a file or a connection, which stays open and is unlocked
   * again. The last byte is written only after the source has ended where it must. A chunked body
   * is written **encoded**; for the data of a received body, use
   * {@linkcode ReadableBody.prototype.readable}.
   *
   * @param sink The destination of the bytes.
   * @returns The number of bytes written: the content-length, or the size of the encoded chunks.
   * @throws {BodyError} if the source has more or fewer bytes, or an invalid chunk, or if another
   * operation has begun before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#state.handleRejection(this.#state.writeTo(sink));
  }

  /**
   * Cancels the body or its remaining bytes, and so its stream, iterator or connection. Pending and
   * later operations reject with the reason, or with a {@linkcode BodyError} whose `cause` is the
   * reason. If the body is being sent, the message stays incomplete. A server that cancels the body
   * of a request keeps the connection open for an error response.
   *
   * @param reason The error of pending operations, or the `cause` of their error.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#state.cancel(reason);
  }
}

/** Returns the state of a body; `null` for any other value. */
export function stateOf(value: unknown): BodyState | null {
  return typeof value === "object" && value !== null ? readState(value) : null;
}

export function readerOf(body: ReadableBody): BodyReader {
  const state = stateOf(body);
  if (state instanceof BodyReader) return state;
  throw wrongTypeError("response.body", "a Body or a ChunkedBody of this package", body);
}

/** A body that can be read: a `Body` or a `ChunkedBody`. It can be consumed once. */
export abstract class ReadableBody extends MessageBody {
  #stream: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;

  /**
   * The data of the body, decoded, as a byte stream for default and BYOB readers. Getting the
   * stream begins an operation of the body; canceling the stream cancels the rest of the body.
   *
   * @throws {BodyError} if another operation has begun before, or the stream has delivered its last
   * byte.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const reader = readerOf(this);
    // Drop the stream of a consumed body, so that makeStream() throws an error.
    if (reader.isConsumed && reader.framing !== 0) this.#stream = null;
    return this.#stream ??= reader.makeStream();
  }

  /**
   * Reads the remaining data, up to a limit.
   *
   * @param options The limit: `maxBytes`, 0 to 16777216 bytes, by default 16777216.
   * @throws {BodyError} with the code `"TOO_LONG"` if more bytes remain. A chunked body, or the
   * body of a response, is then canceled; any other body is unchanged. The code is `null` if the
   * body is in use, has failed, or was consumed before.
   */
  bytes(options?: { maxBytes?: number | undefined }): Promise<Uint8Array<ArrayBuffer>> {
    return readUpTo(this, options, copyIfShared);
  }

  /**
   * Reads the remaining data, up to a limit, as UTF-8 text. A byte order mark is kept.
   *
   * @param options The limit: `maxBytes`, 0 to 16777216 bytes, by default 16777216.
   * @throws {TypeError} if the data is not valid UTF-8; else as
   * {@linkcode ReadableBody.prototype.bytes} does.
   */
  text(options?: { maxBytes?: number | undefined }): Promise<string> {
    return readUpTo(this, options, decodeText);
  }

  /**
   * Reads the remaining data, up to a limit, and parses it as JSON. A byte order mark at its start
   * is dropped.
   *
   * The result is `unknown`, because a peer can send any value: check it, for example by the
   * validator of a schema. `json<Lamp>()` has the type without a check, like `as Lamp`.
   *
   * @param options The limit: `maxBytes`, 0 to 16777216 bytes, by default 16777216.
   * @throws {SyntaxError} if the data is not JSON; else as
   * {@linkcode ReadableBody.prototype.text} does.
   */
  json<T = unknown>(options?: { maxBytes?: number | undefined }): Promise<NoInfer<T>> {
    return readUpTo(this, options, (bytes) => parseJson(decodeText(bytes), "the body"));
  }

  /** Cancels the body, unless it was consumed: {@linkcode MessageBody.prototype.cancel}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }
}

/** Reads the remaining data up to the limit of the options, and converts it. */
export function readUpTo<Value>(
  body: ReadableBody,
  options: { maxBytes?: number | undefined } | undefined,
  convert: BytesConverter<Value>,
): Promise<Value> {
  const reader = readerOf(body);
  try {
    return reader.handleRejection(reader.readRemaining(parseMaxBytes(options), convert));
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Parses JSON. A program may ignore a byte order mark at its start (RFC 8259 §8.1). */
export function parseJsonText<T>(text: string): T {
  return JSON.parse(text.startsWith("\ufeff") ? text.slice(1) : text);
}

/**
 * @param label The name of the message in errors.
 * @param advice What to do if the text isn't JSON.
 */
export function parseJson<T>(text: string, label: string, advice = ""): T {
  try {
    return parseJsonText(text);
  } catch (cause) {
    const problem = text === "" ? "is empty" : `is not JSON: ${(cause as Error).message}`;
    throw new SyntaxError(`${label} ${problem}${advice}`, { cause });
  }
}

/**
 * A body of known length: a body to send, from a stream, a file or another source, or a received
 * body. The body can be consumed once.
 *
 * Of a file, or any other {@linkcode ByteSource}, exactly `contentLength` bytes are read, from its
 * current position on, and the file stays open. A stream must end where the body ends. A source
 * with too few bytes causes a {@linkcode BodyError}; a received body that is cut off causes a
 * `ConnectionError` (`BODY_INCOMPLETE`).
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
export class Body extends ReadableBody implements AsyncIterable<Uint8Array> {
  /** The length of the whole body in bytes. */
  readonly contentLength: number;
  /** False: the body has a known length and no chunks. */
  readonly chunked = false as const;

  /**
   * Makes a body from a source of `contentLength` bytes.
   *
   * @param source The source of the bytes.
   * @param contentLength The number of bytes in the whole body.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}, or
   * the length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: ReadableStream<Uint8Array> | ByteSource, contentLength: number) {
    checkContentLength(contentLength);
    super(new BodyReader(openSource(source), new LengthDecoder(contentLength)));
    this.contentLength = contentLength;
  }

  /**
   * Opens a file, and makes a body of the bytes that it has now. The file is closed when the body
   * is consumed, canceled or disposed of, or fails. Needs `--allow-read` of the file.
   *
   * @param path The path, or a `file:` URL, of a regular file.
   * @throws {TypeError} if the path is neither a string nor a URL.
   * @throws {RangeError} if the path is that of no regular file, or of one above 2⁵³ − 1 bytes.
   * @throws the error of the system if the file can't be opened.
   *
   * @example
   * ```ts
   * import { Body } from "@degu/degu/base";
   * import { assertEquals } from "@std/assert";
   *
   * const path = await Deno.makeTempFile();
   * await Deno.writeTextFile(path, "hello");
   * const body = await Body.fromFile(path);
   * assertEquals(body.contentLength, 5);
   * assertEquals(await body.text(), "hello");
   * await Deno.remove(path);
   * ```
   */
  static async fromFile(path: string | URL): Promise<Body> {
    const { source, size } = await openFile(path);
    return new Body(source, size);
  }

  /**
   * Reads the next `size` bytes, fewer only at the end; without a size, all remaining bytes. The
   * first read after the last byte returns an empty array.
   *
   * @param size 0 to 16777216.
   * @throws {RangeError} if the size is out of range, or more than 16777216 bytes remain; the body
   * is unchanged.
   * @throws {BodyError} if the body is in use, has failed, or was consumed before.
   */
  read(size?: number): Promise<Uint8Array<ArrayBuffer>> {
    const reader = readerOf(this);
    return reader.handleRejection(reader.readRemaining(null, copyIfShared, size));
  }

  /**
   * Iterates over the body in pieces of up to 64 KiB, each a separate array. Leaving the loop early
   * cancels the body.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    return readerOf(this).iteratePieces();
  }
}

/**
 * A chunked body: a body to send, from a source of encoded chunks, or a received body. Chunks keep
 * their boundaries and extensions. The body can be consumed once.
 *
 * @example
 * ```ts
 * import { ChunkedBody } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const encoded = new Blob(["5;key=value\r\nhello\r\n0\r\n\r\n"]);
 * const body = new ChunkedBody(encoded.stream());
 * const [extension, data] = await body.readChunk();
 * assertEquals(extension, ["key", "value"]);
 * assertEquals(new TextDecoder().decode(data), "hello");
 * assertEquals((await body.readChunk())[1].length, 0);
 * ```
 */
export class ChunkedBody extends ReadableBody implements AsyncIterable<Chunk> {
  /** True: the body consists of chunks. */
  readonly chunked = true as const;
  /**
   * Whether the server has announced neither a length nor chunks, so that the close of the
   * connection ends this body (RFC 9112 §6.3). A server that fails can end such a body too early.
   */
  readonly endsWithConnection: boolean;
  readonly #decoder: ChunkDecoder;

  /**
   * Makes a body from a source of encoded chunks. A stream must end with the last chunk. A file, or
   * any other source of bytes, isn't read beyond the last chunk.
   *
   * @param source The source of the encoded bytes.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}.
   */
  constructor(source: ReadableStream<Uint8Array> | ByteSource) {
    const bodySource = openSource(source);
    const decoder = new ChunkDecoder(bodySource.kind === "response");
    super(new BodyReader(bodySource, decoder));
    this.endsWithConnection = bodySource.endsWithConnection === true;
    this.#decoder = decoder;
  }

  /**
   * Reads the next chunk: its extension, or `null`, and its data of up to 16777216 bytes. Returns a
   * larger chunk in several calls, of which the first returns the extension. The last chunk has
   * empty data. An extension is `null` unless it is the only one and its value is a token.
   *
   * @throws {BodyError} if the body is in use, has failed, or its last chunk was read before.
   */
  readChunk(): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
    return readerOf(this).handleRejection(this.#readChunk());
  }

  async #readChunk(): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
    const reader = readerOf(this);
    reader.begin("read a chunk of", "chunk");
    const chunk = await reader.readFromSource(() => readNextChunk(reader, this.#decoder));
    reader.endOperation(reader.isDone);
    return chunk;
  }

  /**
   * Reads the data of all remaining chunks. The first read after the last chunk returns an empty
   * array.
   *
   * @throws {RangeError} if more than 16777216 bytes remain; the body is then canceled.
   * @throws {BodyError} if the body is in use, has failed, or was consumed before.
   */
  read(): Promise<Uint8Array<ArrayBuffer>> {
    const reader = readerOf(this);
    return reader.handleRejection(reader.readRemaining(null, copyIfShared));
  }

  /**
   * Iterates over the chunks, including the empty last chunk. Leaving the loop early cancels the
   * body.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Chunk<Uint8Array<ArrayBuffer>>, void, void> {
    const reader = readerOf(this);
    return reader.iterate(() => readNextChunk(reader, this.#decoder));
  }
}

async function readNextChunk(
  reader: BodyReader,
  decoder: ChunkDecoder,
): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
  const turn = reader.waitForTurn();
  if (turn !== null) {
    await turn;
    reader.checkNotStopped();
  }
  const { buffer } = reader;
  let extension: Chunk[0] = null;
  // The last call may have returned a piece of a larger chunk.
  if (decoder.contiguousBytes === 0) {
    while (!decoder.skipFraming(buffer)) await reader.fillBuffer();
    ({ extension } = decoder.header);
  }
  const size = Math.min(decoder.contiguousBytes, MAX_CHUNK_BYTES);
  let data;
  if (size <= buffer.bufferedBytes) {
    data = buffer.takeView(size).slice();
    decoder.skipData(size);
  } else {
    const collector = new Collector(size);
    while (collector.missingBytes > 0) {
      collector.countWritten(await reader.read(collector.makeRoom()));
    }
    data = collector.toBytes();
  }
  if (decoder.contiguousBytes > 0) return [extension, data];
  // The last chunk is followed by several lines, the trailer.
  do {
    while (!decoder.skipFraming(buffer)) await reader.fillBuffer();
  } while (size === 0 && decoder.remainingBytes > 0);
  return reader.checkEnd([extension, data]);
}

// ───────────────────────── bodies from iterables

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
   * @throws {TypeError} if the source is no iterable, or an option is unknown or of a wrong type.
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
  #rangeChecker: RangeChecker | null = null;

  /** @param isSequential Whether each chunk is requested only after the previous was written. */
  constructor(source: AnyIterable<Chunk>, isSequential: boolean) {
    super("chunked", new ItemSource(source));
    this.#isSequential = isSequential;
  }

  override checkRange(checker: RangeChecker): void {
    this.#rangeChecker = checker;
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
        const problem = this.#rangeChecker?.countChunk(chunk.size) ?? null;
        if (problem !== null) throw new BodyError(`content-range and the source: ${problem}`);
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

// ───────────────────────── bodies of any class

/** The body of a received message. */
export type BodyIn = null | Body | ChunkedBody;

/** A body of one of the four classes. */
export type WritableBody = Body | BodyIter | ChunkedBody | ChunkedBodyIter;

/** The four body classes, or classes that extend them, for the `bodies` option of a client. */
export interface Bodies {
  /** A body of known length, from a stream, a file or another source of bytes. */
  readonly Body: typeof Body;
  /** A body of known length, from an iterable. */
  readonly BodyIter: typeof BodyIter;
  /** A chunked body, from a source of encoded chunks. */
  readonly ChunkedBody: typeof ChunkedBody;
  /** A chunked body, from an iterable. */
  readonly ChunkedBodyIter: typeof ChunkedBodyIter;
}

/** The four body classes of this package. */
export const bodies: Bodies = Object.freeze({ Body, BodyIter, ChunkedBody, ChunkedBodyIter });

export function checkBodies(given: Bodies): void {
  for (const name of ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter"] as const) {
    const standardClass = bodies[name];
    const givenClass: unknown = given?.[name];
    if (givenClass === standardClass) continue;
    if (typeof givenClass === "function" && givenClass.prototype instanceof standardClass) continue;
    throw wrongTypeError(
      "bodies",
      `an object with classes, whose ${name} extends the class of this package`,
      typeof givenClass === "function" ? givenClass.prototype : given,
    );
  }
}

export function isWritableBody(value: unknown): value is WritableBody {
  return stateOf(value) !== null;
}

export function cancelQuietly(body: unknown, reason: unknown): void {
  if (isWritableBody(body)) body.cancel(reason).catch(() => {});
}

/** Doesn't call the `writeTo` of the body, with which a subclass could change the framing. */
export function writeMessageBody(body: WritableBody, sink: ByteSink): Promise<number> {
  return stateOf(body)!.writeTo(sink);
}

const MAX_DISCARDED_BYTES = 65536;
const DISCARD_MILLISECONDS = 1000;

/** Whether a body that nobody reads may be short enough for {@linkcode discardBody}. */
export function isDiscardable(body: Body | ChunkedBody): boolean {
  const reader = readerOf(body);
  // The close of the connection is the end of the body.
  if (!reader.isFree || body.chunked && body.endsWithConnection) return false;
  return reader.framing === "chunked" || reader.remainingBytes <= MAX_DISCARDED_BYTES;
}

/**
 * Reads and drops the remaining bytes of a received body, so that its connection can be reused.
 * Cancels a body that has too many bytes, that takes too long, or that is in use. Never rejects.
 *
 * @param timeout The time-out of the connection, which may be shorter.
 */
export async function discardBody(
  body: Body | ChunkedBody,
  timeout: number | null = null,
): Promise<void> {
  const reader = readerOf(body);
  if (reader.isConsumed) return;
  if (!isDiscardable(body)) return await body.cancel();
  const milliseconds = Math.min(DISCARD_MILLISECONDS, (timeout ?? Infinity) * 1000);
  const timer = setTimeout(() => body.cancel(), milliseconds);
  let remainingBytes = MAX_DISCARDED_BYTES;
  const write = (bytes: Uint8Array) => {
    remainingBytes -= bytes.length;
    return remainingBytes < 0 ? Promise.reject(new BodyError("too long")) : Promise.resolve();
  };
  try {
    await reader.writeTo({ write }, true);
  } catch {
    await body.cancel();
  } finally {
    clearTimeout(timer);
  }
}

export function contentErrorsOfBody(body: BodyIn): readonly ContentError[] {
  return body === null ? [] : readerOf(body).contentErrors;
}

export function whenBodyEnds(body: BodyIn, listener: () => void): void {
  if (body === null) listener();
  else readerOf(body).onEnd(listener);
}
