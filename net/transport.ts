/**
 * A socket with a read buffer, the preambles that arrive over it, a deadline and one way to end.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import { type AheadSource, ByteReader, checkCount } from "../base/body/byte_io.ts";
import { ConnectionClosedError, ProtocolError } from "../base/errors.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { findPreambleEnd } from "../base/wire/preamble.ts";
import { Deadline } from "./deadline.ts";

/** Where discarded bytes go. */
const DISCARDED = new Uint8Array(65536);

/** Called once when a connection closes, with the error that broke it, or `null`. */
export type CloseListener = (failure: unknown) => void;

/**
 * The part that both ends of a connection share: the socket, its deadline, and what broke it. It receives preambles,
 * one after the other, and a `MessageWriter` sends messages through it:
 * `while ((end = transport.findPreamble()) < 0) if (!transport.endReceive(await transport.beginReceive())) …`
 */
export class Transport implements AheadSource {
  /** Bytes that arrived and were not consumed yet. */
  readonly reader: ByteReader = new ByteReader(this);
  /** Bounds each wait for the peer. */
  readonly deadline: Deadline;
  readonly #socket: Socket;
  readonly #checkStart: (first: number) => void;
  readonly #closeListeners: CloseListener[] = [];
  /** How many bytes of the next preamble were searched for its end. */
  #searched = 0;
  /** What a preamble waits for: a read of the socket, or one that was issued ahead. */
  #receiving: "nothing" | "read" | "read ahead" = "nothing";
  // The pending read, unless the reader issued it ahead.
  #reading: Promise<number | null> | null = null;
  // Measured with Date.now(), which costs a tenth of performance.now().
  #lastArrival = Date.now();
  #closed = false;
  #failure: unknown = null;

  /**
   * Owns the socket from now on.
   *
   * @param timeout Seconds that each wait may take, or `null`.
   * @param checkStart Throws if no preamble begins with this byte.
   */
  constructor(
    socket: Socket,
    timeout: number | null,
    checkStart: (first: number) => void = () => {},
  ) {
    this.#socket = socket;
    this.#checkStart = checkStart;
    this.deadline = new Deadline(timeout, () => {
      this.close(
        new Deno.errors.TimedOut(`the peer kept the connection waiting for over ${timeout} s`),
      );
    });
  }

  /** True once the connection has been closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** What broke the connection: an error of the socket, the peer's or the deadline's; else `null`. */
  get failure(): unknown {
    return this.#failure;
  }

  /**
   * Closes the socket; pending and later operations reject.
   *
   * @param failure The error to reject with; `null` if the owner wanted it closed.
   */
  close(failure: unknown = null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#failure ??= failure;
    this.deadline.close();
    this.reader.close(this.#failure);
    try {
      this.#socket.close();
    } catch {
      // It was closed by other code.
    }
    for (const listener of this.#closeListeners) listener(this.#failure);
  }

  /** Calls a function when the connection closes, in the order in which they were added; at once if it has closed. */
  addCloseListener(listener: CloseListener): void {
    if (this.#closed) listener(this.#failure);
    else this.#closeListeners.push(listener);
  }

  /** Closes when a signal is aborted, with its reason. The signal keeps nothing but this alive. */
  closeOn(signal: AbortSignal): void {
    const abort = () => this.close(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    this.addCloseListener(() => signal.removeEventListener("abort", abort));
  }

  /**
   * The error to report for one that was thrown: the connection's own if that was closed before.
   *
   * @param isOfSocket Whether the socket has thrown it, which breaks the connection: by default while a preamble is
   * received.
   */
  failureOf(error: unknown, isOfSocket: boolean = this.#receiving !== "nothing"): unknown {
    if (this.#closed) return this.#failure ?? new ConnectionClosedError();
    if (isOfSocket) this.#failure ??= error;
    return error;
  }

  /** Milliseconds since bytes last arrived, by a clock that may be set. */
  get sinceArrival(): number {
    return Date.now() - this.#lastArrival;
  }

  /** Makes {@linkcode sinceArrival} infinite until bytes arrive. */
  forgetArrival(): void {
    this.#lastArrival = -Infinity;
  }

  /**
   * Searches what has arrived for the end of a preamble.
   *
   * @returns The position of its end, or -1 if more must be received.
   * @throws {ProtocolError} if it is too large.
   * @throws the error of `checkStart`.
   */
  findPreamble(): number {
    const { reader } = this;
    const from = reader.start + Math.max(0, this.#searched - 3);
    const end = findPreambleEnd(reader.bytes, from, reader.end);
    // mutant `<` → `<=`: the end of a preamble is never at position 0
    const size = end < 0 ? reader.buffered + 1 : end - reader.start;
    // The parser has better messages, and gets every whole preamble.
    // mutant `<` → `<=`: the end of a preamble is never at position 0
    if (this.#searched === 0 && reader.buffered > 0 && (end < 0 || size > MAX_PREAMBLE_BYTES)) {
      this.#checkStart(reader.bytes[reader.start]!);
    }
    if (size > MAX_PREAMBLE_BYTES) {
      const message = `a preamble of more than ${MAX_PREAMBLE_BYTES} bytes`;
      throw new ProtocolError("PREAMBLE_TOO_LARGE", message);
    }
    if (end < 0) {
      this.#searched = reader.buffered;
    } else {
      this.#searched = 0;
      this.#endWait();
    }
    return end;
  }

  // Hot path: one read and one write a message. An async wrapper around either costs as much as parsing,
  // so begin… returns the socket's promise, and end… or failureOf follows it.

  /**
   * Begins to read more of a preamble; {@linkcode endReceive} takes what the promise resolves to, and
   * {@linkcode failureOf} what it rejects with.
   *
   * The wait for the first byte is bounded, and from that byte on the whole preamble: a peer gains
   * nothing by sending a byte a second.
   */
  beginReceive(): Promise<number | null> {
    const { reader, deadline } = this;
    const { ahead } = reader;
    this.#receiving = ahead === null ? "read" : "read ahead";
    reader.checkFailure();
    if (!deadline.isReading) deadline.start();
    if (ahead !== null) return ahead;
    if (reader.buffered === 0) reader.fit();
    return this.#beginRead(reader.room());
  }

  /**
   * Ends a read that {@linkcode beginReceive} began.
   *
   * @returns False if the peer closed before a preamble. Most connections end like this.
   * @throws {ProtocolError} if the peer closed within one.
   */
  endReceive(count: number | null): boolean {
    this.#endRead();
    // What was read ahead is in the reader already.
    const arrived = this.#receiving === "read" ? this.reader.filled(count) : count ?? 0;
    if (arrived === 0) {
      if (this.#searched === 0) return false;
      throw new ProtocolError("PREAMBLE_INCOMPLETE", "the peer closed inside a preamble");
    }
    if (this.#searched === 0) this.deadline.start();
    this.#receiving = "nothing";
    return true;
  }

  /** Begins a read, one at a time. */
  #beginRead(into: Uint8Array): Promise<number | null> {
    this.reader.checkFailure();
    return this.#reading = this.#socket.read(into);
  }

  /** Ends a read; bytes that arrive after the connection closed are dropped. */
  #endRead(): void {
    this.#reading = null;
    this.reader.checkFailure();
  }

  /** Begins a write, which the deadline bounds until {@linkcode endWrite}. */
  beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#closed) throw new ConnectionClosedError();
    this.deadline.start(this.deadline.writing);
    return this.#socket.write(bytes);
  }

  /** Ends a write that {@linkcode beginWrite} began. */
  endWrite(): void {
    this.deadline.stop(this.deadline.writing);
  }

  /** Reads past the reader, which must be empty; the deadline bounds the wait. */
  async read(into: Uint8Array): Promise<number | null> {
    const { reader } = this;
    if (reader.ahead !== null) {
      await this.settle();
      if (reader.buffered > 0) return reader.take(into);
    }
    this.deadline.start();
    try {
      const count = await this.#beginRead(into);
      this.#endRead();
      this.#endWait();
      return checkCount(count, into.length) || null;
    } catch (error) {
      throw this.failureOf(error, true);
    }
  }

  /** Waits for the read issued ahead; the deadline bounds that wait, too. */
  async settle(): Promise<void> {
    this.deadline.start();
    try {
      await this.reader.settleAhead();
      this.#endRead();
      this.#endWait();
    } catch (error) {
      throw this.failureOf(error, true);
    }
  }

  #endWait(): void {
    this.deadline.stop();
    this.#lastArrival = Date.now();
  }

  /** Ends the wait for a pending read whose result is no longer needed. */
  abandonRead(): void {
    this.deadline.stop();
  }

  /**
   * Issues the read for the next preamble before it is needed. Nothing else may touch the reader, which must be
   * empty, until {@linkcode beginReceive}.
   */
  readAhead(): void {
    this.reader.fit();
    this.reader.readAhead(this.#socket, false);
  }

  /** Waits for the read issued ahead; if it found the end, the reader is empty. */
  async settleAhead(): Promise<void> {
    try {
      await this.reader.settleAhead();
    } catch (error) {
      throw this.failureOf(error, true);
    }
  }

  /**
   * Checks whether the peer is still there while no read is pending: reads ahead, as far as the reader has
   * room. A pending read detects it without this.
   *
   * @param onEnd Called when the peer ends its side, or the connection breaks.
   */
  watch(onEnd: () => void): void {
    if (this.#closed || this.#reading !== null) return;
    // Views of the reader's buffer may be in use.
    this.reader.readAhead(this.#socket, true)?.then((count) => count === null && onEnd(), onEnd);
  }

  /**
   * Drops what has arrived and then what arrives, up to the peer's end or about `most` bytes. Nothing
   * else may be done afterwards, and the caller bounds its time.
   *
   * @returns Whether the peer's end was reached.
   */
  async drain(most: number): Promise<boolean> {
    const { reader } = this;
    this.deadline.close();
    // A read of a body may still be pending, and a socket allows only one at a time.
    await this.#reading;
    let dropped: number | null = await reader.settleAhead();
    reader.start = reader.end;
    while (dropped !== null && most > dropped) {
      most -= dropped;
      dropped = await this.read(DISCARDED);
    }
    return dropped === null;
  }

  /** Closes the writing side. */
  async closeWrite(): Promise<void> {
    await this.#socket.closeWrite?.();
  }
}
