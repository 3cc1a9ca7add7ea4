/** The peers of a device on the disk, in one file for each. */

import { join } from "../internal/disk/paths.ts";
import {
  type Address,
  checkAddress,
  formatAddress,
  parseAddress,
  type ScopedAddress,
} from "../base.ts";
import type { Logger } from "../server.ts";
import { isUnixAddress } from "../base/address.ts";
import { checkString, notAllowedError, wrongTypeError } from "../internal/checks.ts";
import { argumentErrorDetails } from "../internal/error_details.ts";
import { quote } from "../internal/quote.ts";
import { type DeviceAuthority, readAuthority } from "./identity/authority.ts";
import { checkDeviceName, freeName, isDeviceId, isDeviceName, nameKey } from "./identity/names.ts";
import { WRITABLE_BY_OTHERS } from "./identity/private_files.ts";
import { startInterval } from "../net/deadline.ts";
import { plainMessageOf } from "../net/error_text.ts";
import { isOtherVersion, StateDirectory } from "./device_directory.ts";
import { DeviceError, PairingError } from "./errors.ts";

/** A device that is paired with this one, as last read. */
export interface Peer {
  /**
   * SHA-256 of the public key of the peer's authority, in base32: 52 characters. The id does not
   * change as long as the device keeps its identity, and no other device can have the same id.
   */
  readonly id: string;
  /** The name on this device; unique among the peers, ignoring case. */
  readonly name: string;
  /** The known addresses of the peer. */
  readonly addresses: readonly Address[];
  /** The time of the last pairing of the two devices. */
  readonly pairedAt: Date;
  /** The certificate of the peer's authority, as PEM text. */
  readonly ca: string;
}

/** A peer with the number of addresses that were found after the pairing, which are the last. */
type StoredPeer = Peer & { readonly found?: number };

/** The result of a pairing. */
export interface Pairing {
  /** The authority of the other device. */
  readonly authority: DeviceAuthority;
  /** The name that the other device has for itself, which was checked with its message. */
  readonly receivedName: string;
  /** The name of the peer that the user of this device has chosen. */
  readonly peerName?: string | undefined;
  /** The addresses that the other device has announced. */
  readonly addresses: readonly Address[];
}

/** The peers are read more than twice a second, since changes must be noticed within a second. */
const REFRESH_INTERVAL_MILLISECONDS = 400;

/** The most addresses of a peer that were found after the pairing. */
const MAX_FOUND_ADDRESSES = 4;

/** The peers of a device. Several processes may have the same store open. */
export class PeerStore {
  readonly #files: StateDirectory;
  readonly #logger: Logger;
  readonly #user: number | null = Deno.uid();
  readonly #listeners = new Set<() => void>();
  /** The peers by file name. While the text of a file is unchanged, its peer is the same object. */
  readonly #peerCache = new Map<string, { readonly text: string; readonly peer: Peer }>();
  /** The problems of files that can't be used, by file name. Each is logged once. */
  readonly #problems = new Map<string, FileProblem>();
  #current: readonly Peer[] = [];
  #reading: Promise<void> = Promise.resolve();
  /** Settles once all reads of the file of a single peer have ended. */
  #lookups: Promise<unknown> = Promise.resolve();
  #nextReading: Promise<void> | null = null;
  #loggedReadError: string | null = null;

  /** Opens the store in the directory of a device, which has `peers` and a file to lock. */
  constructor(dir: string, logger: Logger) {
    this.#files = new StateDirectory(join(dir, "peers"), join(dir, "lock"));
    this.#logger = logger;
  }

  get current(): readonly Peer[] {
    return this.#current;
  }

  /** Calls a function after each change, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads the peers again. Resolves once all changes before the call are noticed. */
  refresh(): Promise<void> {
    // The pending read may have missed the change.
    this.#nextReading ??= this.#reading.then(() => {
      this.#nextReading = null;
      const reading = this.#readAll().then((peers) => this.#publish(peers));
      this.#reading = reading.catch(() => {});
      return reading;
    });
    return this.#nextReading;
  }

  /** Refreshes without a rejection: false if the peers can't be read, which is logged once. */
  async tryRefresh(): Promise<boolean> {
    try {
      await this.refresh();
      this.#loggedReadError = null;
      return true;
    } catch (error) {
      const problem = String(error);
      if (problem !== this.#loggedReadError) {
        this.#logger.error(`the peers can't be read: ${problem}`);
      }
      this.#loggedReadError = problem;
      return false;
    }
  }

  /** Notices the changes of other processes, until the watch and its last read have ended. */
  watch(): AsyncDisposable {
    let refreshing: Promise<unknown> | null = null;
    const interval = startInterval(() => {
      refreshing ??= this.tryRefresh().finally(() => refreshing = null);
    }, REFRESH_INTERVAL_MILLISECONDS);
    return {
      [Symbol.asyncDispose]: async () => {
        clearInterval(interval);
        await refreshing;
        // A session that has just begun may be reading the file of its peer.
        await this.#lookups;
        while (this.#nextReading !== null) await this.#nextReading.catch(() => {});
        await this.#reading;
      },
    };
  }

  #publish(peers: readonly Peer[]): void {
    const isSame = peers.length === this.#current.length &&
      peers.every((peer, index) => peer === this.#current[index]);
    if (isSame) return;
    this.#current = Object.freeze(peers);
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch (error) {
        // Call the other listeners.
        this.#logger.error(`a change of the peers could not be processed: ${error}`);
      }
    }
  }

  async list(): Promise<Peer[]> {
    await this.refresh();
    return [...this.#current];
  }

  /** Reads the peer with this id, or else with this name, from the disk; `null` without one. */
  async find(nameOrId: string): Promise<Peer | null> {
    checkString("peer", nameOrId);
    const id = await this.findId(nameOrId);
    return id === null ? null : await this.read(id);
  }

  /**
   * Reads a peer, by its object, name or id, from the disk.
   *
   * @throws {DeviceError} if there is no peer that can be used.
   */
  async findOrFail(peer: Peer | string): Promise<Peer> {
    const id = await this.findId(peer);
    const storedPeer = id === null ? null : await this.read(id);
    if (storedPeer === null) throw unknownPeerError(peer);
    return storedPeer;
  }

  /** Reads the file of the peer with this id; `null` if there is none that can be used. */
  read(id: string): Promise<Peer | null> {
    const lookup = this.#readFile(peerFileName(id), id);
    const previous = this.#lookups;
    this.#lookups = lookup.then(() => previous, () => previous);
    return lookup;
  }

  /** Finds the id of a peer by its object, name or id; `null` for an unknown name. */
  async findId(peer: Peer | string): Promise<string | null> {
    const id: unknown = typeof peer === "string" ? peer : peer?.id;
    if (typeof id !== "string") throw wrongTypeError("peer", "a peer, a name or an id", peer);
    if (isDeviceId(id)) return id;
    if (typeof peer !== "string") return null;
    const peers = [...await this.list(), ...this.#peersOfOtherVersions()];
    return peers.find(({ name }) => nameKey(name) === nameKey(peer))?.id ?? null;
  }

  /** The peers whose files have another version: they keep their names. */
  #peersOfOtherVersions(): Pick<Peer, "id" | "name">[] {
    return [...this.#problems.values()].flatMap(({ peer }) => peer ?? []);
  }

  /** Checks that a name is free, for the peer with this id or for a new one. */
  async checkFree(peerName: string, id?: string): Promise<void> {
    const peers = await this.#readAll();
    checkPeerName("peerName", peerName, [...peers, ...this.#peersOfOtherVersions()], id);
  }

  /**
   * Stores the result of a pairing as a new peer. If the device is a peer already, replaces its
   * certificate, time and addresses, and keeps its name unless there is a `peerName`.
   */
  async record({ authority, receivedName, peerName, addresses }: Pairing): Promise<Peer> {
    const { id } = authority;
    return await this.#change(async (peers) => {
      const storedPeer = peers.find((peer) => peer.id === id);
      const others = [...peers, ...this.#peersOfOtherVersions()].filter((peer) => peer.id !== id);
      if (peerName !== undefined) checkPeerName("peerName", peerName, others);
      const takenNames = new Set(others.map(({ name }) => nameKey(name)));
      const name = peerName ?? storedPeer?.name ?? freeName(receivedName, takenNames);
      const peer = makePeer(authority, name, addresses, new Date());
      await this.#write(peer);
      return peer;
    });
  }

  /**
   * Removes a peer, which ends the trust of all processes. Resolves to false if the peer is
   * unknown.
   */
  async forget(peer: Peer | string): Promise<boolean> {
    // A file that can't be used can still be removed by its id.
    const id = await this.findId(peer);
    if (id === null) return false;
    const wasPeer = await this.#change(() => this.#files.remove(peerFileName(id)));
    // A peer can be forgotten even if the other entries can't be read.
    this.#publish(this.#current.filter((each) => each.id !== id));
    return wasPeer;
  }

  async rename(peer: Peer | string, name: string): Promise<Peer> {
    const id = await this.findId(peer);
    return await this.#change(async (peers) => {
      const storedPeer = peers.find((each) => each.id === id);
      if (storedPeer === undefined) throw unknownPeerError(peer);
      checkPeerName("name", name, [...peers, ...this.#peersOfOtherVersions()], storedPeer.id);
      const renamedPeer = Object.freeze({ ...storedPeer, name });
      await this.#write(renamedPeer);
      return renamedPeer;
    });
  }

  /**
   * Stores an address at which a peer was found after the pairing, unless it is stored already.
   * Keeps the addresses of the pairing and the newest four others.
   */
  async addFound(id: string, address: Address): Promise<void> {
    const text = formatAddress(address);
    const isStored = ({ addresses }: Peer) =>
      addresses.some((each) => formatAddress(each) === text);
    const storedPeer = await this.read(id);
    if (storedPeer === null || isStored(storedPeer)) return;
    await this.#change(async (peers) => {
      const storedPeer = peers.find((each) => each.id === id) as StoredPeer | undefined;
      if (storedPeer === undefined || isStored(storedPeer)) return;
      const { addresses, found: foundCount = 0, name, pairedAt, ca } = storedPeer;
      const pairedCount = addresses.length - foundCount;
      const newAddresses = addresses.toSpliced(pairedCount, 0, address)
        .slice(0, pairedCount + MAX_FOUND_ADDRESSES);
      const newFoundCount = newAddresses.length - pairedCount;
      await this.#write(makePeer({ id, ca }, name, newAddresses, pairedAt, newFoundCount));
    });
  }

  /** Makes a change that depends on all peers, under the lock. */
  async #change<T>(change: (peers: readonly Peer[]) => Promise<T>): Promise<T> {
    try {
      return await this.#files.withLock(async () => await change(await this.#readAll()));
    } finally {
      // Also after a failure, which may have followed the change.
      await this.refresh().catch(() => {});
    }
  }

  #write(peer: Peer): Promise<void> {
    return this.#files.write(peerFileName(peer.id), formatPeer(peer));
  }

  /** Reads all peers, sorted by name. Logs files that can't be used. */
  async #readAll(): Promise<Peer[]> {
    const names = await this.#files.names();
    for (const name of this.#problems.keys()) {
      if (!names.includes(name)) this.#problems.delete(name);
    }
    const peers: Peer[] = [];
    for (const name of names) {
      const peer = await this.#readFile(name, idOfFileName(name));
      if (peer !== null) peers.push(peer);
    }
    // Peers of the same name stay in the order of their ids, like the files.
    const byName = Map.groupBy(peers, ({ name }) => nameKey(name));
    return [...byName.keys()].sort().flatMap((key) => byName.get(key)!);
  }

  async #readFile(name: string, id: string | null): Promise<Peer | null> {
    try {
      if (id === null) throw new RangeError("its name is not that of a peer's file");
      const text = await this.#readText(name);
      const cachedEntry = this.#peerCache.get(name);
      if (cachedEntry?.text === text) return cachedEntry.peer;
      const versionProblem = findVersionProblem(id, text);
      if (versionProblem !== null) {
        this.#peerCache.delete(name);
        this.#report(name, versionProblem);
        return null;
      }
      const peer = parsePeer(id, text);
      this.#peerCache.set(name, { text, peer });
      this.#problems.delete(name);
      return peer;
    } catch (error) {
      this.#peerCache.delete(name);
      if (error instanceof Deno.errors.NotFound) {
        this.#problems.delete(name);
        return null;
      }
      const fileErrors = [RangeError, TypeError, Deno.errors.PermissionDenied];
      if (!fileErrors.some((each) => error instanceof each)) throw error;
      const isDenied = error instanceof Deno.errors.PermissionDenied;
      const problem = isDenied ? "it can't be read" : plainMessageOf(error);
      this.#report(name, {
        text: `the file ${quote(name)} among the peers is not used: ${problem}`,
      });
      return null;
    }
  }

  async #readText(name: string): Promise<string> {
    const path = join(this.#files.path, name);
    // Opening a FIFO would block.
    const { isFile, uid, mode, size } = await Deno.lstat(path);
    if (!isFile) throw new RangeError("it is not a regular file");
    if (this.#user !== null && uid !== this.#user && uid !== 0) {
      throw new RangeError("it belongs to another user");
    }
    // A system with owners of files also has modes.
    if (this.#user !== null && (mode! & WRITABLE_BY_OTHERS) !== 0) {
      throw new RangeError("other users can write it");
    }
    if (size > MAX_PEER_FILE_BYTES) {
      throw new RangeError(`it has more than ${MAX_PEER_FILE_BYTES} bytes`);
    }
    return await Deno.readTextFile(path);
  }

  #report(name: string, problem: FileProblem): void {
    const isKnown = this.#problems.get(name)?.text === problem.text;
    this.#problems.set(name, problem);
    if (!isKnown) this.#logger.warn(problem.text);
  }
}

/** The reason why the file of a peer can't be used. */
interface FileProblem {
  readonly text: string;
  /** The peer, if the file has another version. */
  readonly peer?: Pick<Peer, "id" | "name">;
}

function unknownPeerError(peer: Peer | string): DeviceError {
  const text = typeof peer === "string" ? quote(peer) : `${quote(peer.name)} (${peer.id})`;
  return new DeviceError(
    "UNKNOWN",
    `no peer has the name or id ${text}; device.peers() lists them, and device.join() or ` +
      '"degu --home DIRECTORY pair" adds one',
  );
}

/** Checks the name of a peer, of a call or in an option of pairing. */
function checkPeerName(
  option: "name" | "peerName",
  name: string,
  peers: readonly Pick<Peer, "id" | "name">[],
  id?: string,
): void {
  checkDeviceName(option, name);
  const holder = peers.find((peer) => nameKey(peer.name) === nameKey(name));
  if (holder === undefined || holder.id === id) return;
  const problem =
    `the name ${quote(name)} is taken, by the peer with the id ${holder.id}; choose ` +
    "another one, or rename that peer";
  if (option === "name") throw notAllowedError(option, problem);
  const options = { peerName: name, problem };
  const error = new PairingError("NAME_TAKEN", `${option}: ${problem}`, options);
  throw argumentErrorDetails.set(error, { argument: option, problem });
}

// ───────────────────────── the files

/** The files of this module have a few kilobytes; a foreign file may have any size. */
const MAX_PEER_FILE_BYTES = 16384;

const VERSION = 1;
const FILE_EXTENSION = ".json";

function peerFileName(id: string): string {
  return id + FILE_EXTENSION;
}

/** Parses the name of a file of a peer, and returns the id; `null` for any other name. */
function idOfFileName(name: string): string | null {
  const id = name.slice(0, -FILE_EXTENSION.length);
  return name.endsWith(FILE_EXTENSION) && isDeviceId(id) ? id : null;
}

/** Makes a peer. Each address must be one of a client, and have a text form. */
function makePeer(
  { id, ca }: Pick<DeviceAuthority, "id" | "ca">,
  name: string,
  addresses: readonly Address[],
  pairedAt: Date,
  foundCount = 0,
): StoredPeer {
  const storedAddresses = addresses.map((address) => {
    const checked = checkAddress(address, "client");
    const [host, port, , scopeid] = checked as ScopedAddress;
    // Flow information has no meaning for another connection, and the text form doesn't have it.
    const isScoped = !isUnixAddress(checked) && checked.length === 4;
    const withoutFlow = isScoped ? [host, port, 0, scopeid] as const : checked;
    // In the form in which the address will be read from the file.
    return parseAddress(formatAddress(withoutFlow));
  });
  const peer = { id, name, addresses: Object.freeze(storedAddresses), pairedAt, ca };
  return Object.freeze(foundCount === 0 ? peer : { ...peer, found: foundCount });
}

function formatPeer({ name, addresses, found, pairedAt, ca }: StoredPeer): string {
  const fields = {
    version: VERSION,
    name,
    addresses: addresses.map(formatAddress),
    found,
    pairedAt: pairedAt.toISOString(),
    certificate: ca,
  };
  return `${JSON.stringify(fields, null, 2)}\n`;
}

/**
 * Returns the problem of a file of another version; `null` for any other file. The peer isn't
 * trusted, but keeps its name.
 */
function findVersionProblem(id: string, text: string): FileProblem | null {
  try {
    const { version, name: field } = JSON.parse(text);
    if (!isOtherVersion(version, VERSION)) return null;
    const name = typeof field === "string" && isDeviceName(field) ? field : id;
    return {
      text:
        `the peer ${quote(name)} can't be used: its file ${quote(peerFileName(id))} has version ` +
        `${version}, and this version of Degu reads version ${VERSION}; use the version that has ` +
        "written it, or pair the two again",
      peer: { id, name },
    };
  } catch {
    return null;
  }
}

/**
 * Parses the text of the file of a peer. Only the exact output of {@linkcode formatPeer} is
 * trusted.
 *
 * @throws {RangeError} if the text is foreign, truncated, or that of another peer. The message
 * doesn't quote the text, which may be that of any file.
 */
function parsePeer(id: string, text: string): Peer {
  let peer: Peer | null = null;
  let canonicalText = "";
  try {
    const { name, addresses, found = 0, pairedAt, certificate } = JSON.parse(text);
    checkDeviceName("name", name);
    const authority = readAuthority(certificate);
    peer = makePeer(authority, name, addresses.map(parseAddress), new Date(pairedAt), found);
    canonicalText = formatPeer(peer);
  } catch {
    // The text is foreign or damaged.
  }
  if (peer === null || canonicalText !== text) {
    throw new RangeError("it is truncated, or not of the form in which this version writes it");
  }
  if (peer.id !== id) throw new RangeError("it has the authority of another device");
  return peer;
}
