/**
 * The rules about who may use a body, and when.
 *
 * Operations run one at a time: an operation begins, may wait for the source or a sink, and ends,
 * with bytes left or with the last byte. Its end puts the body into the next phase, and
 * {@linkcode PHASES} says which operations may begin in each phase. After the last byte a body is
 * `consumed`: it allows one more read, of no bytes, and has `ended` then.
 *
 * A body may be stopped in any phase: its source fails, the body is canceled, or its request is
 * aborted. Then the waiting operation is rejected at once, and no other may begin
 * ({@linkcode Interruption}).
 */

import { EMPTY } from "../bytes.ts";
import { checkInteger, copyOptions } from "../checks.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import type { BodySource } from "./body_source.ts";
import { type ByteSink, type OpenSink, openSink } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const READ = "has been read in part", CONSUMED = "has been consumed";

/**
 * The problem of a read of the rest, of the next chunk, or of the whole body; `null` if it may
 * begin.
 */
const PHASES = {
  "untouched": { read: null, chunk: null, whole: null },
  "read in part": { read: null, chunk: null, whole: READ },
  "consumed": { read: null, chunk: CONSUMED, whole: CONSUMED },
  "ended": { read: CONSUMED, chunk: CONSUMED, whole: CONSUMED },
} as const;

/**
 * The cause that has stopped a body, if any. The signal of a request may live forever and refers to
 * this object alone. This object refers to the body only while the body waits, so an unreachable
 * body can be collected.
 */
export class Interruption {
  /** Rejects the promise that the body waits for. */
  waiting: ((reason: unknown) => void) | null = null;
  /**
   * The error that has stopped the body; `isAbort` if the error is the reason of an aborted
   * request.
   */
  failure: { readonly error: unknown; readonly isAbort: boolean } | null = null;
  /** Called when the body is over: when it was consumed, or stopped. */
  over: (() => void) | null = null;

  /** Makes the waiting operation, and every later one, reject with the reason. */
  abort(reason: unknown): void {
    this.stop(reason, true);
  }

  /** Makes the waiting operation reject; only the first error counts. */
  stop(error: unknown, isAbort: boolean): void {
    this.failure ??= { error, isAbort };
    // The listener runs later, because the caller tells the source of the end after this call.
    if (this.over !== null) queueMicrotask(this.over);
    const { waiting } = this;
    this.waiting = null;
    waiting?.(error);
  }
}

/** Reads the bytes of a body. */
export interface BodyReader {
  /** True once the last byte has been read, and nothing follows it. */
  readonly done: boolean;
  /**
   * Reads at least one byte into the array, unless none is left or the array is empty; returns the
   * number of bytes. A promise is returned only if the read has to wait, since each wait takes a
   * turn.
   */
  read(into: Uint8Array): number | Promise<number>;
}

/**
 * The state of a body, and the operations that the state allows.
 *
 * The public classes hold a state instead of extending it. A base class that isn't exported would
 * hide their members from the documentation, and its methods could be replaced from outside.
 */
export class BodyState {
  #phase: keyof typeof PHASES = "untouched";
  #operation: string | null = null;
  #stream: ReadableStream<Bytes> | null = null;
  readonly #source: Pick<BodySource, "over">;
  readonly #interruption: Interruption = new Interruption();

  /** Makes the state of an untouched body, whose source learns how the body ends. */
  constructor(source: Pick<BodySource, "over">) {
    this.#source = source;
  }

  /** What can abort the body from outside, without keeping the body alive. */
  get interruption(): Interruption {
    return this.#interruption;
  }

  /** True once any operation has begun. */
  get used(): boolean {
    return this.#phase !== "untouched" || this.#operation !== null ||
      this.#interruption.failure?.isAbort === false;
  }

  /** True once the last byte has been read. */
  get isConsumed(): boolean {
    return this.#phase === "consumed" || this.#phase === "ended";
  }

  /**
   * Begins a read of the rest. False for the only read of a consumed body, which returns no bytes.
   */
  beginRead(): boolean {
    this.#begin("read", PHASES[this.#phase].read);
    if (this.#phase !== "consumed") return true;
    this.#phase = "ended";
    this.#operation = null;
    return false;
  }

  /** Begins to read the next chunk. */
  beginChunk(): void {
    this.#begin("read a chunk of", PHASES[this.#phase].chunk);
  }

  /** Begins an operation on the whole body. */
  beginWhole(operation: string): void {
    this.#begin(operation, PHASES[this.#phase].whole);
  }

  #begin(operation: string, refusal: string | null): void {
    const { failure } = this.#interruption;
    if (failure?.isAbort) throw failure.error;
    const why = failure !== null
      ? "has failed or was canceled"
      : this.#operation !== null
      ? `is in use (${this.#operation})`
      : refusal;
    if (why !== null) {
      const options = failure === null ? undefined : { cause: failure.error };
      throw new BodyError(`can't ${operation} a body that ${why}`, options);
    }
    this.#operation = operation;
  }

  /** Withdraws an operation that consumed nothing. */
  undo(): void {
    this.#operation = null;
  }

  /**
   * Ends an operation; throws if the body was stopped since the operation began.
   *
   * @param isAtEnd Whether the last byte has been read.
   * @param isEmpty Whether the operation was a read of no bytes.
   */
  end(isAtEnd: boolean, isEmpty = false): void {
    this.checkAlive();
    this.#operation = null;
    this.#phase = !isAtEnd ? "read in part" : isEmpty ? "ended" : "consumed";
    if (!isAtEnd) return;
    this.#source.over("consumed");
    this.#interruption.over?.();
  }

  /** Calls a function when the body is over, which it may be already. */
  whenOver(listener: () => void): void {
    if (this.isConsumed || this.#interruption.failure !== null) listener();
    else {
      const { over } = this.#interruption;
      this.#interruption.over = over === null ? listener : () => {
        over();
        listener();
      };
    }
  }

  /** Throws the error with which the body was stopped since the operation began. */
  checkAlive(): void {
    const { failure } = this.#interruption;
    if (failure !== null) throw failure.error;
  }

  /**
   * Cancels the rest of the body, which fails with the reason, or with an error that has the reason
   * as its `cause` if the reason isn't an error.
   */
  async cancel(reason: unknown): Promise<void> {
    if (this.isConsumed) return;
    // A body that was stopped has no rest, but counts as used from now on.
    this.#operation ??= "cancel";
    if (this.#interruption.failure !== null) return;
    const error = reason instanceof Error
      ? reason
      : new BodyError("the body was canceled", { cause: reason });
    this.#interruption.stop(error, false);
    await this.#source.over("canceled", error, reason);
  }

  /** Waits for the sink, or for an iterable, but only until the body is stopped. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return this.#wait(promise, false);
  }

  /**
   * Waits in the same way for a read from the source, unless the bytes are there. A failure of the
   * source is a failure of the body, and ends both.
   */
  fromSource<T>(read: T | Promise<T>): T | Promise<T> {
    return read instanceof Promise ? this.#wait(read, true) : read;
  }

  #wait<T>(promise: Promise<T>, isSource: boolean): Promise<T> {
    const interruption = this.#interruption;
    return new Promise((resolve, reject) => {
      promise.then((value) => {
        interruption.waiting = null;
        resolve(value);
      }, (error) => {
        interruption.waiting = null;
        // A later failure of the source no longer concerns the body.
        if (interruption.failure !== null) return;
        if (isSource) {
          interruption.stop(error, false);
          this.#source.over("broken", error);
        }
        reject(error);
      });
      // If the body was stopped, this call throws, which rejects the promise.
      this.checkAlive();
      interruption.waiting = reject;
    });
  }

  /** Reads at least one byte, unless none is left. */
  readInto(reader: BodyReader, into: Bytes): number | Promise<number> {
    this.checkAlive();
    return this.fromSource(reader.read(into));
  }

  /** Reads in an operation on the whole body, which ends with the last byte. */
  async readPiece(reader: BodyReader, into: Bytes): Promise<number> {
    let count = this.readInto(reader, into);
    // Bytes that have arrived end the operation in this turn: the message of an empty body may be
    // over in the next one, and a body that is being read would be stopped with it.
    if (count instanceof Promise) count = await count;
    if (reader.done) this.end(true);
    return count;
  }

  /**
   * Writes the whole body to a sink, which is always released. Runs synchronously up to the first
   * write, so the preamble and the beginning of the body go out together.
   *
   * @param write Writes the body, calls {@linkcode end}, and resolves to the number of bytes
   * written. A failure cancels the body. The sink of `write` waits only until the body is stopped.
   * @param isRest Whether the rest of a body is enough, of which a part was read.
   */
  async write(
    sink: WritableStream<Uint8Array> | ByteSink,
    write: (out: OpenSink) => Promise<number>,
    isRest = false,
  ): Promise<number> {
    if (isRest) this.#begin("discard", PHASES[this.#phase].chunk);
    else this.beginWhole("write");
    let out: OpenSink;
    try {
      out = openSink(sink);
    } catch (error) {
      this.undo();
      throw error;
    }
    try {
      return await write({ ...out, write: (bytes) => this.wait(out.write(bytes)) });
    } catch (error) {
      this.cancel(error);
      throw error;
    } finally {
      out.release();
    }
  }

  /** Ends an iteration; leaving the loop early cancels the rest. */
  endIteration(): void {
    if (!this.isConsumed) this.cancel(new BodyError("the iteration was abandoned"));
  }

  /**
   * The body as a byte stream. The first call starts the body; later calls return the same stream.
   *
   * @param size Bytes of a piece, unless the stream's reader has its own buffer; 0 if the body is
   * empty.
   */
  stream(reader: BodyReader, size: number): ReadableStream<Bytes> {
    if (this.#stream !== null) return this.#stream;
    this.beginWhole("stream");
    return this.#stream = new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: Math.max(1, size),
      start: async (controller) => {
        if (size > 0) return;
        await this.readPiece(reader, EMPTY);
        closeByteStream(controller);
      },
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        const count = await this.readPiece(reader, new Uint8Array(buffer, byteOffset, byteLength));
        if (count > 0) request.respond(count);
        if (reader.done) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }
}

// ───────────────────────── shared by the operations of both classes

/** How much of a body is read at once. */
export interface BodyReadOptions {
  /**
   * The most bytes, 0 to 16777216. A longer body is a {@linkcode BodyError} with the code
   * `"TOO_LONG"`; if it is that of a response, it is then canceled.
   *
   * @default {16777216}
   */
  maxBytes?: number | undefined;
}

/** The most bytes that the options of a read allow. */
export function limitOf(options: BodyReadOptions | undefined): number {
  if (options === undefined) return MAX_READ_BYTES;
  const { maxBytes = MAX_READ_BYTES } = copyOptions(options, ["maxBytes"]);
  checkInteger("maxBytes", maxBytes, 0, MAX_READ_BYTES);
  return maxBytes;
}

/** The bodies that were too long to be collected, by the error of that collection. */
const tooLong = new WeakMap<Error, object>();

/**
 * The error for collecting a body with more bytes than the limit.
 *
 * @param limit The limit of the caller; `null` for the limit of `read()`.
 * @param left The number of bytes that are left, as far as it is known.
 */
export function tooLongError(
  body: object,
  limit: number | null,
  left: string,
): RangeError | BodyError {
  const error = limit === null
    ? new RangeError(
      `one read returns at most ${MAX_READ_BYTES} bytes; ${left} are left: give a size, iterate, ` +
        "or use writeTo",
    )
    : new BodyError(
      `the body has ${left} bytes, and at most ${limit} are wanted: raise maxBytes, iterate, or use ` +
        "writeTo",
      { code: "TOO_LONG" },
    );
  tooLong.set(error, body);
  return error;
}

/** Whether an error says that this body was too long to be collected. */
export function isTooLong(body: object | null, error: unknown): boolean {
  return body !== null && error instanceof Error && tooLong.get(error) === body;
}

/**
 * The largest piece of an iterated or streamed body, and the first piece of a body that is passed
 * on.
 */
export const PIECE_BYTES = 65536;

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
export function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}
