/** Devices that are paired without an invitation, by files that another process would write. */

import { dirname, join } from "@degu/internal/internal/paths.ts";
import type { Address } from "@degu/degu/base";
import { Device, DeviceError, type DeviceOptions, type Peer } from "@degu/degu/device";
import { type DeviceAuthority, readAuthority } from "@degu/internal/device/identity/authority.ts";
import { PeerStore } from "@degu/internal/device/peers/peer_store.ts";
import { ignoreNotFound } from "@degu/internal/internal/caught_errors.ts";
import { createTempDir, listNames, readTree } from "./directories.ts";
import { RecordingLogger } from "./serving.ts";

async function readIdentity(dir: string, file: string): Promise<string> {
  const [home = ""] = await listNames(join(dir, "identity"));
  return await Deno.readTextFile(join(dir, "identity", home, file));
}

/** Authorities by their certificates, because checking a signature takes a millisecond. */
const authorities = new Map<string, DeviceAuthority>();

export async function authorityOf(dir: string): Promise<DeviceAuthority> {
  return authorities.getOrInsertComputed(await readIdentity(dir, "ca.pem"), readAuthority);
}

export async function identityOf(dir: string): Promise<{ cert: string; key: string }> {
  return { cert: await readIdentity(dir, "cert.pem"), key: await readIdentity(dir, "key.pem") };
}

/** Opens the peers of a device, as another process reads and changes them. */
export function storeOf(dir: string): PeerStore {
  return new PeerStore(dir, new RecordingLogger());
}

/** Records a device as a peer of another device. */
export async function record(
  device: Device,
  peerDevice: Device,
  options: { addresses?: Address[]; peerName?: string } = {},
): Promise<Peer> {
  const { addresses = [], peerName } = options;
  const authority = await authorityOf(peerDevice.dir);
  const peer = await storeOf(device.dir).record({
    authority,
    receivedName: peerDevice.name,
    peerName,
    addresses,
  });
  await device.peers(); // The watcher of the directory would read the peer a little later.
  return peer;
}

/** Forgets a peer, and resolves to whether it was stored. */
export async function forgetIfStored(
  store: Pick<Device, "forget">,
  peer: Peer | string,
): Promise<boolean> {
  return await store.forget(peer).then(() => true, (error) => {
    if (error instanceof DeviceError && error.code === "UNKNOWN") return false;
    throw error;
  });
}

/**
 * Records a device as a peer of another device, by their directories. A running device reads the
 * new peer a little later.
 */
export async function recordAt(
  dir: string,
  peerDir: string,
  receivedName: string,
  ...addresses: Address[]
): Promise<void> {
  const authority = await authorityOf(peerDir);
  await storeOf(dir).record({ authority, receivedName, addresses });
}

/** The files of devices, by role and name: keys are created once for all tests of a module. */
const filesByDevice = new Map<string, Record<string, string | null>>();

/**
 * Opens a device. A new device gets the identity of a device with the same role and name in an
 * earlier test.
 */
export async function openDevice(
  dir: string,
  role: string,
  options: DeviceOptions & { name: string },
): Promise<Device> {
  const key = `${role} ${options.name}`;
  const isNew = await ignoreNotFound(Deno.stat(dir)) === null;
  if (isNew) await rewriteFiles(dir, key);
  const device = await Device.open(dir, options);
  if (isNew && !filesByDevice.has(key)) filesByDevice.set(key, await readTree(dir));
  return device;
}

/** Makes a device like {@linkcode openDevice}, with the name as its role; returns its id. */
export async function makeDevice(dir: string, name: string): Promise<string> {
  if (!await rewriteFiles(dir, `${name} ${name}`)) {
    await using _device = await openDevice(dir, name, { name });
  }
  return (await authorityOf(dir)).id;
}

/** Writes the files of a device of an earlier test. Resolves to false if there is none. */
async function rewriteFiles(dir: string, key: string): Promise<boolean> {
  const files = filesByDevice.get(key) ?? {};
  for (const [path, text] of Object.entries(files)) {
    const fullPath = join(dir, path);
    await Deno.mkdir(text === null ? fullPath : dirname(fullPath), {
      recursive: true,
      mode: 0o700,
    });
    if (text !== null) await Deno.writeTextFile(fullPath, text, { mode: 0o600 });
  }
  return filesByDevice.has(key);
}

/** Devices in a directory that is removed on dispose. */
export class TestDevices implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();

  private constructor(readonly dir: string) {}

  static async create(): Promise<TestDevices> {
    const dir = await createTempDir();
    const devices = new TestDevices(dir.path);
    devices.#stack.use(dir);
    return devices;
  }

  makePath(name: string): string {
    return join(this.dir, name);
  }

  async open(name: string, options: DeviceOptions = {}): Promise<Device> {
    const allOptions = { logger: new RecordingLogger(), ...options, name: options.name ?? name };
    return this.#stack.use(await openDevice(this.makePath(name), name, allOptions));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** Opens a camera, and other devices that it may be paired with. */
export async function setUpPeers(...names: string[]) {
  const devices = await TestDevices.create();
  const logger = new RecordingLogger();
  const camera = await devices.open("camera", { logger });
  const otherDevices: Device[] = [];
  for (const [index, name] of names.entries()) {
    otherDevices.push(await devices.open(`other-${index}`, { name }));
  }
  return {
    devices,
    logger,
    camera,
    others: otherDevices,
    fileOf: ({ id }: { id: string }) => join(camera.dir, "peers", `${id}.json`),
    [Symbol.asyncDispose]: () => devices[Symbol.asyncDispose](),
  };
}

export function namesOf(peers: readonly Peer[]): string[] {
  return peers.map(({ name }) => name);
}
