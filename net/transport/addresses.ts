import {
  type Address,
  formatCheckedAddress,
  formatSocketName,
  type HostAddress,
  isLinkLocal,
  isUnixAddress,
  makeTuple,
  removePrefixLength,
  removeZone,
  type ScopedAddress,
  zoneOf,
} from "../../base/address.ts";
import { parseHost } from "../../base/host.ts";

const MAPPED_IPV4 = /^::ffff:([0-9.]+)$/i;
const encoder = new TextEncoder();

export function formatHostHeader(address: Address, defaultPort: number): string | null {
  if (isUnixAddress(address)) return null;
  const [host, port] = address;
  const hostText = host.includes(":") ? `[${removeZone(removePrefixLength(host))}]` : host;
  return port === defaultPort ? hostText : `${hostText}:${port}`;
}

export type Endpoint =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

export function endpointOf(address: Address): Endpoint {
  if (typeof address === "string") return { transport: "unix", path: address };
  if (address instanceof Uint8Array) {
    return {
      transport: "unix",
      path: new TextDecoder("utf-8", { ignoreBOM: true }).decode(address),
    };
  }
  const [scopedHost, port, , scopeid = 0] = address;
  const host = removePrefixLength(scopedHost);
  const hostname = scopeid === 0 ? host : `${removeZone(host)}%${scopeid}`;
  return { transport: "tcp", hostname, port };
}

export function makeBoundAddress(requestedAddress: Address, boundAddr: Deno.Addr): Address {
  if (typeof requestedAddress === "string") return requestedAddress;
  if (requestedAddress instanceof Uint8Array) {
    return encoder.encode((boundAddr as Deno.UnixAddr).path);
  }
  const [host, , flowinfo, scopeid] = requestedAddress;
  return makeTuple(host, (boundAddr as Deno.NetAddr).port, flowinfo, scopeid);
}

/**
 * An IPv6 peer gets a four-tuple if the server's address is a four-tuple; an IPv4 peer gets a pair.
 */
export function makePeerAddress(
  serverAddress: Address,
  remoteAddr: unknown,
): HostAddress | ScopedAddress | null {
  if (isUnixAddress(serverAddress)) return null;
  const { hostname, port } = remoteAddr as Deno.NetAddr;
  const host = hostname.includes(":") ? unmapIPv4(hostname) : hostname;
  // The kernel reports IP addresses only, so a host without a colon is an IPv4 address.
  if (!host.includes(":")) return makeTuple(host, port);
  const [serverHost, , , serverScope] = serverAddress;
  // Deno doesn't report the scope of a peer. A link-local peer has the scope of the server's
  // address.
  const isOnServersLink = isLinkLocal(host) && isLinkLocal(serverHost);
  const zone = isOnServersLink ? zoneOf(serverHost) : null;
  const hostText = zone === null ? host : `${host}%${zone}`;
  return serverScope === undefined
    ? makeTuple(hostText, port)
    : makeTuple(hostText, port, 0, isOnServersLink ? serverScope : 0);
}

/**
 * Identifies the host of a peer, for limits. An IPv6 host of another network counts by its /64,
 * because it can use every address of it. All peers of a Unix socket count as one.
 */
export function hostKeyOf(
  address: HostAddress | ScopedAddress | null,
  localAddr: unknown,
): string {
  const host = address?.[0] ?? "";
  if (!host.includes(":") || isLinkLocal(host)) return host;
  const { hostname = "" } = (localAddr ?? {}) as Partial<Deno.NetAddr>;
  const prefix = prefixOf(host);
  return hostname.includes(":") && prefixOf(hostname) === prefix ? host : prefix;
}

/** Returns the first 64 bits of an IPv6 address. */
function prefixOf(host: string): string {
  return parseHost(removeZone(host))?.bytes?.slice(0, 8).join(".") ?? "";
}

export function parseRemoteAddress(remoteAddr: unknown): Address | null {
  const { hostname, port, path } = (remoteAddr ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof hostname === "string" && typeof port === "number") {
    return makeTuple(unmapIPv4(hostname), port);
  }
  if (typeof path !== "string") return null;
  return path.startsWith("\0") ? encoder.encode(path) : path;
}

function unmapIPv4(host: string): string {
  return MAPPED_IPV4.exec(host)?.[1] ?? host;
}

export function makePeerName(
  serverAddress: Address,
  peerAddress: Address | null,
  connectionNumber: number,
): string {
  return peerAddress === null
    ? `${formatSocketName(serverAddress)}#${connectionNumber}`
    : formatCheckedAddress(peerAddress);
}
