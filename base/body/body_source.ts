/** The sources of bodies: connections, files, streams, and other objects that give bytes. */

import { viewOf } from "../../internal/bytes.ts";
import { wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { BodyError } from "../errors.ts";
import { typeName } from "../../internal/quote.ts";
import {
  type ByteSource,
  checkCount,
  checkUnchanged,
  MAX_PIECE_BYTES,
  ReadBuffer,
} from "./byte_io.ts";

const RECEIVED_SIZES = { usualBytes: 65536, mostBytes: MAX_PIECE_BYTES };
/** From memory and disks: a larger buffer would not fit into the cache of a processor. */
const GIVEN_SIZES = { usualBytes: 524288, mostBytes: 524288 };

/**
 * What is true of each kind of source:
 *
 * - `behind`: what follows the body. `"messages"` of the peer may be in the buffer already. Bytes
 *   `"of others"`, as in a file, must not be read. Where `"nothing"` follows, the source must end
 *   with the body.
 * - `tooLong`: what happens to a body of known length with more bytes than its reader wants. The
 *   body of a response would keep its connection; a request's may still be read in another way.
 * - `usualBytes` and `mostBytes`: the most bytes of one read if the sink has no wish, and if it has
 *   one. Larger reads from a socket are slower, as what the kernel has copied leaves the cache
 *   before it is used; but from one connection to another, fewer turns of the event loop matter
 *   more.
 */
export const SOURCE_KINDS = {
  request: { behind: "messages", tooLong: "is left", ...RECEIVED_SIZES },
  response: { behind: "messages", tooLong: "is canceled", ...RECEIVED_SIZES },
  file: { behind: "of others", tooLong: "is left", ...GIVEN_SIZES },
  stream: { behind: "nothing", tooLong: "is left", ...GIVEN_SIZES },
} as const;

/** How a body ends: with its last byte, by an error of its source, or because nobody wants it. */
export type BodyEnd = "consumed" | "broken" | "canceled";

/** A source of bytes for one body. */
export interface BodySource extends ByteSource {
  /** What the source is, which decides what {@linkcode SOURCE_KINDS} says. */
  readonly kind: keyof typeof SOURCE_KINDS;
  /** The bytes that have arrived and were not asked for yet. */
  readonly buffer: ReadBuffer;
  /** Reads more bytes, while the buffer is empty. */
  read(into: Uint8Array): Promise<number | null>;
  /**
   * Called once, when the body is over. Never rejects.
   *
   * @param error The error with which the body has ended, unless it was consumed.
   * @param reason What the caller gave as the reason, if the body was canceled.
   */
  over(end: BodyEnd, error?: unknown, reason?: unknown): Promise<void> | void;
}

/** The sources that a body can be made from. A `Deno.FsFile` is a {@linkcode ByteSource}. */
export type BodyInput = ReadableStream<Uint8Array> | ByteSource;

/** Makes the source of a body from the argument of the body's constructor. */
export function openSource(input: BodyInput): BodySource {
  // No other code has a buffer of this class.
  if ((input as BodySource | null)?.buffer instanceof ReadBuffer) return input as BodySource;
  if (typeof (input as ReadableStream | null)?.getReader === "function") {
    return new StreamSource(input as ReadableStream<Uint8Array>);
  }
  if (typeof (input as ByteSource | null)?.read === "function") {
    return new PlainSource(input as ByteSource);
  }
  throw wrongTypeError("source", "a ReadableStream, a Deno.FsFile or a ByteSource", input);
}

/** Bytes that are all in memory. */
export class MemorySource implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer = new ReadBuffer(this);

  /** Owns the bytes. */
  constructor(bytes: Uint8Array<ArrayBuffer>, kind: "request" | "response") {
    this.kind = kind;
    this.buffer.bytes = bytes;
    this.buffer.end = bytes.length;
  }

  read(): Promise<null> {
    return Promise.resolve(null);
  }

  over(): void {}
}

/** A file or another source with a position: exactly the bytes of the body are read from it. */
export class PlainSource implements BodySource {
  readonly kind = "file";
  readonly buffer: ReadBuffer = new ReadBuffer(this);
  readonly over: () => void;
  readonly #input: ByteSource;

  /** @param over Closes a file that belongs to its body; other files are left open. */
  constructor(input: ByteSource, over: () => void = () => {}) {
    this.#input = input;
    this.over = over;
  }

  async read(into: Uint8Array): Promise<number | null> {
    return checkCount(await this.#input.read(into), into.length) || null;
  }
}

/** A stream of byte arrays, which must end where the body does. */
class StreamSource implements BodySource {
  readonly kind = "stream";
  readonly buffer: ReadBuffer = new ReadBuffer(this);
  readonly #stream: ReadableStream<Uint8Array>;
  #streamReader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  /** The item that is being read, and its length when it came: its buffer may be transferred. */
  #item: Uint8Array | null = null;
  #length = 0;
  #position = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    if (stream.locked) {
      throw wrongArgumentError("source", "must be an unlocked stream; got a locked one");
    }
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

  async over(end: BodyEnd, error?: unknown): Promise<void> {
    if (end === "consumed") return;
    try {
      await (this.#streamReader ?? this.#stream).cancel(error);
      this.#streamReader?.releaseLock();
    } catch {
      // The stream has failed, or other code has locked it: in both cases it is no longer ours.
    }
  }
}
