/**
 * The rules about who may use a body, and when; `body.ts` tells where its bytes go.
 *
 * Operations run one at a time. An operation begins, may wait for the source or a sink, and ends,
 * with bytes left or with the last byte. Its end puts the body into the next phase, and
 * {@linkcode PHASES} says which operations may begin in each phase. After the last byte a body is
 * `consumed`: it allows one more read, of no bytes, and has `ended` then.
 *
 * In any phase a body may be stopped: by an error of its source, by a cancellation, or by the
 * signal of its request. The operation that waits then rejects at once, and no other may begin
 * ({@linkcode Interruption}).
 */

import { BodyError } from "../errors.ts";
import type { Framing } from "../wire/headers.ts";
import type { BodyEnd } from "./body_source.ts";
import { type ByteSink, type OpenSink, openSink } from "./byte_io.ts";

const READ = "has been read in part", CONSUMED = "has been consumed";

/**
 * For each phase of a body, what speaks against a read of the rest, of the next chunk, or of the
 * whole body; `null` if the operation may begin.
 */
const PHASES = {
  "untouched": { read: null, chunk: null, whole: null },
  "read in part": { read: null, chunk: null, whole: READ },
  "consumed": { read: null, chunk: CONSUMED, whole: CONSUMED },
  "ended": { read: CONSUMED, chunk: CONSUMED, whole: CONSUMED },
} as const;

/**
 * The part of a state that stops a body. The signal of a request may live forever, and refers to
 * this object alone. This object refers to the body only while the body waits, so a body that
 * nobody has any more can be collected.
 */
export class Interruption {
  /** The error that has stopped the body, and whether it is the reason of an aborted request. */
  failure: { readonly error: unknown; readonly isAbort: boolean } | null = null;
  /** Rejects the promise that the body waits for. */
  waiting: ((reason: unknown) => void) | null = null;
  /** Called once the body was consumed or stopped. */
  listener: (() => void) | null = null;

  /** Stops the body for the reason of its request's signal, whose connection has been closed. */
  abort(reason: unknown): void {
    this.stop(reason, true);
    this.tellListener();
  }

  /** Rejects the operation that waits; only the first error counts. */
  stop(error: unknown, isAbort: boolean): void {
    this.failure ??= { error, isAbort };
    const { waiting } = this;
    this.waiting = null;
    waiting?.(error);
  }

  /** Calls the listener, once. */
  tellListener(): void {
    const { listener } = this;
    this.listener = null;
    listener?.();
  }
}

/**
 * The state of a body, and what may be done with the body. A reader (`body_reader.ts`) and a pass
 * over an iterable (`body_iter.ts`) extend this class.
 */
export abstract class BodyState {
  /** The content-length, or `"chunked"`. */
  readonly framing: NonNullable<Framing>;
  /** What can stop the body from outside, without keeping the body alive. */
  readonly interruption: Interruption = new Interruption();
  #phase: keyof typeof PHASES = "untouched";
  /** The operation that has begun and not ended, as errors name it. */
  #operation: string | null = null;

  /** Makes the state of an untouched body. */
  constructor(framing: NonNullable<Framing>) {
    this.framing = framing;
  }

  /** Tells the source how the body is over: {@linkcode BodySource.over}. */
  protected abstract closeSource(
    end: BodyEnd,
    error?: unknown,
    reason?: unknown,
  ): Promise<void> | void;

  /** Writes the body, ends the operation, and resolves to the number of bytes written. */
  protected abstract writePieces(out: OpenSink): Promise<number>;

  /** True once any operation has begun. */
  get used(): boolean {
    return this.#phase !== "untouched" || this.#operation !== null ||
      this.interruption.failure?.isAbort === false;
  }

  /** True once the last byte has been read; of an empty body from the start. */
  get isConsumed(): boolean {
    return this.#hasEnded || this.framing === 0;
  }

  get #hasEnded(): boolean {
    return this.#phase === "consumed" || this.#phase === "ended";
  }

  /** Whether the body has failed or was canceled, so that no byte of it can be read. */
  get isStopped(): boolean {
    return this.interruption.failure !== null;
  }

  /**
   * Begins a read of the rest. False for the only read of a consumed body, which returns no bytes
   * and has ended already.
   */
  beginRead(): boolean {
    this.#begin("read", PHASES[this.#phase].read);
    if (this.#phase !== "consumed") return true;
    this.#phase = "ended";
    this.#operation = null;
    return false;
  }

  /** Begins a read of the next chunk. */
  beginChunk(): void {
    this.#begin("read a chunk of", PHASES[this.#phase].chunk);
  }

  /** Begins an operation on the whole body. */
  beginWhole(operation: string): void {
    this.#begin(operation, PHASES[this.#phase].whole);
  }

  #begin(operation: string, refusal: string | null): void {
    const { failure } = this.interruption;
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
    if (isAtEnd) this.#over("consumed");
  }

  /**
   * The one place where a body is over: tells the source, which frees or closes its connection, and
   * then whoever waits for that.
   */
  #over(end: BodyEnd, error?: unknown, reason?: unknown): Promise<void> | void {
    const closing = this.closeSource(end, error, reason);
    this.interruption.tellListener();
    return closing;
  }

  /**
   * Cancels the rest of the body, which fails with the reason, or with an error that has the reason
   * as its `cause` if the reason isn't an error.
   */
  async cancel(reason: unknown): Promise<void> {
    if (this.#hasEnded) return;
    // A body that was stopped before has no rest, but counts as used from now on.
    this.#operation ??= "cancel";
    if (this.isStopped) return;
    const error = reason instanceof Error
      ? reason
      : new BodyError("the body was canceled", { cause: reason });
    this.interruption.stop(error, false);
    await this.#over("canceled", error, reason);
  }

  /** Calls a function when the body is over, which it may be already. */
  whenOver(listener: () => void): void {
    const { interruption } = this;
    if (this.isConsumed || this.isStopped) return listener();
    const { listener: first } = interruption;
    interruption.listener = first === null ? listener : () => {
      first();
      listener();
    };
  }

  /** Throws the error with which the body was stopped since the operation began. */
  checkAlive(): void {
    const { failure } = this.interruption;
    if (failure !== null) throw failure.error;
  }

  /** Waits for a sink, or for an iterable, until the body is stopped. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return this.#wait(promise, false);
  }

  /**
   * Reads from the source, and waits in the same way, unless the bytes are there. An error of the
   * source stops the body.
   */
  protected pull<T>(read: () => T | Promise<T>): T | Promise<T> {
    this.checkAlive();
    let result: T | Promise<T>;
    try {
      result = read();
    } catch (error) {
      result = Promise.reject(error);
    }
    return result instanceof Promise ? this.#wait(result, true) : result;
  }

  #wait<T>(promise: Promise<T>, isSource: boolean): Promise<T> {
    const { interruption } = this;
    return new Promise((resolve, reject) => {
      promise.then((value) => {
        interruption.waiting = null;
        resolve(value);
      }, (error) => {
        interruption.waiting = null;
        // An error of the source that comes later no longer concerns the body.
        if (interruption.failure !== null) return;
        if (isSource) {
          interruption.stop(error, false);
          this.#over("broken", error);
        }
        reject(error);
      });
      // If the body was stopped, this call throws, which rejects the promise.
      this.checkAlive();
      interruption.waiting = reject;
    });
  }

  /**
   * Writes the whole body to a sink, which is always released. Runs synchronously up to the first
   * write, so the preamble and the beginning of the body go out together. An error cancels the
   * body, and no write is waited for once the body is stopped.
   *
   * @param isRest Whether the rest of a body will do, of which a part was read.
   */
  async writeTo(
    sink: WritableStream<Uint8Array> | ByteSink,
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
      return await this.writePieces({ ...out, write: (bytes) => this.wait(out.write(bytes)) });
    } catch (error) {
      this.cancel(error);
      throw error;
    } finally {
      out.release();
    }
  }

  /** Ends an iteration; leaving the loop early cancels the rest. */
  endIteration(): void {
    if (!this.#hasEnded) this.cancel(new BodyError("the iteration was abandoned"));
  }
}
