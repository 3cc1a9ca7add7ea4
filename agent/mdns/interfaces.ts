/**
 * The interfaces of this machine on which mDNS is spoken.
 *
 * @module
 */

import type { SocketType } from "node:dgram";
import { isLinkLocal, isLoopback } from "../../base/address_rules.ts";

/** An address of an interface, as the system lists them: the fields that are used here. */
export type InterfaceAddress = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask" | "scopeid"
>;

/** An interface, with one of the two protocols. */
export interface Interface {
  /** Changes when the interface or an address of it does. */
  readonly key: string;
  /** The protocol, as sockets call it. */
  readonly type: SocketType;
  /** The name of the interface. */
  readonly name: string;
  /** The number of the interface; 0 with IPv4. */
  readonly scope: number;
  /** What the socket is bound to: the group itself, so that nothing sent to this machine alone is received. */
  readonly bind: string;
  /** What the library calls the interface. */
  readonly libraryName: string;
  /** All addresses of the interface, of both protocols. */
  readonly addresses: readonly InterfaceAddress[];
  /** Whether a packet from this address can have come over this interface. */
  accept(host: string): boolean;
}

/** The groups of mDNS (RFC 6762 §3). */
export const GROUPS = { udp4: "224.0.0.251", udp6: "ff02::fb" } as const;

/** The interfaces for mDNS: all but the loopback interface, which is used only if there is no other. */
export function interfacesOf(addresses: readonly InterfaceAddress[]): Interface[] {
  const all = [...Map.groupBy(addresses, ({ name }) => name)];
  const outward = all.filter(([, own]) => !own.some(({ address }) => isLoopback(address)));
  return (outward.length > 0 ? outward : all).flatMap(([name, own]) =>
    [interfaceWithIPv4(name, own), interfaceWithIPv6(name, own)].filter((each) => each !== null)
  );
}

function interfaceWithIPv4(name: string, addresses: readonly InterfaceAddress[]): Interface | null {
  const own = addresses.filter(({ family }) => family === "IPv4");
  const [first] = own;
  if (first === undefined) return null;
  return {
    key: keyOf("udp4", name, 0, addresses),
    type: "udp4",
    name,
    scope: 0,
    bind: GROUPS.udp4,
    libraryName: first.address,
    addresses,
    // A socket also gets what arrives at another interface, where another socket has joined the group.
    accept: (host) => own.some(({ address, netmask }) => isInNetwork(host, address, netmask)),
  };
}

function interfaceWithIPv6(name: string, addresses: readonly InterfaceAddress[]): Interface | null {
  const linkLocal = addresses.find(({ address, scopeid }) => isLinkLocal(address) && scopeid);
  if (linkLocal === undefined) return null;
  const scope = linkLocal.scopeid!;
  return {
    key: keyOf("udp6", name, scope, addresses),
    type: "udp6",
    name,
    scope,
    bind: `${GROUPS.udp6}%${name}`,
    libraryName: `::%${name}`,
    addresses,
    // A socket that is bound to a group of a link gets what arrives at this link alone.
    accept: () => true,
  };
}

function keyOf(
  type: string,
  name: string,
  scope: number,
  addresses: readonly InterfaceAddress[],
): string {
  return [type, name, scope, ...addresses.map(({ address }) => address)].join(" ");
}

function isInNetwork(host: string, own: string, mask: string): boolean {
  const [a, b, bits] = [numberOf(host), numberOf(own), numberOf(mask)];
  return (a & bits) === (b & bits);
}

function numberOf(ipv4: string): number {
  return ipv4.split(".").reduce((number, part) => number << 8 | Number(part), 0);
}
