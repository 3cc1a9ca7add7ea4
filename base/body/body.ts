/**
 * The classes of readable bodies, and an overview of received and sent bodies.
 *
 * **A received body** is made by `net/transport/incoming_body.ts` when its preamble has been read.
 * Its parts:
 *
 * - The *source* (`body_source.ts`) returns bytes: of a connection, a file, a stream or memory.
 *   Its buffer holds bytes that were received, possibly including bytes of the next message.
 * - The *decoder* (`body_decoder.ts`) finds the end of the body: after `contentLength` bytes, or
 *   with the last chunk.
 * - The *reader* (`body_reader.ts`) takes bytes from the buffer, then reads from the source into
 *   the memory that the program gets, and never reads beyond the body. The reader extends
 *   `BodyState`, which allows one operation at a time, until the body has ended.
 *
 * An operation (`text`, `writeTo`, a loop, …) begins, reads until the reader is done, and ends. The
 * operation doesn't await buffered bytes, because each await costs a tick of the event loop.
 *
 * A body ends once, and `BodyState.#finish` reports the outcome to the source:
 *
 * - *consumed*: the last byte was read. The connection continues with the next message.
 * - *canceled*: the program doesn't need the remaining bytes. It has called `cancel` or left a
 *   loop, a sink has failed, the body exceeds the limit of a read, or an app returned a response
 *   without reading the request. A client closes its connection. A server sends its response, then
 *   lingers: it drops the remaining bytes, because a close with unread bytes would reset the
 *   connection, and the peer would lose the response.
 * - *broken*: the source has failed, because the peer disconnected, sent no bytes in time, or
 *   sent invalid chunks. The connection is closed; after invalid chunks, a server first sends a 400
 *   if it can.
 *
 * A canceled or broken body rejects the pending operation and every later operation, as does a body
 * whose request's signal was aborted. If a request body exceeds the app's limit (`TOO_LONG`), the
 * response is 413; if the content-length alone exceeds the limit, the app can still read the body
 * in another way. `Response.discard` reads a few remaining bytes, which consumes the body, and
 * cancels a longer body.
 *
 * **A sent body** is a text or an array, which `net/transport/transport.ts` writes together with
 * the preamble; or a body of one of the four classes, which writes itself to a `MessageSink`: from
 * a source as above, which in a proxy is another connection, or from an iterable (`body_iter.ts`).
 * Streams and generators are converted to iterables of chunks (`bodies.ts`). The sink joins
 * the first piece with the preamble, and compares the number of bytes with the content-length. The
 * last piece is written only when the source has ended where it must, so that an error always
 * leaves the message incomplete.
 */

import { decodeText } from "../../internal/bytes.ts";
import { checkInteger, copyOptions, wrongTypeError } from "../../internal/checks.ts";
import { markCopy } from "../../internal/copies.ts";
import type { Chunk } from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES, MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";
import { ChunkDecoder, LengthDecoder } from "./body_decoder.ts";
import { BodyReader, type BodyState, type BytesConverter, copyIfShared } from "./body_reader.ts";
import { openFile, openSource } from "./body_source.ts";
import { type ByteSink, type ByteSource, Collector } from "./byte_io.ts";

function parseMaxBytes(options: { maxBytes?: number | undefined } | undefined): number {
  if (options === undefined) return MAX_READ_BYTES;
  const { maxBytes = MAX_READ_BYTES } = copyOptions(options, ["maxBytes"]);
  checkInteger("maxBytes", maxBytes, 0, MAX_READ_BYTES);
  return maxBytes;
}

let readState: (body: object) => BodyState | null;

export function checkContentLength(contentLength: number): void {
  checkInteger("contentLength", contentLength, 0, MAX_LENGTH);
}

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
    return this.#state.writeTo(sink);
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

markCopy(MessageBody.prototype);

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
    return this.#readUpTo(options, copyIfShared);
  }

  /**
   * Reads the remaining data, up to a limit, as UTF-8 text. A byte order mark is kept.
   *
   * @param options The limit: `maxBytes`, 0 to 16777216 bytes, by default 16777216.
   * @throws {TypeError} if the data is not valid UTF-8; else as
   * {@linkcode ReadableBody.prototype.bytes} does.
   */
  text(options?: { maxBytes?: number | undefined }): Promise<string> {
    return this.#readUpTo(options, decodeText);
  }

  #readUpTo<Value>(
    options: { maxBytes?: number | undefined } | undefined,
    convert: BytesConverter<Value>,
  ): Promise<Value> {
    try {
      return readerOf(this).readRemaining(parseMaxBytes(options), convert);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Reads the remaining data, up to a limit, and parses it as JSON.
   *
   * @param options The limit: `maxBytes`, 0 to 16777216 bytes, by default 16777216.
   * @throws {SyntaxError} if the data is not JSON; else as
   * {@linkcode ReadableBody.prototype.text} does.
   */
  async json(options?: { maxBytes?: number | undefined }): Promise<unknown> {
    return parseJson(await this.text(options), "the body");
  }

  /** Cancels the body, unless it was consumed: {@linkcode MessageBody.prototype.cancel}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }
}

/**
 * @param label The name of the message in errors.
 * @param advice What to do if the text isn't JSON.
 */
export function parseJson(text: string, label: string, advice = ""): unknown {
  try {
    return JSON.parse(text);
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
 * `ProtocolError`.
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
   * @throws {RangeError} if the path is not that of a regular file, or the file has more than
   * 2⁵³ − 1 bytes.
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
    return readerOf(this).readRemaining(null, copyIfShared, size);
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
    const decoder = new ChunkDecoder();
    const bodySource = openSource(source);
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
  async readChunk(): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
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
    return readerOf(this).readRemaining(null, copyIfShared);
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
