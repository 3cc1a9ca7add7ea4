/** Moving bytes: sources, sinks, a buffer that reads ahead, and a buffer that collects. */

import { EMPTY, realLength } from "../../internal/bytes.ts";
import { wrongTypeError } from "../../internal/checks.ts";
import { BodyError, ConnectionClosedError } from "../errors.ts";
import { MAX_INITIAL_ALLOCATION } from "../wire/limits.ts";

/** A source of bytes: a connection, a file, or any other object with this method. */
export interface ByteSource {
  /** Reads up to `into.length` bytes; resolves to their number, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** A source whose reads can be issued before anything waits for them. */
export interface AheadSource extends ByteSource {
  /** Waits for the read that was issued ahead, with the time limit of any other read. */
  awaitAhead?(): Promise<void>;
  /** Called when a read that was issued ahead has settled; `null` if it has not failed. */
  arrivedAhead?(error: unknown): void;
}

/** A sink of bytes: a connection, a file, or any other object with this method. */
export interface ByteSink {
  /**
   * Writes bytes, which are valid only until the promise settles, and whose buffer must not be
   * transferred. If the promise resolves to a number, that many bytes were written, and the rest is
   * passed again.
   */
  write(bytes: Uint8Array): Promise<number | void>;
  /** The best number of bytes for one write, if it matters; at most 2097152 count. */
  readonly pieceBytes?: number;
}

/** Writes all of the bytes, in as many writes as the sink needs. */
export async function writeAll(sink: ByteSink, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  do {
    const { length } = rest;
    rest = notWritten(rest, length, await sink.write(rest));
  } while (rest.length > 0);
}

/**
 * The bytes that a write of `length` bytes has left, after it resolved to `written`; throws if that
 * is impossible.
 */
export function notWritten(bytes: Uint8Array, length: number, written: number | void): Uint8Array {
  if (written === undefined || written === length) return EMPTY;
  if (!Number.isInteger(written) || written < 1 || written > length) {
    throw new BodyError(`the sink claims to have written ${written} of ${length} bytes`);
  }
  checkUnchanged(bytes, length);
  return bytes.subarray(written);
}

/** Throws a {@linkcode BodyError} unless an array has the announced number of bytes. */
export function checkUnchanged(bytes: Uint8Array, announced: number): void {
  if (realLength(bytes) !== announced) throw changedLengthError(bytes, announced);
}

/** The error for an array whose length differs from the announced one. */
export function changedLengthError(bytes: Uint8Array, announced: number): BodyError {
  return new BodyError(
    `an array of ${announced} bytes had ${realLength(bytes)} when it was to be sent; ` +
      "don't resize or transfer its buffer before that",
  );
}

/**
 * Checks the number of bytes that a source claims to have read: at least 1. `null`, the end of the
 * source, becomes 0.
 */
export function checkCount(count: number | null, room: number): number {
  if (count === null) return 0;
  if (!Number.isInteger(count) || count < 1 || count > room) {
    throw new BodyError(`the source claims to have read ${count} of at most ${room} bytes`);
  }
  return count;
}

/** A stream or a sink that a body is written to. */
export interface OpenSink extends ByteSink {
  /** True if the sink may keep the bytes after the write has settled. */
  readonly keepsBytes: boolean;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Unlocks the sink, which stays open. */
  release(): void;
}

/** Opens a sink for writing; locks it if it is a stream. */
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

/** The largest number of bytes that are passed on at a time. */
export const MAX_PIECE_BYTES = 2097152;
const CAPACITY = 65536;
/** The initial size of a buffer, in bytes. */
const FIRST_BYTES = 2048;
/** The growth factor of a filled buffer, and the factor by which a buffer may be too large. */
const GROWTH = 4;

/**
 * The bytes of a source that have been read and not consumed yet, from `start` to `end`. The buffer
 * begins small, grows when a read fills it, and shrinks between messages that need less.
 */
export class ReadBuffer {
  /** The buffer; allocated on first use. */
  bytes: Uint8Array<ArrayBuffer> = EMPTY;
  /** The position of the first unconsumed byte. */
  start = 0;
  /** The position behind the last unconsumed byte. */
  end = 0;
  readonly #source: AheadSource;
  readonly #first: number;
  readonly #usual: number;
  /** The largest extent to which the current message has filled the buffer. */
  #peak = 0;
  /** Whether a body has enlarged the buffer. */
  #isGrown = false;
  /** The pending read of {@linkcode readAhead}; until it settles, the buffer must not move. */
  #ahead: Promise<number | null> | null = null;
  /** The error of that read, or of {@linkcode close}. */
  #failure: { readonly error: unknown } | null = null;

  /** Makes an empty buffer, which grows up to the length of the longest item that it must hold. */
  constructor(source: AheadSource, capacity = CAPACITY) {
    this.#source = source;
    this.#first = Math.min(capacity, FIRST_BYTES);
    this.#usual = capacity;
  }

  /** The number of buffered bytes. */
  get buffered(): number {
    return this.end - this.start;
  }

  /**
   * Makes room behind `end`, and returns that part of the buffer: not empty, unless the buffer is
   * full. Must not be called while a read {@linkcode ahead} is pending.
   */
  room(): Uint8Array {
    const { length } = this.bytes;
    // A source that has filled the buffer probably has more.
    if (this.end === length && length < this.#usual) {
      this.#moveTo(this.#largerBytes);
    } else if (this.start === this.end) {
      this.start = this.end = 0;
    } else if (this.end === length) {
      this.bytes.copyWithin(0, this.start, this.end);
      this.end -= this.start;
      this.start = 0;
    }
    return this.end === 0 ? this.bytes : this.bytes.subarray(this.end);
  }

  /** Makes room behind `end`, too, but moves no byte within the buffer: into a new one instead. */
  #roomBehind(): Uint8Array {
    const { length } = this.bytes;
    if (this.end === length || length > this.#usual) this.#moveTo(this.#idleBytes);
    return this.bytes.subarray(this.end);
  }

  /** Enlarges the buffer, for a body that fills it again and again. */
  grow(capacity: number): void {
    if (capacity <= this.bytes.length || this.#ahead !== null) return;
    this.#isGrown = true;
    this.#moveTo(capacity);
  }

  /** Undoes {@linkcode grow}, once that body has ended. */
  shrink(): void {
    if (!this.#isGrown || this.#ahead !== null) return;
    this.#isGrown = false;
    if (this.buffered <= this.#usual) this.#moveTo(this.#idleBytes);
    this.#peak = this.end;
  }

  /**
   * Shrinks the buffer, which must be empty, to the size that the last message has needed: between
   * two messages, before a read that may wait for long. After a message that has filled the buffer,
   * {@linkcode room} makes it larger.
   *
   * @param least The smallest size.
   */
  fit(least: number = this.#first): void {
    const { length } = this.bytes;
    if (this.#ahead !== null) return;
    if (this.#peak * GROWTH <= length && length > least) {
      this.#moveTo(Math.max(Math.floor(length / GROWTH), least));
    }
    this.#peak = 0;
  }

  get #largerBytes(): number {
    return Math.min(Math.max(this.bytes.length * GROWTH, this.#first), this.#usual);
  }

  /** The usual size of a buffer; the least size if so few bytes are buffered. */
  get #idleBytes(): number {
    return this.buffered < this.#first ? this.#first : this.#usual;
  }

  /** Moves the buffered bytes to a new buffer, in which they must fit. */
  #moveTo(capacity: number): void {
    const another = new Uint8Array(capacity);
    this.end = this.buffered === 0 ? 0 : this.take(another);
    this.start = 0;
    this.bytes = another;
  }

  /** The read that was issued ahead and has not settled; `null` if there is none. */
  get ahead(): Promise<number | null> | null {
    return this.#ahead;
  }

  /**
   * Issues a read of `source` before anything waits for it. The bytes are in the buffer once the
   * read has settled. `null` while another read is pending, or if the buffer holds as many bytes as
   * it usually can.
   *
   * @param lent Whether views of consumed bytes may still be in use: those bytes stay where they
   * are.
   */
  readAhead(source: ByteSource, lent: boolean): Promise<number | null> | null {
    if (this.#ahead !== null || this.buffered >= this.#usual) return null;
    const room = lent ? this.#roomBehind() : this.room();
    try {
      this.#ahead = Promise.resolve(source.read(room));
    } catch (error) {
      this.#ahead = Promise.reject(error);
    }
    this.#ahead.then(this.#endAhead, this.#failAhead);
    return this.#ahead;
  }

  readonly #endAhead = (count: number | null): void => {
    this.#ahead = null;
    if (this.#failure !== null) return;
    try {
      this.filled(count);
    } catch (error) {
      this.#failure = { error };
    }
    this.#source.arrivedAhead?.(this.#failure?.error ?? null);
  };

  // A socket may report a reset only once, so the error is kept for the next read.
  readonly #failAhead = (error: unknown): void => {
    this.#ahead = null;
    if (this.#failure !== null) return;
    this.#failure = { error };
    this.#source.arrivedAhead?.(error);
  };

  /** Waits for the read that was issued ahead, if any; resolves to the number of buffered bytes. */
  async settleAhead(): Promise<number> {
    try {
      await this.#ahead;
    } catch {
      // `#failAhead` has kept the error.
    }
    this.checkFailure();
    return this.buffered;
  }

  /** Throws the error of a read that was issued ahead, or the one given to {@linkcode close}. */
  checkFailure(): void {
    if (this.#failure !== null) throw this.#failure.error ?? new ConnectionClosedError();
  }

  /**
   * Drops the buffered bytes, and makes every further read fail. The bytes of a pending read are
   * ignored.
   *
   * @param error The error of later reads; `null` for a {@linkcode ConnectionClosedError}.
   */
  close(error: unknown): void {
    this.start = this.end = 0;
    this.#failure = { error };
  }

  /** Reads up to `limit` more bytes; resolves to their number, or to 0 at the end of the source. */
  async fill(limit = Infinity): Promise<number> {
    if (this.#ahead !== null) {
      const before = this.buffered;
      await (this.#source.awaitAhead?.() ?? this.settleAhead());
      this.checkFailure();
      return this.buffered - before;
    }
    this.checkFailure();
    let room = this.room();
    if (room.length > limit) room = room.subarray(0, limit);
    const count = await this.#source.read(room);
    this.checkFailure();
    return this.filled(count, room.length);
  }

  /**
   * Counts the bytes that a read has put into the {@linkcode room}, or into its first `room` bytes;
   * returns their number.
   */
  filled(count: number | null, room: number = this.bytes.length - this.end): number {
    const added = checkCount(count, room);
    this.end += added;
    this.#peak = Math.max(this.#peak, this.end);
    return added;
  }

  /** Consumes up to `most` bytes; returns a view of the buffer, which the next read changes. */
  view(most: number): Uint8Array<ArrayBuffer> {
    const { start } = this;
    this.start = Math.min(start + most, this.end);
    return this.bytes.subarray(start, this.start);
  }

  /** Consumes as many bytes as fit into the array and copies them there; returns their number. */
  take(into: Uint8Array): number {
    const bytes = this.view(into.length);
    into.set(bytes);
    return bytes.length;
  }
}

/** The growth factor for an announced size, relative to the bytes that have arrived. */
const ANNOUNCED_GROWTH = 8;
/** The growth factor for an unknown size: smaller, since old and new memory are held at once. */
const UNKNOWN_GROWTH = 2;
/** The first memory for an unknown size, in bytes. */
const UNKNOWN_BYTES = 4096;

/**
 * Collects up to `size` bytes. The memory grows with the bytes that arrive, not with the announced
 * size.
 */
export class Collector {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;
  readonly #size: number;
  readonly #growth: number;

  /**
   * @param first The first memory, in bytes, unless `size` is smaller.
   * @param growth The factor by which the memory grows each time.
   */
  constructor(size: number, first = MAX_INITIAL_ALLOCATION, growth = ANNOUNCED_GROWTH) {
    this.#size = size;
    this.#growth = growth;
    this.#bytes = new Uint8Array(Math.min(size, first));
  }

  /** Makes a collector for an unknown number of bytes, up to `most`. */
  static upTo(most: number): Collector {
    return new Collector(most, UNKNOWN_BYTES, UNKNOWN_GROWTH);
  }

  /** The number of collected bytes. */
  get length(): number {
    return this.#length;
  }

  /** The number of missing bytes. */
  get missing(): number {
    return this.#size - this.#length;
  }

  /** The room for the next bytes; never empty while some are missing. */
  room(): Uint8Array<ArrayBuffer> {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(Math.min(this.#size, this.#bytes.length * this.#growth));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return this.#length === 0 ? this.#bytes : this.#bytes.subarray(this.#length);
  }

  /** Copies bytes, which must not be more than are missing. */
  append(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const room = this.room();
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      this.add(piece.length);
      at += piece.length;
    }
  }

  /** Adds bytes that were put into the {@linkcode room}. */
  add(count: number): void {
    this.#length += count;
  }

  /** The bytes collected so far, in an array of their own. */
  collected(): Uint8Array<ArrayBuffer> {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length);
  }
}
