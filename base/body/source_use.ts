/**
 * The state of a body that is read from a source: the common part of `Body` and `ChunkedBody`.
 *
 * @module
 */

import { type BodyInput, type BodySource, openSource } from "./body_source.ts";
import { BodyUse } from "./body_use.ts";
import { EMPTY } from "../bytes.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The bodies that were too long to be collected, by the error that said so. */
const tooLong = new WeakMap<Error, object>();

/**
 * The error for collecting more of a body than one read may return.
 *
 * @param left How many bytes are left, as text.
 * @param instead What to do instead.
 */
export function tooLongError(body: object, left: string, instead: string): RangeError {
  const error = new RangeError(
    `one read returns at most ${MAX_READ_BYTES} bytes; ${left} are left: ${instead}`,
  );
  tooLong.set(error, body);
  return error;
}

/** Whether an error says that this body was too long to be collected. */
export function isTooLong(body: object | null, error: unknown): boolean {
  return body !== null && error instanceof RangeError && tooLong.get(error) === body;
}

/** Bytes of one piece of a body that is iterated or streamed, and of the first that is passed on. */
export const PIECE_BYTES = 65536;

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
export function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

/**
 * The state of a body together with its source: both end, fail and are canceled at the same time.
 *
 * The public classes hold one instead of extending it. A base class that isn't exported would hide
 * their members from the documentation, and its methods could be replaced from outside.
 */
export class SourceUse extends BodyUse {
  /** Where the body comes from. */
  readonly source: BodySource;
  #stream: ReadableStream<Bytes> | null = null;

  /**
   * Takes over what a body is made from.
   *
   * @throws {TypeError} if that is neither a free stream nor has a `read` method.
   */
  constructor(input: BodyInput) {
    const source = openSource(input);
    super(source.interruption);
    this.source = source;
  }

  /** Ends the operation that consumed the last byte, and the use of the source. */
  override consume(): void {
    super.consume();
    this.source.consumed();
  }

  /** Fails the body, and notifies the source that it is broken. */
  breakOff(error: unknown): void {
    this.fail(error);
    this.source.failed(error);
  }

  /** Waits for the source, whose failure is the body's. */
  fromSource<T>(promise: Promise<T>): Promise<T> {
    return this.wait(promise, (error) => this.breakOff(error));
  }

  protected override release(error: Error): Promise<void> {
    return this.source.cancel(error);
  }

  /** Ends an iteration; one that was left early cancels the rest. */
  endIteration(): void {
    if (!this.isConsumed) this.cancel(new BodyError("the iteration was abandoned"));
  }

  /**
   * The body as a byte stream. The first call starts the body; the others return the same stream.
   *
   * @param size Bytes of a piece, unless the stream's reader has its own buffer; 0 if the body
   * is empty.
   * @param read Reads into the buffer: at least one byte, unless the body ends with none.
   * @param isAtEnd Whether the last byte has been read.
   */
  stream(
    size: number,
    read: (into: Bytes) => Promise<number>,
    isAtEnd: () => boolean,
  ): ReadableStream<Bytes> {
    if (this.#stream !== null) return this.#stream;
    this.begin("stream", true);
    return this.#stream = new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: Math.max(1, size),
      start: async (controller) => {
        if (size > 0) return;
        await read(EMPTY);
        closeByteStream(controller);
      },
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        const count = await read(new Uint8Array(buffer, byteOffset, byteLength));
        if (count > 0) request.respond(count);
        if (isAtEnd()) closeByteStream(controller);
      },
      cancel: (reason) => this.cancel(reason),
    });
  }
}
