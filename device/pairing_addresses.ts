import {
  type Address,
  checkAddress,
  type HostAddress,
  parseHost,
  type ScopedAddress,
  type Socket,
} from "../base.ts";
import { formatCheckedAddress } from "../base/address.ts";
import { notAllowedError } from "../internal/checks.ts";
import { checkAddresses, copyWithPort, isLinkLocal, isUnixAddress } from "./addresses.ts";
import type { DeviceServices } from "./device_services.ts";
import { MAX_ADDRESSES } from "./invitation_line.ts";

export interface AddressFinder {
  findAddresses(): Promise<HostAddress[]>;
  /** Logs a warning if the last call found no address, unless the `serving` option is empty. */
  warnIfNoneFound(peerName: string): void;
}

export function makeAddressFinder(
  { servingRecords, logger }: Pick<DeviceServices, "servingRecords" | "logger">,
  serving: readonly Address[] | undefined,
): AddressFinder {
  if (serving !== undefined) {
    const addresses = checkAddresses("serving", serving, (address) => {
      const checkedAddress = checkAddress(address, "client");
      if (
        isWildcard(checkedAddress) || isReachableHost(formatCanonicalHost(checkedAddress) ?? "")
      ) {
        return checkedAddress;
      }
      throw notAllowedError(
        "address",
        "must be an IP address or a DNS name with a port, at which another machine can reach this " +
          `machine; got ${formatCheckedAddress(checkedAddress)}`,
      );
    });
    if (addresses.length > MAX_ADDRESSES) {
      throw notAllowedError(
        "serving",
        `must be at most ${MAX_ADDRESSES} addresses; got ${addresses.length}`,
      );
    }
    const selectedAddresses = selectAddressesToSend(addresses);
    return { findAddresses: () => Promise.resolve(selectedAddresses), warnIfNoneFound: () => {} };
  }
  let hasFoundNone = false;
  const findAddresses = async () => {
    const addresses = await servingRecords.listAddresses();
    try {
      const selectedAddresses = selectAddressesToSend(addresses);
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
export function selectAddressesToSend(addresses: readonly Address[]): HostAddress[] {
  const addressesByText = new Map<string, HostAddress>();
  for (const address of replaceWildcards(addresses)) {
    const host = formatCanonicalHost(address);
    if (host === null || !isReachableHost(host) || addressesByText.size === MAX_ADDRESSES) continue;
    const port = Number(address[1]);
    addressesByText.set(`${host} ${port}`, [host, port]);
  }
  return [...addressesByText.values()];
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

function isLoopback(host: string): boolean {
  return parseHost(host)?.reach === "loopback";
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
 * Lists the addresses of this machine that a peer can use, with the port 0. Loopback addresses are
 * listed only if there are no other addresses. The most useful addresses are first. The best
 * address of each interface precedes the second address of any interface, so that the first few
 * addresses are a good choice. Needs `--allow-sys=networkInterfaces`.
 */
export function listOwnAddresses(): (HostAddress | ScopedAddress)[] {
  const interfaces = Deno.networkInterfaces();
  const externalInterfaces = interfaces.filter(({ address }) => !isLoopback(address));
  const usableInterfaces = externalInterfaces.length > 0 ? externalInterfaces : interfaces;
  const entriesByInterface = Map.groupBy(usableInterfaces, ({ name }) => name);
  const rankedEntries = [...entriesByInterface.values()].flatMap((entries) =>
    entries
      .map((entry) => ({ entry, kind: ADDRESS_KINDS.findIndex((isOfKind) => isOfKind(entry)) }))
      .sort((a, b) => a.kind - b.kind)
      .map(({ entry, kind }, rank) => ({ entry, kind, rank }))
  );
  rankedEntries.sort((a, b) => a.rank - b.rank || a.kind - b.kind);
  return rankedEntries.map(({ entry: { address, scopeid } }) =>
    isLinkLocal(address) ? [address, 0, 0, scopeid ?? 0] : [address, 0]
  );
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
