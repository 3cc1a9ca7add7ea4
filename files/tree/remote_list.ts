import type { HeadersToSend, Response } from "../../base.ts";
import { type Connector, isTimeout, type Requester, type RequestOptions } from "../../client.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { quoteName } from "../../internal/quote.ts";
import { parseDate } from "../wire/conditions.ts";
import { toDirectoryUri } from "../wire/file_name.ts";
import {
  type DirectoryEntry,
  EntryParser,
  ListError,
  type OptionalMode,
  type TreeEntry,
} from "../wire/entries.ts";
import { WANT_MODE_HEADER } from "../wire/metadata.ts";
import { parseRootPathHeader } from "../wire/reuse.ts";
import { checkRequestOptions } from "../options.ts";
import { TransferClient } from "../transfer/client.ts";
import { TransferError } from "../errors.ts";
import {
  invalidListError,
  isAddOnly,
  isConnectionLoss,
  responseError,
  unexpectedResponseError,
} from "../transfer_error.ts";
import type { ListedTree, ListingServer } from "./sides.ts";
import { TreeBuilder } from "./tree.ts";

/** The client keeps the entries in memory, and a malicious peer could send an endless list. */
const MAX_ENTRIES = 1_000_000;

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
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { list: true }));
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
  options?: Pick<RequestOptions, "signal">,
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
 * Uses connections and requests as {@linkcode listDirectory} does.
 *
 * @param from A client or a connection.
 * @param uri The path segments of the directory, `[]` for the root; or the URI of the directory,
 * which ends with `/`.
 * @param options A signal that aborts the list with its reason.
 * @throws the errors of {@linkcode listDirectory}, {@linkcode TransferError} also if the list is
 * not complete, has too many entries, a duplicate entry, or an entry without its directory.
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
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { list: true }));
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
  options?: Pick<RequestOptions, "signal">,
): AsyncIterable<TreeEntry> {
  const checkedUri = treeUriOf(uri);
  return makeIterable(from, options, async function* (client) {
    const tree = new TreeBuilder();
    const response = await requestList(client, `${checkedUri}?tree`);
    for await (const entries of readTreeEntries(response, checkedUri, client)) {
      for (const entry of entries) tree.add(entry.path.slice(0, -1), entry);
      yield entries;
    }
    tree.build();
  });
}

/** Checks the arguments immediately, not at the first iteration. */
function makeIterable<Entry>(
  from: Requester | Connector,
  options: Pick<RequestOptions, "signal"> | undefined,
  listEntries: (client: TransferClient) => AsyncGenerator<readonly Entry[], void, void>,
): AsyncIterable<Entry> {
  const settings = checkRequestOptions(options);
  new TransferClient("from", from, settings)[Symbol.dispose]();
  return {
    async *[Symbol.asyncIterator]() {
      using client = new TransferClient("from", from, settings);
      for await (const entries of listEntries(client)) {
        for (const entry of entries) {
          yield entry;
          client.signal?.throwIfAborted();
        }
      }
    },
  };
}

export function treeUriOf(uri: string | readonly string[]): string {
  const root = toDirectoryUri(uri);
  if (!root.endsWith("/")) throw notAllowedError("uri", `must end with "/"; got ${uri}`);
  return root;
}

/** The tree of a source includes entries with reserved names, which are reported as skipped. */
export async function readRemoteTree(
  client: TransferClient,
  uri: string,
  isSource: boolean,
  hasModes: boolean,
  extraHeaders: HeadersToSend = {},
): Promise<ListedTree> {
  const tree = new TreeBuilder(isSource);
  const requestedAt = performance.now();
  const response = await requestList(client, `${uri}?tree`, {
    ...hasModes ? WANT_MODE_HEADER : {},
    ...extraHeaders,
  });
  for await (const entries of readTreeEntries(response, uri, client)) {
    for (const entry of entries) {
      const { mode = null } = entry as OptionalMode;
      tree.add(entry.path.slice(0, -1), entry, client.maskMode(mode));
    }
  }
  const root = tree.build();
  const { date } = response.headers;
  const seconds = typeof date === "string" ? parseDate(date) : null;
  const server = parseServer(response);
  if (seconds === null) return { root, listPeriod: null, server };
  // The date header has whole seconds, so the list may have ended up to a second later.
  const endTime = (seconds + 1) * 1000 + performance.now() - requestedAt;
  return { root, listPeriod: { start: seconds * 1000, end: endTime }, server };
}

export async function readRemoteDirectory(
  client: TransferClient,
  uri: string,
): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly server: ListingServer }> {
  const entries: DirectoryEntry[] = [];
  const response = await requestList(client, uri);
  const batches = readEntries(response, uri, EntryParser.ofDirectory(), client);
  for await (const batch of batches) {
    if (entries.length + batch.length > MAX_ENTRIES) {
      throw invalidListError(`it has more than ${MAX_ENTRIES} entries`);
    }
    for (const entry of batch) entries.push(entry);
  }
  return { entries, server: parseServer(response) };
}

function parseServer({ headers }: Response): ListingServer {
  return { isAddOnly: isAddOnly(headers), rootPath: parseRootPathHeader(headers["reuse"]) };
}

async function* readTreeEntries(
  response: Response,
  uri: string,
  client: TransferClient,
): AsyncGenerator<readonly TreeEntry[], void, void> {
  let count = 0;
  for await (const entries of readEntries(response, uri, EntryParser.ofTree(), client)) {
    count += entries.length;
    if (count > MAX_ENTRIES) {
      yield entries.slice(0, MAX_ENTRIES - count);
      throw new TransferError(
        "BAD_LIST",
        `${uri} has more than ${MAX_ENTRIES} files and directories; copy or list its subdirectories`,
      );
    }
    yield entries;
  }
}

/** Reports whether the server has a list for this directory. */
export async function hasList(client: TransferClient, uri: string): Promise<boolean> {
  const response = await client.request("HEAD", uri, ACCEPT_JSON);
  await response.discard();
  return isList(response);
}

/** Without this header, a `FilesApp` sends a page for browsers. */
const ACCEPT_JSON = { accept: "application/json" };

function isList({ status, headers }: Response): boolean {
  const [type = ""] = `${headers["content-type"] ?? ""}`.split(";");
  return status === 200 && type.trim() === "application/json";
}

async function requestList(
  client: TransferClient,
  uri: string,
  extraHeaders: HeadersToSend = {},
): Promise<Response> {
  client.signal?.throwIfAborted();
  const response = await client.request("GET", uri, { ...ACCEPT_JSON, ...extraHeaders });
  if (isList(response) && response.body !== null) return response;
  await response.discard();
  if (response.status !== 200) throw responseError("GET", uri, response, "list");
  throw unexpectedResponseError("GET", uri, "the response is not a directory listing");
}

/** Yields the entries of each piece of the body. */
async function* readEntries<Entry extends DirectoryEntry>(
  { body }: Response,
  uri: string,
  parser: EntryParser<Entry>,
  client: TransferClient,
): AsyncGenerator<readonly Entry[], void, void> {
  const { signal } = client;
  try {
    for await (const piece of body!.readable) {
      client.onData();
      yield parser.push(piece);
      signal?.throwIfAborted();
    }
    parser.checkEnd();
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ListError) throw invalidListError(error.message, { cause: error });
    if (!isConnectionLoss(error) || isTimeout(error)) throw error;
    // A server can report an error after the first entry only by closing the connection.
    const problem =
      `the list of ${
        quoteName(uri)
      } is incomplete: the directory was removed, renamed or unmounted, ` +
      "the server's disk failed, or the connection was lost";
    const options = { cause: error, problem, isTransient: true };
    throw new TransferError("BAD_LIST", `${problem}; call again`, options);
  }
}
