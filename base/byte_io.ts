/**
 * The two small interfaces under everything, and a buffer that reads ahead.
 *
 * @module
 */

import { BodyError, typeName } from "./errors.ts";

/** Where bytes come from: a connection, a file, or anything else with this one method. */
export interface ByteSource {
  /** Reads up to `into.length` bytes; resolves to how many, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
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
  do bytes = notWritten(bytes, await sink.write(bytes)); while (bytes.length > 0);
}

/** What is left of the bytes after a write that has resolved to `written`. */
export function notWritten(bytes: Uint8Array, written: number | void): Uint8Array {
  if (written === undefined || written === bytes.length) return EMPTY;
  if (!Number.isInteger(written) || written < 1 || written > bytes.length) {
    throw new BodyError(`the sink claims to have written ${written} of ${bytes.length} bytes`);
  }
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
  readonly #source: ByteSource;
  readonly #usual: number;
  #capacity: number;

  /** Makes an empty buffer of at least as many bytes as the longest thing that must fit in it. */
  constructor(source: ByteSource, capacity = CAPACITY) {
    this.#source = source;
    this.#usual = this.#capacity = capacity;
  }

  /** How many bytes are there. */
  get buffered(): number {
    return this.end - this.start;
  }

  /** Makes room behind `end` and returns it; never empty while less than the capacity is there. */
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

  /** Makes the buffer larger, for a body that fills it again and again. */
  grow(capacity: number): void {
    if (capacity <= this.#capacity) return;
    this.#capacity = capacity;
    const larger = new Uint8Array(capacity);
    larger.set(this.bytes.subarray(this.start, this.end));
    this.end -= this.start;
    this.start = 0;
    this.bytes = larger;
  }

  /** Gives up what {@linkcode grow} has added, once that body is over. */
  shrink(): void {
    if (this.#capacity === this.#usual || this.buffered > this.#usual) return;
    this.#capacity = this.#usual;
    const smaller = new Uint8Array(this.#usual);
    this.end = this.take(smaller);
    this.start = 0;
    this.bytes = smaller;
  }

  /** Reads up to `limit` more bytes; resolves to how many, 0 at the end of the source. */
  async fill(limit = Infinity): Promise<number> {
    let room = this.room();
    if (room.length > limit) room = room.subarray(0, limit);
    return this.filled(await this.#source.read(room), room.length);
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

/** No bytes. */
export const EMPTY: Uint8Array = new Uint8Array(0);
