import { Command } from "commander";
import { type Address, BodyError, parseHost, type Response } from "@degu/degu/base";
import type { Client, ClientOptions } from "@degu/degu/client";
import { type Device, type DeviceClientOptions, DeviceError, type Peer } from "@degu/device";
import { find, isDiscoveryPermitted } from "@degu/device/discovery";
import { pause } from "./pause.ts";
import { explainDiscoveryProblem, isReachableByOthers } from "./addresses.ts";
import type { Context } from "./command.ts";
import { exitCodeOf } from "./error_codes.ts";
import { Failure, NoAddressFailure, REFUSED } from "./failure.ts";
import { SHOWN_ID_LENGTH } from "./output.ts";
import { makeLogger } from "./open_device.ts";

/** The time limit for an address. All addresses are tried concurrently. */
export const CONNECT_SECONDS = 5;

/** The delay after which a silent peer is also searched for by mDNS. */
const FIND_AFTER_SECONDS = 2;

/** The time after a pairing in which a running server may not trust this device yet. */
const TRUST_DELAY_MILLISECONDS = 2000;

export async function findPeer(device: Device, operand: string): Promise<Peer> {
  const peerName = operand.replace(/:$/, "");
  const peer = await lookUpPeer(device, peerName);
  if (peer !== null) return peer;
  throw await makeUnknownPeerFailure(device, peerName);
}

/** Accepts a name, an id, and the beginning of an id that screens show. */
export async function lookUpPeer(device: Device, text: string): Promise<Peer | null> {
  const peer = await device.peer(text);
  const shortId = text.replace(/…$/, "").toLowerCase();
  if (peer !== null || shortId.length < SHOWN_ID_LENGTH) return peer;
  const [firstPeer = null, ...otherPeers] = (await device.peers()).filter(({ id }) =>
    id.startsWith(shortId)
  );
  return otherPeers.length === 0 ? firstPeer : null;
}

export async function makeUnknownPeerFailure(device: Device, peerName: string): Promise<Failure> {
  // The file of the peer may have another version, or be damaged.
  const error = await device.client(peerName).catch((reason) => reason);
  if (error instanceof DeviceError && error.code === "UNKNOWN" && error.cause !== undefined) {
    return new Failure(error.message, "NOT_PAIRED", { peer: peerName, cause: error });
  }
  const peerNames = (await device.peers()).map(({ name }) => name);
  const hint = peerName === device.name
    ? "it is this device"
    : peerNames.length === 0
    ? 'this device has no peers yet: run "degu pair" on both devices'
    : isAddress(peerName)
    ? 'it is an address: write the name of the peer, which "degu peers" lists with its addresses'
    : peerName === ""
    ? "is a variable of the shell empty?"
    : peerName.endsWith(":")
    ? "leave out the colon"
    : peerName.includes(":")
    ? "it is a path: write only the name of the peer, before the colon"
    : suggestName(peerName, peerNames) ?? '"degu peers" lists all peers';
  return new Failure(`there is no peer ${JSON.stringify(peerName)}: ${hint}`, "NOT_PAIRED", {
    peer: peerName,
  });
}

/** Returns what commander also suggests for a misspelled command, such as "Did you mean desk?". */
function suggestName(name: string, names: readonly string[]): string | null {
  const program = new Command().exitOverride().helpCommand(false).configureOutput({
    writeErr: () => {},
  });
  for (const each of names) program.command(each);
  try {
    program.parse(["--", name], { from: "user" });
  } catch (error) {
    return /Did you mean .*\?/.exec((error as Error).message)?.[0] ?? null;
  }
  return null;
}

export function isAddress(text: string): boolean {
  const [, host = text] = /^(\[.*\]|[^:]*):\d+$/.exec(text) ?? [];
  return ["IPv4", "IPv6"].includes(`${parseHost(host.replace(/^\[(.*)\]$/, "$1"))?.type}`);
}

/**
 * @param isReconnect True if the peer is silent at one address, so that all other addresses are
 * also tried.
 */
export async function openClient(
  context: Context,
  device: Device,
  peerName: string,
  clientOptions: ClientOptions = {},
  isReconnect = false,
): Promise<Client> {
  const peer = await findPeer(device, peerName);
  context.peer = peer.name;
  const { address, find: mayFind } = context.options;
  const { signal = context.signal } = clientOptions;
  const options = { connectTimeout: CONNECT_SECONDS, ...clientOptions, signal };
  if (address !== undefined) {
    const addresses = isReconnect ? [address, ...peer.addresses] : [address];
    const storeOptions = isStorable(address) ? STORE_OPTIONS : {};
    const client = await device.client(peer, { ...options, ...storeOptions, addresses });
    if (!isReconnect) await waitUntilTrusted(peer, client, signal);
    return client;
  }
  const mayDiscover = mayFind !== false && isDiscoveryPermitted();
  // A discovered device must prove its identity. A failed search is not an error.
  const discover = async (signal: AbortSignal) => {
    if (!mayDiscover) return [];
    return await find(signal, peer, { logger: makeLogger(context) }).catch(() => []);
  };
  if (peer.addresses.length > 0) {
    const search = mayDiscover
      ? { find: discover, findAfter: isReconnect ? 0 : FIND_AFTER_SECONDS }
      : {};
    if (!isReconnect) await waitUntilTrusted(peer, await device.client(peer, options), signal);
    return await device.client(peer, { ...options, ...search });
  }
  const addresses = await discover(signal);
  signal.throwIfAborted();
  if (addresses.length === 0) {
    const searchResult = !mayDiscover
      ? ""
      : explainDiscoveryProblem()?.code === "only IPv6"
      ? `, and it was not found, because ${explainDiscoveryProblem()!.text}`
      : ", and it was not found in this network";
    throw new NoAddressFailure(
      `no address of ${peer.name} is known${searchResult}: ` +
        'run "degu serve" on it, or give its address with --address',
      "NO_ADDRESS",
      { peer: peer.name },
    );
  }
  return await device.client(peer, { ...options, ...STORE_OPTIONS, addresses });
}

/** With any `find` option, the library stores the address at which the peer responds. */
const STORE_OPTIONS: Pick<DeviceClientOptions, "find"> = { find: () => Promise.resolve([]) };

/** Returns false for a loopback address, which is often the end of a tunnel, and for a wildcard. */
function isStorable(address: Address): boolean {
  if (!isReachableByOthers(address)) return false;
  return !["0.0.0.0", "::"].includes(parseHost(address[0])?.text ?? "");
}

export async function readJson(response: Response, maxBytes: number): ReturnType<Response["json"]> {
  if (!response.ok) return null;
  return await response.json({ maxBytes }).catch((error) => {
    if (error instanceof SyntaxError || error instanceof BodyError && error.code === "TOO_LONG") {
      return null;
    }
    throw error;
  });
}

/**
 * Waits if the peer refuses this device just after a pairing, because the peer's server reads its
 * peers only twice a second.
 */
async function waitUntilTrusted(
  { pairedAt }: Peer,
  client: Client,
  signal: AbortSignal,
): Promise<void> {
  const ageMilliseconds = Date.now() - pairedAt.getTime();
  if (ageMilliseconds < 0 || ageMilliseconds >= TRUST_DELAY_MILLISECONDS) return;
  const timeoutSignal = AbortSignal.timeout(TRUST_DELAY_MILLISECONDS - ageMilliseconds);
  try {
    const options = { signal: AbortSignal.any([signal, timeoutSignal]) };
    await using _response = await client.request("GET", "/", {}, null, options);
  } catch (error) {
    // The requests of the command will report any other error.
    if (exitCodeOf(error) === REFUSED) await pause(Infinity, signal, timeoutSignal);
  }
}
