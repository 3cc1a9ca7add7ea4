/** The digests of files of a server, and which versions they are of. */

import type { Method, Response } from "../../base.ts";
import { cancelUnusedBody } from "../../base/body/bodies.ts";
import { quote } from "../../internal/quote.ts";
import type { Connector, Requester, RequestOptions } from "../../client.ts";
import { parseDate, parseStamp } from "../conditions.ts";
import { parseReprDigest, WANT_SHA256 } from "../digest.ts";
import { uriOf } from "../file_name.ts";
import { parseMode } from "../modes.ts";
import {
  changedWhileCopiedError,
  responseError,
  unexpectedResponseError,
  withRequirement,
} from "../transfer_error.ts";
import { TransferClient } from "./client.ts";

/**
 * Requests the SHA-256 of a file from a `FilesApp`, which hashes the file; no byte of it is
 * transferred.
 *
 * @param from A client, which opens a connection for this, or a connection.
 * @param uri The names of the directories on the way to the file, and its own; or its URI.
 * @param options A signal that aborts the call.
 * @returns 64 lower-case hexadecimal digits.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {StatusError} if the server has no such file.
 * @throws {TransferError} if the server does not send its digest.
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
  const path = uriOf(uri);
  using client = new TransferClient("from", from, options);
  return (await requestDigest(client, path)).sha256;
}

/**
 * Requests the version of a file that a server has now, with its SHA-256.
 *
 * @param length The length of the prefix to hash, because the file may have grown. A server that
 * doesn't hash prefixes sends the digest of the whole file.
 */
export async function requestDigest(
  client: TransferClient,
  uri: string,
  length: number | null = null,
): Promise<Version & { readonly sha256: string; readonly stamp: string | null }> {
  const lengthHeader = length === null ? {} : { "digest-length": `${length}` };
  const headers = { "want-repr-digest": WANT_SHA256, ...lengthHeader };
  const response = await client.request("HEAD", uri, headers);
  if (response.status !== 200) throw responseError("HEAD", uri, response);
  const { sha256, ...version } = versionOf("HEAD", uri, response);
  const { "file-stamp": text } = response.headers;
  const stamp = typeof text === "string" ? text : null;
  if (sha256 !== null) return { ...version, sha256, stamp };
  // A FilesApp has no digest of a file that has become shorter, or changes while it is hashed.
  if (stamp !== null) throw changedWhileCopiedError(quote(uri));
  const problem = "the server does not report its SHA-256 (repr-digest, RFC 9530)";
  throw withRequirement(unexpectedResponseError("HEAD", uri, problem), "it needs a FilesApp");
}

/**
 * Compares a prefix of a file of a server with one of a local file; both sides hash at the same
 * time.
 *
 * @param hashLocalPrefix Resolves to the SHA-256 of the local prefix; `null` if it can't be read.
 * @returns The response of the server, if the prefixes are the same; `null` also if the response
 * took too long: the whole file is then transferred.
 */
export async function comparePrefix(
  client: TransferClient,
  uri: string,
  length: number,
  hashLocalPrefix: () => Promise<string | null>,
): Promise<Response | null> {
  const requestHeaders = { "want-repr-digest": WANT_SHA256, "digest-length": `${length}` };
  // Await both, so that the local file is not read any more when this function ends.
  const [remote, local] = await Promise.allSettled([
    client.request("HEAD", uri, requestHeaders),
    hashLocalPrefix(),
  ]);
  if (local.status === "rejected") throw local.reason;
  if (remote.status === "rejected") {
    if (isTooSlow(client, remote.reason)) return null;
    throw remote.reason;
  }
  const response = remote.value;
  await response.discard();
  const { status, headers } = response;
  const isOfPrefix = status === 200 && headers["digest-length"] === `${length}`;
  const sha256 = isOfPrefix ? readDigest("HEAD", uri, response) : null;
  return sha256 !== null && sha256 === local.value ? response : null;
}

/**
 * Reports whether the reuse of bytes took longer than the client waits. On a slow disk each attempt
 * would time out; without reuse bytes of the file arrive steadily.
 */
export function isTooSlow(client: TransferClient, error: unknown): boolean {
  return error instanceof Deno.errors.TimedOut && client.canReconnect;
}

/**
 * Reads the SHA-256 of the whole file from a response; `null` without one.
 *
 * @throws {TransferError} if its `repr-digest` is not valid.
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
export interface Version {
  /** The strong entity tag. */
  readonly etag: string | null;
  /** The SHA-256 of the whole file. */
  readonly sha256: string | null;
  /** The permission bits of the file, if the server sends them. */
  readonly mode: number | null;
  /** The modification time of the file, if the server sends the time. */
  readonly modified: Date | null;
}

/** Reads the version of a file from a response; cancels the body if the version is invalid. */
export function versionOf(method: "GET" | "HEAD", uri: string, response: Response): Version {
  const { etag, "file-mode": mode, "file-stamp": stamp, "last-modified": date } = response.headers;
  const isStrong = typeof etag === "string" && !etag.startsWith("W/");
  try {
    const sha256 = readDigest(method, uri, response);
    const seconds = typeof date === "string" ? parseDate(date) : null;
    const time = parseStamp(stamp)?.modified ?? (seconds === null ? null : seconds * 1000);
    const modified = time === null ? null : new Date(time);
    return { etag: isStrong ? etag : null, sha256, mode: parseMode(mode), modified };
  } catch (error) {
    cancelUnusedBody(response.body, error);
    throw error;
  }
}
