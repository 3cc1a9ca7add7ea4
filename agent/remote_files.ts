/**
 * The directories that a peer shares: its share, and its inbox.
 *
 * @module
 */

import { isReservedName } from "../files/reserved.ts";
import { fileUri, listDirectory, TransferError } from "../files.ts";
import { nearNames } from "./context.ts";
import { explain, FAILED, Failure } from "./failure.ts";
import type { PeerConnections } from "./peer_connections.ts";
import { formatRemotePath, type RemotePath } from "./remote_path.ts";
import { keyOf, type Tree, type TreeEntry, type TreeProblem, walkTree } from "./tree.ts";

/** What a peer shares to read, and where it takes files. */
export type Area = "share" | "inbox";

/** A peer's list may be endless, and all of it is kept in memory. */
const MAX_ENTRIES = 1_000_000;
/** The longest path in a tree: no system opens a longer one, and a tree may be endless. */
const MAX_PATH_LENGTH = 4096;

/** An entry that can be moved. */
type Listed = Omit<TreeEntry, "names"> & {
  /** Its name. */
  readonly name: string;
};

/** One of the directories of a peer; what was listed is remembered. */
export class RemoteFiles {
  /** Which one. */
  readonly area: Area;
  readonly #connections: PeerConnections;
  readonly #signal: AbortSignal;
  readonly #maxEntries: number;
  readonly #listed = new Map<string, ReadonlyMap<string, Listed> | null>();

  /**
   * Asks for nothing yet.
   *
   * @param maxEntries The most entries of a directory, and of a tree.
   */
  constructor(
    connections: PeerConnections,
    area: Area,
    signal: AbortSignal,
    maxEntries: number = MAX_ENTRIES,
  ) {
    this.#maxEntries = maxEntries;
    this.#connections = connections;
    this.area = area;
    this.#signal = signal;
  }

  /** The URI of a file, or with `""` as the last name of a directory. */
  uri(names: readonly string[]): string {
    return fileUri(this.area, ...names);
  }

  /** Lists a directory, by name; `null` if there is none. */
  async list(names: readonly string[]): Promise<ReadonlyMap<string, Listed> | null> {
    const key = keyOf(names);
    const known = this.#listed.get(key);
    if (known !== undefined) return known;
    const listed = await this.#fetch(names);
    this.#listed.set(key, listed);
    return listed;
  }

  /** Lists a directory, but requests it only if its parent lists it; `null` if there is none. */
  async listIfListed(
    names: readonly string[],
  ): Promise<ReadonlyMap<string, Listed> | null> {
    for (let depth = 0; depth < names.length; depth++) {
      const listed = await this.list(names.slice(0, depth));
      if (listed?.get(names[depth]!)?.kind !== "directory") return null;
    }
    return await this.list(names);
  }

  async #fetch(names: readonly string[]): Promise<ReadonlyMap<string, Listed> | null> {
    const uri = this.uri([...names, ""]);
    try {
      return await this.#connections.call(async (connection) => {
        const listed = new Map<string, Listed>();
        for await (const entry of listDirectory(connection, uri, { signal: this.#signal })) {
          const { name, kind, size, modified } = entry;
          if (kind === "other") continue;
          listed.set(name, { name, kind, size, modified });
          if (listed.size > this.#maxEntries) throw this.#tooMany("the directory");
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
  async find(names: readonly string[]): Promise<TreeEntry | null> {
    const name = names.at(-1);
    if (name === undefined) {
      const isThere = await this.list([]) !== null;
      return isThere ? { names: [], kind: "directory", size: 0, modified: new Date(0) } : null;
    }
    const parent = names.slice(0, -1);
    const listed = await this.list(parent);
    const entry = listed?.get(name) ?? lookAlike(name, listed);
    return entry && { ...entry, names: [...parent, entry.name] };
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
    const other = new RemoteFiles(this.#connections, area, this.#signal, this.#maxEntries);
    if ((await other.listIfListed(names.slice(0, -1)))?.has(names.at(-1)!) !== true) return null;
    const [path, at] = [names, names.slice(0, -1)].map((each) => formatRemotePath(peer, each));
    const parent = names.length === 1 ? at! : `${at}/`;
    return new Failure(
      FAILED,
      area === "inbox"
        ? `${
          quoted(path!)
        } is not in the share: it is in the inbox, as "degu ls --inbox ${parent}" shows`
        : `${quoted(path!)} is not in the inbox: it is in the share, as "degu ls ${parent}" shows`,
    );
  }

  /**
   * Lists a directory and all those below it, in the order of their names.
   *
   * @throws {Failure} if they have too many entries; what the connection fails with.
   */
  async readTree(root: readonly string[]): Promise<Tree> {
    let count = 0;
    return await walkTree(async (names) => {
      const tree = await this.#readDirectory(root, names);
      count += tree.entries.length;
      if (count > this.#maxEntries) throw this.#tooMany("the tree");
      return tree;
    }, this.#signal);
  }

  async #readDirectory(root: readonly string[], names: readonly string[]): Promise<Tree> {
    try {
      const listed = await this.list([...root, ...names]);
      if (listed === null) throw new Failure(FAILED, "it is not there any more");
      return directoryTree(names, listed);
    } catch (error) {
      this.#signal.throwIfAborted();
      // Without the peer nothing else can be listed.
      if (!(error instanceof TransferError || error instanceof Failure)) throw error;
      return { entries: [], skipped: [], failed: [{ names, problem: explain(error) }] };
    }
  }

  #tooMany(what: string): Failure {
    return new Failure(
      FAILED,
      `${what} has more than ${this.#maxEntries} files and directories: name smaller parts of it`,
    );
  }
}

/** What keeps an entry of a peer from being moved; `null` if nothing does. */
function problemOf(names: readonly string[]): string | null {
  if (isReservedName(names.at(-1)!)) return "its name is reserved for unfinished files";
  return keyOf(names).length > MAX_PATH_LENGTH ? "its path is too long" : null;
}

/** The entries of one directory, and those that can't be moved. */
function directoryTree(
  directory: readonly string[],
  listed: ReadonlyMap<string, Listed>,
): Tree {
  const entries: TreeEntry[] = [];
  const failed: TreeProblem[] = [];
  for (const { name, kind, size, modified } of listed.values()) {
    const names = [...directory, name];
    const problem = problemOf(names);
    if (problem !== null) failed.push({ names, problem });
    else entries.push({ names, kind, size: kind === "file" ? size : 0, modified });
  }
  return { entries, skipped: [], failed };
}

function quoted(path: string): string {
  return JSON.stringify(path);
}

function lookAlike(
  name: string,
  listed: ReadonlyMap<string, Listed> | null,
): Listed | null {
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
