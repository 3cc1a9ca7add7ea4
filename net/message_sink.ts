/** The sink for the body of a message: joins preamble and body, and checks the length. */

import { type WritableBody, writeMessageBody } from "../base/body/bodies.ts";
import { type ByteSink, checkUnchanged, MAX_PIECE_BYTES } from "../base/body/byte_io.ts";
import { viewOf } from "../internal/bytes.ts";
import { BodyError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";

/** The part of a transport that its sinks need. */
interface MessageOutput {
  /** Puts bytes behind a preamble of so many bytes; `null` if one write can't take both. */
  appendToPreamble(preambleBytes: number, bytes: Uint8Array): Uint8Array | null;
  /** Writes a preamble of so many bytes alone. */
  writePreamble(length: number): Promise<void>;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
}

/** The sink that a body is written to, behind the preamble of its message. */
export class MessageSink implements ByteSink {
  /** Large writes are the fastest, even if reading that much at a time is slower. */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #output: MessageOutput;
  readonly #body: WritableBody;
  readonly #framing: Framing | undefined;
  /** Bytes of the preamble; 0 once the preamble has gone out, or never will. */
  #preambleBytes: number;
  readonly #failure = Promise.withResolvers<never>();
  #writtenBytes = 0;
  #preambleWrite: Promise<void> | null = null;
  #closeError: unknown = null;

  constructor(
    output: MessageOutput,
    preamble: number,
    body: WritableBody,
    framing: Framing | undefined,
  ) {
    this.#output = output;
    this.#preambleBytes = preamble;
    this.#body = body;
    this.#framing = framing;
    // A body that throws synchronously may have closed the connection before this is awaited.
    this.#failure.promise.catch(() => {});
  }

  /**
   * Sends the message. The preamble doesn't wait for a body that waits for its source, and nothing
   * waits for a connection that has closed.
   */
  send(): Promise<unknown> {
    return Promise.race([
      Promise.all([this.#writeBody(), this.#writePreamble()]),
      this.#failure.promise,
    ]);
  }

  /**
   * Makes the write that is under way and every later one fail; a preamble that was not written
   * never is.
   */
  fail(error: unknown): void {
    this.#preambleBytes = 0;
    this.#fail(error);
  }

  #fail(error: unknown): void {
    this.#closeError ??= error;
    this.#failure.reject(error);
  }

  /**
   * Writes the whole body, and checks its length. Runs synchronously up to the first write, so the
   * preamble and the beginning of the body go out together.
   */
  async #writeBody(): Promise<void> {
    const framing = this.#framing;
    try {
      await writeMessageBody(this.#body, this);
      if (this.#closeError !== null) throw this.#closeError;
      if (typeof framing === "number" && this.#writtenBytes !== framing) {
        throw new BodyError(`the body wrote ${this.#writtenBytes} of ${framing} bytes`);
      }
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** Writes the preamble, unless the preamble has gone out with the body. */
  #writePreamble(): Promise<void> | null {
    const preambleBytes = this.#preambleBytes;
    if (preambleBytes === 0) return null;
    this.#preambleBytes = 0;
    return this.#preambleWrite = this.#output.writePreamble(preambleBytes);
  }

  /** Writes some of the body. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#closeError !== null) throw this.#closeError;
      const view = viewOf(bytes);
      const { length } = view;
      this.#writtenBytes += length;
      if (typeof this.#framing === "number" && this.#writtenBytes > this.#framing) {
        throw new BodyError(`the body wrote more than its ${this.#framing} bytes`);
      }
      if (length === 0) return;
      const message = this.#appendToPreamble(view);
      if (message === null && this.#preambleWrite !== null) {
        await this.#preambleWrite;
        this.#preambleWrite = null;
        if (this.#closeError !== null) throw this.#closeError;
        // The check is made in the turn of the write: the array may change in any turn before.
        checkUnchanged(view, length);
      }
      await this.#output.write(message ?? view);
    } catch (error) {
      // The preamble still goes out, so that the peer sees a message that breaks off.
      this.#fail(error);
      throw error;
    }
  }

  /**
   * Copies bytes behind a preamble that is still to be written, to go out in the same write; `null`
   * if the preamble goes out alone, because the bytes are too many, or has gone out.
   */
  #appendToPreamble(bytes: Uint8Array): Uint8Array | null {
    if (this.#preambleBytes === 0) return null;
    const message = this.#output.appendToPreamble(this.#preambleBytes, bytes);
    if (message === null) this.#writePreamble();
    else this.#preambleBytes = 0;
    return message;
  }
}
