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

import { EMPTY_BYTES } from "../../internal/bytes.ts";
import { toReadableError } from "../../internal/caught_errors.ts";
import {
  checkInteger,
  notAllowedError,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { pause } from "../../internal/pause.ts";
import { typeNameOf } from "../../internal/quote.ts";
import { BodyError } from "../errors.ts";
import type { RangeChecker } from "../wire/chunk.ts";
import type { Framing } from "../wire/headers.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodyDecoder, READ_CHUNK_COST } from "./body_framing.ts";
import {
  type ByteSink,
  type ByteSource,
  checkReadCount,
  Collector,
  MAX_PIECE_BYTES,
  type OpenSink,
  openSink,
  type ReadAheadSource,
  ReadBuffer,
  SourceItem,
  toSourceError,
} from "./byte_io.ts";

const SOCKET_READ_SIZES = { defaultBytes: 65536, maxBytes: MAX_PIECE_BYTES };
/** For memory and disks: a larger buffer would not fit into the cache of a processor. */
const LOCAL_READ_SIZES = { defaultBytes: 524288, maxBytes: 524288 };

/**
 * The properties of each kind of source:
 *
 * - `followedBy`: the bytes after the body. `"messages"`: the buffer may already have bytes of the
 *   peer's next message. `"foreign bytes"`: the file may have other bytes, which must not be read.
 *   `"nothing"`: the source must end with the body.
 * - `onTooLong`: whether to keep or to cancel a body of known length that exceeds the limit of a
 *   read. An unread response would block its connection; a request can be read in another way.
 * - `defaultBytes` and `maxBytes`: the maximum size of one read, without and with a preference of
 *   the sink. Larger reads from a socket are slower, because the bytes leave the processor's cache
 *   before they are used. From one connection to another, larger reads are faster, because they
 *   need fewer ticks of the event loop.
 */
const SOURCE_KINDS = {
  request: { followedBy: "messages", onTooLong: "keep", ...SOCKET_READ_SIZES },
  response: { followedBy: "messages", onTooLong: "cancel", ...SOCKET_READ_SIZES },
  file: { followedBy: "foreign bytes", onTooLong: "keep", ...LOCAL_READ_SIZES },
  stream: { followedBy: "nothing", onTooLong: "keep", ...LOCAL_READ_SIZES },
} as const;

export type BodyOutcome =
  | "consumed"
  | "broken"
  /** The program has canceled the body, or doesn't need its remaining bytes. */
  | "canceled";

export interface BodySource extends ReadAheadSource {
  readonly kind: keyof typeof SOURCE_KINDS;
  readonly buffer: ReadBuffer;
  /** Whether the close of the connection ends the body. */
  readonly endsWithConnection?: true;
  /** Why the source may have ended too early, if this is known. */
  readonly incompleteReason?: string | null;
  /** Reads bytes into the buffer or, if the buffer is empty, into another array. */
  read(into: Uint8Array): Promise<number | null>;
  /** Called at most once, when the body ends; not if it is aborted. Never rejects. */
  onEnd(outcome: BodyOutcome, error?: unknown, reason?: unknown): Promise<void> | void;
}

export function openSource(input: ReadableStream<Uint8Array> | ByteSource): BodySource {
  // Only this package has buffers of this class, so the input is a BodySource.
  if ((input as BodySource | null)?.buffer instanceof ReadBuffer) return input as BodySource;
  if (typeof (input as ReadableStream | null)?.getReader === "function") {
    return new StreamSource(input as ReadableStream<Uint8Array>);
  }
  if (typeof (input as ByteSource | null)?.read === "function") {
    return new PositionedSource(input as ByteSource);
  }
  throw wrongTypeError("source", "a ReadableStream, a Deno.FsFile or a ByteSource", input);
}

export class MemorySource implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer = new ReadBuffer();

  /** @param bytes The bytes, which the caller must not change afterward. */
  constructor(bytes: Uint8Array<ArrayBuffer>, kind: "request" | "response") {
    this.kind = kind;
    this.buffer.bytes = bytes;
    this.buffer.end = bytes.length;
  }

  read(): Promise<null> {
    return Promise.resolve(null);
  }

  onEnd(): void {}
}

class PositionedSource implements BodySource {
  readonly kind = "file";
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly onEnd: () => void;
  readonly #input: ByteSource;

  /** @param onEnd Closes a file that belongs to the body. Other files stay open. */
  constructor(input: ByteSource, onEnd: () => void = () => {}) {
    this.#input = input;
    this.onEnd = onEnd;
  }

  async read(into: Uint8Array): Promise<number | null> {
    try {
      return checkReadCount(await this.#input.read(into), into.length) || null;
    } catch (error) {
      throw toSourceError(error);
    }
  }
}

export async function openFile(
  path: string | URL,
): Promise<{ readonly source: BodySource; readonly size: number }> {
  if (typeof path !== "string" && !(path instanceof URL)) {
    throw wrongTypeError("path", "a string or a file: URL", path);
  }
  // Check before opening: opening a FIFO waits for a writer, and opening a device has effects.
  checkFile(path, await Deno.stat(path));
  const file = await Deno.open(path, { read: true });
  try {
    const info = await file.stat();
    checkFile(path, info);
    return { source: new PositionedSource(file, () => file.close()), size: info.size };
  } catch (error) {
    file.close();
    throw error;
  }
}

function checkFile(path: string | URL, { isFile, size }: Deno.FileInfo): void {
  if (!isFile) throw notAllowedError("path", `${path} is not a regular file`);
  if (size > MAX_LENGTH) throw notAllowedError("path", `${path} has more than ${MAX_LENGTH} bytes`);
}

class StreamSource implements BodySource {
  readonly kind = "stream";
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly #stream: ReadableStream<Uint8Array>;
  #streamReader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  #item: SourceItem | null = null;

  constructor(stream: ReadableStream<Uint8Array>) {
    if (stream.locked) {
      throw wrongArgumentError("source", "must be an unlocked stream; got a locked one");
    }
    this.#stream = stream;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const item = this.#item ?? await this.#readItem();
    if (item === null) return null;
    const part = item.take(into.length);
    into.set(part);
    this.#item = item.isTaken ? null : item;
    return part.length;
  }

  async #readItem(): Promise<SourceItem | null> {
    this.#streamReader ??= this.#stream.getReader();
    for (;;) {
      let result: ReadableStreamReadResult<Uint8Array>;
      try {
        result = await this.#streamReader.read();
      } catch (error) {
        throw toSourceError(error);
      }
      const { done, value } = result;
      if (done) {
        this.#streamReader.releaseLock();
        return null;
      }
      if (!(value instanceof Uint8Array)) {
        throw new BodyError(`the stream's pieces must be Uint8Arrays; got ${typeNameOf(value)}`);
      }
      const item = new SourceItem(value);
      if (!item.isTaken) return item;
    }
  }

  async onEnd(outcome: BodyOutcome, error?: unknown): Promise<void> {
    if (outcome === "consumed") return;
    try {
      await (this.#streamReader ?? this.#stream).cancel(error);
      this.#streamReader?.releaseLock();
    } catch {
      // The stream has failed, or other code has locked it.
    }
  }
}

const CONSUMED = "has been consumed";
const READ_TO_END = `${CONSUMED}: at the end, a read returns no bytes (and not null)`;
const DISCARDED = "was discarded";

const READ_REFUSALS = {
  "untouched": { read: null, chunk: null, whole: null },
  "read in part": { read: null, chunk: null, whole: "has been read in part" },
  "consumed": { read: null, chunk: CONSUMED, whole: CONSUMED },
  "ended": { read: READ_TO_END, chunk: CONSUMED, whole: CONSUMED },
  // A read that returned no bytes would end a copy that has only a part of the body.
  "discarded": { read: DISCARDED, chunk: DISCARDED, whole: DISCARDED },
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

  handleRejection<T>(promise: Promise<T>): Promise<T> {
    return promise;
  }

  /** Checks the data of a chunked body, whose length is known only at its end. */
  checkRange(_checker: RangeChecker): void {}

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
    return this.#phase !== "untouched" && this.#phase !== "read in part";
  }

  get isStopped(): boolean {
    return this.interruption.failure !== null;
  }

  /** Whether an operation may begin, as far as the phase allows it. */
  get isFree(): boolean {
    return this.#operation === null && !this.isStopped;
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
    const isDiscarded = this.#operation === "discard";
    this.#operation = null;
    if (!isAtEnd) {
      this.#phase = "read in part";
      return;
    }
    if (isDiscarded) this.#phase = "discarded";
    else this.#phase = isEmpty ? "ended" : "consumed";
    this.#finish("consumed");
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
    } catch (thrownValue) {
      const error = toReadableError(thrownValue);
      this.cancel(error);
      throw error;
    } finally {
      openedSink.release();
    }
  }
}

// ───────────────────────── reading

type Bytes = Uint8Array<ArrayBuffer>;

/** The bytes may be a view of the buffer, which the next read overwrites. */
export type BytesConverter<Value> = (bytes: Bytes, hasOwnMemory: boolean) => Value;

export const copyIfShared: BytesConverter<Bytes> = (bytes, hasOwnMemory) =>
  hasOwnMemory ? bytes : bytes.slice();

type SinkPreferences = Pick<OpenSink, "keepsBytes" | "pieceBytes">;

const PROGRAM_PREFERENCES: SinkPreferences = { keepsBytes: true };

/**
 * The size of a piece that must be read, at most of the rest of the body:
 *
 * - A consumer that keeps the bytes of a body of known length gets a new array of this size.
 * - All others get a view of the buffer, or a copy. The buffer has this size at first if the length
 *   is known. After a piece that filled more than its half, it grows by `GROWTH_FACTOR`, up to the
 *   size that the sink prefers.
 */
const PIECE_BYTES = 65536;
/** The minimum memory for a piece: the buffer may have only a part of a chunk header. */
const MIN_PIECE_BYTES = 2048;
const GROWTH_FACTOR = 4;

/** The maximum cost of chunks that are read without a wait: that of 256 chunks, about 1 ms. */
const MAX_COST_PER_TURN = 256 * READ_CHUNK_COST;

/** An error of a read that any peer can cause by the content that it sends. */
export interface ContentError {
  readonly error: unknown;
  /** The status of the response: the content isn't what was read, or is too long. */
  readonly status: 400 | 413;
}

const NO_ERRORS: readonly ContentError[] = [];

/**
 * After an error, a reader must not be used again. Reads return a promise only if they must wait
 * for bytes, because each await costs a microtask.
 */
export class BodyReader extends BodyState<BodySource> {
  /** Whether the last byte was read, and of a stream also its end. */
  isDone = false;
  readonly buffer: ReadBuffer;
  readonly #kind: typeof SOURCE_KINDS[BodySource["kind"]];
  readonly #decoder: BodyDecoder;
  #lastViewBytes = 0;
  /** The cost of the chunks that were read before the last wait. */
  #awaitedCost = 0;
  contentErrors: readonly ContentError[] = NO_ERRORS;

  constructor(source: BodySource, decoder: BodyDecoder) {
    super(decoder.framing, source);
    this.buffer = source.buffer;
    this.#kind = SOURCE_KINDS[source.kind];
    this.#decoder = decoder;
  }

  /**
   * Handles the rejection of a promise that the program gets: if the program forgets a read of a
   * request, any client could otherwise end the process with a body that it cuts.
   */
  override handleRejection<T>(promise: Promise<T>): Promise<T> {
    if (this.source.kind === "request") promise.catch(() => {});
    return promise;
  }

  addContentError(error: unknown, status: ContentError["status"]): void {
    this.contentErrors = [...this.contentErrors, { error, status }];
  }

  override checkRange(checker: RangeChecker): void {
    if (this.#decoder.framing === "chunked") this.#decoder.checkRange(checker);
  }

  get bytesRead(): number {
    return this.#decoder.bytesRead;
  }

  get remainingBytes(): number {
    return this.#decoder.remainingBytes;
  }

  read(into: Uint8Array): number | Promise<number> {
    const turn = this.waitForTurn();
    if (turn !== null) {
      return turn.then(() => {
        this.checkNotStopped();
        return this.read(into);
      });
    }
    const decoder = this.#decoder;
    const count = decoder.copy(this.buffer, into);
    return count === 0 && into.length > 0 && decoder.remainingBytes > 0
      ? this.#readMore(into)
      : this.checkEnd(count);
  }

  async #readMore(into: Uint8Array): Promise<number> {
    const decoder = this.#decoder;
    while (decoder.directBytes === 0) {
      await this.fillBuffer();
      const count = decoder.copy(this.buffer, into);
      if (count > 0 || decoder.remainingBytes === 0) return this.checkEnd(count);
    }
    // Check again: after a stop during the wait, the bytes would belong to the next message.
    this.checkNotStopped();
    // The buffer is empty: read directly into the array.
    const count = await this.source.read(into.subarray(0, decoder.directBytes));
    if (count === null) throw this.#incompleteBodyError();
    decoder.skipData(count);
    return this.checkEnd(count);
  }

  async fillBuffer(maxBytes = Infinity): Promise<void> {
    const turn = this.waitForTurn();
    if (turn !== null) await turn;
    this.checkNotStopped();
    const { buffer } = this;
    const decoder = this.#decoder;
    const remainingBytes = this.#kind.followedBy === "foreign bytes"
      ? decoder.computeMinRemainingBytes(buffer.bufferedBytes)
      : decoder.remainingBytes;
    const count = await buffer.fill(this.source, Math.min(maxBytes, remainingBytes));
    this.#awaitedCost = decoder.readCost;
    if (count === 0) throw this.#incompleteBodyError();
  }

  /**
   * Waits for a turn of the event loop if many small chunks were read without a wait, so that other
   * connections are served; otherwise returns `null`.
   */
  waitForTurn(): Promise<void> | null {
    const { readCost } = this.#decoder;
    if (readCost - this.#awaitedCost < MAX_COST_PER_TURN) return null;
    this.#awaitedCost = readCost;
    return pause(0);
  }

  #incompleteBodyError(): Error {
    const isReceived = this.#kind.followedBy === "messages";
    return this.#decoder.incompleteBodyError(isReceived, this.source.incompleteReason ?? null);
  }

  checkEnd<Value>(result: Value): Value | Promise<Value> {
    if (this.remainingBytes > 0) return result;
    if (this.#kind.followedBy === "nothing") return this.#awaitSourceEnd(result);
    this.isDone = true;
    return result;
  }

  async #awaitSourceEnd<Value>(result: Value): Promise<Value> {
    const { buffer, source } = this;
    if (buffer.bufferedBytes > 0 || await source.read(new Uint8Array(1)) !== null) {
      throw new BodyError("the source has more bytes than the body");
    }
    this.isDone = true;
    return result;
  }

  /** The piece is valid until the next call, or forever if the sink keeps bytes. */
  readPiece(preferences: SinkPreferences): Bytes | Promise<Bytes> {
    const { keepsBytes } = preferences;
    const turn = this.waitForTurn();
    if (turn !== null) {
      return turn.then(() => {
        this.checkNotStopped();
        return this.readPiece(preferences);
      });
    }
    const piece = this.#decoder.take(this.buffer, keepsBytes ? PIECE_BYTES : Infinity);
    return piece.length === 0 && this.remainingBytes > 0
      ? this.#readMorePiece(preferences)
      : this.#checkPiece(piece, keepsBytes);
  }

  async #readMorePiece(preferences: SinkPreferences): Promise<Bytes> {
    const { keepsBytes, pieceBytes } = preferences;
    const decoder = this.#decoder;
    const { buffer, remainingBytes } = this;
    if (keepsBytes && remainingBytes < Infinity) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, remainingBytes));
      return takeFirstBytes(piece, await this.#readMore(piece));
    }
    const { defaultBytes, maxBytes } = this.#kind;
    const maxPieceBytes = keepsBytes ? PIECE_BYTES : Math.min(pieceBytes ?? defaultBytes, maxBytes);
    const { length } = buffer.bytes;
    // A source that fills the buffer probably has more bytes. A slow source gets little memory.
    const initialCapacity = remainingBytes < Infinity ? PIECE_BYTES : 0;
    const capacity = this.#lastViewBytes * 2 > length ? length * GROWTH_FACTOR : initialCapacity;
    buffer.grow(Math.min(capacity, maxPieceBytes, remainingBytes));
    let piece = EMPTY_BYTES;
    while (piece.length === 0 && decoder.remainingBytes > 0) {
      await this.fillBuffer(maxPieceBytes);
      piece = decoder.take(buffer, Infinity);
    }
    return this.#checkPiece(piece, keepsBytes);
  }

  #checkPiece(view: Bytes, keepsBytes: boolean): Bytes | Promise<Bytes> {
    this.#lastViewBytes = view.length;
    return this.checkEnd(keepsBytes ? view.slice() : view);
  }

  /** An error of the source stops the body. */
  readFromSource<T>(read: () => T | Promise<T>): T | Promise<T> {
    this.checkNotStopped();
    let result: T | Promise<T>;
    try {
      result = read();
    } catch (error) {
      result = Promise.reject(error);
    }
    return result instanceof Promise ? this.waitFor(result, true) : result;
  }

  /**
   * If possible, converts bytes in the buffer of the source, because a copy is the greatest cost of
   * a small body. Not an async function, whose objects would cost more than a small body.
   *
   * @param limit The limit of the caller; `null` for that of `read()`.
   */
  readRemaining<Value>(
    limit: number | null,
    convert: BytesConverter<Value>,
    size?: number,
  ): Promise<Value> {
    try {
      if (size !== undefined) checkInteger("size", size, 0, MAX_READ_BYTES);
      if (!this.beginRead(limit === null)) return Promise.resolve(convert(EMPTY_BYTES, false));
      const requestedBytes = Math.min(size ?? Infinity, this.remainingBytes);
      if (requestedBytes > (limit ?? MAX_READ_BYTES) && requestedBytes < Infinity) {
        const error = tooLongError(this, limit, `${requestedBytes}`);
        this.rollback();
        if (limit !== null && this.#kind.onTooLong === "cancel") this.cancel(error);
        throw error;
      }
      if (requestedBytes > this.buffer.bufferedBytes) {
        return this.#convertLater(this.#collectRemaining(requestedBytes, limit), convert, true);
      }
      // The length is known, so the bytes need no decoding that could fail.
      const bytes = this.checkEnd(this.#decoder.take(this.buffer, requestedBytes));
      return bytes instanceof Promise
        ? this.#convertLater(this.waitFor(bytes, true), convert, false)
        : Promise.resolve(this.#convert(bytes, convert, false));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #convertLater<Value>(
    bytes: Promise<Bytes>,
    convert: BytesConverter<Value>,
    hasOwnMemory: boolean,
  ): Promise<Value> {
    return this.#convert(await bytes, convert, hasOwnMemory);
  }

  #convert<Value>(bytes: Bytes, convert: BytesConverter<Value>, hasOwnMemory: boolean): Value {
    try {
      return convert(bytes, hasOwnMemory);
    } catch (error) {
      this.addContentError(error, 400);
      throw error;
    } finally {
      // End the operation after the conversion, because the connection may then overwrite the
      // buffer. After the last byte, `read()` may be called once more, and returns no bytes. A call
      // for no bytes, which needs no memory, counts as this call, so every later call throws.
      this.endOperation(this.isDone, !hasOwnMemory && bytes.length === 0);
    }
  }

  async #collectRemaining(requestedBytes: number, limit: number | null): Promise<Bytes> {
    const maxBytes = limit ?? MAX_READ_BYTES;
    // Collect one byte more than the limit, to detect a longer body.
    const collector = requestedBytes < Infinity
      ? new Collector(requestedBytes)
      : Collector.upTo(maxBytes + 1);
    while (collector.missingBytes > 0 && !this.isDone) {
      const room = collector.makeRoom();
      collector.countWritten(await this.readFromSource(() => this.read(room)));
    }
    if (collector.length <= maxBytes) return collector.toBytes();
    const error = tooLongError(this, limit, "more");
    this.cancel(error);
    throw error;
  }

  /** Whether all remaining bytes are in the buffer; never true for unread chunks. */
  get isBuffered(): boolean {
    return this.remainingBytes <= this.buffer.bufferedBytes;
  }

  readIfBuffered(): Bytes | null {
    if (!this.isBuffered) return null;
    const { remainingBytes, buffer } = this;
    this.beginRead(false);
    const bytes = this.#decoder.take(buffer, remainingBytes).slice();
    this.endOperation(true);
    return bytes;
  }

  iterate<Item extends { readonly length: number }>(
    readItem: () => Item | Promise<Item>,
  ): AsyncGenerator<Item, void, void> {
    const iterator = this.#iterate(readItem);
    // Rejections of other reads need no handler, so these iterations need no closure.
    if (this.source.kind !== "request") return iterator;
    const next = iterator.next.bind(iterator);
    return Object.assign(iterator, { next: () => this.handleRejection(next()) });
  }

  async *#iterate<Item extends { readonly length: number }>(
    readItem: () => Item | Promise<Item>,
  ): AsyncGenerator<Item, void, void> {
    this.begin("iterate", "whole");
    try {
      while (!this.isDone) {
        let item = this.readFromSource(readItem);
        // Don't await a buffered item: the exchange could end during the await, which stops a body
        // in use.
        if (item instanceof Promise) item = await item;
        if (this.isDone) this.endOperation(true);
        // An empty body has one piece, which is empty.
        if (item.length > 0) yield item;
      }
    } finally {
      if (!this.isDone) this.cancel(new BodyError("the iteration was abandoned"));
    }
  }

  iteratePieces(): AsyncGenerator<Bytes, void, void> {
    return this.iterate(() => this.readPiece(PROGRAM_PREFERENCES));
  }

  /** @param beginsAtRead Whether the operation begins at the first read of the stream. */
  makeStream(beginsAtRead = false): ReadableStream<Bytes> {
    const isEmpty = this.remainingBytes === 0;
    let hasBegun = isEmpty || !beginsAtRead;
    if (hasBegun) this.begin("stream", "whole");
    return new ReadableStream({
      type: "bytes",
      // Without `autoAllocateChunkSize`: its arrays would stay in memory, however few bytes arrive.
      start: async (controller) => {
        if (!isEmpty) return;
        await this.#readForStream(() => this.read(EMPTY_BYTES));
        closeByteStream(controller);
      },
      pull: async (controller) => {
        if (!hasBegun) this.begin("stream", "whole");
        hasBegun = true;
        const request = controller.byobRequest;
        if (request === null) {
          const piece = await this.#readForStream(() => this.#readOwnPiece());
          if (piece.length > 0) controller.enqueue(piece);
        } else {
          const { buffer, byteOffset, byteLength } = request.view!;
          const into = new Uint8Array(buffer, byteOffset, byteLength);
          const count = await this.#readForStream(() => this.read(into));
          if (count > 0) request.respond(count);
        }
        if (this.isDone) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }

  async #readForStream<T>(read: () => T | Promise<T>): Promise<T> {
    let result = this.readFromSource(read);
    if (result instanceof Promise) result = await result;
    if (this.isDone) this.endOperation(true);
    return result;
  }

  /** Reads what has arrived into memory of its own, at most twice as large. */
  async #readOwnPiece(): Promise<Bytes> {
    const { buffer } = this;
    let size = Math.min(PIECE_BYTES, this.remainingBytes);
    if (this.#decoder.directBytes === 0) {
      if (buffer.bufferedBytes === 0) await this.fillBuffer();
      size = Math.max(buffer.bufferedBytes, MIN_PIECE_BYTES);
    }
    const piece = new Uint8Array(size);
    const count = this.read(piece);
    return takeFirstBytes(piece, count instanceof Promise ? await count : count);
  }

  protected override async writePieces(sink: OpenSink): Promise<number> {
    const readNextPiece = () => this.readPiece(sink);
    let writtenBytes = 0;
    while (!this.isDone) {
      let piece = this.readFromSource(readNextPiece);
      // Don't await a buffered piece, so that it is sent together with the preamble.
      if (piece instanceof Promise) piece = await piece;
      writtenBytes += piece.length;
      if (piece.length > 0) await this.waitFor(sink.write(piece));
    }
    this.endOperation(true);
    return writtenBytes;
  }
}

/** Copies the bytes if a view would keep more than twice their memory. */
function takeFirstBytes(piece: Bytes, count: number): Bytes {
  return count * 2 < piece.length ? piece.slice(0, count) : piece.subarray(0, count);
}

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

function tooLongError(
  reader: BodyReader,
  limit: number | null,
  actualBytes: string,
): RangeError | BodyError {
  const error = limit === null
    ? new RangeError(
      `one read returns at most ${MAX_READ_BYTES} bytes; ${actualBytes} remain: pass a size, iterate, ` +
        "or use writeTo",
    )
    : new BodyError(
      `the body has ${actualBytes} bytes, but at most ${limit} are allowed: ` +
        `${limit < MAX_READ_BYTES ? "raise maxBytes, " : ""}iterate, or use writeTo`,
      { code: "TOO_LONG" },
    );
  reader.addContentError(error, 413);
  return error;
}
