import type { Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { Body, Response } from "../../base.ts";
import { quoteName } from "../../internal/quote.ts";
import {
  ConnectionError,
  type Connector,
  isTimeout,
  isTransient,
  type Requester,
} from "../../client.ts";
import { lstatOrNull } from "../disk/names.ts";
import { findShortage, isDiskFullError } from "../disk/space.ts";
import type { TemporaryFile } from "../disk/temporary.ts";
import { hashPrefix, makeHash } from "../wire/digest.ts";
import { isUnchanged, READ_FLAGS, statOpenFile } from "../disk/file_pieces.ts";
import { receiveBody } from "../file_writer.ts";
import { computeCopiedMode, setMetadata, type UnsetProperty } from "../wire/metadata.ts";
import {
  checkDownloadOptions,
  checkUnlocked,
  type DownloadOptions,
  pathOf,
  ProgressMeter,
  type TransferResult,
  type TransferSettings,
} from "../options.ts";
import { parseStamp } from "../wire/conditions.ts";
import { toUri } from "../wire/file_name.ts";
import { copyPrefix, isGrown, parseRootPathHeader } from "../wire/reuse.ts";
import {
  checkLocalTarget,
  localDiskFullError,
  PartFile,
  type PartIndex,
  type PartVersion,
  renamePart,
  resolveLocalTarget,
  targetChangedError,
  toDiskFullError,
} from "./part_file.ts";
import { TransferClient } from "./client.ts";
import { downloadToStream } from "./download_stream.ts";
import {
  checkRemainder,
  checkWholeFile,
  comparePrefix,
  digestMismatchError,
  isReuseTimeout,
  type RemoteVersion,
  requestContent,
  requestDigest,
  versionOf,
  waitForBoth,
} from "./remote_digest.ts";
import { TransferError } from "../errors.ts";
import {
  changedWhileCopiedError,
  isTransferOrStatusError,
  toBadNameOrInUseError,
} from "../transfer_error.ts";

/** The minimum length of a file that can be resumed: sending a smaller file again is faster. */
const MIN_RESUMABLE_BYTES = 65536;

/**
 * Downloads a file from a server, usually a `FilesApp`, in one attempt. If an earlier attempt was
 * interrupted, the call resumes it. After any error, make the same call to resume.
 *
 * The received bytes are written to a part next to the target. When the part is complete, synced to
 * the disk (fsync) and verified, it is renamed to the target. So an incomplete file is never
 * visible, and an existing file is kept until the renaming. If the target is a symbolic link to a
 * file, this file is the target, and the link stays. An identical target is not transferred again.
 *
 * A part is resumed only if it is from the same server, URI and version. The server is identified
 * by its authority's public key, or by its address if it has no authority; the version by length
 * and entity tag, which a file that was changed in the last two seconds doesn't have.
 *
 * If the target is a `WritableStream`, the bytes are written to the stream as they arrive. The
 * stream is closed after the SHA-256 of all bytes was compared, and aborted after an error. If the
 * call rejects before the first response, the stream stays as it was.
 *
 * If you pass a client, it opens connections, which are closed at the end. If you pass a
 * connection, it stays usable unless the transfer was interrupted. Needs `--allow-read` and
 * `--allow-write` of the directory of the target, and the permissions of the client.
 *
 * @param from A client or a connection.
 * @param uri The path segments of the file, or its URI.
 * @param file The path, or a `file:` URL, of the target; or a stream.
 * @param options The options of the transfer.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the target ends with `/`.
 * @throws {StatusError} if the server has no such file.
 * @throws {TransferError} if the server sends no digest to compare, or the file changed during the
 * transfer; if another download to the target is in progress; if the disk is full, or has too
 * little space; if the target is not a file, is a link that leads to no file, changes during the
 * call, or is another file and `replace` is false.
 * @throws {Deno.errors.NotFound} if the directory of the target does not exist;
 * `Deno.errors.PermissionDenied` if the target can't be written.
 * @throws the errors of `connect` and `request` of the client or connection; the error of the
 * stream.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { download, FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir));
 * const client = new Client(server.address);
 * const { total } = await download(client, ["a b.txt"], `${dir}/copy.txt`);
 * assertEquals(total, 5);
 * assertEquals(await Deno.readTextFile(`${dir}/copy.txt`), "hello");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function download(
  from: Requester | Connector,
  uri: string | readonly string[],
  file: string | URL | WritableStream<Uint8Array<ArrayBuffer>>,
  options: DownloadOptions = {},
): Promise<TransferResult> {
  if (file instanceof WritableStream) {
    const stream = checkUnlocked(file);
    return await downloadToStream(from, toUri(uri), stream, checkDownloadOptions(options));
  }
  const path = pathOf("file", file);
  const checkedUri = toUri(uri);
  const settings = checkDownloadOptions(options);
  using client = new TransferClient("from", from, settings);
  settings.signal?.throwIfAborted();
  const target = settings.followLink ? await resolveLocalTarget(path) : path;
  return await downloadFile({
    client,
    uri: checkedUri,
    file: target,
    settings,
    treePlan: null,
  });
}

interface LocalPrefix {
  readonly path: string;
  readonly length: number;
}

interface DownloadPlan {
  /** The length of the file in bytes, according to the list of the server. */
  readonly size?: number;
  readonly parts?: PartIndex;
  /** The local prefix that the downloaded file may have, so that it isn't sent. */
  readonly basis: LocalPrefix | null;
  /**
   * Renames the complete part to its target, syncs the name to the disk, and sets the permission
   * bits of the source if they are known. Resolves to the refused properties; `null` if the part
   * was not renamed, because the target has changed.
   */
  readonly moveIntoPlace: (
    part: TemporaryFile,
    mode: number | null,
  ) => Promise<readonly UnsetProperty[] | null>;
}

interface FileToDownload {
  readonly client: TransferClient;
  readonly uri: string;
  readonly file: string;
  readonly settings: TransferSettings & { readonly followLink?: boolean };
  /** `null` for a single file. */
  readonly treePlan: DownloadPlan | null;
}

export async function downloadFile(fileToDownload: FileToDownload): Promise<TransferResult> {
  const { file, settings, treePlan } = fileToDownload;
  let openedPart: PartFile | null = null;
  let fileDownload: FileDownload | null = null;
  try {
    const initialInfo = treePlan === null
      ? await checkLocalTarget(file, settings.followLink)
      : null;
    using partFile = openedPart = await PartFile.prepare(file, treePlan?.parts);
    fileDownload = new FileDownload({ ...fileToDownload, partFile, initialInfo });
    return await fileDownload.run();
  } catch (error) {
    const diskFullError = toDiskFullError(error, file, fileDownload?.length, openedPart);
    if (diskFullError !== error) throw diskFullError;
    // The connection, or the caller's signal, may have an error with the same code.
    const isForeign = error instanceof ConnectionError || settings.signal?.aborted === true;
    throw isForeign ? error : toBadNameOrInUseError(error, file);
  }
}

interface PartHash {
  readonly version: RemoteVersion;
  readonly hash: Hash;
  readonly meter: ProgressMeter;
}

class UnreadableBasisError extends Error {}

interface DownloadTask extends FileToDownload {
  readonly partFile: PartFile;
  readonly initialInfo: Deno.FileInfo | null;
}

class FileDownload {
  readonly #task: DownloadTask;
  length: number | null = null;

  constructor(task: DownloadTask) {
    this.#task = task;
  }

  async run(): Promise<TransferResult> {
    const { client, uri, file, partFile, settings, treePlan, initialInfo } = this.#task;
    const { modes, replace, resume } = settings;
    const hasLeftovers = resume && partFile.hasLeftovers;
    const isFile = initialInfo?.isFile === true;
    const headResponse = hasLeftovers || isFile ? await client.request("HEAD", uri, {}) : null;
    await headResponse?.discard();
    const mayBeSame = isFile && (replace !== true || resume && !hasLeftovers);
    const identicalResult = mayBeSame ? await this.#confirmIdentical(headResponse!) : null;
    if (identicalResult !== null) return identicalResult;
    const plan = treePlan ?? this.#planSingle(headResponse);
    const { basis } = plan;
    const isBasisLonger = basis !== null &&
      !(hasLeftovers && partFile.findLeftoverSize() >= basis.length);
    const reusedPart = isBasisLonger ? await this.#reuseBasis(basis) : null;
    const resumedPart = reusedPart ?? (hasLeftovers ? await this.#resumePart(headResponse!) : null);
    // Check the space before the request: to refuse a body, the client must close the connection.
    if (resumedPart === null && plan.size !== undefined) this.#checkSpace(plan.size, 0);
    const completePart = resumedPart ?? await this.#receiveWhole(await requestContent(client, uri));
    const mode = modes ? client.maskMode(completePart.version.mode) : null;
    const modified = settings.modified ?? completePart.version.modified;
    if (modified !== null) await partFile.temporaryFile.setModified(modified);
    const sha256 = await this.#verify(completePart);
    const { temporaryFile } = partFile;
    const unset = await plan.moveIntoPlace(temporaryFile, mode);
    if (unset === null) {
      // Another call may have downloaded the same file.
      const isIdentical = await this.#isIdentical(sha256, completePart.meter.total);
      const mayReplace = replace || initialInfo !== null;
      if (!isIdentical) throw mayReplace ? targetChangedError(file) : alreadyExistsError(file);
      temporaryFile.isKept = false;
    }
    return completePart.meter.finish(sha256, unset ?? []);
  }

  #planSingle(headResponse: Response | null): DownloadPlan {
    const { file, initialInfo, partFile, settings: { replace } } = this.#task;
    const moveIntoPlace = (_part: TemporaryFile, mode: number | null) =>
      renamePart(partFile, file, initialInfo, mode);
    if (initialInfo === null) return { basis: null, moveIntoPlace };
    if (!replace) throw alreadyExistsError(file);
    const { isFile, size, mtime } = initialInfo;
    const { headers } = headResponse ?? {};
    const serverStamp = parseStamp(headers?.["file-stamp"]);
    const mayHaveGrown = parseRootPathHeader(headers?.reuse) !== null && serverStamp !== null &&
      isFile && isGrown({ size, modified: Number(mtime) }, serverStamp);
    return { basis: mayHaveGrown ? { path: file, length: size } : null, moveIntoPlace };
  }

  async #confirmIdentical({ status, headers }: Response): Promise<TransferResult | null> {
    const { client, uri, file, partFile, settings } = this.#task;
    const { modes, replace, signal } = settings;
    await using localFile = await open(file, READ_FLAGS).catch(() => null);
    if (localFile === null) return null;
    const stats = statOpenFile(localFile.fd);
    const total = stats.size;
    if (status !== 200 || headers["content-length"] !== total) return null;
    const ignoreUnknownDigest = (error: unknown) => {
      // If hashing at the server times out, the whole file can still be downloaded.
      const isTimeout = replace && isReuseTimeout(client, error);
      if (isTimeout || isTransferOrStatusError(error)) return null;
      throw error;
    };
    const [version, hash] = await waitForBoth(
      client,
      requestDigest(client, uri).catch(ignoreUnknownDigest),
      hashPrefix(localFile, total, () => targetChangedError(file), signal).catch(() => null),
    );
    if (version === null || hash?.digest("hex") !== version.sha256) return null;
    let unset: readonly UnsetProperty[] = [];
    if (replace) {
      // Synchronous from this check on, so that no other code of this process changes the file.
      const currentInfo = lstatOrNull(file);
      if (currentInfo === null || !isUnchanged(stats, currentInfo)) return null;
      const mode = modes ? client.maskMode(version.mode) : null;
      const copiedMode = computeCopiedMode(mode, partFile.modeMask);
      unset = setMetadata(file, settings.modified ?? version.modified, copiedMode);
    }
    return new ProgressMeter(settings, total, total).finish(version.sha256, unset);
  }

  async #isIdentical(sha256: string, total: number): Promise<boolean> {
    const { file } = this.#task;
    const info = lstatOrNull(file);
    return info !== null && info.isFile && info.size === total &&
      await this.#hashLocalPrefix({ path: file, length: total }) === sha256;
  }

  /** Checks the space for the bytes from `start` on, the end of the part or 0. */
  #checkSpace(total: number, start: number): void {
    this.length = total;
    const { file, partFile } = this.#task;
    const freedBytes = partFile.findLeftoverSize() - start;
    const shortage = findShortage(partFile.directory, total - start, freedBytes);
    if (shortage !== null) throw localDiskFullError(file, shortage, partFile);
  }

  async #resumePart(headResponse: Response): Promise<PartHash | null> {
    if (headResponse.status !== 200) return null;
    const version = versionOf("HEAD", this.#task.uri, headResponse);
    const { etag } = version;
    const { "content-length": total } = headResponse.headers;
    const peer = await this.#task.client.identifyServer();
    if (etag === null || typeof total !== "number" || peer === null) return null;
    const offset = await this.#task.partFile.resume({ peer, uri: this.#task.uri, etag, total });
    if (offset === 0) return null;
    const hash = await this.#task.partFile.hashPrefix(offset, this.#task.settings.signal);
    const meter = new ProgressMeter(this.#task.settings, total, offset);
    return await this.#downloadRemainder({ version: { ...version, sha256: null }, hash, meter });
  }

  /** @returns `null` if the prefixes differ, copying failed, or the server has another version. */
  async #reuseBasis({ path, length }: LocalPrefix): Promise<PartHash | null> {
    const { signal } = this.#task.settings;
    await using file = await open(path, READ_FLAGS).catch(() => null);
    if (file === null) return null;
    const makeTooShortError = () => targetChangedError(path);
    const hashLocalPrefix = async () => {
      const hashPromise = hashPrefix(file, length, makeTooShortError, signal);
      return await hashPromise.then((hash) => hash.digest("hex"), () => null);
    };
    const prefixResponse = await comparePrefix(
      this.#task.client,
      this.#task.uri,
      length,
      hashLocalPrefix,
    );
    const { "content-length": total } = prefixResponse?.headers ?? {};
    if (prefixResponse === null || typeof total !== "number" || total < length) return null;
    const prefixVersion = versionOf("HEAD", this.#task.uri, prefixResponse);
    const { etag, sha256 } = prefixVersion;
    this.#checkSpace(total, 0);
    const partVersion = await this.#makePartVersion(etag, total);
    const hash = await this.#copyBasis(file, length, partVersion);
    // Windows can't replace an open file.
    await file.close();
    if (hash.copy().digest("hex") !== sha256) {
      await this.#task.partFile.clear();
      return null;
    }
    const meter = new ProgressMeter(this.#task.settings, total, 0, length);
    const version = { ...prefixVersion, sha256: length === total ? sha256 : null };
    return await this.#downloadRemainder({ version, hash, meter });
  }

  async #hashLocalPrefix({ path, length }: LocalPrefix): Promise<string> {
    const changedError = () => targetChangedError(path);
    await using file = await open(path, READ_FLAGS).catch((error) => {
      throw lstatOrNull(path)?.isFile ? error : targetChangedError(path, { cause: error });
    });
    if (!(await file.stat()).isFile()) throw changedError();
    const hash = await hashPrefix(file, length, changedError, this.#task.settings.signal);
    return hash.digest("hex");
  }

  /** Copies a prefix of a file to a new part, up to the first byte that can't be read. */
  async #copyBasis(
    file: FileHandle,
    length: number,
    version: PartVersion | null,
  ): Promise<Hash> {
    await this.#task.partFile.open(version);
    const { temporaryFile } = this.#task.partFile;
    const hash = makeHash();
    const { signal } = this.#task.settings;
    const readError = () => new UnreadableBasisError();
    try {
      await copyPrefix(file, temporaryFile, { length, hash, signal, readError });
    } catch (error) {
      if (!(error instanceof UnreadableBasisError)) {
        // The prefix can be copied again.
        await this.#task.partFile.clear();
        throw error;
      }
    }
    return hash;
  }

  async #downloadRemainder(receivedPart: PartHash): Promise<PartHash | null> {
    const { meter, hash, version: { etag } } = receivedPart;
    const { start, total } = meter;
    if (start === total) return receivedPart;
    const { client, uri } = this.#task;
    const response = await requestContent(client, uri, { start, total, etag });
    if (response.status === 412 || response.status === 416) {
      await response.discard();
      return null;
    }
    if (response.status !== 206) return await this.#receiveWhole(response);
    const version = await checkRemainder(uri, response, { start, total, etag });
    const completePart = { version: { ...version, etag }, hash, meter };
    await this.#receive(completePart, response, async () => {
      // `continueFrom` would count a copied prefix as synced.
      if (meter.reused === 0) await this.#task.partFile.temporaryFile.continueFrom(start);
    });
    return completePart;
  }

  async #receiveWhole(response: Response): Promise<PartHash> {
    const { version, total } = await checkWholeFile(this.#task.uri, response);
    const { etag } = version;
    const partVersion = await this.#makePartVersion(etag, total);
    const meter = new ProgressMeter(this.#task.settings, total, 0);
    const completePart = { version, hash: makeHash(), meter };
    await this.#receive(completePart, response, async () => {
      await this.#task.partFile.open(partVersion);
      await this.#task.partFile.temporaryFile.continueFrom(0);
    });
    return completePart;
  }

  async #makePartVersion(etag: string | null, total: number): Promise<PartVersion | null> {
    const peer = await this.#task.client.identifyServer();
    const isResumable = this.#task.settings.resume && total >= MIN_RESUMABLE_BYTES;
    return isResumable && etag !== null && peer !== null
      ? { peer, uri: this.#task.uri, etag, total }
      : null;
  }

  async #receive(
    { version, hash, meter }: PartHash,
    response: Response,
    prepare: () => Promise<void>,
  ): Promise<void> {
    // The callers have checked that the body has a length. It is `null` for an empty file.
    const body = response.body as Body | null;
    const { start, reused, total } = meter;
    try {
      // For a copied prefix, the space was checked before the copy.
      if (reused === 0) this.#checkSpace(total, start);
      await prepare();
    } catch (error) {
      body?.cancel(error).catch(() => {});
      throw error;
    }
    const temporaryFile = this.#task.partFile.temporaryFile;
    try {
      const onWrite = (count: number) => meter.add(count);
      const bodyFile = {
        file: temporaryFile,
        start,
        limit: total,
        length: null,
        hash,
        isDigestLast: false,
        onWrite,
      };
      await receiveBody(body, bodyFile);
    } catch (error) {
      if (isDiskFullError(error)) await temporaryFile.truncateToSynced();
      if (!await this.#hasSourceChanged(error, version, total)) throw error;
      this.#task.partFile.temporaryFile.isKept = false;
      throw changedWhileCopiedError(quoteName(this.#task.uri), { cause: error });
    }
  }

  /**
   * Reports whether a body was cut because the file has changed: a server can report a change only
   * by closing the connection. The check needs a new connection, so the result is false if the
   * caller passed a connection.
   */
  async #hasSourceChanged(
    error: unknown,
    { etag, stamp }: RemoteVersion,
    total: number,
  ): Promise<boolean> {
    if (!isTransient(error) || isTimeout(error)) return false;
    try {
      const response = await this.#task.client.request("HEAD", this.#task.uri, {});
      if (response.status !== 200) return false;
      const length = response.headers["content-length"];
      if (length !== undefined && length !== total) return true;
      const currentVersion = versionOf("HEAD", this.#task.uri, response);
      // A file that was just changed has no entity tag.
      return stamp !== null && currentVersion.stamp !== null
        ? currentVersion.stamp !== stamp
        : etag !== null && currentVersion.etag !== etag;
    } catch {
      return false;
    }
  }

  async #verify({ version, hash, meter: { total } }: PartHash): Promise<string> {
    const { client, uri, partFile: { temporaryFile } } = this.#task;
    const truncateIfFull = async (error: unknown) => {
      if (isDiskFullError(error)) await temporaryFile.truncateToSynced();
      throw error;
    };
    const [, currentVersion] = await waitForBoth(
      client,
      temporaryFile.sync().catch(truncateIfFull),
      version.sha256 !== null ? version : requestDigest(client, uri, total),
    );
    const sha256 = hash.digest("hex");
    if (currentVersion.sha256 === sha256) return sha256;
    temporaryFile.isKept = false;
    throw digestMismatchError(uri, version, currentVersion);
  }
}

/** If the target was removed since the first look at it, returns another error. */
function alreadyExistsError(target: string): TransferError {
  if (lstatOrNull(target) === null) return targetChangedError(target);
  const problem = "already exists";
  return new TransferError("EXISTS", `file: ${target} ${problem}`, { problem });
}
