/** Reads trees of another device, by its lists, and of this one. */

import { BodyError, type HeaderDict, type Response } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { Turns } from "../../internal/disk/files.ts";
import { markTransient } from "../../net/retry.ts";
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
import { isReservedName } from "../reserved.ts";
import { placeOf } from "../reuse.ts";
import { Root } from "../root.ts";
import type { TransferClient } from "../transfer/client.ts";
import {
  addsOnly,
  isCut,
  responseError,
  TransferError,
  unexpectedResponse,
  withNeed,
} from "../transfer_error.ts";
import { TreeNode } from "./tree.ts";

/**
 * The most entries of a tree: a client keeps them in memory, and the list of a peer may be endless.
 */
const MAX_ENTRIES = 1_000_000;

/** The URI of a tree, checked: its path ends with a slash, and there is no query. */
export function treeUriOf(uri: string | readonly string[]): string {
  const root = directoryUriOf(uri);
  if (!root.endsWith("/")) throw notAllowedError("uri", `must end with "/"; got ${uri}`);
  return root;
}

/** What a server says of itself in the answer to a list. */
export interface ListingServer {
  /** Whether it only adds files. */
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
 *
 * @throws {TransferError} unless its directory was added before, and its path was not.
 */
export function addEntry(
  root: TreeNode,
  entry: TreeEntry,
  isSource = true,
  mode: number | null = null,
): boolean {
  const { path, name, kind, size, modified, reason } = entry;
  let parent: TreeNode | null = root;
  for (let depth = 0; depth < path.length - 1; depth++) {
    parent = parent?.get(path[depth]!) ?? null;
  }
  if (parent?.kind !== "directory") throw missingParentError(path);
  const time = modified.getTime();
  const isReserved = reason !== "name" && isReservedName(name);
  if (isReserved && !isSource) return false;
  const node = isReserved
    ? new TreeNode(parent, name, "other", 0, time, "reserved")
    : new TreeNode(parent, name, kind, size, time, reason ?? null, mode);
  if (!parent.add(node) && reason !== "name") throw duplicateEntryError(path);
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
  return { isKept: addsOnly(headers), place: placeOf(headers["reuse"]) };
}

function duplicateEntryError(path: readonly string[]): TransferError {
  return badList(`it has ${JSON.stringify(path.join("/"))} twice`);
}

function missingParentError(path: readonly string[]): TransferError {
  const text = JSON.stringify(path.join("/"));
  return badList(`${text} is in no directory that was listed before`);
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
        `${uri} has more than ${MAX_ENTRIES} files and directories below it; name smaller parts of it`,
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
  throw withNeed(unexpectedResponse("GET", uri, NO_LIST), NEEDS_LIST);
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
    if (!isCut(error) || error instanceof Deno.errors.TimedOut) throw error;
    // A server can't say in another way that something went wrong.
    const problem =
      `the list of ${quote(uri)} was cut: the directory was removed, renamed or unmounted ` +
      "meanwhile, the disk there failed, or the connection broke off";
    const options = { cause: error, problem };
    const cut = new TransferError("BAD_LIST", `${problem}; call again`, options);
    throw markTransient(cut);
  }
  parser.end();
}
