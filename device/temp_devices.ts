import { join } from "../internal/paths.ts";
import { mkSession } from "../misc.ts";
import type { Logger, Session } from "../server.ts";
import {
  checkConstructorKey,
  checkString,
  CONSTRUCTOR_KEY,
  notAllowedError,
} from "../internal/checks.ts";
import { quoteName } from "../internal/quote.ts";
import { DeviceIdentity } from "./identity/device_identity.ts";
import { Device } from "./device.ts";
import type { Peer } from "./peers/peer_file.ts";
import { setPeerOf } from "./serve/per_peer.ts";

const SILENT_LOGGER: Logger = Object.freeze({ debug() {}, info() {}, warn() {}, error() {} });

/**
 * Devices in a private temporary directory, for tests and demos. Each device is paired with all
 * other devices. Disposing of this object closes the devices, and removes the directory. The
 * devices don't print. Their servers print only if they have their own logger.
 *
 * @example
 * ```ts
 * import { reply } from "@degu/degu";
 * import { peerOf } from "@degu/degu/device";
 * import { TempDevices } from "@degu/degu/device/testing";
 * import { assertEquals } from "@std/assert";
 *
 * await using temp = await TempDevices.create("camera", "viewer");
 * const { camera, viewer } = temp.devices;
 * await using server = await camera.serve(["127.0.0.1", 0], (_request, session) => {
 *   return reply(200, `hello, ${peerOf(session).name}`);
 * });
 * const client = await viewer.client("camera", { addresses: [server.address] });
 * const { body } = await client.request("GET", "/");
 * assertEquals(await body?.text(), "hello, viewer");
 * ```
 */
export class TempDevices<Name extends string> implements AsyncDisposable {
  /** The devices by their names. */
  readonly devices: Readonly<Record<Name, Device>>;
  readonly #peers: ReadonlyMap<string, Peer>;
  readonly #resources: AsyncDisposable;

  private constructor(
    key: symbol,
    devices: Readonly<Record<Name, Device>>,
    peers: ReadonlyMap<string, Peer>,
    resources: AsyncDisposable,
  ) {
    const maker = 'TempDevices.create() of "@degu/degu/device/testing"';
    checkConstructorKey(key, "TempDevices", maker);
    this.devices = devices;
    this.#peers = peers;
    this.#resources = resources;
  }

  /**
   * Creates devices, and pairs them over 127.0.0.1. Needs `--allow-net=127.0.0.1`, `--allow-read`
   * and `--allow-write` of the directory for temporary files, and `--allow-sys=uid`.
   *
   * @param names The names of the devices, which are also their names as peers.
   * @throws {TypeError} if a name is not a string.
   * @throws {RangeError} if a name is not valid, or two names are equal.
   */
  static async create<Name extends string>(...names: Name[]): Promise<TempDevices<Name>> {
    for (const [index, name] of names.entries()) {
      checkString(`names[${index}]`, name);
      if (names.indexOf(name) !== index) {
        throw notAllowedError(
          `names[${index}]`,
          `must not be repeated; got ${quoteName(name)} twice`,
        );
      }
    }
    await using resources = new AsyncDisposableStack();
    const dir = await Deno.makeTempDir({ prefix: "degu-" });
    resources.defer(() => Deno.remove(dir, { recursive: true }));
    const devices: Device[] = [];
    const peers = new Map<string, Peer>();
    for (const [index, name] of names.entries()) {
      const device = resources.use(
        await Device.open(join(dir, `${index}`), { name, logger: SILENT_LOGGER }),
      );
      for (const otherDevice of devices) await pairDevices(device, otherDevice);
      devices.push(device);
      peers.set(name, await makePeer(device));
    }
    const devicesByName = Object.fromEntries(names.map((name, index) => [name, devices[index]!]));
    return new TempDevices(
      CONSTRUCTOR_KEY,
      devicesByName as Record<Name, Device>,
      peers,
      resources.move(),
    );
  }

  /**
   * Makes a session in which one of the devices is the peer, for `callApp`: `peerOf(session)` is
   * this device, and `session.user` is its name. The session has neither an address nor a
   * certificate, and is trusted.
   *
   * @param name The name of the device.
   * @throws {RangeError} if no device has the name.
   *
   * @example
   * ```ts
   * import { type App, reply } from "@degu/degu";
   * import { peerOf } from "@degu/degu/device";
   * import { TempDevices } from "@degu/degu/device/testing";
   * import { callApp, mkreq } from "@degu/degu/misc";
   * import { assertEquals } from "@std/assert";
   *
   * const app: App = (_request, session) => reply(200, `hello, ${peerOf(session).name}`);
   * await using temp = await TempDevices.create("camera");
   * const session = temp.peerSession("camera");
   * const response = await callApp(app, mkreq("GET", "/"), { session });
   * assertEquals(await response.text(), "hello, camera");
   * ```
   */
  peerSession(name: Name): Session {
    const peer = this.#peers.get(name);
    if (peer === undefined) {
      const names = [...this.#peers.keys()].join(", ");
      throw notAllowedError("name", `must be one of ${names}; got ${quoteName(String(name))}`);
    }
    const session = mkSession({ logName: name, user: peer.name });
    setPeerOf(session, { findPeer: () => peer });
    return session;
  }

  /** Closes the devices, and removes their directory. */
  async close(): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
  }

  /** Closes the devices: {@linkcode TempDevices.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function pairDevices(inviter: Device, joiner: Device): Promise<void> {
  await using invitation = await inviter.invite({ listen: [["127.0.0.1", 0]] });
  await joiner.join(invitation.line);
}

async function makePeer({ dir, id, name }: Device): Promise<Peer> {
  const { authority: { ca } } = await DeviceIdentity.open(join(dir, "identity"), { create: false });
  return Object.freeze({ id, name, addresses: [], pairedAt: new Date(), ca });
}
