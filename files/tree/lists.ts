import type { Connector, Requester, RequestOptions } from "../../client.ts";
import { type DirectoryEntry, EntryParser, type TreeEntry } from "../entries.ts";
import { toDirectoryUri } from "../file_name.ts";
import { checkRequestOptions } from "../options.ts";
import { TransferClient } from "../transfer/client.ts";
import { readEntries, readTreeEntries, requestList, treeUriOf } from "./remote_list.ts";
import { addEntry, TreeNode } from "./tree.ts";

/**
 * Lists a directory that a `FilesApp` with `list: true` serves, in no particular order. Entries are
 * yielded as they arrive, and not kept in memory, so a list may have any length.
 *
 * If you pass a client, it opens a connection for the list, which is closed at the end. If you pass
 * a connection, it is in use until the end of the list. To download the listed files, open another
 * connection, or collect the entries first (`Array.fromAsync`). Leaving the loop early closes the
 * connection, unless the whole list was received. Each iteration sends a new request.
 *
 * @param from A client or a connection.
 * @param uri The path segments of the directory, `[]` for the root; or the URI of the directory,
 * which ends with `/`.
 * @param options A signal that aborts the list with its reason.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the URI does not end with `/`.
 * @throws {StatusError} during iteration: if the directory does not exist, or can't be listed.
 * @throws {TransferError} during iteration: if the response is not a list, was cut, or has an entry
 * with an invalid name, kind, size or time.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, fileUri, listDirectory } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { list: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 * for await (const { name, kind, size } of listDirectory(client, fileUri(""))) {
 *   assertEquals([name, kind, size], ["a b.txt", "file", 5]);
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export function listDirectory(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): AsyncIterable<DirectoryEntry> {
  const checkedUri = toDirectoryUri(uri);
  return makeIterable(from, options, async function* (client) {
    const response = await requestList(client, checkedUri);
    yield* readEntries(response, checkedUri, EntryParser.ofDirectory(), client);
  });
}

/**
 * Lists all entries below a directory that a `FilesApp` with `list: true` serves, in a single
 * request. Each directory comes before its entries; otherwise the order is arbitrary. Links, and
 * other entries that could lead out of the tree, are not followed.
 *
 * The iteration rejects if the list is incomplete, even if the connection ends properly. An entry
 * that the server can't show is listed with the kind `"other"`. At most 1,000,000 entries are
 * listed.
 *
 * If you pass a client, it opens a connection for the list, which is closed at the end. If you pass
 * a connection, it is in use until the end of the list. Leaving the loop early closes the
 * connection, unless the whole list was received. Each iteration sends a new request.
 *
 * @param from A client or a connection.
 * @param uri The path segments of the directory, `[]` for the root; or the URI of the directory,
 * which ends with `/`.
 * @param options A signal that aborts the list with its reason.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the URI does not end with `/`.
 * @throws {StatusError} during iteration: if the directory does not exist, or can't be listed.
 * @throws {TransferError} during iteration: if the response is not a complete list, has too many
 * entries, or has an entry with an invalid path, kind, size or time, a duplicate entry, or an entry
 * without its directory.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, listTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/sub`);
 * await Deno.writeTextFile(`${dir}/sub/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { list: true }));
 * server.serveForever();
 *
 * const paths = [];
 * const client = new Client(server.address);
 * for await (const { path } of listTree(client, "/")) paths.push(path.join("/"));
 * assertEquals(paths, ["sub", "sub/a b.txt"]);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export function listTree(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): AsyncIterable<TreeEntry> {
  const checkedUri = treeUriOf(uri);
  return makeIterable(from, options, async function* (client) {
    const tree = TreeNode.makeRoot();
    const response = await requestList(client, `${checkedUri}?tree`);
    for await (const entry of readTreeEntries(response, checkedUri, client)) {
      addEntry(tree, entry);
      yield entry;
    }
  });
}

/** Checks the arguments immediately, not at the first iteration. */
function makeIterable<Entry>(
  from: Requester | Connector,
  options: RequestOptions | undefined,
  listEntries: (client: TransferClient) => AsyncGenerator<Entry, void, void>,
): AsyncIterable<Entry> {
  const settings = checkRequestOptions(options);
  new TransferClient("from", from, settings)[Symbol.dispose]();
  return {
    async *[Symbol.asyncIterator]() {
      using client = new TransferClient("from", from, settings);
      yield* listEntries(client);
    },
  };
}
