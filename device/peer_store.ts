/** The peers of a device, on disk: one file for each. */

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

/** A device that this one is paired with, as it was last read. */
export interface Peer {
  /**
   * SHA-256 of the public key of the peer's authority, in base32: 52 characters. The id does not
   * change as long as the device keeps its identity, and no other device can have the same id.
   */
  readonly id: string;
  /** The name on this device; unique among the peers, ignoring case. */
  readonly name: string;
  /** Where it can be reached, as far as that is known. */
  readonly addresses: readonly Address[];
  /** When the two were last paired. */
  readonly pairedAt: Date;
  /** The certificate of the peer's authority, as PEM text. */
  readonly ca: string;
}

/** A peer with the number of its addresses, the last ones, that were found after the pairing. */
type StoredPeer = Peer & { readonly found?: number };

/** The result of a pairing. */
export interface Pairing {
  /** The authority of the other device. */
  readonly authority: DeviceAuthority;
  /** The other device's own name, which its message was checked for. */
  readonly receivedName: string;
  /** The name that the user of this device chose. */
  readonly peerName?: string | undefined;
  /** The addresses that it announced. */
  readonly addresses: readonly Address[];
}

/** Twice in the second within which a change by another process must be noticed. */
const CHECK_MILLISECONDS = 400;

/** The most addresses of a peer that were found after the pairing. */
const MAX_FOUND_ADDRESSES = 4;
/** The peers of a device. Several processes may have the same store open. */
export class PeerStore {
  readonly #files: StateDirectory;
  readonly #logger: Logger;
  readonly #user: number | null = Deno.uid();
  readonly #listeners = new Set<() => void>();
  /** The peers by file name: files seldom change, and an unchanged text is the same peer. */
  readonly #lastRead = new Map<string, { readonly text: string; readonly peer: Peer }>();
  /** The problems of files that can't be used, by file name, so that each is logged once. */
  readonly #problems = new Map<string, FileProblem>();
  #current: readonly Peer[] = [];
  #reading: Promise<void> = Promise.resolve();
  /** Settles once every look at the file of a single peer is over. */
  #lookups: Promise<unknown> = Promise.resolve();
  #next: Promise<void> | null = null;
  #unread: string | null = null;

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

  /** Reads the peers again; when it resolves, all changes before the call are included. */
  refresh(): Promise<void> {
    // The pending read may have missed the change.
    this.#next ??= this.#reading.then(() => {
      this.#next = null;
      const reading = this.#readAll().then((peers) => this.#publish(peers));
      this.#reading = reading.catch(() => {});
      return reading;
    });
    return this.#next;
  }

  /** Refreshes, and never rejects: false if the peers can't be read, which is logged once. */
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

  /**
   * Notices the changes of other processes, until the watch is disposed of; then no read is going
   * on.
   */
  watch(): AsyncDisposable {
    let checking: Promise<unknown> | null = null;
    const interval = startInterval(() => {
      checking ??= this.tryRefresh().finally(() => checking = null);
    }, CHECK_MILLISECONDS);
    return {
      [Symbol.asyncDispose]: async () => {
        clearInterval(interval);
        await checking;
        // A session that has just begun may be looking for its peer.
        await this.#lookups;
        while (this.#next !== null) await this.#next.catch(() => {});
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
        // The other listeners must still be called.
        this.#logger.error(`a change of the peers could not be processed: ${error}`);
      }
    }
  }

  async list(): Promise<Peer[]> {
    await this.refresh();
    return [...this.#current];
  }

  /** The peer with this id, or else with this name, as now on the disk; `null` for none. */
  async find(nameOrId: string): Promise<Peer | null> {
    checkString("peer", nameOrId);
    const id = await this.idOf(nameOrId);
    return id === null ? null : await this.read(id);
  }

  /**
   * The peer, given as an object, a name or an id, as now on the disk.
   *
   * @throws {DeviceError} if there is none that can be used.
   */
  async findOrFail(peer: Peer | string): Promise<Peer> {
    const id = await this.idOf(peer);
    const known = id === null ? null : await this.read(id);
    if (known === null) throw unknownPeerError(peer);
    return known;
  }

  /** The peer with this id, from its file; `null` if there is none that can be used. */
  read(id: string): Promise<Peer | null> {
    const lookup = this.#readFile(peerFileName(id), id);
    const earlier = this.#lookups;
    this.#lookups = lookup.then(() => earlier, () => earlier);
    return lookup;
  }

  /** The id of a peer, given as an object, a name or an id; `null` for an unknown name. */
  async idOf(peer: Peer | string): Promise<string | null> {
    const id: unknown = typeof peer === "string" ? peer : peer?.id;
    if (typeof id !== "string") throw wrongTypeError("peer", "a peer, a name or an id", peer);
    if (isDeviceId(id)) return id;
    if (typeof peer !== "string") return null;
    const all = [...await this.list(), ...this.#ofOtherVersions()];
    return all.find(({ name }) => nameKey(name) === nameKey(peer))?.id ?? null;
  }

  /** The peers whose files have another version: they keep their names. */
  #ofOtherVersions(): Pick<Peer, "id" | "name">[] {
    return [...this.#problems.values()].flatMap(({ peer }) => peer ?? []);
  }

  /**
   * Checks that a name is free for the peer with this id, which may already have it, or for a new
   * peer.
   */
  async checkFree(peerName: string, id?: string): Promise<void> {
    const peers = await this.#readAll();
    checkPeerName("peerName", peerName, [...peers, ...this.#ofOtherVersions()], id);
  }

  /**
   * Stores a pairing: a new entry, or the renewed entry of the same device, with its certificate,
   * the time and its addresses. A renewed entry keeps its name, unless `peerName` is given.
   */
  async record({ authority, receivedName, peerName, addresses }: Pairing): Promise<Peer> {
    const { id } = authority;
    return await this.#change(async (peers) => {
      const known = peers.find((peer) => peer.id === id);
      const others = [...peers, ...this.#ofOtherVersions()].filter((peer) => peer.id !== id);
      if (peerName !== undefined) checkPeerName("peerName", peerName, others);
      const taken = new Set(others.map(({ name }) => nameKey(name)));
      const name = peerName ?? known?.name ?? freeName(receivedName, taken);
      const peer = makePeer(authority, name, addresses, new Date());
      await this.#write(peer);
      return peer;
    });
  }

  /**
   * Removes a peer, whom no process trusts afterwards; resolves to false if the peer is unknown.
   */
  async forget(peer: Peer | string): Promise<boolean> {
    // A file that can't be used can still be removed by its id.
    const id = await this.idOf(peer);
    if (id === null) return false;
    const removed = await this.#change(() => this.#files.remove(peerFileName(id)));
    // A peer can be forgotten even if the other entries can't be read.
    this.#publish(this.#current.filter((each) => each.id !== id));
    return removed;
  }

  async rename(peer: Peer | string, name: string): Promise<Peer> {
    const id = await this.idOf(peer);
    return await this.#change(async (peers) => {
      const known = peers.find((each) => each.id === id);
      if (known === undefined) throw unknownPeerError(peer);
      checkPeerName("name", name, [...peers, ...this.#ofOtherVersions()], known.id);
      const renamed = Object.freeze({ ...known, name });
      await this.#write(renamed);
      return renamed;
    });
  }

  /**
   * Stores an address at which a peer was found, unless it is stored. The newest four that were
   * found are kept beside those of the pairing.
   */
  async addFound(id: string, address: Address): Promise<void> {
    const text = formatAddress(address);
    const isStored = ({ addresses }: Peer) =>
      addresses.some((each) => formatAddress(each) === text);
    const current = await this.read(id);
    if (current === null || isStored(current)) return;
    await this.#change(async (peers) => {
      const known = peers.find((each) => each.id === id) as StoredPeer | undefined;
      if (known === undefined || isStored(known)) return;
      const { addresses, found = 0 } = known;
      const ofPairing = addresses.slice(0, addresses.length - found);
      const all = [...ofPairing, address, ...addresses.slice(ofPairing.length)]
        .slice(0, ofPairing.length + MAX_FOUND_ADDRESSES);
      const { name, pairedAt, ca } = known;
      await this.#write(
        makePeer({ id, ca }, name, all, pairedAt, all.length - ofPairing.length),
      );
    });
  }

  /** Makes a change that depends on all peers, while nobody else makes one. */
  async #change<T>(change: (peers: readonly Peer[]) => Promise<T>): Promise<T> {
    try {
      return await this.#files.exclusively(async () => await change(await this.#readAll()));
    } finally {
      // Even after a failure, which may have happened after the change.
      await this.refresh().catch(() => {});
    }
  }

  #write(peer: Peer): Promise<void> {
    return this.#files.write(peerFileName(peer.id), formatPeer(peer));
  }

  /** The peers on the disk, by name; a file that is no peer's is logged. */
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
      const last = this.#lastRead.get(name);
      if (last?.text === text) return last.peer;
      const other = findOtherVersion(id, text);
      if (other !== null) {
        this.#lastRead.delete(name);
        this.#report(name, other);
        return null;
      }
      const peer = parsePeer(id, text);
      this.#lastRead.set(name, { text, peer });
      this.#problems.delete(name);
      return peer;
    } catch (error) {
      this.#lastRead.delete(name);
      if (error instanceof Deno.errors.NotFound) {
        this.#problems.delete(name);
        return null;
      }
      const isOfFile = [RangeError, TypeError, Deno.errors.PermissionDenied];
      if (!isOfFile.some((each) => error instanceof each)) throw error;
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
    // Where files have owners they have modes.
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

/** Why the file of a peer can't be used. */
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

/** Checks the new name of a peer, or that in an option of pairing. */
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
  const taken = new PairingError("NAME_TAKEN", `${option}: ${problem}`, options);
  throw argumentErrorDetails.add(taken, { argument: option, problem });
}

// ───────────────────────── the files

/** Files that are written here have a few kilobytes at most; a foreign file may have any size. */
const MAX_PEER_FILE_BYTES = 16384;

const VERSION = 1;
const FILE_EXTENSION = ".json";

function peerFileName(id: string): string {
  return id + FILE_EXTENSION;
}

/** The id of the peer whose file has this name; `null` for any other name. */
function idOfFileName(name: string): string | null {
  const id = name.slice(0, -FILE_EXTENSION.length);
  return name.endsWith(FILE_EXTENSION) && isDeviceId(id) ? id : null;
}

/** Creates a peer; a client must be able to use each address, which must have a text form. */
function makePeer(
  { id, ca }: Pick<DeviceAuthority, "id" | "ca">,
  name: string,
  addresses: readonly Address[],
  pairedAt: Date,
  found = 0,
): StoredPeer {
  const checked = addresses.map((address) => {
    const checked = checkAddress(address, "client");
    const [host, port, , scopeid] = checked as ScopedAddress;
    // Flow information has no meaning elsewhere, and the text form has none.
    const isScoped = !isUnixAddress(checked) && checked.length === 4;
    const withoutFlow = isScoped ? [host, port, 0, scopeid] as const : checked;
    // The address gets the form in which it will be read from the file.
    return parseAddress(formatAddress(withoutFlow));
  });
  const peer = { id, name, addresses: Object.freeze(checked), pairedAt, ca };
  return Object.freeze(found === 0 ? peer : { ...peer, found });
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
 * Finds the problem of a file that says that it has another version; else `null`. Its peer is not
 * trusted, and keeps its name.
 */
function findOtherVersion(id: string, text: string): FileProblem | null {
  try {
    const { version, name: given } = JSON.parse(text);
    if (!isOtherVersion(version, VERSION)) return null;
    const name = typeof given === "string" && isDeviceName(given) ? given : id;
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
 * Reads the text of the file of a peer: exactly the output of {@linkcode formatPeer}, so that
 * nothing else is ever trusted.
 *
 * @throws {RangeError} if the text was not written here, is truncated, or belongs to another peer.
 * The message quotes nothing of the text, which may be that of any file.
 */
function parsePeer(id: string, text: string): Peer {
  let peer: Peer | null = null;
  let written = "";
  try {
    const { name, addresses, found = 0, pairedAt, certificate } = JSON.parse(text);
    checkDeviceName("name", name);
    const authority = readAuthority(certificate);
    peer = makePeer(authority, name, addresses.map(parseAddress), new Date(pairedAt), found);
    written = formatPeer(peer);
  } catch {
    // A text with any fault was not written here.
  }
  if (peer === null || written !== text) {
    throw new RangeError("it is truncated, or not of the form in which this version writes it");
  }
  if (peer.id !== id) throw new RangeError("it has the authority of another device");
  return peer;
}
