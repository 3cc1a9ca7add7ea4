/** The sources of bodies: files, streams, and other objects that give bytes. */

import { checkUnchanged, viewOf } from "../bytes.ts";
import { wrongType } from "../checks.ts";
import { BodyError } from "../errors.ts";
import { typeName } from "../quote.ts";
import { BodyOrigin } from "./body_state.ts";
import { ByteReader, type ByteSource, checkCount } from "./byte_io.ts";

/**
 * The buffer for copying a body of any size; a larger buffer would not fit into the cache of a
 * processor.
 */
const COPY_BYTES = 524288;

/** The size of the piece after a full one of `bytes`: a source gets more memory as it fills it. */
export function largerPiece(bytes: number, most: number): number {
  return Math.min(bytes * 4, most);
}

/** A source of bytes for a body. */
export abstract class BodySource extends BodyOrigin implements ByteSource {
  /** The buffer for bytes that are read ahead. */
  abstract readonly reader: ByteReader;
  /**
   * True if the bytes belong to the program: not a byte beyond the body may be read, and other code
   * may change checked bytes in the buffer.
   */
  abstract readonly isShared: boolean;
  /** The best number of bytes for a read, if the sink doesn't say. */
  readonly pieceBytes: number = COPY_BYTES;
  /** The largest number of bytes that a read should ask for. */
  readonly mostBytes: number = COPY_BYTES;
  /** Reads from the source itself, while the buffer is empty. */
  abstract read(into: Uint8Array): Promise<number | null>;

  /**
   * Called after the last byte was read and before that byte is passed on. Resolves once the source
   * has ended, and rejects if the source has more bytes; `null` if the bytes that follow must not
   * be read.
   */
  finish(): Promise<void> | null {
    return null;
  }

  /** The error if the source ends `missing` bytes too early. */
  incomplete(missing: number): Error {
    return new BodyError(`the source ended ${missing} bytes before the content-length`);
  }
}

/** The sources that a body can be made from. A `Deno.FsFile` is a {@linkcode ByteSource}. */
export type BodyInput = ReadableStream<Uint8Array> | ByteSource;

/** Makes the source of a body from the argument of the body's constructor. */
export function openSource(input: BodyInput): BodySource {
  if (input instanceof BodySource) return input;
  if (typeof (input as ReadableStream | null)?.getReader === "function") {
    return new StreamSource(input as ReadableStream<Uint8Array>);
  }
  if (typeof (input as ByteSource | null)?.read === "function") {
    return new PlainSource(input as ByteSource);
  }
  throw wrongType("source", "a ReadableStream, a Deno.FsFile or a ByteSource", input);
}

/** A file or another source with a position: exactly the bytes of the body are read from it. */
export class PlainSource extends BodySource {
  readonly reader: ByteReader = new ByteReader(this);
  readonly isShared = true;
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

/** A stream of byte arrays, which must end where the body does. */
class StreamSource extends BodySource {
  readonly reader: ByteReader = new ByteReader(this);
  readonly isShared = false;
  readonly #stream: ReadableStream<Uint8Array>;
  #streamReader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  #item: Uint8Array | null = null;
  #length = 0;
  #position = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    super();
    if (stream.locked) throw new TypeError("source: must be an unlocked stream; got a locked one");
    this.#stream = stream;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const item = this.#item ?? await this.#nextItem();
    if (item === null) return null;
    checkUnchanged(item, this.#length);
    const part = item.subarray(this.#position, this.#position + into.length);
    into.set(part);
    this.#position += part.length;
    this.#item = this.#position === item.length ? null : item;
    return part.length;
  }

  /** The next item that is not empty, or `null` at the end. */
  async #nextItem(): Promise<Uint8Array | null> {
    this.#position = 0;
    this.#streamReader ??= this.#stream.getReader();
    for (;;) {
      const { done, value } = await this.#streamReader.read();
      if (done) {
        this.#streamReader.releaseLock();
        return null;
      }
      if (!(value instanceof Uint8Array)) {
        throw new BodyError(`the stream's pieces must be Uint8Arrays; got ${typeName(value)}`);
      }
      const item = viewOf(value);
      this.#length = item.length;
      if (item.length > 0) return item;
    }
  }

  override async finish(): Promise<void> {
    if (this.reader.buffered > 0 || (this.#item ?? await this.#nextItem()) !== null) {
      throw new BodyError("the source has more bytes than the body");
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
      // The stream has failed, or other code has locked it: in both cases it is no longer ours.
    }
  }
}
