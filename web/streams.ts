/** Streams that may be complete already, as the body of a response of a text is. */

import { BodyIter } from "../base/body/body_iter.ts";
import { concatenate } from "../internal/bytes.ts";
import { MAX_READ_BYTES } from "../base/wire/limits.ts";

/**
 * The largest number of turns of the microtask queue that an immediate read may take. Text and
 * bytes take two turns, through a `TransformStream` four. A read from a file, a socket or a timer
 * takes a turn of the event loop, which is longer than any number of these turns.
 */
const MAX_MICROTASKS = 8;
/** The largest number of pieces that are read ahead if each read is immediate. */
const MAX_PIECES_AHEAD = 16;

type Stream = ReadableStream<Uint8Array>;

/** The bytes of a stream, if all of them are there at once; else a stream of the same pieces. */
export async function readAhead(stream: Stream): Promise<readonly Uint8Array[] | Stream> {
  const reader = stream.getReader();
  const pendingReads: Promise<ReadableStreamReadResult<Uint8Array>>[] = [];
  const pieces: Uint8Array[] = [];
  while (pendingReads.length < MAX_PIECES_AHEAD) {
    const pendingRead = reader.read();
    pendingReads.push(pendingRead);
    const result = await settleWithinMicrotasks(pendingRead);
    if (result?.done) return pieces;
    // The reader of the rest finds whatever is wrong with a piece.
    if (!(result?.value instanceof Uint8Array)) break;
    pieces.push(result.value);
  }
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await (pendingReads.shift() ?? reader.read());
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

/** The result of a promise that settles within a few turns of the microtask queue; else `null`. */
async function settleWithinMicrotasks<T>(promise: Promise<T>): Promise<T | null> {
  let result: T | null = null;
  promise.then((value) => result = value, () => {});
  for (let count = 0; count < MAX_MICROTASKS && result === null; count++) await null;
  return result;
}

/** A body of known bytes; can be called any number of times with the same pieces. */
export function makeBody(pieces: readonly Uint8Array[]): Uint8Array | BodyIter {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > MAX_READ_BYTES) return new BodyIter(pieces, length);
  return pieces.length === 1 ? pieces[0]! : concatenate(pieces);
}
