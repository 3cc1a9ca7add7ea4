/**
 * The life of a body: untouched, read in part, consumed, failed. One operation at a time.
 *
 * @module
 */

import { type ByteSink, type OpenSink, openSink } from "./byte_io.ts";
import { BodyError } from "../errors.ts";
import type { Interruption } from "./interruption.ts";

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
