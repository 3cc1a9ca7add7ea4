import { ContentRange, type Method, Range, type Response } from "../../base.ts";
import { quoteName } from "../../internal/quote.ts";
import { type Connector, isTimeout, type Requester, type RequestOptions } from "../../client.ts";
import { parseDate, parseStamp } from "../wire/conditions.ts";
import { parseReprDigest, WANT_SHA256 } from "../wire/digest.ts";
import { toUri } from "../wire/file_name.ts";
import { parseMode } from "../wire/metadata.ts";
import { TransferError } from "../errors.ts";
import {
  changedWhileCopiedError,
  responseError,
  unexpectedResponseError,
} from "../transfer_error.ts";
import { checkRequestOptions } from "../options.ts";
import { TransferClient } from "./client.ts";

/**
 * Requests the SHA-256 of a file from a `FilesApp`. The server hashes the file, and sends only the
 * digest.
 *
 * @param from A client, which opens a connection for the call, or a connection.
 * @param uri The path segments of the file, or its URI.
 * @param options A signal that aborts the call.
 * @returns 64 lower-case hexadecimal digits.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {StatusError} if the server has no such file.
 * @throws {TransferError} if the server does not send the digest.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, remoteDigest } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a`, "abc");
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir));
 * const sha256 = await remoteDigest(new Client(server.address), ["a"]);
 * assertEquals(sha256.slice(0, 16), "ba7816bf8f01cfea");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function remoteDigest(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: Pick<RequestOptions, "signal">,
): Promise<string> {
  const checkedUri = toUri(uri);
  using client = new TransferClient("from", from, checkRequestOptions(options));
  return (await requestDigest(client, checkedUri)).sha256;
}

/**
 * @param length The length of the prefix to hash, if the file may have grown. A server that doesn't
 * hash prefixes sends the digest of the whole file.
 */
export async function requestDigest(
  client: TransferClient,
  uri: string,
  length: number | null = null,
): Promise<RemoteVersion & { readonly sha256: string }> {
  const lengthHeader = length === null ? {} : { "digest-length": `${length}` };
  const headers = { "want-repr-digest": WANT_SHA256, ...lengthHeader };
  const response = await client.request("HEAD", uri, headers);
  if (response.status !== 200) throw responseError("HEAD", uri, response);
  const { sha256, ...version } = versionOf("HEAD", uri, response);
  if (sha256 !== null) return { ...version, sha256 };
  // A FilesApp sends no digest if the file is shorter, or changes while the app hashes it.
  const isFilesApp = version.stamp !== null;
  const isTooShort = length !== null && (parseStamp(version.stamp)?.size ?? length) < length;
  if (isFilesApp && (isTooShort || await hasChanged(client, uri, version))) {
    throw changedWhileCopiedError(quoteName(uri));
  }
  const problem = "the server does not report the SHA-256 of the file (repr-digest, RFC 9530)";
  throw unexpectedResponseError("HEAD", uri, problem);
}

async function hasChanged(
  client: TransferClient,
  uri: string,
  { stamp }: Pick<RemoteVersion, "stamp">,
): Promise<boolean> {
  const response = await client.request("HEAD", uri, {});
  return response.status !== 200 || versionOf("HEAD", uri, response).stamp !== stamp;
}

/** Rejects only after both have ended, because the connection and the file are in use before. */
export async function waitForBoth<A, B>(
  { signal }: TransferClient,
  first: Promise<A>,
  second: Promise<B> | B,
): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  signal?.throwIfAborted();
  return [await first, await second];
}

export async function comparePrefix(
  client: TransferClient,
  uri: string,
  length: number,
  hashLocalPrefix: () => Promise<string | null>,
): Promise<Response | null> {
  const requestHeaders = { "want-repr-digest": WANT_SHA256, "digest-length": `${length}` };
  const [localDigest, response] = await waitForBoth(
    client,
    hashLocalPrefix(),
    client.request("HEAD", uri, requestHeaders).catch((error) => ignoreReuseTimeout(client, error)),
  );
  if (response === null) return null;
  await response.discard();
  const { status, headers } = response;
  const hasPrefixDigest = status === 200 && headers["digest-length"] === `${length}`;
  const sha256 = hasPrefixDigest ? readDigest("HEAD", uri, response) : null;
  return sha256 !== null && sha256 === localDigest ? response : null;
}

/**
 * On a slow disk each further attempt would also time out. If the whole file is transferred
 * instead, its bytes arrive steadily.
 */
export function isReuseTimeout(client: TransferClient, error: unknown): boolean {
  return isTimeout(error) && client.canReconnect;
}

/** If hashing at the server times out, the whole file is transferred. */
function ignoreReuseTimeout(client: TransferClient, error: unknown): null {
  if (isReuseTimeout(client, error)) return null;
  throw error;
}

export function readDigest(
  method: Method,
  uri: string,
  { headers }: Response,
): string | null {
  const { "repr-digest": digest } = headers;
  try {
    return typeof digest === "string" ? parseReprDigest(digest) : null;
  } catch (cause) {
    throw unexpectedResponseError(method, uri, "the response has an invalid repr-digest", {
      cause,
    });
  }
}

/** @param sha256 The digest of the sent bytes; `null` if not all bytes were sent. */
export function checkStoredDigest(uri: string, response: Response, sha256: string | null): string {
  const serverDigest = readDigest("PUT", uri, response);
  if (serverDigest === null) {
    const problem =
      "the server has accepted the file, but does not report its SHA-256 (repr-digest, RFC 9530)";
    throw unexpectedResponseError("PUT", uri, problem);
  }
  if (serverDigest === sha256) return serverDigest;
  const problem = "the server's file and the sent bytes have different SHA-256 digests";
  const message = `${quoteName(uri)}: ${problem}; call again`;
  throw new TransferError("DIGEST_MISMATCH", message, { problem });
}

export interface RemoteVersion {
  readonly etag: string | null;
  readonly stamp: string | null;
  readonly sha256: string | null;
  readonly mode: number | null;
  readonly modified: Date | null;
}

export function versionOf(method: "GET" | "HEAD", uri: string, response: Response): RemoteVersion {
  const { etag, "file-mode": mode, "file-stamp": stamp, "last-modified": date } = response.headers;
  const isStrong = typeof etag === "string" && !etag.startsWith("W/");
  try {
    const sha256 = readDigest(method, uri, response);
    const seconds = typeof date === "string" ? parseDate(date) : null;
    const time = parseStamp(stamp)?.modified ?? (seconds === null ? null : seconds * 1000);
    const modified = time === null ? null : new Date(time);
    return {
      etag: isStrong ? etag : null,
      stamp: typeof stamp === "string" ? stamp : null,
      sha256,
      mode: parseMode(mode),
      modified,
    };
  } catch (error) {
    response.body?.cancel(error).catch(() => {});
    throw error;
  }
}

interface Remainder {
  readonly start: number;
  readonly total: number;
  /** The entity tag of the version that the bytes before `start` belong to. */
  readonly etag: string | null;
}

/** @param remainder The bytes to request; by default the whole file. */
export function requestContent(
  client: TransferClient,
  uri: string,
  remainder: Remainder | null = null,
): Promise<Response> {
  const { etag = null } = remainder ?? {};
  const range = remainder && { range: new Range(remainder.start, remainder.total) };
  const condition = etag === null ? {} : { "if-range": etag };
  return client.request("GET", uri, { ...range, ...condition, "want-repr-digest": WANT_SHA256 });
}

/** @throws {StatusError | TransferError} for any other response, whose body is then canceled. */
export async function checkWholeFile(
  uri: string,
  response: Response,
): Promise<{ readonly version: RemoteVersion; readonly total: number }> {
  if (response.status !== 200) {
    await response.discard();
    const error = responseError("GET", uri, response);
    // The server sends 409 if a small file was overwritten while the server read it.
    throw response.status === 409
      ? changedWhileCopiedError(quoteName(uri), { cause: error })
      : error;
  }
  const version = versionOf("GET", uri, response);
  const { body } = response;
  if (body?.chunked) {
    body.cancel().catch(() => {});
    const problem = "the response does not have the length of the file (content-length)";
    throw unexpectedResponseError("GET", uri, problem);
  }
  return { version, total: body?.contentLength ?? 0 };
}

export async function checkRemainder(
  uri: string,
  response: Response,
  { start, total, etag }: Remainder,
): Promise<RemoteVersion> {
  const version = versionOf("GET", uri, response);
  const { headers: { "content-range": range }, body } = response;
  // Without an entity tag the file may have grown: ignore the bytes after the requested range.
  const isRequestedRange = range instanceof ContentRange && range.start === start &&
    range.stop === total && range.total !== null &&
    (etag === null ? range.total >= total : range.total === total) && body?.chunked === false &&
    body.contentLength === total - start &&
    (version.etag === null || etag === null || version.etag === etag);
  if (isRequestedRange) return version;
  await response.discard();
  throw unexpectedResponseError("GET", uri, "the response has another range than the request");
}

export function digestMismatchError(
  uri: string,
  { etag }: RemoteVersion,
  currentVersion: RemoteVersion,
): TransferError {
  if (currentVersion.etag !== etag || etag === null) return changedWhileCopiedError(quoteName(uri));
  const problem = "the received bytes and the server's file have different SHA-256 digests";
  return new TransferError("DIGEST_MISMATCH", `${quoteName(uri)}: ${problem}; call again`, {
    problem,
  });
}
