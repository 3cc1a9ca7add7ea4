/** Web streams, piece by piece: bodies from streams, and streams from bodies. */

import type { WritableBody } from "../base/body/bodies.ts";
import type { Body } from "../base/body/body.ts";
import { BodyIter, ChunkedBodyIter } from "../base/body/body_iter.ts";
import { closeByteStream } from "../base/body/body_state.ts";
import { ChunkedBody } from "../base/body/chunked_body.ts";
import { concatenate, EMPTY } from "../base/bytes.ts";
import { BodyError } from "../base/errors.ts";
import { typeName } from "../base/quote.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_CHUNK_BYTES, MAX_READ_BYTES } from "../base/wire/limits.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * The largest number of turns of the microtask queue that an immediate read may take. Text and
 * bytes take two turns, through a `TransformStream` four. A read from a file, a socket or a timer
 * takes a turn of the event loop, which is longer than any number of these turns.
 */
const TURNS = 8;
/** The largest number of pieces that are read ahead if each read is immediate. */
const MAX_PIECES_AHEAD = 16;

/**
 * The pieces of a stream, one at a time. This object owns the stream, which is read to its end or
 * canceled.
 */
export class StreamPieces implements AsyncIterableIterator<Bytes> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #onCut: (reason: unknown) => void;
  readonly #onEnd: () => void;
  readonly #ahead: Promise<ReadableStreamReadResult<Uint8Array>>[] = [];
  #over = false;
  #cut: { readonly reason: unknown } | null = null;
  #waits = 0;
  #waiting = false;

  /**
   * Locks a stream. `onEnd` is called at its end; `onCut` if the stream is canceled or fails
   * before.
   */
  constructor(
    stream: ReadableStream<Uint8Array>,
    onCut: (reason: unknown) => void = () => {},
    onEnd: () => void = () => {},
  ) {
    this.#reader = stream.getReader();
    this.#onCut = onCut;
    this.#onEnd = onEnd;
  }

  /** The number of the pending wait for a piece; each wait has its own number. 0 without a wait. */
  get wait(): number {
    return this.#waiting ? this.#waits : 0;
  }

  /** The next piece, which may be empty. */
  async next(): Promise<IteratorResult<Bytes, undefined>> {
    if (this.#over) return { done: true, value: undefined };
    const { done, value } = await this.#readNext();
    // A canceled stream reads like an ended one, but its message is not complete.
    if (this.#cut !== null) throw this.#cut.reason;
    if (done) {
      this.#over = true;
      this.#onEnd();
      return { done, value: undefined };
    }
    if (!(value instanceof Uint8Array)) {
      const error = new BodyError(
        `the stream's pieces must be Uint8Arrays; got ${typeName(value)}`,
      );
      this.cancel(error);
      throw error;
    }
    return { done, value: value as Bytes };
  }

  async #readNext(): Promise<ReadableStreamReadResult<Uint8Array>> {
    this.#waits++;
    this.#waiting = true;
    try {
      return await (this.#ahead.shift() ?? this.#reader.read());
    } catch (error) {
      // The stream has failed, so there is nothing to cancel.
      if (this.#cut === null) this.#onCut(error);
      this.#cut ??= { reason: error };
      throw error;
    } finally {
      this.#waiting = false;
    }
  }

  /** Cancels the rest of the stream, with the reason if there is one. */
  return(reason?: unknown): Promise<IteratorReturnResult<undefined>> {
    this.cancel(reason ?? new BodyError("the message was not sent to its end"));
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Cancels the rest of the stream. Never throws. */
  cancel(reason: unknown): void {
    if (this.#over || this.#cut !== null) return;
    this.#cut = { reason };
    this.#reader.cancel(reason).catch(() => {});
    this.#onCut(reason);
  }

  /** Returns this object, which is its own iterator. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Waits for the first piece that is not empty; resolves to false if no such piece comes. */
  async hasBytes(): Promise<boolean> {
    for (;;) {
      const reading = this.#reader.read();
      const { done, value } = await reading;
      if (!done && value.length === 0) continue;
      this.#ahead.push(reading);
      return !done;
    }
  }

  /**
   * All pieces, if they are available at once, as the pieces of a text are, and may be sent with
   * their length. Otherwise `null`, and nothing is lost: {@linkcode next} returns the pieces that
   * were read.
   */
  async takeWhole(headers: HeaderDict): Promise<Bytes[] | null> {
    if (Object.hasOwn(headers, "transfer-encoding")) return null;
    const pieces: Bytes[] = [];
    for (let i = 0; i < MAX_PIECES_AHEAD; i++) {
      const reading = this.#reader.read();
      this.#ahead.push(reading);
      const result = await settledWithinTurns(reading);
      if (result === null) return null;
      if (result.done) {
        this.#over = true;
        return pieces;
      }
      if (!(result.value instanceof Uint8Array)) return null;
      pieces.push(result.value as Bytes);
    }
    return null;
  }
}

/** The result of a promise that settles within a few turns of the microtask queue; else `null`. */
async function settledWithinTurns<T>(promise: Promise<T>): Promise<T | null> {
  let result: T | null = null;
  // `next()` reports a failure.
  promise.then((value) => result = value, () => {});
  for (let turn = 0; turn < TURNS && result === null; turn++) await null;
  return result;
}

// ───────────────────────── bodies from streams

/** The pieces of a stream as chunks, with the empty chunk after the last piece. */
function chunksOf(pieces: StreamPieces): AsyncIterable<Chunk> {
  let rest: Uint8Array | null = EMPTY;
  // A generator could end the stream only after a pending piece has come.
  const iterator: AsyncIterator<Chunk, undefined> = {
    async next() {
      if (rest === null) return { done: true, value: undefined };
      while (rest.length === 0) {
        const { done, value } = await pieces.next();
        if (done) {
          rest = null;
          return { done: false, value: [null, EMPTY] };
        }
        rest = value;
      }
      const data = rest.subarray(0, MAX_CHUNK_BYTES);
      rest = rest.subarray(data.length);
      return { done: false, value: [null, data] };
    },
    return: (reason) => pieces.return(reason),
  };
  return { [Symbol.asyncIterator]: () => iterator };
}

/** A body of pieces that have not arrived yet: of the length in the headers, or chunked. */
export function streamedBody(
  pieces: StreamPieces,
  headers: HeaderDict,
): BodyIter | ChunkedBodyIter {
  const { "content-length": length } = headers;
  return typeof length === "number" ? new BodyIter(pieces, length) : chunkedBody(pieces);
}

/** A body of known bytes; can be called any number of times with the same pieces. */
export function bodyOfBytes(pieces: readonly Uint8Array[]): Uint8Array | BodyIter {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > MAX_READ_BYTES) return new BodyIter(pieces, length);
  return pieces.length === 1 ? pieces[0]! : concatenate(pieces);
}

/** A chunked body of the pieces of a stream. */
export function chunkedBody(pieces: StreamPieces): ChunkedBodyIter {
  return new ChunkedBodyIter(chunksOf(pieces));
}

// ───────────────────────── streams from bodies

/** Pieces as a byte stream, which ends at the given length or with the last piece. */
export class PieceStream {
  /** The stream. */
  readonly stream: ReadableStream<Bytes>;
  /** The number of bytes to come; 0 after the last byte, `Infinity` if the length is unknown. */
  missing: number;
  readonly #pieces: AsyncIterator<Bytes, unknown>;
  readonly #onEnd: (failure?: { readonly error: unknown }) => void;
  #controller!: ReadableByteStreamController;

  /**
   * Takes pieces only when the stream is read. `onEnd` is called at the end or with a failure;
   * `onCancel` when a reader cancels the stream.
   */
  constructor(
    pieces: AsyncIterator<Bytes, unknown>,
    length: number,
    onEnd: (failure?: { readonly error: unknown }) => void,
    onCancel: (reason: unknown) => Promise<void>,
  ) {
    this.missing = length;
    this.#pieces = pieces;
    this.#onEnd = onEnd;
    this.stream = new ReadableStream({
      type: "bytes",
      start: (controller) => {
        this.#controller = controller;
      },
      pull: async (controller) => {
        const piece = await this.next();
        if (piece !== null) controller.enqueue(piece);
        if (this.missing === 0) closeByteStream(controller);
      },
      cancel: onCancel,
    });
  }

  /** The next piece, never empty because a byte stream refuses that; `null` at the end. */
  async next(): Promise<Bytes | null> {
    let result;
    try {
      do result = await this.#pieces.next(); while (!result.done && result.value.length === 0);
    } catch (error) {
      this.#onEnd({ error });
      throw error;
    }
    // A body of another class may have more bytes than it said: the stream ends with the piece that
    // exceeds the length.
    this.missing = result.done ? 0 : Math.max(0, this.missing - result.value.length);
    if (this.missing === 0) this.#onEnd();
    return result.done ? null : result.value;
  }

  /** Makes every later read of the stream fail. */
  fail(reason: unknown): void {
    this.#controller.error(reason);
  }
}

/**
 * The decoded content of a body as a stream; canceling the stream cancels the body. `onEnd` is
 * called when the body has ended, failed or been canceled. A rejection of `cut` makes the stream
 * fail with its reason.
 */
export function streamOf(
  body: WritableBody,
  onEnd: () => void = () => {},
  cut?: Promise<never>,
): ReadableStream<Bytes> {
  let pieces: AsyncIterator<Bytes, unknown>;
  let length = Infinity;
  let cancel = (reason: unknown) => body.cancel(reason);
  if (!body.chunked && Symbol.asyncIterator in body) {
    // Iterating is much faster for small bodies than `body.readable`, and the length marks the last
    // byte.
    pieces = (body as Body)[Symbol.asyncIterator]();
    length = body.contentLength;
  } else {
    const stream = !body.chunked
      ? encodedStreamOf(body)
      : "readable" in body
      ? body.readable
      : new ChunkedBody(encodedStreamOf(body)).readable;
    if (cut === undefined) return stream;
    const reader = stream.getReader();
    cancel = (reason) => reader.cancel(reason);
    pieces = {
      async next() {
        const { done, value } = await reader.read();
        // A byte stream detaches the memory of each piece, which may be in use, so pieces are
        // copied.
        return done ? { done, value: undefined } : { done, value: value.slice() };
      },
    };
  }
  const reported = new PieceStream(pieces, length, () => onEnd(), (reason) => {
    onEnd();
    return cancel(reason);
  });
  cut?.catch((reason) => {
    reported.fail(reason);
    onEnd();
    cancel(reason).catch(() => {});
  });
  return reported.stream;
}

/**
 * The bytes that a body writes, as a stream. Each write waits until the stream is read.
 */
export function encodedStreamOf(body: WritableBody): ReadableStream<Uint8Array<ArrayBuffer>> {
  let wanted = Promise.withResolvers<void>();
  let started = false;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      wanted.resolve();
      if (started) return;
      started = true;
      const write = async (bytes: Uint8Array) => {
        await wanted.promise;
        wanted = Promise.withResolvers();
        controller.enqueue(bytes.slice());
      };
      body.writeTo({ write }).then(() => controller.close()).catch((error) => {
        controller.error(error);
      });
    },
    async cancel(reason) {
      wanted.promise.catch(() => {});
      wanted.reject(reason);
      await body.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
