/**
 * The body of a request to our server, as a fetch handler gets it.
 *
 * @module
 */

import type { Body } from "../base/body/body.ts";
import type { ChunkedBody } from "../base/body/chunked_body.ts";
import { BodyError } from "../base/errors.ts";
import { closeByteStream } from "../base/body/body_state.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * A stream over the body of a request, which tracks whether it was read to its end. If its reader cancels it,
 * the body is not canceled, only left unread.
 */
export class IncomingStream {
  /** The stream for the handler. */
  readonly stream: ReadableStream<Bytes>;
  readonly #pieces: AsyncIterator<Bytes, unknown>;
  readonly #onFailure: (error: unknown) => void;
  #controller: ReadableByteStreamController | null = null;
  #missing: number;
  #canceled = false;

  /**
   * Takes over a body that has at least one byte or is chunked. Nothing is read before it is requested.
   *
   * @param onFailure Called if the body fails.
   */
  constructor(body: Body | ChunkedBody, onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
    // Iterating is faster than a stream, but yields a chunk only once it is complete.
    this.#pieces = (body.chunked ? body.readable : body)[Symbol.asyncIterator]();
    this.#missing = body.chunked ? Infinity : body.contentLength;
    this.stream = new ReadableStream({
      type: "bytes",
      start: (controller) => {
        this.#controller = controller;
      },
      pull: async (controller) => {
        const piece = await this.#next();
        if (piece !== null) controller.enqueue(piece);
        if (!this.#ended) return;
        closeByteStream(controller);
      },
      cancel: () => {
        this.#canceled = true;
      },
    });
  }

  /** True once the last byte has been read. */
  get #ended(): boolean {
    return this.#missing === 0;
  }

  /** The next piece; `null` at the end. */
  async #next(): Promise<Bytes | null> {
    let result;
    try {
      result = await this.#pieces.next();
    } catch (error) {
      this.#onFailure(error);
      throw error;
    }
    if (result.done === true) {
      this.#missing = 0;
      return null;
    }
    this.#missing -= result.value.length;
    return result.value;
  }

  /** True if what is left of the body has a reader, which may be waiting for it. */
  get isHeld(): boolean {
    return this.stream.locked && !this.#ended && !this.#canceled;
  }

  /**
   * Drops the rest of the body after the handler has responded.
   *
   * @throws {BodyError} if more than `limit` bytes are left.
   */
  async drain(limit: number): Promise<void> {
    if (this.#ended) return;
    this.abandon();
    const tooMuch = new BodyError(
      `the handler left more than ${limit} bytes of the request's body unread; read them, or ` +
        "respond with an error, or raise the option maxUnreadBytes",
    );
    if (Number.isFinite(this.#missing) && this.#missing > limit) throw tooMuch;
    let drained = 0;
    while (!this.#ended) {
      drained += (await this.#next())?.length ?? 0;
      if (drained > limit) throw tooMuch;
    }
  }

  /** Makes every later read fail: bytes that were dropped must not look like the end of the body. */
  abandon(): void {
    if (this.#ended || this.#canceled) return;
    this.#controller?.error(
      new BodyError("the handler has responded, so the rest of the request's body was dropped"),
    );
  }
}
