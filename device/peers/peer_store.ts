import { join } from "../../internal/paths.ts";
import { type Address, formatAddress } from "../../base.ts";
import type { Logger } from "../../server.ts";
import { argumentErrorDetails } from "../../internal/error_details.ts";
import { checkString, notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { plainMessageOf } from "../../internal/caught_errors.ts";
import { quoteName } from "../../internal/quote.ts";
import type { DeviceAuthority } from "../identity/authority.ts";
import { checkDeviceName, findFreeName, isDeviceId, makeNameKey } from "../identity/names.ts";
import { WRITABLE_BY_OTHERS } from "../identity/private_files.ts";
import { readDeviceName, StateDirectory, writeDeviceName } from "../identity/device_directory.ts";
import { DeviceError, PairingError } from "../errors.ts";
import {
  type FileProblem,
  findVersionProblem,
  formatPeer,
  makePeer,
  makePeerFileName,
  parsePeer,
  parsePeerFileName,
  type Peer,
  type StoredPeer,
} from "./peer_file.ts";

export interface Pairing {
  readonly authority: DeviceAuthority;
  /** The name that the other device has for itself, already checked. */
  readonly receivedName: string;
  readonly peerName?: string | undefined;
  readonly addresses: readonly Address[];
}

/** The file of a peer has a few kilobytes; a foreign file may have any size. */
const MAX_PEER_FILE_BYTES = 16384;

/** Changes must be noticed within a second. */
const REFRESH_INTERVAL_MILLISECONDS = 400;

const MAX_FOUND_ADDRESSES = 4;

/** What changes when a file is replaced, written, or gets another owner or mode. */
const FILE_PROPERTIES = ["dev", "ino", "size", "mtime", "ctime", "mode", "uid"] as const;

export class PeerStore {
  readonly #dir: string;
  readonly #files: StateDirectory;
  readonly #logger: Logger;
  readonly #uid: number | null = Deno.uid();
  readonly #listeners = new Set<() => void>();
  /** The peers by file name. While the text of a file is unchanged, its peer is the same object. */
  readonly #peerCache = new Map<
    string,
    { readonly text: string; readonly peer: Peer; readonly info: Deno.FileInfo }
  >();
  readonly #problems = new Map<string, FileProblem>();
  #current: readonly Peer[] = [];
  #lastReadEnded: Promise<void> = Promise.resolve();
  #peerReadsEnded: Promise<unknown> = Promise.resolve();
  #nextReadEnded: Promise<void> | null = null;
  #loggedReadError: string | null = null;

  constructor(dir: string, logger: Logger) {
    this.#dir = dir;
    this.#files = new StateDirectory(join(dir, "peers"), join(dir, "lock"));
    this.#logger = logger;
  }

  get current(): readonly Peer[] {
    return this.#current;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves once the store has noticed all changes that were made before the call. */
  refresh(): Promise<void> {
    // The pending read may have missed the change, so read again after it.
    return this.#nextReadEnded ??= this.#lastReadEnded.then(() => {
      this.#nextReadEnded = null;
      const readPromise = this.#readAll().then((peers) => this.#publish(peers));
      this.#lastReadEnded = readPromise.catch(() => {});
      return readPromise;
    });
  }

  async tryRefresh(): Promise<void> {
    try {
      await this.refresh();
      this.#loggedReadError = null;
    } catch (error) {
      const problem = String(error);
      if (problem !== this.#loggedReadError) {
        this.#logger.error(`the peers can't be read: ${problem}`);
      }
      this.#loggedReadError = problem;
    }
  }

  watch(): AsyncDisposable {
    let refreshEnded: Promise<unknown> | null = null;
    const refreshTimer = setInterval(() => {
      refreshEnded ??= this.tryRefresh().finally(() => refreshEnded = null);
    }, REFRESH_INTERVAL_MILLISECONDS);
    // The types are those of Node, whose timers are objects.
    Deno.unrefTimer(refreshTimer as unknown as number);
    return {
      [Symbol.asyncDispose]: async () => {
        clearInterval(refreshTimer);
        await refreshEnded;
        // A new session may be reading the file of its peer.
        await this.#peerReadsEnded;
        while (this.#nextReadEnded !== null) await this.#nextReadEnded.catch(() => {});
        await this.#lastReadEnded;
      },
    };
  }

  #publish(peers: readonly Peer[]): void {
    const isUnchanged = peers.length === this.#current.length &&
      peers.every((peer, index) => peer === this.#current[index]);
    if (isUnchanged) return;
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

  async find(nameOrId: string): Promise<Peer | null> {
    checkString("peer", nameOrId);
    const id = await this.findId(nameOrId);
    return id === null ? null : await this.read(id);
  }

  async findOrFail(peer: Peer | string): Promise<Peer> {
    const id = await this.findId(peer);
    const storedPeer = id === null ? null : await this.read(id);
    if (storedPeer === null) throw this.#unknownPeerError(peer, id);
    return storedPeer;
  }

  findProblem(id: string): string | null {
    return this.#problems.get(makePeerFileName(id))?.text ?? null;
  }

  #unknownPeerError(peer: Peer | string, id: string | null): DeviceError {
    const problem = id === null ? null : this.findProblem(id);
    if (problem !== null) return new DeviceError("UNKNOWN", problem, { cause: new Error(problem) });
    const text = typeof peer === "string"
      ? quoteName(peer)
      : `${quoteName(peer.name)} (${peer.id})`;
    return new DeviceError(
      "UNKNOWN",
      `no peer has the name or id ${text}; device.peers() lists them, and device.join() or ` +
        '"degu --home DIRECTORY pair" adds one',
    );
  }

  /**
   * Whether the file of a peer is the file that was last read, and so that of a peer. Costs 5 µs,
   * where `read()` costs 100 µs: the server asks before each request.
   */
  isUnchanged(id: string): boolean {
    const name = makePeerFileName(id);
    const read = this.#peerCache.get(name)?.info;
    if (read === undefined) return false;
    try {
      const info = Deno.lstatSync(join(this.#files.path, name));
      return FILE_PROPERTIES.every((key) => Number(info[key]) === Number(read[key]));
    } catch {
      // `read()` tells why.
      return false;
    }
  }

  read(id: string): Promise<Peer | null> {
    const readPromise = this.#readFile(makePeerFileName(id), id);
    const previousReads = this.#peerReadsEnded;
    this.#peerReadsEnded = readPromise.then(() => previousReads, () => previousReads);
    return readPromise;
  }

  async findId(peer: Peer | string): Promise<string | null> {
    const id: unknown = typeof peer === "string" ? peer : peer?.id;
    if (typeof id !== "string") throw wrongTypeError("peer", "a peer, a name or an id", peer);
    if (isDeviceId(id)) return id;
    if (typeof peer !== "string") return null;
    const peers = [...await this.list(), ...this.#peersOfOtherVersions()];
    return peers.find(({ name }) => makeNameKey(name) === makeNameKey(peer))?.id ?? null;
  }

  async #listNamed(peers: readonly Peer[]): Promise<NamedDevice[]> {
    const ownName = await readDeviceName(this.#dir);
    const ownDevice = ownName === null ? [] : [{ id: null, name: ownName }];
    return [...ownDevice, ...peers, ...this.#peersOfOtherVersions()];
  }

  #peersOfOtherVersions(): Pick<Peer, "id" | "name">[] {
    return [...this.#problems.values()].flatMap(({ peer }) => peer ?? []);
  }

  async checkFree(peerName: string, id?: string): Promise<void> {
    const devices = await this.#listNamed(await this.#readAll());
    checkNewName("peerName", peerName, devices, id);
  }

  /**
   * Stores the result of a pairing as a new peer. If the device already is a peer, replaces its
   * certificate, time and addresses, and keeps its name unless there is a `peerName`.
   */
  async record({ authority, receivedName, peerName, addresses }: Pairing): Promise<Peer> {
    const { id } = authority;
    return await this.#change(async (peers) => {
      const storedPeer = peers.find((peer) => peer.id === id);
      const otherDevices = (await this.#listNamed(peers)).filter((device) => device.id !== id);
      if (peerName !== undefined) checkNewName("peerName", peerName, otherDevices);
      // Without `peerName`, the peer may get the name of this device.
      const otherPeers = otherDevices.filter((device) => device.id !== null);
      const takenNames = new Set(otherPeers.map(({ name }) => makeNameKey(name)));
      const name = peerName ?? storedPeer?.name ?? findFreeName(receivedName, takenNames);
      const peer = makePeer(authority, name, addresses, new Date());
      await this.#write(peer);
      return peer;
    });
  }

  async forget(peer: Peer | string): Promise<void> {
    // By its id, a peer whose file can't be used can still be removed.
    const id = await this.findId(peer);
    if (id === null) throw this.#unknownPeerError(peer, id);
    const isRemoved = await this.#change(() => this.#files.remove(makePeerFileName(id)));
    // Forget the peer even if the files of the other peers can't be read.
    this.#publish(this.#current.filter((each) => each.id !== id));
    if (!isRemoved) throw this.#unknownPeerError(peer, id);
  }

  async rename(peer: Peer | string, name: string): Promise<Peer> {
    const id = await this.findId(peer);
    return await this.#change(async (peers) => {
      const storedPeer = peers.find((each) => each.id === id);
      if (storedPeer === undefined) throw this.#unknownPeerError(peer, id);
      checkNewName("name", name, await this.#listNamed(peers), storedPeer.id);
      const renamedPeer = Object.freeze({ ...storedPeer, name });
      await this.#write(renamedPeer);
      return renamedPeer;
    });
  }

  async renameDevice(name: string): Promise<void> {
    await this.#change(async (peers) => {
      checkNewName("name", name, await this.#listNamed(peers), null);
      if (await readDeviceName(this.#dir) !== name) await writeDeviceName(this.#dir, name);
    });
  }

  /**
   * Moves the address at which a peer has answered to the front of its addresses, unless another
   * process has done so.
   *
   * @param canAdd Whether an address that isn't stored is added.
   */
  async recordAnswer(id: string, address: Address, canAdd: boolean): Promise<void> {
    const text = formatAddress(address);
    await this.#change(async (peers) => {
      const storedPeer = peers.find((peer) => peer.id === id) as StoredPeer | undefined;
      if (storedPeer === undefined) return;
      const { addresses, foundAddresses = [], name, pairedAt, ca } = storedPeer;
      const otherAddresses = addresses.filter((other) => formatAddress(other) !== text);
      const isNew = otherAddresses.length === addresses.length;
      if (isNew ? !canAdd : formatAddress(addresses[0]!) === text) return;
      const texts = [text, ...otherAddresses.map(formatAddress)];
      const foundTexts = texts.filter((other) =>
        foundAddresses.includes(other) || isNew && other === text
      );
      const droppedTexts = foundTexts.slice(MAX_FOUND_ADDRESSES);
      const newAddresses = [address, ...otherAddresses]
        .filter((other) => !droppedTexts.includes(formatAddress(other)));
      const newFound = foundTexts.slice(0, MAX_FOUND_ADDRESSES);
      await this.#write(makePeer({ id, ca }, name, newAddresses, pairedAt, newFound));
    });
  }

  async #change<T>(change: (peers: readonly Peer[]) => Promise<T>): Promise<T> {
    try {
      return await this.#files.withLock(async () => await change(await this.#readAll()));
    } finally {
      // Refresh also after a failure, which may have happened after the change.
      await this.refresh().catch(() => {});
    }
  }

  #write(peer: Peer): Promise<void> {
    return this.#files.write(makePeerFileName(peer.id), formatPeer(peer));
  }

  async #readAll(): Promise<Peer[]> {
    const names = await this.#files.listNames();
    for (const name of this.#problems.keys()) {
      if (!names.includes(name)) this.#problems.delete(name);
    }
    const peers: Peer[] = [];
    for (const name of names) {
      const peer = await this.#readFile(name, parsePeerFileName(name));
      if (peer !== null) peers.push(peer);
    }
    // Peers of the same name stay in the order of their ids, like the files.
    const peersByName = Map.groupBy(peers, ({ name }) => makeNameKey(name));
    return [...peersByName.keys()].sort().flatMap((key) => peersByName.get(key)!);
  }

  async #readFile(name: string, id: string | null): Promise<Peer | null> {
    try {
      if (id === null) throw new RangeError("its name is not an id with .json");
      const { text, info } = await this.#readText(name);
      const cachedEntry = this.#peerCache.get(name);
      if (cachedEntry?.text === text) {
        this.#peerCache.set(name, { ...cachedEntry, info });
        return cachedEntry.peer;
      }
      const versionProblem = findVersionProblem(id, text);
      if (versionProblem !== null) {
        this.#peerCache.delete(name);
        this.#report(name, versionProblem);
        return null;
      }
      const peer = parsePeer(id, text);
      this.#peerCache.set(name, { text, peer, info });
      this.#problems.delete(name);
      return peer;
    } catch (error) {
      this.#peerCache.delete(name);
      if (error instanceof Deno.errors.NotFound) {
        this.#problems.delete(name);
        return null;
      }
      const fileErrors = [RangeError, TypeError, Deno.errors.PermissionDenied];
      if (!fileErrors.some((errorClass) => error instanceof errorClass)) throw error;
      const isDenied = error instanceof Deno.errors.PermissionDenied;
      const problem = isDenied ? "it can't be read" : plainMessageOf(error);
      const advice = id === null ? "" : "; pair the two devices again";
      this.#report(name, {
        text: `the file ${quoteName(name)} among the peers is not used: ${problem}${advice}`,
      });
      return null;
    }
  }

  async #readText(name: string): Promise<{ text: string; info: Deno.FileInfo }> {
    const path = join(this.#files.path, name);
    // Opening a FIFO would block.
    const info = await Deno.lstat(path);
    const { isFile, uid, mode, size } = info;
    if (!isFile) throw new RangeError("it is not a regular file");
    if (this.#uid !== null && uid !== this.#uid && uid !== 0) {
      throw new RangeError("it belongs to another user");
    }
    // If the system has owners of files, it also has modes.
    if (this.#uid !== null && (mode! & WRITABLE_BY_OTHERS) !== 0) {
      throw new RangeError("other users can write it");
    }
    if (size > MAX_PEER_FILE_BYTES) {
      throw new RangeError(`it has more than ${MAX_PEER_FILE_BYTES} bytes`);
    }
    return { text: await Deno.readTextFile(path), info };
  }

  #report(name: string, problem: FileProblem): void {
    const isLogged = this.#problems.get(name)?.text === problem.text;
    this.#problems.set(name, problem);
    if (!isLogged) this.#logger.warn(problem.text);
  }
}

/** A peer; or this device, if `id` is `null`. */
interface NamedDevice {
  readonly id: string | null;
  readonly name: string;
}

function checkNewName(
  option: "name" | "peerName",
  name: string,
  devices: readonly NamedDevice[],
  id?: string | null,
): void {
  checkDeviceName(option, name);
  const deviceWithName = devices.find((device) => makeNameKey(device.name) === makeNameKey(name));
  if (deviceWithName === undefined || deviceWithName.id === id) return;
  const taken = `the name ${quoteName(name)} is taken`;
  const problem = deviceWithName.id === null
    ? `${taken}, by this device itself; choose another name`
    : `${taken}, by the peer with the id ${deviceWithName.id}; choose another name, or rename that ` +
      "peer";
  if (option === "name") throw notAllowedError(option, problem);
  const options = { peerName: name, problem };
  const error = new PairingError("NAME_TAKEN", `${option}: ${problem}`, options);
  throw argumentErrorDetails.set(error, { argument: option, problem });
}
