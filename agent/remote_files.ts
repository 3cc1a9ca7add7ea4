/**
 * The directories that a peer shares, as a command uses them: its share, and its inbox.
 *
 * @module
 */

import type { Device } from "../device.ts";
import { type DirectoryEntry, fileUri, listDirectory, TransferError } from "../files.ts";
import { type Context, nearNames, openClient } from "./context.ts";
import { FAILED, Failure } from "./failure.ts";
import { PeerConnections } from "./peer_connections.ts";
import { formatRemotePath, type RemotePath } from "./remote_path.ts";

/** What a peer shares to read, and where it takes files. */
export type Area = "share" | "inbox";

/** A peer's list may be endless, and all of it is kept in memory. */
const MAX_ENTRIES = 1_000_000;

/** What is at a path of a peer. */
export interface RemoteEntry extends DirectoryEntry {
  /** The names from the root of what is shared. */
  readonly names: readonly string[];
}

/** Why something of a peer can't be used. */
export const REASONS: Readonly<Record<NonNullable<DirectoryEntry["reason"]>, string>> = {
  link: "a symbolic link that leads to a directory, out of what is shared, or to nothing",
  special: "neither a file nor a directory",
  unreadable: "something that the peer may not read",
  name: "something with a name that can't be sent",
};

/** How to use the files of a peer. */
export interface RemoteFilesOptions {
  /** How often a call is made again; by default 3 times. */
  readonly retries?: number;
  /** Prints a note. */
  readonly note?: (text: string) => void;
}

/** One of the directories of a peer; what was listed is remembered. */
export class RemoteFiles implements Disposable {
  /** Which one. */
  readonly area: Area;
  readonly connections: PeerConnections;
  readonly #signal: AbortSignal;
  readonly #maxEntries: number;
  readonly #listed = new Map<string, ReadonlyMap<string, DirectoryEntry> | null>();

  /**
   * Asks for nothing yet.
   *
   * @param connections Closed with this.
   * @param maxEntries The most entries of a directory.
   */
  constructor(
    connections: PeerConnections,
    area: Area,
    signal: AbortSignal,
    maxEntries: number = MAX_ENTRIES,
  ) {
    this.#maxEntries = maxEntries;
    this.connections = connections;
    this.area = area;
    this.#signal = signal;
  }

  /** Opens the share or the inbox of a peer; connects later. */
  static async open(
    context: Context,
    device: Device,
    peer: string,
    area: Area,
    options: RemoteFilesOptions = {},
  ): Promise<RemoteFiles> {
    const { signal, output } = context;
    const client = await openClient(context, device, peer);
    const { note = (text: string) => output.note(text), retries } = options;
    return new RemoteFiles(new PeerConnections(client, signal, note, retries), area, signal);
  }

  /** Closes the connections. */
  [Symbol.dispose](): void {
    this.connections[Symbol.dispose]();
  }

  /** The URI of a file, or with `""` as the last name of a directory. */
  uri(names: readonly string[]): string {
    return fileUri(this.area, ...names);
  }

  /** Lists a directory, by name; `null` if there is none. */
  async list(names: readonly string[]): Promise<ReadonlyMap<string, DirectoryEntry> | null> {
    const key = names.join("/");
    const known = this.#listed.get(key);
    if (known !== undefined) return known;
    const listed = await this.#fetch(names);
    this.#listed.set(key, listed);
    return listed;
  }

  async #fetch(names: readonly string[]): Promise<ReadonlyMap<string, DirectoryEntry> | null> {
    const uri = this.uri([...names, ""]);
    try {
      return await this.connections.call(async (connection) => {
        const listed = new Map<string, DirectoryEntry>();
        for await (const entry of listDirectory(connection, uri, { signal: this.#signal })) {
          listed.set(entry.name, entry);
          if (listed.size > this.#maxEntries) {
            throw new Failure(
              FAILED,
              `the directory has more than ${this.#maxEntries} files and directories: name smaller parts of it`,
            );
          }
        }
        return listed;
      });
    } catch (error) {
      if (error instanceof TransferError && error.status === 404) return null;
      throw error;
    }
  }

  /**
   * Finds what a path leads to; `null` if there is nothing. The last name may be composed of other characters
   * that look the same (Unicode normalization), if only one does.
   */
  async find(names: readonly string[]): Promise<RemoteEntry | null> {
    const name = names.at(-1);
    if (name === undefined) {
      const isThere = await this.list([]) !== null;
      const root = { name: "", kind: "directory", size: 0, modified: new Date(0) } as const;
      return isThere ? { ...root, names: [] } : null;
    }
    const parent = names.slice(0, -1);
    const listed = await this.list(parent);
    const entry = listed?.get(name) ?? lookAlike(name, listed);
    return entry && { ...entry, names: [...parent, entry.name] };
  }

  /**
   * Finds a file or directory.
   *
   * @throws {Failure} if there is none.
   */
  async get(path: RemotePath): Promise<RemoteEntry> {
    const entry = await this.find(path.names);
    if (entry === null) throw await this.missing(path);
    if (entry.kind !== "other") return entry;
    const shown = formatRemotePath(path.peer, path.names);
    throw new Failure(FAILED, `${quoted(shown)} is ${REASONS[entry.reason!]}`);
  }

  /** The error if there is nothing at a path: suggests similar names, or how to list them. */
  async missing({ peer, names }: RemotePath): Promise<Failure> {
    const elsewhere = await this.#inOtherArea(peer, names);
    if (elsewhere !== null) return elsewhere;
    const listOption = this.area === "inbox" ? "--inbox " : "";
    for (let depth = 0; depth <= names.length; depth++) {
      const listed = await this.list(names.slice(0, depth));
      if (listed !== null && listed.get(names[depth] ?? "")?.kind === "directory") continue;
      if (listed === null && depth === 0) return nothingShared(peer, this.area);
      const at = formatRemotePath(peer, names.slice(0, depth), true);
      const near = nearNames(names[depth] ?? "", [...listed?.keys() ?? []]);
      const hint = near.length > 0
        ? `did you mean ${near.map((name) => quoted(at + name)).join(" or ")}?`
        : `"degu ls ${listOption}${at}" lists what is there`;
      return new Failure(FAILED, `${quoted(formatRemotePath(peer, names))} is not there: ${hint}`);
    }
    return new Failure(FAILED, `${quoted(formatRemotePath(peer, names))} is not there`);
  }

  /** The error if what a path leads to is in the other area, as what was put is: in the inbox, not in the share. */
  async #inOtherArea(peer: string, names: readonly string[]): Promise<Failure | null> {
    if (names.length === 0) return null;
    const area = this.area === "share" ? "inbox" : "share";
    const other = new RemoteFiles(this.connections, area, this.#signal, this.#maxEntries);
    if ((await other.list(names.slice(0, -1)))?.has(names.at(-1)!) !== true) return null;
    const [path, at] = [names, names.slice(0, -1)].map((each) => formatRemotePath(peer, each));
    const parent = names.length === 1 ? at! : `${at}/`;
    return new Failure(
      FAILED,
      area === "inbox"
        ? `${
          quoted(path!)
        } is not in the share: it is in the inbox, as "degu ls --inbox ${parent}" shows; add --inbox to read it there`
        : `${quoted(path!)} is not in the inbox: it is in the share, as "degu ls ${parent}" shows`,
    );
  }
}

function quoted(path: string): string {
  return JSON.stringify(path);
}

function lookAlike(
  name: string,
  listed: ReadonlyMap<string, DirectoryEntry> | null,
): DirectoryEntry | null {
  const wanted = name.normalize();
  const alike = [...listed?.values() ?? []].filter((entry) => entry.name.normalize() === wanted);
  return alike.length === 1 ? alike[0]! : null;
}

function nothingShared(peer: string, area: Area): Failure {
  return new Failure(
    FAILED,
    area === "share"
      ? `${peer} shares no directory: it has to run "degu serve --share DIR"`
      : `${peer} takes no files: it has to run "degu serve --inbox DIR"`,
  );
}
