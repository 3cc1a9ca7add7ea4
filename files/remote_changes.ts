/**
 * Changes to a directory on another device, besides file transfers: creating directories, and deleting files and
 * directories.
 *
 * @module
 */

import { EMPTY } from "../base/bytes.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { checkUri } from "../base/wire/uri.ts";
import type { Client, Connection } from "../client.ts";
import { type RequestOptions, requestSignal } from "../net/request_signal.ts";
import { checkDirectoryUri } from "./file_name.ts";
import { Route } from "./route.ts";
import { statusError } from "./transfer_error.ts";

/**
 * Creates a directory and its missing parents on a `FilesApp` with `write: true`.
 *
 * @param to A client, which opens a connection for this, or a connection.
 * @param uri The URI of the directory, as `fileUri` returns it for a final `""`; it ends with `/`.
 * @param options A signal that aborts it.
 * @returns True if it was created; false if it already existed.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the path does not end with `/`.
 * @throws {TransferError} if the server does not create it.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { fileUri, makeDirectory } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 * assertEquals(await makeDirectory(client, fileUri("a b", "c", "")), true);
 * assertEquals(await makeDirectory(client, fileUri("a b", "c", "")), false);
 * assertEquals((await Deno.stat(`${dir}/a b/c`)).isDirectory, true);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function makeDirectory(
  to: Client | Connection,
  uri: string,
  options?: RequestOptions,
): Promise<boolean> {
  checkDirectoryUri(uri);
  return await change("PUT", to, uri, options) === 201;
}

/**
 * Deletes a file or an empty directory on a `FilesApp` with `write: true`.
 *
 * @param from A client, which opens a connection for this, or a connection.
 * @param uri The URI, as `fileUri` returns it. With a final `""` only a directory is deleted.
 * @param options A signal that aborts it.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {TransferError} if the server does not delete it: with the status 404 nothing has this
 * name, with 409 it is a directory that is not empty.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { deleteFile, fileUri } from "@degu/degu/files";
 * import { assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
 * await deleteFile(new Client(server.address), fileUri("a b.txt"));
 * await assertRejects(() => Deno.stat(`${dir}/a b.txt`), Deno.errors.NotFound);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function deleteFile(
  from: Client | Connection,
  uri: string,
  options?: RequestOptions,
): Promise<void> {
  checkUri(uri);
  await change("DELETE", from, uri, options);
}

/** Makes a single request; resolves to its status, which is always a success. */
async function change(
  method: "PUT" | "DELETE",
  target: Client | Connection,
  uri: string,
  options: RequestOptions | undefined,
): Promise<number> {
  const signal = requestSignal(options);
  using route = new Route(method === "PUT" ? "to" : "from", target, signal);
  signal?.throwIfAborted();
  return await requestChange(route, method, uri);
}

/**
 * Makes a directory, or deletes something, over a route.
 *
 * @returns The status, which is always a success.
 */
export async function requestChange(
  route: Route,
  method: "PUT" | "DELETE",
  uri: string,
  headers: HeaderDict = {},
): Promise<number> {
  const response = await route.request(method, uri, headers, method === "PUT" ? EMPTY : null);
  await route.discard(response);
  const { status } = response;
  if (status === 201 || status === 204) return status;
  throw statusError(method, uri, response, method === "PUT" ? "make" : "delete");
}
