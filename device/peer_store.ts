/**
 * The peers of a device, on disk: one file for each.
 *
 * @module
 */

import { join } from "node:path";
import type { Address } from "../base/address_rules.ts";
import { DeguError, quote, typeName } from "../base/errors.ts";
import type { Authority } from "../identity/authority.ts";
import { checkDeviceName, freeName, isDeviceId, nameKey } from "../identity/names.ts";
import { WRITABLE_BY_OTHERS } from "../identity/private_paths.ts";
import type { Logger } from "../net/standard_logger.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { StateDirectory } from "./device_directory.ts";
import {
  formatPeer,
  idOfFileName,
  makePeer,
  MAX_PEER_FILE_BYTES,
  parsePeer,
  type Peer,
  peerFileName,
} from "./peer.ts";

/** The result of a pairing. */
export interface Pairing {
  /** The authority of the other device. */
  readonly authority: Authority;
  /** The other device's own name. */
  readonly receivedName?: string | undefined;
  /** The name that the user of this device chose. */
  readonly peerName?: string | undefined;
  /** The addresses that it announced. */
  readonly addresses: readonly Address[];
}

/** Called with the current peers after a change. */
type PeersListener = (peers: readonly Peer[]) => void;

/** The peers of a device. Several processes may have the same store open. */
export class PeerStore {
  readonly #files: StateDirectory;
  readonly #reader: PeerReader;
  readonly #ownId: string;
  readonly #logger: Logger;
  readonly #listeners = new Set<PeersListener>();
  #current: readonly Peer[] = [];
  #reading: Promise<void> = Promise.resolve();
  #next: Promise<void> | null = null;
  /** Why the last attempt to read the peers failed. */
  #unread: string | null = null;

  /**
   * Opens the store in the directory of a device, which has `peers` and a file to lock.
   *
   * @param ownId The id of the device, which can't be its own peer.
   */
  constructor(dir: string, ownId: string, logger: Logger) {
    this.#files = new StateDirectory(join(dir, "peers"), join(dir, "lock"));
    this.#reader = new PeerReader(this.#files, logger);
    this.#ownId = ownId;
    this.#logger = logger;
  }

  /** The directory of the files. */
  get path(): string {
    return this.#files.path;
  }

  /** The peers as they were last read, by name. */
  get current(): readonly Peer[] {
    return this.#current;
  }

  /** Calls a function after each change, until the returned function is called. */
  onChange(listener: PeersListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads the peers again; when it resolves, all changes before the call are included. */
  refresh(): Promise<void> {
    // The pending read may have missed the change.
    this.#next ??= this.#reading.then(() => {
      this.#next = null;
      const reading = this.#read();
      this.#reading = reading.catch(() => {});
      return reading;
    });
    return this.#next;
  }

  /** As {@linkcode refresh}, but never rejects: false if the peers can't be read, which is logged once. */
  async tryRefresh(): Promise<boolean> {
    try {
      await this.refresh();
      this.#unread = null;
      return true;
    } catch (error) {
      const problem = String(error);
      if (problem !== this.#unread) this.#logger.error(`the peers can't be read: ${problem}`);
      this.#unread = problem;
      return false;
    }
  }

  /** Resolves when no read is pending. */
  async settled(): Promise<void> {
    while (this.#next !== null) await this.#next.catch(() => {});
    await this.#reading;
  }

  async #read(): Promise<void> {
    this.#publish(await this.#reader.readAll());
  }

  /** An unchanged file returns the same peer. */
  #publish(peers: readonly Peer[]): void {
    const isSame = peers.length === this.#current.length &&
      peers.every((peer, index) => peer === this.#current[index]);
    if (isSame) return;
    this.#current = Object.freeze(peers);
    for (const listener of [...this.#listeners]) {
      try {
        listener(this.#current);
      } catch (error) {
        // The other listeners must still be called.
        this.#logger.error(`a change of the peers could not be processed: ${error}`);
      }
    }
  }

  /** The peers as they are on disk now, by name. */
  async list(): Promise<Peer[]> {
    await this.refresh();
    return [...this.#current];
  }

  /** The peer with this id, or else with this name, as it is on disk now; `null` if there is none. */
  async find(nameOrId: string): Promise<Peer | null> {
    if (typeof nameOrId !== "string") {
      throw new TypeError(`peer: must be a name or an id; got ${typeName(nameOrId)}`);
    }
    if (isDeviceId(nameOrId)) return await this.read(nameOrId);
    const peers = await this.list();
    return peers.find(({ name }) => nameKey(name) === nameKey(nameOrId)) ?? null;
  }

  /** The peer in the file of this name; `null` if there is none that can be used. */
  read(id: string): Promise<Peer | null> {
    return this.#reader.read(id);
  }

  /** The id of a peer that is given as an object, a name or an id; `null` if it is unknown. */
  async idOf(peer: Peer | string): Promise<string | null> {
    if (typeof peer === "string") return (await this.find(peer))?.id ?? null;
    if (typeof peer?.id !== "string") {
      throw new TypeError(`peer: must be a peer, a name or an id; got ${typeName(peer)}`);
    }
    return isDeviceId(peer.id) ? (await this.read(peer.id))?.id ?? null : null;
  }

  /**
   * Checks that a name can be given to a peer.
   *
   * @param id The peer that may already have it.
   * @throws {TypeError} if it is not a string.
   * @throws {RangeError} if it is not a valid name, or taken.
   */
  async checkFree(peerName: string, id?: string): Promise<void> {
    checkDeviceName("peerName", peerName);
    checkNotTaken("peerName", peerName, await this.#reader.readAll(), id);
  }

  /**
   * Stores a pairing: a new entry, or the renewed entry of the same device, with its certificate, the time
   * and its addresses. A renewed entry keeps its name, unless `peerName` is given.
   *
   * @throws {RangeError} if `peerName` is taken, a name or an address is not valid, or it is this device
   * itself.
   */
  async record({ authority, receivedName, peerName, addresses }: Pairing): Promise<Peer> {
    const { id } = authority;
    if (id === this.#ownId) {
      throw new RangeError("This device, or a copy of its directory, can't be paired with itself");
    }
    return await this.#change(async (peers) => {
      const known = peers.find((peer) => peer.id === id);
      const others = peers.filter((peer) => peer !== known);
      if (peerName !== undefined) {
        checkDeviceName("peerName", peerName);
        checkNotTaken("peerName", peerName, others);
      }
      const name = peerName ?? known?.name ?? nameOfNew(receivedName, others);
      const peer = makePeer(authority, name, addresses, new Date());
      await this.#write(peer);
      return peer;
    });
  }

  /** Removes a peer; resolves to false if it is unknown. When it resolves, no process trusts the peer. */
  async forget(peer: Peer | string): Promise<boolean> {
    const id = await this.#idOfFile(peer);
    if (id === null) return false;
    const removed = await this.#change(() => this.#files.remove(peerFileName(id)));
    // This works even if the other entries can't be read.
    this.#publish(this.#current.filter((each) => each.id !== id));
    return removed;
  }

  /**
   * Renames a peer.
   *
   * @throws {RangeError} if the peer is unknown, or the name is not valid or taken.
   */
  async rename(peer: Peer | string, name: string): Promise<Peer> {
    checkDeviceName("name", name);
    const id = await this.idOf(peer);
    return await this.#change(async (peers) => {
      const known = peers.find((each) => each.id === id);
      if (known === undefined) throw unknownPeer(peer);
      checkNotTaken("name", name, peers, known.id);
      const renamed = Object.freeze({ ...known, name });
      await this.#write(renamed);
      return renamed;
    });
  }

  /** A file that can't be used can still be removed by its id. */
  async #idOfFile(peer: Peer | string): Promise<string | null> {
    if (typeof peer === "string") return isDeviceId(peer) ? peer : await this.idOf(peer);
    if (typeof peer?.id === "string" && isDeviceId(peer.id)) return peer.id;
    return await this.idOf(peer);
  }

  /** Makes a change that depends on all peers, while nobody else makes one. */
  async #change<T>(change: (peers: readonly Peer[]) => Promise<T>): Promise<T> {
    try {
      return await this.#files.exclusively(async () => await change(await this.#reader.readAll()));
    } finally {
      // Even after a failure, which may have happened after the change.
      await this.refresh().catch(() => {});
    }
  }

  #write(peer: Peer): Promise<void> {
    return this.#files.write(peerFileName(peer.id), formatPeer(peer));
  }
}

/** The error for an unknown peer. */
export function unknownPeer(peer: Peer | string): RangeError {
  const text = typeof peer === "string" ? quote(peer) : `${quote(peer.name)} (${peer.id})`;
  return new RangeError(`peer: no peer has the name or id ${text}; device.peers() lists them`);
}

function nameOfNew(receivedName: string | undefined, others: readonly Peer[]): string {
  if (receivedName === undefined) {
    throw new DeguError("A new peer needs a name, its own or another one");
  }
  checkDeviceName("the received name", receivedName);
  return freeName(receivedName, new Set(others.map(({ name }) => nameKey(name))));
}

function checkNotTaken(option: string, name: string, peers: readonly Peer[], id?: string): void {
  const holder = peers.find((peer) => nameKey(peer.name) === nameKey(name));
  if (holder === undefined || holder.id === id) return;
  throw new RangeError(
    `${option}: the name ${quote(name)} is taken, by the peer with the id ${holder.id}`,
  );
}

/** Reads the files of peers. */
class PeerReader {
  readonly #files: StateDirectory;
  readonly #logger: Logger;
  readonly #user: number | null = Deno.uid();
  /** What was last read, by file name: it seldom changes. */
  readonly #read = new Map<string, { readonly text: string; readonly peer: Peer }>();
  /** The problems that were logged, by file name, so that each is logged once. */
  readonly #reported = new Map<string, string>();

  /** Reads the files of a directory, and logs those that are not a peer's. */
  constructor(files: StateDirectory, logger: Logger) {
    this.#files = files;
    this.#logger = logger;
  }

  /** Reads all of them, by name. */
  async readAll(): Promise<Peer[]> {
    const names = await this.#files.names();
    for (const name of this.#reported.keys()) {
      if (!names.includes(name)) this.#reported.delete(name);
    }
    const peers: Peer[] = [];
    for (const name of names) {
      const peer = await this.#readFile(name, idOfFileName(name));
      if (peer !== null) peers.push(peer);
    }
    return peers.sort((a, b) => compare(nameKey(a.name), nameKey(b.name)) || compare(a.id, b.id));
  }

  /** Reads the file of a peer; `null` if there is none that can be used. */
  read(id: string): Promise<Peer | null> {
    return this.#readFile(peerFileName(id), id);
  }

  async #readFile(name: string, id: string | null): Promise<Peer | null> {
    try {
      if (id === null) throw new RangeError("its name is not that of a peer's file");
      const text = await this.#readText(name);
      const last = this.#read.get(name);
      if (last?.text === text) return last.peer;
      const peer = await parsePeer(id, text);
      this.#read.set(name, { text, peer });
      this.#reported.delete(name);
      return peer;
    } catch (error) {
      this.#read.delete(name);
      if (error instanceof Deno.errors.NotFound) return null;
      const isOfFile = [RangeError, TypeError, Deno.errors.PermissionDenied];
      if (!isOfFile.some((each) => error instanceof each)) throw error;
      this.#report(name, error instanceof Deno.errors.PermissionDenied ? UNREADABLE : error);
      return null;
    }
  }

  async #readText(name: string): Promise<string> {
    const path = join(this.#files.path, name);
    const { isFile } = await Deno.lstat(path);
    if (!isFile) throw new RangeError("it is not a regular file");
    using file = await Deno.open(path);
    const { isFile: isStillFile, uid, mode, size } = await file.stat();
    if (!isStillFile) throw new RangeError("it is not a regular file");
    if (this.#user !== null && uid !== this.#user && uid !== 0) {
      throw new RangeError("it belongs to another user");
    }
    if (this.#user !== null && ((mode ?? 0) & WRITABLE_BY_OTHERS) !== 0) {
      throw new RangeError("other users can write it");
    }
    if (size > MAX_PEER_FILE_BYTES) {
      throw new RangeError(`it has more than ${MAX_PEER_FILE_BYTES} bytes`);
    }
    return await readUpTo(file, MAX_PEER_FILE_BYTES);
  }

  #report(name: string, error: unknown): void {
    const problem = plainMessageOf(error);
    if (this.#reported.get(name) === problem) return;
    this.#reported.set(name, problem);
    this.#logger.warn(`the file ${quote(name)} among the peers is not used: ${problem}`);
  }
}

const UNREADABLE = "it can't be read";

/** The file may have grown since its size was checked. */
async function readUpTo(file: Deno.FsFile, most: number): Promise<string> {
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const count = await file.read(bytes.subarray(length));
    if (count === null) break;
    length += count;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
  } catch {
    throw new RangeError("it is not UTF-8");
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
