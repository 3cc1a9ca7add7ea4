/**
 * Sending messages.
 *
 * @module
 */

import { type BodyOut, cancelQuietly, type WritableBody } from "../base/body/bodies.ts";
import { notWritten } from "../base/body/byte_io.ts";
import { changedError, checkUnchanged, EMPTY, realLength, viewOf } from "../base/bytes.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { MessageSink } from "./message_sink.ts";
import type { SentBytes } from "./exchange_watch.ts";
import type { Transport } from "./transport.ts";

/** The initial buffer of a connection, large enough for a small message, as most are. */
const FIRST_BYTES = 1024;
/** Growth factor for a message that doesn't fit; also how many times too large the buffer may be. */
const GROWTH = 4;
/** A preamble and the part of a body that is available now go out in one write up to this size. */
const JOINED_BYTES = 65536;

/**
 * Where preambles are formatted, for all connections: it is large, and in use for as long as one call takes.
 * No other code ever sees it. `null` while it is in use: a getter of a header may make another request.
 */
let scratch: Uint8Array | null = null;

/**
 * Sends the messages of a connection, one after the other: {@linkcode beginMessage}, then
 * `rest = writer.endSend(await writer.beginSend(…))`, then `if (rest !== null) await rest`.
 */
export class MessageWriter {
  readonly #transport: Transport;
  /** Begins with the preamble. */
  #out: Uint8Array = EMPTY;
  /** The part of it that was sent last: many messages have the same length. */
  #view: Uint8Array = EMPTY;
  /** How much of it the current message needs. */
  #needed = 0;
  /** How far the message has got: nothing was handed to the socket, something was, or it refused. */
  #phase: "unsent" | "begun" | "failed" = "unsent";
  /** The bytes of the single write of a small message. */
  #sending: Uint8Array | null = null;
  #failBody: ((error: unknown) => void) | null = null;
  /** Counts the bytes of the message that the socket takes; `null` if they aren't counted. */
  sent: SentBytes | null = null;

  /** Makes a writer of messages over a transport. */
  constructor(transport: Transport) {
    this.#transport = transport;
    transport.addCloseListener((failure) => this.cancelBody(failure));
  }

  /** The array that begins with the preamble. */
  get out(): Uint8Array {
    return this.#out;
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
   * @returns The buffer for its preamble, which {@linkcode endPreamble} takes back.
   */
  beginMessage(): Uint8Array {
    this.#phase = "unsent";
    const buffer = scratch ?? new Uint8Array(MAX_PREAMBLE_BYTES);
    scratch = null;
    return buffer;
  }

  /**
   * Takes the preamble out of the buffer that {@linkcode beginMessage} returned, which must not be used any more.
   * If no preamble could be made and this isn't called, that buffer is not used again.
   *
   * @param length Bytes of the preamble.
   */
  endPreamble(buffer: Uint8Array, length: number): void {
    this.#fit(length);
    this.#out.set(buffer.subarray(0, length));
    scratch = buffer;
  }

  /**
   * Begins to send a message whose preamble is in {@linkcode out}; a body that is small, or the part of one
   * that is available now, goes out in the same write. {@linkcode endSend} takes what the promise resolves
   * to, and {@linkcode failureOf} what it rejects with.
   *
   * @param length Bytes of the preamble.
   */
  beginSend(length: number, body: BodyOut, framing: Framing | undefined): Promise<number | void> {
    if (body === null) {
      this.#sending = this.#viewOf(length);
    } else {
      if (!(body instanceof Uint8Array)) return this.#sendBody(length, body, framing);
      checkUnchanged(body, framing as number);
      this.#sending = this.join(length, body, framing as number);
      if (this.#sending === null) return this.#sendLarge(length, viewOf(body));
    }
    return this.#beginWrite(this.#sending);
  }

  /**
   * Puts bytes behind the preamble, to go out in the same write; `null` if they are too many.
   *
   * @param length Bytes of the preamble.
   * @param count How many bytes there are to put behind it.
   */
  join(length: number, bytes: Uint8Array, count: number = bytes.length): Uint8Array | null {
    const whole = length + count;
    if (whole > JOINED_BYTES) return null;
    if (whole > this.#out.length) {
      const preamble = this.#out.subarray(0, length);
      this.#fit(whole);
      this.#out.set(preamble);
    }
    this.#needed = whole;
    this.#out.set(bytes, length);
    return this.#viewOf(whole);
  }

  #viewOf(length: number): Uint8Array {
    if (this.#view.length !== length) this.#view = this.#out.subarray(0, length);
    return this.#view;
  }

  /** Makes the buffer large enough, and smaller if the last message has needed much less. */
  #fit(size: number): void {
    const { length } = this.#out;
    let fitting = length;
    if (this.#needed * GROWTH <= length) fitting = Math.floor(length / GROWTH);
    if (fitting < FIRST_BYTES) fitting = FIRST_BYTES;
    while (fitting < size) fitting *= GROWTH;
    if (fitting !== length) {
      this.#out = new Uint8Array(fitting);
      this.#view = EMPTY;
    }
    this.#needed = size;
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
    const out = this.#out;
    const announced = body.length;
    // Avoids a large copy: the rest is sent from where it is.
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
