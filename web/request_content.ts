/**
 * The body of a request that is made with `fetch`.
 *
 * @module
 */

import type { BodyOut } from "../base/body/bodies.ts";
import { BodyIter } from "../base/body/body_iter.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { mayHaveBody } from "../base/wire/preamble.ts";
import { bodyOfBytes, streamedBody, takeWhole } from "./bodies.ts";
import { StreamPieces } from "./stream_pieces.ts";

/** The content of a request, each time that it is sent. */
export interface RequestContent {
  /** False for a stream, which can be sent only once. */
  readonly replayable: boolean;
  /** The body for the next send. */
  take(): BodyOut;
}

/** No content. */
export const noContent: RequestContent = {
  replayable: true,
  take: () => null,
};

/** Determines the content of a request. */
export async function contentOf(
  request: Request,
  given: unknown,
  headers: HeaderDict,
): Promise<RequestContent> {
  if (given instanceof Blob) return contentOfBlob(given);
  if (isFixed(given)) return contentOfBytes([await request.bytes()]);
  if (request.body === null) {
    // A length of 0 if the method allows a body (Fetch standard, HTTP-network-or-cache fetch, 8).
    const expected = mayHaveBody(request.method);
    return expected ? contentOfBytes([]) : noContent;
  }
  // A Request doesn't show what its body was made from.
  return await contentOfStream(request.body, headers);
}

/** True for text, bytes and forms: everything but streams. */
function isFixed(given: unknown): boolean {
  if (given === undefined || given === null) return false;
  return typeof given !== "object" || !(Symbol.asyncIterator in given);
}

function contentOfBytes(pieces: readonly Uint8Array[]): RequestContent {
  return { replayable: true, take: () => bodyOfBytes(pieces) };
}

function contentOfBlob(blob: Blob): RequestContent {
  const take = () => new BodyIter(new StreamPieces(blob.stream()), blob.size);
  return { replayable: true, take };
}

async function contentOfStream(
  stream: ReadableStream<Uint8Array>,
  headers: HeaderDict,
): Promise<RequestContent> {
  const pieces = new StreamPieces(stream);
  const whole = await takeWhole(pieces, headers);
  if (whole !== null) return contentOfBytes(whole);
  return { replayable: false, take: () => streamedBody(pieces, headers) };
}
