/**
 * What is below a TLS connection.
 *
 * @module
 */

import type { Socket as NetSocket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

/** The stream under a TLS connection, with back-pressure on what the peer sends. */
export interface RawStream {
  /** The stream itself. */
  readonly stream: Duplex;
  /** The connection of Deno in it, if there is one. */
  readonly conn: Deno.TcpConn | Deno.UnixConn | null;
  /** True once the peer has sent a byte. */
  readonly heard: boolean;
  /** Stops reading, so that the peer has to wait. */
  hold(): void;
  /** Goes on reading. */
  release(): void;
  /** Closes the stream and what is below it. */
  close(): void;
}

/** What of the handle of a socket is used. */
interface Handle {
  readStop(): number;
  readStart(): number;
}

/**
 * Wraps a socket of `node:net`.
 *
 * Pausing a `TLSSocket` of Deno stops nothing: whatever arrives is decrypted and kept, without a
 * limit. What is below has to stop reading, and there is no way to ask for that but its handle.
 */
export function makeNetStream(stream: NetSocket): RawStream {
  // The property is not part of the types, but every socket that is open has it.
  const handle = () => (stream as NetSocket & { readonly _handle?: Handle | null })._handle;
  return {
    stream,
    conn: null,
    get heard() {
      return stream.bytesRead > 0;
    },
    hold: () => void handle()?.readStop(),
    release: () => void handle()?.readStart(),
    close: () => void stream.destroy(),
  };
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
