/**
 * The life of a body: untouched, read in part, consumed, failed. One operation at a time.
 *
 * @module
 */

import { type ByteSink, type OpenSink, openSink } from "./byte_io.ts";
import { BodyError, typeName } from "../errors.ts";
import type { Interruption } from "./interruption.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";

/** Keeps the state of one body and says what it allows. */
export class BodyUse {
  #state: "untouched" | "touched" | "consumed" | "failed" = "untouched";
  #operation: string | null = null;
  #emptyReadGiven = false;
  #failure: unknown;
  // Rejects what the operation waits for.
  #interrupt: ((error: unknown) => void) | null = null;
  readonly #interruption: Interruption | null;

  /** Makes the state of a body that nothing has been done with. */
  constructor(interruption: Interruption | null = null) {
    this.#interruption = interruption;
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#state !== "untouched" || this.#operation !== null;
  }

  /** True once the last byte has been taken. */
  get isConsumed(): boolean {
    return this.#state === "consumed";
  }

  /** True once there is nothing more to be taken or given up. */
  get isOver(): boolean {
    return this.#state === "consumed" || this.#state === "failed";
  }

  /**
   * Begins a read, which may follow other reads.
   *
   * @returns False where the body is consumed and this is the one read that gives nothing.
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

  /** Begins what takes the whole body or, where `whole` is false, its next chunk. */
  begin(operation: string, whole: boolean): void {
    this.#checkFree(operation);
    if (this.#state === "consumed") {
      throw new BodyError(`can't ${operation} a body that has been consumed`);
    }
    if (whole && this.#state !== "untouched") {
      throw new BodyError(`can't ${operation} a body of which a part has been read`);
    }
    this.#operation = operation;
  }

  #checkFree(operation: string): void {
    this.#interruption?.throwIfAborted();
    if (this.#state === "failed") {
      throw new BodyError(`can't ${operation} a body that has failed or was cancelled`, {
        cause: this.#failure,
      });
    }
    if (this.#operation !== null) {
      throw new BodyError(`can't ${operation} a body that is in use (${this.#operation})`);
    }
  }

  /** Ends an operation that has left something to be taken; throws if the body was cancelled since. */
  end(): void {
    this.checkAlive();
    this.#state = "touched";
    this.#operation = null;
  }

  /** Ends an operation that took nothing and does not count. */
  undo(): void {
    this.#operation = null;
  }

  /** Ends the operation that took the last byte; throws if the body was cancelled since. */
  consume(): void {
    this.checkAlive();
    this.#state = "consumed";
    this.#operation = null;
  }

  /** Marks the read that took the last byte as the one that gave nothing. */
  giveEmptyRead(): void {
    this.#emptyReadGiven = true;
  }

  /** Ends the body; an operation that waits rejects with the error now. */
  fail(error: unknown): void {
    this.#state = "failed";
    this.#operation = null;
    this.#failure = error;
    const interrupt = this.#interrupt;
    this.#interrupt = null;
    interrupt?.(error);
  }

  /** Throws what the body has failed with, or was cancelled for, since the operation began. */
  checkAlive(): void {
    this.#interruption?.throwIfAborted();
    if (this.#state === "failed") throw this.#failure;
  }

  /**
   * Waits for the source or the sink, and no longer than until the body fails or is cancelled.
   *
   * @param onFailure Called with what the promise rejects with, unless the body is over already.
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

  /** Ends a wait; false where the body was over before. */
  #unlisten(reject: (error: unknown) => void): boolean {
    if (this.#interrupt !== reject) return false;
    this.#interrupt = null;
    if (this.#interruption !== null) this.#interruption.waiting = null;
    return true;
  }
}

/** What a body fails with when it is cancelled: the reason, where that is an error. */
export function cancellation(reason: unknown): Error {
  if (reason instanceof Error) return reason;
  return new BodyError("the body was cancelled", { cause: reason });
}

/**
 * Writes a whole body to a sink, which is given back whatever happens. Runs up to the first write
 * at once, so that it can go out together with what stands before the body.
 *
 * @param write Writes the body, ends its use, and resolves to how many bytes it wrote.
 * @param giveUp Called with the error where that fails.
 */
export async function writeWhole(
  use: BodyUse,
  sink: WritableStream<Uint8Array> | ByteSink,
  write: (out: OpenSink) => Promise<number>,
  giveUp: (error: unknown) => void,
): Promise<number> {
  use.begin("write", true);
  let out;
  try {
    out = openSink(sink);
  } catch (error) {
    use.undo();
    throw error;
  }
  try {
    return await write(out);
  } catch (error) {
    giveUp(error);
    throw error;
  } finally {
    out.release();
  }
}

/** Checks the size of a read. */
export function checkReadSize(size: number): void {
  if (typeof size !== "number") {
    throw new TypeError(`size: need a number; got ${typeName(size)}`);
  }
  if (!Number.isInteger(size) || size < 0 || size > MAX_READ_BYTES) {
    throw new RangeError(`size: need an integer from 0 to ${MAX_READ_BYTES}; got ${size}`);
  }
}
