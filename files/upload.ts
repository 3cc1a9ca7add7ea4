/**
 * Uploads files to another device.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Response } from "../base/app/message.ts";
import { parseDecimal } from "../base/wire/range.ts";
import type { Client, Connection } from "../client.ts";
import { formatReprDigest, WANT_SHA256 } from "./digest.ts";
import {
  checkTransfer,
  type TransferOptions,
  type TransferResult,
  type TransferSettings,
} from "./options.ts";
import { ProgressMeter } from "./progress_meter.ts";
import { readDigest } from "./response_version.ts";
import { Route } from "./route.ts";
import { SourceFile } from "./source_file.ts";
import { statusError, TransferError, unexpectedResponse } from "./transfer_error.ts";
import { isTransient } from "../net/retry.ts";

/**
 * Uploads a file to a `FilesApp` with `write: true`: one attempt, which resumes what an earlier one has
 * sent. After any error, call it again to resume.
 *
 * The file is hashed before a client connects. The server reports how much of it is there, all of
 * it if it already has an identical file; the rest is sent, verified there, and the file gets its name when all of it
 * is synced to the disk. With `verify: false` the file is not hashed, and always sent from its beginning.
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
 */
export async function uploadFile(
  route: Route,
  file: string,
  uri: string,
  settings: TransferSettings,
  headers: HeaderDict = {},
): Promise<TransferResult> {
  await using source = await SourceFile.open(file);
  const sha256 = settings.verify ? await source.hash(settings.signal) : null;
  return await new Upload(route, uri, source, sha256, settings, headers).run();
}

/** One attempt to upload a file. */
class Upload {
  readonly #route: Route;
  readonly #uri: string;
  readonly #source: SourceFile;
  readonly #sha256: string | null;
  readonly #settings: TransferSettings;
  /** Headers of all requests. */
  readonly #headers: HeaderDict;
  /** Additional headers of a PUT. */
  readonly #putHeaders: HeaderDict;

  constructor(
    route: Route,
    uri: string,
    source: SourceFile,
    sha256: string | null,
    settings: TransferSettings,
    headers: HeaderDict,
  ) {
    this.#route = route;
    this.#uri = uri;
    this.#source = source;
    this.#sha256 = sha256;
    this.#settings = settings;
    this.#headers = sha256 === null
      ? headers
      : { ...headers, "repr-digest": formatReprDigest(sha256) };
    const { replace, modified } = settings;
    this.#putHeaders = {
      ...this.#headers,
      ...(replace ? {} : { "if-none-match": "*" }),
      ...(modified === null ? {} : { "upload-modified": modified.toISOString() }),
    };
  }

  async run(): Promise<TransferResult> {
    if (this.#sha256 === null || !this.#settings.resume) {
      const meter = this.#meter(0);
      return await this.#finish(await this.#put(this.#putHeaders, meter), meter);
    }
    let meter = this.#meter(await this.#askOffset());
    let response = await this.#putRest(meter);
    const other = response.status === 409 ? this.#offsetOf(response) : null;
    if (other !== null && this.#route.isUsable) {
      // Another upload has sent some of it, or what was there is gone.
      await this.#route.discard(response);
      meter = this.#meter(other);
      response = await this.#putRest(meter);
    }
    return await this.#finish(response, meter);
  }

  #meter(offset: number): ProgressMeter {
    return new ProgressMeter(this.#settings.onProgress, this.#source.size, offset);
  }

  /** Requests how much is there. */
  async #askOffset(): Promise<number> {
    const headers = { ...this.#headers, "upload-length": `${this.#source.size}` };
    const response = await this.#route.request("HEAD", this.#uri, headers);
    if (response.status !== 200) throw statusError("HEAD", this.#uri, response, "put");
    const offset = this.#offsetOf(response);
    if (offset !== null) return offset;
    const problem =
      "the server does not report how much of the file it has; it needs a FilesApp with write: true";
    throw unexpectedResponse("HEAD", this.#uri, problem);
  }

  #offsetOf({ headers }: Response): number | null {
    const { "upload-offset": text } = headers;
    const offset = typeof text === "string" ? parseDecimal(text) : -1;
    return offset >= 0 && offset <= this.#source.size ? offset : null;
  }

  #putRest(meter: ProgressMeter): Promise<Response> {
    return this.#put({
      ...this.#putHeaders,
      "upload-offset": `${meter.resumedFrom}`,
      "upload-length": `${meter.total}`,
    }, meter);
  }

  async #put(headers: HeaderDict, meter: ProgressMeter): Promise<Response> {
    const body = await this.#source.body(meter.resumedFrom, (count) => meter.add(count));
    return await this.#route.request("PUT", this.#uri, headers, body);
  }

  /** True if an identical file already exists, so that it need not be replaced. */
  async #isThere(): Promise<boolean> {
    if (this.#sha256 === null || !this.#route.isUsable) return false;
    const wanted = { "want-repr-digest": WANT_SHA256 };
    try {
      const response = await this.#route.request("HEAD", this.#uri, wanted);
      return response.status === 200 && readDigest("HEAD", this.#uri, response) === this.#sha256;
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
    if (status === 412 && await this.#isThere()) return meter.finish(this.#sha256);
    if (status !== 201 && status !== 204) throw statusError("PUT", this.#uri, response);
    if (this.#sha256 !== null) {
      const other = readDigest("PUT", this.#uri, response);
      if (other === null) throw notVerified(this.#uri);
      if (other !== this.#sha256) throw otherDigest(this.#uri);
    }
    return meter.finish(this.#sha256);
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
