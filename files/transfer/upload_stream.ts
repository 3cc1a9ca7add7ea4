/** Uploads of streams, whose length and digest are known only at the end. */

import { type Chunk, ChunkedBodyIter, type HeadersToSend, type Response } from "../../base.ts";
import { awaitUntilAborted, pause } from "../../internal/pause.ts";
import { wrongTypeError } from "../../internal/checks.ts";
import { isTransient } from "../../client.ts";
import { makeConditionHeader } from "../wire/conditions.ts";
import { makeHash } from "../wire/digest.ts";
import { Throttle, type TransferResult, type TransferSettings } from "../options.ts";
import {
  remoteChangedError,
  responseError,
  toStreamError,
  unexpectedResponseError,
} from "../transfer_error.ts";
import { parseUnsetHeader, type UnsetProperty } from "../wire/metadata.ts";
import type { TransferClient } from "./client.ts";
import { checkStoredDigest, requestDigest } from "./remote_digest.ts";
import { HELD_BACK_BYTES, HELD_BYTE_INTERVAL_MILLISECONDS } from "./source_file.ts";

const CHUNK_BYTES = 524288;
/** The time after which a chunk is sent that isn't full: a refusal arrives only after a chunk. */
const GATHER_MILLISECONDS = 100;

export class StreamUpload {
  readonly #client: TransferClient;
  readonly #uri: string;
  readonly #stream: ReadableStream<Uint8Array>;
  readonly #settings: TransferSettings;

  constructor(
    client: TransferClient,
    uri: string,
    stream: ReadableStream<Uint8Array>,
    settings: TransferSettings,
  ) {
    this.#client = client;
    this.#uri = uri;
    this.#stream = stream;
    this.#settings = settings;
  }

  async run(): Promise<TransferResult> {
    const condition = await this.#announce();
    const chunks = new StreamChunks(this.#stream, this.#settings);
    try {
      await chunks.prefetch();
      return chunks.finish(await this.#send(chunks, condition));
    } catch (error) {
      // The stream stays locked: a later call would take a canceled stream for an empty stream.
      chunks.cancel(error);
      this.#settings.signal?.throwIfAborted();
      throw toStreamError(error);
    }
  }

  /** Requests whether the server accepts a stream, before the stream is read. */
  async #announce(): Promise<HeadersToSend> {
    const mayReplace = this.#settings.replace;
    const condition: HeadersToSend | null = mayReplace ? null : { "if-none-match": "*" };
    const headers = { "upload-complete": "?1", ...condition };
    const response = await this.#client.request("HEAD", this.#uri, headers);
    await response.discard();
    if (response.status !== 200) throw responseError("HEAD", this.#uri, response, "put");
    const { "file-stamp": stamp, "upload-offset": offset } = response.headers;
    if (typeof stamp === "string" && offset === "0") {
      return condition ?? makeConditionHeader(stamp);
    }
    const problem = "the server does not accept streams: its response has no upload-offset of 0";
    throw unexpectedResponseError("HEAD", this.#uri, problem);
  }

  async #send(
    chunks: StreamChunks,
    condition: HeadersToSend,
  ): Promise<readonly UnsetProperty[]> {
    const { modified, replace } = this.#settings;
    const headers = {
      ...condition,
      ...(modified === null ? {} : { "upload-modified": modified.toISOString() }),
      "upload-complete": "?1",
    };
    let response: Response;
    try {
      const body = new ChunkedBodyIter(chunks);
      response = await this.#client.request("PUT", this.#uri, headers, body);
    } catch (error) {
      // The server may have stored the file, although its response was lost.
      if (isTransient(error) && await this.#isStored(chunks)) return [];
      throw error;
    }
    await response.discard();
    const { status } = response;
    if (status === 201 || status === 204) {
      checkStoredDigest(this.#uri, response, chunks.sha256);
      return parseUnsetHeader(response.headers);
    }
    // Another upload of the same content may have ended first.
    if (status === 412 && await this.#isStored(chunks)) return [];
    if (status === 412 && replace) throw remoteChangedError(this.#uri, response);
    throw responseError("PUT", this.#uri, response, "put");
  }

  async #isStored({ sha256 }: StreamChunks): Promise<boolean> {
    if (sha256 === null || !this.#client.isUsable) return false;
    try {
      return (await requestDigest(this.#client, this.#uri)).sha256 === sha256;
    } catch {
      this.#settings.signal?.throwIfAborted();
      // The caller throws the error of the upload.
      return false;
    }
  }
}

/**
 * The chunk before the empty chunk is the SHA-256 of all bytes. A class instead of a generator: a
 * generator would cancel the stream only after a pending read.
 */
class StreamChunks implements AsyncIterableIterator<Chunk, undefined> {
  sha256: string | null = null;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #settings: TransferSettings;
  readonly #hash = makeHash();
  readonly #throttle = new Throttle();
  readonly #buffer = new Uint8Array(HELD_BACK_BYTES + CHUNK_BYTES);
  #bufferedBytes = 0;
  /** The bytes of the last item of the stream that are not in the buffer yet. */
  #item: Uint8Array = new Uint8Array(0);
  #pendingRead: Promise<ReadableStreamReadResult<Uint8Array>> | null = null;
  /** The number of bytes at the start of the buffer that are being sent. */
  #sendingBytes = 0;
  #sentBytes = 0;
  #phase:
    | "reading"
    /** The stream has ended; its last bytes may still be in the buffer. */
    | "read"
    /** The digest was returned. */
    | "hashed"
    /** The empty chunk was returned. */
    | "ended"
    | "canceled" = "reading";
  #sentAt = 0;
  #intervalPassed: Promise<null> | null = null;
  readonly #intervalController = new AbortController();

  constructor(stream: ReadableStream<Uint8Array>, settings: TransferSettings) {
    this.#reader = stream.getReader();
    this.#settings = settings;
  }

  /**
   * Reads more than `HELD_BACK_BYTES` bytes, or the whole stream. Call this method before the
   * request: a stream may begin late, and the server would time out.
   */
  async prefetch(): Promise<void> {
    while (this.#phase === "reading" && this.#bufferedBytes <= HELD_BACK_BYTES) {
      this.#fillBuffer(await awaitUntilAborted(this.#read(), this.#settings.signal));
    }
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    this.#dropSent();
    this.#sentAt = performance.now();
    let gatherTimer: ReturnType<typeof setTimeout> | undefined;
    const gathered = Promise.withResolvers<null>();
    let isGathered = false;
    const endGathering = () => {
      isGathered = true;
      gathered.resolve(null);
    };
    using cleanup = new DisposableStack();
    cleanup.defer(() => clearTimeout(gatherTimer));
    while (this.#phase === "reading" && this.#bufferedBytes < this.#buffer.length) {
      if (this.#bufferedBytes > HELD_BACK_BYTES) {
        if (isGathered) return this.#makeChunk(this.#bufferedBytes - HELD_BACK_BYTES);
        gatherTimer ??= setTimeout(endGathering, GATHER_MILLISECONDS);
      }
      this.#intervalPassed ??= pause(
        HELD_BYTE_INTERVAL_MILLISECONDS,
        this.#intervalController.signal,
      )
        .then(() => null);
      const result = await Promise.race([this.#read(), this.#intervalPassed, gathered.promise]);
      if (result !== null) {
        this.#fillBuffer(result);
        continue;
      }
      if (isGathered) continue;
      this.#intervalPassed = null;
      const isSilent = performance.now() - this.#sentAt >= HELD_BYTE_INTERVAL_MILLISECONDS;
      if (isSilent && this.#bufferedBytes > 0) return this.#makeChunk(1);
    }
    if (this.#phase === "reading") return this.#makeChunk(CHUNK_BYTES);
    if (this.#phase === "read" && this.#bufferedBytes > 0) {
      return this.#makeChunk(this.#bufferedBytes);
    }
    this.#intervalController.abort();
    if (this.#phase === "read") {
      this.#phase = "hashed";
      this.sha256 = this.#hash.digest("hex");
      return { done: false, value: [null, Uint8Array.fromHex(this.sha256)] };
    }
    // After a cancellation, the empty chunk would complete the body.
    if (this.#phase !== "hashed") return { done: true, value: undefined };
    this.#phase = "ended";
    return { done: false, value: [null, new Uint8Array(0)] };
  }

  #read(): Promise<ReadableStreamReadResult<Uint8Array>> {
    if (this.#item.length > 0) return Promise.resolve({ done: false, value: new Uint8Array(0) });
    return this.#pendingRead ??= this.#reader.read();
  }

  #fillBuffer({ done, value }: ReadableStreamReadResult<Uint8Array>): void {
    const freeBuffer = this.#buffer.subarray(this.#bufferedBytes);
    if (this.#item.length === 0) {
      this.#pendingRead = null;
      if (done) {
        if (this.#phase === "reading") this.#phase = "read";
        return;
      }
      if (!(value instanceof Uint8Array)) throw wrongTypeError("file", "a stream of bytes", value);
      // The program may transfer the buffer of an item before its last part is read.
      this.#item = value.length > freeBuffer.length ? value.slice() : value;
    }
    const bytes = this.#item.subarray(0, freeBuffer.length);
    freeBuffer.set(bytes);
    this.#hash.update(freeBuffer.subarray(0, bytes.length));
    this.#bufferedBytes += bytes.length;
    this.#item = this.#item.subarray(bytes.length);
  }

  #makeChunk(size: number): IteratorYieldResult<Chunk> {
    this.#sendingBytes = size;
    return { done: false, value: [null, this.#buffer.subarray(0, size)] };
  }

  #dropSent(): void {
    if (this.#sendingBytes === 0) return;
    this.#buffer.copyWithin(0, this.#sendingBytes, this.#bufferedBytes);
    this.#bufferedBytes -= this.#sendingBytes;
    this.#sentBytes += this.#sendingBytes;
    this.#sendingBytes = 0;
    if (this.#throttle.claimReport()) this.#reportProgress();
  }

  #reportProgress(): void {
    const bytes = this.#sentBytes;
    const progress = { done: bytes, total: bytes, transferred: bytes, resumedFrom: 0, reused: 0 };
    this.#settings.onProgress?.(progress);
  }

  finish(unset: readonly UnsetProperty[]): TransferResult {
    this.#reportProgress();
    const bytes = this.#sentBytes;
    return { bytes, total: bytes, resumedFrom: 0, reused: 0, sha256: this.sha256, unset };
  }

  cancel(reason: unknown): void {
    this.#intervalController.abort();
    if (this.#phase === "ended" || this.#phase === "canceled") return;
    this.#phase = "canceled";
    this.#reader.cancel(reason).catch(() => {});
  }

  return(reason?: unknown): Promise<IteratorReturnResult<undefined>> {
    this.cancel(reason);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
