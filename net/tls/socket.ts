import type { TLSSocket } from "node:tls";
import type { Socket } from "../../base/app/app.ts";
import type { PeerCertificate } from "../../base/app/session.ts";
import { ConnectionError } from "../../base/errors.ts";
import { releaseMemory } from "../../internal/bytes.ts";
import { unrefTimer } from "../transport/deadline.ts";
import { makeSocketError } from "./errors.ts";
import { ignoreError, type RawStream } from "./raw_stream.ts";

/** The number of unread bytes above which reading pauses, so a fast peer can't fill the memory. */
const HIGH_WATER_MARK = 163840;
const LOW_WATER_MARK = 32768;
/**
 * The number of unread bytes above which a paused connection is closed, because the pause has no
 * effect: a pause lets in the bytes of at most two reads.
 */
const MAX_UNREAD_BYTES = 16777216;
/**
 * The number of bytes that the limits above count for each unread piece, besides its length: a peer
 * can send records of one byte, each of which takes 230 bytes until it is read, and leaves garbage.
 */
const PIECE_OVERHEAD_BYTES = 2048;

/** The size of a received piece that is not joined with others. */
const MIN_PIECE_BYTES = 16384;
const MAX_COPIED_BYTES = 65536;

const MAX_WRITE_BYTES = 262144;

const CLOSE_MILLISECONDS = 1000;

type Reject = (error: unknown) => void;

interface PendingRead {
  /** The array to fill; `null` if a piece is read. */
  readonly into: Uint8Array | null;
  resolve(result: number | Uint8Array<ArrayBuffer> | null): void;
  readonly reject: Reject;
}

export class TlsSocket implements Socket {
  readonly peerCertificate: PeerCertificate | null;
  readonly protocol: string;
  readonly cipher: string;
  /** The local address; undefined for a socket of `node:net` at a path or an abstract name. */
  readonly localAddr: Deno.Addr | undefined;
  readonly remoteAddr: Deno.Addr | undefined;
  readonly #socket: TLSSocket;
  readonly #rawStream: RawStream;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  #firstPieceOffset = 0;
  #bufferedBytes = 0;
  #isPaused = false;
  #hasEnded = false;
  #isClosed = false;
  #failure: unknown = null;
  #pendingRead: PendingRead | null = null;
  #isReferenced = true;
  readonly #pendingWrites: Reject[] = [];

  /**
   * Takes ownership of a socket and of the stream below it. Must be called synchronously in the
   * event that ends the handshake: bytes of the peer may follow in the same tick, and Deno's
   * `node:tls` never reports the close of a connection with unread bytes.
   */
  constructor(
    socket: TLSSocket,
    rawStream: RawStream,
    peerCertificate: PeerCertificate | null,
  ) {
    this.#socket = socket;
    this.#rawStream = rawStream;
    this.peerCertificate = peerCertificate;
    this.protocol = socket.getProtocol() ?? "";
    this.cipher = socket.getCipher().name;
    const { conn } = rawStream;
    this.localAddr = conn?.localAddr ?? makeNetAddress(socket.localAddress, socket.localPort);
    this.remoteAddr = conn?.remoteAddr ?? makeNetAddress(socket.remoteAddress, socket.remotePort);
    const { stream } = rawStream;
    // Each peer may write after the other has closed its writing side: only now, because a close
    // during the handshake is a failure.
    socket.allowHalfOpen = true;
    stream.allowHalfOpen = true;
    // The stream below may be no socket, which `node:tls` doesn't close.
    stream.off("error", ignoreError);
    stream.on("error", (error) => socket.destroy(error));
    stream.on("close", () => socket.destroy());
    rawStream.freeUsedMemory();
    socket.on("data", (piece: Uint8Array<ArrayBuffer>) => this.#receive(piece));
    socket.on("end", () => {
      this.#hasEnded = true;
      this.#takePendingRead()?.resolve(null);
    });
    socket.on("error", (error) => this.#fail(makeSocketError(error)));
    socket.on("close", () => {
      stream.destroy();
      // Making an error takes time: make it only if it is used.
      if (this.#isClosed || this.#failure !== null) return;
      const fields = { fault: "reset", code: "ECONNRESET" } as const;
      this.#fail(new ConnectionError("the connection was lost", fields));
    });
    // A pending operation keeps the process alive, and the connection doesn't, as for sockets of
    // Deno.
    this.#unref();
  }

  read(into: Uint8Array): Promise<number | null> {
    if (into.length === 0 && !this.#isClosed) return Promise.resolve(0);
    return this.#read(into) as Promise<number | null>;
  }

  readPiece(): Promise<Uint8Array<ArrayBuffer> | null> {
    return this.#read(null) as Promise<Uint8Array<ArrayBuffer> | null>;
  }

  #read(into: Uint8Array | null): Promise<number | Uint8Array<ArrayBuffer> | null> {
    if (this.#isClosed) return Promise.reject(new Deno.errors.BadResource("the socket is closed"));
    if (this.#pendingRead !== null) {
      return Promise.reject(new Deno.errors.Busy("a read is in progress"));
    }
    if (this.#bufferedBytes > 0) return Promise.resolve(this.#takeBuffered(into));
    if (this.#hasEnded) return Promise.resolve(null);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#pendingRead = { into, resolve, reject };
      if (this.#isReferenced) this.#ref();
    });
  }

  ref(): void {
    this.#isReferenced = true;
    if (this.#pendingRead !== null) this.#ref();
  }

  unref(): void {
    this.#isReferenced = false;
    // Without a pending read, the socket is already unreferenced, unless a write is pending.
    if (this.#pendingRead !== null) this.#unrefIfUnused();
  }

  /**
   * Writes bytes, which must not change until the promise resolves to the number of bytes written.
   */
  write(bytes: Uint8Array): Promise<number> {
    if (this.#isClosed) return Promise.reject(new Deno.errors.BadResource("the socket is closed"));
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (bytes.length === 0) return Promise.resolve(0);
    // Write a large array in pieces: an early response, which may arrive between two pieces, would
    // be lost after a failed write.
    const piece = bytes.length > MAX_WRITE_BYTES ? bytes.subarray(0, MAX_WRITE_BYTES) : bytes;
    return this.#write((onWritten) => this.#socket.write(piece, onWritten), piece.length);
  }

  async closeWrite(): Promise<void> {
    if (this.#isClosed) throw new Deno.errors.BadResource("the socket is closed");
    await this.#write((callback) => this.#socket.end(callback), 0);
  }

  close(): void {
    // If unsent bytes are lost, the peer must not take the close for an orderly end.
    const isOrderly = this.#pendingWrites.length === 0 && !this.#socket.destroyed;
    this.#endOperations();
    if (isOrderly) this.#end();
    else this.#socket.destroy();
  }

  reset(): void {
    // First, because the reset makes pending writes fail as if the peer had sent damaged bytes.
    this.#endOperations();
    this.#rawStream.reset();
    this.#socket.destroy();
  }

  #endOperations(): void {
    this.#isClosed = true;
    this.#pieces.length = 0;
    if (this.#pendingRead !== null || this.#pendingWrites.length > 0) {
      this.#fail(new Deno.errors.Interrupted("the socket was closed"));
    }
  }

  get #bufferCost(): number {
    return this.#bufferedBytes + this.#pieces.length * PIECE_OVERHEAD_BYTES;
  }

  #receive(piece: Uint8Array<ArrayBuffer>): void {
    if (this.#isClosed) return;
    this.#pieces.push(piece);
    this.#bufferedBytes += piece.length;
    const pendingRead = this.#takePendingRead();
    pendingRead?.resolve(this.#takeBuffered(pendingRead.into));
    const cost = this.#bufferCost;
    if (cost <= HIGH_WATER_MARK) return;
    if (!this.#isPaused) {
      this.#isPaused = true;
      this.#rawStream.pause();
    } else if (cost > MAX_UNREAD_BYTES) {
      const problem = `reads of sockets can't be paused in Deno ${Deno.version.deno}`;
      const text = `${problem}: more than 16 MiB of the peer are unread`;
      this.#fail(new ConnectionError(text, { fault: "reset", code: "ECONNABORTED" }));
      this.#pieces.length = 0;
      this.#bufferedBytes = 0;
      this.#socket.destroy();
    }
  }

  #takeBuffered(into: Uint8Array | null): number | Uint8Array<ArrayBuffer> {
    return into === null ? this.#takePiece() : this.#copyBuffered(into);
  }

  /** Returns the first piece, or a copy of several small pieces or of a part of a piece. */
  #takePiece(): Uint8Array<ArrayBuffer> {
    const [piece] = this.#pieces;
    const isWhole = this.#firstPieceOffset === 0 && piece!.length === piece!.buffer.byteLength;
    if (isWhole && (piece!.length >= MIN_PIECE_BYTES || this.#pieces.length === 1)) {
      this.#dropFirstPiece();
      this.#bufferedBytes -= piece!.length;
      this.#resumeReads();
      return new Uint8Array(piece!.buffer);
    }
    const bytes = new Uint8Array(Math.min(this.#bufferedBytes, MAX_COPIED_BYTES));
    this.#copyBuffered(bytes);
    return bytes;
  }

  #copyBuffered(into: Uint8Array): number {
    let filledBytes = 0;
    while (filledBytes < into.length && this.#bufferedBytes > 0) {
      const piece = this.#pieces[0]!;
      const count = Math.min(into.length - filledBytes, piece.length - this.#firstPieceOffset);
      const isWholePiece = count === piece.length;
      into.set(
        isWholePiece
          ? piece
          : piece.subarray(this.#firstPieceOffset, this.#firstPieceOffset + count),
        filledBytes,
      );
      filledBytes += count;
      this.#firstPieceOffset += count;
      this.#bufferedBytes -= count;
      if (this.#firstPieceOffset === piece.length) {
        this.#dropFirstPiece();
        releaseMemory(piece);
      }
    }
    this.#resumeReads();
    return filledBytes;
  }

  #dropFirstPiece(): void {
    // An empty array keeps the memory of its elements unless its length is set.
    if (this.#pieces.length === 1) this.#pieces.length = 0;
    else this.#pieces.shift();
    this.#firstPieceOffset = 0;
  }

  #resumeReads(): void {
    if (!this.#isPaused || this.#bufferCost >= LOW_WATER_MARK) return;
    this.#isPaused = false;
    this.#rawStream.resume();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    const pendingWrites = this.#pendingWrites.splice(0);
    this.#takePendingRead()?.reject(this.#failure);
    for (const reject of pendingWrites) reject(this.#failure);
  }

  #write(
    startWrite: (onDone: (error?: Error | null) => void) => void,
    result: number,
  ): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#pendingWrites.push(reject);
      this.#ref();
      startWrite((error) => {
        const index = this.#pendingWrites.indexOf(reject);
        if (index < 0) return;
        this.#pendingWrites.splice(index, 1);
        this.#unrefIfUnused();
        if (error) reject(makeSocketError(error));
        else resolve(result);
      });
    });
  }

  #takePendingRead(): PendingRead | null {
    const pendingRead = this.#pendingRead;
    this.#pendingRead = null;
    this.#unrefIfUnused();
    return pendingRead;
  }

  #unrefIfUnused(): void {
    const isReadAwaited = this.#isReferenced && this.#pendingRead !== null;
    if (!isReadAwaited && this.#pendingWrites.length === 0) this.#unref();
  }

  #ref(): void {
    this.#socket.ref();
    this.#rawStream.conn?.ref();
  }

  #unref(): void {
    this.#socket.unref();
    this.#rawStream.conn?.unref();
  }

  /** Sends a close_notify (RFC 8446 §6.1), and closes the connection. */
  #end(): void {
    if (this.#rawStream.conn === null) {
      this.#socket.end();
      this.#socket.destroy();
      return;
    }
    // A connection of Deno sends the close_notify later, so wait, but not without limit: a peer
    // that reads nothing must not keep the connection open.
    const destroy = () => void this.#socket.destroy();
    const timer = unrefTimer(setTimeout(destroy, CLOSE_MILLISECONDS));
    this.#socket.once("close", () => clearTimeout(timer));
    this.#socket.end(destroy);
  }
}

function makeNetAddress(
  hostname: string | undefined,
  port: number | undefined,
): Deno.Addr | undefined {
  if (hostname === undefined || port === undefined) return undefined;
  return { transport: "tcp", hostname, port };
}
