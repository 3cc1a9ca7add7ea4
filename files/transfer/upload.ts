/** Uploads files to another device. */

import type { BodyOut, HeaderDict, Response } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { parseDecimal } from "../../base/wire/character_tables.ts";
import { type Connector, isTransient, type Requester, type StatusError } from "../../client.ts";
import { BUNDLED_BELOW_BYTES } from "../bundle.ts";
import { formatReprDigest, WANT_SHA256 } from "../digest.ts";
import {
  checkTransfer,
  pathOf,
  ProgressMeter,
  type TransferOptions,
  type TransferResult,
  type TransferSettings,
} from "../options.ts";
import { uriOf } from "../file_name.ts";
import { conditionFor, parseStamp } from "../conditions.ts";
import { type Basis, isGrown, makeReuseHeader, rootPathOf } from "../reuse.ts";
import { modeHeader, modeOfCopy, parseMode, WANT_MASK } from "../modes.ts";
import { TransferClient } from "./client.ts";
import { comparePrefix, isTooSlow, readDigest, requestDigest } from "./remote_digest.ts";
import { SourceFile } from "./source_file.ts";
import {
  isOfTransfer,
  remoteChangedError,
  remoteDiskFullError,
  responseError,
  TransferError,
  unexpectedResponseError,
  withRequirement,
} from "../transfer_error.ts";

/**
 * Uploads a file to a `FilesApp` with `write: true`, in one attempt, which resumes an earlier one.
 * After any error, call it again to resume.
 *
 * The server reports how many bytes of the file it has. A file of the same length is compared, and
 * not sent if it is identical. The rest is hashed while it is sent, and the server verifies it. The
 * file gets its name when all of it is synced to the disk, and the time of the local file, which an
 * identical one also gets. A file that was changed or renamed less than two seconds ago is not
 * resumed: another version could look the same.
 *
 * If the server has a shorter, older version of the file, and has `reuse: true`, both
 * ends hash the prefix. If the hashes are the same, only the remaining bytes are sent. If the
 * comparison takes longer than the `timeout` of the client, the whole file is sent.
 *
 * Before the server continues a part, it hashes the part and sends no byte: the `timeout`
 * must be longer than that takes.
 *
 * Needs `--allow-read` of the file, and what the client needs.
 *
 * @param to Where the file goes.
 * @param file The path, or a `file:` URL, of a regular file. Bytes that are appended later are
 * not sent.
 * @param uri The names of the directories on the way to its destination, and its own; or its URI.
 * Missing directories are created.
 * @param options How to resume and report.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, if the URI is that of a directory, with a final
 * `/`, or if the file is not a regular file.
 * @throws {StatusError} if the server does not accept the file, because it may not be written or is
 * too large, for example.
 * @throws {TransferError} if the bytes that were read never stood in the file at one moment; if the
 * server has too little space, or a directory with the name; if the server has another file that
 * changes during the call, or is not to be replaced.
 * @throws {Deno.errors.IsADirectory} if the file is a directory; `Deno.errors.NotFound` if there is
 * no file; `Deno.errors.PermissionDenied` if it can't be read.
 * @throws the errors of `connect` and `request` of the client or connection.
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
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
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
  file: string | URL,
  uri: string | readonly string[],
  options: TransferOptions = {},
): Promise<TransferResult> {
  const path = pathOf("file", file);
  const checkedUri = uriOf(uri);
  const settings = checkTransfer(options);
  using client = new TransferClient("to", to, { signal: settings.signal });
  if (checkedUri.split("?")[0]!.endsWith("/")) {
    throw notAllowedError(
      "uri",
      `is that of a directory; add the name of the file; got ${checkedUri}`,
    );
  }
  settings.signal?.throwIfAborted();
  const opening = SourceFile.open(path).catch((error) => {
    // The system's errors don't say which argument they are about.
    if (!error.message.startsWith("file: ")) error.message = `file: ${path}: ${error.message}`;
    throw error;
  });
  await using source = await opening;
  return await new FileUpload(client, checkedUri, source, settings).run();
}

/** The statuses, beside 409, that mean that a basis was removed or has changed. */
const NOT_REUSED: ReadonlySet<number> = new Set([400, 404]);

/** Where an upload begins: what the server has of the file. */
type UploadStart =
  /** All of it, by its name. */
  | { readonly is: "identical"; readonly sha256: string; readonly mode: number | null }
  /** So many bytes, as a part. */
  | { readonly is: "part"; readonly offset: number }
  /** A prefix that the server copies from another file or an older version. */
  | { readonly is: "basis"; readonly basis: Basis };

/** The response to a HEAD about an upload. */
interface ServerFile {
  /** Bytes of the upload that the server has. */
  readonly offset: number;
  /** The digest of a file of the same length, if it was wanted. */
  readonly sha256: string | null;
  readonly mode: number | null;
  /** The file of the server, if the local one may be a later version that has grown. */
  readonly basis: Basis | null;
}

/** The upload of an open file. */
export class FileUpload {
  readonly #client: TransferClient;
  readonly #uri: string;
  readonly #source: SourceFile;
  readonly #settings: TransferSettings;
  readonly #headers: HeaderDict;
  /** Says which file may be replaced: that which this call has seen first. */
  #condition: HeaderDict | null = null;

  /** @param headers Sent with all requests that write. */
  constructor(
    client: TransferClient,
    uri: string,
    source: SourceFile,
    settings: TransferSettings,
    headers: HeaderDict = {},
  ) {
    this.#client = client;
    this.#uri = uri;
    this.#source = source;
    this.#settings = settings;
    this.#headers = headers;
  }

  async run(): Promise<TransferResult> {
    const { replace, seen, basis } = this.#settings;
    if (!replace) this.#condition = { "if-none-match": "*" };
    else if (seen !== undefined) this.#condition = { "if-file-stamp": seen };
    const isWhole = basis?.length === this.#source.size;
    const copyResult = isWhole ? await this.#sendDigest(basis) : null;
    if (copyResult !== null) return copyResult;
    const start = await this.#findStart(isWhole ? null : basis);
    try {
      return await this.#continue(start);
    } catch (error) {
      if (start.is !== "basis" || !isTooSlow(this.#client, error)) throw error;
      return await this.#continue(await this.#findStart(null));
    }
  }

  /**
   * Finds out what of the file need not be sent.
   *
   * @param knownBasis The file that may be reused; `null` for none, `undefined` to ask the server.
   */
  async #findStart(knownBasis: Basis | null | undefined): Promise<UploadStart> {
    const { resume, isRewritten = false, signal } = this.#settings;
    const { size } = this.#source;
    if (!resume && this.#condition !== null) return { is: "part", offset: 0 };

    const wanted = isRewritten || !resume ? {} : { "want-repr-digest": WANT_SHA256 };
    const serverFile = await this.#ask({ ...this.#uploadHeaders, ...wanted });
    if (serverFile.sha256 !== null && !isRewritten) {
      const sha256 = await this.#source.hash(signal);
      if (sha256 === serverFile.sha256) return { is: "identical", sha256, mode: serverFile.mode };
    }

    const offset = this.#isResumable ? serverFile.offset : 0;
    const basis = knownBasis === undefined ? serverFile.basis : knownBasis;
    const isLonger = basis !== null && basis.length > offset && basis.length < size;
    const isReused = isLonger && await this.#beginsWith(basis);
    return isReused ? { is: "basis", basis } : { is: "part", offset };
  }

  /**
   * Has the server copy a file that probably has the same bytes, and verify the copy.
   *
   * @returns `null` if the server has not copied it: it has other bytes, is gone or takes too long.
   */
  async #sendDigest(same: Basis): Promise<TransferResult | null> {
    const digest = formatReprDigest(await this.#source.hash(this.#settings.signal));
    const size = `${same.length}`;
    const named = { "repr-digest": digest, "upload-length": size, "upload-offset": size };
    const meter = this.#meter(0, same.length);
    try {
      const response = await this.#put({ ...named, ...makeReuseHeader(same) }, null);
      const { status } = response;
      const isOther = NOT_REUSED.has(status) || status === 409 && this.#offsetOf(response) !== null;
      if (!isOther || !this.#client.isUsable) return await this.#finish(response, meter);
      await response.discard();
    } catch (error) {
      if (!isTooSlow(this.#client, error)) throw error;
    }
    return null;
  }

  /** Sends what the server lacks. */
  async #continue(start: UploadStart): Promise<TransferResult> {
    if (start.is === "identical") return await this.#confirm(start.sha256, start.mode);
    const from = start.is === "part" ? start.offset : start.basis;
    return await this.#send(from, async (meter) => {
      const { start: offset, reused } = meter;
      const body = await this.#source.hashedBody(offset, meter, this.#settings.signal);
      const headers = this.#isResumable
        ? { ...this.#uploadHeaders, "upload-offset": `${offset}` }
        : { "upload-length": `${this.#source.size}` };
      const reuse = reused > 0 && start.is === "basis" ? makeReuseHeader(start.basis) : {};
      return await this.#put({ ...headers, ...reuse }, body);
    });
  }

  /** The modification time that the file gets; `null` for that of its last byte. */
  get #modified(): Date | null {
    return this.#settings.modified ?? this.#source.seen.info.mtime;
  }

  /** A file that was just changed may be changed again without another `upload-version`. */
  get #isResumable(): boolean {
    return this.#settings.resume && this.#source.isSettled;
  }

  /** Names this version of the file. */
  get #uploadHeaders(): HeaderDict {
    const { version, size } = this.#source;
    return { "upload-version": version, "upload-length": `${size}` };
  }

  /** Whether a file of the target begins as this one does. */
  async #beginsWith({ uri, length }: Basis): Promise<boolean> {
    const hashed = () => this.#source.hashPrefix(length, this.#settings.signal);
    return await comparePrefix(this.#client, uri, length, hashed) !== null;
  }

  /** Sends the file, which the server keeps as a part until {@linkcode completeUpload} names it. */
  async sendPart(): Promise<TransferResult> {
    const { signal } = this.#settings;
    const size = `${this.#source.size}`;
    const digest = formatReprDigest(await this.#source.hash(signal));
    const named = { "repr-digest": digest, "upload-length": size, "upload-complete": "?0" };
    // The part replaces nothing, so it needs no condition; `completeUpload` has its own.
    this.#condition = {};
    // A small file is sent again sooner than it is asked for.
    const isSmall = this.#source.size < BUNDLED_BELOW_BYTES;
    const { offset } = isSmall ? { offset: 0 } : await this.#ask(named);
    return await this.#send(offset, async (meter) => {
      const headers = { ...named, "upload-offset": `${meter.resumedFrom}` };
      return await this.#put(headers, await this.#source.body(meter, signal));
    });
  }

  /**
   * Sets the modification time and the permission bits of an identical file of the server. The
   * server also syncs its name to the disk.
   */
  async #confirm(sha256: string, serverMode: number | null): Promise<TransferResult> {
    const { replace, modes } = this.#settings;
    const size = `${this.#source.size}`;
    const meter = this.#meter(this.#source.size);
    const { modeMask } = this.#client;
    const isOpen = modes && this.#source.mode !== null && modeMask !== null;
    const isOther = isOpen && modeOfCopy(this.#source.mode!, modeMask) !== serverMode;
    if (this.#modified === null && !isOther || !replace) return meter.finish(sha256);
    const digest = { "repr-digest": formatReprDigest(sha256) };
    const headers = { ...digest, "upload-offset": size, "upload-length": size };
    const response = await this.#put(headers, null);
    if (response.status !== 403 || !this.#client.isUsable) {
      return await this.#finish(response, meter);
    }
    // A file of another user gets no time, and can be replaced all the same.
    await response.discard();
    return await this.#continue({ is: "part", offset: 0 });
  }

  #meter(offset: number, reused = 0): ProgressMeter {
    return new ProgressMeter(this.#settings, this.#source.size, offset, reused);
  }

  /** Asks how many bytes the server has and, if wanted, for the digest of a file of this length. */
  async #ask(named: HeaderDict): Promise<ServerFile> {
    const headers = { ...this.#headers, ...this.#settings.modes ? WANT_MASK : {}, ...named };
    const response = await this.#client.request("HEAD", this.#uri, headers);
    if (response.status !== 200) {
      await response.discard();
      throw this.#refused("HEAD", response);
    }
    const offset = this.#offsetOf(response);
    const { "file-stamp": stamp, "file-mode": mode } = response.headers;
    if (typeof stamp === "string") this.#condition ??= conditionFor(stamp);
    if (offset !== null && this.#condition !== null) {
      const sha256 = readDigest("HEAD", this.#uri, response);
      return { offset, sha256, mode: parseMode(mode), basis: this.#basisOf(response) };
    }
    const problem = "the server does not report how much of the file it has";
    const error = unexpectedResponseError("HEAD", this.#uri, problem);
    throw withRequirement(error, "it needs a FilesApp with write: true");
  }

  /** Returns the file of the server, if the local one may be a later version that has grown. */
  #basisOf({ headers }: Response): Basis | null {
    const path = rootPathOf(headers["reuse"]);
    const stamp = parseStamp(headers["file-stamp"]);
    const { size, mtime } = this.#source.seen.info;
    const file = { size, modified: Number(mtime) };
    if (path === null || stamp === null || !isGrown(stamp, file)) return null;
    return { uri: this.#uri, path, length: stamp.size };
  }

  #offsetOf({ headers }: Response): number | null {
    const { "upload-offset": text } = headers;
    const offset = typeof text === "string" ? parseDecimal(text) : -1;
    return offset >= 0 && offset <= this.#source.size ? offset : null;
  }

  /**
   * Sends the file from an offset on, or behind a prefix that the server copies. If the server has
   * another part, sends again from the end of that part. If the server could not copy the prefix,
   * sends the whole file.
   */
  async #send(
    from: number | Basis,
    put: (meter: ProgressMeter) => Promise<Response>,
  ): Promise<TransferResult> {
    const isPart = typeof from === "number";
    let meter = isPart ? this.#meter(from) : this.#meter(0, from.length);
    let response = await put(meter);
    const { status } = response;
    const isAnswered = status === 409 && (this.#settings.resume || !isPart);
    const partBytes = isAnswered ? this.#offsetOf(response) : null;
    const otherOffset = partBytes ?? (!isPart && NOT_REUSED.has(status) ? 0 : null);
    if (otherOffset !== null && this.#client.isUsable) {
      // Another upload has continued the part, or the part or the basis file is missing.
      await response.discard();
      meter = this.#meter(otherOffset);
      response = await put(meter);
    }
    return await this.#finish(response, meter);
  }

  #put(headers: HeaderDict, body: BodyOut): Promise<Response> {
    const { modes } = this.#settings;
    const modified = this.#modified;
    const all = {
      ...modeHeader(modes ? this.#source.mode : null),
      ...this.#condition,
      ...this.#headers,
      ...(modified === null ? {} : { "upload-modified": modified.toISOString() }),
      ...headers,
    };
    return this.#client.request("PUT", this.#uri, all, body);
  }

  /** Whether the server has an identical file already. */
  async #hasIdentical(): Promise<boolean> {
    if (!this.#client.isUsable) return false;
    try {
      const { sha256 } = await requestDigest(this.#client, this.#uri);
      return sha256 === await this.#source.hash(this.#settings.signal);
    } catch (error) {
      // A server closes a connection after a body that it did not read.
      const isClosed = !this.#client.canReconnect && isTransient(error);
      if (isClosed || isOfTransfer(error)) return false;
      throw error;
    }
  }

  /** The error of a refusal. A 507 with an offset means that the server has not read the body. */
  #refused(method: "HEAD" | "PUT", response: Response): StatusError | TransferError {
    const offset = this.#offsetOf(response);
    if (response.status !== 507 || offset === null) {
      return responseError(method, this.#uri, response, "put");
    }
    return remoteDiskFullError(method, this.#uri, this.#source.size - offset, response);
  }

  /** Checks that the server has exactly this file. */
  async #finish(response: Response, meter: ProgressMeter): Promise<TransferResult> {
    const { status } = response;
    const uri = this.#uri;
    await response.discard();
    const { isRewritten = false, replace } = this.#settings;
    // The caller decides about a name that is taken.
    const isDecided = status === 412 && this.#headers["if-none-match"] === undefined;
    const mayBeThere = isDecided && !isRewritten;
    if (mayBeThere && await this.#hasIdentical()) return meter.finish(this.#source.sha256!);
    if (isDecided && replace) throw remoteChangedError(uri, response);
    // The part that the server had is of the version before.
    if (status === 400 && this.#source.hasChanged) throw this.#source.changedError();
    if (status !== 201 && status !== 204) throw this.#refused("PUT", response);
    const serverDigest = readDigest("PUT", uri, response);
    if (serverDigest !== null && serverDigest === this.#source.sha256) {
      return meter.finish(serverDigest);
    }
    if (serverDigest === null) {
      const problem =
        "the server has accepted the file, but does not report whether it is the same " +
        "(repr-digest, RFC 9530)";
      throw withRequirement(unexpectedResponseError("PUT", uri, problem), "it needs a FilesApp");
    }
    const problem = "what the other end has is not what was sent: its SHA-256 is another one";
    const message = `${quote(uri)}: ${problem}; call again`;
    throw new TransferError("DIGEST_MISMATCH", message, { problem });
  }
}

/**
 * Gives a file its name, of which the server has all as a part.
 *
 * @returns False if the server has no such part any more.
 * @throws {TransferError} if something has the name.
 */
export async function completeUpload(
  client: TransferClient,
  uri: string,
  { sha256, total }: TransferResult,
  modified: Date,
  mode: number | null,
): Promise<boolean> {
  const headers = {
    ...modeHeader(mode),
    "repr-digest": formatReprDigest(sha256!),
    "upload-length": `${total}`,
    "upload-offset": `${total}`,
    "upload-modified": modified.toISOString(),
    "if-none-match": "*",
  };
  const response = await client.request("PUT", uri, headers, null);
  await response.discard();
  const { status, headers: { "upload-offset": offset } } = response;
  if (status === 201 || status === 204) return true;
  if (status === 409 && offset !== undefined) return false;
  // The answer to an earlier request may have been lost.
  if (status === 412 && (await requestDigest(client, uri)).sha256 === sha256) return true;
  throw responseError("PUT", uri, response, "name");
}
