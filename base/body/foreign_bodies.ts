/**
 * Bodies of other classes: those that the `bodies` option makes from what was received, and those
 * that an app sends. Whatever they do, the framing of a message stays intact.
 *
 * @module
 */

import type { BodySource, ByteSource } from "./byte_io.ts";
import { ChunkWalker } from "../wire/chunk.ts";
import { ChunkedDecoder } from "./readers.ts";
import { BodyError } from "../errors.ts";
import type { Framing } from "../wire/headers.ts";

/**
 * The source for a received body: the given one if the class is ours or extends ours, else one that
 * has the bytes of this body and no others.
 *
 * @param used The class that the body will have.
 * @param ours The class of this package for this kind of body.
 */
export function sourceFor(
  used: { prototype: unknown },
  ours: { prototype: object },
  source: BodySource,
  framing: NonNullable<Framing>,
): BodySource | ByteSource {
  const isOurs = used === ours ||
    Object.prototype.isPrototypeOf.call(ours.prototype, used.prototype as object);
  if (isOurs) return source;
  return framing === "chunked" ? new EncodedSource(source) : new LengthSource(source, framing);
}

/** One read at a time of a source that a foreign body must not reach itself. */
abstract class ForeignSource implements ByteSource {
  #reading = false;

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#reading) {
      throw new BodyError("the body reads again before its last read has ended; await each read");
    }
    this.#reading = true;
    try {
      return await this.readNext(into);
    } finally {
      this.#reading = false;
    }
  }

  protected abstract readNext(into: Uint8Array): Promise<number | null>;
}

/** The bytes of a body of known length, and then the end. */
class LengthSource extends ForeignSource {
  readonly #source: BodySource;
  #remaining: number;

  constructor(source: BodySource, contentLength: number) {
    super();
    this.#source = source;
    this.#remaining = contentLength;
  }

  protected async readNext(into: Uint8Array): Promise<number | null> {
    if (this.#remaining === 0) return null;
    const source = this.#source;
    const room = into.length > this.#remaining ? into.subarray(0, this.#remaining) : into;
    let count: number | null = source.reader.take(room);
    if (count === 0) count = await fromSource(source, source.read(room));
    if (count === null) {
      const error = source.incomplete(this.#remaining);
      source.failed(error);
      throw error;
    }
    this.#remaining -= count;
    if (this.#remaining === 0) source.consumed();
    return count;
  }
}

/** The encoded chunks of a body, checked, and then the end. */
class EncodedSource extends ForeignSource {
  readonly #source: BodySource;
  readonly #decoder: ChunkedDecoder;
  #encoded: Uint8Array | null = null;

  constructor(source: BodySource) {
    super();
    this.#source = source;
    this.#decoder = new ChunkedDecoder(source);
  }

  protected async readNext(into: Uint8Array): Promise<number | null> {
    let encoded = this.#encoded;
    if (encoded === null) {
      if (this.#decoder.done) return null;
      encoded = await fromSource(this.#source, this.#decoder.nextEncoded());
    }
    const count = Math.min(into.length, encoded.length);
    into.set(encoded.subarray(0, count));
    this.#encoded = count < encoded.length ? encoded.subarray(count) : null;
    if (this.#encoded === null && this.#decoder.done) this.#source.consumed();
    return count;
  }
}

/** Waits for the source; notifies it of a failure. */
async function fromSource<T>(source: BodySource, promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    source.failed(error);
    throw error;
  }
}

/** Checks that what a foreign body writes is the chunked coding, and ends with the last chunk. */
export class CodingCheck {
  readonly #walker = new ChunkWalker();

  /**
   * Checks the next bytes; returns as much of the body as is known to be valid, in memory that the
   * body can't change.
   *
   * @throws {BodyError} if they break the coding.
   */
  check(bytes: Uint8Array): Uint8Array {
    return asBodyError(() => this.#walker.walk(bytes.slice(), null));
  }

  /**
   * Checks that the body is complete.
   *
   * @throws {BodyError} if it ended before its last chunk.
   */
  end(): void {
    asBodyError(() => this.#walker.end());
  }
}

function asBodyError<T>(walk: () => T): T {
  try {
    return walk();
  } catch (error) {
    const { message } = error as Error;
    throw new BodyError(`the body broke the chunked coding: ${message}`, { cause: error });
  }
}
