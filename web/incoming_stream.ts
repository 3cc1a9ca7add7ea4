/**
 * The body of a request to our server, as a fetch-style handler sees it.
 *
 * @module
 */

import type { Body } from "../base/body/body.ts";
import type { ChunkedBody } from "../base/body/chunked_body.ts";
import { BodyError } from "../base/errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * A stream over the body of a request, which knows whether it has been read to its end. To cancel it
 * means no more than that its reader wants no more of it.
 */
export class IncomingStream {
  /** What the handler gets. */
  readonly stream: ReadableStream<Bytes>;
  readonly #pieces: AsyncIterator<Bytes, unknown>;
  readonly #onFailure: (error: unknown) => void;
  #controller: ReadableByteStreamController | null = null;
  #missing: number;
  #cancelled = false;

  /**
   * Takes over a body that has at least one byte or is chunked. Nothing of it is read before it is
   * asked for.
   *
   * @param onFailure Called where the body breaks.
   */
  constructor(body: Body | ChunkedBody, onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
    // To iterate is faster than to read a stream, but a chunk would come only when it is complete.
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
        controller.close();
        // A reader with memory of its own is told of the end only by an answer (Streams standard).
        controller.byobRequest?.respond(0);
      },
      cancel: () => {
        this.#cancelled = true;
      },
    });
  }

  /** True once the last byte has been taken. */
  get #ended(): boolean {
    return this.#missing === 0;
  }

  /** The next piece; `null` where the end is all that is left. */
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

  /** True where somebody has laid hold of what is left of the body, and may be reading it. */
  get isHeld(): boolean {
    return this.stream.locked && !this.#ended && !this.#cancelled;
  }

  /**
   * Takes the rest of the body, which a handler that has answered doesn't want.
   *
   * @throws {BodyError} where more than `limit` bytes are left.
   */
  async drain(limit: number): Promise<void> {
    if (this.#ended) return;
    this.abandon();
    const tooMuch = new BodyError(
      `the handler has left over ${limit} bytes of the request's body unread; read them, or ` +
        "respond with an error, or raise the option maxUnreadBytes",
    );
    if (Number.isFinite(this.#missing) && this.#missing > limit) throw tooMuch;
    let drained = 0;
    while (!this.#ended) {
      drained += (await this.#next())?.length ?? 0;
      if (drained > limit) throw tooMuch;
    }
  }

  /** Makes everybody who reads from now on fail: what they would miss must not look like an end. */
  abandon(): void {
    if (this.#ended || this.#cancelled) return;
    this.#controller?.error(
      new BodyError("the handler has responded, and what it left of the request's body is gone"),
    );
  }
}
