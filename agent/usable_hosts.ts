/** The rule of security for announced addresses: to which of them this device connects. */

import { type ParsedHost, parseHost } from "@degu/degu/base";

type NetworkAddress = Pick<Deno.NetworkInterfaceInfo, "address" | "netmask">;

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
  interfaceAddresses: readonly NetworkAddress[],
): boolean {
  if (bytes === null || zone !== null || reach === "loopback") return false;
  if (SPECIAL_ADDRESSES.test(text) || METADATA_ADDRESSES.includes(text)) return false;
  const [firstByte = 0] = bytes;
  if (type === "IPv4" && (firstByte === 0 || firstByte >= 224)) return false;
  return LOCAL_NETWORKS.test(text) || isInNetworks(text, interfaceAddresses);
}

/** Returns true if a host is in one of these networks. Ignores networks with a mask of zero. */
export function isInNetworks(host: string, networkAddresses: readonly NetworkAddress[]): boolean {
  const bytes = parseAddressBytes(host);
  return networkAddresses.some(({ address, netmask }) => {
    const [network, mask] = [parseAddressBytes(address), parseAddressBytes(netmask)];
    return mask.some((byte) => byte > 0) && mask.length === bytes.length &&
      network.length === bytes.length && mask.every((bits, index) =>
        (bytes[index]! & bits) === (network[index]! & bits)
      );
  });
}

function parseAddressBytes(address: string): Uint8Array {
  return parseHost(address)?.bytes ?? new Uint8Array();
}
