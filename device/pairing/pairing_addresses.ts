import { isLoopback } from "../../base/host.ts";
import {
  type Address,
  checkAddress,
  type HostAddress,
  parseHost,
  type ScopedAddress,
  type Socket,
} from "../../base.ts";
import { formatCheckedAddress, isLinkLocal, isUnixAddress } from "../../base/address.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { checkAddresses, copyWithPort } from "../peers/addresses.ts";
import type { DeviceServices } from "../peers/device_services.ts";
import { MAX_ADDRESSES } from "./invitation_line.ts";

export interface AddressFinder {
  findAddresses(): Promise<HostAddress[]>;
  /** Logs a warning if the last call found no address, unless the `serving` option is empty. */
  warnIfNoneFound(peerName: string): void;
}

export function makeAddressFinder(
  { servingRecords, logger }: Pick<DeviceServices, "servingRecords" | "logger">,
  serving: readonly Address[] | (() => Promise<readonly Address[] | undefined>) | undefined,
): AddressFinder {
  const select = (addresses: readonly Address[]) =>
    selectAddressesToSend(addresses, (message) => logger.warn(message));
  if (serving !== undefined && typeof serving !== "function") {
    const selectedAddresses = select(checkServingAddresses(serving));
    return { findAddresses: () => Promise.resolve(selectedAddresses), warnIfNoneFound: () => {} };
  }
  let hasFoundNone = false;
  const findAddresses = async () => {
    const chosenAddresses = await serving?.();
    hasFoundNone = false;
    if (chosenAddresses !== undefined) return select(checkServingAddresses(chosenAddresses));
    const addresses = await servingRecords.listAddresses();
    try {
      const selectedAddresses = select(addresses);
      hasFoundNone = selectedAddresses.length === 0;
      return selectedAddresses;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      logger.warn(
        "pairing: a server listens on a wildcard address, which can't be resolved without " +
          "--allow-sys=networkInterfaces, so its addresses were not sent: set `serving` to its addresses",
      );
      return selectAddressesToSend(addresses.filter((address) => !isWildcard(address)));
    }
  };
  return {
    findAddresses,
    warnIfNoneFound(peerName) {
      if (!hasFoundNone) return;
      logger.warn(
        `pairing: ${peerName} got no address of this device, because no server of this device listens where ` +
          "other machines can connect: serve before the pairing, or set `serving`; [] if this device never serves",
      );
    },
  };
}

function checkServingAddresses(serving: readonly Address[]): readonly Address[] {
  const addresses = checkAddresses("serving", serving, (address) => {
    const checkedAddress = checkAddress(address, "client");
    if (isWildcard(checkedAddress) || isReachableHost(formatCanonicalHost(checkedAddress) ?? "")) {
      return checkedAddress;
    }
    throw notAllowedError(
      "address",
      "must be an IP address or a DNS name with a port, at which another machine can reach this " +
        `machine; got ${formatCheckedAddress(checkedAddress)}`,
    );
  });
  if (addresses.length <= MAX_ADDRESSES) return addresses;
  throw notAllowedError(
    "serving",
    `must be at most ${MAX_ADDRESSES} addresses; got ${addresses.length}`,
  );
}

export function checkListenAddresses(
  listen: readonly Address[],
): readonly (HostAddress | ScopedAddress)[] {
  const addresses = checkAddresses("listen", listen, (address) => {
    const checkedAddress = checkAddress(address, "server");
    if (isUnixAddress(checkedAddress)) {
      throw notAllowedError("address", "must be an IP address with a port; got a Unix socket");
    }
    if (checkedAddress[1] < 65535) return checkedAddress;
    throw notAllowedError(
      "address[1]",
      "must be below 65535, because the next port is also used; got 65535",
    );
  });
  if (addresses.length > 0 && addresses.length <= MAX_ADDRESSES) return addresses;
  throw notAllowedError(
    "listen",
    `must be 1 to ${MAX_ADDRESSES} addresses; got ${addresses.length}; omit it for every address of ` +
      "this machine",
  );
}

/** Link-local addresses lose their scope, which is valid only on this machine. */
export function selectAddressesToSend(
  addresses: readonly Address[],
  onOmission: (message: string) => void = () => {},
): HostAddress[] {
  const addressesByText = new Map<string, HostAddress>();
  for (const address of replaceWildcards(addresses)) {
    const host = formatCanonicalHost(address);
    if (host === null || !isReachableHost(host)) continue;
    const port = Number(address[1]);
    addressesByText.set(`${host} ${port}`, [host, port]);
  }
  const allAddresses = [...addressesByText.values()];
  const omittedAddresses = allAddresses.slice(MAX_ADDRESSES);
  if (omittedAddresses.length > 0) onOmission(formatOmission(omittedAddresses, "serving"));
  return allAddresses.slice(0, MAX_ADDRESSES);
}

export function readAddresses(value: unknown): HostAddress[] {
  if (!Array.isArray(value)) throw new RangeError("its addresses are not a list");
  if (value.length > MAX_ADDRESSES) {
    throw new RangeError(`it has ${value.length} addresses; at most ${MAX_ADDRESSES} are allowed`);
  }
  return value.map((item) => {
    const [host, port] = Array.isArray(item) && item.length === 2 ? item : [];
    const isPort = Number.isInteger(port) && port >= 1 && port <= 65535;
    if (typeof host === "string" && isPort && isReachableHost(host)) return [host, port];
    throw new RangeError("one of its addresses is not an IP address or a DNS name with a port");
  });
}

function formatCanonicalHost(address: Address): string | null {
  if (isUnixAddress(address)) return null;
  const [host] = address;
  const parsedHost = parseHost(host);
  return parsedHost === null || parsedHost.type === "name" ? host : parsedHost.text;
}

function isReachableHost(host: string): boolean {
  const parsedHost = parseHost(host);
  if (parsedHost === null) return false;
  // The name `unix` is refused: addresses are stored as text, where `unix:` begins the path of a
  // socket.
  if (parsedHost.type === "name") return !/\.$|^unix$/.test(host);
  const isMulticast = /^(?:22[4-9]|23\d|24\d|25\d)\.|^ff[0-9a-f]{2}:/.test(host);
  return parsedHost.text === host && !isMulticast && !WILDCARDS.includes(host);
}

/**
 * Selects the addresses of another device to store. Link-local addresses get the scope of the
 * interface that the pairing used. This scope is in `usedAddress`, or is found with
 * `--allow-sys=networkInterfaces`. Omits link-local addresses without a scope and, unless the other
 * device is on this machine, loopback addresses.
 */
export function selectAddressesToStore(
  receivedAddresses: readonly HostAddress[],
  usedAddress: Address | null,
  { localAddr, remoteAddr }: Socket,
): Address[] {
  const [localHost, remoteHost] = [localAddr, remoteAddr].map((address) =>
    (address as Deno.NetAddr | undefined)?.hostname
  );
  const isSameMachine = localHost !== undefined &&
    (localHost === remoteHost || isLoopback(localHost));
  const addresses = receivedAddresses.filter(([host]) => isSameMachine || !isLoopback(host));
  if (!addresses.some(([host]) => isLinkLocal(host))) return addresses;
  const scope = parseScope(usedAddress) ?? (localHost === undefined ? null : findScope(localHost));
  return addresses.flatMap(([host, port]): Address[] => {
    if (!isLinkLocal(host)) return [[host, port]];
    return scope === null ? [] : [[host, port, 0, scope]];
  });
}

function parseScope(address: Address | null): number | null {
  if (address === null || isUnixAddress(address)) return null;
  const [host, , , scope = 0] = address;
  if (scope !== 0) return scope;
  const zone = parseHost(host)?.zone ?? "";
  return /^[1-9]\d*$/.test(zone) ? Number(zone) : null;
}

function findScope(host: string): number | null {
  let interfaces: Deno.NetworkInterfaceInfo[];
  try {
    interfaces = Deno.networkInterfaces();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return null;
    throw error;
  }
  // A dual-stack socket has IPv4 addresses in an IPv6 form (RFC 4291 §2.5.5.2).
  const text = parseHost(host.replace(/^::ffff:(?=[0-9.]+$)/i, ""))?.text;
  const matchingInterfaces = interfaces.filter(({ address }) => parseHost(address)?.text === text);
  const names = new Set(matchingInterfaces.map(({ name }) => name));
  if (names.size !== 1) return null;
  const [scope = null] = listLinkLocalScopes(interfaces.filter(({ name }) => names.has(name)));
  return scope;
}

/** The kinds of addresses, the most useful to a peer first. */
const ADDRESS_KINDS: readonly ((entry: Deno.NetworkInterfaceInfo) => boolean)[] = [
  ({ family, address }) => family === "IPv4" && parseHost(address)?.reach !== "link",
  ({ family, address }) => family === "IPv6" && !isLinkLocal(address),
  ({ family }) => family === "IPv6",
  () => true,
];

/**
 * The names of interfaces of containers, virtual machines and tunnels, which other machines seldom
 * reach.
 */
const VIRTUAL_INTERFACES =
  /^(?:br-|docker|podman|lxc|lxd|incus|cni|flannel|cali|cilium|kube|nerdctl|veth|vEthernet|virbr|vnet|vmnet|vbox|tap|tun|utun|wg|tailscale|zt|nebula|ppp|ipsec|gre|sit|ip6tnl|vti|vxlan|geneve|dummy|ifb|awdl|llw|bridge\d)/i;
/** The names of network cards. Other names, such as `br0` and `bond0`, can be of a real network. */
const NETWORK_CARDS = /^(?:e[nt]|wl|ww|usb|Ethernet|LAN|Wi-?Fi)/i;
/**
 * The number of addresses of an interface that precede the first address of a less likely class of
 * interfaces.
 */
const ADDRESSES_BEFORE_NEXT_CLASS = 2;

function rankInterface(name: string): number {
  if (VIRTUAL_INTERFACES.test(name)) return 2;
  return NETWORK_CARDS.test(name) ? 0 : 1;
}

/**
 * Lists the addresses of this machine that a peer can use, with the port 0. Loopback addresses are
 * listed only if there are no other addresses. The addresses that another machine can most likely
 * reach are first: those of network cards, and one of each network before a second one of any, so
 * that the first few addresses are a good choice. Needs `--allow-sys=networkInterfaces`.
 */
export function listOwnAddresses(): (HostAddress | ScopedAddress)[] {
  const interfaces = Deno.networkInterfaces();
  const externalInterfaces = interfaces.filter(({ address }) => !isLoopback(address));
  const usableInterfaces = externalInterfaces.length > 0 ? externalInterfaces : interfaces;
  const entriesByInterface = Map.groupBy(usableInterfaces, ({ name }) => name);
  const rankedEntries = [...entriesByInterface].flatMap(([name, entries]) => {
    const interfaceRank = rankInterface(name);
    return sortByNetwork(entries).map(({ entry, kind }, index) => {
      return {
        entry,
        kind,
        interfaceRank,
        rank: index + ADDRESSES_BEFORE_NEXT_CLASS * interfaceRank,
      };
    });
  });
  rankedEntries.sort((a, b) =>
    a.rank - b.rank || a.interfaceRank - b.interfaceRank || a.kind - b.kind
  );
  return rankedEntries.map(({ entry: { address, scopeid } }) =>
    isLinkLocal(address) ? [address, 0, 0, scopeid ?? 0] : [address, 0]
  );
}

/** Sorts the addresses of an interface: the best of each of its networks comes first. */
function sortByNetwork(entries: readonly Deno.NetworkInterfaceInfo[]) {
  const countsByNetwork = new Map<string, number>();
  return entries
    .map((entry) => ({ entry, kind: ADDRESS_KINDS.findIndex((isOfKind) => isOfKind(entry)) }))
    .sort((a, b) => a.kind - b.kind)
    .map((item) => {
      const network = findNetwork(item.entry);
      const count = countsByNetwork.get(network) ?? 0;
      countsByNetwork.set(network, count + 1);
      return { ...item, count };
    })
    .sort((a, b) => a.count - b.count);
}

/** Returns a text that the addresses of a network have in common. */
function findNetwork({ address, netmask }: Deno.NetworkInterfaceInfo): string {
  const mask = parseHost(netmask)?.bytes ?? [];
  const bytes = parseHost(address)?.bytes ?? [];
  return bytes.length === mask.length && bytes.length > 0
    ? Array.from(bytes, (byte, index) => byte & mask[index]!).join(".")
    : address;
}

/** Reports that a list of addresses doesn't have all addresses of this machine. */
export function formatOmission(addresses: readonly Address[], option: string): string {
  const texts = addresses.map(formatCheckedAddress).map((text) => text.replace(/:0$/, ""));
  return `pairing: ${texts.length} addresses of this machine are left out: ${texts.join(", ")}; ` +
    `if another machine reaches this one only there, set the option ${option}`;
}

export function replaceWildcards(addresses: readonly Address[]): Address[] {
  return addresses.flatMap((address) => {
    if (!isWildcard(address)) return [address];
    const [host, port] = address as HostAddress;
    // `::` also accepts IPv4.
    const reachableAddresses = listOwnAddresses().filter(([ownHost]) =>
      isIPv6(host) || !isIPv6(ownHost)
    );
    return reachableAddresses.map((ownAddress) => copyWithPort(ownAddress, port));
  });
}

function isIPv6(host: string): boolean {
  return parseHost(host)?.type === "IPv6";
}

const WILDCARDS = ["0.0.0.0", "::"];

function isWildcard(address: Address): boolean {
  return !isUnixAddress(address) &&
    WILDCARDS.includes(parseHost(address[0])?.text ?? "");
}

export function listLinkLocalScopes(
  interfaces: readonly Deno.NetworkInterfaceInfo[] = Deno.networkInterfaces(),
): number[] {
  const scopes = interfaces.flatMap(({ address, scopeid }) =>
    isLinkLocal(address) && scopeid ? [scopeid] : []
  );
  return [...new Set(scopes)];
}
