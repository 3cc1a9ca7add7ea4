/**
 * A socket with buffers, a deadline and one way to end.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import type { BodyOut, WritableBody } from "../base/bodies.ts";
import { ByteReader, checkCount, notWritten } from "../base/byte_io.ts";
import { ConnectionClosedError, EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import type { Framing } from "../base/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/limits.ts";
import { findPreambleEnd } from "../base/preamble.ts";
import { Deadline } from "./deadline.ts";
import { MessageSink } from "./message_sink.ts";

/** Bytes of the buffer in which preambles, and bodies that fit behind them, are put together. */
const OUT_BYTES = 65536;

/** What both ends of a connection are made of. */
export class Transport {
  /** What has arrived and has not been taken. */
  readonly reader: ByteReader = new ByteReader({ read: (into) => this.read(into) });
  /** Called once, when the connection closes. */
  onClose: (() => void) | null = null;
  /** When bytes have come last, by `performance.now()`: those of a body, and those that the owner notes. */
  lastArrival: number = performance.now();
  readonly #socket: Socket;
  readonly #deadline: Deadline;
  #out: Uint8Array | null = null;
  #ahead: Promise<number | null> | null = null;
  #aheadSettled = false;
  readonly #noteAhead = (): void => {
    this.#aheadSettled = true;
  };
  #looked = 0;
  #receiving = false;
  #sending: Uint8Array | null = null;
  #closed = false;
  #failure: unknown = null;
  #writeFailed = false;
  #onClosing: ((error: unknown) => void) | null = null;

  /**
   * Takes over a socket.
   *
   * @param timeout Seconds that each wait may take, or `null`.
   */
  constructor(socket: Socket, timeout: number | null) {
    this.#socket = socket;
    this.#deadline = new Deadline(timeout, () => {
      this.close(
        new Deno.errors.TimedOut(`the peer kept the connection waiting for over ${timeout} s`),
      );
    });
  }

  /** True once the connection has been closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** What broke the connection: an error of the socket, the peer's or the clock's; else `null`. */
  get failure(): unknown {
    return this.#failure;
  }

  /** True once the socket has refused bytes. */
  get writeFailed(): boolean {
    return this.#writeFailed;
  }

  /** Where the next preamble is to be written. */
  get out(): Uint8Array {
    return this.#out ??= new Uint8Array(OUT_BYTES);
  }

  /**
   * Closes the socket; whatever waits for it, or tries to use it, rejects.
   *
   * @param failure The error to reject with, where it was not the owner's wish.
   */
  close(failure: unknown = null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#failure ??= failure;
    this.#deadline.close();
    // What has arrived is not to be read any more.
    this.reader.start = this.reader.end = 0;
    try {
      this.#socket.close();
    } catch {
      // It was closed from outside.
    }
    this.#onClosing?.(this.#failure ?? new ConnectionClosedError());
    this.onClose?.();
  }

  /**
   * The error to report for what was thrown while a message was received or sent, which need not be
   * the socket's: the connection's own, where it had failed or was closed before.
   */
  explain(error: unknown): unknown {
    if (this.#sending !== null) this.#writeFailed = true;
    const socketFailed = this.#sending !== null || this.#receiving;
    this.#sending = null;
    this.#receiving = false;
    return socketFailed || this.#closed ? this.#explain(error) : error;
  }

  /** The error for an operation that the socket has failed, or that comes too late. */
  #explain(error: unknown): unknown {
    if (this.#closed) return this.#failure ?? new ConnectionClosedError();
    this.#failure ??= error;
    return error;
  }

  /** Reads past the reader; the deadline bounds the wait. */
  async read(into: Uint8Array): Promise<number | null> {
    this.#deadline.start();
    try {
      if (this.#closed) throw new ConnectionClosedError();
      const count = await this.#socket.read(into);
      if (this.#closed) throw new ConnectionClosedError();
      this.#deadline.stop();
      this.lastArrival = performance.now();
      return checkCount(count, into.length) === 0 ? null : count;
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /**
   * Drops what has arrived and then what arrives, up to the peer's end or about `most` bytes. It
   * is the last thing to be done, and the caller bounds its time.
   *
   * @returns Whether the peer's end was reached.
   */
  async drain(most: number): Promise<boolean> {
    const { reader } = this;
    this.#deadline.close();
    let dropped: number | null = reader.buffered;
    while (dropped !== null && most > dropped) {
      most -= dropped;
      reader.start = reader.end;
      dropped = await this.read(reader.room());
    }
    return dropped === null;
  }

  /**
   * Issues the read for the next preamble before anybody waits for it. Nothing else may touch the
   * reader, which has to be empty, until {@linkcode receive}.
   */
  readAhead(): void {
    this.#aheadSettled = false;
    this.#ahead = Promise.resolve(this.#socket.read(this.reader.room()));
    this.#ahead.then(this.#noteAhead, this.#noteAhead);
  }

  /** True where the read that was issued ahead has come to its end already. */
  get aheadSettled(): boolean {
    return this.#aheadSettled;
  }

  /** Puts what was read ahead into the reader; nothing where that was the end. */
  async takeAhead(): Promise<void> {
    try {
      this.reader.filled(await this.#ahead);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  // A message takes one read and one write, and an asynchronous function around either would cost as
  // much as parsing it. So both are begun by one method, which gives the promise of the socket, and
  // ended by another; who waits in between hands what is thrown to explain.

  /**
   * Looks for a whole preamble in the reader.
   *
   * @returns The position of its end, or -1 where more has to be received.
   */
  findPreamble(): number {
    const { reader } = this;
    const from = reader.start + Math.max(0, this.#looked - 3);
    const end = findPreambleEnd(reader.bytes, from, reader.end);
    checkPreambleSize(end < 0 ? reader.buffered + 1 : end - reader.start);
    if (end < 0) {
      this.#looked = reader.buffered;
    } else {
      this.#looked = 0;
      this.#deadline.stop();
    }
    return end;
  }

  /**
   * Begins to read more of a preamble; {@linkcode received} takes what the promise gives.
   *
   * The wait for the first byte is bounded, and from that byte on the whole preamble: a peer that
   * sends a byte a second gains nothing.
   */
  receive(): Promise<number | null> {
    this.#receiving = true;
    if (this.#closed) throw new ConnectionClosedError();
    if (!this.#deadline.isReading) this.#deadline.start();
    const ahead = this.#ahead;
    this.#ahead = null;
    return ahead ?? this.#socket.read(this.reader.room());
  }

  /** Ends a read that {@linkcode receive} has begun. */
  received(count: number | null): void {
    if (this.#closed) throw new ConnectionClosedError();
    if (this.reader.filled(count) === 0) throw preambleEnded(this.#looked);
    if (this.#looked === 0) this.#deadline.start();
    this.#receiving = false;
  }

  /** Writes all of the bytes; the deadline bounds each write. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      do bytes = notWritten(bytes, await this.#beginWrite(bytes)); while (bytes.length > 0);
      this.#deadline.stop(this.#deadline.writing);
    } catch (error) {
      this.#writeFailed = true;
      throw this.#explain(error);
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#closed) throw new ConnectionClosedError();
    this.#deadline.start(this.#deadline.writing);
    return this.#socket.write(bytes);
  }

  /**
   * Begins to send a message whose preamble is in {@linkcode out}; a body that is small, or of which
   * the beginning is at hand, goes out in the same write. {@linkcode sent} takes what the promise
   * gives.
   *
   * @param length Bytes of the preamble.
   */
  send(length: number, body: BodyOut, framing: Framing | undefined): Promise<number | void> {
    const { out } = this;
    if (body !== null) {
      if (!(body instanceof Uint8Array)) return this.#sendBody(length, body, framing);
      if (length + body.length > out.length) return this.#sendLarge(length, body);
      out.set(body, length);
      length += body.length;
    }
    this.#sending = out.subarray(0, length);
    return this.#beginWrite(this.#sending);
  }

  /** Ends what {@linkcode send} has begun; `null` where nothing is left to wait for. */
  sent(written: number | void): Promise<void> | null {
    // What was larger was written piece by piece.
    if (this.#sending === null) return null;
    const rest = notWritten(this.#sending, written);
    this.#sending = null;
    this.#deadline.stop(this.#deadline.writing);
    return rest.length === 0 ? null : this.write(rest);
  }

  async #sendLarge(length: number, body: Uint8Array): Promise<void> {
    const { out } = this;
    const head = out.length - length;
    out.set(body.subarray(0, head), length);
    await this.write(out);
    await this.write(body.subarray(head));
  }

  async #sendBody(
    length: number,
    body: WritableBody,
    framing: Framing | undefined,
  ): Promise<void> {
    const sink = new MessageSink(this, length, body, framing);
    const closing = Promise.withResolvers<never>();
    this.#onClosing = closing.reject;
    try {
      const writing = body.writeTo(sink);
      // The body may have to wait for its source, which the peer must not have to; and when the
      // connection closes, nobody has to.
      await Promise.race([Promise.all([writing, sink.flush()]), closing.promise]);
      sink.end();
    } catch (error) {
      sink.close(error);
      Promise.resolve(body.cancel?.(error)).catch(() => {});
      throw error;
    } finally {
      this.#onClosing = null;
    }
  }

  /** Ends the side that writes. */
  async closeWrite(): Promise<void> {
    await this.#socket.closeWrite?.();
  }
}

function checkPreambleSize(least: number): void {
  if (least <= MAX_PREAMBLE_BYTES) return;
  const message = `a preamble of more than ${MAX_PREAMBLE_BYTES} bytes`;
  throw new ProtocolError("PREAMBLE_TOO_LARGE", message);
}

function preambleEnded(read: number): ProtocolError {
  if (read === 0) return new EmptyPreambleError();
  return new ProtocolError("PREAMBLE_INCOMPLETE", "the peer closed inside a preamble");
}
