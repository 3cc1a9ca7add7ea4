/** The digests and versions of files of a server. */

import type { Method, Response } from "../../base.ts";
import { cancelUnusedBody } from "../../base/body/bodies.ts";
import { quote } from "../../internal/quote.ts";
import { type Connector, isTimeout, type Requester, type RequestOptions } from "../../client.ts";
import { parseDate, parseStamp } from "../conditions.ts";
import { parseReprDigest, WANT_SHA256 } from "../digest.ts";
import { toUri } from "../file_name.ts";
import { parseMode } from "../modes.ts";
import {
  changedWhileCopiedError,
  responseError,
  unexpectedResponseError,
  withRequirement,
} from "../transfer_error.ts";
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
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir));
 * server.serveForever();
 * const sha256 = await remoteDigest(new Client(server.address), ["a"]);
 * assertEquals(sha256.slice(0, 16), "ba7816bf8f01cfea");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function remoteDigest(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): Promise<string> {
  const checkedUri = toUri(uri);
  using client = new TransferClient("from", from, options);
  return (await requestDigest(client, checkedUri)).sha256;
}

/**
 * Requests the current version of a file of a server, with its SHA-256.
 *
 * @param length The length of the prefix to hash, if the file may have grown. A server that
 * doesn't hash prefixes sends the digest of the whole file.
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
  // A FilesApp sends no digest if the file became shorter, or changes while the app hashes it.
  if (version.stamp !== null) throw changedWhileCopiedError(quote(uri));
  const problem = "the server does not report the SHA-256 of the file (repr-digest, RFC 9530)";
  throw withRequirement(
    unexpectedResponseError("HEAD", uri, problem),
    "the server needs a FilesApp",
  );
}

/**
 * Compares a prefix of a file of a server with a prefix of a local file. Client and server hash at
 * the same time.
 *
 * @param hashLocalPrefix Resolves to the SHA-256 of the local prefix; `null` if it can't be read.
 * @returns The response of the server if the prefixes are the same; `null` if they differ, or if
 * the request timed out. The whole file is then transferred.
 */
export async function comparePrefix(
  client: TransferClient,
  uri: string,
  length: number,
  hashLocalPrefix: () => Promise<string | null>,
): Promise<Response | null> {
  const requestHeaders = { "want-repr-digest": WANT_SHA256, "digest-length": `${length}` };
  // Await both, because the caller closes the local file when this function ends.
  const [responseResult, digestResult] = await Promise.allSettled([
    client.request("HEAD", uri, requestHeaders),
    hashLocalPrefix(),
  ]);
  if (digestResult.status === "rejected") throw digestResult.reason;
  if (responseResult.status === "rejected") {
    if (isReuseTimeout(client, responseResult.reason)) return null;
    throw responseResult.reason;
  }
  const response = responseResult.value;
  await response.discard();
  const { status, headers } = response;
  const hasPrefixDigest = status === 200 && headers["digest-length"] === `${length}`;
  const sha256 = hasPrefixDigest ? readDigest("HEAD", uri, response) : null;
  return sha256 !== null && sha256 === digestResult.value ? response : null;
}

/**
 * Reports whether a request timed out while the server hashed or copied a file. On a slow disk each
 * attempt would time out. Without reuse, bytes of the file arrive steadily.
 */
export function isReuseTimeout(client: TransferClient, error: unknown): boolean {
  return isTimeout(error) && client.canReconnect;
}

/**
 * Reads the SHA-256 of the whole file from a response; `null` if the response has none.
 *
 * @throws {TransferError} if the `repr-digest` is not valid.
 */
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

/** A version of a file on the server. */
export interface RemoteVersion {
  /** The strong entity tag. */
  readonly etag: string | null;
  /** The stamp of the file with its version, if the server sends the stamp. */
  readonly stamp: string | null;
  /** The SHA-256 of the whole file. */
  readonly sha256: string | null;
  /** The permission bits of the file, if the server sends them. */
  readonly mode: number | null;
  /** The modification time of the file, if the server sends the time. */
  readonly modified: Date | null;
}

/** Reads the version of a file from a response; cancels the body if the version is invalid. */
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
    cancelUnusedBody(response.body, error);
    throw error;
  }
}
