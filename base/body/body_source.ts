/**
 * What stands under a body: a stream, a file or another source of bytes, or a connection.
 *
 * @module
 */

import { ByteReader, type ByteSource, checkCount } from "./byte_io.ts";
import { checkUnchanged, viewOf } from "../bytes.ts";
import { BodyError, typeName } from "../errors.ts";
import type { Interruption } from "./interruption.ts";

/** Bytes of the buffer that a body of any size is copied through: more leave the cache. */
export const COPY_BYTES = 524288;

/** How large a piece may be after one that was full: a source gets memory as it fills it. */
export function largerPiece(bytes: number, most: number): number {
  return Math.min(bytes * 4, most);
}

/** What a body can be made from. A `Deno.FsFile` is a {@linkcode ByteSource}. */
export type BodyInput = ReadableStream<Uint8Array> | ByteSource;

/** A source together with what a body has to tell it. */
export abstract class BodySource implements ByteSource {
  /** What was read ahead. */
  abstract readonly reader: ByteReader;
  /** True where not one byte beyond the body may be read. */
  abstract readonly exact: boolean;
  /** How many bytes are best read at a time where whoever takes them does not say. */
  abstract readonly pieceBytes: number;
  /** How many bytes are worth reading at a time at most. */
  abstract readonly mostBytes: number;
  /** What tells the body that it is aborted, if anything can. */
  readonly interruption: Interruption | null = null;
  /** Reads past the reader, which must be empty. */
  abstract read(into: Uint8Array): Promise<number | null>;

  /**
   * Called when the last byte was taken and before it is handed on: resolves when the source has
   * reported its end, rejects where it gives more. `null` where the rest is to be left alone.
   */
  finish(): Promise<void> | null {
    return null;
  }

  /** Called when the body has been consumed. */
  consumed(): void {}

  /** Called when the source, or what it gave, was found to be broken. */
  failed(_error: unknown): void {}

  /** Called when the rest of the body is not wanted. Never rejects. */
  cancel(_reason: unknown): Promise<void> {
    return Promise.resolve();
  }

  /** The error for a source that ends `missing` bytes too early. */
  incomplete(missing: number): Error {
    return new BodyError(`the source ended ${missing} bytes before the content-length`);
  }
}

/**
 * Takes hold of what a body is made from.
 *
 * @throws {TypeError} where it is neither a stream that is free nor has a `read` method.
 */
export function openSource(input: BodyInput): BodySource {
  if (input instanceof BodySource) return input;
  if (typeof (input as ReadableStream | null)?.getReader === "function") {
    return new StreamSource(input as ReadableStream<Uint8Array>);
  }
  if (typeof (input as ByteSource | null)?.read === "function") {
    return new PlainSource(input as ByteSource);
  }
  throw new TypeError(
    `source: need a ReadableStream, a Deno.FsFile or a ByteSource; got ${typeName(input)}`,
  );
}

/** A file or another source with a position: exactly the bytes of the body are taken from it. */
class PlainSource extends BodySource {
  readonly reader: ByteReader = new ByteReader(this);
  readonly exact = true;
  readonly pieceBytes = COPY_BYTES;
  readonly mostBytes = COPY_BYTES;
  readonly #source: ByteSource;

  constructor(source: ByteSource) {
    super();
    this.#source = source;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const count = await this.#source.read(into);
    return checkCount(count, into.length) === 0 ? null : count;
  }
}

/** A stream of byte arrays, which has to end where the body does. */
class StreamSource extends BodySource {
  readonly reader: ByteReader = new ByteReader(this);
  readonly exact = false;
  readonly pieceBytes = COPY_BYTES;
  readonly mostBytes = COPY_BYTES;
  readonly #stream: ReadableStream<Uint8Array>;
  #streamReader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  #item: Uint8Array | null = null;
  #length = 0;
  #taken = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    super();
    if (stream.locked) throw new TypeError("source: the stream is locked to another reader");
    this.#stream = stream;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const item = this.#item ?? await this.#nextItem();
    if (item === null) return null;
    checkUnchanged(item, this.#length);
    const count = Math.min(into.length, item.length - this.#taken);
    into.set(item.subarray(this.#taken, this.#taken + count));
    this.#taken += count;
    this.#item = this.#taken === item.length ? null : item;
    return count;
  }

  /** The next item that is not empty, or `null` at the end. */
  async #nextItem(): Promise<Uint8Array | null> {
    this.#taken = 0;
    this.#streamReader ??= this.#stream.getReader();
    for (;;) {
      const { done, value } = await this.#streamReader.read();
      if (done) {
        this.#streamReader.releaseLock();
        return null;
      }
      if (!(value instanceof Uint8Array)) {
        throw new BodyError(`the stream gave a ${typeName(value)}; need Uint8Array`);
      }
      const item = viewOf(value);
      this.#length = item.length;
      if (item.length > 0) return item;
    }
  }

  override async finish(): Promise<void> {
    if (this.reader.buffered > 0 || (this.#item ?? await this.#nextItem()) !== null) {
      throw new BodyError("the source gave more bytes after the end of the body");
    }
  }

  override failed(error: unknown): void {
    this.cancel(error);
  }

  override async cancel(reason: unknown): Promise<void> {
    try {
      await (this.#streamReader ?? this.#stream).cancel(reason);
      this.#streamReader?.releaseLock();
    } catch {
      // The stream has failed by itself, or has been taken by somebody else: it isn't ours any more.
    }
  }
}
