/**
 * Reads a body from its source (RFC 9112 §6), and no byte that follows it.
 *
 * A body of known length is read by a {@linkcode LengthReader}, a chunked one by a
 * {@linkcode ChunkedReader}. Both are done only after the source has confirmed that it has ended, or will
 * not be read further: a source with too many bytes never makes a complete body.
 *
 * @module
 */

import { type BodySource, type ByteReader, Collector, largerPiece } from "./byte_io.ts";
import { checkUnchanged } from "../bytes.ts";
import { type Chunk, ChunkScanner, chunksIncomplete } from "../wire/chunk.ts";

/** Reads a body of known length (RFC 9112 §6.2). After any error it must not be used again. */
export class LengthReader {
  /** How many bytes are left. */
  remaining: number;
  /** True once the last byte has been read, and nothing follows it. */
  done = false;
  readonly #source: BodySource;

  /** Makes a reader of so many bytes from the source's current position. */
  constructor(source: BodySource, contentLength: number) {
    this.#source = source;
    this.remaining = contentLength;
  }

  /** Reads bytes into the array; resolves to how many, 0 only if none is left or the array is empty. */
  async read(into: Uint8Array): Promise<number> {
    const room = into.length > this.remaining ? into.subarray(0, this.remaining) : into;
    let count: number | null = this.#source.reader.take(room);
    if (count === 0 && room.length > 0) count = await this.#source.read(room);
    if (count === null) throw this.#source.incomplete(this.remaining);
    const ending = this.#advance(count);
    if (ending !== null) await ending;
    return count;
  }

  /** How many bytes have arrived. */
  get buffered(): number {
    return Math.min(this.#source.reader.buffered, this.remaining);
  }

  /**
   * Takes bytes that have arrived; they stay in the source's buffer until the next read. If they are the last
   * ones, or none was left, the promise rejects if the source has more; `null` if there is nothing to wait for.
   */
  take(count: number): Promise<void> | null {
    this.#source.reader.start += count;
    return this.#advance(count);
  }

  #advance(count: number): Promise<void> | null {
    this.remaining -= count;
    if (this.remaining > 0) return null;
    const ending = this.#source.finish();
    if (ending !== null) return ending.then(() => void (this.done = true));
    this.done = true;
    return null;
  }
}

/**
 * Reads a chunked body (RFC 9112 §7.1) in one of three forms: chunks, their data, or the encoded bytes,
 * checked. After any error it must not be used again.
 */
export class ChunkedReader {
  readonly #source: BodySource;
  readonly #reader: ByteReader;
  readonly #scanner = new ChunkScanner();
  // How many bytes the last view of encoded bytes had.
  #viewed = 0;

  /** Makes a reader that starts at the source's current position. */
  constructor(source: BodySource) {
    this.#source = source;
    this.#reader = source.reader;
  }

  /** True once the last chunk has been read. */
  get done(): boolean {
    return this.#scanner.phase === "done";
  }

  /** How many bytes of data have been read. */
  get dataBytes(): number {
    return this.#scanner.taken;
  }

  /** Reads a whole chunk. The last one is returned only after the source has confirmed its end. */
  async nextChunk(): Promise<Chunk> {
    await this.#nextFraming();
    const { size, extension } = this.#scanner.header;
    const data = await this.#nextData(size);
    await this.#nextFraming();
    if (this.done) await this.#finish();
    return [extension, data];
  }

  /**
   * Reads data into the array, of all the chunks that are buffered; resolves to how many bytes, 0 only
   * at the end.
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
   * @param pieceBytes How many bytes are best passed on at a time, if it matters.
   */
  async nextEncoded(pieceBytes = 0): Promise<Uint8Array> {
    const reader = this.#reader;
    const { length } = reader.bytes;
    if (this.#viewed * 2 > length) {
      reader.grow(largerPiece(length, Math.min(pieceBytes, this.#source.mostBytes)));
    }
    for (;;) {
      const start = reader.start;
      reader.start = this.#scan(start);
      if (this.done) await this.#finish();
      if (reader.start > start) {
        this.#viewed = reader.start - start;
        const view = reader.bytes.subarray(start, reader.start);
        // A source may have kept the array that it read into, and transferred it since.
        checkUnchanged(view, this.#viewed);
        return view;
      }
      await this.#fill();
    }
  }

  /** Checks what is buffered; returns the position up to which it is valid and complete. */
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
      const data = (reader.bytes as Uint8Array<ArrayBuffer>).slice(
        reader.start,
        reader.start + size,
      );
      reader.start += size;
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
    const finishing = this.#source.finish();
    if (finishing !== null) await finishing;
  }

  async #fill(): Promise<void> {
    const limit = this.#source.exact ? this.#scanner.leastToCome(this.#reader.buffered) : Infinity;
    if (await this.#reader.fill(limit) === 0) throw chunksIncomplete();
  }

  async #readPast(into: Uint8Array): Promise<number> {
    const count = await this.#source.read(into);
    if (count === null) throw chunksIncomplete();
    return count;
  }
}

// mutant `0x46` → `71`: a size has no G
const UPPER_A = 0x41, UPPER_F = 0x46, SEMICOLON = 0x3b, CR = 0x0d;

/** Puts the size in a chunk's line in lower case, as it is sent. */
function lowerSize(bytes: Uint8Array, at: number, end: number): void {
  for (; at < end && bytes[at] !== SEMICOLON && bytes[at] !== CR; at++) {
    const byte = bytes[at]!;
    if (byte >= UPPER_A && byte <= UPPER_F) bytes[at] = byte | 0x20;
  }
}
