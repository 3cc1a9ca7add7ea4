/** A chunked body (RFC 9112 §7.1); `body.ts` tells where its bytes go. */

import { decodeText } from "../bytes.ts";
import { type Chunk, ChunkScanner, chunksIncomplete } from "../wire/chunk.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodyInput, type BodySource, openSource, SOURCE_KINDS } from "./body_source.ts";
import { BodyState } from "./body_state.ts";
import { type ByteSink, Collector, type ReadBuffer } from "./byte_io.ts";
import {
  type BodyParts,
  type BodyReadOptions,
  expectEnd,
  largerPiece,
  limitOf,
  PIECE_BYTES,
  type PieceReader,
  type PieceUse,
  readInto,
  streamBody,
  tooLongError,
  writeThrough,
} from "./reading.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether a value is a `ChunkedBody`, or of a class that extends it, of this copy. */
export let isChunkedBody: (value: object) => value is ChunkedBody;
/** The parts of a body, whatever a class that extends `ChunkedBody` does. */
export let chunkedBodyParts: (body: ChunkedBody) => BodyParts;

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
export class ChunkedBody implements AsyncIterable<Chunk> {
  /** True: the body consists of chunks. */
  readonly chunked = true as const;
  readonly #state: BodyState;
  readonly #reader: ChunkedReader;
  #stream: ReadableStream<Bytes> | null = null;

  /**
   * Makes a body from a source of encoded chunks. A stream must end with the last chunk. From a
   * file, or any other source of bytes, nothing is read beyond the last chunk.
   *
   * @param source The source of the encoded bytes.
   * @throws {TypeError} if the source is not a free stream, a file or a {@linkcode ByteSource}.
   */
  constructor(source: BodyInput) {
    const opened = openSource(source);
    this.#state = new BodyState(opened);
    this.#reader = new ChunkedReader(opened);
  }

  /** True once any operation has begun. */
  get used(): boolean {
    return this.#state.used;
  }

  /**
   * The data of the body, decoded, as a byte stream. Getting the stream starts the body; canceling
   * the stream cancels the rest of the body.
   *
   * @throws {BodyError} if another operation has begun before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stream ??= streamBody(this.#state, this.#reader, PIECE_BYTES);
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
    return this.#collect("read");
  }

  /** @param options The most bytes that the caller wants; `"read"` for the limit of `read()`. */
  async #collect(
    options: BodyReadOptions | undefined | "read",
  ): Promise<Uint8Array<ArrayBuffer>> {
    const limit = options === "read" ? null : limitOf(options);
    if (!this.#state.beginRead()) return new Uint8Array(0);
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
    return collector.collected();
  }

  /**
   * Reads the data that is left, if it is not too long.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {BodyError} with the code `"TOO_LONG"` if more are left; the rest is then canceled.
   * With the code `null` if the body is in use, has failed, or was consumed before.
   */
  bytes(options?: BodyReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    return this.#collect(options);
  }

  /**
   * Reads the data that is left, if it is not too long, as UTF-8 text. A byte order mark is kept.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {TypeError} if the data is not valid UTF-8; else as
   * {@linkcode ChunkedBody.prototype.bytes} does.
   */
  async text(options?: BodyReadOptions): Promise<string> {
    return decodeText(await this.bytes(options));
  }

  /**
   * Reads the data that is left, if it is not too long, and parses it as JSON.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {SyntaxError} if the data is not JSON; else as {@linkcode ChunkedBody.prototype.text}
   * does.
   */
  async json(options?: BodyReadOptions): Promise<unknown> {
    return JSON.parse(await this.text(options));
  }

  /**
   * Writes the whole body, **encoded**, to a stream, a file or a connection, which is left open and
   * unlocked. For the data alone use {@linkcode ChunkedBody.prototype.readable}.
   *
   * @param sink The destination of the bytes.
   * @returns The number of bytes written, chunk lines included.
   * @throws {BodyError} if another operation has begun before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return writeThrough(chunkedBodyParts(this), sink);
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

  /**
   * Cancels the rest: the stream, or the connection, that the body comes from. A server keeps the
   * connection open for an error response. Operations that wait for the body reject at once with
   * the reason, or with a {@linkcode BodyError} whose `cause` is the reason; so does every later
   * operation.
   *
   * @param reason The error of waiting operations, or the `cause` of their error.
   */
  cancel(reason?: unknown): Promise<void> {
    return this.#state.cancel(reason);
  }

  /** Cancels the rest, if there is any: {@linkcode ChunkedBody.prototype.cancel}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }

  static {
    isChunkedBody = (value): value is ChunkedBody => #state in value;
    chunkedBodyParts = (body) => ({ state: body.#state, reader: body.#reader });
  }
}

/**
 * Reads a chunked body (RFC 9112 §7.1) in one of three forms: chunks, their data, or the encoded
 * bytes, checked. After any error the reader must not be used again.
 */
export class ChunkedReader implements PieceReader {
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
