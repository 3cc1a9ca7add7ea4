/**
 * The two small interfaces under everything, and a buffer that reads ahead.
 *
 * @module
 */

import { checkUnchanged, EMPTY } from "../bytes.ts";
import { BodyError, ConnectionClosedError, typeName } from "../errors.ts";

/** Where bytes come from: a connection, a file, or anything else with this one method. */
export interface ByteSource {
  /** Reads up to `into.length` bytes; resolves to how many, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** A source of which reads can be issued ahead. */
export interface AheadSource extends ByteSource {
  /** Waits for the read of the reader that was issued ahead, no longer than for any other read. */
  settle?(): Promise<void>;
}

/** Where bytes go: a connection, a file, or anything else with this one method. */
export interface ByteSink {
  /**
   * Writes bytes, which are valid only until the promise settles. A sink that resolves to a number
   * has written that many, and gets the rest again.
   */
  write(bytes: Uint8Array): Promise<number | void>;
  /** How many bytes it is best given at a time, where it matters. */
  readonly pieceBytes?: number;
}

/** Writes all of the bytes, however many writes the sink needs. */
export async function writeAll(sink: ByteSink, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  do {
    const { length } = rest;
    rest = notWritten(rest, length, await sink.write(rest));
  } while (rest.length > 0);
}

/**
 * What is left of the bytes after a write that has resolved to `written`.
 *
 * @param length How many bytes there were when the write began.
 * @throws {BodyError} if the sink claims the impossible, or the array has lost its bytes since.
 */
export function notWritten(bytes: Uint8Array, length: number, written: number | void): Uint8Array {
  if (written === undefined || written === length) return EMPTY;
  if (!Number.isInteger(written) || written < 1 || written > length) {
    throw new BodyError(`the sink claims to have written ${written} of ${length} bytes`);
  }
  checkUnchanged(bytes, length);
  return bytes.subarray(written);
}

/** Checks how many bytes a source claims to have read; `null` becomes 0, which it may not claim. */
export function checkCount(count: number | null, room: number): number {
  if (count === null) return 0;
  if (!Number.isInteger(count) || count < 1 || count > room) {
    throw new BodyError(`the source claims to have read ${count} of at most ${room} bytes`);
  }
  return count;
}

/** A writer of bytes over either kind of sink. */
export interface OpenSink extends ByteSink {
  /** True where the sink may keep the bytes after the write has settled. */
  readonly keepsBytes: boolean;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Gives the sink back, open. */
  release(): void;
}

/**
 * Takes hold of a sink.
 *
 * @throws {TypeError} where it is neither a stream that is free nor has a `write` method.
 */
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
  throw new TypeError(`sink: need a WritableStream or a ByteSink; got ${typeName(sink)}`);
}

function pieceBytesOf({ pieceBytes }: ByteSink): { pieceBytes: number } | undefined {
  return Number.isSafeInteger(pieceBytes) && pieceBytes! > 0
    ? { pieceBytes: Math.min(pieceBytes!, MAX_PIECE_BYTES) }
    : undefined;
}

/** As many bytes as are passed on at a time at most. */
export const MAX_PIECE_BYTES = 2097152;
const CAPACITY = 65536;

/** A buffer over a source: what has been read and not been taken stands from `start` to `end`. */
export class ByteReader {
  /** The buffer; made on first use. */
  bytes: Uint8Array = EMPTY;
  /** Where the bytes that were not taken yet start. */
  start = 0;
  /** Where they end. */
  end = 0;
  readonly #source: AheadSource;
  readonly #usual: number;
  #capacity: number;
  // A read that was issued before anybody waits for it. Until it settles, the buffer stays as it is.
  #ahead: Promise<number | null> | null = null;
  #failure: { readonly error: unknown } | null = null;

  /** Makes an empty buffer of at least as many bytes as the longest thing that must fit in it. */
  constructor(source: AheadSource, capacity = CAPACITY) {
    this.#source = source;
    this.#usual = this.#capacity = capacity;
  }

  /** How many bytes are there. */
  get buffered(): number {
    return this.end - this.start;
  }

  /**
   * Makes room behind `end` and returns it; never empty while less than the capacity is there. Not
   * to be called while a read {@linkcode ahead} is under way.
   */
  room(): Uint8Array {
    if (this.bytes.length === 0) this.bytes = new Uint8Array(this.#capacity);
    if (this.start === this.end) {
      this.start = this.end = 0;
    } else if (this.end === this.bytes.length) {
      this.bytes.copyWithin(0, this.start, this.end);
      this.end -= this.start;
      this.start = 0;
    }
    return this.end === 0 ? this.bytes : this.bytes.subarray(this.end);
  }

  /**
   * Makes room behind `end` as {@linkcode room} does, with a new buffer instead of moving bytes; one
   * of the usual size, so that an idle connection keeps no more.
   */
  #roomBehind(): Uint8Array {
    if (this.end === this.bytes.length || this.#capacity > this.#usual) {
      this.#moveTo(this.#usual);
    }
    return this.bytes.subarray(this.end);
  }

  /** Makes the buffer larger, for a body that fills it again and again. */
  grow(capacity: number): void {
    if (capacity <= this.#capacity || this.#ahead !== null) return;
    this.#moveTo(capacity);
  }

  /** Gives up what {@linkcode grow} has added, once that body is over. */
  shrink(): void {
    if (this.#capacity === this.#usual || this.buffered > this.#usual) return;
    if (this.#ahead !== null) return;
    this.#moveTo(this.#usual);
  }

  /** Moves what is there to a buffer of another size, in which it has room. */
  #moveTo(capacity: number): void {
    this.#capacity = capacity;
    const another = new Uint8Array(capacity);
    this.end = this.take(another);
    this.start = 0;
    this.bytes = another;
  }

  /** A read that was issued ahead and has not settled; `null` where there is none. */
  get ahead(): Promise<number | null> | null {
    return this.#ahead;
  }

  /**
   * Issues a read before anybody waits for it. What it brings is in the buffer once it has settled.
   * Does nothing while another one is under way, or if a full buffer of the usual size is
   * there already.
   *
   * @param source What to read from, past the reader's own source.
   * @param lent Whether somebody may still use a view of bytes that were taken: they stay in place.
   * @returns What the read resolves to, `null` where none was issued.
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
  };

  // A socket may report a reset once only, so it is kept for whoever reads next.
  readonly #failAhead = (error: unknown): void => {
    this.#ahead = null;
    this.#failure ??= { error };
  };

  /**
   * Waits for the read that was issued ahead, if any; resolves to how many bytes are there.
   *
   * @throws what that read has failed with.
   */
  async settleAhead(): Promise<number> {
    try {
      await this.#ahead;
    } catch {
      // It is kept.
    }
    this.checkFailure();
    return this.buffered;
  }

  /** Throws what a read that was issued ahead has failed with, or {@linkcode close} was called with. */
  checkFailure(): void {
    if (this.#failure !== null) throw this.#failure.error ?? new ConnectionClosedError();
  }

  /**
   * Drops what is there, and lets everybody fail who reads on. A read that is just coming to its end
   * adds nothing: it would be taken for bytes that are somewhere else.
   *
   * @param error What they fail with; `null` for a {@linkcode ConnectionClosedError}.
   */
  close(error: unknown): void {
    this.start = this.end = 0;
    this.#failure = { error };
  }

  /** Reads up to `limit` more bytes; resolves to how many, 0 at the end of the source. */
  async fill(limit = Infinity): Promise<number> {
    if (this.#ahead !== null) {
      const before = this.buffered;
      await (this.#source.settle?.() ?? this.settleAhead());
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
   * Notes what a read into the {@linkcode room}, or its first bytes, has resolved to; returns how
   * many bytes it was.
   */
  filled(count: number | null, room: number = this.bytes.length - this.end): number {
    const added = checkCount(count, room);
    this.end += added;
    return added;
  }

  /** Copies and takes as many of the bytes that are there as fit; returns how many. */
  take(into: Uint8Array): number {
    const count = Math.min(into.length, this.end - this.start);
    if (count > 0) {
      into.set(this.bytes.subarray(this.start, this.start + count));
      this.start += count;
    }
    return count;
  }
}
