/** Permissions and interfaces for mDNS, and the rule of security for announced addresses. */

import { type ParsedHost, parseHost } from "../../base.ts";

/** The address at which packets of mDNS over IPv4 are received, and its group (RFC 6762 §3). */
export const ANY_HOST = "0.0.0.0";
const MULTICAST_GROUP = "224.0.0.251";
export const MDNS_PORT = 5353;

function listHosts(port: number): string[] {
  return [`${ANY_HOST}:${port}`, `${MULTICAST_GROUP}:${port}`];
}

/** The hosts that announcements and searches need in `--allow-net`. */
export const DISCOVERY_HOSTS: readonly string[] = listHosts(MDNS_PORT);

const INTERFACES_PERMISSION = { name: "sys", kind: "networkInterfaces" } as const;

function areHostsPermitted(hosts: readonly string[]): boolean {
  return hosts.every((host) =>
    Deno.permissions.querySync({ name: "net", host }).state === "granted"
  );
}

/**
 * Reports whether the program has the permissions to announce and to search. Doesn't prompt for
 * a permission, and doesn't use one.
 *
 * @example
 * ```ts
 * import { DISCOVERY_HOSTS, isDiscoveryPermitted } from "@degu/degu/device/discovery";
 *
 * if (!isDiscoveryPermitted()) {
 *   console.log(`not announced: run again with --allow-net=${DISCOVERY_HOSTS.join(",")}`);
 * }
 * ```
 */
export function isDiscoveryPermitted(): boolean {
  return Deno.permissions.querySync(INTERFACES_PERMISSION).state === "granted" &&
    areHostsPermitted(DISCOVERY_HOSTS);
}

/** The reason why a device can neither be found nor find others. */
export type DiscoveryProblem =
  /** A permission is missing: see {@linkcode isDiscoveryPermitted}. */
  | "not permitted"
  /** This machine has no network but that of the loopback interface. */
  | "no network"
  /** No network of this machine has IPv4, which announcements and searches need. */
  | "only IPv6";

/**
 * Returns the reason why this device can neither be found nor find others; `null` if there is none.
 * Doesn't prompt for a permission. Needs `--allow-sys=networkInterfaces` to know more than
 * `"not permitted"`.
 *
 * @example
 * ```ts
 * import { findDiscoveryProblem } from "@degu/degu/device/discovery";
 *
 * const problem = findDiscoveryProblem();
 * if (problem !== null) console.log(`other devices can't find this device: ${problem}`);
 * ```
 */
export function findDiscoveryProblem(): DiscoveryProblem | null {
  if (!isDiscoveryPermitted()) return "not permitted";
  const isReachable = ({ address }: InterfaceAddress) => parseHost(address)?.reach !== "loopback";
  const interfaces = Deno.networkInterfaces();
  if (!interfaces.some(isReachable)) return "no network";
  return groupByInterface(interfaces).flat().some(isReachable) ? null : "only IPv6";
}

export function checkPermissions(port: number): void {
  if (Deno.permissions.requestSync(INTERFACES_PERMISSION).state !== "granted") {
    throw new Deno.errors.NotCapable(
      "mDNS needs sys access to the interfaces of this machine; run again with " +
        "--allow-sys=networkInterfaces",
    );
  }
  const hosts = listHosts(port);
  // An error of an unpermitted socket would end the process.
  if (areHostsPermitted(hosts)) return;
  throw new Deno.errors.NotCapable(
    `mDNS needs net access to ${hosts.join(" and ")}; run again with --allow-net=${
      hosts.join(",")
    }`,
  );
}

// ───────────────────────── the interfaces that announcements and searches use

export type InterfaceAddress = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask"
>;

/**
 * Skips interfaces without an IPv4 address, and the loopback interface unless it is the only
 * interface.
 */
export function groupByInterface(
  addresses: readonly InterfaceAddress[],
): readonly InterfaceAddress[][] {
  const groups = [...Map.groupBy(addresses, ({ name }) => name).values()]
    .filter((group) => group.some(({ family }) => family === "IPv4"));
  const nonLoopbackGroups = groups.filter((group) =>
    !group.some(({ address }) => parseHost(address)?.reach === "loopback")
  );
  return nonLoopbackGroups.length > 0 ? nonLoopbackGroups : groups;
}

// ───────────────────────── the announced addresses to which this device connects

/** The networks that are private (RFC 1918), unique local (RFC 4193) or link-local (RFC 3927). */
const LOCAL_NETWORKS = /^(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01])|169\.254)\.|^f[cd][0-9a-f]{2}:/;
/** Unusable IPv6 addresses: link-local, multicast, or with an IPv4 address in them. */
const SPECIAL_ADDRESSES = /^(?:::|64:ff9b:|fe[89ab]|ff)/;
/** The addresses of metadata services, from which machines in data centers get their keys. */
const METADATA_ADDRESSES = ["169.254.169.254", "fd00:ec2::254"];

/**
 * Returns true if an address can belong to another machine of the local network. Any machine can
 * claim any address for a device, and this device would connect to it.
 */
export function isUsableHost(
  { type, text, zone, bytes, reach }: ParsedHost,
  networks: readonly InterfaceNetwork[],
): boolean {
  if (bytes === null || zone !== null || reach === "loopback") return false;
  if (SPECIAL_ADDRESSES.test(text) || METADATA_ADDRESSES.includes(text)) return false;
  const [firstByte = 0] = bytes;
  if (type === "IPv4" && (firstByte === 0 || firstByte >= 224)) return false;
  return LOCAL_NETWORKS.test(text) || isInNetworks(bytes, networks);
}

/** The network of an address of an interface. */
export interface InterfaceNetwork {
  readonly address: Uint8Array;
  readonly mask: Uint8Array;
}

/** Ignores networks with a mask of zero. */
export function parseNetworks(
  addresses: readonly Pick<InterfaceAddress, "address" | "netmask">[],
): InterfaceNetwork[] {
  return addresses.map(({ address, netmask }) => {
    return { address: parseAddressBytes(address), mask: parseAddressBytes(netmask) };
  }).filter(({ address, mask }) => mask.length === address.length && mask.some((byte) => byte > 0));
}

export function isInNetworks(
  bytes: Uint8Array,
  networks: readonly InterfaceNetwork[],
): boolean {
  return networks.some(({ address, mask }) =>
    mask.length === bytes.length &&
    mask.every((bits, index) => (bytes[index]! & bits) === (address[index]! & bits))
  );
}

export function parseAddressBytes(address: string): Uint8Array {
  return parseHost(address)?.bytes ?? new Uint8Array();
}
