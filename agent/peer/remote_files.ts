import { describeArgumentError } from "@degu/degu/base";
import type { Device } from "@degu/degu/device";
import {
  type DirectoryEntry,
  fileUri,
  isReservedName,
  listDirectory,
  TransferError,
} from "@degu/degu/files/client";
import { type Context, KEPT_DIRECTORY } from "../machine/context.ts";
import { findPeer, openClient } from "./peer_client.ts";
import { hasStatus, isTransferError } from "../words/error_codes.ts";
import { type ErrorCode, Failure } from "../failure.ts";
import { explainTransfer } from "../words/explain.ts";
import { PeerConnections } from "./peer_connections.ts";

export interface RemotePath {
  readonly peer: string;
  /** The names below the share or the inbox; empty for the share or the inbox itself. */
  readonly names: readonly string[];
  readonly mustBeDirectory: boolean;
}

/**
 * Returns true if an argument has a colon before its first slash. On Windows, a single letter
 * before the colon is a drive.
 */
export function isRemotePath(text: string): boolean {
  return Deno.build.os === "windows" ? /^[^/\\:]{2,}:/.test(text) : /^[^/:]+:/.test(text);
}

/** Finds out which of the two directories of `sync` is at a peer. */
export function parseSyncOperands(
  from: string,
  to: string,
): { readonly isDownload: boolean; readonly remote: string; readonly local: string } {
  const isDownload = isRemotePath(from);
  if (isDownload !== isRemotePath(to)) {
    const [remote, local] = isDownload ? [from, to] : [to, from];
    return { isDownload, remote, local };
  }
  const problem = isDownload ? "this device" : "another device: write PEER:DIR";
  throw new Failure(`one of the two directories must be on ${problem}`, "USAGE");
}

/** The beginning of a path on the whole disk: `/x`, `~`, `~/x` or `~anna/x`. */
const DISK_PATH_PATTERN = /^(?:\/+[^/]|~(?:[^/]*\/|$))/;

export function parseRemotePath(text: string): RemotePath {
  const fail = (problem: string) => new Failure(`${JSON.stringify(text)}${problem}`, "USAGE");
  if (!isRemotePath(text)) {
    const peer = /^[\w-]+$/.test(text) ? text : "camera";
    throw fail(` is not a path on another device: write PEER:PATH, such as ${peer}:photos/1.jpg`);
  }
  if (Deno.build.os === "windows" && text.includes("\\")) {
    throw fail(`: separate the names with slashes, as in ${text.replaceAll("\\", "/")}`);
  }
  const colon = text.indexOf(":");
  const path = text.slice(colon + 1);
  if (DISK_PATH_PATTERN.test(path)) {
    throw fail(": a path begins at the share or the inbox of the peer, and not with / or ~");
  }
  const components = path.split("/");
  const names = components.filter((name) => name !== "" && name !== ".");
  for (const name of names) {
    if (name === "..") {
      throw fail(
        ': ".." is not allowed: a path begins at the share or the inbox of the peer, and stays below it',
      );
    }
    try {
      fileUri(name);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new Failure(describeArgumentError(error)!.problem, "USAGE");
    }
  }
  const lastComponent = components.at(-1);
  return {
    peer: text.slice(0, colon),
    names,
    mustBeDirectory: lastComponent === "" || lastComponent === ".",
  };
}

/** @param advice The command for this operand. */
export function makeWrongSideFailure(operand: string, advice: string): Failure {
  const side = isRemotePath(operand) ? "a peer" : "this device";
  return new Failure(`${JSON.stringify(operand)} is a path of ${side}: ${advice}`, "USAGE");
}

/** Parses the operands of a command, which are paths of one peer. */
export function parseRemotePaths(operands: readonly string[]): RemotePath[] {
  const paths = operands.map(parseRemotePath);
  const [first] = paths;
  const other = paths.find(({ peer }) => peer !== first!.peer);
  if (other === undefined) return paths;
  const [firstPeer, otherPeer] = [first!, other].map(({ peer }) => JSON.stringify(`${peer}:`));
  const problem = `${firstPeer} and ${otherPeer} differ: this command takes the paths of one peer`;
  throw new Failure(problem, "USAGE");
}

export function formatRemotePath(
  peer: string,
  names: readonly string[],
  isDirectory = false,
): string {
  const path = `${names.join("/")}${isDirectory && names.length > 0 ? "/" : ""}`;
  return `${peer}:${DISK_PATH_PATTERN.test(path) ? "./" : ""}${path}`;
}

export function checkNotReserved(names: readonly string[], shownPath: string): void {
  const reservedName = names.find(isReservedName);
  if (reservedName === undefined) return;
  const name = JSON.stringify(reservedName);
  const problem = `the name ${name} is reserved for unfinished files and earlier versions`;
  throw new Failure(`${JSON.stringify(shownPath)}: ${problem}`);
}

/** The directories of a peer: the share is read-only, the inbox is writable. */
export type Area = "share" | "inbox";

/** The limit of entries in a list in memory: a malicious peer could send an endless list. */
const MAX_ENTRIES = 1_000_000;

export interface RemoteEntry extends DirectoryEntry {
  readonly names: readonly string[];
}

export const OTHER_REASONS: Readonly<Record<NonNullable<DirectoryEntry["reason"]>, string>> = {
  link: "a symbolic link, which is not followed",
  special: "neither a file nor a directory",
  unreadable: "an entry that the device may not read",
  name: "an entry with a name that can't be sent",
};

/** Describes an entry that is neither a file nor a directory, for the text `NAME is …`. */
export function describeUncopiedEntry(reason: DirectoryEntry["reason"], peer: string): string {
  return reason === "unreadable"
    ? `an entry that ${peer} may not read: see its permissions there`
    : OTHER_REASONS[reason!];
}

export class RemoteFiles implements Disposable {
  readonly connections: PeerConnections;
  area: Area;
  /** Called when the inbox replaces a missing share; `null` if the inbox must not replace it. */
  readonly #onInbox: (() => void) | null;
  readonly #signal: AbortSignal;
  readonly #maxEntries: number;
  readonly #listCache = new Map<string, ReadonlyMap<string, DirectoryEntry> | null>();

  /** @param connections Closed together with these files. */
  constructor(
    connections: PeerConnections,
    area: Area,
    signal: AbortSignal,
    maxEntries: number = MAX_ENTRIES,
    onInbox: (() => void) | null = null,
  ) {
    this.connections = connections;
    this.area = area;
    this.#onInbox = onInbox;
    this.#signal = signal;
    this.#maxEntries = maxEntries;
  }

  /** Fails for an unknown peer; the first request connects. */
  static async open(
    context: Context,
    device: Device,
    peer: string,
    area: Area | "either",
    retries?: number,
  ): Promise<RemoteFiles> {
    const { signal, output } = context;
    const storedPeer = await findPeer(device, peer);
    const client = await openClient(context, device, storedPeer);
    const connections = new PeerConnections(context, storedPeer.name, client, retries);
    if (area !== "either") return new RemoteFiles(connections, area, signal);
    const onInbox = () => output.note(`${storedPeer.name} shares no directory: this is its inbox`);
    return new RemoteFiles(connections, "share", signal, MAX_ENTRIES, onInbox);
  }

  [Symbol.dispose](): void {
    this.connections[Symbol.dispose]();
  }

  /** Makes the URI of a file or, with `""` as the last name, of a directory. */
  makeUri(names: readonly string[]): string {
    return fileUri(this.area, ...names);
  }

  formatName(names: readonly string[], isDirectory = false): string {
    return formatRemotePath(this.connections.peer, names, isDirectory);
  }

  quoteName(names: readonly string[], isDirectory = false): string {
    return JSON.stringify(this.formatName(names, isDirectory));
  }

  async list(names: readonly string[]): Promise<ReadonlyMap<string, DirectoryEntry> | null> {
    const key = names.join("/");
    const cachedEntries = this.#listCache.get(key);
    if (cachedEntries !== undefined) return cachedEntries;
    const isFirstList = this.#listCache.size === 0;
    const entries = await this.#request(names);
    this.#listCache.set(key, entries);
    if (entries !== null || !isFirstList || this.#onInbox === null || this.area === "inbox") {
      return entries;
    }
    // Only a missing directory can mean that the whole share is missing.
    if (await this.list([]) !== null) return null;
    const inbox = new RemoteFiles(this.connections, "inbox", this.#signal);
    if (await inbox.list([]) === null) return null;
    this.area = "inbox";
    this.#onInbox();
    this.#listCache.clear();
    return await this.list(names);
  }

  async #request(names: readonly string[]): Promise<ReadonlyMap<string, DirectoryEntry> | null> {
    const uri = this.makeUri([...names, ""]);
    return await this.connections.call(async (client, onProgress) => {
      const entries = new Map<string, DirectoryEntry>();
      for await (const entry of listDirectory(client, uri, { signal: this.#signal })) {
        entries.set(entry.name, entry);
        onProgress({ done: entries.size });
        if (entries.size > this.#maxEntries) {
          const problem = `has more than ${this.#maxEntries} files and directories`;
          throw new Failure(`${this.quoteName(names)} ${problem}: name its subdirectories`);
        }
      }
      return entries;
    }).catch((error) => {
      if (hasStatus(error, 404)) return null;
      if (!isTransferError(error)) throw error;
      const reason = explainTransfer(error, "get", this.connections.peer);
      const subject = names.length === 0 ? this.connections.peer : this.quoteName(names);
      // If the whole directory is missing, the path doesn't matter.
      const isRootGone = error instanceof TransferError && error.code === "ROOT_GONE";
      const problem = isRootGone ? reason : `${subject}: ${reason}`;
      throw new Failure(problem, null, {
        cause: error,
        path: this.formatName(names),
        peer: this.connections.peer,
      });
    });
  }

  /** The last name may be in another Unicode normalization form, if a single entry matches. */
  async find(names: readonly string[]): Promise<RemoteEntry | null> {
    const name = names.at(-1);
    // No list has the directory of the earlier versions.
    if (name === undefined || names.length === 1 && name === KEPT_DIRECTORY) {
      const exists = await this.list(names) !== null;
      const root = { name: name ?? "", kind: "directory", size: 0, modified: new Date(0) } as const;
      return exists ? { ...root, names } : null;
    }
    const parent = names.slice(0, -1);
    const entries = await this.list(parent);
    const hasSameName = (entry: DirectoryEntry) => entry.name.normalize() === name.normalize();
    const [match, ...otherMatches] = [...entries?.values() ?? []].filter(hasSameName);
    const entry = entries?.get(name) ?? (otherMatches.length === 0 ? match : undefined);
    return entry === undefined ? null : { ...entry, names: [...parent, entry.name] };
  }

  async checkParents(names: readonly string[]): Promise<void> {
    for (let depth = 1; depth < names.length; depth++) {
      const entry = await this.find(names.slice(0, depth));
      if (entry === null) return;
      if (entry.kind === "file") {
        const problem = `${this.quoteName(entry.names)} is a file, not a directory`;
        throw new Failure(problem, "ALREADY_EXISTS");
      }
      if (entry.kind === "other") throw this.#makeUncopiedFailure(entry, "ALREADY_EXISTS");
    }
  }

  /**
   * Fails if the path is a link or a special file, or leads through one. An unreadable file may be
   * replaced or removed.
   */
  async findTarget(names: readonly string[]): Promise<RemoteEntry | null> {
    const entry = await this.find(names);
    if (entry === null) await this.checkParents(names);
    else if (entry.reason === "link" || entry.reason === "special") {
      throw this.#makeUncopiedFailure(entry, "ALREADY_EXISTS");
    }
    return entry;
  }

  async findOrFail(names: readonly string[], mustBeDirectory = false): Promise<RemoteEntry> {
    const entry = await this.find(names);
    if (entry === null) throw await this.makeMissingFailure(names, mustBeDirectory);
    if (entry.kind !== "other") return entry;
    throw this.#makeUncopiedFailure(entry);
  }

  #makeUncopiedFailure({ names, reason }: RemoteEntry, code: ErrorCode | null = null): Failure {
    const problem = describeUncopiedEntry(reason, this.connections.peer);
    const entryCode = reason === "unreadable" ? "NOT_PERMITTED" : code;
    return new Failure(`${this.quoteName(names)} is ${problem}`, entryCode);
  }

  async makeMissingFailure(names: readonly string[], mustBeDirectory = false): Promise<Failure> {
    const lastDepth = mustBeDirectory ? names.length : names.length - 1;
    for (let depth = 1; depth <= lastDepth; depth++) {
      const entry = await this.find(names.slice(0, depth));
      if (entry === null) break;
      // A file behind a link may exist.
      if (entry.kind === "other") return this.#makeUncopiedFailure(entry);
      if (entry.kind === "directory") continue;
      const advice = depth < names.length ? "it has no entries" : "leave out the slash at the end";
      const problem = `${this.quoteName(entry.names)} is a file: ${advice}`;
      return this.#makeNotFoundFailure(problem, names);
    }
    const otherAreaFailure = names.length > 0 && await this.#makeOtherAreaFailure(names);
    if (otherAreaFailure) return otherAreaFailure;
    const isInbox = this.area === "inbox";
    const topEntries = await this.list([]);
    if (topEntries === null) {
      const problem = isInbox
        ? "accepts no files: end degu serve on it, and run it with --inbox"
        : "shares no directory; --inbox reads its inbox";
      return this.#makeNotFoundFailure(`${this.connections.peer} ${problem}`, names);
    }
    const isPattern = names.some((name) => /[*?]/.test(name));
    const hint = isPattern ? ": degu does not expand wildcards, and degu ls lists names" : "";
    const quotedName = this.quoteName(names, mustBeDirectory);
    return this.#makeNotFoundFailure(`${quotedName} does not exist${hint}`, names);
  }

  #makeNotFoundFailure(message: string, names: readonly string[]): Failure {
    const { peer } = this.connections;
    return new Failure(message, "NOT_FOUND", { path: this.formatName(names), peer });
  }

  /** An uploaded file is in the inbox, not in the share. */
  async #makeOtherAreaFailure(names: readonly string[]): Promise<Failure | null> {
    const area = this.area === "share" ? "inbox" : "share";
    const otherFiles = new RemoteFiles(this.connections, area, this.#signal);
    if (await otherFiles.find(names) === null) return null;
    const problem = area === "inbox"
      ? "is not in the share: it is in the inbox; add --inbox to read it"
      : "is not in the inbox: it is in the share; peers can only read the share";
    return this.#makeNotFoundFailure(`${this.quoteName(names)} ${problem}`, names);
  }
}
