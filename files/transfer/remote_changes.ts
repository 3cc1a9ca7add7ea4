/** Creating directories on a server, and deleting its files and directories. */

import type { HeaderDict, Response } from "../../base.ts";
import { findDeletionProblem } from "../../internal/disk/deleting.ts";
import type { Connector, Requester, RequestOptions } from "../../client.ts";
import { conditionFor, NO_STAMP } from "../conditions.ts";
import { directoryUriOf, uriOf } from "../file_name.ts";
import {
  hasStatus,
  responseError,
  unexpectedResponseError,
  withRequirement,
} from "../transfer_error.ts";
import { TransferClient } from "./client.ts";

/**
 * Creates a directory and its missing parents on a `FilesApp` with `write: true`.
 *
 * @param to A client, which opens a connection for this, or a connection.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`.
 * @param options A signal that aborts the call.
 * @returns True if the directory was created; false if it existed already.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the path does not end with `/`.
 * @throws {StatusError} if the server does not create it.
 * @throws {TransferError} if something else has its name, or the disk of the server is full.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, makeDirectory } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
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
  options?: RequestOptions,
): Promise<boolean> {
  const path = directoryUriOf(uri);
  using client = new TransferClient("to", to, options, false);
  return await requestChange(client, "PUT", path) === 201;
}

/**
 * Deletes a file or an empty directory on a `FilesApp` with `write: true`. A file that changes
 * after this call has asked for it stays.
 *
 * @param from A client, which opens a connection for this, or a connection.
 * @param uri The names of the directories on the way to it, and its own; or its URI. With a final
 * `""`, or `/`, only a directory is deleted.
 * @param options A signal that aborts the call.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {Deno.errors.NotSupported} on Windows, where deleting was not tried yet.
 * @throws {StatusError} if the server does not delete it: with the status 404 the name does
 * not exist, with 409 it is a directory that is not empty.
 * @throws {TransferError} if the server only adds files, or the file changed during the call.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { deleteFile, FilesApp } from "@degu/degu/files";
 * import { assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
 * await deleteFile(new Client(server.address), ["a b.txt"]);
 * await assertRejects(() => Deno.stat(`${dir}/a b.txt`), Deno.errors.NotFound);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function deleteFile(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): Promise<void> {
  const path = uriOf(uri);
  const problem = findDeletionProblem();
  if (problem !== null) throw new Deno.errors.NotSupported(`deleting: ${problem}`);
  using client = new TransferClient("from", from, options, false);
  if (path.endsWith("/")) return void await requestChange(client, "DELETE", path);
  const head = await client.request("HEAD", path, {});
  await head.discard();
  if (!client.isUsable) throw responseError("DELETE", path, head, "delete");
  try {
    // Only a directory that is empty is deleted, which needs no other condition.
    if (head.status === 301) await requestChange(client, "DELETE", `${path}/`);
    else await requestChange(client, "DELETE", path, conditionAfter(path, head));
  } catch (error) {
    // The response to an earlier request may have been lost.
    const isGone = hasStatus(error, 404);
    if (head.status !== 200 || !isGone) throw error;
  }
}

/** The condition that a file is still that of a response to HEAD, or still missing. */
function conditionAfter(uri: string, { status, headers }: Response): HeaderDict {
  const { "file-stamp": stamp } = headers;
  if (status === 404) return { "if-file-stamp": NO_STAMP };
  // The server refuses the deletion also, and its status says why.
  if (status !== 200) return {};
  if (typeof stamp === "string") return conditionFor(stamp);
  const error = unexpectedResponseError(
    "HEAD",
    uri,
    "the server does not report which file it has",
  );
  throw withRequirement(error, "it needs a FilesApp");
}

/**
 * Makes a directory, or deletes something.
 *
 * @returns The status, which is always a success.
 */
export async function requestChange(
  client: TransferClient,
  method: "PUT" | "DELETE",
  uri: string,
  headers: HeaderDict = {},
): Promise<number> {
  const response = await client.request(method, uri, headers, null);
  await response.discard();
  const { status } = response;
  if (status === 201 || status === 204) return status;
  throw responseError(method, uri, response, method === "PUT" ? "make" : "delete");
}
