/** Streams and generators as bodies to be sent, in chunks. */

import { wrongArgumentError } from "../../internal/checks.ts";
import { ChunkedBodyIter } from "./body_iter.ts";
import { EMPTY, encodeText } from "../../internal/bytes.ts";
import { BodyError } from "../errors.ts";
import { typeName } from "../../internal/quote.ts";
import type { Chunk } from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES } from "../wire/limits.ts";

/** A body of unknown length: each item is sent at once, strings as UTF-8. */
export type StreamedBody = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>;

/** Reports whether a value is a stream or another asynchronous iterable, and not a body. */
export function isStreamed(value: unknown): value is StreamedBody {
  if (typeof value !== "object" || value === null || "writeTo" in value) return false;
  const { getReader, [Symbol.asyncIterator]: iterate } = value as Partial<ReadableStream>;
  return typeof getReader === "function" || typeof iterate === "function";
}

/** The body of each source, so that a source counts as used when it is sent a second time. */
const chunkedBodies = new WeakMap<StreamedBody, ChunkedBodyIter>();

/**
 * Returns the chunked body of a stream or iterable: the same body for each call.
 *
 * @throws {TypeError} if other code has locked the stream.
 */
export function chunkedBodyOf(source: StreamedBody, owner = ""): ChunkedBodyIter {
  const cached = chunkedBodies.get(source);
  if (cached !== undefined) return cached;
  if ((source as Partial<ReadableStream>).locked === true) {
    throw wrongArgumentError(`${owner}body`, `must be an unlocked stream; got a locked one`);
  }
  const body = new ChunkedBodyIter(new ChunkIterator(source));
  chunkedBodies.set(source, body);
  return body;
}

/** Iterates over the items of a source as chunks, and adds the empty last chunk. */
class ChunkIterator implements AsyncIterableIterator<Chunk, undefined> {
  readonly #read: () => Promise<IteratorResult<unknown> | ReadableStreamReadResult<unknown>>;
  readonly #cancel: (reason: unknown) => unknown;
  /** The remaining bytes of the last item; `null` after the source has ended. */
  #remainder: Uint8Array | null = EMPTY;

  constructor(source: StreamedBody) {
    if ("getReader" in source) {
      const reader = source.getReader();
      this.#read = () => reader.read();
      // Not by the iterator of the stream, which would cancel only after a pending item.
      this.#cancel = (reason) => reader.cancel(reason);
    } else {
      const iterator = source[Symbol.asyncIterator]();
      this.#read = () => iterator.next();
      this.#cancel = (reason) => iterator.return?.(reason);
    }
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    if (this.#remainder === null) return { done: true, value: undefined };
    while (this.#remainder.length === 0) {
      const { done, value } = await this.#read();
      if (done) {
        this.#remainder = null;
        return { done: false, value: [null, EMPTY] };
      }
      this.#remainder = this.#toBytes(value);
    }
    const data = this.#remainder.subarray(0, MAX_CHUNK_BYTES);
    this.#remainder = this.#remainder.subarray(data.length);
    return { done: false, value: [null, data] };
  }

  #toBytes(item: unknown): Uint8Array {
    try {
      if (item instanceof Uint8Array) return item;
      if (typeof item === "string") return encodeText("an item of the body", item);
      throw new BodyError(
        `the items of a stream or generator must be Uint8Arrays or strings; got ${typeName(item)}`,
      );
    } catch (error) {
      // The consumer treats an iterator that throws as ended, and doesn't close it.
      void this.return(error).catch(() => {});
      throw error;
    }
  }

  async return(reason?: unknown): Promise<IteratorReturnResult<undefined>> {
    await this.#cancel(reason);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
