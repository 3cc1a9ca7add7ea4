/**
 * A web stream, piece by piece.
 *
 * @module
 */

import { BodyError, typeName } from "../base/errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * How many turns of the microtask queue a read may take to count as immediate. Text and bytes take
 * two, through a `TransformStream` four. A read from a file, a socket or a timer takes a turn of the
 * event loop, which is longer than any number of these.
 */
const TURNS = 8;
/** How many pieces of a stream are read in this way. */
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
   * Locks a stream.
   *
   * @param onCut Called if the stream is canceled before its end, or fails.
   * @param onEnd Called when {@linkcode next} has reached the end.
   * @throws {TypeError} if the stream is locked.
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

  /** The number of the pending wait for a piece; each wait has a different one. 0 if there is none. */
  get wait(): number {
    return this.#waiting ? this.#waits : 0;
  }

  /** The next piece, which may be empty. */
  async next(): Promise<IteratorResult<Bytes, undefined>> {
    if (this.#over) return { done: true, value: undefined };
    const { done, value } = await this.#readNext();
    // A canceled stream reads as if it had ended, but its message is not complete.
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
  return(reason?: unknown): Promise<IteratorResult<Bytes, undefined>> {
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

  /** These pieces themselves. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Waits for the first piece that is not empty; resolves to false if there is none. */
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
   * All pieces, if they are available at once, as those of a text are. Else `null`, and nothing is
   * lost: {@linkcode next} returns the pieces that were read.
   */
  async takeWhole(): Promise<Bytes[] | null> {
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

/** What the promise resolves to within a few turns of the microtask queue; else `null`. */
async function settledWithinTurns<T>(promise: Promise<T>): Promise<T | null> {
  let result: T | null = null;
  // next() reports a failure.
  promise.then((value) => result = value, () => {});
  for (let turn = 0; turn < TURNS && result === null; turn++) await null;
  return result;
}
