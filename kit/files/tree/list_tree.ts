/** Lists directories, and trees of them, on another device. */

import type { Response } from "../../../base/app/message.ts";
import { BodyError } from "../../../base/errors.ts";
import { quote } from "../../../base/quote.ts";
import type { HeaderDict } from "../../../base/wire/headers.ts";
import type { Connector, Requester } from "../../../client.ts";
import { Turns } from "../../disk/files.ts";
import type { RequestOptions } from "../../../net/request_signal.ts";
import { asTransient } from "../../../net/retry.ts";
import { BUNDLE_KEYS, SEEN_KEY } from "../bundle.ts";
import { parseDate } from "../conditions.ts";
import { directoryUriOf } from "../file_name.ts";
import {
  badList,
  type DirectoryEntry,
  EntryParser,
  NEEDS_LIST,
  NO_LIST,
  type TreeEntry,
  type WithMode,
} from "../entries.ts";
import { readTree } from "../listing.ts";
import { WANT_MODE } from "../modes.ts";
import { isLeftAside, isReservedName } from "../reserved.ts";
import { placeOf } from "../reuse.ts";
import { Root } from "../root.ts";
import { TransferClient } from "../transfer/client.ts";
import {
  isCut,
  statusError,
  TransferError,
  transferFacts,
  unexpectedResponse,
  withNeed,
} from "../transfer_error.ts";
import { TreeNode } from "./tree.ts";

/**
 * The most entries of a tree: a client keeps them in memory, and the list of a peer may be endless.
 */
const MAX_ENTRIES = 1_000_000;

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
  const path = directoryUriOf(uri);
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
    const listed = new ListedPaths();
    const response = await requestList(client, `${root}?tree`);
    for await (const entry of entriesOfTree(response, root, client.signal)) {
      listed.add(entry);
      yield entry;
    }
  });
}

/**
 * The paths of a list. Each name is kept once, with the number of the directory that it is in: a
 * million whole paths could fill the memory.
 */
class ListedPaths {
  /** The numbers of directories; 0 of anything else. */
  readonly #numbers = new Map<string, number>();
  /** The number of the last directory; the root has the number 1. */
  #last = 1;

  /** Adds an entry; throws unless its directory was added before, and its path was not. */
  add({ path, name, kind, reason }: TreeEntry): void {
    let directory = 1;
    for (const above of path.slice(0, -1)) {
      directory = this.#numbers.get(`${directory}/${above}`) ?? 0;
      if (directory === 0) throw notInList(path);
    }
    // Two names that are not UTF-8 may look the same.
    if (reason === "name") return;
    const key = `${directory}/${name}`;
    if (this.#numbers.has(key)) throw listedTwice(path);
    this.#numbers.set(key, kind === "directory" ? ++this.#last : 0);
  }
}

/** The URI of a tree, checked: its path ends with a slash, and there is no query. */
export function treeUriOf(uri: string | readonly string[]): string {
  const root = directoryUriOf(uri);
  if (!root.endsWith("/")) throw new RangeError(`uri: must end with "/"; got ${uri}`);
  return root;
}

/** What a server says of itself in the answer to a list. */
export interface ListingServer {
  /** Whether it takes bundles whose records say which file they may replace. */
  readonly takesSeen: boolean;
  /** Whether it deletes nothing at all. */
  readonly isKept: boolean;
  /** The path of the directory below the root of its app; `null` if its files can't be reused. */
  readonly place: string | null;
}

/** A tree, and the time of its list. */
export interface ListedTree {
  readonly root: TreeNode;
  /**
   * By the clock of the tree's device, in milliseconds since 1970; `null` if the server did not
   * say.
   */
  readonly listed: { readonly began: number; readonly ended: number } | null;
  /** `null` for a tree of this device. */
  readonly server: ListingServer | null;
}

/**
 * Reads the tree below a directory of another device.
 *
 * @param isSource Whether the tree is to be copied. Then entries with reserved names are in it, to
 * be reported as skipped.
 * @param hasModes Whether the permission bits of files are asked for.
 * @param more Further headers of the request.
 */
export async function readRemoteTree(
  client: TransferClient,
  uri: string,
  isSource: boolean,
  hasModes: boolean,
  more: HeaderDict = {},
): Promise<ListedTree> {
  const root = TreeNode.root();
  const askedAt = performance.now();
  const response = await requestList(client, `${uri}?tree`, {
    ...hasModes ? WANT_MODE : {},
    ...more,
  });
  for await (const entry of entriesOfTree(response, uri, client.signal)) {
    const { mode = null } = entry as WithMode;
    addEntry(root, entry, isSource, client.bitsFor(mode));
  }
  const { date } = response.headers;
  const seconds = typeof date === "string" ? parseDate(date) : null;
  const server = serverOf(response);
  if (seconds === null) return { root, listed: null, server };
  // A date has whole seconds.
  const ended = (seconds + 1) * 1000 + performance.now() - askedAt;
  return { root, listed: { began: seconds * 1000, ended }, server };
}

/**
 * Reads the tree below a directory of this device. Links are not followed.
 *
 * @param path The real path of the directory.
 * @param onReserved Called with the path of each entry of a target that has a reserved name, and so
 * is not in the tree. Without this function the tree is a source.
 * @throws {Deno.errors.NotADirectory} if something else has the path.
 * @throws {TransferError} if a directory is replaced meanwhile.
 */
export async function readLocalTree(
  path: string,
  signal: AbortSignal,
  onReserved?: (path: string) => void,
): Promise<ListedTree> {
  if (!Deno.statSync(path).isDirectory) {
    throw new Deno.errors.NotADirectory(`dir: ${path} is not a directory`);
  }
  const root = TreeNode.root();
  const began = Date.now();
  const local = new Root(path);
  const walk = { root: local, path, turns: new Turns(), isLocal: true, hasModes: true };
  try {
    for await (const entries of readTree(walk)) {
      signal.throwIfAborted();
      for (const entry of entries) {
        if (addEntry(root, entry, onReserved === undefined, entry.mode ?? null)) continue;
        onReserved?.(local.pathOf(entry.path));
      }
    }
  } catch (error) {
    if (!(error instanceof BodyError)) throw error;
    throw new TransferError("CHANGED", `${error.message}; call again`, { cause: error });
  }
  const listed = { began, ended: Math.max(began, Date.now()) };
  return { root, listed, server: null };
}

/**
 * Adds an entry of a list to its tree; false if the entry of a target is left out, as its name is
 * reserved.
 */
function addEntry(
  root: TreeNode,
  entry: TreeEntry,
  isSource: boolean,
  mode: number | null,
): boolean {
  const { path, name, kind, size, modified, reason } = entry;
  let parent: TreeNode | null = root;
  for (let depth = 0; depth < path.length - 1; depth++) {
    parent = parent?.get(path[depth]!) ?? null;
  }
  if (parent?.kind !== "directory") throw notInList(path);
  const time = modified.getTime();
  const isReserved = reason !== "name" && isReservedName(name);
  if (isReserved && !isSource && !isLeftAside(name)) return false;
  const node = isReserved
    ? new TreeNode(parent, name, "other", 0, time, "reserved")
    : new TreeNode(parent, name, kind, size, time, reason ?? null, mode);
  if (!parent.add(node) && reason !== "name") throw listedTwice(path);
  return true;
}

/** Reads the entries of a directory of another device. */
export async function readRemoteEntries(
  client: TransferClient,
  uri: string,
): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly server: ListingServer }> {
  const entries: DirectoryEntry[] = [];
  const response = await requestList(client, uri);
  for await (const entry of entriesOf(response, uri, EntryParser.ofDirectory(), client.signal)) {
    if (entries.length === MAX_ENTRIES) throw badList(`it has more than ${MAX_ENTRIES} entries`);
    entries.push(entry);
  }
  return { entries, server: serverOf(response) };
}

function serverOf({ headers }: Response): ListingServer {
  const { allow } = headers;
  return {
    takesSeen: headers[BUNDLE_KEYS] === SEEN_KEY,
    isKept: typeof allow === "string" && !allow.split(", ").includes("DELETE"),
    place: placeOf(headers["reuse"]),
  };
}

function listedTwice(path: readonly string[]): TransferError {
  return badList(`it has ${JSON.stringify(path.join("/"))} twice`);
}

function notInList(path: readonly string[]): TransferError {
  const text = JSON.stringify(path.join("/"));
  return badList(`${text} is in no directory that was listed before`);
}

async function* entriesOfTree(
  response: Response,
  uri: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<TreeEntry, void, void> {
  let count = 0;
  for await (const entry of entriesOf(response, uri, EntryParser.ofTree(), signal)) {
    if (++count > MAX_ENTRIES) {
      throw new TransferError(
        "BAD_LIST",
        `${uri} has more than ${MAX_ENTRIES} files and directories below it; name smaller parts of it`,
      );
    }
    yield entry;
  }
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

/** Requests a list, and checks that its response is one. */
async function requestList(
  client: TransferClient,
  uri: string,
  wanted: HeaderDict = {},
): Promise<Response> {
  client.signal?.throwIfAborted();
  const response = await client.request("GET", uri, wanted);
  const { status, headers, body } = response;
  const [type = ""] = `${headers["content-type"] ?? ""}`.split(";");
  if (status === 200 && body !== null && type.trim() === "application/json") return response;
  await response.discard();
  if (status !== 200) throw statusError("GET", uri, response, "list");
  throw withNeed(unexpectedResponse("GET", uri, NO_LIST), NEEDS_LIST);
}

async function* entriesOf<Entry extends DirectoryEntry>(
  { body }: Response,
  uri: string,
  parser: EntryParser<Entry>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Entry, void, void> {
  try {
    for await (const piece of body!.readable) {
      for (const entry of parser.push(piece)) {
        yield entry;
        signal?.throwIfAborted();
      }
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (!isCut(error) || error instanceof Deno.errors.TimedOut) throw error;
    // A server can't say in another way that something went wrong.
    const problem =
      `the list of ${quote(uri)} was cut: the directory was removed, renamed or unmounted ` +
      "meanwhile, the disk there failed, or the connection broke off";
    const cut = new TransferError("BAD_LIST", `${problem}; call again`, { cause: error });
    throw asTransient(transferFacts.add(cut, { is: "cut", problem }));
  }
  yield* parser.end();
}
