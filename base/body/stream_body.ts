/** Streams and generators as bodies to be sent: in chunks, the last of which is added. */

import { wrongArgumentError } from "../../internal/checks.ts";
import { ChunkedBodyIter } from "./body_iter.ts";
import { EMPTY, encodeText } from "../../internal/bytes.ts";
import { BodyError } from "../errors.ts";
import { typeName } from "../../internal/quote.ts";
import type { Chunk } from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES } from "../wire/limits.ts";

/** A body of unknown length: what it yields is sent at once, strings as UTF-8. */
export type StreamedBody = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>;

/** Whether a value is a stream or another asynchronous iterable, and no body of any package. */
export function isStreamed(value: unknown): value is StreamedBody {
  if (typeof value !== "object" || value === null || "writeTo" in value) return false;
  const { getReader, [Symbol.asyncIterator]: iterate } = value as Partial<ReadableStream>;
  return typeof getReader === "function" || typeof iterate === "function";
}

/** The body of each source: the second time, a source that was sent or canceled counts as used. */
const chunkedBodies = new WeakMap<StreamedBody, ChunkedBodyIter>();

/**
 * The chunked body of a stream or iterable: the same one for each call.
 *
 * @throws {TypeError} if other code has locked the stream.
 */
export function chunkedBodyOf(source: StreamedBody, owner = ""): ChunkedBodyIter {
  const known = chunkedBodies.get(source);
  if (known !== undefined) return known;
  if ((source as Partial<ReadableStream>).locked === true) {
    throw wrongArgumentError(`${owner}body`, `must be an unlocked stream; got a locked one`);
  }
  const body = new ChunkedBodyIter(new Chunks(source));
  chunkedBodies.set(source, body);
  return body;
}

/** The chunks of a source, and the empty chunk after them. */
class Chunks implements AsyncIterableIterator<Chunk, undefined> {
  readonly #read: () => Promise<IteratorResult<unknown> | ReadableStreamReadResult<unknown>>;
  readonly #cancel: (reason: unknown) => unknown;
  /** What is left of the last item; `null` at the end. */
  #rest: Uint8Array | null = EMPTY;

  constructor(source: StreamedBody) {
    if ("getReader" in source) {
      const reader = source.getReader();
      this.#read = () => reader.read();
      // The iterator of a stream could cancel it only after a pending item has come.
      this.#cancel = (reason) => reader.cancel(reason);
    } else {
      const iterator = source[Symbol.asyncIterator]();
      this.#read = () => iterator.next();
      this.#cancel = (reason) => iterator.return?.(reason);
    }
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    if (this.#rest === null) return { done: true, value: undefined };
    while (this.#rest.length === 0) {
      const { done, value } = await this.#read();
      if (done) {
        this.#rest = null;
        return { done: false, value: [null, EMPTY] };
      }
      this.#rest = this.#toBytes(value);
    }
    const data = this.#rest.subarray(0, MAX_CHUNK_BYTES);
    this.#rest = this.#rest.subarray(data.length);
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
      // An iterator that throws counts as ended, and nobody will ask it to close the source.
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
