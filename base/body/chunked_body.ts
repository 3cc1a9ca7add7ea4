/** A chunked body (RFC 9112 §7.1); `body.ts` tells where its bytes go. */

import { EMPTY } from "../../internal/bytes.ts";
import { type Chunk, ChunkScanner, chunksIncomplete } from "../wire/chunk.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodyInput, type BodySource, openSource, SOURCE_KINDS } from "./body_source.ts";
import { BodyState } from "./body_state.ts";
import { Collector, type ReadBuffer } from "./byte_io.ts";
import { type Convert, ownBytes, READ_REST, ReadableBody } from "./readable_body.ts";
import {
  type BodyReadOptions,
  expectEnd,
  largerPiece,
  limitOf,
  type PieceReader,
  type PieceUse,
  readInto,
  tooLongError,
} from "./reading.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether a value is a `ChunkedBody`, or of a class that extends it, of this copy. */
export let isChunkedBody: (value: object) => value is ChunkedBody;

/**
 * A chunked body: a body to send, from a source of encoded chunks, or a received body. Chunks keep
 * their boundaries and extensions. The body can be consumed once.
 *
 * @example
 * ```ts
 * import { ChunkedBody } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const encoded = new Blob(["5;key=value\r\nhello\r\n0\r\n\r\n"]);
 * const body = new ChunkedBody(encoded.stream());
 * const [extension, data] = await body.readChunk();
 * assertEquals(extension, ["key", "value"]);
 * assertEquals(new TextDecoder().decode(data), "hello");
 * assertEquals((await body.readChunk())[1].length, 0);
 * ```
 */
export class ChunkedBody extends ReadableBody implements AsyncIterable<Chunk> {
  /** True: the body consists of chunks. */
  readonly chunked = true as const;
  readonly #state: BodyState;
  readonly #reader: ChunkedReader;

  /**
   * Makes a body from a source of encoded chunks. A stream must end with the last chunk. From a
   * file, or any other source of bytes, nothing is read beyond the last chunk.
   *
   * @param source The source of the encoded bytes.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}.
   */
  constructor(source: BodyInput) {
    const opened = openSource(source);
    const state = new BodyState(opened);
    const reader = new ChunkedReader(opened);
    super(state, reader);
    this.#state = state;
    this.#reader = reader;
  }

  /**
   * Reads the next chunk: its extension, or `null`, and its data of up to 16777216 bytes. The last
   * chunk has empty data.
   *
   * @throws {BodyError} if the body is in use, has failed, or its last chunk was read before.
   */
  async readChunk(): Promise<Chunk<Uint8Array<ArrayBuffer>>> {
    this.#state.beginChunk();
    const chunk = await this.#state.fromSource(this.#reader.nextChunk());
    this.#state.end(this.#reader.done);
    return chunk;
  }

  /**
   * Reads the data of all chunks that are left. The first read after the last chunk returns an
   * empty array.
   *
   * @throws {RangeError} if more than 16777216 bytes are left; the rest is then canceled.
   * @throws {BodyError} if the body is in use, has failed, or was consumed before.
   */
  read(): Promise<Uint8Array<ArrayBuffer>> {
    return this[READ_REST]("read", ownBytes);
  }

  /** @internal */
  override async [READ_REST]<Value>(
    options: BodyReadOptions | undefined | "read",
    convert: Convert<Value>,
  ): Promise<Value> {
    const limit = options === "read" ? null : limitOf(options);
    if (!this.#state.beginRead()) return convert(EMPTY, false);
    const most = limit ?? MAX_READ_BYTES;
    // Room for one byte more than is allowed shows whether there are too many.
    const collector = Collector.upTo(most + 1);
    while (!this.#reader.done) {
      collector.add(await readInto(this.#state, this.#reader, collector.room()));
      if (collector.length > most) {
        const error = tooLongError(this, limit, "more");
        this.#state.cancel(error);
        throw error;
      }
    }
    this.#state.end(true);
    return convert(collector.collected(), true);
  }

  /**
   * Iterates over the chunks, the empty last one included. Leaving the loop early cancels the rest.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk<Uint8Array<ArrayBuffer>>, void, void> {
    this.#state.beginWhole("iterate");
    try {
      while (!this.#reader.done) {
        this.#state.checkAlive();
        const chunk = await this.#state.fromSource(this.#reader.nextChunk());
        if (this.#reader.done) this.#state.end(true);
        yield chunk;
      }
    } finally {
      this.#state.endIteration();
    }
  }

  static {
    isChunkedBody = (value): value is ChunkedBody => #reader in value;
  }
}

/**
 * Reads a chunked body (RFC 9112 §7.1) in one of three forms: chunks, their data, or the encoded
 * bytes, checked. After any error the reader must not be used again.
 */
export class ChunkedReader implements PieceReader {
  readonly remaining = Infinity;
  readonly #source: BodySource;
  readonly #buffer: ReadBuffer;
  readonly #scanner = new ChunkScanner();
  /** The number of bytes in the last view of encoded bytes. */
  #viewed = 0;

  /** Makes a reader that starts at the source's current position. */
  constructor(source: BodySource) {
    this.#source = source;
    this.#buffer = source.buffer;
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
    while (!this.#passFraming()) await this.#fill();
    const { size, extension } = this.#scanner.header;
    const isThere = size <= this.#buffer.buffered;
    const data = isThere ? this.#buffer.view(size).slice() : await this.#collect(size);
    if (isThere) this.#scanner.skipData(size);
    while (!this.#passFraming()) await this.#fill();
    if (this.done) await expectEnd(this.#source);
    return [extension, data];
  }

  /**
   * Reads data into the array, from all buffered chunks; resolves to the number of bytes, 0 only at
   * the end.
   */
  async read(into: Uint8Array): Promise<number> {
    const scanner = this.#scanner;
    const buffer = this.#buffer;
    let count = 0;
    while (!this.done && count < into.length) {
      const { start } = buffer;
      const inData = scanner.phase === "data";
      const end = inData ? Math.min(buffer.end, start + into.length - count) : buffer.end;
      const next = scanner.advance(buffer.bytes, start, end);
      if (next !== -1) {
        buffer.start = next;
        if (!inData) continue;
        into.set(buffer.bytes.subarray(start, next), count);
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
    if (this.done) await expectEnd(this.#source);
    return count;
  }

  /** Encoded bytes: as many as are buffered and valid, with the sizes in lower case. */
  async nextPiece({ keepsBytes, pieceBytes = 0 }: PieceUse): Promise<Uint8Array> {
    const buffer = this.#buffer;
    const { length } = buffer.bytes;
    if (this.#viewed * 2 > length) {
      buffer.grow(
        largerPiece(length, Math.min(pieceBytes, SOURCE_KINDS[this.#source.kind].mostBytes)),
      );
    }
    for (;;) {
      const encoded = buffer.view(this.#scan(buffer.start) - buffer.start);
      if (this.done) await expectEnd(this.#source);
      if (encoded.length > 0) {
        this.#viewed = encoded.length;
        return keepsBytes ? encoded.slice() : encoded;
      }
      await this.#fill();
    }
  }

  /** Checks the buffered bytes; returns the position up to which they are valid and complete. */
  #scan(at: number): number {
    const { bytes, end } = this.#buffer;
    const scanner = this.#scanner;
    for (;;) {
      const { phase } = scanner;
      const next = scanner.advance(bytes, at, end);
      if (next === -1) return at;
      if (phase === "line") lowerSize(bytes, at, next);
      at = next;
    }
  }

  /** Passes the line or the end of a chunk; false if not all of it has arrived. */
  #passFraming(): boolean {
    const buffer = this.#buffer;
    const next = this.#scanner.advance(buffer.bytes, buffer.start, buffer.end);
    if (next === -1) return false;
    buffer.start = next;
    return true;
  }

  /** Reads the data of a chunk that has not all arrived. */
  async #collect(size: number): Promise<Bytes> {
    const collector = new Collector(size);
    while (collector.missing > 0) {
      const room = collector.room();
      const count = this.#buffer.take(room) || await this.#readPast(room);
      collector.add(count);
      this.#scanner.skipData(count);
    }
    return collector.collected();
  }

  async #fill(): Promise<void> {
    const limit = SOURCE_KINDS[this.#source.kind].behind === "of others"
      ? this.#scanner.leastToCome(this.#buffer.buffered)
      : Infinity;
    if (await this.#buffer.fill(limit) === 0) throw chunksIncomplete();
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
