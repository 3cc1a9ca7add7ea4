import type { Socket } from "../../base/app/app.ts";
import {
  checkPiece,
  checkReadCount,
  type ReadAheadListener,
  ReadBuffer,
} from "../../base/body/byte_io.ts";
import { ConnectionClosedError, ConnectionError } from "../../base/errors.ts";
import type { PreambleSearch } from "../protocol/preamble_search.ts";
import { isResetBySystem, toConnectionError } from "./connection_errors.ts";
import { ConnectionDeadline, type Waiter } from "./deadline.ts";

type Piece = Uint8Array<ArrayBuffer>;

/**
 * The code that uses a transport. A client's must not refer to its `Connection`, which a transport
 * must not keep from being garbage collected.
 */
export interface TransportUser {
  /** What must be written before bytes are read directly; `null` for nothing. */
  beforeRead(): Promise<void> | null;
  /** Called with the number of bytes that a read ahead has added, or with its error. */
  onReadAhead(count: number, error: unknown): void;
  /**
   * The name of the wait for the peer that the time-out limits, of each wait another one; `null`
   * while only the program works.
   */
  readonly wait: string | null;
  /** The number of time-outs that a write may take. */
  readonly writeTimeouts: number;
  /** The error of a time-out if this side keeps the peer waiting; `null` for a silent peer. */
  findStall(timeout: number | null): Error | null;
  /**
   * Called when the transport closes, before its socket does.
   *
   * @returns Whether the peer must not get the rest of what was written.
   */
  onClose(failure: unknown): boolean;
}

/**
 * The bytes of a connection: the socket, the buffer of received bytes, the deadline, and the error
 * that broke the connection.
 *
 * As long as a search finds no preamble,
 * `transport.endReceive(await transport.beginReceive(), search)` appends bytes to the buffer.
 * `beginReceive` returns the promise of the socket; the caller passes an error to
 * {@linkcode recordFailure}. With an async function around the read, an idle connection would take
 * 4 % more memory (row 16 of the benchmark).
 */
export class Transport implements ReadAheadListener, Waiter {
  readonly readBuffer: ReadBuffer = new ReadBuffer(this);
  /** The time-out in seconds; `null` for no limit. */
  readonly timeout: number | null;
  readonly deadline: ConnectionDeadline;
  /** Whether a read of {@linkcode beginReceive} is pending, has failed, or has found the end. */
  isReceiving = false;
  /** Whether a read of a body waits for the peer. */
  isReading = false;
  /** The number of these reads that have ended. */
  readCount = 0;
  /** The number of writes that have ended. */
  writeCount = 0;
  #isWriting = false;
  /** Whether a write has reported a reset: the system reports it once, and then as the end. */
  hasBeenReset = false;
  /** The number of bytes that were read directly or ahead, and of large messages also written. */
  movedBytes = 0;
  readonly #socket: Socket;
  readonly #user: TransportUser;
  #closeListeners: readonly (() => void)[] = [];
  #closedAt: number | null = null;
  #failure: unknown = null;
  /** The pending read, unless it was issued ahead. */
  #pendingRead: Promise<unknown> | null = null;

  /** Takes ownership of the socket. */
  constructor(socket: Socket, timeout: number | null, user: TransportUser) {
    this.#socket = socket;
    this.#user = user;
    this.timeout = timeout;
    this.deadline = new ConnectionDeadline(timeout, this);
  }

  get wait(): string | null {
    return this.#user.wait;
  }

  get writeWait(): string | null {
    return this.#isWriting ? `write ${this.writeCount}` : null;
  }

  get writeTimeouts(): number {
    return this.#user.writeTimeouts;
  }

  /** Whether the connection waits for its peer. */
  get isWaiting(): boolean {
    return this.#isWriting || this.wait !== null;
  }

  onExpire(isWrite: boolean): void {
    const stall = this.#user.findStall(this.timeout);
    if (stall !== null) return this.close(stall);
    // Only a connection with a time-out expires.
    const seconds = this.timeout! * (isWrite ? this.writeTimeouts : 1);
    const problem = isWrite
      ? `the peer took over ${seconds} s to read what was sent`
      : `the peer kept the connection waiting for over ${seconds} s`;
    const details = isWrite ? { unreadSeconds: seconds } : { silentSeconds: seconds };
    this.close(new ConnectionError(problem, { ...details, fault: "timed out" }));
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
    const mustReset = this.#user.onClose(this.#failure);
    try {
      // Reset, don't close: the kernel would keep retransmitting an abandoned request, which could
      // arrive minutes later and undo newer changes.
      if (mustReset && this.#socket.reset !== undefined) this.#socket.reset();
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

  /** Records an error of the socket, which breaks the connection; returns the error to throw. */
  recordFailure(error: unknown, isSocketError: boolean): unknown {
    if (this.isClosed) return this.#failure ?? new ConnectionClosedError();
    if (!isSocketError) return error;
    const connectionError = toConnectionError(error);
    this.#failure ??= connectionError;
    return connectionError;
  }

  beginReceive(): Promise<number | null> {
    const { readBuffer } = this;
    const { pendingRead } = readBuffer;
    this.isReceiving = true;
    readBuffer.checkFailure();
    if (pendingRead !== null) return pendingRead;
    if (readBuffer.bufferedBytes === 0) readBuffer.shrinkToUse();
    const read = this.#socket.read(readBuffer.makeRoom());
    this.#pendingRead = read;
    return read;
  }

  /** @returns False if the peer has ended the connection before a preamble, as most peers do. */
  endReceive(count: number | null, search: PreambleSearch): boolean {
    const wasReadAhead = this.#pendingRead === null;
    this.#pendingRead = null;
    // Bytes that arrive after the connection closed are discarded.
    this.readBuffer.checkFailure();
    // The read buffer already has the bytes of a read that was issued ahead.
    const receivedBytes = wasReadAhead ? count ?? 0 : this.readBuffer.countRead(count);
    if (receivedBytes === 0) {
      // Keep `isReceiving`, so that the close is recorded like an error of the socket.
      search.checkEnd();
      return false;
    }
    this.isReceiving = false;
    return true;
  }

  /** Reads directly into an array; the read buffer must be empty. */
  async read(into: Uint8Array): Promise<number | null> {
    const { readBuffer } = this;
    if (readBuffer.pendingRead !== null) {
      await this.waitForReadAhead();
      if (readBuffer.bufferedBytes > 0) return readBuffer.copyTo(into);
    }
    return await this.#read(into) as number | null;
  }

  /** Reads a piece in memory of the socket; `undefined` if the socket can't. */
  get readPiece(): (() => Promise<Piece | null>) | undefined {
    if (this.#socket.readPiece === undefined) return undefined;
    // Not with a closure, which would cost an allocation for each body without a piece.
    return this.#read.bind(this, null) as () => Promise<Piece | null>;
  }

  /** @param into The array to fill; `null` to read a piece. */
  async #read(into: Uint8Array | null): Promise<number | Piece | null> {
    const { readBuffer } = this;
    this.isReading = true;
    try {
      readBuffer.checkFailure();
      const write = this.#user.beforeRead();
      const result = await (this.#pendingRead = write === null
        ? this.#startRead(into)
        : this.#readAfter(write, into));
      this.#pendingRead = null;
      readBuffer.checkFailure();
      this.#endRead();
      this.movedBytes += into === null
        ? checkPiece(result)
        : checkReadCount(result as number | null, into.length);
      return result;
    } catch (error) {
      throw this.recordFailure(error, true);
    }
  }

  #startRead(into: Uint8Array | null): Promise<number | Piece | null> {
    return into === null ? this.#socket.readPiece!() : this.#socket.read(into);
  }

  async #readAfter(write: Promise<void>, into: Uint8Array | null): Promise<number | Piece | null> {
    await write;
    this.readBuffer.checkFailure();
    return await this.#startRead(into);
  }

  async waitForReadAhead(): Promise<void> {
    this.isReading = true;
    try {
      const write = this.#user.beforeRead();
      if (write !== null) await write;
      // During a write before the read, bytes may have arrived, and a probe may wait for more.
      if (this.readBuffer.bufferedBytes === 0) await this.readBuffer.settleReadAhead();
      this.#endRead();
    } catch (error) {
      throw this.recordFailure(error, true);
    }
  }

  #endRead(): void {
    this.isReading = false;
    this.readCount++;
  }

  onReadAhead(count: number, error: unknown): void {
    this.movedBytes += count;
    this.#user.onReadAhead(count, error);
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

  /** Discards the buffered bytes, also those of a pending read. */
  async discardBuffered(): Promise<void> {
    // A read of a body may still be pending, and a socket allows only one read at a time.
    await this.#pendingRead;
    await this.readBuffer.settleReadAhead();
    this.readBuffer.start = this.readBuffer.end;
  }

  /** The time-out limits the write until {@linkcode endWrite}. */
  beginWrite(bytes: Uint8Array): Promise<number> {
    this.#isWriting = true;
    return this.#socket.write(bytes);
  }

  endWrite(): void {
    this.#isWriting = false;
    this.writeCount++;
  }

  /** Ends a write that has failed, or for which nobody waits; no other one follows. */
  endWrites(error: unknown): void {
    this.hasBeenReset ||= isResetBySystem(error);
    this.#isWriting = false;
  }
}
