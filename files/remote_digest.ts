/**
 * Which version of a file another device has: its digest and entity tag.
 *
 * @module
 */

import { cancelUnused } from "../base/body/bodies.ts";
import type { Response } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import { checkUri } from "../base/wire/uri.ts";
import type { Client, Connection } from "../client.ts";
import { parseReprDigest, WANT_SHA256 } from "./digest.ts";
import { type RequestOptions, requestSignal } from "../net/request_signal.ts";
import { Route } from "./route.ts";
import { statusError, unexpectedResponse } from "./transfer_error.ts";

/**
 * Requests the SHA-256 of a file from a `FilesApp`, which hashes the file; nothing is transferred.
 *
 * @param from A client, which opens a connection for this, or a connection.
 * @param uri The URI of the file: `fileUri(...names)`.
 * @param options A signal that aborts it.
 * @returns 64 lower-case hexadecimal digits.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {TransferError} if the server has no such file, or does not send its digest.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { fileUri, remoteDigest } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a`, "abc");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir));
 * server.serveForever();
 * const sha256 = await remoteDigest(new Client(server.address), fileUri("a"));
 * assertEquals(sha256.slice(0, 16), "ba7816bf8f01cfea");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function remoteDigest(
  from: Client | Connection,
  uri: string,
  options?: RequestOptions,
): Promise<string> {
  checkUri(uri);
  const signal = requestSignal(options);
  using route = new Route("from", from, signal);
  signal?.throwIfAborted();
  return (await askDigest(route, uri)).sha256;
}

/**
 * Requests the version of a file that a server has now, with its SHA-256.
 *
 * @param advice What to do if the server has no digest.
 */
export async function askDigest(
  route: Route,
  uri: string,
  advice?: string,
): Promise<Version & { readonly sha256: string }> {
  const response = await route.request("HEAD", uri, { "want-repr-digest": WANT_SHA256 });
  if (response.status !== 200) throw statusError("HEAD", uri, response);
  const { etag, sha256 } = versionOf("HEAD", uri, response);
  if (sha256 !== null) return { etag, sha256 };
  const problem = "the server has no SHA-256 of it (repr-digest, RFC 9530)";
  throw unexpectedResponse("HEAD", uri, advice === undefined ? problem : `${problem}; ${advice}`);
}

/**
 * Reads the SHA-256 of the whole file from a response; `null` if it has none.
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
    throw unexpectedResponse(method, uri, "the response has an invalid repr-digest", { cause });
  }
}

/** A version of the file on the server. */
export interface Version {
  /** The strong entity tag. */
  readonly etag: string | null;
  /** Of the whole file. */
  readonly sha256: string | null;
}

/** Returns what a response is about; its body is canceled if that is not valid. */
export function versionOf(method: "GET" | "HEAD", uri: string, response: Response): Version {
  const { etag } = response.headers;
  const isStrong = typeof etag === "string" && !etag.startsWith("W/");
  try {
    return { etag: isStrong ? etag : null, sha256: readDigest(method, uri, response) };
  } catch (error) {
    cancelUnused(response.body, error);
    throw error;
  }
}
