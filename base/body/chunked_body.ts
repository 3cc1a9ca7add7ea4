/**
 * A chunked body (RFC 9112 §7.1).
 *
 * @module
 */

import { closeByteStream, PIECE_BYTES } from "./body.ts";
import { type BodyInput, type BodySource, openSource } from "./body_source.ts";
import { BodyUse, cancellation, writeWhole } from "./body_use.ts";
import { decodeText } from "../bytes.ts";
import { Collector } from "./collector.ts";
import type { ByteSink } from "./byte_io.ts";
import type { Chunk } from "../wire/chunk.ts";
import { ChunkedDecoder } from "./chunked_decoder.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";

/** Whether the last chunk of a body has been taken; `null` where it is of another class. */
export let isChunkedBodyConsumed: (body: object) => boolean | null;

/**
 * A chunked body: to be sent, from a source that holds the encoded chunks; or as it was received.
 * Chunks keep their boundaries and extensions. It can be consumed once.
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
  /** Tells the two kinds of bodies apart. */
  readonly chunked = true as const;
  readonly #source: BodySource;
  readonly #decoder: ChunkedDecoder;
  readonly #use: BodyUse;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;

  /**
   * Makes a body from a source of encoded chunks. From a stream nothing may follow the last one;
   * from a file or another source of bytes, not a byte that follows it is read.
   *
   * @throws {TypeError} where the source is not a free stream, a file or a {@linkcode ByteSource}.
   */
  constructor(source: BodyInput) {
    this.#source = openSource(source);
    this.#use = new BodyUse(this.#source.interruption);
    this.#decoder = new ChunkedDecoder(this.#source);
  }

  /** True once anything has been done with the body. */
  get used(): boolean {
    return this.#use.used;
  }

  /**
   * The data of the body, decoded, as a byte stream. Taking it starts the body; cancelling it gives
   * up the rest.
   *
   * @throws {BodyError} where something else has been done with the body before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= this.#makeReadable();
    return this.#readable;
  }

  /**
   * Reads the next chunk: its extension, or `null`, and its data of up to 16777216 bytes. The last
   * one has empty data; to read beyond it is a {@linkcode BodyError}.
   */
  async readChunk(): Promise<Chunk> {
    this.#use.begin("read a chunk of", false);
    const chunk = await this.#failing(this.#decoder.nextChunk());
    this.#endPart();
    return chunk;
  }

  /**
   * Reads the data of all chunks that are left, up to 16777216 bytes; more is a `RangeError` that
   * gives up the body. The first read after the last chunk gives an empty array.
   */
  async read(): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#use.beginRead()) return new Uint8Array(0);
    // One more than is allowed, so that the byte too many has a place.
    const collector = Collector.upTo(MAX_READ_BYTES + 1);
    while (!this.#decoder.done) {
      collector.add(await this.#failing(this.#decoder.nextDataInto(collector.room())));
      if (collector.length > MAX_READ_BYTES) {
        const error = new RangeError(
          `the body has more than the ${MAX_READ_BYTES} bytes that one read collects; ` +
            "iterate, or use writeTo",
        );
        this.cancel(error);
        throw error;
      }
    }
    this.#endPart();
    return collector.collected();
  }

  /** What is left as bytes: {@linkcode read}. */
  bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.read();
  }

  /** What is left as text: UTF-8, of which a wrong byte is a `TypeError`; a BOM is kept. */
  async text(): Promise<string> {
    return decodeText(await this.read());
  }

  /** What is left, parsed as JSON. */
  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  /**
   * Writes the whole body, encoded as it is, to a stream, a file or a connection, which is left
   * open and free.
   *
   * @returns How many bytes were written, those of the coding included.
   * @throws {BodyError} where something else has been done with the body before.
   */
  writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return writeWhole(this.#use, sink, async (out) => {
      let written = 0;
      while (!this.#decoder.done) {
        const encoded = await this.#failing(this.#decoder.nextEncoded(out.pieceBytes));
        written += encoded.length;
        await this.#use.wait(out.write(out.keepsBytes ? encoded.slice() : encoded));
      }
      this.#endPart();
      return written;
    }, (error) => this.cancel(error));
  }

  /** Iterates over the chunks, the empty last one included. Leaving early gives up the rest. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, void, void> {
    this.#use.begin("iterate", true);
    try {
      while (!this.#decoder.done) {
        this.#use.checkAlive();
        const chunk = await this.#failing(this.#decoder.nextChunk());
        if (this.#decoder.done) this.#endPart();
        yield chunk;
      }
    } finally {
      if (!this.#use.isConsumed) this.cancel(new BodyError("the iteration was abandoned"));
    }
  }

  /**
   * Gives up the rest: cancels the stream, or closes the connection, that the body comes from; on a
   * server the connection stays open for an error response. Whatever waits for the body rejects at
   * once with the reason, or with a {@linkcode BodyError} whose `cause` it is; so does every later
   * operation.
   */
  async cancel(reason?: unknown): Promise<void> {
    if (this.#use.isOver) return;
    const error = cancellation(reason);
    this.#use.fail(error);
    await this.#source.cancel(error);
  }

  /** Ends an operation; with the last chunk, the body. */
  #endPart(): void {
    if (!this.#decoder.done) {
      this.#use.end();
    } else if (!this.#use.isConsumed) {
      this.#use.consume();
      this.#source.consumed();
    }
  }

  /** Waits for the decoder; its failure is the body's. */
  #failing<T>(promise: Promise<T>): Promise<T> {
    return this.#use.wait(promise, (error) => {
      this.#use.fail(error);
      this.#source.failed(error);
    });
  }

  #makeReadable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#use.begin("stream", true);
    return new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: PIECE_BYTES,
      pull: async (controller) => {
        this.#use.checkAlive();
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        const into = new Uint8Array(buffer, byteOffset, byteLength);
        const count = await this.#failing(this.#decoder.nextDataInto(into));
        if (this.#decoder.done) this.#endPart();
        if (count > 0) request.respond(count);
        if (this.#decoder.done) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }

  static {
    isChunkedBodyConsumed = (body) => #use in body ? body.#use.isConsumed : null;
  }
}
