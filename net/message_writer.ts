/**
 * Sending messages.
 *
 * @module
 */

import {
  type BodyOut,
  cancelQuietly,
  type WritableBody,
  writeTrusted,
} from "../base/body/bodies.ts";
import { type ByteSink, MAX_PIECE_BYTES, notWritten } from "../base/body/byte_io.ts";
import { changedError, checkUnchanged, EMPTY, realLength, viewOf } from "../base/bytes.ts";
import { CodingCheck } from "../base/body/foreign_bodies.ts";
import { BodyError, ConnectionClosedError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
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
  #sink: MessageSink | null = null;
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
   * Puts bytes behind a preamble of `length` bytes, to go out in the same write; `null` if they are too many.
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
    const sink = this.#sink = new MessageSink(this, length, body, framing);
    try {
      // The preamble doesn't wait for a body that waits for its source; and once the connection
      // closes, nothing waits.
      await Promise.race([Promise.all([sink.writeBody(), sink.flush()]), sink.failed]);
    } catch (error) {
      sink.fail(error);
      cancelQuietly(body, error);
      throw error;
    } finally {
      this.#sink = null;
    }
  }

  /** Makes the body that is being sent fail; bytes that were not handed to the socket are not sent. */
  cancelBody(reason: unknown): void {
    this.#sink?.fail(reason ?? new ConnectionClosedError());
  }
}

/** Writes a body after its preamble, and keeps it within the framing that the preamble announces. */
class MessageSink implements ByteSink {
  /** Large writes are the fastest, even if reading that much at a time is slower. */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #writer: MessageWriter;
  readonly #body: WritableBody;
  readonly #framing: Framing | undefined;
  readonly #failing = Promise.withResolvers<never>();
  #check: CodingCheck | null = null;
  #written = 0;
  #preamble: number;
  #flushing: Promise<void> | null = null;
  #writing = false;
  #closed: unknown = null;

  /** Makes a sink for one body; `preamble` is how many bytes its preamble has. */
  constructor(
    writer: MessageWriter,
    preamble: number,
    body: WritableBody,
    framing: Framing | undefined,
  ) {
    this.#writer = writer;
    this.#preamble = preamble;
    this.#body = body;
    this.#framing = framing;
    // A body that throws synchronously may have closed the connection before this is awaited.
    this.#failing.promise.catch(() => {});
  }

  /** Rejects when the body fails, which may not report it itself. */
  get failed(): Promise<never> {
    return this.#failing.promise;
  }

  /** Makes this and every later write fail with the error; a preamble that wasn't written never is. */
  fail(error: unknown): void {
    this.#preamble = 0;
    this.#closed ??= error;
    this.#failing.reject(error);
  }

  /**
   * Writes the whole body, and checks that it is complete. Runs synchronously up to the first write, so the
   * preamble and the beginning of the body go out together.
   *
   * @throws {BodyError} if the body breaks the framing.
   */
  async writeBody(): Promise<void> {
    try {
      await this.#begin();
      if (this.#closed !== null) throw this.#closed;
      this.#closed = new BodyError("the body wrote after its end");
      if (this.#writing) {
        throw new BodyError("the body ended before its last write had; await each write");
      }
      if (typeof this.#framing === "number" && this.#written !== this.#framing) {
        throw new BodyError(`the body wrote ${this.#written} of ${this.#framing} bytes`);
      }
      this.#check?.end();
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  #begin(): Promise<unknown> {
    const body = this.#body;
    if (this.#framing === "chunked") {
      const writing = writeTrusted(body, this);
      if (writing !== null) return writing;
      this.#check = new CodingCheck();
    }
    return body.writeTo(new BodySink(this));
  }

  /** Writes the preamble unless it has gone out with the body. */
  flush(): Promise<void> {
    const length = this.#preamble;
    if (length === 0) return Promise.resolve();
    this.#preamble = 0;
    return this.#flushing = this.#writer.write(this.#writer.out.subarray(0, length));
  }

  /** Writes some of the body. One write at a time: two would mix their bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#closed !== null) throw this.#closed;
      if (this.#writing) {
        throw new BodyError(
          "the body wrote again before its last write had ended; await each write",
        );
      }
      this.#writing = true;
      const checked = this.#checkNext(viewOf(bytes));
      const { length } = checked;
      if (length > 0) {
        const joined = this.#join(checked);
        if (joined === null && this.#flushing !== null) {
          await this.#flushing;
          this.#flushing = null;
          if (this.#closed !== null) throw this.#closed;
          // Here, in the turn of the write: the array may have changed in any turn before it.
          checkUnchanged(checked, length);
        }
        await this.#writer.write(joined ?? checked);
      }
      this.#writing = false;
    } catch (error) {
      // The preamble still goes out: the peer is to see a message that breaks off.
      this.#closed ??= error;
      this.#failing.reject(error);
      throw error;
    }
  }

  /** Checks the bytes to write; returns as many of them as are known to be valid. */
  #checkNext(bytes: Uint8Array): Uint8Array {
    this.#written += bytes.length;
    if (typeof this.#framing === "number" && this.#written > this.#framing) {
      throw new BodyError(`the body wrote more than its ${this.#framing} bytes`);
    }
    return this.#check === null ? bytes : this.#check.check(bytes);
  }

  /** Copies bytes that fit behind the preamble, to go out with it; else begins to write that. */
  #join(bytes: Uint8Array): Uint8Array | null {
    const preamble = this.#preamble;
    if (preamble === 0) return null;
    const joined = this.#writer.join(preamble, bytes);
    if (joined === null) this.flush();
    else this.#preamble = 0;
    return joined;
  }
}

/** The sink that a body writes to: it offers no way to end the message or to change how it is checked. */
class BodySink implements ByteSink {
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #sink: MessageSink;

  constructor(sink: MessageSink) {
    this.#sink = sink;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#sink.write(bytes);
  }
}
Object.freeze(BodySink.prototype);
