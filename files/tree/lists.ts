/** Lists of directories, and of trees of them, on another device, for callers of the library. */

import type { Connector, Requester, RequestOptions } from "../../client.ts";
import { type DirectoryEntry, EntryParser, type TreeEntry } from "../entries.ts";
import { toDirectoryUri } from "../file_name.ts";
import { TransferClient } from "../transfer/client.ts";
import { entriesOf, entriesOfTree, requestList, treeUriOf } from "./remote_list.ts";
import { addEntry, TreeNode } from "./tree.ts";

/**
 * Lists a directory that a `FilesApp` with `list: true` serves, in no particular order. Entries are
 * yielded as they arrive and not kept, so a list may have any length.
 *
 * A client opens a connection for the list, which is closed at the end. A connection is in use
 * until then: to download the files that are listed, open another connection, or collect the
 * entries first (`Array.fromAsync`). Leaving the loop early closes the connection, unless all of
 * the list has arrived. Each iteration makes a new request.
 *
 * @param from Where the directory is.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`.
 * @param options A signal that aborts the list with its reason.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the path does not end with `/`.
 * @throws {StatusError} during iteration: if there is no such directory, or no list of it.
 * @throws {TransferError} during iteration: if the response is not a list, was cut, or has an entry
 * that has a bad name, kind, size or time.
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
  const path = toDirectoryUri(uri);
  return iterate(from, options, async function* (client) {
    const response = await requestList(client, path);
    yield* entriesOf(response, path, EntryParser.ofDirectory(), client.signal);
  });
}

/**
 * Lists everything below a directory that a `FilesApp` with `list: true` serves, in a single
 * request. Each directory comes before its entries; there is no other order. Links are not
 * followed, and nothing else that could lead out of the tree.
 *
 * The iteration rejects if the list is cut, even where the connection ends properly. An entry that
 * the server can't show is listed with the kind `"other"`. At most 1,000,000 entries are listed.
 *
 * A client opens a connection for the list, which is closed at the end. A connection is in use
 * until then. Leaving the loop early closes the connection, unless all of the list has arrived.
 * Each iteration makes a new request.
 *
 * @param from Where the directory is.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`.
 * @param options A signal that aborts the list with its reason.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the URI does not end with `/`.
 * @throws {StatusError} during iteration: if there is no such directory, or no list of it.
 * @throws {TransferError} during iteration: if the response is not a complete list, or has too many
 * entries, or an entry that has a bad path, kind, size or time, is in no directory of the list, or
 * comes twice.
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
  const root = treeUriOf(uri);
  return iterate(from, options, async function* (client) {
    const tree = TreeNode.root();
    const response = await requestList(client, `${root}?tree`);
    for await (const entry of entriesOfTree(response, root, client.signal)) {
      addEntry(tree, entry);
      yield entry;
    }
  });
}

/** Checks the arguments now, rather than at the first iteration. */
function iterate<Entry>(
  from: Requester | Connector,
  options: RequestOptions | undefined,
  list: (client: TransferClient) => AsyncGenerator<Entry, void, void>,
): AsyncIterable<Entry> {
  const copy = { ...options };
  new TransferClient("from", from, options)[Symbol.dispose]();
  return {
    async *[Symbol.asyncIterator]() {
      using client = new TransferClient("from", from, copy);
      yield* list(client);
    },
  };
}
