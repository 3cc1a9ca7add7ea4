/**
 * The classes of bodies that are read; and, for the bodies of all classes, where the bytes go.
 *
 * **A body that arrives** is made once its preamble was read (`net/incoming_body.ts`). It has two
 * parts:
 *
 * - The *source* gives bytes (`body_source.ts`): here a connection, otherwise a file, a stream or
 *   memory. Bytes that have arrived wait in its buffer, perhaps with the next message behind them.
 * - The *reader* (`body_reader.ts`) knows where the body ends: after `contentLength` bytes, or with
 *   the last chunk. The reader takes bytes out of the buffer, then straight from the socket into
 *   the memory that the program gets, and none beyond the body. As a state (`body_state.ts`), the
 *   reader knows who may read: one operation at a time, until the body is over.
 *
 * An operation (`text`, `writeTo`, a loop, …) begins, reads until the reader is done, and ends. The
 * operation waits only for bytes that are not there: each wait takes a
 * turn of the event loop, 7 % of an exchange of small messages.
 *
 * A body is over once, and one place (`BodyState.#over`) tells the source how:
 *
 * - *consumed*: the last byte was read. The connection goes on with the next message.
 * - *canceled*: nobody wants the rest. A program has called `cancel` or left a loop, a sink has
 *   failed, the body has more bytes than its reader allows, or a request was answered unread. A
 *   client closes its connection. A server can still answer, then lingers: what arrives is dropped,
 *   since closing at once would reset the connection, and the peer would lose the answer.
 * - *broken*: the source has failed, since the peer has left, is silent, or sends invalid chunks.
 *   The connection closes; for invalid chunks a server answers 400 first, if it can.
 *
 * Canceled or broken, a body rejects the operation that waits, and every later one; as it does when
 * the signal of its request is aborted. A request with more bytes than its app allows (`TOO_LONG`)
 * is answered with 413; if its content-length says so, the body can still be read in another way.
 * `Response.discard` drops a short rest, so that the body is consumed, and cancels a long one.
 *
 * **A body that leaves** is a text or an array, which `net/transport.ts` writes together with the
 * preamble; or it is of one of the four classes, and writes itself into a `MessageSink`: from its
 * source as above, which in a proxy is another connection, or from an iterable (`body_iter.ts`),
 * which streams and generators are made into (`stream_body.ts`). The sink joins the first piece
 * with the preamble, and counts all against the content-length. The last piece is written only once
 * the source has ended where it must: whatever goes wrong cuts a message, and never completes it.
 */

import { decodeText } from "../../internal/bytes.ts";
import { checkInteger } from "../../internal/checks.ts";
import type { Chunk } from "../wire/chunk.ts";
import { MAX_LENGTH } from "../wire/limits.ts";
import {
  type BodyReader,
  type BodyReadOptions,
  ChunkedReader,
  LengthReader,
  ownBytes,
} from "./body_reader.ts";
import { type BodyInput, openSource } from "./body_source.ts";
import type { BodyState } from "./body_state.ts";
import type { ByteSink } from "./byte_io.ts";
import { openFile } from "./file_source.ts";

/** The name of the function that finds the state of a body. */
const STATE_OF: unique symbol = Symbol("stateOf");

/** Checks a content-length that a caller gives: an integer from 0 to 2⁵³ − 1. */
export function checkContentLength(contentLength: number): void {
  if (!Number.isSafeInteger(contentLength) || contentLength < 0) {
    checkInteger("contentLength", contentLength, 0, MAX_LENGTH);
  }
}

/** A body of one of the four classes. It can be consumed, or sent, once. */
export abstract class MessageBody {
  readonly #state: BodyState;

  /** @internal */
  constructor(state: BodyState) {
    this.#state = state;
  }

  /** True once any operation has begun. */
  get used(): boolean {
    return this.#state.used;
  }

  /**
   * Writes the whole body to a stream, a file or a connection, which is left open and unlocked. The
   * last byte is written only after the source has ended where it must. A chunked body is written
   * **encoded**; of a received body, the data alone is
   * {@linkcode ReadableBody.prototype.readable}.
   *
   * @param sink The destination of the bytes.
   * @returns The number of bytes written: the content-length, or with the lines of the chunks.
   * @throws {BodyError} if the source gives more or fewer bytes, or what is no chunk, or if another
   * operation has begun before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#state.writeTo(sink);
  }

  /**
   * Cancels the body, or the rest of it: the stream, the iterator, or the connection that it comes
   * from. Operations that wait for the body reject at once with the reason, or with a
   * {@linkcode BodyError} whose `cause` is the reason; so does every later operation. If the body
   * is being sent, the message is cut off. A server that cancels the body of a request keeps the
   * connection open for an error response.
   *
   * @param reason The error of waiting operations, or the `cause` of their error.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#state.cancel(reason);
  }

  /** @internal */
  static [STATE_OF](value: object): BodyState | null {
    return #state in value ? value.#state : null;
  }
}

/**
 * Returns the state of a body of this copy of the package, whatever a class that extends ours does;
 * `null` for anything else.
 */
export function stateOf(value: unknown): BodyState | null {
  return typeof value === "object" && value !== null ? MessageBody[STATE_OF](value) : null;
}

/** A body that can be read: a `Body` or a `ChunkedBody`. It can be consumed once. */
export abstract class ReadableBody extends MessageBody {
  // A class that extends this one can't see these fields, and keeps its own.
  readonly #reader: BodyReader;
  #stream: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;

  /** @internal */
  constructor(reader: BodyReader) {
    super(reader);
    this.#reader = reader;
  }

  /**
   * The data of the body, decoded, as a byte stream for default and BYOB readers. Getting the
   * stream starts the body; canceling the stream cancels the rest of the body.
   *
   * @throws {BodyError} if another operation has begun before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stream ??= this.#reader.stream();
  }

  /**
   * Reads the data that is left, if it is not too long.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {BodyError} with the code `"TOO_LONG"` if more are left. The body is then canceled if
   * it is chunked or that of a response; any other one stays as it was. With the code `null` if the
   * body is in use, has failed, or was consumed before.
   */
  bytes(options?: BodyReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    return this.#reader.readRest(options, ownBytes);
  }

  /**
   * Reads the data that is left, if it is not too long, as UTF-8 text. A byte order mark is kept.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {TypeError} if the data is not valid UTF-8; else as
   * {@linkcode ReadableBody.prototype.bytes} does.
   */
  text(options?: BodyReadOptions): Promise<string> {
    return this.#reader.readRest(options, decodeText);
  }

  /**
   * Reads the data that is left, if it is not too long, and parses it as JSON.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {SyntaxError} if the data is not JSON; else as
   * {@linkcode ReadableBody.prototype.text} does.
   */
  async json(options?: BodyReadOptions): Promise<unknown> {
    return JSON.parse(await this.text(options));
  }

  /** Cancels the rest, if there is any: {@linkcode MessageBody.prototype.cancel}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }
}

/**
 * A body of known length: a body to send, from a stream, a file or another source, or a received
 * body. The body can be consumed once.
 *
 * From a file, or any other {@linkcode ByteSource}, exactly `contentLength` bytes are read, from
 * its current position on, and the file is left open. A stream must end where the body does. A
 * source with too few bytes causes a {@linkcode BodyError}; a received body that is cut off causes
 * a `ProtocolError`.
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
  readonly #reader: LengthReader;

  /**
   * Makes a body from a source of `contentLength` bytes.
   *
   * @param source The source of the bytes.
   * @param contentLength The number of bytes in the whole body.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}, or
   * the length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(source: BodyInput, contentLength: number) {
    checkContentLength(contentLength);
    const reader = new LengthReader(openSource(source), contentLength);
    super(reader);
    this.#reader = reader;
    this.contentLength = contentLength;
  }

  /**
   * Opens a file, and makes a body of its present bytes. The file is closed when the body is
   * consumed, canceled or disposed of, or fails. Needs `--allow-read` of the file.
   *
   * @param path The path, or a `file:` URL, of a regular file.
   * @throws {TypeError} if the path is neither a string nor a URL.
   * @throws {RangeError} if something else than a file has the path.
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
   * Reads the next `size` bytes, fewer only at the end; without a size, all bytes that are left.
   * The first read after the last byte returns an empty array.
   *
   * @param size 0 to 16777216.
   * @throws {RangeError} if the size is out of range, or more than 16777216 bytes are left; the
   * body stays as it was.
   * @throws {BodyError} if the body is in use, has failed, or was consumed before.
   */
  read(size?: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#reader.readRest("read", ownBytes, size);
  }

  /**
   * Iterates over the body in pieces of up to 64 KiB, each a separate array. Leaving the loop early
   * cancels the rest.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    return this.#reader.pieces();
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
  readonly #reader: ChunkedReader;

  /**
   * Makes a body from a source of encoded chunks. A stream must end with the last chunk. From a
   * file, or any other source of bytes, nothing is read beyond the last chunk.
   *
   * @param source The source of the encoded bytes.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}.
   */
  constructor(source: BodyInput) {
    const reader = new ChunkedReader(openSource(source));
    super(reader);
    this.#reader = reader;
  }

  /**
   * Reads the next chunk: its extension, or `null`, and its data of up to 16777216 bytes. The last
   * chunk has empty data.
   *
   * @throws {BodyError} if the body is in use, has failed, or its last chunk was read before.
   */
  readChunk(): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
    return this.#reader.readChunk();
  }

  /**
   * Reads the data of all chunks that are left. The first read after the last chunk returns an
   * empty array.
   *
   * @throws {RangeError} if more than 16777216 bytes are left; the rest is then canceled.
   * @throws {BodyError} if the body is in use, has failed, or was consumed before.
   */
  read(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#reader.readRest("read", ownBytes);
  }

  /**
   * Iterates over the chunks, the empty last one included. Leaving the loop early cancels the rest.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Chunk<Uint8Array<ArrayBuffer>>, void, void> {
    return this.#reader.chunks();
  }
}
