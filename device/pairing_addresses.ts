/** The addresses that two devices exchange: where each can be reached once they are paired. */

import {
  type Address,
  checkAddress,
  type HostAddress,
  parseHost,
  type ScopedAddress,
  type Socket,
} from "../base.ts";
import { addressText, isLinkLocal, isUnixAddress, withPort } from "../base/address.ts";
import { notAllowedError } from "../internal/checks.ts";
import { checkAddresses, withoutMapping } from "../net/addresses.ts";
import type { DeviceServices } from "./device_services.ts";
import { MAX_ADDRESSES } from "./invitation_line.ts";

/**
 * Returns a function that finds the addresses to send: those of the `serving` option, or those at
 * which servers of the device listen when it is called.
 */
export function addressFinder(
  { serving: records, logger }: Pick<DeviceServices, "serving" | "logger">,
  serving: readonly Address[] | undefined,
): () => Promise<HostAddress[]> {
  if (serving !== undefined) {
    const given = checkAddresses("serving", serving, (address) => {
      const checked = checkAddress(address, "client");
      if (isWildcard(checked) || isHost(hostAsSent(checked) ?? "")) return checked;
      throw notAllowedError(
        "address",
        "must be an IP address or a DNS name with a port, at which another machine can reach this " +
          `one; got ${addressText(checked)}`,
      );
    });
    if (given.length > MAX_ADDRESSES) {
      throw notAllowedError(
        "serving",
        `must be at most ${MAX_ADDRESSES} addresses; got ${given.length}`,
      );
    }
    const sent = addressesToSend(given);
    return () => Promise.resolve(sent);
  }
  return async () => {
    const addresses = await records.addresses();
    try {
      return addressesToSend(addresses);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      logger.warn(
        "pairing: a server listens on a wildcard address, which can't be resolved without " +
          "--allow-sys=networkInterfaces, so it was not sent: set `serving` to its addresses",
      );
      return addressesToSend(addresses.filter((address) => !isWildcard(address)));
    }
  };
}

export function checkListen(listen: readonly Address[]): readonly (HostAddress | ScopedAddress)[] {
  const checked = checkAddresses("listen", listen, (address) => {
    const checked = checkAddress(address, "server");
    if (isUnixAddress(checked)) {
      throw notAllowedError("address", "must be an IP address with a port; got a Unix socket");
    }
    if (checked[1] < 65535) return checked;
    throw notAllowedError(
      "address[1]",
      "must be below 65535, since the next port is used, too; got 65535",
    );
  });
  if (checked.length > 0 && checked.length <= MAX_ADDRESSES) return checked;
  throw notAllowedError(
    "listen",
    `must be 1 to ${MAX_ADDRESSES} addresses; got ${checked.length}; omit it for every address of ` +
      "this machine",
  );
}

/**
 * The addresses as they are sent: only those that another machine can use, link-local ones without
 * their scope, which has a meaning on this machine only. Needs `--allow-sys=networkInterfaces` for
 * wildcards.
 */
export function addressesToSend(addresses: readonly Address[]): HostAddress[] {
  const sent = new Map<string, HostAddress>();
  for (const address of withoutWildcards(addresses)) {
    const host = hostAsSent(address);
    if (host === null || !isHost(host) || sent.size === MAX_ADDRESSES) continue;
    const port = Number(address[1]);
    sent.set(`${host} ${port}`, [host, port]);
  }
  return [...sent.values()];
}

/**
 * Reads the addresses that another device sent.
 *
 * @throws {RangeError} unless it is a list of at most 6 IP addresses or DNS names, each with a
 * port.
 */
export function readAddresses(value: unknown): HostAddress[] {
  if (!Array.isArray(value)) throw new RangeError("its addresses are not a list");
  if (value.length > MAX_ADDRESSES) {
    throw new RangeError(`it has ${value.length} addresses; at most ${MAX_ADDRESSES} are allowed`);
  }
  return value.map((item) => {
    const [host, port] = Array.isArray(item) && item.length === 2 ? item : [];
    const isPort = Number.isInteger(port) && port >= 1 && port <= 65535;
    if (typeof host === "string" && isPort && isHost(host)) return [host, port];
    throw new RangeError("one of its addresses is not an IP address or a DNS name with a port");
  });
}

/** The host of an address in the one form that is sent; `null` for a Unix socket. */
function hostAsSent(address: Address): string | null {
  if (isUnixAddress(address)) return null;
  const [host] = address;
  const parsed = parseHost(host);
  return parsed === null || parsed.type === "name" ? host : parsed.text;
}

/**
 * True for a DNS name, or the canonical form of an IP address that is neither multicast nor a
 * wildcard.
 */
function isHost(host: string): boolean {
  const parsed = parseHost(host);
  if (parsed === null) return false;
  // The name `unix` is refused: addresses are stored as text, where `unix:` begins the path of a
  // socket.
  if (parsed.type === "name") return !/\.$|^unix$/.test(host);
  const isMulticast = /^(?:22[4-9]|23\d|24\d|25\d)\.|^ff[0-9a-f]{2}:/.test(host);
  return parsed.text === host && !isMulticast && !WILDCARDS.includes(host);
}

/**
 * The addresses of another device as they are stored: link-local ones with the scope of the
 * interface that the pairing used. The scope is in `remote`, or is looked for with
 * `--allow-sys=networkInterfaces`. What can't be used is left out: link-local addresses without a
 * scope, and those that mean this machine here, unless the other device is on this machine.
 */
export function addressesToStore(
  given: readonly HostAddress[],
  remote: Address | null,
  { localAddr, remoteAddr }: Socket,
): Address[] {
  const [hostname, other] = [localAddr, remoteAddr].map((each) =>
    (each as Deno.NetAddr | undefined)?.hostname
  );
  const isHere = hostname !== undefined &&
    (hostname === other || isThisMachine(hostname));
  const addresses = given.filter(([host]) => isHere || !isThisMachine(host));
  if (!addresses.some(([host]) => isLinkLocal(host))) return addresses;
  const scope = scopeOf(remote) ?? (hostname === undefined ? null : scopeOfOwn(hostname));
  return addresses.flatMap(([host, port]): Address[] => {
    if (!isLinkLocal(host)) return [[host, port]];
    return scope === null ? [] : [[host, port, 0, scope]];
  });
}

/** Whether a host means whatever machine connects to it. */
function isThisMachine(host: string): boolean {
  return parseHost(host)?.reach === "loopback";
}

function scopeOf(address: Address | null): number | null {
  if (address === null || isUnixAddress(address)) return null;
  const [host, , , scope = 0] = address;
  if (scope !== 0) return scope;
  const zone = parseHost(host)?.zone ?? "";
  return /^[1-9]\d*$/.test(zone) ? Number(zone) : null;
}

/**
 * The number of the interface with this address; `null` if no interface has it, several have it,
 * the interface has no link-local address, or they may not be listed.
 */
function scopeOfOwn(host: string): number | null {
  let interfaces: Deno.NetworkInterfaceInfo[];
  try {
    interfaces = Deno.networkInterfaces();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return null;
    throw error;
  }
  const wanted = parseHost(withoutMapping(host))?.text;
  const holders = interfaces.filter(({ address }) => parseHost(address)?.text === wanted);
  const [name, ...others] = new Set(holders.map(({ name }) => name));
  if (name === undefined || others.length > 0) return null;
  const [scope = null] = linkLocalScopes(interfaces.filter((each) => each.name === name));
  return scope;
}

/** The kinds of addresses, the most useful to a peer first. */
const ADDRESS_KINDS: readonly ((own: Deno.NetworkInterfaceInfo) => boolean)[] = [
  ({ family, address }) => family === "IPv4" && parseHost(address)?.reach !== "link",
  ({ family, address }) => family === "IPv6" && !isLinkLocal(address),
  ({ family }) => family === "IPv6",
  () => true,
];

/**
 * The addresses of this machine that a peer can use, with the port 0: the loopback ones only if
 * there are no others. The most useful are first, and one of each interface is before the second of
 * any, so that the first few are a good choice. Needs `--allow-sys=networkInterfaces`.
 */
export function ownAddresses(): (HostAddress | ScopedAddress)[] {
  const interfaces = Deno.networkInterfaces();
  const outward = interfaces.filter(({ address }) => !isThisMachine(address));
  const usable = outward.length > 0 ? outward : interfaces;
  const ranked = [...Map.groupBy(usable, ({ name }) => name).values()].flatMap((ofOne) => {
    return ofOne.map((own) => ({ own, kind: ADDRESS_KINDS.findIndex((isOfKind) => isOfKind(own)) }))
      .sort((a, b) => a.kind - b.kind)
      .map(({ own, kind }, rank) => ({ own, kind, rank }));
  });
  ranked.sort((a, b) => a.rank - b.rank || a.kind - b.kind);
  return ranked.map(({ own: { address, scopeid } }) =>
    isLinkLocal(address) ? [address, 0, 0, scopeid ?? 0] : [address, 0]
  );
}

/**
 * Replaces wildcards, `0.0.0.0` and `::`, with the addresses of this machine and the same port.
 * Needs `--allow-sys=networkInterfaces` if there is a wildcard.
 */
export function withoutWildcards(addresses: readonly Address[]): Address[] {
  return addresses.flatMap((address) => {
    if (!isWildcard(address)) return [address];
    const [host, port] = address as HostAddress;
    // `::` accepts IPv4, too.
    const reached = ownAddresses().filter(([own]) => isIPv6(host) || !isIPv6(own));
    return reached.map((own) => withPort(own, port));
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

/**
 * The numbers of the interfaces with a link-local IPv6 address, on which link-local peers can be.
 * Needs `--allow-sys=networkInterfaces`.
 */
export function linkLocalScopes(
  interfaces: readonly Deno.NetworkInterfaceInfo[] = Deno.networkInterfaces(),
): number[] {
  const scopes = interfaces.flatMap(({ address, scopeid }) =>
    isLinkLocal(address) && scopeid ? [scopeid] : []
  );
  return [...new Set(scopes)];
}
