/**
 * A web stream, piece by piece.
 *
 * @module
 */

import { BodyError, typeName } from "../base/errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * How many turns of the microtask queue a read may take to count as one that did not wait. Text and
 * bytes are there after two, through a `TransformStream` after four; whatever comes from a file, a
 * socket or a timer takes more turns than any number.
 */
const TURNS = 8;
/** How many pieces of a stream are looked at in this way. */
const MAX_PIECES_AHEAD = 16;

/**
 * The pieces of a stream, each as it comes. Whoever makes this object owns the stream: it is read to
 * its end, or cancelled.
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
   * Takes hold of a stream.
   *
   * @param onCut Called where the stream is cancelled before its end, or fails.
   * @param onEnd Called when {@linkcode next} has come to the end.
   * @throws {TypeError} where the stream is locked.
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

  /** Which wait for a piece is under way, by a number of its own; 0 where none is. */
  get wait(): number {
    return this.#waiting ? this.#waits : 0;
  }

  /** The next piece, which may be empty. */
  async next(): Promise<IteratorResult<Bytes, undefined>> {
    if (this.#over) return { done: true, value: undefined };
    const { done, value } = await this.#take();
    // To be cut and to come to the end are the same to a reader, but must not be to a message.
    if (this.#cut !== null) throw this.#cut.reason;
    if (done) {
      this.#over = true;
      this.#onEnd();
      return { done, value: undefined };
    }
    if (!(value instanceof Uint8Array)) {
      const error = new BodyError(`the stream gave a ${typeName(value)}; need Uint8Array`);
      this.cancel(error);
      throw error;
    }
    return { done, value: value as Bytes };
  }

  async #take(): Promise<ReadableStreamReadResult<Uint8Array>> {
    this.#waits++;
    this.#waiting = true;
    try {
      return await (this.#ahead.shift() ?? this.#reader.read());
    } catch (error) {
      // There is nothing left to be cancelled.
      if (this.#cut === null) this.#onCut(error);
      this.#cut ??= { reason: error };
      throw error;
    } finally {
      this.#waiting = false;
    }
  }

  /** Cancels what is left. */
  return(): Promise<IteratorResult<Bytes, undefined>> {
    this.cancel(new BodyError("the message was not sent to its end"));
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Cancels what is left, with a reason. Never throws. */
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

  /** Waits for the first piece that is not empty; false where there is none. */
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
   * All pieces, where they are there already, as those of a text are; else `null`, and nothing is
   * lost: {@linkcode next} gives what was seen.
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

/** What the promise resolves to, where it does within some turns of the microtask queue. */
async function settledWithinTurns<T>(promise: Promise<T>): Promise<T | null> {
  let result: T | null = null;
  // A failure is told to whoever takes the piece.
  promise.then((value) => result = value, () => {});
  for (let turn = 0; turn < TURNS && result === null; turn++) await null;
  return result;
}
