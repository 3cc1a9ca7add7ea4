import { EMPTY_BYTES, encodeText } from "../../internal/bytes.ts";
import { wrongArgumentError } from "../../internal/checks.ts";
import { typeNameOf } from "../../internal/quote.ts";
import { BodyError } from "../errors.ts";
import type { Chunk } from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES } from "../wire/limits.ts";
import { Body } from "./body.ts";
import { ChunkedBodyIter } from "./body_iter.ts";
import { type ByteSource, SourceItem } from "./byte_io.ts";

type PlatformBody = Blob | ArrayBuffer | URLSearchParams;

export function isPlatformBody(value: unknown): value is PlatformBody {
  return value instanceof Blob || value instanceof ArrayBuffer || value instanceof URLSearchParams;
}

export function encodePlatformBody(body: PlatformBody, labelPrefix: string): Uint8Array | Body {
  if (body instanceof Blob) return new Body(new BlobSource(body), body.size);
  if (body instanceof URLSearchParams) return encodeText(`${labelPrefix}body`, body.toString());
  if (!body.detached) return new Uint8Array(body);
  throw wrongArgumentError(
    `${labelPrefix}body`,
    `must be an ArrayBuffer with its memory; got a transferred one`,
  );
}

class BlobSource implements ByteSource {
  readonly #blob: Blob;
  #position = 0;

  constructor(blob: Blob) {
    this.#blob = blob;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const part = this.#blob.slice(this.#position, this.#position + into.length);
    const bytes = new Uint8Array(await part.arrayBuffer());
    into.set(bytes);
    this.#position += bytes.length;
    return bytes.length || null;
  }
}

/** A body of unknown length: each item is sent at once, strings as UTF-8. */
type StreamedBody = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>;

export function isStreamedBody(value: unknown): value is StreamedBody {
  if (typeof value !== "object" || value === null || "writeTo" in value) return false;
  const { getReader, [Symbol.asyncIterator]: iterate } = value as Partial<ReadableStream>;
  return typeof getReader === "function" || typeof iterate === "function";
}

/** The chunked body of each source, so that a source can be sent only once. */
const chunkedBodies = new WeakMap<StreamedBody, ChunkedBodyIter>();

export function chunkedBodyOf(source: StreamedBody, labelPrefix = ""): ChunkedBodyIter {
  return chunkedBodies.getOrInsertComputed(source, () => {
    if ("locked" in source && source.locked === true) throw lockedStreamError(labelPrefix);
    return new ChunkedBodyIter(new ChunkIterator(source));
  });
}

function lockedStreamError(labelPrefix: string): TypeError {
  return wrongArgumentError(`${labelPrefix}body`, "must be an unlocked stream; got a locked one");
}

interface ItemReader {
  readonly read: () => Promise<IteratorResult<unknown> | ReadableStreamReadResult<unknown>>;
  readonly cancel: (reason: unknown) => unknown;
}

function openItemReader(source: StreamedBody): ItemReader {
  if ("getReader" in source) {
    if (source.locked === true) throw lockedStreamError("");
    const reader = source.getReader();
    // Use a reader, because the iterator of a stream would cancel the stream only after a pending
    // item.
    return { read: () => reader.read(), cancel: (reason) => reader.cancel(reason) };
  }
  const iterator = source[Symbol.asyncIterator]();
  return { read: () => iterator.next(), cancel: (reason) => iterator.return?.(reason) };
}

class ChunkIterator implements AsyncIterableIterator<Chunk, undefined> {
  readonly #source: StreamedBody;
  /** `null` before the first item: a request is checked before its source is locked. */
  #itemReader: ItemReader | null = null;
  /** The last item; `null` after the source has ended. */
  #item: SourceItem | null = new SourceItem(EMPTY_BYTES);

  constructor(source: StreamedBody) {
    this.#source = source;
  }

  #open(): ItemReader {
    return this.#itemReader ??= openItemReader(this.#source);
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    if (this.#item === null) return { done: true, value: undefined };
    while (this.#item.isTaken) {
      const { done, value } = await this.#open().read();
      if (done) {
        this.#item = null;
        return { done: false, value: [null, EMPTY_BYTES] };
      }
      this.#item = this.#cancelOnError(() => new SourceItem(toBytes(value)));
    }
    const item = this.#item;
    return { done: false, value: [null, this.#cancelOnError(() => item.take(MAX_CHUNK_BYTES))] };
  }

  /** The consumer treats an iterator that throws as ended, and doesn't close it. */
  #cancelOnError<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      void this.return(error).catch(() => {});
      throw error;
    }
  }

  async return(reason?: unknown): Promise<IteratorReturnResult<undefined>> {
    await this.#open().cancel(reason);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function toBytes(item: unknown): Uint8Array {
  if (item instanceof Uint8Array) return item;
  if (typeof item === "string") return encodeText("an item of the body", item);
  throw new BodyError(
    `the items of a stream or generator must be Uint8Arrays or strings; got ${typeNameOf(item)}`,
  );
}
