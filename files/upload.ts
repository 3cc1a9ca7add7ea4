/**
 * Uploads files to another device.
 *
 * @module
 */

import type { BodyOut } from "../base/body/bodies.ts";
import { quote } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Response } from "../base/app/message.ts";
import { parseDecimal } from "../base/wire/range.ts";
import type { Client, Connection } from "../client.ts";
import { formatReprDigest, WANT_SHA256 } from "./digest.ts";
import {
  checkTransfer,
  ProgressMeter,
  type TransferOptions,
  type TransferResult,
  type TransferSettings,
} from "./options.ts";
import { readDigest } from "./remote_digest.ts";
import { Route } from "./route.ts";
import { SourceFile } from "./source_file.ts";
import { statusError, TransferError, unexpectedResponse } from "./transfer_error.ts";
import { isTransient } from "../net/retry.ts";

/** To hash so many bytes takes some milliseconds. */
const SOON_HASHED_BYTES = 1048576;

/**
 * Uploads a file to a `FilesApp` with `write: true`: one attempt, which resumes what an earlier one has
 * sent. After any error, call it again to resume.
 *
 * The server reports how much of it is there; a file of the same length is compared, and nothing is sent if it is
 * identical. The rest is hashed while it is sent, verified there, and the file gets its name when all of it
 * is synced to the disk. With `verify: false` the file is not hashed, and always sent from its beginning. A file that
 * was changed less than two seconds ago is not resumed: another version could look the same.
 *
 * The server hashes what it has before it continues, and sends nothing meanwhile: the `timeout` of the
 * client must be longer than that takes.
 *
 * Needs `--allow-read` of the file, and what the client needs.
 *
 * @param to Where the file goes.
 * @param file The path of a regular file, which must not change until the end.
 * @param uri The URI of its destination: `fileUri(...names)`. Missing directories are created.
 * @param options How to resume, verify and report.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or if the file is not a regular file.
 * @throws {TransferError} if the server does not accept the file, or the file changed meanwhile.
 * @throws {Deno.errors.IsADirectory} if the file is a directory; `Deno.errors.NotFound` if there is
 * none; `Deno.errors.PermissionDenied` if it can't be read.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { fileUri, upload } from "@degu/degu/files";
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
  to: Client | Connection,
  file: string,
  uri: string,
  options: TransferOptions = {},
): Promise<TransferResult> {
  const settings = checkTransfer(uri, file, options);
  using route = new Route("to", to, settings.signal);
  settings.signal?.throwIfAborted();
  return await uploadFile(route, file, uri, settings);
}

/**
 * Uploads a file over a route.
 *
 * @param headers Additional headers of all requests that write.
 * @param opened Called when the file is open, before anything of it is read.
 */
export async function uploadFile(
  route: Route,
  file: string,
  uri: string,
  settings: TransferSettings,
  headers: HeaderDict = {},
  opened: () => void = () => {},
): Promise<TransferResult> {
  await using source = await SourceFile.open(file);
  opened();
  return await new Upload(route, uri, source, settings, headers).run();
}

/** One attempt to upload a file. */
class Upload {
  readonly #route: Route;
  readonly #uri: string;
  readonly #source: SourceFile;
  readonly #settings: TransferSettings;
  /** Additional headers of all requests that write. */
  readonly #headers: HeaderDict;
  /** Headers of every PUT. */
  readonly #putHeaders: HeaderDict;

  constructor(
    route: Route,
    uri: string,
    source: SourceFile,
    settings: TransferSettings,
    headers: HeaderDict,
  ) {
    this.#route = route;
    this.#uri = uri;
    this.#source = source;
    this.#settings = settings;
    this.#headers = headers;
    const { replace, modified } = settings;
    this.#putHeaders = {
      ...headers,
      ...(replace ? {} : { "if-none-match": "*" }),
      ...(modified === null ? {} : { "upload-modified": modified.toISOString() }),
    };
  }

  async run(): Promise<TransferResult> {
    const { verify, resume, signal } = this.#settings;
    const source = this.#source;
    if (!verify) {
      const body = (meter: ProgressMeter) => source.body((count) => meter.add(count));
      return await this.#send(0, (meter) => this.#put({}, body(meter)));
    }
    // Of a file that was just changed another version could have the same name.
    const isResumable = resume && source.isSettled;
    const named = { "upload-version": source.version };
    let offset = 0;
    if (resume) {
      const asked = await this.#ask({ ...named, "want-repr-digest": WANT_SHA256 });
      if (asked.sha256 !== null) {
        this.#releaseFor(source.size);
        const sha256 = await source.hash(signal);
        if (sha256 === asked.sha256) return await this.#confirm(sha256);
      }
      if (isResumable) offset = asked.offset;
    }
    return await this.#send(offset, async (meter) => {
      this.#releaseFor(meter.resumedFrom);
      const prefix = await source.hashTo(meter.resumedFrom, signal);
      const headers = isResumable
        ? this.#announced(named, meter)
        : { "upload-length": `${source.size}` };
      const body = source.hashedBody(meter.resumedFrom, prefix, (count) => meter.add(count));
      return await this.#put(headers, body);
    });
  }

  /** Closes the connection if that many bytes are hashed first: it may take longer than a server waits. */
  #releaseFor(bytes: number): void {
    if (bytes > SOON_HASHED_BYTES) this.#route.release();
  }

  /** Makes sure that an identical file, which is there already, has the time that was wanted. */
  async #confirm(sha256: string): Promise<TransferResult> {
    const { modified, replace } = this.#settings;
    const meter = this.#meter(this.#source.size);
    if (modified === null || !replace) return meter.finish(sha256);
    const headers = this.#announced({ "repr-digest": formatReprDigest(sha256) }, meter);
    return await this.#finish(await this.#put(headers, null), meter);
  }

  #meter(offset: number): ProgressMeter {
    return new ProgressMeter(this.#settings.onProgress, this.#source.size, offset);
  }

  /** Requests how much is there, and the digest of a file of the same length. */
  async #ask(named: HeaderDict): Promise<{ offset: number; sha256: string | null }> {
    const headers = { ...this.#headers, ...named, "upload-length": `${this.#source.size}` };
    const response = await this.#route.request("HEAD", this.#uri, headers);
    if (response.status !== 200) {
      // The server closes the connection, which is then not taken for the next request.
      await this.#route.discard(response);
      throw statusError("HEAD", this.#uri, response, "put");
    }
    const offset = this.#offsetOf(response);
    if (offset !== null) return { offset, sha256: readDigest("HEAD", this.#uri, response) };
    const problem =
      "the server does not report how much of the file it has; it needs a FilesApp with write: true";
    throw unexpectedResponse("HEAD", this.#uri, problem);
  }

  #offsetOf({ headers }: Response): number | null {
    const { "upload-offset": text } = headers;
    const offset = typeof text === "string" ? parseDecimal(text) : -1;
    return offset >= 0 && offset <= this.#source.size ? offset : null;
  }

  /** Sends the file from an offset on; if the server has another part by now, once more from its offset. */
  async #send(
    offset: number,
    put: (meter: ProgressMeter) => Promise<Response>,
  ): Promise<TransferResult> {
    let meter = this.#meter(offset);
    let response = await put(meter);
    const { resume, verify } = this.#settings;
    const other = response.status === 409 && resume && verify ? this.#offsetOf(response) : null;
    if (other !== null && this.#route.isUsable) {
      // Another upload has sent some of it, or what was there is gone.
      await this.#route.discard(response);
      meter = this.#meter(other);
      response = await put(meter);
    }
    return await this.#finish(response, meter);
  }

  #announced(named: HeaderDict, meter: ProgressMeter): HeaderDict {
    return {
      ...named,
      "upload-offset": `${meter.resumedFrom}`,
      "upload-length": `${meter.total}`,
    };
  }

  #put(headers: HeaderDict, body: BodyOut): Promise<Response> {
    return this.#route.request("PUT", this.#uri, { ...this.#putHeaders, ...headers }, body);
  }

  /** True if an identical file already exists, so that it need not be replaced. */
  async #isThere(): Promise<boolean> {
    const { verify, signal } = this.#settings;
    if (!verify || !this.#route.isUsable) return false;
    const wanted = { "want-repr-digest": WANT_SHA256 };
    try {
      const response = await this.#route.request("HEAD", this.#uri, wanted);
      if (response.status !== 200) return false;
      const length = response.headers["content-length"];
      if (length !== undefined && length !== this.#source.size) return false;
      return readDigest("HEAD", this.#uri, response) === await this.#source.hash(signal);
    } catch (error) {
      // A server closes a connection after a body that it did not read.
      if (this.#route.canReconnect || !isTransient(error)) throw error;
      return false;
    }
  }

  /** Checks that the server has the file, and that it is this one. */
  async #finish(response: Response, meter: ProgressMeter): Promise<TransferResult> {
    const { status } = response;
    await this.#route.discard(response);
    if (status === 412 && await this.#isThere()) return meter.finish(this.#source.sha256);
    if (status !== 201 && status !== 204) throw statusError("PUT", this.#uri, response);
    if (!this.#settings.verify) return meter.finish(null);
    const other = readDigest("PUT", this.#uri, response);
    if (other === null) throw notVerified(this.#uri);
    if (other !== this.#source.sha256) throw otherDigest(this.#uri);
    return meter.finish(other);
  }
}

function notVerified(uri: string): TransferError {
  const problem = "the server has accepted the file, but does not report whether it is the same " +
    "(repr-digest, RFC 9530); call again with verify: false to skip the check";
  return unexpectedResponse("PUT", uri, problem);
}

function otherDigest(uri: string): TransferError {
  return new TransferError(
    "DIGEST_MISMATCH",
    `${
      quote(uri)
    }: what the other end has is not what was sent: its SHA-256 is another one; call again`,
  );
}
