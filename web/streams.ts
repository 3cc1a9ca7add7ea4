/**
 * Functions that read a stream ahead if all of its bytes are already available, such as the body of
 * a response with a text.
 */

import { BodyIter } from "../base/body/body_iter.ts";
import { concatenate } from "../internal/bytes.ts";
import { MAX_READ_BYTES } from "../base/wire/limits.ts";

/**
 * The maximum number of microtasks that an immediate read may take. Text and bytes take two, or
 * four through a `TransformStream`. A read from a file, a socket or a timer takes a tick of the
 * event loop, which follows all microtasks.
 */
const MAX_MICROTASKS = 8;
const MAX_PIECES_AHEAD = 16;

type Stream = ReadableStream<Uint8Array>;

export async function readAhead(stream: Stream): Promise<readonly Uint8Array[] | Stream> {
  const reader = stream.getReader();
  const pendingReads: Promise<ReadableStreamReadResult<Uint8Array>>[] = [];
  const pieces: Uint8Array[] = [];
  while (pendingReads.length < MAX_PIECES_AHEAD) {
    const pendingRead = reader.read();
    pendingReads.push(pendingRead);
    const result = await settleWithinMicrotasks(pendingRead);
    if (result?.done) return pieces;
    // The consumer of the returned stream rejects an invalid piece.
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

async function settleWithinMicrotasks<T>(promise: Promise<T>): Promise<T | null> {
  let result: T | null = null;
  promise.then((value) => result = value, () => {});
  for (let count = 0; count < MAX_MICROTASKS && result === null; count++) await null;
  return result;
}

export function makeBody(pieces: readonly Uint8Array[]): Uint8Array | BodyIter {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > MAX_READ_BYTES) return new BodyIter(pieces, length);
  return pieces.length === 1 ? pieces[0]! : concatenate(pieces);
}
