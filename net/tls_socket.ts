/**
 * A TLS connection as the socket under a client or a server.
 *
 * @module
 */

import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { Socket } from "../base/app.ts";
import type { PeerCertificate } from "../base/session.ts";
import { translateError } from "./tls_errors.ts";

/** Reading stops above this many bytes that nobody has taken, so that a fast peer fills no memory. */
const PAUSE_BYTES = 131072;
/** And goes on below this many. */
const RESUME_BYTES = 32768;

/** Somebody who waits. */
interface Waiting {
  resolve(count: number | null): void;
  reject(error: unknown): void;
}

/** Where the two ends of a connection are. */
export interface SocketAddresses {
  readonly local: Deno.Addr | undefined;
  readonly remote: Deno.Addr | undefined;
}

/** Reads and writes over a `TLSSocket` whose handshake is done. */
export class TlsSocket implements Socket {
  /** The verified certificate of the peer, or `null`. */
  readonly peerCertificate: PeerCertificate | null;
  /** Where this end is; undefined for Unix sockets and abstract names. */
  readonly localAddr: Deno.Addr | undefined;
  /** Where the other end is; undefined for Unix sockets and abstract names. */
  readonly remoteAddr: Deno.Addr | undefined;
  readonly #socket: TLSSocket;
  /** What has arrived; of the first piece everything before `#taken` is gone. */
  readonly #pieces: Uint8Array[] = [];
  #taken = 0;
  #buffered = 0;
  #paused = false;
  #ended = false;
  #closed = false;
  #failure: unknown = null;
  #reader: Waiting | null = null;
  #into: Uint8Array = new Uint8Array(0);
  readonly #writers = new Set<Waiting>();

  /**
   * Takes over a socket.
   *
   * @param peerCertificate The verified certificate of the peer, or `null`.
   */
  constructor(
    socket: TLSSocket,
    peerCertificate: PeerCertificate | null,
    addresses: SocketAddresses,
  ) {
    this.#socket = socket;
    this.peerCertificate = peerCertificate;
    this.localAddr = addresses.local;
    this.remoteAddr = addresses.remote;
    socket.on("data", (piece: Uint8Array) => this.#receive(piece));
    socket.on("end", () => this.#end());
    socket.on("error", (error) => this.#fail(translateError(error)));
    socket.on("close", () => this.#fail(new Deno.errors.ConnectionReset("the connection is gone")));
    // As with Deno's own sockets it is a wait that keeps the process alive, not the connection.
    socket.unref();
  }

  /** Reads up to `into.length` bytes; resolves to how many, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null> {
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("the socket is closed"));
    if (this.#reader !== null) return Promise.reject(new Deno.errors.Busy("a read is under way"));
    if (into.length === 0) return Promise.resolve(0);
    if (this.#buffered > 0) return Promise.resolve(this.#take(into));
    if (this.#ended) return Promise.resolve(null);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    this.#into = into;
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#socket.ref();
    });
  }

  /** Writes all of the bytes, which have to stay as they are until it resolves, to their number. */
  write(bytes: Uint8Array): Promise<number> {
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("the socket is closed"));
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (bytes.length === 0) return Promise.resolve(0);
    return this.#expect((done) => this.#socket.write(bytes, done), bytes.length);
  }

  /** Tells the peer that nothing more comes, and ends the side that writes. */
  async closeWrite(): Promise<void> {
    if (this.#closed) throw new Deno.errors.BadResource("the socket is closed");
    await this.#expect((done) => this.#socket.end(done), 0);
  }

  /** Closes the connection; what waits for it rejects. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pieces.length = 0;
    // The peer is told that this is the end (RFC 8446 §6.1), but not where bytes are still under way,
    // which are lost now.
    const inOrder = this.#writers.size === 0 && !this.#socket.destroyed;
    this.#fail(new Deno.errors.Interrupted("the socket was closed"));
    if (inOrder) this.#socket.end();
    this.#socket.destroy();
  }

  #receive(piece: Uint8Array): void {
    if (this.#closed) return;
    this.#pieces.push(piece);
    this.#buffered += piece.length;
    this.#endReading()?.resolve(this.#take(this.#into));
    if (this.#buffered > PAUSE_BYTES && !this.#paused) {
      this.#paused = true;
      this.#socket.pause();
    }
  }

  #take(into: Uint8Array): number {
    let filled = 0;
    while (filled < into.length && this.#buffered > 0) {
      const piece = this.#pieces[0]!;
      const count = Math.min(into.length - filled, piece.length - this.#taken);
      const whole = count === piece.length;
      into.set(whole ? piece : piece.subarray(this.#taken, this.#taken + count), filled);
      filled += count;
      this.#taken += count;
      this.#buffered -= count;
      if (this.#taken === piece.length) {
        this.#pieces.shift();
        this.#taken = 0;
      }
    }
    if (this.#paused && this.#buffered < RESUME_BYTES) {
      this.#paused = false;
      this.#socket.resume();
    }
    return filled;
  }

  #end(): void {
    this.#ended = true;
    this.#endReading()?.resolve(null);
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    const writers = [...this.#writers];
    this.#writers.clear();
    this.#endReading()?.reject(this.#failure);
    for (const { reject } of writers) reject(this.#failure);
    this.#rest();
  }

  /** Runs something that calls back when it is done, and waits for that or for the end of it all. */
  #expect(run: (done: (error?: Error | null) => void) => void, result: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const writer: Waiting = { resolve: () => resolve(result), reject };
      this.#writers.add(writer);
      this.#socket.ref();
      run((error) => {
        if (!this.#writers.delete(writer)) return;
        this.#rest();
        if (error) reject(translateError(error));
        else resolve(result);
      });
    });
  }

  /** Whoever waits for bytes, and does so no longer. */
  #endReading(): Waiting | null {
    const reader = this.#reader;
    this.#reader = null;
    this.#rest();
    return reader;
  }

  #rest(): void {
    if (this.#reader === null && this.#writers.size === 0) this.#socket.unref();
  }
}

/**
 * Finds out where the two ends of a connection are.
 *
 * @param conn The connection of Deno below, where there is one.
 */
export function addressesOf(
  socket: TLSSocket,
  conn: Deno.TcpConn | Deno.UnixConn | null,
): SocketAddresses {
  if (conn !== null) return { local: conn.localAddr, remote: conn.remoteAddr };
  return {
    local: netAddress(socket.localAddress, socket.localPort),
    remote: netAddress(socket.remoteAddress, socket.remotePort),
  };
}

function netAddress(hostname: string | undefined, port: number | undefined): Deno.Addr | undefined {
  if (hostname === undefined || port === undefined) return undefined;
  return { transport: "tcp", hostname, port };
}

/**
 * Lets a TLS connection and the stream below it end together, also where that is no socket, and lets
 * either side write on after the other has ended. For after the handshake: before, an end is a failure.
 */
export function tieLives(socket: TLSSocket, stream: Duplex): void {
  socket.allowHalfOpen = true;
  stream.allowHalfOpen = true;
  stream.on("error", (error) => socket.destroy(error));
  stream.on("close", () => socket.destroy());
  socket.on("close", () => stream.destroy());
}
