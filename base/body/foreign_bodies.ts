/**
 * Bodies of other classes: classes of the `bodies` option for received bodies, and objects that an
 * app sends. Whatever such a body does, the framing of a message stays intact.
 */

import type { BodySource } from "./body_source.ts";
import type { BodyReader } from "./body_state.ts";
import type { ByteSource } from "./byte_io.ts";
import { ChunkedReader, LengthReader } from "./readers.ts";
import { EMPTY } from "../bytes.ts";
import { ChunkWalker } from "../wire/chunk.ts";
import { BodyError } from "../errors.ts";
import type { Framing } from "../wire/headers.ts";

/**
 * The source of a received body: the given source for our classes and those that extend ours; for
 * any other class a source that ends with this body.
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
  const reader = framing === "chunked" ? encodedReader(source) : new LengthReader(source, framing);
  return new ForeignSource(source, reader);
}

/** A reader that checks the chunks of a body, and returns them encoded again. */
function encodedReader(source: BodySource): BodyReader {
  const reader = new ChunkedReader(source);
  let encoded: Uint8Array = EMPTY;
  return {
    get done() {
      return reader.done && encoded.length === 0;
    },
    async read(into) {
      if (encoded.length === 0) encoded = await reader.nextEncoded();
      const count = Math.min(into.length, encoded.length);
      into.set(encoded.subarray(0, count));
      encoded = encoded.subarray(count);
      return count;
    },
  };
}

/** The sources of received bodies of other classes. */
const sources = new WeakMap<object, ForeignSource>();

/** Remembers the source that a received body was made of. */
export function rememberSource(body: object, source: object): void {
  if (source instanceof ForeignSource) sources.set(body, source);
}

/** Calls a function when a received body of another class is over; returns false for all others. */
export function whenForeignOver(body: object, listener: () => void): boolean {
  const source = sources.get(body);
  if (source === undefined) return false;
  source.whenOver(listener);
  return true;
}

/** Allows one read at a time of the bytes of a single body, and then reports the end. */
class ForeignSource implements ByteSource {
  readonly #source: BodySource;
  readonly #reader: BodyReader;
  #reading = false;
  #isOver = false;
  readonly #listeners: (() => void)[] = [];

  constructor(source: BodySource, reader: BodyReader) {
    this.#source = source;
    this.#reader = reader;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const reader = this.#reader;
    if (this.#reading) {
      throw new BodyError("the body reads again before its last read has ended; await each read");
    }
    if (reader.done) return null;
    this.#reading = true;
    try {
      const count = await reader.read(into);
      if (!reader.done) return count;
      this.#source.consumed();
      this.#end();
      return count === 0 ? null : count;
    } catch (error) {
      this.#source.failed(error);
      this.#end();
      throw error;
    } finally {
      this.#reading = false;
    }
  }

  whenOver(listener: () => void): void {
    if (this.#isOver || this.#reader.done) listener();
    else this.#listeners.push(listener);
  }

  #end(): void {
    this.#isOver = true;
    for (const listener of this.#listeners) listener();
  }
}

/** Checks that a foreign body writes the chunked coding and ends with the last chunk. */
export class CodingCheck {
  readonly #walker = new ChunkWalker();

  /**
   * Checks the next bytes; returns the part of the body that is known to be valid, in memory that
   * the body can't change. A `BodyError` says that the bytes break the coding.
   */
  check(bytes: Uint8Array): Uint8Array {
    return asBodyError(() => this.#walker.walk(bytes.slice()));
  }

  /** Throws a `BodyError` if the body has ended before its last chunk. */
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
