/** The lists of a server: of a directory, and of a whole tree. */

import type { HeaderDict, Response } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { markTransient } from "../../net/retry.ts";
import { parseDate } from "../conditions.ts";
import { toDirectoryUri } from "../file_name.ts";
import {
  type DirectoryEntry,
  EntryParser,
  invalidListError,
  LIST_REQUIREMENT,
  NO_LIST_PROBLEM,
  type OptionalMode,
  type TreeEntry,
} from "../entries.ts";
import { WANT_MODE_HEADER } from "../modes.ts";
import { rootPathOf } from "../reuse.ts";
import type { TransferClient } from "../transfer/client.ts";
import {
  isAddOnly,
  isConnectionLoss,
  responseError,
  TransferError,
  unexpectedResponseError,
  withRequirement,
} from "../transfer_error.ts";
import type { ListedTree, ListingServer } from "./sides.ts";
import { addEntry, TreeNode } from "./tree.ts";

/**
 * The most entries of a tree: a client keeps them in memory, and the list of a peer may be endless.
 */
const MAX_ENTRIES = 1_000_000;

/** Checks and returns the URI of a tree: its path ends with a slash, and it has no query. */
export function treeUriOf(uri: string | readonly string[]): string {
  const root = toDirectoryUri(uri);
  if (!root.endsWith("/")) throw notAllowedError("uri", `must end with "/"; got ${uri}`);
  return root;
}

/**
 * Reads the tree below a directory of another device.
 *
 * @param isSource Whether the tree is to be copied. Then entries with reserved names are in it, to
 * be reported as skipped.
 * @param hasModes Whether the permission bits of files are requested.
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
  const requestedAt = performance.now();
  const response = await requestList(client, `${uri}?tree`, {
    ...hasModes ? WANT_MODE_HEADER : {},
    ...more,
  });
  for await (const entry of entriesOfTree(response, uri, client.signal)) {
    const { mode = null } = entry as OptionalMode;
    addEntry(root, entry, isSource, client.maskMode(mode));
  }
  const { date } = response.headers;
  const seconds = typeof date === "string" ? parseDate(date) : null;
  const server = serverOf(response);
  if (seconds === null) return { root, listed: null, server };
  // A date has whole seconds.
  const ended = (seconds + 1) * 1000 + performance.now() - requestedAt;
  return { root, listed: { began: seconds * 1000, ended }, server };
}

/** Reads the entries of a directory of another device. */
export async function readRemoteDirectory(
  client: TransferClient,
  uri: string,
): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly server: ListingServer }> {
  const entries: DirectoryEntry[] = [];
  const response = await requestList(client, uri);
  for await (const entry of entriesOf(response, uri, EntryParser.ofDirectory(), client.signal)) {
    if (entries.length === MAX_ENTRIES) {
      throw invalidListError(`it has more than ${MAX_ENTRIES} entries`);
    }
    entries.push(entry);
  }
  return { entries, server: serverOf(response) };
}

function serverOf({ headers }: Response): ListingServer {
  return { refusesDelete: isAddOnly(headers), rootPath: rootPathOf(headers["reuse"]) };
}

export async function* entriesOfTree(
  response: Response,
  uri: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<TreeEntry, void, void> {
  let count = 0;
  for await (const entry of entriesOf(response, uri, EntryParser.ofTree(), signal)) {
    if (++count > MAX_ENTRIES) {
      throw new TransferError(
        "BAD_LIST",
        `${uri} has more than ${MAX_ENTRIES} files and directories; copy or list its subdirectories`,
      );
    }
    yield entry;
  }
}

/** Requests a list, and checks that its response is one. */
export async function requestList(
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
  if (status !== 200) throw responseError("GET", uri, response, "list");
  throw withRequirement(unexpectedResponseError("GET", uri, NO_LIST_PROBLEM), LIST_REQUIREMENT);
}

export async function* entriesOf<Entry extends DirectoryEntry>(
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
    if (!isConnectionLoss(error) || error instanceof Deno.errors.TimedOut) throw error;
    // A server can report an error after the first entry only by closing the connection.
    const problem =
      `the list of ${quote(uri)} is incomplete: the directory was removed, renamed or unmounted, ` +
      "the server's disk failed, or the connection was lost";
    const options = { cause: error, problem };
    const cut = new TransferError("BAD_LIST", `${problem}; call again`, options);
    throw markTransient(cut);
  }
  parser.end();
}
