/**
 * Bodies from web streams, and web streams from bodies.
 *
 * @module
 */

import type { WritableBody } from "../base/body/bodies.ts";
import type { Body } from "../base/body/body.ts";
import { BodyIter, ChunkedBodyIter } from "../base/body/body_iter.ts";
import { concatenate, EMPTY } from "../base/bytes.ts";
import { closeByteStream } from "../base/body/body_state.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import { ChunkedBody } from "../base/body/chunked_body.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_CHUNK_BYTES, MAX_READ_BYTES } from "../base/wire/limits.ts";
import type { StreamPieces } from "./stream_pieces.ts";

/** The pieces of a stream as chunks, and the empty chunk after the last one. */
class StreamChunks implements AsyncIterableIterator<Chunk> {
  readonly #pieces: StreamPieces;
  #rest: Uint8Array = EMPTY;
  #ended = false;

  constructor(pieces: StreamPieces) {
    this.#pieces = pieces;
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    if (this.#ended) return { done: true, value: undefined };
    while (this.#rest.length === 0 && !this.#ended) {
      const { done, value } = await this.#pieces.next();
      if (done) this.#ended = true;
      else this.#rest = value;
    }
    const data = this.#rest.subarray(0, MAX_CHUNK_BYTES);
    this.#rest = this.#rest.subarray(data.length);
    return { done: false, value: [null, data] };
  }

  async return(reason?: unknown): Promise<IteratorResult<Chunk, undefined>> {
    await this.#pieces.return(reason);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** All pieces, if they are available at once and may be sent with their length; else `null`. */
export async function takeWhole(
  pieces: StreamPieces,
  headers: HeaderDict,
): Promise<Uint8Array[] | null> {
  return Object.hasOwn(headers, "transfer-encoding") ? null : await pieces.takeWhole();
}

/** A body of pieces that have not arrived yet: of the length in the headers, or chunked. */
export function streamedBody(
  pieces: StreamPieces,
  headers: HeaderDict,
): BodyIter | ChunkedBodyIter {
  const { "content-length": length } = headers;
  return typeof length === "number" ? new BodyIter(pieces, length) : chunkedBody(pieces);
}

/** A body of known bytes; can be called any number of times with the same pieces. */
export function bodyOfBytes(pieces: readonly Uint8Array[]): Uint8Array | BodyIter {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > MAX_READ_BYTES) return new BodyIter(pieces, length);
  return pieces.length === 1 ? pieces[0]! : concatenate(pieces);
}

/** A chunked body of the pieces of a stream. */
export function chunkedBody(pieces: StreamPieces): ChunkedBodyIter {
  return new ChunkedBodyIter(new StreamChunks(pieces));
}

/** The content of a body, without any coding, as a stream. Canceling it cancels the body. */
export function streamOf(body: WritableBody): ReadableStream<Uint8Array<ArrayBuffer>> {
  if (body.chunked) {
    return "readable" in body ? body.readable : new ChunkedBody(encodedStreamOf(body)).readable;
  }
  return Symbol.asyncIterator in body ? iteratedStreamOf(body) : encodedStreamOf(body);
}

/** Like `body.readable`, but much faster for small bodies. */
function iteratedStreamOf(body: Body): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pieces = body[Symbol.asyncIterator]();
  let missing = body.contentLength;
  return new ReadableStream({
    type: "bytes",
    pull: async (controller) => {
      const { done, value } = await pieces.next();
      if (!done) {
        missing -= value.length;
        controller.enqueue(value);
      }
      if (!done && missing > 0) return;
      closeByteStream(controller);
    },
    cancel: (reason) => body.cancel(reason),
  });
}

/** The bytes that a body writes, as a stream. Nothing is written before it is requested. */
export function encodedStreamOf(body: WritableBody): ReadableStream<Uint8Array<ArrayBuffer>> {
  let wanted = Promise.withResolvers<void>();
  let started = false;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      wanted.resolve();
      if (started) return;
      started = true;
      const write = async (bytes: Uint8Array) => {
        await wanted.promise;
        wanted = Promise.withResolvers();
        controller.enqueue(bytes.slice());
      };
      body.writeTo({ write }).then(() => controller.close()).catch((error) => {
        controller.error(error);
      });
    },
    async cancel(reason) {
      wanted.promise.catch(() => {});
      wanted.reject(reason);
      await body.cancel(reason);
    },
  }, { highWaterMark: 0 });
}

/**
 * A byte stream with the same content.
 *
 * @param ended Called when the stream has ended, failed or been canceled.
 * @param cut If it rejects, the stream fails with the reason.
 */
export function endingWith(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  ended: () => void,
  cut?: Promise<never>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader();
  return new ReadableStream({
    type: "bytes",
    start(controller) {
      cut?.catch((reason) => {
        controller.error(reason);
        ended();
        reader.cancel(reason).catch(() => {});
      });
    },
    async pull(controller) {
      let result;
      try {
        // A byte stream can't have empty pieces.
        do result = await reader.read(); while (result.value?.length === 0);
      } catch (error) {
        ended();
        throw error;
      }
      // A copy: a byte stream detaches the memory that it is given, and this may be in use.
      if (!result.done) return controller.enqueue(result.value.slice());
      ended();
      closeByteStream(controller);
    },
    async cancel(reason) {
      ended();
      await reader.cancel(reason);
    },
  });
}
