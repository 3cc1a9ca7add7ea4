/** What bodies of known length and chunked bodies share; `body.ts` tells where bytes go. */

import { decodeText } from "../../internal/bytes.ts";
import type { BodyState } from "./body_state.ts";
import type { ByteSink } from "./byte_io.ts";
import {
  type BodyParts,
  type BodyReadOptions,
  PIECE_BYTES,
  type PieceReader,
  streamBody,
  writeThrough,
} from "./reading.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Converts bytes in the turn in which they were read: the next read changes a shared buffer. */
export type Convert<Value> = (bytes: Bytes, isOwn: boolean) => Value;

/** The bytes themselves, for the program to keep. */
export const ownBytes: Convert<Bytes> = (bytes, isOwn) => isOwn ? bytes : bytes.slice();

/** The name of the method that reads a body in its framing. */
export const READ_REST: unique symbol = Symbol("readRest");

/** The state and the reader of a body, whatever a class that extends the body's does. */
export let partsOf: (body: ReadableBody) => BodyParts;

/** A body that can be read: a `Body` or a `ChunkedBody`. It can be consumed once. */
export abstract class ReadableBody {
  // A class that extends this one can't see these fields, and keeps its own.
  readonly #state: BodyState;
  readonly #reader: PieceReader;
  #stream: ReadableStream<Bytes> | null = null;

  /** @internal */
  constructor(state: BodyState, reader: PieceReader) {
    this.#state = state;
    this.#reader = reader;
  }

  /**
   * Reads the bytes that are left, if they are not too many, and converts them.
   *
   * @internal
   */
  abstract [READ_REST]<Value>(
    options: BodyReadOptions | undefined,
    convert: Convert<Value>,
  ): Promise<Value>;

  /** True once any operation has begun. */
  get used(): boolean {
    return this.#state.used;
  }

  /**
   * The data of the body, decoded, as a byte stream for default and BYOB readers. Getting the
   * stream starts the body; canceling the stream cancels the rest of the body.
   *
   * @throws {BodyError} if another operation has begun before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const size = Math.min(PIECE_BYTES, this.#reader.remaining);
    return this.#stream ??= streamBody(this.#state, this.#reader, size);
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
    return this[READ_REST](options, ownBytes);
  }

  /**
   * Reads the data that is left, if it is not too long, as UTF-8 text. A byte order mark is kept.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {TypeError} if the data is not valid UTF-8; else as
   * {@linkcode ReadableBody.prototype.bytes} does.
   */
  text(options?: BodyReadOptions): Promise<string> {
    return this[READ_REST](options, decodeText);
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

  /**
   * Writes the whole body to a stream, a file or a connection, which is left open and unlocked. The
   * last byte is written only after the source has confirmed its end. A chunked body is written
   * **encoded**; its data alone is {@linkcode ReadableBody.prototype.readable}.
   *
   * @param sink The destination of the bytes.
   * @returns The number of bytes written: the content-length, or with the lines of the chunks.
   * @throws {BodyError} if another operation has begun before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return writeThrough(partsOf(this), sink);
  }

  /**
   * Cancels the rest: the stream, or the connection, that the body comes from. A server keeps the
   * connection open for an error response. Operations that wait for the body reject at once with
   * the reason, or with a {@linkcode BodyError} whose `cause` is the reason; so does every later
   * operation.
   *
   * @param reason The error of waiting operations, or the `cause` of their error.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#state.cancel(reason);
  }

  /** Cancels the rest, if there is any: {@linkcode ReadableBody.prototype.cancel}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }

  static {
    partsOf = (body) => ({ state: body.#state, reader: body.#reader });
  }
}
