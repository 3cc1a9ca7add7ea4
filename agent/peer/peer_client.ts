import { type Address, BodyError, parseHost, type Response } from "@degu/degu/base";
import type { Client, ConnectionPool } from "@degu/degu/client";
import { type Device, type DeviceClientOptions, DeviceError, type Peer } from "@degu/degu/device";
import { find, isDiscoveryPermitted } from "@degu/degu/device/discovery";
import { isReachableByOthers } from "../machine/addresses.ts";
import type { Context } from "../machine/context.ts";
import { describeMissingAddress } from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { makeLogger } from "../machine/open_device.ts";
import { PAIR_ADVICE, SHOWN_ID_LENGTH } from "../terminal/output.ts";

/** The time limit for an address. All addresses are tried concurrently. */
export const CONNECT_SECONDS = 5;

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
    ? `this device has no peers: ${PAIR_ADVICE}`
    : `the peers are ${peerNames.join(", ")}`;
  return new Failure(`there is no peer ${JSON.stringify(peerName)}: ${hint}`, "NOT_PAIRED", {
    peer: peerName,
  });
}

export async function openClient(
  context: Context,
  device: Device,
  peer: Peer,
): Promise<Client> {
  context.peer = peer.name;
  const { options: { address, find: mayFind }, signal } = context;
  const options = { connectTimeout: CONNECT_SECONDS, signal };
  if (address !== undefined) {
    const storeOptions = isStorable(address) ? STORE_OPTIONS : {};
    return await device.client(peer, { ...options, ...storeOptions, addresses: [address] });
  }
  if (mayFind !== false && isDiscoveryPermitted()) {
    const logger = makeLogger(context);
    const findOption: DeviceClientOptions["find"] = (...args) => find(...args, { logger });
    return await device.client(peer, { ...options, find: findOption });
  }
  if (peer.addresses.length > 0) return await device.client(peer, options);
  const problem = describeMissingAddress(peer.name, false);
  throw new Failure(problem, "NO_ADDRESS", { peer: peer.name });
}

/** With any `find` option, the library stores the address at which the peer responds. */
const STORE_OPTIONS: Pick<DeviceClientOptions, "find"> = { find: () => Promise.resolve([]) };

/** Returns false for a loopback address, which is often the end of a tunnel, and for a wildcard. */
function isStorable(address: Address): boolean {
  if (!isReachableByOthers(address)) return false;
  return !["0.0.0.0", "::"].includes(parseHost(address[0])?.text ?? "");
}

/** The response of `degu serve` to a request of its root. */
export interface ServerInfo {
  readonly name: string;
  readonly share: boolean;
  readonly inbox: boolean;
  /** The number of days for which removed files are kept. */
  readonly keep?: number | undefined;
}

const MAX_INFO_BYTES = 4096;

export async function requestInfo(
  connection: Pick<ConnectionPool, "get">,
  peer: string,
  signal?: AbortSignal,
): Promise<Omit<ServerInfo, "name">> {
  const response = await connection.get("/", {}, signal && { signal });
  const info = await readJson(response, MAX_INFO_BYTES) as Partial<ServerInfo> | null;
  if (typeof info?.share === "boolean") {
    const keep = Number.isSafeInteger(info.keep) && info.keep! > 0 ? info.keep : undefined;
    return { share: info.share, inbox: info.inbox === true, keep };
  }
  throw new Failure(`the pairing with ${peer} works, but another program than degu serve answers`);
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
