import { EMPTY_BYTES, makePlainView, realLengthOf, releaseMemory } from "../../internal/bytes.ts";
import { propertyOf } from "../../internal/caught_errors.ts";
import { wrongTypeError } from "../../internal/checks.ts";
import { typeNameOf } from "../../internal/quote.ts";
import { BodyError, ConnectionClosedError } from "../errors.ts";
import { MAX_INITIAL_ALLOCATION } from "../wire/limits.ts";

/** A source of bytes: a connection, a file, or any other object with this method. */
export interface ByteSource {
  /** Reads up to `into.length` bytes; resolves to their number, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** A source whose reads can be issued before their bytes are needed. */
export interface ReadAheadSource extends ByteSource {
  /** Waits for the pending read-ahead, with the time-out of any other read. */
  waitForReadAhead?(): Promise<void>;
  /** Reads a piece, whose memory the caller then owns; resolves to `null` at the end. */
  readPiece?: (() => Promise<Uint8Array<ArrayBuffer> | null>) | undefined;
}

export interface ReadAheadListener {
  /** Called with the number of bytes that a read has added, or with its error. */
  onReadAhead(count: number, error: unknown): void;
}

/** A sink of bytes: a connection, a file, or any other object with this method. */
export interface ByteSink {
  /**
   * Writes bytes, which are valid only until the promise settles, and whose buffer must not be
   * transferred. If the promise resolves to a number, only that number of bytes was written, and
   * the next call gets the other bytes.
   */
  write(bytes: Uint8Array): Promise<number | void>;
  /** The preferred number of bytes of one write, up to 2097152. */
  readonly pieceBytes?: number;
}

export async function writeAll(sink: ByteSink, bytes: Uint8Array): Promise<void> {
  let remainder = bytes;
  do {
    const { length } = remainder;
    remainder = dropWritten(remainder, length, await sink.write(remainder));
  } while (remainder.length > 0);
}

export function dropWritten(
  bytes: Uint8Array,
  length: number,
  writtenCount: number | void,
): Uint8Array {
  if (writtenCount === undefined || writtenCount === length) return EMPTY_BYTES;
  if (!Number.isInteger(writtenCount) || writtenCount < 1 || writtenCount > length) {
    throw new BodyError(`the sink claims to have written ${writtenCount} of ${length} bytes`);
  }
  checkUnchanged(bytes, length);
  return bytes.subarray(writtenCount);
}

export function checkUnchanged(bytes: Uint8Array, announcedLength: number): void {
  if (realLengthOf(bytes) !== announcedLength) throw changedLengthError(bytes, announcedLength);
}

export function changedLengthError(bytes: Uint8Array, announcedLength: number): BodyError {
  return new BodyError(
    `an array of ${announcedLength} bytes had ${realLengthOf(bytes)} when it was to be sent; ` +
      "don't resize or transfer its buffer before that",
  );
}

/** Explains the error of a file that the program has closed, and a failure without an error. */
export function toSourceError(error: unknown): unknown {
  if (error === undefined || error === null) {
    return new BodyError(`the source of the body failed with ${error} instead of an error`);
  }
  if (propertyOf(error, "name") !== "BadResource") return error;
  return new BodyError(
    "the file of the body was closed before its end (`using` closes it at the end of the block): " +
      "use Body.fromFile(path), which closes the file after its end",
    { cause: error },
  );
}

/** An item of a stream or an iterable, whose bytes are taken in parts. */
export class SourceItem {
  readonly #bytes: Uint8Array;
  /** The initial length, because the buffer may be transferred between two parts. */
  readonly #length: number;
  #position = 0;

  /** @throws {TypeError} if the buffer has been transferred, or has become too small. */
  constructor(bytes: Uint8Array) {
    this.#bytes = makePlainView(bytes);
    this.#length = this.#bytes.length;
  }

  get isTaken(): boolean {
    return this.#position === this.#length;
  }

  /** Returns a view of up to `maxBytes` bytes, which is valid until other code can run. */
  take(maxBytes: number): Uint8Array {
    checkUnchanged(this.#bytes, this.#length);
    const part = this.#bytes.subarray(this.#position, this.#position + maxBytes);
    this.#position += part.length;
    return part;
  }
}

export function checkReadCount(count: number | null, maxBytes: number): number {
  if (count === null) return 0;
  if (!Number.isInteger(count) || count < 1 || count > maxBytes) {
    throw new BodyError(`the source claims to have read ${count} of at most ${maxBytes} bytes`);
  }
  return count;
}

/** Returns the length of a piece, or 0 at the end. */
export function checkPiece(piece: unknown): number {
  if (piece === null) return 0;
  if (piece instanceof Uint8Array && realLengthOf(piece) > 0) return realLengthOf(piece);
  const problem = piece instanceof Uint8Array ? "an empty one" : typeNameOf(piece);
  throw new BodyError(`the source must return a piece of bytes, or null; got ${problem}`);
}

export interface OpenSink extends ByteSink {
  /** Whether the sink may keep the bytes after the write has settled. */
  readonly keepsBytes: boolean;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Unlocks the sink, which stays open. */
  release(): void;
}

export function openSink(sink: WritableStream<Uint8Array> | ByteSink): OpenSink {
  if (typeof (sink as WritableStream | null)?.getWriter === "function") {
    const writer = (sink as WritableStream<Uint8Array>).getWriter();
    return {
      keepsBytes: true,
      write: (bytes) => writer.write(bytes),
      release: () => writer.releaseLock(),
    };
  }
  if (typeof (sink as ByteSink | null)?.write === "function") {
    return {
      keepsBytes: false,
      ...pieceBytesOf(sink as ByteSink),
      write: (bytes) => writeAll(sink as ByteSink, bytes),
      release: () => {},
    };
  }
  throw wrongTypeError("sink", "a WritableStream or a ByteSink", sink);
}

function pieceBytesOf({ pieceBytes }: ByteSink): { pieceBytes: number } | undefined {
  return Number.isSafeInteger(pieceBytes) && pieceBytes! > 0
    ? { pieceBytes: Math.min(pieceBytes!, MAX_PIECE_BYTES) }
    : undefined;
}

export const MAX_PIECE_BYTES = 2097152;
const DEFAULT_CAPACITY = 65536;
const INITIAL_BYTES = 1024;
const GROWTH_FACTOR = 4;

/**
 * A buffer with the bytes of a source that were read, but not consumed, from `start` to `end`. The
 * buffer is small at first, grows when a read fills it, and shrinks between smaller messages.
 */
export class ReadBuffer {
  bytes: Uint8Array<ArrayBuffer> = EMPTY_BYTES;
  start = 0;
  end = 0;
  readonly #listener: ReadAheadListener | null;
  readonly #initialCapacity: number;
  readonly #capacity: number;
  /** The maximum of `end` during the current message. */
  #maxEnd = 0;
  #isGrown = false;
  /** Whether the memory is that of a piece of the source. */
  #isAdopted = false;
  /**
   * The pending read of {@linkcode readAhead}. Until it settles, the buffer must not be replaced.
   */
  #pendingRead: Promise<number | null> | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(listener: ReadAheadListener | null = null, capacity = DEFAULT_CAPACITY) {
    this.#listener = listener;
    this.#initialCapacity = Math.min(capacity, INITIAL_BYTES);
    this.#capacity = capacity;
  }

  get bufferedBytes(): number {
    return this.end - this.start;
  }

  /** Must not be called during a {@linkcode pendingRead}. */
  makeRoom(): Uint8Array {
    const { length } = this.bytes;
    // A source that has filled the buffer probably has more bytes.
    if (this.end === length && length < this.#capacity) {
      const enlargedCapacity = Math.max(length * GROWTH_FACTOR, this.#initialCapacity);
      this.#replaceBuffer(Math.min(enlargedCapacity, this.#capacity));
    } else if (this.start === this.end) {
      this.start = this.end = 0;
    } else if (this.end === length) {
      this.bytes.copyWithin(0, this.start, this.end);
      this.end -= this.start;
      this.start = 0;
    }
    return this.end === 0 ? this.bytes : this.bytes.subarray(this.end);
  }

  /**
   * Makes room after `end` as {@linkcode makeRoom} does, but moves bytes only to a new buffer, so
   * that views of the current buffer stay valid.
   */
  #makeRoomInPlace(): Uint8Array {
    const { length } = this.bytes;
    if (this.end === length || length > this.#capacity) this.#replaceBuffer(this.#fittingCapacity);
    return this.bytes.subarray(this.end);
  }

  grow(capacity: number): void {
    if (capacity <= this.bytes.length || this.#pendingRead !== null) return;
    // The next piece would replace the new buffer.
    if (this.#isAdopted && capacity <= this.#capacity) return;
    this.#isGrown = true;
    this.#replaceBuffer(capacity);
  }

  /** Reverts {@linkcode grow} after the body. */
  shrink(): void {
    this.#isAdopted = false;
    if (!this.#isGrown || this.#pendingRead !== null) return;
    this.#isGrown = false;
    if (this.bufferedBytes <= this.#capacity) this.#replaceBuffer(this.#fittingCapacity);
    this.#maxEnd = this.end;
  }

  /**
   * Shrinks the buffer, which must be empty, if the last message needed less. Called between two
   * messages, before a read that may wait for a long time.
   */
  shrinkToUse(): void {
    const { length } = this.bytes;
    if (this.#pendingRead !== null) return;
    if (this.#maxEnd * GROWTH_FACTOR <= length && length > this.#initialCapacity) {
      const capacity = Math.floor(length / GROWTH_FACTOR);
      this.#replaceBuffer(Math.max(capacity, this.#initialCapacity));
    }
    this.#maxEnd = 0;
  }

  get #fittingCapacity(): number {
    return this.bufferedBytes < this.#initialCapacity ? this.#initialCapacity : this.#capacity;
  }

  #replaceBuffer(capacity: number): void {
    const newBytes = new Uint8Array(capacity);
    this.end = this.bufferedBytes === 0 ? 0 : this.copyTo(newBytes);
    this.start = 0;
    this.bytes = newBytes;
    this.#isAdopted = false;
  }

  get pendingRead(): Promise<number | null> | null {
    return this.#pendingRead;
  }

  /**
   * @param hasViews Whether views of consumed bytes may still be in use, so that the bytes of the
   * buffer must not be moved.
   */
  readAhead(source: ByteSource, hasViews: boolean): Promise<number | null> | null {
    if (this.#pendingRead !== null || this.bufferedBytes >= this.#capacity) return null;
    const room = hasViews ? this.#makeRoomInPlace() : this.makeRoom();
    try {
      this.#pendingRead = Promise.resolve(source.read(room));
    } catch (error) {
      this.#pendingRead = Promise.reject(error);
    }
    this.#pendingRead.then(this.#onReadAheadEnd, this.#onReadAheadError);
    return this.#pendingRead;
  }

  readonly #onReadAheadEnd = (count: number | null): void => {
    this.#pendingRead = null;
    if (this.#failure !== null) return;
    let addedBytes = 0;
    try {
      addedBytes = this.countRead(count);
    } catch (error) {
      this.#failure = { error };
    }
    this.#listener?.onReadAhead(addedBytes, this.#failure?.error ?? null);
  };

  // Keep the error for the next read, because a socket may report a reset only once.
  readonly #onReadAheadError = (error: unknown): void => {
    this.#pendingRead = null;
    if (this.#failure !== null) return;
    this.#failure = { error };
    this.#listener?.onReadAhead(0, error);
  };

  async settleReadAhead(): Promise<number> {
    try {
      await this.#pendingRead;
    } catch {
      // checkFailure() throws the error.
    }
    this.checkFailure();
    return this.bufferedBytes;
  }

  checkFailure(): void {
    if (this.#failure !== null) throw this.#failure.error ?? new ConnectionClosedError();
  }

  /** Drops the buffered bytes and those of a pending read, and makes every later read fail. */
  close(error: unknown): void {
    this.start = this.end = 0;
    this.#failure = { error };
  }

  async fill(source: ReadAheadSource, maxBytes = Infinity): Promise<number> {
    if (this.#pendingRead !== null) {
      const previousCount = this.bufferedBytes;
      await (source.waitForReadAhead?.() ?? this.settleReadAhead());
      this.checkFailure();
      return this.bufferedBytes - previousCount;
    }
    this.checkFailure();
    if (source.readPiece !== undefined && this.#canAdopt && maxBytes >= this.#capacity) {
      const piece = await source.readPiece();
      this.checkFailure();
      return piece === null ? 0 : this.#adopt(piece);
    }
    let room = this.makeRoom();
    if (room.length > maxBytes) room = room.subarray(0, maxBytes);
    const count = await source.read(room);
    this.checkFailure();
    return this.countRead(count, room.length);
  }

  /** If the buffer has grown, its reads are larger than the pieces of a source. */
  get #canAdopt(): boolean {
    return this.bufferedBytes === 0 && (this.#isAdopted || this.bytes.length <= this.#capacity);
  }

  #adopt(piece: Uint8Array<ArrayBuffer>): number {
    if (this.#isAdopted) releaseMemory(this.bytes);
    // A subclass such as `Buffer` may have a slice() that makes no copy.
    this.bytes = new Uint8Array(piece.buffer, piece.byteOffset, piece.length);
    this.start = 0;
    this.end = piece.length;
    this.#isGrown = this.#isAdopted = true;
    return this.end;
  }

  countRead(count: number | null, maxBytes: number = this.bytes.length - this.end): number {
    const addedCount = checkReadCount(count, maxBytes);
    this.end += addedCount;
    this.#maxEnd = Math.max(this.#maxEnd, this.end);
    return addedCount;
  }

  /** Consumes up to `maxBytes` bytes; returns a view of the buffer, which the next read changes. */
  takeView(maxBytes: number): Uint8Array<ArrayBuffer> {
    const { start } = this;
    this.start = Math.min(start + maxBytes, this.end);
    // A new view would be the greatest cost of a read that finds no bytes.
    return this.start === start ? EMPTY_BYTES : this.bytes.subarray(start, this.start);
  }

  copyTo(into: Uint8Array): number {
    const bytes = this.takeView(into.length);
    into.set(bytes);
    return bytes.length;
  }
}

const ANNOUNCED_GROWTH_FACTOR = 8;
/**
 * The growth factor for an unknown size. This factor is smaller, because a copy briefly needs the
 * old and the new memory.
 */
const UNKNOWN_GROWTH_FACTOR = 2;
const UNKNOWN_INITIAL_BYTES = 4096;

/**
 * Collects up to `size` bytes. The memory grows with the collected bytes, so that a peer can't
 * allocate memory by announcing a size.
 */
export class Collector {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;
  readonly #size: number;
  readonly #growthFactor: number;

  constructor(
    size: number,
    initialBytes = MAX_INITIAL_ALLOCATION,
    growthFactor = ANNOUNCED_GROWTH_FACTOR,
  ) {
    this.#size = size;
    this.#growthFactor = growthFactor;
    this.#bytes = new Uint8Array(Math.min(size, initialBytes));
  }

  static upTo(maxBytes: number): Collector {
    return new Collector(maxBytes, UNKNOWN_INITIAL_BYTES, UNKNOWN_GROWTH_FACTOR);
  }

  get length(): number {
    return this.#length;
  }

  get missingBytes(): number {
    return this.#size - this.#length;
  }

  makeRoom(): Uint8Array<ArrayBuffer> {
    if (this.#length === this.#bytes.length) {
      let capacity = this.#size;
      // Steps from the end make only the first one small, so that few bytes are copied.
      while (capacity > this.#length * this.#growthFactor) {
        capacity = Math.ceil(capacity / this.#growthFactor);
      }
      const largerArray = new Uint8Array(capacity);
      largerArray.set(this.#bytes);
      this.#bytes = largerArray;
    }
    return this.#length === 0 ? this.#bytes : this.#bytes.subarray(this.#length);
  }

  append(bytes: Uint8Array): void {
    let position = 0;
    while (position < bytes.length) {
      const room = this.makeRoom();
      const piece = bytes.subarray(position, position + room.length);
      room.set(piece);
      this.countWritten(piece.length);
      position += piece.length;
    }
  }

  countWritten(count: number): void {
    this.#length += count;
  }

  /** Returns the collected bytes, in memory that the collector doesn't use afterward. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length);
  }
}
