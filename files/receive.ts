/**
 * Writes received bytes to a file.
 *
 * @module
 */

import type { Hash } from "node:crypto";
import type { Body } from "../base/body/body.ts";

/** Bytes of each of the two buffers for a body. */
const BUFFER_BYTES = 524288;
/** A body of at most this many bytes is not worth a stream. */
const SMALL_BYTES = 65536;

/** The destination of a body's bytes, in order. */
export interface Receiver {
  /** Hashes every byte, if present. */
  readonly hash: Hash | null;
  /** Writes all of the bytes, which are valid until it resolves. */
  write(bytes: Uint8Array): Promise<void>;
  /** Called after each write with how many bytes it had. */
  written(count: number): void;
}

/**
 * Writes a body, and hashes it on the way: while one piece is being written the next one is received
 * and hashed. Everything that has arrived is written even if the body is cut.
 */
export async function receiveBody(body: Body, receiver: Receiver): Promise<void> {
  if (body.contentLength > SMALL_BYTES) return await receiveStream(body, receiver);
  const bytes = await body.read();
  receiver.hash?.update(bytes);
  await writePiece(receiver, bytes);
}

async function receiveStream(body: Body, receiver: Receiver): Promise<void> {
  const reader = body.readable.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(BUFFER_BYTES);
  let writing = Promise.resolve(new ArrayBuffer(BUFFER_BYTES));
  try {
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) break;
      receiver.hash?.update(value);
      buffer = await writing;
      writing = writePiece(receiver, value).then(() => value.buffer);
      // It is awaited before the next write, and at the end.
      writing.catch(() => {});
    }
    await writing;
  } catch (error) {
    await writing.catch(() => {});
    await reader.cancel(error).catch(() => {});
    throw error;
  }
}

async function writePiece({ write, written }: Receiver, piece: Uint8Array): Promise<void> {
  if (piece.length === 0) return;
  await write(piece);
  written(piece.length);
}
