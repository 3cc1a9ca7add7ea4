/** What is sent as a body, and how it is framed. */

import { EMPTY_BYTES, isOutOfBounds, realLengthOf } from "../../internal/bytes.ts";
import { notAllowedError, wrongArgumentError } from "../../internal/checks.ts";
import { quote, typeNameOf } from "../../internal/quote.ts";
import { BodyError } from "../errors.ts";
import { isHeaderValue } from "../wire/character_tables.ts";
import { type Chunk, RangeChecker } from "../wire/chunk.ts";
import { checkHeaders, type Framing, type HeadersToSend } from "../wire/headers.ts";
import { MAX_CHUNK_BYTES, MAX_READ_BYTES } from "../wire/limits.ts";
import { mayHaveBody, type Method } from "../wire/method.ts";
import { isBodiless } from "../wire/preamble.ts";
import { ContentRange, findContentRangeProblem } from "../wire/range.ts";
import {
  Body,
  type BodyIn,
  type BodyIter,
  cancelQuietly,
  type ChunkedBody,
  ChunkedBodyIter,
  isWritableBody,
  stateOf,
  type WritableBody,
} from "./body.ts";
import type { BodyState } from "./body_reader.ts";
import { type ByteSource, SourceItem } from "./byte_io.ts";

const encoder = new TextEncoder();

/**
 * The body of a message to be sent. A string is sent as UTF-8. A `Blob` and `URLSearchParams` set
 * the `content-type`, unless the headers have one or the `Blob` has no type. Each item of a stream
 * or an asynchronous generator is sent at once, in chunks.
 */
export type BodyOut =
  | null
  | string
  | Uint8Array
  | ArrayBuffer
  | Blob
  | URLSearchParams
  | Body
  | BodyIter
  | ChunkedBody
  | ChunkedBodyIter
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array | string>;

export type PreparedBody = null | Uint8Array | WritableBody;

declare const SHORT_TEXT: unique symbol;

/**
 * A text of at most 1024 characters of ASCII, which is written behind the preamble without an array
 * of its bytes. Only {@linkcode isShortText} finds one.
 */
export type ShortText = string & { readonly [SHORT_TEXT]: true };

export type ResponseBody = PreparedBody | ShortText;

const MAX_SHORT_TEXT = 1024;

export function isShortText(body: unknown): body is ShortText {
  if (typeof body !== "string" || body.length > MAX_SHORT_TEXT) return false;
  for (let i = 0; i < body.length; i++) if (body.charCodeAt(i) > 0x7f) return false;
  return true;
}

export function prepareBody(body: BodyOut, labelPrefix = ""): PreparedBody {
  if (body === null || body instanceof Uint8Array) return body;
  const label = `${labelPrefix}body`;
  if (typeof body === "string" || body instanceof URLSearchParams) {
    return encodeText(label, body.toString());
  }
  if (body instanceof Blob) return new Body(new BlobSource(body), body.size);
  if (!(body instanceof ArrayBuffer)) {
    return isStreamedBody(body) ? chunkedBodyOf(body, labelPrefix) : body;
  }
  if (!body.detached) return new Uint8Array(body);
  throw wrongArgumentError(label, `must be an ArrayBuffer with its memory; got a transferred one`);
}

function encodeText(label: string, text: string): Uint8Array<ArrayBuffer> {
  checkText(label, text);
  return encoder.encode(text);
}

export function checkText(label: string, text: string): void {
  if (!text.isWellFormed()) throw notAllowedError(label, `must have no lone surrogate`);
}

const FORM_CONTENT_TYPE = "application/x-www-form-urlencoded;charset=UTF-8";

/** Returns headers with a content-type unchanged, even if it is `undefined`. */
export function withContentType(
  headers: HeadersToSend,
  body: unknown,
  labelPrefix = "",
): HeadersToSend {
  // Fast path: most bodies have no type, and every message calls this function.
  if (typeof body !== "object" || body === null || body instanceof Uint8Array) return headers;
  const type = body instanceof Blob
    ? body.type
    : body instanceof URLSearchParams
    ? FORM_CONTENT_TYPE
    : "";
  if (type === "") return headers;
  checkHeaders(headers, `${labelPrefix}headers`);
  if (Object.hasOwn(headers, "content-type")) return headers;
  if (isHeaderValue(type)) return { ...headers, "content-type": type };
  throw notAllowedError(
    `${labelPrefix}body`,
    `its type ${quote(type)} can't be the value of a header; ` +
      `set headers["content-type"]`,
  );
}

/**
 * Reports whether a request with this body can be sent again. A stream or a generator can't yield
 * its items again.
 */
export function isRepeatable(body: BodyOut): boolean {
  if (typeof body !== "object" || body === null || body instanceof Uint8Array) return true;
  const isPlatformBody = body instanceof Blob || body instanceof ArrayBuffer ||
    body instanceof URLSearchParams;
  return isPlatformBody || isWritableBody(body) && !body.used;
}

export function determineBodyFraming(body: PreparedBody, labelPrefix = ""): Framing {
  if (body === null) return null;
  if (body instanceof Uint8Array) {
    const length = realLengthOf(body);
    if (isOutOfBounds(body)) {
      const problem = "must be bytes; its buffer was transferred or resized";
      throw wrongArgumentError(`${labelPrefix}body`, problem);
    }
    if (length <= MAX_READ_BYTES) return length;
    throw notAllowedError(
      `${labelPrefix}body`,
      `must be a Blob, a Body or a BodyIter above ${MAX_READ_BYTES} bytes; got ${length} bytes`,
    );
  }
  const state = stateOf(body);
  if (state === null) {
    const expected =
      "null, a string, Uint8Array, ArrayBuffer, Blob, URLSearchParams, Body, BodyIter, " +
      "ChunkedBody, ChunkedBodyIter, a stream or an asynchronous generator";
    throw wrongArgumentError(`${labelPrefix}body`, `must be ${expected}; got ${typeNameOf(body)}`);
  }
  if (body.used === true) throw usedBodyError(state, labelPrefix);
  return state.framing;
}

function usedBodyError(state: BodyState, labelPrefix: string): BodyError {
  const { isCanceledUnused, interruption: { failure } } = state;
  const reason = isCanceledUnused ? "was canceled or disposed of" : "has been used before";
  const problem = `${labelPrefix}body: ${reason}`;
  const options = failure === null ? { problem } : { problem, cause: failure.error };
  return new BodyError(`${problem}; make a new one for each message`, options);
}

/**
 * Returns the framing that a message announces: that of its body. Without a body:
 *
 * | message                            | framing                                               |
 * | ---------------------------------- | ----------------------------------------------------- |
 * | a request of a method without body; 204 | `null`                                            |
 * | a response to HEAD; 304             | `undefined`: the headers may announce the body of GET |
 * | any other                           | 0; `null` if `unframedNull` and no content-length     |
 *
 * A response to HEAD announces the body that GET would get, although the body is not sent (RFC 9110
 * §9.3.2, §15.4.5).
 *
 * @param status The status of a response; `null` for a request.
 * @param method The method of the request as it arrived; the app may have changed its `Request`.
 */
export function determineSentFraming(
  method: Method,
  status: number | null,
  headers: HeadersToSend,
  body: ResponseBody,
  unframedNull = false,
  labelPrefix = status === null ? "" : "response.",
): Framing | undefined {
  if (body !== null && (status === 204 || status === 304)) {
    const problem = `must be null with status ${status}; got ${typeNameOf(body)}`;
    throw notAllowedError(`${labelPrefix}body`, problem);
  }
  const framing = typeof body === "string" ? body.length : determineBodyFraming(body, labelPrefix);
  if (status === 206) {
    checkRangeOf(body, headers);
    const length = body !== null ? framing : method === "HEAD" ? headers["content-length"] : 0;
    const problem = findContentRangeProblem(headers["content-range"], length);
    if (problem !== null) {
      const label = `${labelPrefix}headers["content-range"]`;
      throw notAllowedError(label, `must be the range of the body: ${problem}`);
    }
  }
  if (body !== null) return framing;
  if (status === null ? !mayHaveBody(method) : status === 204) return null;
  if (status !== null && isBodiless(method, status)) return undefined;
  return unframedNull && headers["content-length"] === undefined ? null : 0;
}

/**
 * Checks a chunked body with status 206 while it is read or written: its data is as long as the
 * range of the headers (RFC 9110 §15.3.7).
 */
export function checkRangeOf(
  body: ResponseBody,
  { "content-range": contentRange }: HeadersToSend,
): void {
  if (!(contentRange instanceof ContentRange)) return;
  stateOf(body)?.checkRange(new RangeChecker(contentRange));
}

const retainedBodies = new WeakSet<object>();

/**
 * Protects a body from {@linkcode cancelUnusedBody} until the returned function is called, so that
 * a retry can send it.
 */
export function retainBody(body: BodyOut): () => void {
  if (typeof body !== "object" || body === null) return () => {};
  retainedBodies.add(body);
  return () => retainedBodies.delete(body);
}

/** Never throws. */
export function cancelUnusedBody(body: unknown, reason: unknown): void {
  const writable = writableBodyOf(body);
  if (writable !== null && !retainedBodies.has(body as object) && !writable.used) {
    cancelQuietly(writable, reason);
  }
}

/** Cancels a body even if it is being sent. Never throws. */
export function cancelSentBody(body: unknown, reason: unknown): void {
  cancelQuietly(writableBodyOf(body), reason);
}

function writableBodyOf(body: unknown): WritableBody | null {
  try {
    const writable = isStreamedBody(body) ? chunkedBodyOf(body) : body;
    return isWritableBody(writable) ? writable : null;
  } catch {
    // Other code has locked the stream.
    return null;
  }
}

/**
 * Checks that a received body can be forwarded, and returns it.
 *
 * @param body The body of a request or a response, or `null`.
 * @throws {TypeError} if the value is not a body.
 * @throws {BodyError} if the body has been used before.
 *
 * @example
 * ```ts
 * import { makeOutputFromInput } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(makeOutputFromInput(null), null);
 * ```
 */
export function makeOutputFromInput(body: BodyIn): BodyOut {
  determineBodyFraming(body);
  return body;
}

// ───────────────────────── bodies of the platform

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

function isStreamedBody(value: unknown): value is StreamedBody {
  if (typeof value !== "object" || value === null || "writeTo" in value) return false;
  const { getReader, [Symbol.asyncIterator]: iterate } = value as Partial<ReadableStream>;
  return typeof getReader === "function" || typeof iterate === "function";
}

/** The chunked body of each source, so that a source can be sent only once. */
const chunkedBodies = new WeakMap<StreamedBody, ChunkedBodyIter>();

function chunkedBodyOf(source: StreamedBody, labelPrefix = ""): ChunkedBodyIter {
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
