/**
 * Sending messages.
 *
 * @module
 */

import { type BodyOut, cancelQuietly, type WritableBody } from "../base/body/bodies.ts";
import { notWritten } from "../base/body/byte_io.ts";
import { changedError, checkUnchanged, realLength, viewOf } from "../base/bytes.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MessageSink } from "./message_sink.ts";
import type { SentBytes } from "./sent_bytes.ts";
import type { Transport } from "./transport.ts";

/** Size of the buffer for a preamble, and for as much of the body as fits behind it. */
const OUT_BYTES = 65536;

/**
 * Sends the messages of a connection, one after the other: {@linkcode beginMessage}, then
 * `rest = writer.endSend(await writer.beginSend(…))`, then `if (rest !== null) await rest`.
 */
export class MessageWriter {
  readonly #transport: Transport;
  #out: Uint8Array | null = null;
  /** How far the message has got: nothing was handed to the socket, something was, or it refused. */
  #phase: "unsent" | "begun" | "failed" = "unsent";
  /** The bytes of the single write of a small message. */
  #sending: Uint8Array | null = null;
  #failBody: ((error: unknown) => void) | null = null;
  /** Counts what the socket takes of the message; `null` if nobody wants to know. */
  sent: SentBytes | null = null;

  /** Makes a writer of messages over a transport. */
  constructor(transport: Transport) {
    this.#transport = transport;
    transport.addCloseListener((failure) => this.cancelBody(failure));
  }

  /** The buffer that holds the preamble. */
  get out(): Uint8Array {
    return this.#out ??= new Uint8Array(OUT_BYTES);
  }

  /** True once a byte of the message has been handed to the socket. */
  get begun(): boolean {
    return this.#phase !== "unsent";
  }

  /** True once the socket has refused bytes. */
  get failed(): boolean {
    return this.#phase === "failed";
  }

  /**
   * Begins a message.
   *
   * @returns The buffer for its preamble.
   */
  beginMessage(): Uint8Array {
    this.#phase = "unsent";
    return this.out;
  }

  /**
   * Begins to send a message whose preamble is in {@linkcode out}; a body that is small, or the part of one
   * that is available now, goes out in the same write. {@linkcode endSend} takes what the promise resolves
   * to, and {@linkcode failureOf} what it rejects with.
   *
   * @param length Bytes of the preamble.
   */
  beginSend(length: number, body: BodyOut, framing: Framing | undefined): Promise<number | void> {
    const { out } = this;
    if (body !== null) {
      if (!(body instanceof Uint8Array)) return this.#sendBody(length, body, framing);
      checkUnchanged(body, framing as number);
      if (length + (framing as number) > out.length) return this.#sendLarge(length, viewOf(body));
      out.set(body, length);
      length += framing as number;
    }
    this.#sending = out.subarray(0, length);
    return this.#beginWrite(this.#sending);
  }

  /** Ends a send that {@linkcode beginSend} began; `null` if nothing is left to wait for. */
  endSend(written: number | void): Promise<void> | null {
    // Anything larger was written piece by piece.
    if (this.#sending === null) return null;
    const rest = notWritten(this.#sending, this.#sending.length, written);
    this.sent?.add(this.#sending, this.#sending.length - rest.length);
    this.#sending = null;
    this.#transport.endWrite();
    return rest.length === 0 ? null : this.write(rest);
  }

  /** The error to report for one that was thrown while a message was made or sent. */
  failureOf(error: unknown): unknown {
    const isOfSocket = this.#sending !== null;
    if (isOfSocket) this.#phase = "failed";
    return this.#transport.failureOf(error, isOfSocket);
  }

  /** Writes all of the bytes; the deadline bounds each write. */
  async write(bytes: Uint8Array): Promise<void> {
    let { length } = bytes;
    try {
      while (length > 0) {
        const rest = notWritten(bytes, length, await this.#beginWrite(bytes));
        this.sent?.add(bytes, length - rest.length);
        bytes = rest;
        ({ length } = bytes);
      }
      this.#transport.endWrite();
    } catch (error) {
      this.#phase = "failed";
      const reason = realLength(bytes) === length ? error : changedError(bytes, length);
      throw this.#transport.failureOf(reason, true);
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#phase === "unsent") this.#phase = "begun";
    return this.#transport.beginWrite(bytes);
  }

  async #sendLarge(length: number, body: Uint8Array): Promise<void> {
    const { out } = this;
    const announced = body.length;
    const head = out.length - length;
    out.set(body.subarray(0, head), length);
    await this.write(out);
    checkUnchanged(body, announced);
    await this.write(body.subarray(head));
  }

  async #sendBody(
    length: number,
    body: WritableBody,
    framing: Framing | undefined,
  ): Promise<void> {
    const failing = Promise.withResolvers<never>();
    // A body that throws synchronously may have closed the connection before this is awaited.
    failing.promise.catch(() => {});
    const sink = new MessageSink(this, length, body, framing, failing.reject);
    this.#failBody = (error) => {
      sink.discard(error);
      failing.reject(error);
    };
    try {
      const writing = sink.writeBody();
      // The preamble doesn't wait for a body that waits for its source; and once the connection
      // closes, nothing waits.
      await Promise.race([Promise.all([writing, sink.flush()]), failing.promise]);
    } catch (error) {
      sink.close(error);
      cancelQuietly(body, error);
      throw error;
    } finally {
      this.#failBody = null;
    }
  }

  /** Makes the body that is being sent fail; bytes that were not handed to the socket are not sent. */
  cancelBody(reason: unknown): void {
    this.#failBody?.(reason ?? new ConnectionClosedError());
  }
}
