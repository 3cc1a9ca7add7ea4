/** Downloads files from another device. */

import type { Hash } from "node:crypto";
import { fstatSync, lstatSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { type Body, type HeaderDict, Range, type Response } from "../../base.ts";
import { cancelQuietly, cancelUnusedBody } from "../../base/body/bodies.ts";
import { quote } from "../../internal/quote.ts";
import { isContentRange } from "../../base/wire/range.ts";
import { type Connector, isTransient, type Requester } from "../../client.ts";
import { setMode, setModified } from "../../internal/disk/files.ts";
import { fileErrorCodeOf } from "../../internal/disk/names.ts";
import { checkSpace, isDiskFullError, type Shortage } from "../../internal/disk/space.ts";
import { hashPrefix, newHash, WANT_SHA256 } from "../digest.ts";
import { type FileStats, isUnchanged, READ_FLAGS } from "../file_pieces.ts";
import { receiveBody } from "../file_writer.ts";
import { modeOfCopy } from "../modes.ts";
import {
  checkTransfer,
  pathOf,
  ProgressMeter,
  type TransferOptions,
  type TransferResult,
  type TransferSettings,
} from "../options.ts";
import { parseStamp } from "../conditions.ts";
import { uriOf } from "../file_name.ts";
import { copyPrefix, isGrown, rootPathOf } from "../reuse.ts";
import {
  alreadyExistsError,
  checkLocalTarget,
  type FoundParts,
  localDiskFullError,
  PartFile,
  type PartVersion,
  renamePart,
  targetChangedError,
  toDiskFullError,
} from "./part_file.ts";
import { TransferClient } from "./client.ts";
import {
  comparePrefix,
  isTooSlow,
  requestDigest,
  type Version,
  versionOf,
} from "./remote_digest.ts";
import {
  changedWhileCopiedError,
  isOfTransfer,
  responseError,
  TransferError,
  unexpectedResponseError,
} from "../transfer_error.ts";

/** Smaller files are transferred again faster than a record of them is kept. */
const MIN_RESUMABLE_BYTES = 65536;

/**
 * Downloads a file from a server, usually a `FilesApp`: one attempt, which resumes an earlier one.
 * After any error, make the same call to resume.
 *
 * Bytes go to a part next to the target, `.NAME.VERSION.degu-part`, which is renamed to the target
 * when it is complete, synced to the disk (fsync), and verified: half a file is never visible, and
 * an existing file stays until then. The file gets the time of the source (`modified`) and its
 * permission bits, less those that a new file on this device does not get (`modes`); a symbolic
 * link is itself replaced. An identical file at the target is not transferred again. A part is
 * resumed only if it is from the same device (its authority's public key, or its address if it has
 * none), URI and version (length and entity tag); otherwise the download starts over from the first
 * byte. A file of less than 64 KiB can't be resumed. Neither can a file that was changed in the
 * last two seconds, because such a file has no entity tag yet.
 *
 * A client opens connections, which are closed at the end; a connection is used as it is, and stays
 * usable unless something broke off.
 *
 * If the disk is full, the bytes that have arrived are kept. With `--allow-sys=statfs` the file is
 * compared with the free space before its first byte is taken.
 *
 * Needs `--allow-read` and `--allow-write` of the directory of the target, and what the client
 * needs.
 *
 * @param from Where the file is.
 * @param uri The names of the directories on the way to the file, and its own; or its URI.
 * @param file The path, or a `file:` URL, of the target.
 * @param options How to resume and report.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the target ends with `/`.
 * @throws {StatusError} if the server has no such file.
 * @throws {TransferError} if the server has no digest to compare, or the file changed while it was
 * moved; if another download to the target is in progress; if the disk is full, or has too little
 * space; if the target is no file, changes during the call, or is another file and `replace` is
 * false.
 * @throws {Deno.errors.NotFound} if the target would be in no directory;
 * `Deno.errors.PermissionDenied` if it can't be written.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { download, FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir));
 * server.serveForever();
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
  file: string | URL,
  options: TransferOptions = {},
): Promise<TransferResult> {
  const path = pathOf("file", file);
  const checkedUri = uriOf(uri);
  const settings = checkTransfer(options);
  using client = new TransferClient("from", from, { signal: settings.signal });
  settings.signal?.throwIfAborted();
  return await downloadFile(client, checkedUri, path, settings);
}

/** A basis file of this device, and the length of the prefix that may be copied. */
export interface LocalBasis {
  readonly path: string;
  /** In bytes. */
  readonly length: number;
}

/**
 * Sets the time and the permission bits of a local file to those of its source.
 *
 * @param stats The file as it was before it was compared.
 * @returns False if the file was replaced or changed, or is of another user.
 */
function adopt(
  path: string,
  stats: FileStats,
  modified: Date | null,
  source: number | null,
  modeMask: number | null,
): boolean {
  // Synchronous from this check on: no other code of this process runs.
  if (!isUnchanged(stats, lstatSync(path, { bigint: true }))) return false;
  try {
    if (modified !== null) setModified(path, modified);
    if (source !== null && modeMask !== null) setMode(path, modeOfCopy(source, modeMask));
    return true;
  } catch (error) {
    if (fileErrorCodeOf(error) === "EPERM") return false;
    throw error;
  }
}

interface TreeContext {
  /** The length of the file in bytes, according to the list of the other end. */
  readonly size: number;
  /** The parts of earlier runs, and of earlier attempts of this one. */
  readonly parts: FoundParts;
  /** The local file that may have a prefix of the downloaded file; `null` without such a file. */
  readonly basis: LocalBasis | null;
  /**
   * Gives the complete part its name, which is on the disk then, with the permission bits of the
   * source, if they are known; false if that comes later.
   */
  readonly place: (part: string, mode: number | null) => Promise<boolean>;
}

/** Downloads a file, as {@linkcode DownloadTask} says. */
export async function downloadFile(
  client: TransferClient,
  uri: string,
  file: string,
  settings: TransferSettings,
  inTree: TreeContext | null = null,
): Promise<TransferResult> {
  let part: PartFile | null = null;
  let begun: FileDownload | null = null;
  try {
    const seen = inTree === null ? await checkLocalTarget(file) : null;
    using found = part = await PartFile.find(file, inTree?.parts);
    begun = new FileDownload({ client, uri, file, part: found, settings, inTree, seen });
    return await begun.run();
  } catch (error) {
    throw toDiskFullError(error, file, begun?.total, part);
  }
}

/** A part of a version, up to the bytes that were hashed. */
interface HashedPart {
  readonly version: Version;
  /** The digest of its bytes. */
  readonly hash: Hash;
  readonly meter: ProgressMeter;
}

/** The error of a basis file that can't be read to the end of the compared prefix. */
class UnreadableBasisError extends Error {}

/** The source, the target and the settings of a download. */
interface DownloadTask {
  readonly client: TransferClient;
  readonly uri: string;
  /** The path that the part is kept next to. */
  readonly file: string;
  readonly part: PartFile;
  readonly settings: TransferSettings;
  /** How the file is placed; `null` if it is placed at that path. */
  readonly inTree: TreeContext | null;
  /** The entry at the target when the call began. */
  readonly seen: Deno.FileInfo | null;
}

/** The download of a file, to an open part. */
class FileDownload {
  readonly #task: DownloadTask;
  /** Bytes of the file; `null` until they are known. */
  total: number | null = null;

  constructor(task: DownloadTask) {
    this.#task = task;
  }

  async run(): Promise<TransferResult> {
    const { client, file, part, settings, inTree, seen } = this.#task;
    const { modes, replace, resume, signal } = settings;
    const hasLeftovers = resume && part.hasLeftovers;
    const isFile = seen?.isFile === true;
    const head = hasLeftovers || isFile ? await this.#askHead() : null;
    const mayBeSame = isFile && (!replace || resume && !hasLeftovers);
    const same = mayBeSame ? await this.#confirm(head!) : null;
    if (same !== null) return same;
    if (seen !== null && !replace) throw alreadyExistsError(file);
    const basis = this.#findBasis(head);
    const isLonger = basis !== null &&
      !(hasLeftovers && part.leftoverBytes >= basis.length);
    const reused = isLonger ? await this.#reuse(basis) : null;
    const resumed = reused ?? (hasLeftovers ? await this.#continue(head!) : null);
    // The space is looked at before the request, since an unwanted body costs the connection.
    if (resumed === null && inTree !== null) this.#checkSpace(inTree.size, 0);
    const arrived = resumed ?? await this.#begin(await this.#request("GET"));
    const mode = modes ? client.bitsFor(arrived.version.mode) : null;
    const modified = this.#modifiedOf(arrived.version);
    if (modified !== null) await part.temporary.file.utime(new Date(), modified);
    const sha256 = await this.#verify(arrived);
    signal?.throwIfAborted();
    const { temporary } = part;
    if (inTree !== null) {
      if (!await inTree.place(temporary.path, mode)) temporary.isKept = true;
    } else if (!await renamePart(part, file, replace, seen, mode)) {
      // Another call may have downloaded the same.
      const isIdentical = await this.#isIdentical(sha256, arrived.meter.total);
      if (!isIdentical) throw replace ? targetChangedError(file) : alreadyExistsError(file);
      temporary.isKept = false;
    }
    return arrived.meter.finish(sha256);
  }

  /** The time that a file gets of which the server has this version; `null` for the present one. */
  #modifiedOf(version: Version): Date | null {
    return this.#task.settings.modified ?? version.modified;
  }

  /**
   * Compares the local file with that of the server. If they are identical, and `replace` is true,
   * the local file gets the requested modification time, and the permission bits of the source.
   *
   * @returns `null` unless the two are known to be identical.
   */
  async #confirm({ status, headers }: Response): Promise<TransferResult | null> {
    const { client, uri, file, part, settings } = this.#task;
    const { modes, replace, signal } = settings;
    const opened = await open(file, READ_FLAGS).catch(() => null);
    if (opened === null) return null;
    await using _opened = { [Symbol.asyncDispose]: () => opened.close() };
    const stats = fstatSync(opened.fd, { bigint: true });
    const total = Number(stats.size);
    if (status !== 200 || headers["content-length"] !== total) return null;
    const [asked, hashed] = await Promise.allSettled([
      requestDigest(client, uri),
      hashPrefix(opened, total, () => targetChangedError(file), signal),
    ]);
    signal?.throwIfAborted();
    if (asked.status === "rejected") {
      // All of the file arrives even where the server needs too long for its digest.
      const isUnknown = isOfTransfer(asked.reason) || replace && isTooSlow(client, asked.reason);
      if (!isUnknown) throw asked.reason;
    }
    if (asked.status === "rejected" || hashed.status === "rejected") return null;
    const { sha256 } = asked.value;
    if (hashed.value.digest("hex") !== sha256) return null;
    if (replace) {
      const mode = modes ? client.bitsFor(asked.value.mode) : null;
      const isSame = adopt(file, stats, this.#modifiedOf(asked.value), mode, part.modeMask);
      if (!isSame) return null;
    }
    return new ProgressMeter(settings, total, total).finish(sha256);
  }

  /** Whether the target has this content. */
  async #isIdentical(sha256: string, total: number): Promise<boolean> {
    const info = await Deno.lstat(this.#task.file);
    if (!info.isFile || info.size !== total) return false;
    using file = await Deno.open(this.#task.file);
    const changed = () => targetChangedError(this.#task.file);
    const hash = await hashPrefix(file, total, changed, this.#task.settings.signal);
    return hash.digest("hex") === sha256;
  }

  /**
   * Compares the rest of a file, from a position on at which the part is cut, with the free space.
   */
  #checkSpace(total: number, start: number): void {
    this.total = total;
    const { directory, leftoverBytes } = this.#task.part;
    const refuse = (shortage: Shortage) =>
      localDiskFullError(this.#task.file, shortage, this.#task.part);
    checkSpace(directory, total - start, leftoverBytes - start, refuse);
  }

  /**
   * Downloads the missing rest of a part, or all of the file if it has changed.
   *
   * @returns `null` without a part of the version that the server has.
   */
  async #continue(head: Response): Promise<HashedPart | null> {
    if (head.status !== 200) return null;
    const version = versionOf("HEAD", this.#task.uri, head);
    const { etag } = version;
    const { "content-length": total } = head.headers;
    const peer = await this.#task.client.peer();
    if (etag === null || typeof total !== "number" || peer === null) return null;
    const offset = await this.#task.part.resume({ peer, uri: this.#task.uri, etag, total });
    if (offset === 0) return null;
    const hash = await this.#task.part.hashTo(offset, this.#task.settings.signal);
    const meter = new ProgressMeter(this.#task.settings, total, offset);
    return await this.#getRest({ version: { ...version, sha256: null }, hash, meter });
  }

  async #askHead(): Promise<Response> {
    const head = await this.#task.client.request("HEAD", this.#task.uri, {});
    await head.discard();
    return head;
  }

  /** Finds the local file that may have a prefix of the one that is downloaded. */
  #findBasis(head: Response | null): LocalBasis | null {
    if (this.#task.inTree !== null) return this.#task.inTree.basis;
    const { reuse, "file-stamp": stamp } = head?.headers ?? {};
    const now = parseStamp(stamp);
    if (rootPathOf(reuse) === null || now === null || !this.#task.seen?.isFile) return null;
    const { size, mtime } = this.#task.seen;
    const mayBegin = isGrown({ size, modified: Number(mtime) }, now);
    return mayBegin ? { path: this.#task.file, length: size } : null;
  }

  /**
   * Copies a prefix of a local file, if the file of the server has the same prefix, and downloads
   * the rest.
   *
   * @returns `null` if it has another one, or the copy failed: the part is then empty.
   */
  async #reuse({ path, length }: LocalBasis): Promise<HashedPart | null> {
    const { signal } = this.#task.settings;
    const file = await open(path, READ_FLAGS).catch(() => null);
    if (file === null) return null;
    await using opened = new AsyncDisposableStack();
    opened.defer(() => file.close());
    const tooShort = () => targetChangedError(path);
    const hashed = async () => {
      const hashing = hashPrefix(file, length, tooShort, signal);
      return await hashing.then((hash) => hash.digest("hex"), () => null);
    };
    const asked = await comparePrefix(this.#task.client, this.#task.uri, length, hashed);
    signal?.throwIfAborted();
    const { "content-length": total } = asked?.headers ?? {};
    if (asked === null || typeof total !== "number" || total < length) return null;
    const begun = versionOf("HEAD", this.#task.uri, asked);
    const { etag, sha256 } = begun;
    this.#checkSpace(total, 0);
    const hash = await this.#copy(file, length, await this.#versionOf(etag, total));
    // Windows replaces no file that is open.
    await opened.disposeAsync();
    if (hash.copy().digest("hex") !== sha256) {
      await this.#task.part.clear();
      return null;
    }
    const meter = new ProgressMeter(this.#task.settings, total, 0, length);
    const version = { ...begun, sha256: length === total ? sha256 : null };
    return await this.#getRest({ version, hash, meter });
  }

  /** Copies the readable bytes of the prefix of a file to a new part. */
  async #copy(file: FileHandle, length: number, version: PartVersion | null): Promise<Hash> {
    await this.#task.part.open(version);
    const { temporary } = this.#task.part;
    const hash = newHash();
    const { signal } = this.#task.settings;
    const makeReadError = () => new UnreadableBasisError();
    try {
      await copyPrefix(file, temporary, { length, hash, signal, makeReadError });
    } catch (error) {
      if (!(error instanceof UnreadableBasisError)) {
        // The prefix can be copied again.
        await this.#task.part.clear();
        throw error;
      }
    }
    return hash;
  }

  /** Downloads what a part lacks, or all of the file if it has changed; `null` if it is gone. */
  async #getRest(kept: HashedPart): Promise<HashedPart | null> {
    const { meter: { start, total }, version: { etag } } = kept;
    if (start === total) return kept;
    const range = new Range(start, total);
    const condition: HeaderDict = etag === null ? {} : { "if-range": etag };
    const response = await this.#request("GET", { range, ...condition });
    if (response.status === 206) return await this.#append(kept, response);
    if (response.status !== 412 && response.status !== 416) return await this.#begin(response);
    await response.discard();
    return null;
  }

  async #append(
    { version: { etag }, hash, meter }: HashedPart,
    response: Response,
  ): Promise<HashedPart> {
    const { start, total } = meter;
    const version = versionOf("GET", this.#task.uri, response);
    const { headers: { "content-range": range }, body } = response;
    // Without a tag the file may have grown: ignore the bytes behind the requested ones.
    const fits = isContentRange(range) && range.start === start && range.stop === total &&
      (etag === null ? range.total >= total : range.total === total) && body?.chunked === false &&
      body.contentLength === total - start &&
      (version.etag === null || etag === null || version.etag === etag);
    if (!fits) {
      await response.discard();
      throw unexpectedResponseError(
        "GET",
        this.#task.uri,
        "the response has another part than was requested",
      );
    }
    const arrived = { version: { ...version, etag }, hash, meter };
    await this.#receive(arrived, response, async () => {
      // A copied prefix was written just now, and may not be on the disk yet.
      if (meter.reused === 0) await this.#task.part.temporary.continueFrom(start);
    });
    return arrived;
  }

  async #begin(response: Response): Promise<HashedPart> {
    if (response.status !== 200) {
      await response.discard();
      const error = responseError("GET", this.#task.uri, response);
      // A small file was overwritten while the server read it.
      throw response.status === 409
        ? changedWhileCopiedError(quote(this.#task.uri), { cause: error })
        : error;
    }
    const version = versionOf("GET", this.#task.uri, response);
    const { body } = response;
    if (body?.chunked) {
      cancelUnusedBody(body, null);
      const problem = "the response does not state the length of the file (content-length)";
      throw unexpectedResponseError("GET", this.#task.uri, problem);
    }
    const total = body?.contentLength ?? 0;
    const { etag } = version;
    const named = await this.#versionOf(etag, total);
    const meter = new ProgressMeter(this.#task.settings, total, 0);
    const arrived = { version, hash: newHash(), meter };
    await this.#receive(arrived, response, async () => {
      await this.#task.part.open(named);
      await this.#task.part.temporary.continueFrom(0);
    });
    return arrived;
  }

  /**
   * The version by which a later call can resume a part; `null` for a part that can't be resumed.
   */
  async #versionOf(etag: string | null, total: number): Promise<PartVersion | null> {
    const peer = await this.#task.client.peer();
    const isResumable = this.#task.settings.resume && total >= MIN_RESUMABLE_BYTES;
    return isResumable && etag !== null && peer !== null
      ? { peer, uri: this.#task.uri, etag, total }
      : null;
  }

  /** Writes a body to the prepared part. */
  async #receive(
    { version, hash, meter }: HashedPart,
    response: Response,
    prepare: () => Promise<void>,
  ): Promise<void> {
    // The body was checked, and has a known length; it is `null` for an empty file.
    const body = response.body as Body | null;
    const { start, reused, total } = meter;
    try {
      // For a copied prefix, the space was checked before.
      if (reused === 0) this.#checkSpace(total, start);
      await prepare();
    } catch (error) {
      cancelQuietly(body, error);
      throw error;
    }
    const part = this.#task.part.temporary;
    try {
      const written = (count: number) => meter.add(count);
      const target = { file: part, start, limit: total, length: null, hash, written };
      await receiveBody(body, target);
    } catch (error) {
      if (isDiskFullError(error)) await part.truncateToSynced();
      if (!await this.#isChanged(error, version, total)) throw error;
      this.#task.part.temporary.isKept = false;
      throw changedWhileCopiedError(quote(this.#task.uri), { cause: error });
    }
  }

  /**
   * Reports whether a body broke off because the file has changed: the server can only cut the body
   * then. This needs a new connection, so the result is false over a connection of the caller.
   */
  async #isChanged(error: unknown, { etag }: Version, total: number): Promise<boolean> {
    if (!isTransient(error) || error instanceof Deno.errors.TimedOut) return false;
    try {
      const response = await this.#task.client.request("HEAD", this.#task.uri, {});
      if (response.status !== 200) return false;
      const length = response.headers["content-length"];
      if (length !== undefined && length !== total) return true;
      return etag !== null && versionOf("HEAD", this.#task.uri, response).etag !== etag;
    } catch {
      return false;
    }
  }

  /** Syncs the part to the disk, and compares it with the server's file. */
  async #verify({ version, hash, meter: { total } }: HashedPart): Promise<string> {
    const [synced, other] = await Promise.allSettled([
      this.#task.part.temporary.sync(),
      version.sha256 !== null ? version : requestDigest(this.#task.client, this.#task.uri, total),
    ]);
    if (synced.status === "rejected") {
      if (isDiskFullError(synced.reason)) await this.#task.part.temporary.truncateToSynced();
      throw synced.reason;
    }
    if (other.status === "rejected") throw other.reason;
    const sha256 = hash.digest("hex");
    if (other.value.sha256 === sha256) return sha256;
    this.#task.part.temporary.isKept = false;
    const uri = quote(this.#task.uri);
    if (other.value.etag !== version.etag || version.etag === null) {
      throw changedWhileCopiedError(uri);
    }
    const problem = "what arrived is not what the other end has: its SHA-256 is another one";
    const message = `${uri}: ${problem}; nothing was kept, call again to start over`;
    throw new TransferError("DIGEST_MISMATCH", message, { problem });
  }

  #request(method: "GET" | "HEAD", headers: HeaderDict = {}): Promise<Response> {
    const wanted = { ...headers, "want-repr-digest": WANT_SHA256 };
    return this.#task.client.request(method, this.#task.uri, wanted);
  }
}
