import { cancelQuietly, type WritableBody, writeMessageBody } from "../../base/body/body.ts";
import type { ResponseBody } from "../../base/body/sent_body.ts";
import {
  type ByteSink,
  changedLengthError,
  checkUnchanged,
  dropWritten,
  MAX_PIECE_BYTES,
} from "../../base/body/byte_io.ts";
import { makePlainView, realLengthOf } from "../../internal/bytes.ts";
import { BodyError, ConnectionClosedError } from "../../base/errors.ts";
import type { Framing } from "../../base/wire/headers.ts";
import { toReadableError } from "../../internal/caught_errors.ts";
import type { ExchangeProgress } from "../protocol/exchange.ts";
import { MessageBuffer } from "../protocol/message_buffer.ts";
import type { Transport } from "./transport.ts";
import { Turns } from "./turns.ts";

const CONTINUE_RESPONSE = new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\n");

/** What a sender tells its connection. */
export interface SendListener {
  /** Called after each write. */
  onSent(count: number): void;
}

/**
 * Sends the messages of a connection, one after the other: the preamble is formatted into
 * {@linkcode buffer}, then `remainder = sender.endSend(await sender.beginSend(…))`, whose result is
 * awaited unless it is `null`. A client doesn't await what isn't one small write: it receives the
 * response meanwhile, and calls {@linkcode startSending} and {@linkcode endSending} or
 * {@linkcode abandonSending}.
 *
 * `beginSend` returns the promise of the socket; the caller then passes the result to `endSend`, or
 * the error to {@linkcode failWith}. An async function around the write would cost a promise per
 * message.
 */
export class MessageSender {
  readonly buffer: MessageBuffer = new MessageBuffer();
  readonly #transport: Transport;
  readonly #listener: SendListener | null;
  /** The exchange whose message is sent; `null` for an error response without an exchange. */
  #exchange: ExchangeProgress | null = null;
  /** `null` unless a client sends its request while it receives the response. */
  #turns: Turns | null = null;
  /** Ends {@linkcode startSending} when the connection closes, even if a write never settles. */
  #sendingFailed: PromiseWithResolvers<never> | null = null;
  /** The reason for which no more bytes are sent, although the connection is open. */
  #abandonReason: BodyError | null = null;
  /** The bytes of a small message while its only write is pending. */
  #smallMessage: Uint8Array | null = null;
  #sink: MessageSink | null = null;
  #isContinueAwaited = false;
  /** The pending write of {@linkcode CONTINUE_RESPONSE}. The response follows it. */
  #continueWrite: Promise<void> | null = null;

  constructor(transport: Transport, listener: SendListener | null) {
    this.#transport = transport;
    this.#listener = listener;
  }

  /**
   * Sends the message of this exchange from now on.
   *
   * @param expectsContinue Whether the request has a body, and `expect: 100-continue`. The first
   * read of a body of which no byte has arrived then sends the 100.
   */
  begin(exchange: ExchangeProgress | null, expectsContinue = false): void {
    this.#exchange = exchange;
    this.#isContinueAwaited = expectsContinue && this.#transport.readBuffer.bufferedBytes === 0;
  }

  /** Called when the connection closes. */
  close(failure: unknown): void {
    this.cancelBody(failure);
    this.#sendingFailed?.reject(failure ?? new ConnectionClosedError());
  }

  cancelBody(reason: unknown): void {
    this.#sink?.fail(reason ?? new ConnectionClosedError());
  }

  /**
   * Records an error with which the promise of {@linkcode beginSend}, or of `beginReceive` of the
   * transport, rejects: the connection is broken. Records no other error that ends an exchange,
   * such as an error of the app.
   */
  failWith(error: unknown): unknown {
    const isWriteError = this.#smallMessage !== null;
    if (isWriteError) this.#refuseWrites(error);
    return this.#transport.recordFailure(error, isWriteError || this.#transport.isReceiving);
  }

  /** No other write follows a failed write, so no time-out bounds writes any more. */
  #refuseWrites(error?: unknown): void {
    this.#transport.endWrites(error);
    this.#exchange?.refuseWrites();
  }

  /** Sends the rest of a request, which has begun, while its response is received. */
  startSending(rest: Promise<number | void>): Promise<number | void> {
    this.#turns = new Turns();
    this.#sendingFailed = Promise.withResolvers();
    return Promise.race([rest, this.#sendingFailed.promise]);
  }

  endSending(): void {
    this.#sendingFailed = null;
    this.#turns?.end();
    this.#turns = null;
  }

  /** Cancels the rest of a request, whose response is still received. */
  abandonSending(reason: BodyError): void {
    this.endSending();
    this.#abandonReason = reason;
    this.#refuseWrites();
    this.#sink?.abandon(reason);
  }

  /** A small body, or the available part of a body, is sent in the same write. */
  beginSend(
    length: number,
    body: ResponseBody,
    framing: Framing | undefined,
  ): Promise<number | void> {
    if (body === null) {
      this.#smallMessage = this.buffer.view(length);
    } else if (typeof body === "string") {
      this.#smallMessage = this.buffer.appendText(length, body);
    } else {
      if (!(body instanceof Uint8Array)) return this.#sendBody(length, body, framing);
      checkUnchanged(body, framing as number);
      this.#smallMessage = this.buffer.append(length, body, framing as number);
      if (this.#smallMessage === null) return this.#sendLarge(length, makePlainView(body));
    }
    return this.#beginWrite(this.#smallMessage);
  }

  /** Whether the whole message is in the write of {@linkcode beginSend}. */
  get isSmallSend(): boolean {
    return this.#smallMessage !== null;
  }

  endSend(written: number | void): Promise<void> | null {
    // A large message was already written in pieces.
    if (this.#smallMessage === null) return null;
    const remainder = this.#endWrite(this.#smallMessage, this.#smallMessage.length, written);
    this.#smallMessage = null;
    return remainder.length === 0 ? null : this.write(remainder);
  }

  writePreamble(length: number): Promise<void> {
    return this.write(this.buffer.view(length));
  }

  async write(bytes: Uint8Array): Promise<void> {
    const transport = this.#transport;
    let { length } = bytes;
    try {
      // Wait before a write, not after it: the request may have been sent with the last write.
      const turn = this.#turns?.next();
      if (turn) {
        await turn;
        checkUnchanged(bytes, length);
      }
      while (length > 0) {
        const remainder = this.#endWrite(bytes, length, await this.#beginWrite(bytes));
        transport.movedBytes += length - remainder.length;
        bytes = remainder;
        ({ length } = bytes);
      }
    } catch (error) {
      this.#refuseWrites(error);
      if (this.#abandonReason !== null) throw this.#abandonReason;
      const reason = realLengthOf(bytes) === length ? error : changedLengthError(bytes, length);
      throw transport.recordFailure(reason, true);
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#transport.isClosed) throw new ConnectionClosedError();
    if (this.#abandonReason !== null) throw this.#abandonReason;
    this.#exchange?.beginWrite();
    this.#isContinueAwaited = false;
    if (this.#continueWrite !== null) {
      // Not with a closure, whose variables would cost an allocation for each message.
      return this.#continueWrite.then(this.#beginWrite.bind(this, bytes));
    }
    return this.#transport.beginWrite(bytes);
  }

  /** Returns the bytes that were not written. */
  #endWrite(bytes: Uint8Array, length: number, written: number | void): Uint8Array {
    const remainder = dropWritten(bytes, length, written);
    this.#transport.endWrite();
    this.#listener?.onSent(length - remainder.length);
    return remainder;
  }

  async #sendLarge(length: number, body: Uint8Array): Promise<void> {
    const announcedLength = body.length;
    // The remainder is sent from the caller's array: copying a large body costs more than a second
    // write.
    const start = this.buffer.fill(length, body);
    const firstLength = start.length - length;
    await this.write(start);
    checkUnchanged(body, announcedLength);
    await this.write(body.subarray(firstLength));
  }

  async #sendBody(length: number, body: WritableBody, framing: Framing | undefined): Promise<void> {
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

  /** A body has begun to arrive, so its peer waits for no 100. */
  endContinue(): void {
    this.#isContinueAwaited = false;
  }

  /** Sends the 100 that the peer waits for; `null` if it waits for none. */
  sendAwaitedContinue(): Promise<void> | null {
    if (!this.#isContinueAwaited) return null;
    this.#isContinueAwaited = false;
    return this.#continueWrite = this.#writeContinue();
  }

  async #writeContinue(): Promise<void> {
    const transport = this.#transport;
    try {
      let remainder: Uint8Array = CONTINUE_RESPONSE.slice();
      while (remainder.length > 0) {
        const written = await transport.beginWrite(remainder);
        remainder = dropWritten(remainder, remainder.length, written);
        transport.endWrite();
      }
    } finally {
      this.#continueWrite = null;
    }
  }
}

/** Sends a body with the preamble before it. */
class MessageSink implements ByteSink {
  /**
   * The preferred size of a write: large writes are fastest, although reading the body's source in
   * pieces of this size is slower.
   */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #output: MessageSender;
  readonly #body: WritableBody;
  readonly #framing: Framing | undefined;
  /** The number of bytes of the unsent preamble; 0 once it was sent, or will not be sent. */
  #preambleBytes: number;
  readonly #failurePromise = Promise.withResolvers<never>();
  #writtenBytes = 0;
  #preambleWrite: Promise<void> | null = null;
  #failure: unknown = null;

  constructor(
    output: MessageSender,
    preambleBytes: number,
    body: WritableBody,
    framing: Framing | undefined,
  ) {
    this.#output = output;
    this.#preambleBytes = preambleBytes;
    this.#body = body;
    this.#framing = framing;
    // Handle the rejection at once: a body that throws synchronously may close the connection
    // before this promise is awaited.
    this.#failurePromise.promise.catch(() => {});
  }

  /**
   * The preamble doesn't wait for the source of the body. The promise rejects as soon as the
   * connection closes.
   */
  send(): Promise<unknown> {
    return Promise.race([
      Promise.all([this.#writeBody(), this.#writePreamble()]),
      this.#failurePromise.promise,
    ]);
  }

  /** An unsent preamble will not be sent. */
  fail(error: unknown): void {
    this.#preambleBytes = 0;
    this.#fail(error);
  }

  /** Cancels the body at once: its owner may look at it in this tick. */
  abandon(reason: unknown): void {
    this.fail(reason);
    cancelQuietly(this.#body, reason);
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#failurePromise.reject(error);
  }

  /**
   * Runs synchronously up to the first write, so that the preamble and the first bytes of the body
   * are sent together.
   */
  async #writeBody(): Promise<void> {
    const framing = this.#framing;
    try {
      await writeMessageBody(this.#body, this);
      if (this.#failure !== null) throw this.#failure;
      if (typeof framing === "number" && this.#writtenBytes !== framing) {
        throw new BodyError(`the body wrote ${this.#writtenBytes} of ${framing} bytes`);
      }
    } catch (thrownValue) {
      const error = toReadableError(thrownValue);
      this.fail(error);
      throw error;
    }
  }

  #writePreamble(): Promise<void> | null {
    const preambleBytes = this.#preambleBytes;
    if (preambleBytes === 0) return null;
    this.#preambleBytes = 0;
    return this.#preambleWrite = this.#output.writePreamble(preambleBytes);
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#failure !== null) throw this.#failure;
      const bytesView = makePlainView(bytes);
      const { length } = bytesView;
      this.#writtenBytes += length;
      if (typeof this.#framing === "number" && this.#writtenBytes > this.#framing) {
        throw new BodyError(`the body wrote more than its ${this.#framing} bytes`);
      }
      if (length === 0) return;
      const joinedMessage = this.#appendToPreamble(bytesView);
      if (joinedMessage === null && this.#preambleWrite !== null) {
        await this.#preambleWrite;
        this.#preambleWrite = null;
        if (this.#failure !== null) throw this.#failure;
        // Check in the tick of the write: the array may change in any earlier tick.
        checkUnchanged(bytesView, length);
      }
      await this.#output.write(joinedMessage ?? bytesView);
    } catch (error) {
      // The preamble is still sent, so that the peer sees a truncated message.
      this.#fail(error);
      throw error;
    }
  }

  #appendToPreamble(bytes: Uint8Array): Uint8Array | null {
    if (this.#preambleBytes === 0) return null;
    const joinedMessage = this.#output.buffer.append(this.#preambleBytes, bytes);
    if (joinedMessage === null) this.#writePreamble();
    else this.#preambleBytes = 0;
    return joinedMessage;
  }
}
