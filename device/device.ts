import { join } from "../internal/paths.ts";
import { type Address, type HostAddress, type ScopedAddress, standardLogger } from "../base.ts";
import type { Client } from "../client.ts";
import type { App, Logger, ServerOptions } from "../server.ts";
import {
  checkBoolean,
  checkConstructorKey,
  CONSTRUCTOR_KEY,
  copyOptions,
  notAllowedError,
} from "../internal/checks.ts";
import { makeSafeLogger } from "../base/app/logger.ts";
import { DeviceIdentity } from "./identity/device_identity.ts";
import { checkDeviceName } from "./identity/names.ts";
import { type DeviceClientOptions, makeDeviceClient } from "./peers/device_client.ts";
import { checkDirectory, parseDevicePath, prepareDirectory } from "./identity/device_directory.ts";
import { DeviceServer } from "./serve/device_server.ts";
import type { DeviceServices } from "./peers/device_services.ts";
import { DeviceError } from "./errors.ts";
import { Invitation, type InviteOptions } from "./pairing/invite.ts";
import { joinDevice, type JoinOptions } from "./pairing/join.ts";
import { joinByNumber } from "./pairing/join_number.ts";
import type { Peer } from "./peers/peer_file.ts";
import type { ConfirmNumber } from "./pairing/plain_ports.ts";
import { PeerStore } from "./peers/peer_store.ts";
import { ServingRecords } from "./peers/serving_records.ts";
import { TrustSignals } from "./peers/trust_signals.ts";

/** The name of a device, its logger, and the permission to create it. */
export interface DeviceOptions {
  /**
   * The name of the device, which its peers also see: 1 to 63 letters, digits, `-` and `_`, the
   * first a letter or digit. Required for a new device. An existing device must have this name,
   * unless it is renamed.
   */
  name?: string | undefined;
  /**
   * True to rename an existing device to `name`. Peers keep the name that they use for the device,
   * and other processes use the old name until they open the device again.
   *
   * @default {false}
   */
  rename?: boolean | undefined;
  /**
   * True to create a missing device. With `false`, opening doesn't write to the disk.
   *
   * @default {true}
   */
  create?: boolean | undefined;
  /**
   * The logger; `console` works.
   *
   * @default {all but level `debug` to stderr, with a rate limit for lines that peers cause}
   */
  logger?: Logger | undefined;
}

/**
 * A device: its identity, its peers, servers for the peers, and clients that connect to peers. The
 * state is in one directory. Several processes may open the device at the same time, and each
 * process notices the changes of the other processes.
 *
 * @example
 * ```ts
 * import { Device } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // in real use: a permanent directory
 * {
 *   await using device = await Device.open(dir, { name: "camera" });
 *   assertEquals(device.id.length, 52);
 *   assertEquals(await device.peers(), []);
 * }
 * {
 *   await using device = await Device.open(dir); // the same device again
 *   assertEquals(device.name, "camera");
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class Device implements AsyncDisposable {
  /** The name of this device, which it sends to other devices during a pairing. */
  readonly name: string;
  /** The absolute path of the device's directory. */
  readonly dir: string;
  /**
   * SHA-256 of the public key of this device's authority, in lower-case base32 (RFC 4648 §6): 52
   * characters.
   */
  readonly id: string;
  readonly #services: DeviceServices;
  readonly #closeController: AbortController;
  readonly #peerWatch: AsyncDisposable;
  readonly #resources = new Set<AsyncDisposable>();
  #pendingChanges: Promise<unknown> = Promise.resolve();
  #disposed: Promise<void> | null = null;

  private constructor(
    key: symbol,
    dir: string,
    services: DeviceServices,
    closeController: AbortController,
  ) {
    checkConstructorKey(key, "Device", 'Device.open() of "@degu/degu/device"');
    const { name, identity, peers } = services;
    this.dir = dir;
    this.name = name;
    this.id = identity.authority.id;
    this.#services = services;
    this.#closeController = closeController;
    this.#peerWatch = peers.watch();
  }

  /**
   * Opens the device in a directory. If there is no device, creates one, with mode 0700 and a new
   * identity.
   *
   * The directory is the device: anyone who can read it can impersonate the device. The directory
   * must belong to the user of this process, and no other user may be able to write to it. The
   * directories above it are not checked. Needs `--allow-read` and `--allow-write` of the
   * directory, and `--allow-sys=uid`; with `create: false` no `--allow-write`.
   *
   * @param dir Absolute path, or file URL, of a directory for this device only.
   * @param options The name, which a new device needs, the permission to create a device, and the
   * logger.
   * @throws {TypeError} if an argument has the wrong type or an option is unknown.
   * @throws {RangeError} if `dir` is relative; if `name` is not valid, is missing and there is no
   * device yet, or differs from the name of the existing device; with `rename`, if a peer has this
   * name, `name` is missing or `create` is false.
   * @throws {Deno.errors.NotFound} with `create: false`, if there is no device.
   * @throws {Deno.errors.PermissionDenied} if another user owns the directory, or can change it.
   * @throws {Deno.errors.InvalidData} if the identity can't be read, or, without `create: false`,
   * is missing although the device has peers.
   * @throws {Deno.errors.NotSupported} if another version of Degu has written the directory, in a
   * form that this version doesn't read.
   */
  static async open(dir: string | URL, options: DeviceOptions = {}): Promise<Device> {
    const { name, rename = false, create = true, logger: callerLogger } = copyOptions(
      options,
      ["name", "rename", "create", "logger"],
    );
    checkBoolean("create", create);
    checkBoolean("rename", rename);
    if (name !== undefined) checkDeviceName("name", name);
    if (rename && (name === undefined || !create)) {
      throw notAllowedError("rename", "needs a name, and can't be combined with create: false");
    }
    const ownLogger = callerLogger === undefined ? standardLogger() : null;
    const logger = makeSafeLogger(ownLogger ?? callerLogger!);
    const path = parseDevicePath(dir);
    const storedName = create
      ? await prepareDirectory(path, name, rename)
      : await checkDirectory(path, name);
    const identity = await DeviceIdentity.open(join(path, "identity"), { create });
    const peers = new PeerStore(path, logger);
    await peers.refresh();
    if (rename) await peers.renameDevice(name!);
    const closeController = new AbortController();
    if (ownLogger !== null) {
      closeController.signal.addEventListener("abort", () => ownLogger[Symbol.dispose]());
    }
    const services: DeviceServices = {
      name: rename ? name! : storedName,
      identity,
      peers,
      trustSignals: new TrustSignals(peers),
      servingRecords: new ServingRecords(path),
      logger,
      closeSignal: closeController.signal,
    };
    return new Device(CONSTRUCTOR_KEY, path, services, closeController);
  }

  /** Reads the peers from the disk, sorted by name. */
  async peers(): Promise<Peer[]> {
    return await this.#services.peers.list();
  }

  /**
   * Reads the peer with this id, or else with this name, from the disk; `null` for an unknown peer.
   *
   * @param nameOrId The name or the id of a peer.
   * @throws {TypeError} if the argument is not a string.
   */
  async peer(nameOrId: string): Promise<Peer | null> {
    return await this.#services.peers.find(nameOrId);
  }

  /**
   * Lists the current addresses of this device's servers, in all processes. Wildcards are returned
   * unchanged.
   */
  async serving(): Promise<Address[]> {
    return await this.#services.servingRecords.listAddresses();
  }

  /**
   * Ends the trust in a peer. The peer's sessions and connections in this process are closed before
   * the call resolves. Other processes that have opened the device close their sessions and
   * connections within a second.
   *
   * @param peer The peer, its id or its name.
   * @throws {TypeError} if the argument is neither a peer nor a string.
   * @throws {DeviceError} if the peer is unknown, so that a misspelled name doesn't leave a peer
   * trusted.
   */
  async forget(peer: Peer | string): Promise<void> {
    await this.#trackChange(this.#services.peers.forget(peer));
  }

  /**
   * Renames a peer. Only this device uses the name.
   *
   * @param peer The peer, its id or its name.
   * @param name The new name.
   * @returns The renamed peer.
   * @throws {TypeError} if an argument has the wrong type.
   * @throws {RangeError} if the name is not valid, or another peer or this device has it.
   * @throws {DeviceError} if the peer is unknown.
   */
  async rename(peer: Peer | string, name: string): Promise<Peer> {
    return await this.#trackChange(this.#services.peers.rename(peer, name));
  }

  /**
   * Opens an invitation, with which one other device can pair with this device by {@linkcode
   * Device.prototype.join}: by the line of the invitation, and with `confirm` also by a number.
   * Needs `--allow-net` of each address in `listen`, and of its next port. Without `listen`,
   * with the port 0 and for wildcards, it needs `--allow-net` and `--allow-sys=networkInterfaces`.
   *
   * @param options The addresses to listen on, the time limit, a name for the peer, and the
   * function that asks a person to compare the number.
   * @throws {TypeError} if an option has the wrong type or is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws {PairingError} if `peerName` is taken.
   * @throws {Deno.errors.AddrInUse} if an address in `listen` is in use; the message has its index.
   * @throws {Deno.errors.AddrNotAvailable} if an address in `listen` is not of this machine.
   *
   * @example Pair two devices
   * ```ts
   * import { Device } from "@degu/degu/device";
   * import { assertEquals } from "@std/assert";
   *
   * const dir = await Deno.makeTempDir(); // in real use: two machines
   * await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
   * await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
   * await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
   * const cameraPeer = await viewer.join(invitation.line); // a person carries the line
   * const viewerPeer = await invitation.paired;
   * assertEquals([cameraPeer.name, viewerPeer.name], ["camera", "viewer"]);
   * await Deno.remove(dir, { recursive: true });
   * ```
   */
  async invite(options: InviteOptions = {}): Promise<Invitation> {
    this.#checkOpen();
    const invitation = await Invitation.open(this.#services, options);
    const remove = () => this.#resources.delete(invitation);
    invitation.paired.then(remove, remove);
    this.#resources.add(invitation);
    // The device may have been closed while the invitation opened.
    if (this.#disposed !== null) await invitation.close();
    this.#checkOpen();
    return invitation;
  }

  /**
   * Pairs with the device that invited this device, by the line of the invitation. Needs
   * `--allow-net` of the addresses in the line.
   *
   * @param line The line of the invitation. White space in the line is ignored.
   * @param options A name for the peer, the addresses of this device, and a signal.
   * @throws {TypeError} if an argument has the wrong type or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws {PairingError} if the line can't be used or `peerName` is taken; if this device is
   * refused: the invitation has expired or was closed, or another device has used the line; if the
   * other device can't be reached, or breaks the protocol. The `code` of the error has the reason.
   */
  join(line: string, options?: JoinOptions): Promise<Peer>;
  /**
   * Pairs with a device that invites in the same network, without the line of its invitation. Both
   * devices show a number of six digits, and a person confirms at both devices that the numbers are
   * the same. A stranger between the two devices has one chance in a million for each of five
   * tries. Needs `--allow-net` of the addresses, and of the hosts' ports for TLS.
   *
   * @param addresses The `addresses` of the invitation, which are tried in this order, each for 5
   * s, until a device answers.
   * @param options The function that asks a person to compare the number, a name for the peer, the
   * addresses of this device, and a signal.
   * @throws {TypeError} if an argument has the wrong type, or an option is unknown or missing.
   * @throws {RangeError} if an address or another value is not allowed.
   * @throws {PairingError} if no device answers, the other device is this device, or `peerName` is
   * taken; if the other device refuses: its person is comparing the number of a third device, or it
   * has no tries left; if the person at either device has not confirmed within 120 s. The `code` of
   * the error has the reason.
   *
   * @example Pair two devices by a number
   * ```ts
   * import { type ConfirmNumber, Device } from "@degu/degu/device";
   * import { assertEquals } from "@std/assert";
   *
   * const dir = await Deno.makeTempDir(); // in real use: two machines
   * await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
   * await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
   * const shownNumbers: string[] = [];
   * const confirm: ConfirmNumber = ({ number, name }) => {
   *   shownNumbers.push(`${name}: ${number}`); // in real use: ask the person, and return the reply
   *   return true;
   * };
   * await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]], confirm });
   * const peer = await viewer.join(invitation.addresses, { confirm });
   * assertEquals([peer.name, (await invitation.paired).name], ["camera", "viewer"]);
   * const [firstNumber, secondNumber] = shownNumbers.map((text) => text.split(": ")[1]);
   * assertEquals(firstNumber, secondNumber);
   * await Deno.remove(dir, { recursive: true });
   * ```
   */
  join(
    addresses: readonly Address[],
    options: JoinOptions & {
      /** Asks whether the other device shows the same number. */
      confirm: ConfirmNumber;
    },
  ): Promise<Peer>;
  async join(
    lineOrAddresses: string | readonly Address[],
    options: JoinOptions | Parameters<typeof joinByNumber>[2] = {},
  ): Promise<Peer> {
    this.#checkOpen();
    if (Array.isArray(lineOrAddresses)) {
      const numberOptions = options as Parameters<typeof joinByNumber>[2];
      return await joinByNumber(this.#services, lineOrAddresses, numberOptions);
    }
    return await joinDevice(this.#services, lineOrAddresses as string, options);
  }

  /**
   * Creates a server for the peers, and resolves once it serves. The server uses the device's
   * logger, unless the options have another. Needs `--allow-net` of the address.
   *
   * @param address The address, with a port.
   * @param app The app, which gets only the requests of peers.
   * @param options The options of every server.
   * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws the error of binding.
   */
  serve(
    address: HostAddress | ScopedAddress,
    app: App,
    options?: ServerOptions,
  ): Promise<DeviceServer & { readonly port: number }>;
  /** The same for an address of any kind, such as a Unix socket, which may have no port. */
  serve(address: Address, app: App, options?: ServerOptions): Promise<DeviceServer>;
  async serve(address: Address, app: App, options: ServerOptions = {}): Promise<DeviceServer> {
    this.#checkOpen();
    // The first connection must see earlier changes by other processes.
    await this.#services.peers.refresh();
    this.#checkOpen();
    const remove = () => this.#resources.delete(server);
    const server = new DeviceServer(this.#services, address, app, options, remove);
    this.#resources.add(server);
    // `ready` rejects with the same error.
    server.serveForever().catch(() => {});
    await server.ready;
    return server;
  }

  /**
   * Creates a client of a peer. Each connection uses the first of the peer's addresses at which the
   * peer answers. The addresses are tried in parallel, each 250 ms after the previous address, or
   * at once after a failure (RFC 8305), first the one that worked last.
   *
   * `connect()` reads the stored peer again, and so uses its new addresses. If no address answers,
   * it rejects with a {@linkcode DeviceError} `"UNREACHABLE"`, or with the `TlsError` of one
   * address; `cause` is an `AggregateError` of all errors. Connections are closed when the peer is
   * forgotten, and when the device is disposed of. Needs `--allow-net` of the addresses.
   *
   * @param peer The peer, its id or its name.
   * @param options The options of every client, other addresses, and a search for further
   * addresses.
   * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws {DeviceError} if the peer is unknown or has no address.
   */
  async client(peer: Peer | string, options: DeviceClientOptions = {}): Promise<Client> {
    this.#checkOpen();
    const storedPeer = await this.#services.peers.findOrFail(peer);
    return makeDeviceClient(this.#services, storedPeer, options);
  }

  /**
   * Closes the servers and invitations of the device, and the connections of its clients. A second
   * call returns the same promise.
   */
  close(): Promise<void> {
    return this.#disposed ??= this.#dispose();
  }

  /** Closes the device: {@linkcode Device.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #dispose(): Promise<void> {
    const reason = deviceClosedError();
    this.#closeController.abort(reason);
    this.#services.trustSignals.end(reason);
    await Promise.all(Array.from(this.#resources, (resource) => resource[Symbol.asyncDispose]()));
    await this.#peerWatch[Symbol.asyncDispose]();
    await this.#pendingChanges;
  }

  /** Makes `close` wait for a change whose caller has forgotten the `await`. */
  #trackChange<T>(change: Promise<T>): Promise<T> {
    this.#pendingChanges = Promise.allSettled([this.#pendingChanges, change])
      .then(() => {});
    return change;
  }

  #checkOpen(): void {
    if (this.#disposed !== null) throw deviceClosedError();
  }
}

function deviceClosedError(): DeviceError {
  return new DeviceError("CLOSED", "the device was closed; open it again with Device.open()");
}
