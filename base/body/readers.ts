/**
 * The readers of the two framings, and the way from bytes to a body.
 *
 * Four parts stand behind each other, and each knows only the part before it:
 *
 * - A source gives bytes: a connection, a file or a stream ({@linkcode BodySource}). Its buffer
 *   holds bytes that have arrived and were not asked for yet ({@linkcode ByteReader}).
 * - A reader knows where the body ends ({@linkcode LengthReader}, {@linkcode ChunkedReader}). The
 *   reader takes bytes from the buffer, then from the source, and none beyond the body. With the
 *   last byte the reader is `done`, once the source has confirmed that nothing follows; if the
 *   source ends too early, the read fails.
 * - A state knows who may read: one operation at a time, until the body is consumed or stopped
 *   (`BodyState`).
 * - The class that programs see has the operations. Each begins, reads until the reader is done,
 *   and ends.
 *
 * A read returns a promise only if it has to wait. Bytes that have arrived are returned at once:
 * each wait takes a turn of the event loop, 7 % of an exchange of small messages, and a small body
 * has to end before its message does.
 */

import { type Chunk, ChunkScanner, chunksIncomplete } from "../wire/chunk.ts";
import { type BodySource, KINDS } from "./body_source.ts";
import { BodyError, ProtocolError } from "../errors.ts";
import type { BodyReader } from "./body_state.ts";
import { type ByteReader, Collector } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The size of the piece after a full one of `bytes`: a source gets more memory as it fills it. */
export function largerPiece(bytes: number, most: number): number {
  return Math.min(bytes * 4, most);
}

/**
 * Checks, before the last byte of a body is passed on, that its source has ended; `null` if other
 * bytes may follow.
 */
function expectEnd(source: BodySource): Promise<void> | null {
  return KINDS[source.kind].behind === "nothing" ? readEnd(source) : null;
}

async function readEnd(source: BodySource): Promise<void> {
  if (source.buffer.buffered > 0 || await source.read(new Uint8Array(1)) !== null) {
    throw new BodyError("the source has more bytes than the body");
  }
}

/** The error for a source that ends `missing` bytes before the body does. */
function incomplete({ kind }: BodySource, missing: number): Error {
  return KINDS[kind].behind === "messages"
    ? new ProtocolError(
      "BODY_INCOMPLETE",
      `the peer closed ${missing} bytes before the end of the body`,
    )
    : new BodyError(`the source ended ${missing} bytes before the content-length`);
}

/**
 * Reads as many bytes as the content-length says, from the source's current position, and no byte
 * behind them. After any error the reader must not be used again.
 */
export class LengthReader implements BodyReader {
  /** The number of bytes that are left. */
  remaining: number;
  done = false;
  readonly #source: BodySource;

  constructor(source: BodySource, contentLength: number) {
    this.#source = source;
    this.remaining = contentLength;
  }

  /**
   * Reads up to `most` bytes that have arrived. The view is in the source's buffer, which the next
   * read changes.
   */
  view(most: number): Bytes | Promise<Bytes> {
    const bytes = this.#source.buffer.view(Math.min(most, this.remaining));
    return this.#passOn(bytes, bytes.length);
  }

  read(into: Uint8Array): number | Promise<number> {
    const room = into.subarray(0, this.remaining);
    const count = this.#source.buffer.take(room);
    if (count === 0 && room.length > 0) return this.#receive(room);
    return this.#passOn(count, count);
  }

  async #receive(room: Uint8Array): Promise<number> {
    const count = await this.#source.read(room);
    if (count === null) throw incomplete(this.#source, this.remaining);
    return this.#passOn(count, count);
  }

  /**
   * Passes on the `count` bytes of a read. The last byte waits until the source has confirmed its
   * end.
   */
  #passOn<Value>(read: Value, count: number): Value | Promise<Value> {
    this.remaining -= count;
    if (this.remaining > 0) return read;
    const ending = expectEnd(this.#source);
    const end = () => {
      this.done = true;
      return read;
    };
    return ending === null ? end() : ending.then(end);
  }
}

/**
 * Reads a chunked body (RFC 9112 §7.1) in one of three forms: chunks, their data, or the encoded
 * bytes, checked. After any error the reader must not be used again.
 */
export class ChunkedReader implements BodyReader {
  readonly #source: BodySource;
  readonly #reader: ByteReader;
  readonly #scanner = new ChunkScanner();
  // The number of bytes in the last view of encoded bytes.
  #viewed = 0;

  /** Makes a reader that starts at the source's current position. */
  constructor(source: BodySource) {
    this.#source = source;
    this.#reader = source.buffer;
  }

  /** True once the last chunk has been read. */
  get done(): boolean {
    return this.#scanner.phase === "done";
  }

  /** The number of bytes that have been read, of lines and data. */
  get bytes(): number {
    return this.#scanner.taken;
  }

  /**
   * Reads a whole chunk. The last chunk is returned only after the source has confirmed its end.
   */
  async nextChunk(): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
    await this.#nextFraming();
    const { size, extension } = this.#scanner.header;
    const data = await this.#nextData(size);
    await this.#nextFraming();
    if (this.done) await this.#finish();
    return [extension, data];
  }

  /**
   * Reads data into the array, from all buffered chunks; resolves to the number of bytes, 0 only at
   * the end.
   */
  async read(into: Uint8Array): Promise<number> {
    const scanner = this.#scanner;
    const reader = this.#reader;
    let count = 0;
    while (!this.done && count < into.length) {
      const { start } = reader;
      const inData = scanner.phase === "data";
      const end = inData ? Math.min(reader.end, start + into.length - count) : reader.end;
      const next = scanner.advance(reader.bytes, start, end);
      if (next !== -1) {
        reader.start = next;
        if (!inData) continue;
        into.set(reader.bytes.subarray(start, next), count);
        count += next - start;
      } else if (count > 0) {
        return count;
      } else if (inData) {
        count = await this.#readPast(into.subarray(0, scanner.remaining));
        scanner.skipData(count);
      } else {
        await this.#fill();
      }
    }
    if (this.done) await this.#finish();
    return count;
  }

  /**
   * Reads encoded bytes: as many as are buffered and valid. The view is valid until the next call;
   * the sizes in it are in lower case.
   *
   * @param pieceBytes The best number of bytes to pass on at a time, if it matters.
   */
  async nextEncoded(pieceBytes = 0): Promise<Uint8Array> {
    const reader = this.#reader;
    const { length } = reader.bytes;
    if (this.#viewed * 2 > length) {
      reader.grow(largerPiece(length, Math.min(pieceBytes, KINDS[this.#source.kind].mostBytes)));
    }
    for (;;) {
      const encoded = reader.view(this.#scan(reader.start) - reader.start);
      if (this.done) await this.#finish();
      if (encoded.length > 0) {
        this.#viewed = encoded.length;
        return encoded;
      }
      await this.#fill();
    }
  }

  /** Checks the buffered bytes; returns the position up to which they are valid and complete. */
  #scan(at: number): number {
    const { bytes, end } = this.#reader;
    const scanner = this.#scanner;
    for (;;) {
      const { phase } = scanner;
      const next = scanner.advance(bytes, at, end);
      if (next === -1) return at;
      if (phase === "line") lowerSize(bytes, at, next);
      at = next;
    }
  }

  /** Reads the line or the end of a chunk. */
  async #nextFraming(): Promise<void> {
    const reader = this.#reader;
    let next;
    while ((next = this.#scanner.advance(reader.bytes, reader.start, reader.end)) === -1) {
      await this.#fill();
    }
    reader.start = next;
  }

  async #nextData(size: number): Promise<Uint8Array<ArrayBuffer>> {
    const reader = this.#reader;
    if (size <= reader.buffered) {
      const data = reader.view(size).slice();
      this.#scanner.skipData(size);
      return data;
    }
    const collector = new Collector(size);
    while (collector.missing > 0) {
      const room = collector.room();
      const count = reader.take(room) || await this.#readPast(room);
      collector.add(count);
      this.#scanner.skipData(count);
    }
    return collector.collected();
  }

  async #finish(): Promise<void> {
    const ending = expectEnd(this.#source);
    if (ending !== null) await ending;
  }

  async #fill(): Promise<void> {
    const limit = KINDS[this.#source.kind].behind === "of others"
      ? this.#scanner.leastToCome(this.#reader.buffered)
      : Infinity;
    if (await this.#reader.fill(limit) === 0) throw chunksIncomplete();
  }

  async #readPast(into: Uint8Array): Promise<number> {
    const count = await this.#source.read(into);
    if (count === null) throw chunksIncomplete();
    return count;
  }
}

const SEMICOLON = 0x3b, CR = 0x0d, LOWER = 0x20;

/**
 * Puts the size in a chunk's line into lower case, the only case that is sent. The bit that makes a
 * letter lower case is set in digits, too.
 */
function lowerSize(bytes: Uint8Array, at: number, end: number): void {
  for (; at < end && bytes[at] !== SEMICOLON && bytes[at] !== CR; at++) bytes[at]! |= LOWER;
}
