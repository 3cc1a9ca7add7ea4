/**
 * The interfaces of this machine on which mDNS is spoken.
 *
 * @module
 */

import { isLinkLocal, isLoopback } from "../../base/address_rules.ts";

/** The fields of an interface that are used here. */
export type Interface = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask" | "scopeid"
>;

/** An interface, with one of the two protocols. */
export interface Place {
  /** Changes when the interface or an address of it does. */
  readonly key: string;
  readonly type: "udp4" | "udp6";
  /** The name of the interface. */
  readonly name: string;
  /** The number of the interface; 0 with IPv4. */
  readonly scope: number;
  /** What the socket is bound to: the group itself, so that nothing sent to this machine alone is received. */
  readonly bind: string;
  /** What the library calls the interface. */
  readonly interface: string;
  /** All addresses of the interface, of both protocols. */
  readonly addresses: readonly Interface[];
  /** Whether a packet from this address can have come over this interface. */
  accept(host: string): boolean;
}

/** The groups of mDNS (RFC 6762 §3). */
export const GROUPS = { udp4: "224.0.0.251", udp6: "ff02::fb" } as const;

/** The interfaces for mDNS: all but the loopback interface, which is used only if there is no other. */
export function findPlaces(interfaces: readonly Interface[]): Place[] {
  const all = [...Map.groupBy(interfaces, ({ name }) => name)];
  const outward = all.filter(([, own]) => !own.some(({ address }) => isLoopback(address)));
  return (outward.length > 0 ? outward : all).flatMap(([name, own]) =>
    [placeOfIPv4(name, own), placeOfIPv6(name, own)].filter((place) => place !== null)
  );
}

function placeOfIPv4(name: string, addresses: readonly Interface[]): Place | null {
  const own = addresses.filter(({ family }) => family === "IPv4");
  const [first] = own;
  if (first === undefined) return null;
  return {
    key: keyOf("udp4", name, 0, addresses),
    type: "udp4",
    name,
    scope: 0,
    bind: GROUPS.udp4,
    interface: first.address,
    addresses,
    // A socket also gets what arrives at another interface, where another socket has joined the group.
    accept: (host) => own.some(({ address, netmask }) => isInNetwork(host, address, netmask)),
  };
}

function placeOfIPv6(name: string, addresses: readonly Interface[]): Place | null {
  const linkLocal = addresses.find(({ address, scopeid }) => isLinkLocal(address) && scopeid);
  if (linkLocal === undefined) return null;
  const scope = linkLocal.scopeid!;
  return {
    key: keyOf("udp6", name, scope, addresses),
    type: "udp6",
    name,
    scope,
    bind: `${GROUPS.udp6}%${name}`,
    interface: `::%${name}`,
    addresses,
    // A socket that is bound to a group of a link gets what arrives at this link alone.
    accept: () => true,
  };
}

function keyOf(type: string, name: string, scope: number, addresses: readonly Interface[]): string {
  return [type, name, scope, ...addresses.map(({ address }) => address)].join(" ");
}

function isInNetwork(host: string, own: string, mask: string): boolean {
  const [a, b, bits] = [numberOf(host), numberOf(own), numberOf(mask)];
  return (a & bits) === (b & bits);
}

function numberOf(ipv4: string): number {
  return ipv4.split(".").reduce((number, part) => number << 8 | Number(part), 0);
}
