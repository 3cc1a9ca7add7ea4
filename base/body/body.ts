/**
 * A body of known length (RFC 9112 §6.2); and, for the bodies of all classes, where the bytes go.
 *
 * **A body that arrives** is made once its preamble was read (`net/incoming_body.ts`). It has three
 * parts:
 *
 * - The *source* gives bytes (`body_source.ts`): here a connection, otherwise a file, a stream or
 *   memory. Bytes that have arrived wait in its buffer, perhaps with the next message behind them.
 * - The *reader* knows where the body ends: after `contentLength` bytes ({@linkcode LengthReader}),
 *   or with the last chunk (`ChunkedReader`). The reader takes bytes out of the buffer, then
 *   straight from the socket into the memory that the program gets, and none beyond the body.
 * - The *state* knows who may read (`body_state.ts`): one operation at a time, until the body is
 *   over.
 *
 * An operation (`text`, `writeTo`, a loop, …) begins in the state, reads until the reader is done,
 * and ends in the state. The operation waits only for bytes that are not there: each wait takes a
 * turn of the event loop, 7 % of an exchange of small messages.
 *
 * A body is over once, and the state tells the source how:
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
 * which streams and generators are made into (`streamed.ts`). The sink joins the first piece with
 * the preamble, and counts all against the content-length. The last piece is written only once the
 * source has ended where it must: whatever goes wrong cuts a message, and never completes it.
 */

import { EMPTY } from "../../internal/bytes.ts";
import { checkInteger } from "../../internal/checks.ts";
import { BodyError, ProtocolError } from "../errors.ts";
import { connectionFacts } from "../connection_facts.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodyInput, type BodySource, openSource, SOURCE_KINDS } from "./body_source.ts";
import { BodyState } from "./body_state.ts";
import { openFile } from "./file_source.ts";
import { Collector } from "./byte_io.ts";
import { type Convert, ownBytes, READ_REST, ReadableBody } from "./readable_body.ts";
import {
  type BodyReadOptions,
  expectEnd,
  largerPiece,
  limitOf,
  PIECE_BYTES,
  type PieceReader,
  type PieceUse,
  readInto,
  readPiece,
  tooLongError,
} from "./reading.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Checks a content-length that a caller gives: an integer from 0 to 2⁵³ − 1. */
export function checkContentLength(contentLength: number): void {
  if (!Number.isSafeInteger(contentLength) || contentLength < 0) {
    checkInteger("contentLength", contentLength, 0, MAX_LENGTH);
  }
}

/** Whether a value is a `Body`, or of a class that extends it, of this copy. */
export let isBody: (value: object) => value is Body;
/** Takes the bytes of an untouched body that have all arrived; else `null`. */
export let takeArrived: (body: Body) => Uint8Array<ArrayBuffer> | null;

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
  readonly #source: BodySource;
  readonly #state: BodyState;
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
    const opened = openSource(source);
    const state = new BodyState(opened);
    const reader = new LengthReader(opened, contentLength);
    super(state, reader);
    this.#source = opened;
    this.#state = state;
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
    return this.#readAs(size, "read", ownBytes);
  }

  /**
   * Reads bytes and converts them, if possible in the source's buffer: a copy is the greatest cost
   * of a small body.
   *
   * @param options The most bytes that the caller wants; `"read"` for the limit of `read()`.
   */
  async #readAs<Value>(
    size: number | undefined,
    options: BodyReadOptions | undefined | "read",
    convert: Convert<Value>,
  ): Promise<Value> {
    if (size !== undefined) checkInteger("size", size, 0, MAX_READ_BYTES);
    const limit = options === "read" ? null : limitOf(options);
    if (!this.#state.beginRead()) return convert(EMPTY, false);
    const wanted = Math.min(size ?? Infinity, this.#reader.remaining);
    if (wanted > (limit ?? MAX_READ_BYTES)) {
      const error = tooLongError(this, limit, `${wanted}`);
      this.#state.undo();
      const isUnwanted = limit !== null &&
        SOURCE_KINDS[this.#source.kind].tooLong === "is canceled";
      if (isUnwanted) this.#state.cancel(error);
      throw error;
    }
    const isOwn = wanted > this.#source.buffer.buffered;
    let bytes = isOwn ? this.#collect(wanted) : this.#state.fromSource(this.#reader.view(wanted));
    // Awaiting bytes that are there already would take a turn, too.
    if (bytes instanceof Promise) bytes = await bytes;
    try {
      return convert(bytes, isOwn);
    } finally {
      // The operation ends when the bytes are converted, since then the connection may read into
      // their buffer. A read of no bytes at the end is the last read that is allowed.
      this.#state.end(this.#reader.done, wanted === 0);
    }
  }

  /** @internal */
  override [READ_REST]<Value>(
    options: BodyReadOptions | undefined,
    convert: Convert<Value>,
  ): Promise<Value> {
    return this.#readAs(undefined, options, convert);
  }

  async #collect(size: number): Promise<Bytes> {
    const collector = new Collector(size);
    while (collector.missing > 0) {
      collector.add(await readInto(this.#state, this.#reader, collector.room()));
    }
    return collector.collected();
  }

  /**
   * Iterates over the body in pieces of up to 64 KiB, each a separate array. Leaving the loop early
   * cancels the rest.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    this.#state.beginWhole("iterate");
    try {
      while (!this.#reader.done) {
        const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#reader.remaining));
        const count = await readPiece(this.#state, this.#reader, piece);
        if (count > 0) yield partOf(piece, count);
      }
    } finally {
      this.#state.endIteration();
    }
  }

  static {
    isBody = (value): value is Body => #source in value;
    takeArrived = (body) => {
      if (body.#source.buffer.buffered < body.contentLength) return null;
      body.#state.beginRead();
      const bytes = body.#source.buffer.view(body.contentLength).slice();
      body.#reader.remaining = 0;
      body.#state.end(true);
      return bytes;
    };
  }
}

/** The first bytes of a piece, copied if they would keep much more memory alive. */
function partOf(piece: Bytes, count: number): Bytes {
  return count * 2 < piece.length ? piece.slice(0, count) : piece.subarray(0, count);
}

/**
 * Reads as many bytes as the content-length says, from the source's current position, and no byte
 * behind them. After any error the reader must not be used again.
 */
class LengthReader implements PieceReader {
  /** The number of bytes that are left. */
  remaining: number;
  done = false;
  readonly #length: number;
  readonly #source: BodySource;
  /** The memory of the last piece that was passed on, and the most bytes of the next one. */
  #piece: Bytes = EMPTY;
  #pieceBytes = PIECE_BYTES;

  constructor(source: BodySource, contentLength: number) {
    this.#source = source;
    this.#length = this.remaining = contentLength;
  }

  get bytes(): number {
    return this.#length - this.remaining;
  }

  /**
   * Reads up to `most` bytes that have arrived. The view is in the source's buffer, which the next
   * read changes.
   */
  view(most: number): Bytes | Promise<Bytes> {
    const bytes = this.#source.buffer.view(Math.min(most, this.remaining));
    return this.#passOn(bytes, bytes.length);
  }

  read(into: Uint8Array): number | Promise<number> {
    const room = into.subarray(0, this.remaining);
    const count = this.#source.buffer.take(room);
    if (count === 0 && room.length > 0) return this.#receive(room);
    return this.#passOn(count, count);
  }

  /** What has arrived; then as much as one read of the source gives. */
  nextPiece({ keepsBytes, pieceBytes }: PieceUse): Bytes | Promise<Bytes> {
    if (!keepsBytes && this.#source.buffer.buffered > 0) return this.view(Infinity);
    const { usualBytes, mostBytes } = SOURCE_KINDS[this.#source.kind];
    const most = keepsBytes ? PIECE_BYTES : Math.min(pieceBytes ?? usualBytes, mostBytes);
    const size = Math.min(this.#pieceBytes, most);
    const wanted = Math.min(size, this.remaining);
    if (keepsBytes || this.#piece.length < wanted) this.#piece = new Uint8Array(wanted);
    const piece = this.#piece.subarray(0, wanted);
    const pass = (count: number) => {
      // A source that fills the piece probably has more; a slow source doesn't get much memory.
      if (count === size) this.#pieceBytes = largerPiece(size, most);
      return piece.subarray(0, count);
    };
    const count = this.read(piece);
    return count instanceof Promise ? count.then(pass) : pass(count);
  }

  async #receive(room: Uint8Array): Promise<number> {
    const count = await this.#source.read(room);
    if (count === null) throw incomplete(this.#source, this.remaining);
    return this.#passOn(count, count);
  }

  /**
   * Passes on what a read of `count` bytes has returned: at once, unless the source must end with
   * the last of them.
   */
  #passOn<Value>(read: Value, count: number): Value | Promise<Value> {
    this.remaining -= count;
    if (this.remaining > 0) return read;
    const end = () => {
      this.done = true;
      this.#piece = EMPTY;
      return read;
    };
    const ending = expectEnd(this.#source);
    return ending === null ? end() : ending.then(end);
  }
}

/** The error for a source that ends `missing` bytes before the body does. */
function incomplete({ kind }: BodySource, missing: number): Error {
  if (SOURCE_KINDS[kind].behind !== "messages") {
    return new BodyError(`the source ended ${missing} bytes before the content-length`);
  }
  const problem = `the peer closed ${missing} bytes before the end of the body`;
  const error = new ProtocolError("BODY_INCOMPLETE", problem);
  return connectionFacts.add(error, { fault: "broken", missingBytes: missing });
}
