/**
 * A connection of Deno as a stream of `node:stream`, for the addresses that `node:net` can't reach:
 * those with an IPv6 scope, and names that the kernel chooses. It is slower than a socket of `node:net`.
 *
 * @module
 */

import { writeAll } from "../../base/body/byte_io.ts";
import { loadBuiltin } from "./modules.ts";
import { freeMemory, type RawStream } from "./raw_stream.ts";

const BUFFER_BYTES = 65536;
/** A buffer with less room left is replaced; the pieces cut from it keep it alive. */
const MIN_ROOM = 16384;

/** Wraps a connection, which it owns from then on. */
export function makeDuplex(conn: Deno.TcpConn | Deno.UnixConn): RawStream {
  const { Duplex } = loadBuiltin("node:stream");
  let room = new Uint8Array(0);
  let heard = false;
  let reuses = false;
  let held: PromiseWithResolvers<void> | null = null;
  const read = async (): Promise<Uint8Array | null> => {
    while (held !== null) await held.promise;
    if (reuses && stream.readableLength === 0) room = new Uint8Array(room.buffer);
    if (room.length < MIN_ROOM) room = new Uint8Array(BUFFER_BYTES);
    const count = await conn.read(room);
    if (count === null) return null;
    heard = true;
    const piece = room.subarray(0, count);
    room = room.subarray(count);
    return piece;
  };
  const release = () => {
    held?.resolve();
    held = null;
  };
  const stream = new Duplex({
    allowHalfOpen: false,
    highWaterMark: BUFFER_BYTES,
    read(): void {
      read().then((piece) => this.push(piece), (error) => this.destroy(error));
    },
    write(bytes: Uint8Array<ArrayBuffer>, _encoding, callback): void {
      writeAll(conn, bytes).then(() => {
        if (reuses) freeMemory(bytes);
        callback();
      }, callback);
    },
    final(callback): void {
      conn.closeWrite().then(() => callback(), () => callback());
    },
    destroy(error, callback): void {
      release();
      try {
        conn.close();
      } catch {
        // It was already closed.
      }
      callback(error);
    },
  });
  // The user of the stream listens too; this is for the time before and after.
  stream.on("error", () => {});
  return {
    stream,
    conn,
    get heard() {
      return heard;
    },
    hold: () => held ??= Promise.withResolvers(),
    release,
    reuseMemory: () => void (reuses = true),
    close: () => void stream.destroy(),
  };
}
