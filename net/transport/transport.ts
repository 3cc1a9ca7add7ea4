import type { Socket } from "../../base/app/app.ts";
import { cancelQuietly, type WritableBody, writeMessageBody } from "../../base/body/body.ts";
import type { PreparedBody } from "../../base/body/sent_body.ts";
import {
  type ByteSink,
  changedLengthError,
  checkPiece,
  checkReadCount,
  checkUnchanged,
  dropWritten,
  MAX_PIECE_BYTES,
  type ReadAheadListener,
  ReadBuffer,
} from "../../base/body/byte_io.ts";
import { EMPTY_BYTES, makePlainView, realLengthOf } from "../../internal/bytes.ts";
import { BodyError, ConnectionClosedError, ProtocolError } from "../../base/errors.ts";
import type { Framing } from "../../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import {
  type CheckPrefix,
  findPreambleEnd,
  preambleTooLargeError,
} from "../../base/wire/preamble.ts";
import { toReadableError } from "../../internal/caught_errors.ts";
import { transience } from "../../internal/error_details.ts";
import { markSocketError } from "./connection_errors.ts";
import { Deadline, SilenceDeadline } from "./deadline.ts";
import type { ExchangeRecorder } from "../../base/app/exchange_recorder.ts";
import type { ClientExchange } from "./client_exchange.ts";

const MIN_BUFFER_BYTES = 1024;
const BUFFER_GROWTH_FACTOR = 4;
const MAX_JOINED_BYTES = 65536;
const CR = 0x0d, LF = 0x0a;
const CONTINUE_RESPONSE = new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\n");

/**
 * The buffer in which the preambles of all connections are formatted, each within one synchronous
 * call. `null` during such a call, because a getter of a header may make another request.
 */
let preambleBuffer: Uint8Array | null = null;

/**
 * The part of a connection that clients and servers share: the socket, its deadline, the error that
 * broke the connection, and methods to receive and send messages with their bodies.
 *
 * Preambles are received one after the other: as long as {@linkcode searchPreamble} returns -1,
 * `transport.endReceive(await transport.beginReceive())` gets more bytes.
 *
 * Messages are sent one after the other: {@linkcode beginMessage} and {@linkcode endPreamble}, then
 * `remainder = transport.endSend(await transport.beginSend(…))`, whose result is awaited unless it
 * is `null`. A client doesn't await what isn't one small write: it receives the response meanwhile,
 * and calls {@linkcode startSending} and {@linkcode endSending} or {@linkcode abandonSending}.
 *
 * `begin…` returns the promise of the socket; the caller then passes the result to `end…`, or the
 * error to {@linkcode failWith}. With an async function around the read, an idle connection would
 * take 4 % more memory (row 16 of the benchmark).
 */
export class Transport implements ReadAheadListener {
  readonly readBuffer: ReadBuffer = new ReadBuffer(this);
  readonly deadline: Deadline;
  recorder: ExchangeRecorder | null = null;
  /** The exchange of a client; `null` at a server, and between two exchanges. */
  exchange: ClientExchange | null = null;
  writeCount = 0;
  /** Whether a write has reported a reset: the system reports it once, and then as the end. */
  hasBeenReset = false;
  /** The number of bytes that {@linkcode read} has received and {@linkcode write} has sent. */
  movedBytes = 0;
  /** An object, because a closure for each connection slows connections with one request. */
  idleRead: { onRead(error: unknown): void } | null = null;
  readonly #socket: Socket;
  readonly #checkPrefix: CheckPrefix;
  #closeListeners: readonly (() => void)[] = [];
  #closedAt: number | null = null;
  #failure: unknown = null;
  #searchedBytes = 0;
  #isLineSkipped = false;
  #receiveState: "nothing" | "read" | "read ahead" = "nothing";
  /** The pending read, unless it was issued ahead. */
  #pendingRead: Promise<unknown> | null = null;
  #messageBuffer: Uint8Array = EMPTY_BYTES;
  /**
   * The part of `#messageBuffer` that was sent last, reused because many messages have the same
   * length.
   */
  #messageView: Uint8Array = EMPTY_BYTES;
  #messageBytes = 0;
  #sendState: "nothing" | "some" | "refused" = "nothing";
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

  /**
   * Takes ownership of the socket.
   *
   * @param checkPrefix Throws if no valid preamble begins with the given bytes.
   */
  constructor(socket: Socket, timeout: number | null, checkPrefix: CheckPrefix) {
    this.#socket = socket;
    this.#checkPrefix = checkPrefix;
    const onExpire = (isWrite: boolean) => {
      if (this.exchange?.requestPhase === "stalling") {
        return this.close(stalledRequestError(timeout));
      }
      this.#closeSilent(isWrite, timeout);
    };
    this.deadline = socket.silence === undefined
      ? new Deadline(timeout, onExpire)
      : new SilenceDeadline(timeout, onExpire, socket.silence, (isWrite, seconds) => {
        // A request that stalls waits for its own source.
        if (isWrite || this.exchange?.requestPhase !== "stalling") {
          this.#closeSilent(isWrite, seconds, "broken");
        }
      });
  }

  /**
   * @param fault `"broken"` if the peer answers on another connection: its errors are transient.
   */
  #closeSilent(isWrite: boolean, seconds: number | null, fault?: "broken"): void {
    const problem = isWrite
      ? `the peer took over ${seconds} s to read what was sent`
      : `the peer kept the connection waiting for over ${seconds} s`;
    const details = isWrite ? { unreadSeconds: seconds } : { silentSeconds: seconds };
    this.close(markSocketError(new Deno.errors.TimedOut(problem), { ...details, fault }));
  }

  get isClosed(): boolean {
    return this.#closedAt !== null;
  }

  get closedAt(): number | null {
    return this.#closedAt;
  }

  /** The error of the socket, the peer or the deadline that broke the connection; else `null`. */
  get failure(): unknown {
    return this.#failure;
  }

  /** @param failure The error to reject with; `null` if the owner closes the connection. */
  close(failure: unknown = null): void {
    if (this.#closedAt !== null) return;
    this.#closedAt = performance.now();
    this.#failure ??= failure;
    this.deadline.close();
    this.readBuffer.close(this.#failure);
    this.cancelBody(this.#failure);
    this.#sendingFailed?.reject(this.#failure ?? new ConnectionClosedError());
    try {
      // Reset, don't close: the kernel would keep retransmitting an abandoned request, which could
      // arrive minutes later and undo newer changes.
      const isAwaiting = this.exchange?.responsePhase === "awaited";
      if (isAwaiting && this.#socket.reset !== undefined) this.#socket.reset();
      else this.#socket.close();
    } catch {
      // Other code may have closed the socket.
    }
    for (const listener of this.#closeListeners) listener();
  }

  addCloseListener(listener: () => void): void {
    if (this.isClosed) listener();
    // push() would reserve memory for 16 more listeners, and most connections have one.
    else if (this.#closeListeners.length === 0) this.#closeListeners = [listener];
    else this.#closeListeners = [...this.#closeListeners, listener];
  }

  /** The signal keeps only this transport alive, not the `Connection`. */
  closeOnAbort(signal: AbortSignal): void {
    const abort = () => this.close(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    this.addCloseListener(() => signal.removeEventListener("abort", abort));
  }

  /**
   * Records an error with which the promise of {@linkcode beginReceive} or {@linkcode beginSend}
   * rejects: the connection is broken. Records no other error that ends an exchange, such as an
   * error of the app.
   */
  failWith(error: unknown): unknown {
    const isWriteError = this.#smallMessage !== null;
    if (isWriteError) this.#endWrites(error);
    return this.#recordFailure(error, isWriteError || this.#receiveState !== "nothing");
  }

  /** No other write follows a failed write, so no time-out bounds writes any more. */
  #endWrites(error?: unknown): void {
    this.hasBeenReset ||= error instanceof Deno.errors.ConnectionReset;
    this.#sendState = "refused";
    this.deadline.stopWrite();
  }

  #recordFailure(error: unknown, isSocketError: boolean): unknown {
    if (this.isClosed) return this.#failure ?? new ConnectionClosedError();
    if (!isSocketError) return error;
    this.#failure ??= error;
    return markSocketError(error);
  }

  /**
   * Skips one empty line before the preamble (RFC 9112 §2.2): some clients send it after a body.
   */
  skipEmptyLine(): void {
    const { bytes, start, bufferedBytes } = this.readBuffer;
    if (this.#isLineSkipped || bufferedBytes < 2) return;
    if (bytes[start] !== CR || bytes[start + 1] !== LF) return;
    this.readBuffer.start += 2;
    this.#searchedBytes = 0;
    this.#isLineSkipped = true;
    if (bufferedBytes === 2) this.deadline.startWait();
  }

  /** @returns The position of its end, or -1 if more bytes are needed. */
  searchPreamble(): number {
    const { readBuffer } = this;
    const searchStart = readBuffer.start + Math.max(0, this.#searchedBytes - 3);
    const preambleEnd = findPreambleEnd(readBuffer.bytes, searchStart, readBuffer.end);
    const size = preambleEnd < 0 ? readBuffer.bufferedBytes + 1 : preambleEnd - readBuffer.start;
    // Don't check a whole preamble: the errors of the parser are better.
    if (readBuffer.bufferedBytes > 0 && (preambleEnd < 0 || size > MAX_PREAMBLE_BYTES)) {
      const { bytes, start } = readBuffer;
      // Check at most this prefix: the response must not depend on how the bytes arrive.
      const prefixEnd = Math.min(readBuffer.end, start + MAX_PREAMBLE_BYTES);
      this.#checkPrefix(bytes, start, start + this.#searchedBytes, prefixEnd);
    }
    if (size > MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
    if (preambleEnd < 0) {
      this.#searchedBytes = readBuffer.bufferedBytes;
    } else {
      this.endPreambleReceive();
    }
    return preambleEnd;
  }

  endPreambleReceive(): void {
    this.#searchedBytes = 0;
    this.#isLineSkipped = false;
    this.deadline.stopWait();
  }

  /** Receives the buffered bytes, and the next ones, as bytes of the preamble that was found. */
  continuePreamble(): void {
    this.#searchedBytes = this.readBuffer.bufferedBytes;
    this.deadline.resumeWait();
  }

  /**
   * The deadline bounds the wait for the first byte, and then the wait for the rest of the
   * preamble, so that a peer can't prolong it by sending a byte at a time. While a client still
   * sends its request, only the rest of the preamble is bounded: the server may wait for the source
   * of the body.
   */
  beginReceive(): Promise<number | null> {
    const { readBuffer, deadline } = this;
    const { pendingRead } = readBuffer;
    this.#receiveState = pendingRead === null ? "read" : "read ahead";
    readBuffer.checkFailure();
    if (!deadline.isWaiting && this.exchange?.requestPhase !== "detached") deadline.startWait();
    if (pendingRead !== null) return pendingRead;
    if (readBuffer.bufferedBytes === 0) readBuffer.shrinkToUse();
    const read = this.#socket.read(readBuffer.makeRoom());
    this.#pendingRead = read;
    return read;
  }

  /**
   * @param isRestarted Whether the deadline is restarted at the first byte of a preamble.
   * @returns False if the peer closed the connection before a preamble, as most peers do.
   */
  endReceive(count: number | null, isRestarted = true): boolean {
    this.#pendingRead = null;
    // Bytes that arrive after the connection closed are discarded.
    this.readBuffer.checkFailure();
    // The read buffer already has the bytes of a read that was issued ahead.
    const receivedBytes = this.#receiveState === "read"
      ? this.readBuffer.countRead(count)
      : count ?? 0;
    if (receivedBytes === 0) {
      // Keep `#receiveState`, so that `failWith` records the close like an error of the socket.
      if (this.#searchedBytes === 0) return false;
      throw new ProtocolError(
        "PREAMBLE_INCOMPLETE",
        "the peer closed the connection within a preamble",
      );
    }
    if (this.#searchedBytes === 0 && isRestarted) this.deadline.startWait();
    this.#receiveState = "nothing";
    return true;
  }

  /** Reads directly into an array; the read buffer must be empty. The deadline bounds the wait. */
  async read(into: Uint8Array): Promise<number | null> {
    const { readBuffer } = this;
    if (readBuffer.pendingRead !== null) {
      await this.waitForReadAhead();
      if (readBuffer.bufferedBytes > 0) return readBuffer.copyTo(into);
    }
    return await this.#read(into) as number | null;
  }

  /** Reads a piece in memory of the socket; `undefined` if the socket can't. */
  get readPiece(): (() => Promise<Uint8Array<ArrayBuffer> | null>) | undefined {
    if (this.#socket.readPiece === undefined) return undefined;
    return () => this.#read(null) as Promise<Uint8Array<ArrayBuffer> | null>;
  }

  /** @param into The array to fill; `null` to read a piece. */
  async #read(into: Uint8Array | null): Promise<number | Uint8Array<ArrayBuffer> | null> {
    const { readBuffer } = this;
    this.deadline.startWait();
    try {
      readBuffer.checkFailure();
      const result = await (this.#pendingRead = this.#isContinueAwaited
        ? this.#continueAndRead(into)
        : this.#startRead(into));
      this.#pendingRead = null;
      readBuffer.checkFailure();
      this.deadline.stopWait();
      this.movedBytes += into === null
        ? checkPiece(result)
        : checkReadCount(result as number | null, into.length);
      return result;
    } catch (error) {
      throw this.#recordFailure(error, true);
    }
  }

  #startRead(into: Uint8Array | null): Promise<number | Uint8Array<ArrayBuffer> | null> {
    return into === null ? this.#socket.readPiece!() : this.#socket.read(into);
  }

  async waitForReadAhead(): Promise<void> {
    this.deadline.startWait();
    try {
      if (this.#isContinueAwaited) await this.#sendContinue();
      // During the write of the 100, the body may have arrived, and a probe may wait for more.
      if (this.readBuffer.bufferedBytes === 0) await this.readBuffer.settleReadAhead();
      this.deadline.stopWait();
    } catch (error) {
      throw this.#recordFailure(error, true);
    }
  }

  onReadAhead(count: number, error: unknown): void {
    this.movedBytes += count;
    if (count > 0) this.#isContinueAwaited = false;
    this.idleRead?.onRead(error);
  }

  async #continueAndRead(
    into: Uint8Array | null,
  ): Promise<number | Uint8Array<ArrayBuffer> | null> {
    await this.#sendContinue();
    this.readBuffer.checkFailure();
    return await this.#startRead(into);
  }

  /** Sends the 100 now, for a response that begins before it reads the body of the request. */
  sendAwaitedContinue(): void {
    // A write that follows rejects with the same error.
    if (this.#isContinueAwaited) this.#sendContinue().catch(() => {});
  }

  #sendContinue(): Promise<void> {
    this.#isContinueAwaited = false;
    return this.#continueWrite = this.#writeContinue();
  }

  async #writeContinue(): Promise<void> {
    try {
      let remainder: Uint8Array = CONTINUE_RESPONSE.slice();
      while (remainder.length > 0) {
        this.deadline.startWrite();
        remainder = dropWritten(remainder, remainder.length, await this.#socket.write(remainder));
      }
      this.deadline.stopWrite();
    } finally {
      this.#continueWrite = null;
    }
  }

  /** Has no effect during a read, which detects a close itself. */
  probePeer(onEnd: () => void): void {
    if (this.isClosed || this.#pendingRead !== null) return;
    // Views of the read buffer may be in use, so its bytes must not move.
    this.readBuffer.readAhead(this.#socket, true)?.then(
      (count) => count === null && onEnd(),
      onEnd,
    );
  }

  /** Resolves to the number of bytes that the pending read has received. */
  async discardBuffered(): Promise<number> {
    // A read of a body may still be pending, and a socket allows only one read at a time.
    await this.#pendingRead;
    const count = await this.readBuffer.settleReadAhead();
    this.readBuffer.start = this.readBuffer.end;
    return count;
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
    this.#endWrites();
    this.#sink?.abandon(reason);
  }

  /**
   * `"some"` from the start of the current message's first write; `"refused"` if a write has
   * failed, or if the rest of a request was abandoned.
   */
  get sendState(): "nothing" | "some" | "refused" {
    return this.#sendState;
  }

  /**
   * @param expectsContinue Whether the request has a body, and `expect: 100-continue`. The first
   * read of a body of which no byte has arrived then sends the 100.
   */
  startResponse(recorder: ExchangeRecorder | null, expectsContinue = false): void {
    this.recorder = recorder;
    this.#sendState = "nothing";
    this.#isContinueAwaited = expectsContinue && this.readBuffer.bufferedBytes === 0;
  }

  /** Returns the buffer for the preamble, which {@linkcode endPreamble} takes back. */
  beginMessage(): Uint8Array {
    this.#sendState = "nothing";
    this.#isContinueAwaited = false;
    const buffer = preambleBuffer ?? new Uint8Array(MAX_PREAMBLE_BYTES);
    preambleBuffer = null;
    return buffer;
  }

  /**
   * Copies the preamble from the buffer of {@linkcode beginMessage}, which the caller must not use
   * afterward. If formatting the preamble fails, the caller need not call this method: the next
   * message gets a new buffer.
   */
  endPreamble(buffer: Uint8Array, length: number): void {
    this.#resizeBuffer(length);
    this.#messageBuffer.set(buffer.subarray(0, length));
    preambleBuffer = buffer;
  }

  /** A small body, or the available part of a body, is sent in the same write. */
  beginSend(
    length: number,
    body: PreparedBody,
    framing: Framing | undefined,
  ): Promise<number | void> {
    if (body === null) {
      this.#smallMessage = this.#messageViewOf(length);
    } else {
      if (!(body instanceof Uint8Array)) return this.#sendBody(length, body, framing);
      checkUnchanged(body, framing as number);
      this.#smallMessage = this.appendToPreamble(length, body, framing as number);
      if (this.#smallMessage === null) return this.#sendLarge(length, makePlainView(body));
    }
    return this.#beginWrite(this.#smallMessage);
  }

  appendToPreamble(
    length: number,
    bytes: Uint8Array,
    count: number = bytes.length,
  ): Uint8Array | null {
    const totalBytes = length + count;
    if (totalBytes > MAX_JOINED_BYTES) return null;
    if (totalBytes > this.#messageBuffer.length) {
      const preamble = this.#messageBuffer.subarray(0, length);
      this.#resizeBuffer(totalBytes);
      this.#messageBuffer.set(preamble);
    }
    this.#messageBytes = totalBytes;
    this.#messageBuffer.set(bytes, length);
    return this.#messageViewOf(totalBytes);
  }

  #messageViewOf(length: number): Uint8Array {
    if (this.#messageView.length !== length) {
      this.#messageView = this.#messageBuffer.subarray(0, length);
    }
    return this.#messageView;
  }

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
      this.#messageView = EMPTY_BYTES;
    }
    this.#messageBytes = size;
  }

  /** Whether the whole message is in the write of {@linkcode beginSend}. */
  get isSmallSend(): boolean {
    return this.#smallMessage !== null;
  }

  endSend(written: number | void): Promise<void> | null {
    // A large message was already written in pieces.
    if (this.#smallMessage === null) return null;
    const remainder = dropWritten(this.#smallMessage, this.#smallMessage.length, written);
    this.recorder?.countSent(this.#smallMessage.length - remainder.length);
    this.#smallMessage = null;
    this.deadline.stopWrite();
    return remainder.length === 0 ? null : this.write(remainder);
  }

  writePreamble(length: number): Promise<void> {
    return this.write(this.#messageViewOf(length));
  }

  async write(bytes: Uint8Array): Promise<void> {
    let { length } = bytes;
    try {
      // Wait before a write, not after it: the request may have been sent with the last write.
      const turn = this.#turns?.next();
      if (turn) {
        await turn;
        checkUnchanged(bytes, length);
      }
      while (length > 0) {
        const remainder = dropWritten(bytes, length, await this.#beginWrite(bytes));
        const sentBytes = length - remainder.length;
        this.movedBytes += sentBytes;
        this.recorder?.countSent(sentBytes);
        bytes = remainder;
        ({ length } = bytes);
      }
      this.deadline.stopWrite();
      if (this.exchange?.requestPhase === "stalling") this.deadline.startWait();
    } catch (error) {
      this.#endWrites(error);
      if (this.#abandonReason !== null) throw this.#abandonReason;
      const reason = realLengthOf(bytes) === length ? error : changedLengthError(bytes, length);
      throw this.#recordFailure(reason, true);
    }
  }

  #beginWrite(bytes: Uint8Array): Promise<number> {
    if (this.#sendState === "nothing") this.#sendState = "some";
    if (this.isClosed) throw new ConnectionClosedError();
    if (this.#abandonReason !== null) throw this.#abandonReason;
    this.#isContinueAwaited = false;
    if (this.#continueWrite !== null) {
      return this.#continueWrite.then(() => this.#beginWrite(bytes));
    }
    this.deadline.startWrite();
    this.writeCount++;
    return this.#socket.write(bytes);
  }

  async #sendLarge(length: number, body: Uint8Array): Promise<void> {
    const buffer = this.#messageBuffer;
    const announcedLength = body.length;
    // The remainder is sent from the caller's array: copying a large body costs more than a second
    // write.
    const firstLength = buffer.length - length;
    buffer.set(body.subarray(0, firstLength), length);
    await this.write(buffer);
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

  cancelBody(reason: unknown): void {
    this.#sink?.fail(reason ?? new ConnectionClosedError());
  }
}

/** Sends a body with the preamble before it. */
class MessageSink implements ByteSink {
  /**
   * The preferred size of a write: large writes are fastest, although reading the body's source in
   * pieces of this size is slower.
   */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #output: Transport;
  readonly #body: WritableBody;
  readonly #framing: Framing | undefined;
  /** The number of bytes of the unsent preamble; 0 once it was sent, or will not be sent. */
  #preambleBytes: number;
  readonly #failurePromise = Promise.withResolvers<never>();
  #writtenBytes = 0;
  #preambleWrite: Promise<void> | null = null;
  #failure: unknown = null;

  constructor(
    output: Transport,
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
    const joinedMessage = this.#output.appendToPreamble(this.#preambleBytes, bytes);
    if (joinedMessage === null) this.#writePreamble();
    else this.#preambleBytes = 0;
    return joinedMessage;
  }
}

function stalledRequestError(timeout: number | null): Error {
  const error = new Deno.errors.TimedOut(
    "the server has responded before the whole request was sent, and no more of the request was " +
      `sent for over ${timeout} s; to read the response meanwhile, pass the option duplex: "full", ` +
      "and requestSent of a wrapped connection",
  );
  // A retry would wait as long.
  return transience.set(error, false);
}

/**
 * The time without a turn of the event loop after which a sender waits for one. Shorter times made
 * large uploads slower.
 */
const MAX_TURN_MILLISECONDS = 10;

/**
 * Lets the event loop read what has arrived while a message is sent: the writes of a fast source
 * settle without a turn as long as the socket takes all bytes. The turn is that of a timer, because
 * Deno looks at the sockets only at every 61st turn of `setImmediate`.
 */
export class Turns {
  #turn: PromiseWithResolvers<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #startTime = 0;

  /** Returns a promise of the next turn, if the last turn was too long ago; else `null`. */
  next(): Promise<void> | null {
    if (this.#turn !== null) {
      return performance.now() - this.#startTime >= MAX_TURN_MILLISECONDS
        ? this.#turn.promise
        : null;
    }
    this.#turn = Promise.withResolvers();
    this.#startTime = performance.now();
    this.#timer = setTimeout(() => this.end(), MAX_TURN_MILLISECONDS);
    return null;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#turn?.resolve();
    this.#turn = null;
  }
}
