/** A socket with its deadline, the messages that arrive and leave over it, and one way to end. */

import type { Socket } from "../base/app/app.ts";
import { cancelQuietly, type EncodedBody, type WritableBody } from "../base/body/bodies.ts";
import {
  changedLengthError,
  checkCount,
  checkUnchanged,
  dropWritten,
  type ReadAheadSource,
  ReadBuffer,
} from "../base/body/byte_io.ts";
import { EMPTY, realLength, viewOf } from "../internal/bytes.ts";
import { ConnectionClosedError, ProtocolError } from "../base/errors.ts";
import { connectionErrorDetails } from "../base/connection_error_details.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { type CheckPrefix, findPreambleEnd, preambleTooLargeError } from "../base/wire/preamble.ts";
import { Deadline } from "./deadline.ts";
import type { ExchangeRecorder } from "./exchange_recorder.ts";
import { MessageSink } from "./message_sink.ts";

/** The size of a first buffer for messages that leave: large enough for most. */
const MIN_BUFFER_BYTES = 1024;
/**
 * Growth factor of that buffer for a message that doesn't fit; also how many times too large the
 * buffer may be.
 */
const BUFFER_GROWTH_FACTOR = 4;
/** A preamble and the available part of its body go out in one write up to this size. */
const MAX_JOINED_BYTES = 65536;

/**
 * The buffer in which the preambles of all connections are formatted: large, in use only during one
 * call, and seen by no other code. `null` while in use, since a getter of a header may make another
 * request.
 */
let preambleBuffer: Uint8Array | null = null;

/** Called once when a connection closes, with the error that broke the connection, or `null`. */
type CloseListener = (failure: unknown) => void;

/**
 * The part that both ends of a connection share: the socket, its deadline, the error that broke it,
 * and how a message gets in and out, with its body.
 *
 * Preambles are received one after the other: as long as {@linkcode searchPreamble} returns -1,
 * `transport.endReceive(await transport.beginReceive())` gets more bytes.
 *
 * Messages are sent one after the other: {@linkcode beginMessage} and {@linkcode endPreamble}, then
 * `rest = transport.endSend(await transport.beginSend(…))`, then `if (rest !== null) await rest`.
 *
 * Hot path: one read and one write for each message. An async wrapper around either costs as much
 * as parsing, so begin… returns the socket's promise, and end… or {@linkcode failWith} follows.
 */
export class Transport implements ReadAheadSource {
  /** Bytes that arrived and were not consumed yet. */
  readonly reader: ReadBuffer = new ReadBuffer(this);
  /** Bounds each wait for the peer. */
  readonly deadline: Deadline;
  /** Counts the bytes of the message that the socket takes; `null` if nobody wants the figures. */
  recorder: ExchangeRecorder | null = null;
  /** Whether a client has begun a request that is not answered yet. */
  isAwaitingResponse = false;
  /**
   * What learns of the reads that were issued ahead: the rest of a client's connection. A function
   * here, another one for each connection, made a request with its own connection a tenth slower.
   */
  idleRead: { onRead(error: unknown): void } | null = null;
  readonly #socket: Socket;
  readonly #checkPrefix: CheckPrefix;
  readonly #closeListeners: CloseListener[] = [];
  #closed = false;
  #failure: unknown = null;
  /** How many bytes of the next preamble have been searched for its end. */
  #searchedBytes = 0;
  /** The read that a preamble waits for: a new one, or one that was issued ahead. */
  #receiveState: "nothing" | "read" | "read ahead" = "nothing";
  // The pending read, unless the reader issued that read ahead.
  #pendingRead: Promise<number | null> | null = null;
  /** The buffer of the message that leaves; begins with the message's preamble. */
  #messageBuffer: Uint8Array = EMPTY;
  /** The part of that buffer that was sent last: many messages have the same length. */
  #messageView: Uint8Array = EMPTY;
  /** How many bytes of that buffer the current message needs. */
  #messageBytes = 0;
  #sendState: "nothing" | "some" | "refused" = "nothing";
  /** The bytes of a small message while its only write is pending. */
  #smallMessage: Uint8Array | null = null;
  #sink: MessageSink | null = null;

  /**
   * Owns the socket from now on.
   *
   * @param checkPrefix Throws if no preamble begins with these bytes.
   */
  constructor(
    socket: Socket,
    timeout: number | null,
    checkPrefix: CheckPrefix = () => {},
  ) {
    this.#socket = socket;
    this.#checkPrefix = checkPrefix;
    this.deadline = new Deadline(timeout, (isWrite) => {
      const problem = isWrite
        ? `the peer took over ${timeout} s to read what was sent`
        : `the peer kept the connection waiting for over ${timeout} s`;
      const details = isWrite ? { unreadSeconds: timeout } : { silentSeconds: timeout };
      this.close(connectionErrorDetails.add(new Deno.errors.TimedOut(problem), details));
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The error that broke the connection, of the socket, the peer or the deadline; else `null`. */
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
    this.cancelBody(this.#failure);
    try {
      // The system would go on sending a request that this end has given up, for many minutes if
      // the network is down, and the request would undo what was done meanwhile.
      if (this.isAwaitingResponse && this.#socket.reset !== undefined) this.#socket.reset();
      else this.#socket.close();
    } catch {
      // Other code may have closed the socket.
    }
    for (const listener of this.#closeListeners) listener(this.#failure);
  }

  /**
   * Calls a function when the connection closes, after those that were added before; at once if the
   * connection has closed.
   */
  addCloseListener(listener: CloseListener): void {
    if (this.#closed) listener(this.#failure);
    else this.#closeListeners.push(listener);
  }

  /**
   * Closes when a signal is aborted, with the signal's reason. The signal keeps nothing but this
   * object alive.
   */
  closeOnAbort(signal: AbortSignal): void {
    const abort = () => this.close(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    this.addCloseListener(() => signal.removeEventListener("abort", abort));
  }

  /**
   * Takes an error that {@linkcode beginReceive} or {@linkcode beginSend} has thrown, which breaks
   * the connection, or any other error that ends an exchange.
   *
   * @returns The error to report: the connection's own if that was closed before.
   */
  failWith(error: unknown): unknown {
    const isWriteError = this.#smallMessage !== null;
    if (isWriteError) this.#sendState = "refused";
    return this.#recordFailure(error, isWriteError || this.#receiveState !== "nothing");
  }

  /** Keeps an error that the socket has thrown, since such an error breaks the connection. */
  #recordFailure(error: unknown, isSocketError: boolean): unknown {
    if (this.#closed) return this.#failure ?? new ConnectionClosedError();
    if (isSocketError) this.#failure ??= error;
    return error;
  }

  /**
   * Searches the bytes that have arrived for the end of a preamble.
   *
   * @returns The position of its end, or -1 if more must be received.
   */
  searchPreamble(): number {
    const { reader } = this;
    const searchStart = reader.start + Math.max(0, this.#searchedBytes - 3);
    const preambleEnd = findPreambleEnd(reader.bytes, searchStart, reader.end);
    const size = preambleEnd < 0 ? reader.buffered + 1 : preambleEnd - reader.start;
    // A whole preamble is left to the parser, which has better messages.
    if (reader.buffered > 0 && (preambleEnd < 0 || size > MAX_PREAMBLE_BYTES)) {
      const { bytes, start } = reader;
      // At most this prefix: the answer must not depend on how the bytes arrive.
      const checkEnd = Math.min(reader.end, start + MAX_PREAMBLE_BYTES);
      this.#checkPrefix(bytes, start, start + this.#searchedBytes, checkEnd);
    }
    if (size > MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
    if (preambleEnd < 0) {
      this.#searchedBytes = reader.buffered;
    } else {
      this.#searchedBytes = 0;
      this.deadline.stopWait();
    }
    return preambleEnd;
  }

  /**
   * Begins to read more of a preamble; {@linkcode endReceive} takes the result of the promise, and
   * {@linkcode failWith} its error.
   *
   * The wait for the first byte is bounded, and from that byte on the wait for the whole preamble:
   * a peer gains nothing by sending a byte a second.
   */
  beginReceive(): Promise<number | null> {
    const { reader, deadline } = this;
    const { pendingRead } = reader;
    this.#receiveState = pendingRead === null ? "read" : "read ahead";
    reader.checkFailure();
    if (!deadline.isWaiting) deadline.startWait();
    if (pendingRead !== null) return pendingRead;
    if (reader.buffered === 0) reader.shrinkToUse();
    return this.#pendingRead = this.#socket.read(reader.makeRoom());
  }

  /**
   * Ends a read that {@linkcode beginReceive} began.
   *
   * @returns False if the peer closed before a preamble. Most connections end like this.
   */
  endReceive(count: number | null): boolean {
    this.#pendingRead = null;
    // Bytes that arrive after the connection closed are dropped.
    this.reader.checkFailure();
    // The reader has taken the bytes of a read that was issued ahead.
    const receivedBytes = this.#receiveState === "read" ? this.reader.addRead(count) : count ?? 0;
    if (receivedBytes === 0) {
      // `#receiving` keeps its value: like an error of the socket, the end breaks the connection.
      if (this.#searchedBytes === 0) return false;
      throw new ProtocolError("PREAMBLE_INCOMPLETE", "the peer closed inside a preamble");
    }
    if (this.#searchedBytes === 0) this.deadline.startWait();
    this.#receiveState = "nothing";
    return true;
  }

  /** Reads without using the reader, which must be empty; the deadline bounds the wait. */
  async read(into: Uint8Array): Promise<number | null> {
    const { reader } = this;
    if (reader.pendingRead !== null) {
      await this.waitForReadAhead();
      if (reader.buffered > 0) return reader.take(into);
    }
    this.deadline.startWait();
    try {
      reader.checkFailure();
      const count = await (this.#pendingRead = this.#socket.read(into));
      this.#pendingRead = null;
      reader.checkFailure();
      this.deadline.stopWait();
      return checkCount(count, into.length) || null;
    } catch (error) {
      throw this.#recordFailure(error, true);
    }
  }

  /** Waits for the read issued ahead, if there is one; the deadline bounds that wait, too. */
  async waitForReadAhead(): Promise<void> {
    this.deadline.startWait();
    try {
      await this.reader.settleReadAhead();
      this.deadline.stopWait();
    } catch (error) {
      throw this.#recordFailure(error, true);
    }
  }

  onReadAhead(error: unknown): void {
    this.idleRead?.onRead(error);
  }

  /**
   * Checks whether the peer is still there while no read is pending, by reading ahead as far as the
   * reader has room. A pending read notices the peer's end anyway. If the peer has ended the
   * connection, or the connection breaks, `onEnd` is called.
   */
  probePeer(onEnd: () => void): void {
    if (this.#closed || this.#pendingRead !== null) return;
    // Views of the reader's buffer may be in use, so its bytes must not move.
    this.reader.readAhead(this.#socket, true)?.then((count) => count === null && onEnd(), onEnd);
  }

  /**
   * Waits for a read that is pending, and drops all bytes that have arrived; returns their number.
   */
  async discardBuffered(): Promise<number> {
    // A read of a body may still be pending, and a socket allows only one read at a time.
    await this.#pendingRead;
    const count = await this.reader.settleReadAhead();
    this.reader.start = this.reader.end;
    return count;
  }

  /** How much of the current message the socket has taken, or `"refused"` if a write has failed. */
  get sendState(): "nothing" | "some" | "refused" {
    return this.#sendState;
  }

  /** Begins to answer a request: nothing of the answer has been sent yet. */
  startResponse(recorder: ExchangeRecorder | null): void {
    this.recorder = recorder;
    this.#sendState = "nothing";
  }

  /**
   * Begins a message.
   *
   * @returns The buffer for its preamble, which {@linkcode endPreamble} takes back.
   */
  beginMessage(): Uint8Array {
    this.#sendState = "nothing";
    const buffer = preambleBuffer ?? new Uint8Array(MAX_PREAMBLE_BYTES);
    preambleBuffer = null;
    return buffer;
  }

  /**
   * Takes the preamble out of the buffer that {@linkcode beginMessage} returned, which must not be
   * used any more. If formatting fails and this method isn't called, the buffer is never used
   * again.
   */
  endPreamble(buffer: Uint8Array, length: number): void {
    this.#resizeBuffer(length);
    this.#messageBuffer.set(buffer.subarray(0, length));
    preambleBuffer = buffer;
  }

  /**
   * Begins to send a message whose preamble is made. A small body, or the part of a body that is
   * available now, goes out in the same write. {@linkcode endSend} takes the result of the promise,
   * and {@linkcode failWith} its error.
   */
  beginSend(
    length: number,
    body: EncodedBody,
    framing: Framing | undefined,
  ): Promise<number | void> {
    if (body === null) {
      this.#smallMessage = this.#messageViewOf(length);
    } else {
      if (!(body instanceof Uint8Array)) return this.#sendBody(length, body, framing);
      checkUnchanged(body, framing as number);
      this.#smallMessage = this.appendToPreamble(length, body, framing as number);
      if (this.#smallMessage === null) return this.#sendLarge(length, viewOf(body));
    }
    return this.#beginWrite(this.#smallMessage);
  }

  /**
   * Puts `count` bytes behind a preamble of `length` bytes, to go out in the same write; `null` if
   * the bytes are too many for one write.
   */
  appendToPreamble(
    length: number,
    bytes: Uint8Array,
    count: number = bytes.length,
  ): Uint8Array | null {
    const totalLength = length + count;
    if (totalLength > MAX_JOINED_BYTES) return null;
    if (totalLength > this.#messageBuffer.length) {
      const preamble = this.#messageBuffer.subarray(0, length);
      this.#resizeBuffer(totalLength);
      this.#messageBuffer.set(preamble);
    }
    this.#messageBytes = totalLength;
    this.#messageBuffer.set(bytes, length);
    return this.#messageViewOf(totalLength);
  }

  #messageViewOf(length: number): Uint8Array {
    if (this.#messageView.length !== length) {
      this.#messageView = this.#messageBuffer.subarray(0, length);
    }
    return this.#messageView;
  }

  /** Makes the buffer large enough, and smaller if the last message has needed much less. */
  #resizeBuffer(size: number): void {
    const { length } = this.#messageBuffer;
    let newLength = length;
    if (this.#messageBytes * BUFFER_GROWTH_FACTOR <= length) {
      newLength = Math.floor(length / BUFFER_GROWTH_FACTOR);
    }
    if (newLength < MIN_BUFFER_BYTES) newLength = MIN_BUFFER_BYTES;
    while (newLength < size) newLength *= BUFFER_GROWTH_FACTOR;
    if (newLength !== length) {
      this.#messageBuffer = new Uint8Array(newLength);
      this.#messageView = EMPTY;
    }
    this.#messageBytes = size;
  }

  /** Ends a send that {@linkcode beginSend} began; `null` if nothing is left to wait for. */
  endSend(written: number | void): Promise<void> | null {
    // A larger message was written piece by piece.
    if (this.#smallMessage === null) return null;
    const remainder = dropWritten(this.#smallMessage, this.#smallMessage.length, written);
    this.recorder?.add(this.#smallMessage.length - remainder.length);
    this.#smallMessage = null;
    this.deadline.stopWrite();
    return remainder.length === 0 ? null : this.write(remainder);
  }

  writePreamble(length: number): Promise<void> {
    return this.write(this.#messageViewOf(length));
  }

  /** Writes all of the bytes; the deadline bounds each write. */
  async write(bytes: Uint8Array): Promise<void> {
    let { length } = bytes;
    try {
      while (length > 0) {
        const remainder = dropWritten(bytes, length, await this.#beginWrite(bytes));
        this.recorder?.add(length - remainder.length);
        bytes = remainder;
        ({ length } = bytes);
      }
      this.deadline.stopWrite();
    } catch (error) {
      this.#sendState = "refused";
      const reason = realLength(bytes) === length ? error : changedLengthError(bytes, length);
      throw this.#recordFailure(reason, true);
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#sendState === "nothing") this.#sendState = "some";
    if (this.#closed) throw new ConnectionClosedError();
    this.deadline.startWrite();
    return this.#socket.write(bytes);
  }

  async #sendLarge(length: number, body: Uint8Array): Promise<void> {
    const buffer = this.#messageBuffer;
    const announcedLength = body.length;
    // The rest is sent from its own array: copying a large body would cost more than a second
    // write.
    const firstLength = buffer.length - length;
    buffer.set(body.subarray(0, firstLength), length);
    await this.write(buffer);
    checkUnchanged(body, announcedLength);
    await this.write(body.subarray(firstLength));
  }

  async #sendBody(
    length: number,
    body: WritableBody,
    framing: Framing | undefined,
  ): Promise<void> {
    const sink = this.#sink = new MessageSink(this, length, body, framing);
    try {
      await sink.send();
    } catch (error) {
      sink.fail(error);
      cancelQuietly(body, error);
      throw error;
    } finally {
      this.#sink = null;
    }
  }

  /** Makes the body that is being sent fail; bytes that the socket has not taken are not sent. */
  cancelBody(reason: unknown): void {
    this.#sink?.fail(reason ?? new ConnectionClosedError());
  }
}
