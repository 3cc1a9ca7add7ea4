/**
 * A socket with buffers, a deadline and one way to end.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import { type BodyOut, cancelQuietly, type WritableBody } from "../base/body/bodies.ts";
import { ByteReader, checkCount, notWritten } from "../base/body/byte_io.ts";
import { changedError, checkUnchanged, realLength, viewOf } from "../base/bytes.ts";
import { ConnectionClosedError, EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { findPreambleEnd } from "../base/wire/preamble.ts";
import { Deadline } from "./deadline.ts";
import { MessageSink } from "./message_sink.ts";

/** Bytes of the buffer in which preambles, and bodies that fit behind them, are put together. */
const OUT_BYTES = 65536;

/** Where bytes go that nobody will look at. */
const DISCARDED = new Uint8Array(65536);

/** What both ends of a connection are made of. */
export class Transport {
  /** What has arrived and has not been taken. */
  readonly reader: ByteReader = new ByteReader({
    read: (into) => this.read(into),
    settle: () => this.#settleAhead(),
  });
  /** Called once, when the connection closes. */
  onClose: (() => void) | null = null;
  /**
   * When bytes have come last, by `Date.now()`, which costs a tenth of `performance.now()`: those of a
   * body, and those that the owner notes.
   */
  lastArrival: number = Date.now();
  /** True once a byte has been handed to the socket; reset by the owner before each request. */
  begun = false;
  readonly #socket: Socket;
  readonly #deadline: Deadline;
  readonly #checkStart: (first: number) => void;
  #out: Uint8Array | null = null;
  // A read that puts what arrives elsewhere than into the reader.
  #reading: Promise<number | null> | null = null;
  #receivesAhead = false;
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
   * @param checkStart Throws where no preamble begins with this byte.
   */
  constructor(
    socket: Socket,
    timeout: number | null,
    checkStart: (first: number) => void = () => {},
  ) {
    this.#socket = socket;
    this.#checkStart = checkStart;
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
    this.reader.close(this.#failure);
    try {
      this.#socket.close();
    } catch {
      // It was closed from outside.
    }
    this.#onClosing?.(this.#failure ?? new ConnectionClosedError());
    this.onClose?.();
  }

  /** Gives up the body that was asked for the first bytes of a message: none of them is sent. */
  abandon(reason: unknown): void {
    this.#onClosing?.(reason ?? new ConnectionClosedError());
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

  /** Reads past the reader, which must be empty; the deadline bounds the wait. */
  async read(into: Uint8Array): Promise<number | null> {
    const { reader } = this;
    if (reader.ahead !== null) {
      await this.#settleAhead();
      if (reader.buffered > 0) return reader.take(into);
    }
    this.#deadline.start();
    try {
      if (this.#closed) throw new ConnectionClosedError();
      reader.checkFailure();
      this.#reading = this.#socket.read(into);
      const count = await this.#reading;
      this.#reading = null;
      return this.#endRead(checkCount(count, into.length)) || null;
    } catch (error) {
      this.#reading = null;
      throw this.#explain(error);
    }
  }

  /** Waits for what was read ahead; the deadline bounds that, too. */
  async #settleAhead(): Promise<void> {
    this.#deadline.start();
    try {
      this.#endRead(await this.reader.settleAhead());
    } catch (error) {
      throw this.#explain(error);
    }
  }

  #endRead(count: number): number {
    if (this.#closed) throw new ConnectionClosedError();
    this.#deadline.stop();
    this.lastArrival = Date.now();
    return count;
  }

  /** Nobody waits any longer for a read that is under way. */
  abandonRead(): void {
    this.#deadline.stop();
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
    // Somebody may have left a read that is under way, and a socket has one at a time.
    await this.#reading;
    let dropped: number | null = await reader.settleAhead();
    reader.start = reader.end;
    while (dropped !== null && most > dropped) {
      most -= dropped;
      dropped = await this.read(DISCARDED);
    }
    return dropped === null;
  }

  /**
   * Issues the read for the next preamble before anybody waits for it. Nothing else may touch the
   * reader, which has to be empty, until {@linkcode receive}.
   */
  readAhead(): void {
    this.reader.readAhead(this.#socket, false);
  }

  /** True where the read that was issued ahead has come to its end already. */
  get aheadSettled(): boolean {
    return this.reader.ahead === null;
  }

  /** Waits for what was read ahead; nothing is in the reader where that was the end. */
  async takeAhead(): Promise<void> {
    try {
      await this.reader.settleAhead();
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /**
   * Looks whether the peer is still there while nobody reads: reads ahead, as far as the reader has
   * room. Whoever reads finds out by himself.
   *
   * @param onEnd Called when the peer has ended its side, or the connection is broken.
   */
  watch(onEnd: () => void): void {
    const { reader } = this;
    if (this.#closed || this.#receiving || this.#reading !== null || reader.ahead !== null) return;
    const ahead = reader.readAhead(this.#socket, true);
    ahead?.then((count) => count === null && onEnd(), onEnd);
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
    const size = end < 0 ? reader.buffered + 1 : end - reader.start;
    // What is whole is left to the parser, which says more of what is wrong.
    if (this.#looked === 0 && reader.buffered > 0 && (end < 0 || size > MAX_PREAMBLE_BYTES)) {
      this.#checkStart(reader.bytes[reader.start]!);
    }
    checkPreambleSize(size);
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
    const { reader } = this;
    this.#receivesAhead = reader.ahead !== null;
    if (reader.ahead !== null) return reader.ahead;
    reader.checkFailure();
    return this.#socket.read(reader.room());
  }

  /** Ends a read that {@linkcode receive} has begun. */
  received(count: number | null): void {
    if (this.#closed) throw new ConnectionClosedError();
    if (this.#arrived(count) === 0) throw preambleEnded(this.#looked);
    if (this.#looked === 0) this.#deadline.start();
    this.#receiving = false;
  }

  #arrived(count: number | null): number {
    // What was read ahead is in the reader already.
    if (!this.#receivesAhead) return this.reader.filled(count);
    this.reader.checkFailure();
    return count ?? 0;
  }

  /** Writes all of the bytes; the deadline bounds each write. */
  async write(bytes: Uint8Array): Promise<void> {
    let { length } = bytes;
    try {
      while (length > 0) {
        bytes = notWritten(bytes, length, await this.#beginWrite(bytes));
        ({ length } = bytes);
      }
      this.#deadline.stop(this.#deadline.writing);
    } catch (error) {
      this.#writeFailed = true;
      throw this.#explain(realLength(bytes) === length ? error : changedError(bytes, length));
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#closed) throw new ConnectionClosedError();
    this.begun = true;
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
      checkUnchanged(body, framing as number);
      if (length + (framing as number) > out.length) return this.#sendLarge(length, viewOf(body));
      out.set(body, length);
      length += framing as number;
    }
    this.#sending = out.subarray(0, length);
    return this.#beginWrite(this.#sending);
  }

  /** Ends what {@linkcode send} has begun; `null` where nothing is left to wait for. */
  sent(written: number | void): Promise<void> | null {
    // What was larger was written piece by piece.
    if (this.#sending === null) return null;
    const rest = notWritten(this.#sending, this.#sending.length, written);
    this.#sending = null;
    this.#deadline.stop(this.#deadline.writing);
    return rest.length === 0 ? null : this.write(rest);
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
    // A body that throws at once may have closed the connection before anybody waits for this.
    failing.promise.catch(() => {});
    const sink = new MessageSink(this, length, body, framing, failing.reject);
    this.#onClosing = (error) => {
      sink.discard(error);
      failing.reject(error);
    };
    try {
      const writing = sink.writeBody();
      // The body may have to wait for its source, which the peer must not have to; and when the
      // connection closes, nobody has to.
      await Promise.race([Promise.all([writing, sink.flush()]), failing.promise]);
    } catch (error) {
      sink.close(error);
      cancelQuietly(body, error);
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
