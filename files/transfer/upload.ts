import type { BodyOut, HeadersToSend, Response } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { parseDecimal } from "../../internal/decimal.ts";
import { type Connector, isTransient, type Requester, type StatusError } from "../../client.ts";
import { formatReprDigest, WANT_SHA256 } from "../wire/digest.ts";
import {
  checkTransferOptions,
  checkUnlocked,
  pathOf,
  ProgressMeter,
  type TransferOptions,
  type TransferResult,
  type TransferSettings,
} from "../options.ts";
import { toUri } from "../wire/file_name.ts";
import { makeConditionHeader, parseStamp, sentTimeOf } from "../wire/conditions.ts";
import { type Basis, isGrown, makeReuseHeader, parseRootPathHeader } from "../wire/reuse.ts";
import { makeModeHeader, parseUnsetHeader, WANT_MODE_MASK_HEADER } from "../wire/metadata.ts";
import { TransferClient } from "./client.ts";
import {
  checkStoredDigest,
  comparePrefix,
  isReuseTimeout,
  readDigest,
  requestDigest,
} from "./remote_digest.ts";
import { SourceFile } from "./source_file.ts";
import { StreamUpload } from "./upload_stream.ts";
import type { TransferError } from "../errors.ts";
import {
  isTransferOrStatusError,
  remoteChangedError,
  remoteDiskFullError,
  responseError,
  unexpectedResponseError,
} from "../transfer_error.ts";

/**
 * Uploads a file to a `FilesApp` with `write: true`, in one attempt. If an earlier attempt was
 * interrupted, the call resumes it. After any error, make the same call to resume.
 *
 * If the server has a file of the same length, the files are compared, and an identical file is not
 * sent. Otherwise the remaining bytes are hashed while they are sent, and the server verifies the
 * whole file. The file gets its name after it is synced to the disk. It gets the modification time
 * of the local file, also if it was identical. A file that was changed or renamed less than two
 * seconds ago is not resumed, because another version could have the same size and time.
 *
 * A `ReadableStream` is sent with its digest at the end, and is never resumed or sent again. If the
 * server refuses the file, the stream is not read.
 *
 * Needs `--allow-read` of the file, and the permissions of the client.
 *
 * @param to A client or a connection.
 * @param file The path, or a `file:` URL, of a regular file. Bytes that are appended later are not
 * sent. Or a stream of bytes, which stays locked once it is read.
 * @param uri The path segments of the file at the server, or its URI. Missing directories are
 * created.
 * @param options The options of the transfer.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, the URI ends with `/`, or it is no regular file.
 * @throws {StatusError} if the server does not accept the file, for example because the client may
 * not write the file or the file is too large.
 * @throws {TransferError} if the local file changed during the transfer; if the server has too
 * little space, or a directory with the name; if the server's file changes during the call, or is
 * another file and `replace` is false.
 * @throws {Deno.errors.IsADirectory} if the file is a directory; `Deno.errors.NotFound` if it does
 * not exist; `Deno.errors.PermissionDenied` if it can't be read.
 * @throws the errors of `connect` and `request` of the client or connection; the error of the
 * stream.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, fileUri, upload } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * const file = await Deno.makeTempFile();
 * await Deno.writeTextFile(file, "hello");
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * const client = new Client(server.address);
 * const { bytes } = await upload(client, file, fileUri("new", "a b.txt"));
 * assertEquals(bytes, 5);
 * assertEquals(await Deno.readTextFile(`${dir}/new/a b.txt`), "hello");
 * await Deno.remove(dir, { recursive: true });
 * await Deno.remove(file);
 * ```
 */
export async function upload(
  to: Requester | Connector,
  file: string | URL | ReadableStream<Uint8Array>,
  uri: string | readonly string[],
  options: TransferOptions = {},
): Promise<TransferResult> {
  const source = file instanceof ReadableStream ? checkUnlocked(file) : pathOf("file", file);
  const checkedUri = toUri(uri);
  const settings = checkTransferOptions(options);
  using client = new TransferClient("to", to, { signal: settings.signal });
  if (checkedUri.split("?")[0]!.endsWith("/")) {
    throw notAllowedError(
      "uri",
      `is the URI of a directory; add the name of the file; got ${checkedUri}`,
    );
  }
  settings.signal?.throwIfAborted();
  if (typeof source !== "string") {
    return await new StreamUpload(client, checkedUri, source, settings).run();
  }
  await using sourceFile = SourceFile.open(source);
  return await new FileUpload(client, checkedUri, sourceFile, settings).run();
}

/** The statuses other than 409 that mean that a basis file was removed or has changed. */
const BASIS_REFUSAL_STATUSES: ReadonlySet<number> = new Set([400, 404]);

type UploadStart =
  | { readonly kind: "identical"; readonly sha256: string }
  | { readonly kind: "part"; readonly offset: number }
  | { readonly kind: "basis"; readonly basis: Basis };

interface UploadStatus {
  readonly offset: number;
  /** The digest of the server's file, if it was requested and the lengths are equal. */
  readonly sha256: string | null;
  /** The file of the server, if the local file may be a longer version of it; otherwise `null`. */
  readonly basis: Basis | null;
}

export class FileUpload {
  readonly #client: TransferClient;
  readonly #uri: string;
  readonly #source: SourceFile;
  readonly #settings: TransferSettings;
  readonly #headers: HeadersToSend;
  /** The condition that the server's file is unchanged since the first request of this call. */
  #condition: HeadersToSend | null = null;

  constructor(
    client: TransferClient,
    uri: string,
    source: SourceFile,
    settings: TransferSettings,
    headers: HeadersToSend = {},
  ) {
    this.#client = client;
    this.#uri = uri;
    this.#source = source;
    this.#settings = settings;
    this.#headers = headers;
  }

  async run(): Promise<TransferResult> {
    const { replace, replaceableStamp, basis } = this.#settings;
    if (!replace) this.#condition = { "if-none-match": "*" };
    else if (replaceableStamp !== undefined) {
      this.#condition = { "if-file-stamp": replaceableStamp };
    }
    const isWholeFile = basis?.length === this.#source.size;
    const copyResult = isWholeFile ? await this.#requestCopy(basis) : null;
    if (copyResult !== null) return copyResult;
    const start = await this.#determineStart(isWholeFile ? null : basis);
    try {
      return await this.#sendFrom(start);
    } catch (error) {
      if (start.kind !== "basis" || !isReuseTimeout(this.#client, error)) throw error;
      return await this.#sendFrom(await this.#determineStart(null));
    }
  }

  /**
   * @param knownBasis The file that may be reused; `null` for no file, `undefined` to request one
   * from the server.
   */
  async #determineStart(knownBasis: Basis | null | undefined): Promise<UploadStart> {
    const { resume, isRewritten = false, signal } = this.#settings;
    if (!resume && this.#condition !== null) return { kind: "part", offset: 0 };

    const digestHeaders = isRewritten || !resume ? {} : { "want-repr-digest": WANT_SHA256 };
    const { version } = this.#source;
    const uploadStatus = await this.#requestStatus({ ...this.#uploadHeaders, ...digestHeaders });
    if (uploadStatus.sha256 !== null && !isRewritten) {
      const sha256 = await this.#source.hash(signal);
      if (sha256 === uploadStatus.sha256) {
        return { kind: "identical", sha256 };
      }
    }

    const offset = this.#isResumable ? uploadStatus.offset : 0;
    const basis = knownBasis === undefined ? uploadStatus.basis : knownBasis;
    const isBasisLonger = basis !== null && basis.length > offset &&
      basis.length < this.#source.size;
    if (isBasisLonger && await this.#hasSamePrefix(basis)) return { kind: "basis", basis };
    await this.#source.takeSnapshot(offset);
    // The part has bytes of `version`, so the file must not have changed since the request.
    if (offset > 0 && this.#source.version !== version) throw this.#source.changedError();
    return { kind: "part", offset };
  }

  async #requestCopy(basis: Basis): Promise<TransferResult | null> {
    const digest = formatReprDigest(await this.#source.hash(this.#settings.signal));
    // The file may have changed since it was opened.
    if (basis.length !== this.#source.size) return null;
    const size = `${basis.length}`;
    const headers = {
      "repr-digest": digest,
      "upload-length": size,
      "upload-offset": size,
      ...makeReuseHeader(basis),
    };
    const meter = this.#makeMeter(0, basis.length);
    try {
      const response = await this.#put(headers, null);
      const { status } = response;
      const isNotCopied = BASIS_REFUSAL_STATUSES.has(status) ||
        status === 409 && this.#offsetOf(response) !== null;
      if (!isNotCopied || !this.#client.isUsable) return await this.#finish(response, meter);
      await response.discard();
    } catch (error) {
      if (!isReuseTimeout(this.#client, error)) throw error;
    }
    return null;
  }

  /**
   * If the server has a part of another length, sends the file again from the end of the part. If
   * the server could not copy the prefix, sends the whole file.
   */
  async #sendFrom(start: UploadStart): Promise<TransferResult> {
    if (start.kind === "identical") return await this.#updateMetadata(start.sha256);
    await this.#source.takeSnapshot();
    const basis = start.kind === "basis" ? start.basis : null;
    let meter = start.kind === "part"
      ? this.#makeMeter(start.offset)
      : this.#makeMeter(0, start.basis.length);
    let response = await this.#sendContent(meter, basis);
    const { status } = response;
    const isOffsetConflict = status === 409 && (this.#settings.resume || basis !== null);
    const partBytes = isOffsetConflict ? this.#offsetOf(response) : null;
    const isBasisRefused = basis !== null && BASIS_REFUSAL_STATUSES.has(status);
    const otherOffset = partBytes ?? (isBasisRefused ? 0 : null);
    if (otherOffset !== null && this.#client.isUsable) {
      // Another upload has appended to the part, or the part or the basis file is missing.
      await response.discard();
      meter = this.#makeMeter(otherOffset);
      response = await this.#sendContent(meter, basis);
    }
    return await this.#finish(response, meter);
  }

  async #sendContent(meter: ProgressMeter, basis: Basis | null): Promise<Response> {
    const { start: offset, reused } = meter;
    const body = await this.#source.makeBody(meter, this.#settings.signal);
    const headers = this.#isResumable
      ? { ...this.#uploadHeaders, "upload-offset": `${offset}` }
      : { "upload-length": `${this.#source.size}` };
    const reuse = reused > 0 && basis !== null ? makeReuseHeader(basis) : {};
    return await this.#put({ ...headers, ...reuse }, body);
  }

  get #modificationTime(): Date {
    return this.#settings.modified ?? sentTimeOf(this.#source.snapshot.info.mtime);
  }

  /** True if another change of the local file would change its `upload-version`. */
  get #isResumable(): boolean {
    return this.#settings.resume && this.#source.isSettled;
  }

  get #uploadHeaders(): HeadersToSend {
    const { version, size } = this.#source;
    return { "upload-version": version, "upload-length": `${size}` };
  }

  async #hasSamePrefix({ uri, length }: Basis): Promise<boolean> {
    const hashLocalPrefix = () => this.#source.hashPrefix(length, this.#settings.signal);
    return await comparePrefix(this.#client, uri, length, hashLocalPrefix) !== null;
  }

  /** The server also syncs the name of the file to the disk. */
  async #updateMetadata(sha256: string): Promise<TransferResult> {
    const size = `${this.#source.size}`;
    const meter = this.#makeMeter(this.#source.size);
    if (!this.#settings.replace) return meter.finish(sha256);
    const digest = formatReprDigest(sha256);
    const headers = { "repr-digest": digest, "upload-offset": size, "upload-length": size };
    return await this.#finish(await this.#put(headers, null, () => {}), meter);
  }

  #makeMeter(offset: number, reused = 0): ProgressMeter {
    return new ProgressMeter(this.#settings, this.#source.size, offset, reused);
  }

  /** Requests the state of the upload, and stores the condition for later requests. */
  async #requestStatus(extraHeaders: HeadersToSend): Promise<UploadStatus> {
    const headers = {
      ...this.#headers,
      ...this.#settings.modes ? WANT_MODE_MASK_HEADER : {},
      ...extraHeaders,
    };
    const response = await this.#client.request("HEAD", this.#uri, headers);
    if (response.status !== 200) {
      await response.discard();
      throw this.#refusalError("HEAD", response);
    }
    const offset = this.#offsetOf(response);
    const { "file-stamp": stamp } = response.headers;
    if (typeof stamp === "string") this.#condition ??= makeConditionHeader(stamp);
    if (offset !== null && this.#condition !== null) {
      const sha256 = readDigest("HEAD", this.#uri, response);
      return { offset, sha256, basis: this.#basisOf(response) };
    }
    const problem =
      "the server does not accept files: its response lacks upload-offset or file-stamp";
    throw unexpectedResponseError("HEAD", this.#uri, problem);
  }

  #basisOf({ headers }: Response): Basis | null {
    const path = parseRootPathHeader(headers["reuse"]);
    const stamp = parseStamp(headers["file-stamp"]);
    const { size, mtime } = this.#source.snapshot.info;
    const file = { size, modified: Number(mtime) };
    if (path === null || stamp === null || !isGrown(stamp, file)) return null;
    return { uri: this.#uri, path, length: stamp.size };
  }

  #offsetOf({ headers }: Response): number | null {
    const { "upload-offset": text } = headers;
    const offset = typeof text === "string" ? parseDecimal(text) : -1;
    return offset >= 0 && offset <= this.#source.size ? offset : null;
  }

  #put(
    headers: HeadersToSend,
    body: BodyOut,
    onRepeat: (() => void) | null = null,
  ): Promise<Response> {
    const { modes } = this.#settings;
    const requestHeaders = {
      ...makeModeHeader(modes ? this.#source.mode : null),
      ...this.#condition,
      ...this.#headers,
      "upload-modified": this.#modificationTime.toISOString(),
      ...headers,
    };
    return this.#client.request("PUT", this.#uri, requestHeaders, body, onRepeat);
  }

  async #hasIdentical(): Promise<boolean> {
    if (!this.#client.isUsable) return false;
    try {
      const { sha256 } = await requestDigest(this.#client, this.#uri);
      return sha256 === await this.#source.hash(this.#settings.signal);
    } catch (error) {
      // The server closes the connection if it did not read the body of the upload.
      const isClosed = !this.#client.canReconnect && isTransient(error);
      if (isClosed || isTransferOrStatusError(error)) return false;
      throw error;
    }
  }

  /** A 507 with an offset means that the body was not read. */
  #refusalError(method: "HEAD" | "PUT", response: Response): StatusError | TransferError {
    const offset = this.#offsetOf(response);
    if (response.status !== 507 || offset === null) {
      return responseError(method, this.#uri, response, "put");
    }
    return remoteDiskFullError(method, this.#uri, this.#source.size - offset, response);
  }

  async #finish(response: Response, meter: ProgressMeter): Promise<TransferResult> {
    const { status } = response;
    const uri = this.#uri;
    await response.discard();
    const { isRewritten = false, replace } = this.#settings;
    // A caller that sends `if-none-match` handles a conflict of names itself.
    const hasConditionFailed = status === 412 && this.#headers["if-none-match"] === undefined;
    const mayBeIdentical = hasConditionFailed && !isRewritten;
    if (mayBeIdentical && await this.#hasIdentical()) return meter.finish(this.#source.sha256!);
    if (hasConditionFailed && replace) throw remoteChangedError(uri, response);
    // If the file has changed, the server's part has bytes of the previous version.
    if (status === 400 && this.#source.hasChanged()) throw this.#source.changedError();
    if (status !== 201 && status !== 204) throw this.#refusalError("PUT", response);
    const sha256 = checkStoredDigest(uri, response, this.#source.sha256);
    return meter.finish(sha256, parseUnsetHeader(response.headers));
  }
}
