import type { Socket } from "../base/app/app.ts";
import type { PeerCertificate } from "../base/app/session.ts";
import { ConnectionClosedError } from "../base/errors.ts";

/** The maximum number of bytes that one side is ahead of the other. */
const WINDOW_BYTES = 2097152;
const MAX_MESSAGE_BYTES = 524288;
/** The memory that a message with a piece takes at least. */
const MIN_PIECE_BYTES = 512;
const MIN_TRANSFERRED_BYTES = 4096;
/** The number of read bytes after which a side reports them. */
const REPORTED_BYTES = 262144;

/** Bytes; the number of bytes that were read; the end of the bytes; the end of the connection. */
type PortMessage = Uint8Array<ArrayBuffer> | number | "end" | "close";

/** The number of bytes of a piece in the window. */
function costOf({ buffer }: Uint8Array): number {
  return Math.max(buffer.byteLength, MIN_PIECE_BYTES);
}

/** One side of a connection between two threads. */
export class PortSocket implements Socket {
  readonly peerCertificate: PeerCertificate | null;
  readonly #port: MessagePort;
  /** Each has a buffer of its own. The first one can be the rest of its buffer. */
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  #unreadBytes = 0;
  #unreportedBytes = 0;
  #hasEnded = false;
  #closeReason: Error | null = null;
  #wakeReader: (() => void) | null = null;
  #wakeWriter: (() => void) | null = null;

  constructor(port: MessagePort, peerCertificate: PeerCertificate | null = null) {
    this.#port = port;
    this.peerCertificate = peerCertificate;
    port.onmessage = ({ data }: MessageEvent<PortMessage>) => this.#receive(data);
  }

  #receive(message: PortMessage): void {
    if (typeof message === "number") this.#unreadBytes -= message;
    else if (typeof message !== "string") this.#pieces.push(message);
    else this.#hasEnded = true;
    if (message === "close") {
      this.#closeReason ??= new Deno.errors.BrokenPipe("the other thread has closed it");
      this.#port.close();
      this.onClose();
    }
    this.#wake();
  }

  #wake(): void {
    this.#wakeReader?.();
    this.#wakeWriter?.();
  }

  /** Whether the other side has closed the connection, or will send no more bytes. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isClosed(): boolean {
    return this.#closeReason !== null;
  }

  /** Called when a side closes the connection. */
  onClose(): void {}

  async #waitForPiece(): Promise<Uint8Array<ArrayBuffer> | null> {
    while (this.#pieces.length === 0) {
      if (this.#hasEnded) return null;
      if (this.#closeReason !== null) throw this.#closeReason;
      await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
    return this.#pieces[0]!;
  }

  #endPiece(): void {
    this.#unreportedBytes += costOf(this.#pieces.shift()!);
    if (this.#unreportedBytes < REPORTED_BYTES) return;
    this.#port.postMessage(this.#unreportedBytes);
    this.#unreportedBytes = 0;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const piece = await this.#waitForPiece();
    if (piece === null) return null;
    const { length } = into;
    if (piece.length <= length) {
      into.set(piece);
      this.#endPiece();
      return piece.length;
    }
    into.set(piece.subarray(0, length));
    this.#pieces[0] = piece.subarray(length);
    return length;
  }

  async readPiece(): Promise<Uint8Array<ArrayBuffer> | null> {
    const piece = await this.#waitForPiece();
    if (piece !== null) this.#endPiece();
    return piece;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (this.#unreadBytes >= WINDOW_BYTES && this.#closeReason === null) {
      await new Promise<void>((resolve) => this.#wakeWriter = resolve);
    }
    if (this.#closeReason !== null) throw this.#closeReason;
    const piece = new Uint8Array(bytes.subarray(0, MAX_MESSAGE_BYTES));
    const { length } = piece;
    this.#unreadBytes += costOf(piece);
    // The transfer empties the piece, and costs more than a copy of a small piece.
    this.#port.postMessage(piece, length < MIN_TRANSFERRED_BYTES ? [] : [piece.buffer]);
    return length;
  }

  closeWrite(): Promise<void> {
    this.#port.postMessage("end");
    return Promise.resolve();
  }

  /** @param reason The error of pending and later operations. */
  close(reason: Error = new ConnectionClosedError()): void {
    if (this.#closeReason !== null) return;
    this.#closeReason = reason;
    this.#port.postMessage("close");
    this.#port.close();
    this.#pieces.length = 0;
    this.onClose();
    this.#wake();
  }

  /** With this method and `unref`, a client reads between two requests, and so notices the end. */
  ref(): void {}

  /** The worker keeps the process alive in any case. */
  unref(): void {}
}
