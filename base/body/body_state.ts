/**
 * A body has one operation at a time. An operation begins, may wait for the source or a sink, and
 * ends, before or after the last byte. Its end determines the next phase of the body, and
 * {@linkcode READ_REFUSALS} has the operations that each phase refuses. After the last byte, a body
 * is `consumed`: it allows one more call of `read()`, which returns no bytes, and is `ended`
 * afterward.
 *
 * In any phase a body can be stopped: by an error of its source, by a cancellation, or by the
 * signal of its request. The pending operation then rejects at once, and no other operation can
 * begin ({@linkcode Interruption}).
 */

import { BodyError } from "../errors.ts";
import type { Framing } from "../wire/headers.ts";
import type { BodyOutcome, BodySource } from "./body_source.ts";
import { type ByteSink, type OpenSink, openSink } from "./byte_io.ts";

const CONSUMED = "has been consumed";
const READ_TO_END = `${CONSUMED}: at the end, a read returns no bytes (and not null)`;

const READ_REFUSALS = {
  "untouched": { read: null, chunk: null, whole: null },
  "read in part": { read: null, chunk: null, whole: "has been read in part" },
  "consumed": { read: null, chunk: CONSUMED, whole: CONSUMED },
  "ended": { read: READ_TO_END, chunk: CONSUMED, whole: CONSUMED },
} as const;

/**
 * The part of a state that stops a body. The signal of a request, which may live forever,
 * references only the interruption. The interruption references the body only while the body
 * waits, so that an abandoned body can be garbage-collected.
 */
export class Interruption {
  /** The error that stopped the body; `isAbort` if the signal of the request was aborted. */
  failure: { readonly error: unknown; readonly isAbort: boolean } | null = null;
  rejectPending: ((reason: unknown) => void) | null = null;
  endListeners: (() => void)[] | null = null;

  /**
   * Stops the body with the reason of its request's signal. The caller has closed the connection.
   */
  abort(reason: unknown): void {
    this.stop(reason, true);
    this.notifyListeners();
  }

  stop(error: unknown, isAbort: boolean): void {
    this.failure ??= { error, isAbort };
    const { rejectPending } = this;
    this.rejectPending = null;
    rejectPending?.(error);
  }

  notifyListeners(): void {
    const { endListeners } = this;
    this.endListeners = null;
    endListeners?.forEach((listener) => listener());
  }
}

type BodyEndObserver = Pick<BodySource, "onEnd">;

export abstract class BodyState<Source extends BodyEndObserver = BodyEndObserver> {
  readonly framing: NonNullable<Framing>;
  readonly interruption: Interruption = new Interruption();
  protected readonly source: Source;
  #phase: keyof typeof READ_REFUSALS = "untouched";
  /** The name of the pending operation in errors; `null` if no operation is pending. */
  #operation: string | null = null;
  #isLastWaitForSource = false;

  constructor(framing: NonNullable<Framing>, source: Source) {
    this.framing = framing;
    this.source = source;
  }

  /**
   * Writes the body, ends the operation, and resolves to the number of bytes written. Waits for
   * each write by {@linkcode waitFor}.
   */
  protected abstract writePieces(sink: OpenSink): Promise<number>;

  get used(): boolean {
    return this.#phase !== "untouched" || this.#operation !== null ||
      this.interruption.failure?.isAbort === false;
  }

  get isCanceledUnused(): boolean {
    return this.#phase === "untouched" && this.#operation === "cancel";
  }

  /** Always true for an empty body. */
  get isConsumed(): boolean {
    return this.#hasEnded || this.framing === 0;
  }

  get #hasEnded(): boolean {
    return this.#phase === "consumed" || this.#phase === "ended";
  }

  get isStopped(): boolean {
    return this.interruption.failure !== null;
  }

  /** Whether {@linkcode writeTo} still writes the body: to a sink, or as a part of a message. */
  get isBeingWritten(): boolean {
    return this.#operation === "write" && !this.#hasEnded && !this.isStopped;
  }

  get isAwaitingSource(): boolean {
    return this.#isLastWaitForSource && this.interruption.rejectPending !== null;
  }

  /**
   * Returns false if the read returns no bytes, and so ends at once: in the last call of `read()`
   * that a consumed body allows, and in each read of an empty body after the first.
   */
  beginRead(isRepeatable: boolean): boolean {
    const { read, chunk } = READ_REFUSALS[this.#phase];
    const isEmptyAgain = !isRepeatable && this.#hasEnded && this.framing === 0;
    this.#begin("read", isRepeatable ? read : isEmptyAgain ? null : chunk);
    if (!this.#hasEnded) return true;
    this.#phase = "ended";
    this.#operation = null;
    return false;
  }

  begin(name: string, part: "chunk" | "whole"): void {
    this.#begin(name, READ_REFUSALS[this.#phase][part]);
  }

  #begin(operation: string, phaseProblem: string | null): void {
    const { failure } = this.interruption;
    if (failure?.isAbort) throw failure.error;
    const problem = failure !== null
      ? "has failed, or was canceled or disposed of"
      : this.#operation !== null
      ? `is in use (${this.#operation})`
      : phaseProblem;
    if (problem !== null) {
      const options = failure === null ? undefined : { cause: failure.error };
      throw new BodyError(`can't ${operation} a body that ${problem}`, options);
    }
    this.#operation = operation;
  }

  /** Withdraws an operation that has not consumed any bytes. */
  rollback(): void {
    this.#operation = null;
  }

  endOperation(isAtEnd: boolean, isEmpty = false): void {
    this.checkNotStopped();
    this.#operation = null;
    this.#phase = !isAtEnd ? "read in part" : isEmpty ? "ended" : "consumed";
    if (isAtEnd) this.#finish("consumed");
  }

  #finish(outcome: BodyOutcome, error?: unknown, reason?: unknown): Promise<void> | void {
    const closePromise = this.source.onEnd(outcome, error, reason);
    this.interruption.notifyListeners();
    return closePromise;
  }

  async cancel(reason: unknown): Promise<void> {
    if (this.#hasEnded) return;
    // Set the operation also if the body was stopped before: then the body counts as used.
    this.#operation ??= "cancel";
    if (this.isStopped) return;
    const error = reason instanceof Error
      ? reason
      : new BodyError("the body was canceled", { cause: reason });
    this.interruption.stop(error, false);
    await this.#finish("canceled", error, reason);
  }

  onEnd(listener: () => void): void {
    if (this.isConsumed || this.isStopped) return listener();
    const { interruption } = this;
    // push() to an empty array would reserve memory for 16 more, and most bodies have one listener.
    if (interruption.endListeners === null) interruption.endListeners = [listener];
    else interruption.endListeners.push(listener);
  }

  checkNotStopped(): void {
    const { failure } = this.interruption;
    if (failure !== null) throw failure.error;
  }

  /** Waits for a sink, an iterable or the source; rejects as soon as the body is stopped. */
  waitFor<T>(promise: Promise<T>, isSourceRead = false): Promise<T> {
    const { interruption } = this;
    return new Promise((resolve, reject) => {
      promise.then((value) => {
        interruption.rejectPending = null;
        resolve(value);
      }, (error) => {
        interruption.rejectPending = null;
        // The body was stopped before, which has already rejected the promise.
        if (interruption.failure !== null) return;
        if (isSourceRead) {
          interruption.stop(error, false);
          this.#finish("broken", error);
        }
        reject(error);
      });
      // If the body was stopped, this call throws, which rejects the promise.
      this.checkNotStopped();
      interruption.rejectPending = reject;
      this.#isLastWaitForSource = isSourceRead;
    });
  }

  /**
   * Runs synchronously up to the first write, so that the preamble and the first bytes of the body
   * are sent together. A stopped body doesn't wait for a pending write.
   */
  async writeTo(
    sink: WritableStream<Uint8Array> | ByteSink,
    allowsPartlyRead = false,
  ): Promise<number> {
    if (allowsPartlyRead) this.begin("discard", "chunk");
    else this.begin("write", "whole");
    let openedSink: OpenSink;
    try {
      openedSink = openSink(sink);
    } catch (error) {
      this.rollback();
      throw error;
    }
    try {
      return await this.writePieces(openedSink);
    } catch (error) {
      this.cancel(error);
      throw error;
    } finally {
      openedSink.release();
    }
  }
}
