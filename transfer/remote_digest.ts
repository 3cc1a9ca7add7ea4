/**
 * The digest of a file on another device.
 *
 * @module
 */

import { checkUri } from "../base/wire/uri.ts";
import type { Client, Connection } from "../client.ts";
import { WANT_SHA256 } from "../files/digest.ts";
import { type RequestOptions, requestSignal } from "../net/request_signal.ts";
import { readDigest } from "./response_digest.ts";
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
 * import { fileUri, remoteDigest } from "@degu/degu/transfer";
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
  const response = await route.request("HEAD", uri, { "want-repr-digest": WANT_SHA256 });
  if (response.status !== 200) throw statusError("HEAD", uri, response);
  const sha256 = readDigest("HEAD", uri, response);
  if (sha256 !== null) return sha256;
  const problem = "the other end does not say the SHA-256 of it (repr-digest, RFC 9530)";
  throw unexpectedResponse("HEAD", uri, problem);
}
