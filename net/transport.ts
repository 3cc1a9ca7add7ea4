/** A socket with the messages that arrive and leave over it, a deadline and one way to end. */

import type { Socket } from "../base/app/app.ts";
import { cancelQuietly, type EncodedBody, type WritableBody } from "../base/body/bodies.ts";
import { type AheadSource, ByteReader, checkCount, notWritten } from "../base/body/byte_io.ts";
import { changedError, checkUnchanged, EMPTY, realLength, viewOf } from "../base/bytes.ts";
import { ConnectionClosedError, ProtocolError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { findPreambleEnd, preambleTooLarge } from "../base/wire/preamble.ts";
import { Deadline, type RequestWait } from "./deadline.ts";
import type { ExchangeWatch } from "./exchange_watch.ts";
import { failSink, MessageSink, sendThrough } from "./message_sink.ts";

/** Where discarded bytes go. */
const DISCARDED = new Uint8Array(65536);

const LINGER_MILLISECONDS = 1000;
const LINGER_BYTES = 1048576;
/** How long a peer that only writes may take to begin to read once its writes block. */
const LAST_CHANCE_MILLISECONDS = 20;
/**
 * Over TLS a peer loses what it has not decrypted when a write fails, which takes a busy one longer. Many short waits
 * rather than a long one: on a busy machine, where this process waits for the processor, the peer does, too.
 */
const LAST_CHANCES_ENCRYPTED = 10;

/** The buffer for what is sent, large enough for a small message, as most are. */
const FIRST_BYTES = 1024;
/** Growth factor for a message that doesn't fit; also how many times too large that buffer may be. */
const GROWTH = 4;
/** A preamble and the part of a body that is available now go out in one write up to this size. */
const JOINED_BYTES = 65536;

/**
 * Where preambles are formatted, for all connections: it is large, and in use for as long as one call takes.
 * No other code ever sees it. `null` while it is in use: a getter of a header may make another request.
 */
let scratch: Uint8Array | null = null;

/** Called once when a connection closes, with the error that broke it, or `null`. */
type CloseListener = (failure: unknown) => void;

/**
 * The part that both ends of a connection share: the socket, its deadline, what broke it, and how a message gets in and
 * out, with its body.
 *
 * Preambles are received one after the other:
 * `while ((end = transport.findPreamble()) < 0) if (!transport.endReceive(await transport.beginReceive())) …`
 *
 * Messages are sent one after the other: {@linkcode beginMessage} and {@linkcode endPreamble}, then
 * `rest = transport.endSend(await transport.beginSend(…))`, then `if (rest !== null) await rest`.
 *
 * Hot path: one read and one write a message. An async wrapper around either costs as much as parsing, so begin…
 * returns the socket's promise, and end… or {@linkcode breakWith} follows it.
 */
export class Transport implements AheadSource {
  /** Bytes that arrived and were not consumed yet. */
  readonly reader: ByteReader = new ByteReader(this);
  /** Bounds each wait for the peer. */
  readonly deadline: Deadline;
  /**
   * When bytes last arrived at a client, by Date.now(), which costs less than performance.now().
   */
  lastArrival = Date.now();
  /** Counts the bytes of the message that the socket takes; `null` if they aren't counted. */
  exchange: ExchangeWatch | null = null;
  /** Measures how long a server waits for the rest of a request; `null` if nobody wants to know. */
  requestWait: RequestWait | null = null;
  readonly #socket: Socket;
  readonly #checkStart: (first: number) => void;
  readonly #closeListeners: CloseListener[] = [];
  #closed = false;
  #failure: unknown = null;
  /** How many bytes of the next preamble were searched for its end. */
  #searched = 0;
  /** What a preamble waits for: a read of the socket, or one that was issued ahead. */
  #receiving: "nothing" | "read" | "read ahead" = "nothing";
  // The pending read, unless the reader issued it ahead.
  #reading: Promise<number | null> | null = null;
  /** Begins with the preamble of the message that is sent. */
  #out: Uint8Array = EMPTY;
  /** The part of it that was sent last: many messages have the same length. */
  #view: Uint8Array = EMPTY;
  /** How much of it the current message needs. */
  #needed = 0;
  #sent: "nothing" | "some" | "refused" = "nothing";
  /** The bytes of the single write of a small message. */
  #sending: Uint8Array | null = null;
  #sink: MessageSink | null = null;

  /**
   * Owns the socket from now on.
   *
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
    this.cancelBody(this.#failure);
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
   * Takes what {@linkcode beginReceive} or {@linkcode beginSend} has thrown, which breaks the connection, or anything
   * else that ends an exchange.
   *
   * @returns The error to report: the connection's own if that was closed before.
   */
  breakWith(error: unknown): unknown {
    const isOfWrite = this.#sending !== null;
    if (isOfWrite) this.#sent = "refused";
    return this.#keepFailure(error, isOfWrite || this.#receiving !== "nothing");
  }

  /** An error that the socket has thrown is kept: it breaks the connection. */
  #keepFailure(error: unknown, isOfSocket: boolean): unknown {
    if (this.#closed) return this.#failure ?? new ConnectionClosedError();
    if (isOfSocket) this.#failure ??= error;
    return error;
  }

  /**
   * Searches what has arrived for the end of a preamble.
   *
   * @returns The position of its end, or -1 if more must be received.
   */
  findPreamble(): number {
    const { reader } = this;
    const from = reader.start + Math.max(0, this.#searched - 3);
    const end = findPreambleEnd(reader.bytes, from, reader.end);
    const size = end < 0 ? reader.buffered + 1 : end - reader.start;
    // The parser has better messages, and gets every whole preamble.
    if (this.#searched === 0 && reader.buffered > 0 && (end < 0 || size > MAX_PREAMBLE_BYTES)) {
      this.#checkStart(reader.bytes[reader.start]!);
    }
    if (size > MAX_PREAMBLE_BYTES) throw preambleTooLarge();
    if (end < 0) {
      this.#searched = reader.buffered;
    } else {
      this.#searched = 0;
      this.#endWait();
    }
    return end;
  }

  /**
   * Begins to read more of a preamble; {@linkcode endReceive} takes what the promise resolves to, and
   * {@linkcode breakWith} what it rejects with.
   *
   * The wait for the first byte is bounded, and from that byte on the whole preamble: a peer gains
   * nothing by sending a byte a second.
   */
  beginReceive(): Promise<number | null> {
    const { reader, deadline } = this;
    const { ahead } = reader;
    this.#receiving = ahead === null ? "read" : "read ahead";
    reader.checkFailure();
    if (!deadline.isReading) deadline.startReading();
    // Only from the first byte on: before, no request is waited for.
    if (this.#searched > 0) this.requestWait?.begin();
    if (ahead !== null) return ahead;
    if (reader.buffered === 0) reader.fit();
    return this.#reading = this.#socket.read(reader.room());
  }

  /**
   * Ends a read that {@linkcode beginReceive} began.
   *
   * @returns False if the peer closed before a preamble. Most connections end like this.
   */
  endReceive(count: number | null): boolean {
    this.#reading = null;
    // Bytes that arrive after the connection closed are dropped.
    this.reader.checkFailure();
    // What was read ahead is in the reader already.
    let arrived = count ?? 0;
    if (this.#receiving === "read") {
      arrived = this.reader.filled(count);
      this.reader.arrived += arrived;
    }
    if (arrived === 0) {
      // `#receiving` stays: this breaks the connection, as an error of the socket does.
      if (this.#searched === 0) return false;
      throw new ProtocolError("PREAMBLE_INCOMPLETE", "the peer closed inside a preamble");
    }
    if (this.#searched === 0) this.deadline.startReading();
    this.#receiving = "nothing";
    return true;
  }

  /** Reads past the reader, which must be empty; the deadline bounds the wait. */
  async read(into: Uint8Array): Promise<number | null> {
    const { reader } = this;
    if (reader.ahead !== null) {
      await this.settle();
      if (reader.buffered > 0) return reader.take(into);
    }
    this.#startWait();
    try {
      reader.checkFailure();
      const count = await (this.#reading = this.#socket.read(into));
      this.#reading = null;
      reader.checkFailure();
      this.#endWait();
      const arrived = checkCount(count, into.length);
      reader.arrived += arrived;
      return arrived || null;
    } catch (error) {
      throw this.#keepFailure(error, true);
    }
  }

  /** Waits for the read issued ahead, if any; the deadline bounds that wait, too. */
  async settle(): Promise<void> {
    this.#startWait();
    try {
      await this.reader.settleAhead();
      this.#endWait();
    } catch (error) {
      throw this.#keepFailure(error, true);
    }
  }

  #startWait(): void {
    this.deadline.startReading();
    this.requestWait?.begin();
  }

  #endWait(): void {
    this.stopWaiting();
    // A server measures the wait instead.
    if (this.requestWait === null) this.lastArrival = Date.now();
  }

  /** Ends the wait for bytes: they are there, or are not wanted any more. */
  stopWaiting(): void {
    this.deadline.stopReading();
    this.requestWait?.end();
  }

  /**
   * Issues the read for the next preamble before it is needed. Nothing else may touch the reader, which must be
   * empty, until {@linkcode beginReceive}.
   */
  readAhead(): void {
    this.reader.fit();
    this.reader.readAhead(this.#socket, false);
  }

  /**
   * Checks whether the peer is still there while no read is pending: reads ahead, as far as the reader has
   * room. A pending read detects it without this. `onEnd` is also called if the connection breaks.
   */
  watch(onEnd: () => void): void {
    if (this.#closed || this.#reading !== null) return;
    // Views of the reader's buffer may be in use.
    this.reader.readAhead(this.#socket, true)?.then((count) => count === null && onEnd(), onEnd);
  }

  /**
   * Ends the writing side and drops what arrives, up to the peer's end or a limit, so that a reset can't destroy the
   * last response. Resolves when the connection can be closed, or has been. Never rejects.
   */
  async linger(): Promise<void> {
    if (this.#closed) return;
    const closed = Promise.withResolvers<void>();
    this.addCloseListener(() => closed.resolve());
    let timer = setTimeout(() => this.close(), LINGER_MILLISECONDS);
    try {
      await this.#socket.closeWrite?.();
      this.deadline.close();
      // A read of a body may still be pending, and a socket allows only one at a time.
      await this.#reading;
      let bytesLeft = LINGER_BYTES;
      let dropped: number | null = await this.reader.settleAhead();
      this.reader.start = this.reader.end;
      while (dropped !== null && bytesLeft > dropped) {
        bytesLeft -= dropped;
        dropped = await this.read(DISCARDED);
      }
      if (dropped === null) return;
      clearTimeout(timer);
      const encrypted = this.#socket.protocol !== undefined;
      for (let left = encrypted ? LAST_CHANCES_ENCRYPTED : 1; left > 0 && !this.#closed; left--) {
        const chance = new Promise<void>((resolve) => {
          timer = setTimeout(resolve, LAST_CHANCE_MILLISECONDS);
        });
        await Promise.race([closed.promise, chance]);
      }
    } catch {
      // The caller closes it anyway.
    } finally {
      clearTimeout(timer);
    }
  }

  /** What of the current message was handed to the socket, or that it has refused bytes of it. */
  get sent(): "nothing" | "some" | "refused" {
    return this.#sent;
  }

  /**
   * Begins a message.
   *
   * @returns The buffer for its preamble, which {@linkcode endPreamble} takes back.
   */
  beginMessage(): Uint8Array {
    this.#sent = "nothing";
    const buffer = scratch ?? new Uint8Array(MAX_PREAMBLE_BYTES);
    scratch = null;
    return buffer;
  }

  /**
   * Takes the preamble out of the buffer that {@linkcode beginMessage} returned, which must not be used any more.
   * If no preamble could be made and this isn't called, that buffer is not used again.
   */
  endPreamble(buffer: Uint8Array, length: number): void {
    this.#fit(length);
    this.#out.set(buffer.subarray(0, length));
    scratch = buffer;
  }

  /**
   * Begins to send a message whose preamble was made; a body that is small, or the part of one
   * that is available now, goes out in the same write. {@linkcode endSend} takes what the promise resolves
   * to, and {@linkcode breakWith} what it rejects with.
   */
  beginSend(
    length: number,
    body: EncodedBody,
    framing: Framing | undefined,
  ): Promise<number | void> {
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
    this.exchange?.add(this.#sending, this.#sending.length - rest.length);
    this.#sending = null;
    this.deadline.stopWriting();
    return rest.length === 0 ? null : this.write(rest);
  }

  writePreamble(length: number): Promise<void> {
    return this.write(this.#viewOf(length));
  }

  /** Writes all of the bytes; the deadline bounds each write. */
  async write(bytes: Uint8Array): Promise<void> {
    let { length } = bytes;
    try {
      while (length > 0) {
        const rest = notWritten(bytes, length, await this.#beginWrite(bytes));
        this.exchange?.add(bytes, length - rest.length);
        bytes = rest;
        ({ length } = bytes);
      }
      this.deadline.stopWriting();
    } catch (error) {
      this.#sent = "refused";
      const reason = realLength(bytes) === length ? error : changedError(bytes, length);
      throw this.#keepFailure(reason, true);
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#sent === "nothing") this.#sent = "some";
    if (this.#closed) throw new ConnectionClosedError();
    this.deadline.startWriting();
    return this.#socket.write(bytes);
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
      await sendThrough(sink);
    } catch (error) {
      failSink(sink, error);
      cancelQuietly(body, error);
      throw error;
    } finally {
      this.#sink = null;
    }
  }

  /** Makes the body that is being sent fail; bytes that were not handed to the socket are not sent. */
  cancelBody(reason: unknown): void {
    if (this.#sink !== null) failSink(this.#sink, reason ?? new ConnectionClosedError());
  }
}
