/**
 * The stream under a TLS connection.
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
  /** Stops reading, so the peer must wait. */
  hold(): void;
  /** Resumes reading. */
  release(): void;
  /** Closes the stream and the connection below it. */
  close(): void;
}

/** The part of a socket's handle that is used. */
interface Handle {
  readStop(): number;
  readStart(): number;
}

/**
 * Wraps a socket of `node:net`.
 *
 * Pausing a `TLSSocket` in Deno has no effect: whatever arrives is decrypted and buffered, without a limit.
 * The socket below must stop reading, and only its handle can do that.
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
 * Makes a TLS connection and the stream below it end together, even if that is not a socket, and lets either
 * side keep writing after the other has ended. Only for use after the handshake: before that, an end is a
 * failure.
 */
export function tieLives(socket: TLSSocket, stream: Duplex): void {
  socket.allowHalfOpen = true;
  stream.allowHalfOpen = true;
  stream.on("error", (error) => socket.destroy(error));
  stream.on("close", () => socket.destroy());
  socket.on("close", () => stream.destroy());
}
