/**
 * The life of a body: untouched, read in part, consumed, failed. One operation at a time.
 *
 * @module
 */

import {
  type BodyInput,
  type BodySource,
  type ByteSink,
  type Interruption,
  type OpenSink,
  openSink,
  openSource,
} from "./byte_io.ts";
import { EMPTY } from "../bytes.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";

/** The state of one body, and the operations that it allows. */
export class BodyUse {
  #state: "untouched" | "touched" | "consumed" | "failed" = "untouched";
  #operation: string | null = null;
  #emptyReadGiven = false;
  #failure: unknown;
  // Rejects the promise that the operation waits for.
  #interrupt: ((error: unknown) => void) | null = null;
  readonly #interruption: Interruption | null;

  /** Makes the state of an untouched body. */
  constructor(interruption: Interruption | null = null) {
    this.#interruption = interruption;
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#state !== "untouched" || this.#operation !== null;
  }

  /** True once the last byte has been read. */
  get isConsumed(): boolean {
    return this.#state === "consumed";
  }

  /** True once nothing is left to read or cancel. */
  get isOver(): boolean {
    return this.#state === "consumed" || this.#state === "failed";
  }

  /**
   * Begins a read, which may follow other reads.
   *
   * @returns False if the body is consumed and this is the one read that returns no bytes.
   * @throws {BodyError} if the body is in use, has failed, or has answered such a read before.
   */
  beginRead(): boolean {
    this.#checkFree("read");
    if (this.#state !== "consumed") {
      this.#operation = "read";
      return true;
    }
    if (this.#emptyReadGiven) throw new BodyError("can't read a body that has been consumed");
    this.#emptyReadGiven = true;
    return false;
  }

  /**
   * Begins an operation on the next chunk or, if `whole` is true, on the whole body.
   *
   * @throws {BodyError} if the body is in use, has failed, or has too little left.
   */
  begin(operation: string, whole: boolean): void {
    this.#checkFree(operation);
    if (this.#state === "consumed") {
      throw new BodyError(`can't ${operation} a body that has been consumed`);
    }
    if (whole && this.#state !== "untouched") {
      throw new BodyError(`can't ${operation} a body that has been read in part`);
    }
    this.#operation = operation;
  }

  #checkFree(operation: string): void {
    this.#interruption?.throwIfAborted();
    if (this.#state === "failed") {
      throw new BodyError(`can't ${operation} a body that has failed or was canceled`, {
        cause: this.#failure,
      });
    }
    if (this.#operation !== null) {
      throw new BodyError(`can't ${operation} a body that is in use (${this.#operation})`);
    }
  }

  /** Ends an operation that left something to be read; throws if the body was canceled since. */
  end(): void {
    this.checkAlive();
    this.#state = "touched";
    this.#operation = null;
  }

  /** Withdraws an operation that consumed nothing. */
  undo(): void {
    this.#operation = null;
  }

  /** Ends the operation that read the last byte; throws if the body was canceled since. */
  consume(): void {
    this.checkAlive();
    this.#state = "consumed";
    this.#operation = null;
  }

  /** Counts the read that ended the body as the one read that may return no bytes. */
  giveEmptyRead(): void {
    this.#emptyReadGiven = true;
  }

  /** Fails the body; an operation that waits rejects with the error at once. */
  fail(error: unknown): void {
    this.#state = "failed";
    this.#operation = null;
    this.#failure = error;
    const interrupt = this.#interrupt;
    this.#interrupt = null;
    interrupt?.(error);
  }

  /** Throws the error with which the body failed or was canceled since the operation began. */
  checkAlive(): void {
    this.#interruption?.throwIfAborted();
    if (this.#state === "failed") throw this.#failure;
  }

  /**
   * Waits for the source or the sink, but only until the body fails or is canceled.
   *
   * @param onFailure Called with the error of the promise, unless the body is over already.
   */
  wait<T>(promise: Promise<T>, onFailure?: (error: unknown) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#listen(reject);
      promise.then((value) => {
        this.#unlisten(reject);
        resolve(value);
      }, (error) => {
        if (!this.#unlisten(reject)) return;
        onFailure?.(error);
        reject(error);
      });
    });
  }

  #listen(reject: (error: unknown) => void): void {
    try {
      this.checkAlive();
    } catch (error) {
      return reject(error);
    }
    this.#interrupt = reject;
    if (this.#interruption !== null) this.#interruption.waiting = reject;
  }

  /** Ends a wait; false if the body was over before. */
  #unlisten(reject: (error: unknown) => void): boolean {
    if (this.#interrupt !== reject) return false;
    this.#interrupt = null;
    if (this.#interruption !== null) this.#interruption.waiting = null;
    return true;
  }

  /**
   * Cancels what is left of the body, if anything.
   *
   * @param reason What the body fails with; if it isn't an error, the `cause` of one.
   */
  async cancel(reason: unknown): Promise<void> {
    if (this.isOver) return;
    const error = cancellation(reason);
    this.fail(error);
    await this.release(error, reason);
  }

  /** Called when the body is canceled, to release its source. Never rejects. */
  protected async release(_error: Error, _reason: unknown): Promise<void> {}

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
}

/** The error of a canceled body: the reason itself if that is an error. */
function cancellation(reason: unknown): Error {
  if (reason instanceof Error) return reason;
  return new BodyError("the body was canceled", { cause: reason });
}

type Bytes = Uint8Array<ArrayBuffer>;

/** The bodies that were too long to be collected, by the error that said so. */
const tooLong = new WeakMap<Error, object>();

/**
 * The error for collecting more of a body than one read may return.
 *
 * @param left How many bytes are left, as text.
 * @param instead What to do instead.
 */
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
 * The state of a body together with its source: both end, fail and are canceled at the same time.
 *
 * The public classes hold one instead of extending it. A base class that isn't exported would hide
 * their members from the documentation, and its methods could be replaced from outside.
 */
export class SourceUse extends BodyUse {
  /** Where the body comes from. */
  readonly source: BodySource;
  #stream: ReadableStream<Bytes> | null = null;

  /**
   * Takes over what a body is made from.
   *
   * @throws {TypeError} if that is neither a free stream nor has a `read` method.
   */
  constructor(input: BodyInput) {
    const source = openSource(input);
    super(source.interruption);
    this.source = source;
  }

  /** Ends the operation that consumed the last byte, and the use of the source. */
  override consume(): void {
    super.consume();
    this.source.consumed();
  }

  /** Fails the body, and notifies the source that it is broken. */
  breakOff(error: unknown): void {
    this.fail(error);
    this.source.failed(error);
  }

  /** Waits for the source, whose failure is the body's. */
  fromSource<T>(promise: Promise<T>): Promise<T> {
    return this.wait(promise, (error) => this.breakOff(error));
  }

  protected override release(error: Error): Promise<void> {
    return this.source.cancel(error);
  }

  /** Ends an iteration; one that was left early cancels the rest. */
  endIteration(): void {
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
