import type { HeaderDict, Response } from "../../base.ts";
import { isTimeout } from "../../client.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { transience } from "../../internal/error_details.ts";
import { quote } from "../../internal/quote.ts";
import { parseDate } from "../conditions.ts";
import { toDirectoryUri } from "../file_name.ts";
import {
  type DirectoryEntry,
  EntryParser,
  invalidListError,
  LIST_ADVICE,
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
} from "../transfer_error.ts";
import type { ListedTree, ListingServer } from "./sides.ts";
import { addEntry, TreeNode } from "./tree.ts";

/** The client keeps them in memory, and a malicious peer could send an endless list. */
const MAX_ENTRIES = 1_000_000;

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
  extraHeaders: HeaderDict = {},
): Promise<ListedTree> {
  const root = TreeNode.makeRoot();
  const requestedAt = performance.now();
  const response = await requestList(client, `${uri}?tree`, {
    ...hasModes ? WANT_MODE_HEADER : {},
    ...extraHeaders,
  });
  for await (const entry of readTreeEntries(response, uri, client)) {
    const { mode = null } = entry as OptionalMode;
    addEntry(root, entry, isSource, client.maskMode(mode));
  }
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
  for await (const entry of readEntries(response, uri, EntryParser.ofDirectory(), client)) {
    if (entries.length === MAX_ENTRIES) {
      throw invalidListError(`it has more than ${MAX_ENTRIES} entries`);
    }
    entries.push(entry);
  }
  return { entries, server: parseServer(response) };
}

function parseServer({ headers }: Response): ListingServer {
  return { isAddOnly: isAddOnly(headers), rootPath: rootPathOf(headers["reuse"]) };
}

export async function* readTreeEntries(
  response: Response,
  uri: string,
  client: TransferClient,
): AsyncGenerator<TreeEntry, void, void> {
  let count = 0;
  for await (const entry of readEntries(response, uri, EntryParser.ofTree(), client)) {
    if (++count > MAX_ENTRIES) {
      throw new TransferError(
        "BAD_LIST",
        `${uri} has more than ${MAX_ENTRIES} files and directories; copy or list its subdirectories`,
      );
    }
    yield entry;
  }
}

export async function requestList(
  client: TransferClient,
  uri: string,
  extraHeaders: HeaderDict = {},
): Promise<Response> {
  client.signal?.throwIfAborted();
  const response = await client.request("GET", uri, extraHeaders);
  const { status, headers, body } = response;
  const [type = ""] = `${headers["content-type"] ?? ""}`.split(";");
  if (status === 200 && body !== null && type.trim() === "application/json") return response;
  await response.discard();
  if (status !== 200) throw responseError("GET", uri, response, "list");
  throw unexpectedResponseError("GET", uri, NO_LIST_PROBLEM, { advice: LIST_ADVICE });
}

export async function* readEntries<Entry extends DirectoryEntry>(
  { body }: Response,
  uri: string,
  parser: EntryParser<Entry>,
  client: TransferClient,
): AsyncGenerator<Entry, void, void> {
  const { signal } = client;
  try {
    for await (const piece of body!.readable) {
      client.onData();
      for (const entry of parser.push(piece)) {
        yield entry;
        signal?.throwIfAborted();
      }
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (!isConnectionLoss(error) || isTimeout(error)) throw error;
    // A server can report an error after the first entry only by closing the connection.
    const problem =
      `the list of ${quote(uri)} is incomplete: the directory was removed, renamed or unmounted, ` +
      "the server's disk failed, or the connection was lost";
    const options = { cause: error, problem };
    const cutError = new TransferError("BAD_LIST", `${problem}; call again`, options);
    throw transience.set(cutError, true);
  }
  parser.checkEnd();
}
