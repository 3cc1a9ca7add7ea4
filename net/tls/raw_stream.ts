import type { Socket as NetSocket } from "node:net";
import type { Duplex } from "node:stream";
import { writeAll } from "../../base/body/byte_io.ts";
import { releaseMemory } from "../../internal/bytes.ts";
import {
  freeMemoryAfterReads,
  loadBuiltin,
  pauseReads,
  resumeReads,
} from "../transport/runtime.ts";

export interface RawStream {
  readonly stream: Duplex;
  readonly conn: Deno.TcpConn | Deno.UnixConn | null;
  pause(): void;
  resume(): void;
  /**
   * From now on, frees the memory of each piece that TLS has decrypted, or that was sent. Call it
   * once, after the handshake.
   */
  freeUsedMemory(): void;
  close(): void;
  /** Closes the stream and its connection, and discards the kernel's unsent bytes if possible. */
  reset(): void;
}

const BUFFER_BYTES = 65536;
/** A buffer with fewer unused bytes is replaced; its pieces keep its memory alive. */
const MIN_FREE_BYTES = 16384;

/** A socket of `node:net`. A class, because an object with a getter takes 0.6 KB a connection. */
export class NetStream implements RawStream {
  readonly stream: NetSocket;

  constructor(stream: NetSocket) {
    this.stream = stream;
  }

  get conn(): null {
    return null;
  }

  pause(): void {
    pauseReads(this.stream);
  }

  resume(): void {
    resumeReads(this.stream);
  }

  freeUsedMemory(): void {
    freeMemoryAfterReads(this.stream);
  }

  close(): void {
    this.stream.destroy();
  }

  reset(): void {
    this.stream.resetAndDestroy();
  }
}

/**
 * Wraps a connection of Deno, and takes ownership of it: for addresses with an IPv6 scope, and for
 * Unix sockets of a server. The stream is slower than a socket of `node:net`.
 */
export function makeDuplex(conn: Deno.TcpConn | Deno.UnixConn): RawStream {
  const { Duplex } = loadBuiltin("node:stream");
  let unusedBuffer = new Uint8Array(0);
  let mayReleaseMemory = false;
  let pausePromise: PromiseWithResolvers<void> | null = null;
  const readPiece = async (): Promise<Uint8Array | null> => {
    while (pausePromise !== null) await pausePromise.promise;
    if (mayReleaseMemory && stream.readableLength === 0) {
      unusedBuffer = new Uint8Array(unusedBuffer.buffer);
    }
    if (unusedBuffer.length < MIN_FREE_BYTES) unusedBuffer = new Uint8Array(BUFFER_BYTES);
    const count = await conn.read(unusedBuffer);
    if (count === null) return null;
    const piece = unusedBuffer.subarray(0, count);
    unusedBuffer = unusedBuffer.subarray(count);
    return piece;
  };
  const resume = () => {
    pausePromise?.resolve();
    pausePromise = null;
  };
  const stream = new Duplex({
    allowHalfOpen: false,
    highWaterMark: BUFFER_BYTES,
    read(): void {
      readPiece().then((piece) => this.push(piece), (error) => this.destroy(error));
    },
    write(bytes: Uint8Array<ArrayBuffer>, _encoding, callback): void {
      writeAll(conn, bytes).then(() => {
        if (mayReleaseMemory) releaseMemory(bytes);
        callback();
      }, callback);
    },
    final(callback): void {
      conn.closeWrite().then(() => callback(), () => callback());
    },
    destroy(error, callback): void {
      resume();
      try {
        conn.close();
      } catch {
        // The connection was already closed.
      }
      callback(error);
    },
  });
  // Without a listener, an error of the stream would end the process.
  stream.on("error", ignoreError);
  return {
    stream,
    conn,
    pause: () => pausePromise ??= Promise.withResolvers(),
    resume,
    freeUsedMemory: () => void (mayReleaseMemory = true),
    close: () => void stream.destroy(),
    // Deno can't reset its connections.
    reset: () => void stream.destroy(),
  };
}

export function ignoreError(): void {}
