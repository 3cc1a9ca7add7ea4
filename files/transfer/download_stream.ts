import type { Body, Response } from "../../base.ts";
import { awaitUntilAborted } from "../../internal/pause.ts";
import { quoteName } from "../../internal/quote.ts";
import { type Connector, isTransient, type Requester, retry } from "../../client.ts";
import { makeHash } from "../wire/digest.ts";
import { type DownloadSettings, ProgressMeter, type TransferResult } from "../options.ts";
import { changedWhileCopiedError, responseError, toStreamError } from "../transfer_error.ts";
import { TransferClient } from "./client.ts";
import {
  checkRemainder,
  checkWholeFile,
  digestMismatchError,
  type RemoteVersion,
  requestContent,
  requestDigest,
} from "./remote_digest.ts";

const PIECE_BYTES = 262144;

interface BegunDownload {
  readonly version: RemoteVersion;
  readonly meter: ProgressMeter;
  readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
}

export async function downloadToStream(
  from: Requester | Connector,
  uri: string,
  stream: WritableStream<Uint8Array<ArrayBuffer>>,
  settings: DownloadSettings,
): Promise<TransferResult> {
  using client = new TransferClient("from", from, settings);
  settings.signal?.throwIfAborted();
  return await new StreamDownload(client, uri, stream, settings).run();
}

class StreamDownload {
  readonly #client: TransferClient;
  readonly #uri: string;
  readonly #stream: WritableStream<Uint8Array<ArrayBuffer>>;
  readonly #settings: DownloadSettings;
  readonly #hash = makeHash();
  #position = 0;
  /** `null` before the first response: the stream is not locked yet. */
  #begunDownload: BegunDownload | null = null;
  #hasStreamFailed = false;

  constructor(
    client: TransferClient,
    uri: string,
    stream: WritableStream<Uint8Array<ArrayBuffer>>,
    settings: DownloadSettings,
  ) {
    this.#client = client;
    this.#uri = uri;
    this.#stream = stream;
    this.#settings = settings;
  }

  async run(): Promise<TransferResult> {
    const { resume, signal, onRetry } = this.#settings;
    // Before the first byte, the caller can repeat the call.
    const when = (error: unknown) =>
      resume && this.#begunDownload !== null && !this.#hasStreamFailed &&
      this.#client.canReconnect && isTransient(error);
    try {
      const { writer, meter, sha256 } = await retry(
        (onProgress) => this.#receive(onProgress),
        { when, signal, onRetry },
      );
      signal?.throwIfAborted();
      await awaitUntilAborted(writer.close(), signal);
      return meter.finish(sha256);
    } catch (error) {
      if (this.#begunDownload === null) throw error;
      // Don't wait: the stream ends its pending write first.
      this.#begunDownload.writer.abort(error).catch(() => {});
      signal?.throwIfAborted();
      throw toStreamError(error);
    } finally {
      this.#begunDownload?.writer.releaseLock();
    }
  }

  async #receive(onProgress: (progress: { readonly done: number }) => void) {
    const begunDownload = this.#begunDownload;
    if (begunDownload === null) {
      const response = await requestContent(this.#client, this.#uri);
      const { version, total } = await checkWholeFile(this.#uri, response);
      const meter = new ProgressMeter(this.#settings, total, 0);
      this.#begunDownload = { version, meter, writer: this.#stream.getWriter() };
      await this.#write(this.#begunDownload, response, onProgress);
    } else if (this.#position < begunDownload.meter.total) {
      await this.#write(begunDownload, await this.#requestRemainder(begunDownload), onProgress);
    }
    return { ...this.#begunDownload!, sha256: await this.#verify(this.#begunDownload!) };
  }

  async #requestRemainder({ version: { etag }, meter: { total } }: BegunDownload) {
    const remainder = { start: this.#position, total, etag };
    const response = await requestContent(this.#client, this.#uri, remainder);
    const { status } = response;
    if (status === 206) {
      await checkRemainder(this.#uri, response, remainder);
      return response;
    }
    await response.discard();
    if (![200, 409, 412, 416].includes(status)) throw responseError("GET", this.#uri, response);
    throw changedWhileCopiedError(quoteName(this.#uri));
  }

  async #write(
    { writer, meter }: BegunDownload,
    response: Response,
    onProgress: (progress: { readonly done: number }) => void,
  ): Promise<void> {
    const write = async (bytes: Uint8Array) => {
      // The stream may keep the bytes after the write.
      const piece = bytes.slice();
      this.#hash.update(piece);
      try {
        await writer.write(piece);
      } catch (error) {
        this.#hasStreamFailed = true;
        throw error;
      }
      this.#position += piece.length;
      meter.add(piece.length);
      onProgress({ done: this.#position });
    };
    // The body has a length. It is `null` for an empty file.
    await (response.body as Body | null)?.writeTo({ write, pieceBytes: PIECE_BYTES });
  }

  async #verify({ version, meter: { total } }: BegunDownload): Promise<string> {
    const currentVersion = version.sha256 !== null
      ? version
      : await requestDigest(this.#client, this.#uri, total);
    const sha256 = this.#hash.copy().digest("hex");
    if (currentVersion.sha256 === sha256) return sha256;
    throw digestMismatchError(this.#uri, version, currentVersion);
  }
}
