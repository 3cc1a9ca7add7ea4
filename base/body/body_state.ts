/** The state of a body: untouched, read in part, consumed, failed. One operation at a time. */

import {
  type BodyOrigin,
  type ByteSink,
  Interruption,
  type OpenSink,
  openSink,
} from "./byte_io.ts";
import { EMPTY } from "../bytes.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The bodies that were too long to be collected, by the error that said so. */
const tooLong = new WeakMap<Error, object>();

/** The error for collecting more of a body than one read may return: how many bytes are left, and what to do instead. */
export function tooLongError(body: object, left: string, instead: string): RangeError {
  const error = new RangeError(
    `one read returns at most ${MAX_READ_BYTES} bytes; ${left} are left: ${instead}`,
  );
  tooLong.set(error, body);
  return error;
}

/** Whether an error says that this body was too long to be collected. */
export function isTooLong(body: object | null, error: unknown): boolean {
  return body !== null && error instanceof RangeError && tooLong.get(error) === body;
}

/** Bytes of one piece of a body that is iterated or streamed, and of the first that is passed on. */
export const PIECE_BYTES = 65536;

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
export function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

/**
 * The state of one body, and the operations that it allows.
 *
 * The public classes hold one instead of extending it. A base class that isn't exported would hide
 * their members from the documentation, and its methods could be replaced from outside.
 */
export class BodyState {
  /** "ended": consumed, and the one read that returns no bytes has been made, too. */
  #phase: "untouched" | "read in part" | "consumed" | "ended" | "failed" = "untouched";
  #operation: string | null = null;
  #failure: unknown;
  #stream: ReadableStream<Bytes> | null = null;
  readonly #origin: BodyOrigin;
  /** Rejects what the operation waits for. */
  readonly #interruption: Interruption;

  /** Makes the state of an untouched body. */
  constructor(origin: BodyOrigin) {
    this.#origin = origin;
    this.#interruption = origin.interruption ?? new Interruption();
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#phase !== "untouched" || this.#operation !== null;
  }

  /** True once the last byte has been read. */
  get isConsumed(): boolean {
    return this.#phase === "consumed" || this.#phase === "ended";
  }

  /** True once nothing is left to read or cancel. */
  get isOver(): boolean {
    return this.isConsumed || this.#phase === "failed";
  }

  /** Begins a read, which may follow other reads. False if this is the one read of a consumed body, of no bytes. */
  beginRead(): boolean {
    this.#checkFree("read");
    if (this.#phase === "consumed") {
      this.#phase = "ended";
      return false;
    }
    this.begin("read", false);
    return true;
  }

  /** Begins an operation on the next chunk or, if `whole` is true, on the whole body. */
  begin(operation: string, whole: boolean): void {
    this.#checkFree(operation);
    if (this.isConsumed) throw new BodyError(`can't ${operation} a body that has been consumed`);
    if (whole && this.#phase !== "untouched") {
      throw new BodyError(`can't ${operation} a body that has been read in part`);
    }
    this.#operation = operation;
  }

  #checkFree(operation: string): void {
    this.#interruption.throwIfAborted();
    if (this.#phase === "failed") {
      throw new BodyError(`can't ${operation} a body that has failed or was canceled`, {
        cause: this.#failure,
      });
    }
    if (this.#operation !== null) {
      throw new BodyError(`can't ${operation} a body that is in use (${this.#operation})`);
    }
  }

  /** Withdraws an operation that consumed nothing. */
  undo(): void {
    this.#operation = null;
  }

  /** Ends an operation that left something to be read; throws if the body was canceled since. */
  end(): void {
    this.checkAlive();
    this.#phase = "read in part";
    this.#operation = null;
  }

  /** Ends the operation that read the last byte, or that read no bytes; throws if the body was canceled since. */
  consume(emptyRead = false): void {
    this.checkAlive();
    this.#phase = emptyRead ? "ended" : "consumed";
    this.#operation = null;
    this.#origin.consumed();
  }

  /** Throws the error with which the body failed or was canceled since the operation began. */
  checkAlive(): void {
    this.#interruption.throwIfAborted();
    if (this.#phase === "failed") throw this.#failure;
  }

  /** Fails the body; an operation that waits rejects with the error at once. */
  #fail(error: unknown): void {
    this.#phase = "failed";
    this.#operation = null;
    this.#failure = error;
    this.#interruption.interrupt(error);
  }

  /** Cancels what is left of the body, which fails with the reason or, if that isn't an error, with its `cause`. */
  async cancel(reason: unknown): Promise<void> {
    if (this.isOver) return;
    const error = reason instanceof Error
      ? reason
      : new BodyError("the body was canceled", { cause: reason });
    this.#fail(error);
    await this.#origin.cancel(error, reason);
  }

  /** Waits for the sink, or for an iterable, but only until the body fails or is canceled. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return this.#wait(promise, false);
  }

  /** Waits for the source in the same way. Its failure is the body's, and both end with it. */
  fromSource<T>(promise: Promise<T>): Promise<T> {
    return this.#wait(promise, true);
  }

  #wait<T>(promise: Promise<T>, isSource: boolean): Promise<T> {
    const interruption = this.#interruption;
    return new Promise((resolve, reject) => {
      promise.then((value) => {
        interruption.waiting = null;
        resolve(value);
      }, (error) => {
        interruption.waiting = null;
        // What happens to its source afterwards is not the body's failure.
        if (this.#phase === "failed") return;
        if (isSource) {
          this.#fail(error);
          this.#origin.failed(error);
        }
        reject(error);
      });
      // What this throws is what the body waits for, too.
      this.checkAlive();
      interruption.waiting = reject;
    });
  }

  /**
   * Writes the whole body to a sink, which is released whatever happens. Runs synchronously up to the first
   * write, so the preamble and the beginning of the body go out together.
   *
   * @param write Writes the body, ends its use, and resolves to how many bytes it wrote. If it fails,
   * the body is canceled.
   */
  async write(
    sink: WritableStream<Uint8Array> | ByteSink,
    write: (out: OpenSink) => Promise<number>,
  ): Promise<number> {
    this.begin("write", true);
    let out;
    try {
      out = openSink(sink);
    } catch (error) {
      this.undo();
      throw error;
    }
    try {
      return await write(out);
    } catch (error) {
      this.cancel(error);
      throw error;
    } finally {
      out.release();
    }
  }

  /** Ends an iteration; one that was left early cancels the rest. */
  endIteration(): void {
    // mutant `!this.isConsumed` → `true`: a consumed body is not canceled, but the error would be made
    if (!this.isConsumed) this.cancel(new BodyError("the iteration was abandoned"));
  }

  /**
   * The body as a byte stream. The first call starts the body; the others return the same stream.
   *
   * @param size Bytes of a piece, unless the stream's reader has its own buffer; 0 if the body
   * is empty.
   * @param read Reads into the buffer: at least one byte, unless the body ends with none.
   * @param isAtEnd Whether the last byte has been read.
   */
  stream(
    size: number,
    read: (into: Bytes) => Promise<number>,
    isAtEnd: () => boolean,
  ): ReadableStream<Bytes> {
    if (this.#stream !== null) return this.#stream;
    this.begin("stream", true);
    return this.#stream = new ReadableStream({
      type: "bytes",
      // mutant `1` → `2`: nothing is pulled from an empty stream
      autoAllocateChunkSize: Math.max(1, size),
      start: async (controller) => {
        if (size > 0) return;
        await read(EMPTY);
        closeByteStream(controller);
      },
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        const count = await read(new Uint8Array(buffer, byteOffset, byteLength));
        if (count > 0) request.respond(count);
        if (isAtEnd()) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }
}
