/**
 * Lists directories on another device.
 *
 * @module
 */

import type { Response } from "../base/app/message.ts";
import type { Client, Connection } from "../client.ts";
import { type RequestOptions, requestSignal } from "../net/request_signal.ts";
import { checkDirectoryUri } from "./directory_uri.ts";
import { type DirectoryEntry, EntryParser } from "./entries.ts";
import { Route } from "./route.ts";
import { statusError, unexpectedResponse } from "./transfer_error.ts";

/**
 * Lists a directory that a `FilesApp` with `list: true` serves, in no particular order. Entries are
 * yielded as they arrive and not kept, so a list may have any length.
 *
 * A client opens a connection for it, which is closed at the end. A connection is in use until
 * then: open another one to download what is listed, or collect the entries first
 * (`Array.fromAsync`). Leaving the loop early closes it, unless all of the list has arrived. Each
 * iteration makes a new request.
 *
 * @param from Where the directory is.
 * @param uri The URI of the directory, as `fileUri` returns it for a final `""`; it ends with `/`.
 * @param options A signal that aborts the list with its reason.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the path does not end with `/`.
 * @throws {TransferError} during iteration: if the response is not a list, or has an entry that
 * has a bad name, kind, size or time.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { fileUri, listDirectory } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { list: true }));
 * server.serveForever();
 * for await (const { name, kind, size } of listDirectory(new Client(server.address), fileUri(""))) {
 *   assertEquals([name, kind, size], ["a b.txt", "file", 5]);
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export function listDirectory(
  from: Client | Connection,
  uri: string,
  options?: RequestOptions,
): AsyncIterable<DirectoryEntry> {
  checkDirectoryUri(uri);
  const signal = requestSignal(options);
  const makeRoute = () => new Route("from", from, signal);
  // Checked now, rather than at the first iteration.
  makeRoute()[Symbol.dispose]();
  return { [Symbol.asyncIterator]: () => list(makeRoute(), uri, signal) };
}

async function* list(
  ownRoute: Route,
  uri: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<DirectoryEntry, void, void> {
  using route = ownRoute;
  signal?.throwIfAborted();
  const response = await route.request("GET", uri, {});
  await checkListResponse(route, response, uri);
  const parser = new EntryParser();
  for await (const piece of response.body!.readable) {
    for (const entry of parser.push(piece)) {
      yield entry;
      signal?.throwIfAborted();
    }
  }
  parser.end();
}

async function checkListResponse(route: Route, response: Response, uri: string): Promise<void> {
  const { status, headers, body } = response;
  const [type = ""] = `${headers["content-type"] ?? ""}`.split(";");
  if (status === 200 && body !== null && type.trim() === "application/json") return;
  await route.discard(response);
  if (status !== 200) throw statusError("GET", uri, response, "list");
  const problem =
    "the response is not a directory listing; the server needs a FilesApp with list: true";
  throw unexpectedResponse("GET", uri, problem);
}
