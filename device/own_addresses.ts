/**
 * The addresses of this machine.
 *
 * @module
 */

import {
  type Address,
  canonicalIPAddress,
  isIPv4LinkLocal,
  isIPv6,
  isLinkLocal,
  isLoopback,
  isUnixAddress,
  withoutZone,
} from "../base/address_rules.ts";
import { withoutMapping } from "../net/addresses.ts";

/** The fields of an interface that are used here. */
export type Interface = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "scopeid"
>;

/** Lists the interfaces; needs `--allow-sys=networkInterfaces`. */
export type FindInterfaces = () => readonly Interface[];

/** The kinds of addresses, the most useful to a peer first. */
const KINDS: readonly ((own: Interface) => boolean)[] = [
  ({ family, address }) => family === "IPv4" && !isIPv4LinkLocal(address),
  ({ family, address }) => family === "IPv6" && !isLinkLocal(address),
  ({ family }) => family === "IPv6",
  () => true,
];

/**
 * The addresses of this machine that a peer can use, with the port 0: the loopback ones only if there are no
 * others. The most useful are first, and one of each interface is before the second of any, so that the
 * first few are a good choice. Needs `--allow-sys=networkInterfaces`.
 */
export function ownAddresses(
  interfaces: readonly Interface[] = Deno.networkInterfaces(),
): Address[] {
  const outward = interfaces.filter(({ address }) => !isLoopback(address));
  const usable = outward.length > 0 ? outward : interfaces;
  const ranked = [...Map.groupBy(usable, ({ name }) => name).values()].flatMap(rankWithin);
  ranked.sort((a, b) => a.rank - b.rank || a.kind - b.kind);
  return ranked.map(({ own }) => addressOf(own));
}

/** Ranks the addresses of one interface: the first of each kind by its use, then the second of each. */
function rankWithin(
  addresses: readonly Interface[],
): { own: Interface; kind: number; rank: number }[] {
  const byKind = Map.groupBy(addresses, kindOf);
  const sorted = addresses.map((own) => {
    const kind = kindOf(own);
    return { own, kind, nth: byKind.get(kind)!.indexOf(own) };
  }).sort((a, b) => a.nth - b.nth || a.kind - b.kind);
  return sorted.map(({ own, kind }, rank) => ({ own, kind, rank }));
}

/**
 * Replaces wildcards, `0.0.0.0` and `::`, with the addresses of this machine and the same port. Needs
 * `--allow-sys=networkInterfaces` if there is a wildcard.
 */
export function withoutWildcards(
  addresses: readonly Address[],
  findInterfaces: FindInterfaces = Deno.networkInterfaces,
): Address[] {
  return addresses.flatMap((address) => {
    if (!isWildcard(address)) return [address];
    const [host, port] = address as Exclude<Address, string | Uint8Array>;
    const all = ownAddresses(findInterfaces()) as Exclude<Address, string | Uint8Array>[];
    // `::` accepts IPv4, too.
    const reached = all.filter(([own]) => isIPv6(host) || !isIPv6(own));
    return reached.map(([own, , ...scope]) => [own, port, ...scope] as unknown as Address);
  });
}

/** True for `0.0.0.0` and `::`. */
export function isWildcard(address: Address): boolean {
  if (isUnixAddress(address)) return false;
  const canonical = canonicalIPAddress(withoutZone(address[0]));
  return canonical === "0.0.0.0" || canonical === "::";
}

/**
 * The numbers of the interfaces with a link-local IPv6 address, on which link-local peers can be. Needs
 * `--allow-sys=networkInterfaces`.
 */
export function linkLocalScopes(
  interfaces: readonly Interface[] = Deno.networkInterfaces(),
): number[] {
  const scopes = interfaces.flatMap(({ address, scopeid }) =>
    isLinkLocal(address) && scopeid ? [scopeid] : []
  );
  return [...new Set(scopes)];
}

/**
 * The number of the interface with this address; `null` if no interface has it, several have it, or the
 * interface has no link-local address. Needs `--allow-sys=networkInterfaces`.
 *
 * @param host The local IP address of a connection.
 */
export function scopeOfOwn(
  host: string,
  interfaces: readonly Interface[] = Deno.networkInterfaces(),
): number | null {
  const wanted = canonicalIPAddress(withoutZone(withoutMapping(host)));
  const names = interfaces
    .filter(({ address }) => canonicalIPAddress(address) === wanted)
    .map(({ name }) => name);
  const [name, ...others] = new Set(names);
  if (name === undefined || others.length > 0) return null;
  const [scope = null] = linkLocalScopes(interfaces.filter((each) => each.name === name));
  return scope;
}

function kindOf(own: Interface): number {
  return KINDS.findIndex((isOfKind) => isOfKind(own));
}

function addressOf({ address, scopeid }: Interface): Address {
  return isLinkLocal(address) ? [address, 0, 0, scopeid ?? 0] : [address, 0];
}
