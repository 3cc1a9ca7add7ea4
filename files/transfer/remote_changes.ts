import type { HeadersToSend, Response } from "../../base.ts";
import { findDeletionProblem } from "../disk/names.ts";
import type { Connector, Requester, RequestOptions } from "../../client.ts";
import { makeConditionHeader, MISSING_FILE_STAMP } from "../wire/conditions.ts";
import { toDirectoryUri, toUri } from "../wire/file_name.ts";
import { hasStatus, responseError, unexpectedResponseError } from "../transfer_error.ts";
import { checkRequestOptions } from "../options.ts";
import { TransferClient } from "./client.ts";

/**
 * Creates a directory and its missing parents on a `FilesApp` with `write: true`.
 *
 * @param to A client, which opens a connection for the call, or a connection.
 * @param uri The path segments of the directory, `[]` for the root; or the URI of the directory,
 * which ends with `/`.
 * @param options A signal that aborts the call.
 * @returns True if the directory was created; false if it existed already.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the URI does not end with `/`.
 * @throws {StatusError} if the server does not create the directory.
 * @throws {TransferError} if an entry of another kind has the name, or the disk of the server is
 * full.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, makeDirectory } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * const client = new Client(server.address);
 * assertEquals(await makeDirectory(client, ["a b", "c"]), true);
 * assertEquals(await makeDirectory(client, ["a b", "c"]), false);
 * assertEquals((await Deno.stat(`${dir}/a b/c`)).isDirectory, true);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function makeDirectory(
  to: Requester | Connector,
  uri: string | readonly string[],
  options?: Pick<RequestOptions, "signal">,
): Promise<boolean> {
  const checkedUri = toDirectoryUri(uri);
  using client = new TransferClient("to", to, checkRequestOptions(options), false);
  return (await requestChange(client, "PUT", checkedUri)).status === 201;
}

/**
 * Deletes a file or an empty directory on a `FilesApp` with `write: true`. If the file changes
 * during the call, the server keeps the file.
 *
 * @param from A client, which opens a connection for the call, or a connection.
 * @param uri The path segments of the entry, or its URI. With a final `""`, or `/`, only a
 * directory is deleted.
 * @param options A signal that aborts the call.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {Deno.errors.NotSupported} on Windows, where deleting has not been tested.
 * @throws {StatusError} if the server does not delete the entry. The status is 404 if the entry
 * does not exist, and 409 if the directory is not empty.
 * @throws {TransferError} if the server only adds files, or the file changed during the call.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { deleteEntry, FilesApp } from "@degu/degu/files";
 * import { assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * await deleteEntry(new Client(server.address), ["a b.txt"]);
 * await assertRejects(() => Deno.stat(`${dir}/a b.txt`), Deno.errors.NotFound);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function deleteEntry(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: Pick<RequestOptions, "signal">,
): Promise<void> {
  const checkedUri = toUri(uri);
  const problem = findDeletionProblem();
  if (problem !== null) throw new Deno.errors.NotSupported(`deleting: ${problem}`);
  using client = new TransferClient("from", from, checkRequestOptions(options), false);
  if (checkedUri.endsWith("/")) return await requestDeletion(client, checkedUri);
  const headResponse = await client.request("HEAD", checkedUri, {});
  await headResponse.discard();
  if (!client.isUsable) throw responseError("DELETE", checkedUri, headResponse, "delete");
  try {
    // A directory needs no condition: the server deletes only an empty directory.
    if (headResponse.status === 301) await requestDeletion(client, `${checkedUri}/`);
    else {
      await requestDeletion(client, checkedUri, makeDeleteCondition(checkedUri, headResponse));
    }
  } catch (error) {
    // Another program has deleted the file.
    if (headResponse.status !== 200 || !hasStatus(error, 404)) throw error;
  }
}

function makeDeleteCondition(uri: string, { status, headers }: Response): HeadersToSend {
  const { "file-stamp": stamp } = headers;
  // A file whose size or time can't be sent has a stamp, although the status is 404.
  if (typeof stamp === "string") return makeConditionHeader(stamp);
  if (status === 404) return { "if-file-stamp": MISSING_FILE_STAMP };
  // The server also refuses the deletion, and its status gives the reason.
  if (status !== 200) return {};
  const problem = "the server does not report the version of the file (file-stamp)";
  throw unexpectedResponseError("HEAD", uri, problem);
}

/** If the response is lost, requests the deletion again. */
export async function requestDeletion(
  client: TransferClient,
  uri: string,
  headers: HeadersToSend = {},
): Promise<void> {
  let isRepeated = false;
  try {
    await requestChange(client, "DELETE", uri, headers, () => void (isRepeated = true));
  } catch (error) {
    if (!isRepeated || !hasStatus(error, 404)) throw error;
  }
}

/** @param onRepeat See {@linkcode TransferClient.prototype.request}. */
export async function requestChange(
  client: TransferClient,
  method: "PUT" | "DELETE",
  uri: string,
  headers: HeadersToSend = {},
  onRepeat: (() => void) | null = null,
): Promise<Response> {
  const response = await client.request(method, uri, headers, null, onRepeat);
  await response.discard();
  const { status } = response;
  if (status === 201 || status === 204) return response;
  throw responseError(method, uri, response, method === "PUT" ? "make" : "delete");
}
