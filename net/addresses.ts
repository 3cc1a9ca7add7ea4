/**
 * Addresses: what is accepted, and what to connect to or to listen on.
 *
 * @module
 */

import { quote, typeName } from "../base/errors.ts";
import type { Address, HostAddress, ScopedAddress } from "../base/session.ts";
import { VALUE } from "../base/tables.ts";

const MAX_PATH_BYTES = 107;
const MAX_NAME_BYTES = 108;
const MAX_PORT = 65535;
const MAX_UINT32 = 2 ** 32 - 1;
const encoder = new TextEncoder();

/**
 * Checks an address that a client connects to, and copies it.
 *
 * @throws {TypeError} where it has none of the four forms.
 * @throws {RangeError} where a part of it is not allowed.
 */
export function checkClientAddress(address: Address): Address {
  if (address instanceof Uint8Array) {
    if (address.length === 0) {
      throw new RangeError("address: an abstract name begins with a NUL byte; got an empty array");
    }
    return checkName(address);
  }
  if (typeof address === "string") return checkPath(address);
  const [host, port, flowinfo, scopeid] = checkTuple(address);
  if (host === "" || [...encoder.encode(host)].some((byte) => byte === 0x20 || !VALUE[byte])) {
    throw new RangeError(`address[0]: need a host without spaces; got ${quote(host)}`);
  }
  return freeze(host, checkPort(port, 1), flowinfo, scopeid);
}

/** Checks an address that a server listens on, and copies it; as {@linkcode checkClientAddress}. */
export function checkServerAddress(address: Address): Address {
  if (address instanceof Uint8Array) return checkName(address);
  if (typeof address === "string") return checkPath(address);
  const [host, port, flowinfo, scopeid] = checkTuple(address);
  if (!isIPv6(host) && (flowinfo !== undefined || !isIPv4(host))) {
    const wanted = flowinfo === undefined ? "an IPv4 or IPv6 address" : "an IPv6 address";
    throw new RangeError(`address[0]: need ${wanted}; got ${quote(host)}`);
  }
  return freeze(host, checkPort(port, 0), flowinfo, scopeid);
}

function checkName(name: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(name);
  if (copy.length > MAX_NAME_BYTES) {
    throw new RangeError(
      `address: an abstract name has at most ${MAX_NAME_BYTES} bytes; got ${copy.length}`,
    );
  }
  if (copy.length > 0 && copy[0] !== 0) {
    throw new RangeError(`address: an abstract name begins with a NUL byte; got ${quote(copy)}`);
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(copy);
  } catch {
    throw new RangeError(`address: an abstract name is valid UTF-8; got ${quote(copy)}`);
  }
  return copy;
}

function checkPath(path: string): string {
  const problem = pathProblem(path);
  if (problem === null) return path;
  throw new RangeError(`address: the path of a Unix socket ${problem}; got ${quote(path)}`);
}

function pathProblem(path: string): string | null {
  if (!path.startsWith("/")) return "is absolute";
  if (path.includes("\0")) return "has no NUL";
  const components = path.slice(1).split("/");
  if (components.some((component) => ["", ".", ".."].includes(component))) {
    return 'is normalised, without "//", "/./", "/../" and a slash at the end';
  }
  if (!path.isWellFormed()) return "is valid Unicode";
  if (encoder.encode(path).length > MAX_PATH_BYTES) return `has at most ${MAX_PATH_BYTES} bytes`;
  return null;
}

/** The parts of a tuple; flowinfo and scopeid are undefined in a pair. */
type Parts = [host: string, port: number, flowinfo?: number, scopeid?: number];

function checkTuple(address: Address): Parts {
  if (!Array.isArray(address)) {
    throw new TypeError(
      "address: need [host, port], [host, port, flowinfo, scopeid], a string or a Uint8Array; " +
        `got ${typeName(address)}`,
    );
  }
  const parts = [...address] as unknown as Parts;
  if (parts.length !== 2 && parts.length !== 4) {
    throw new TypeError(`address: need 2 or 4 items; got ${parts.length}`);
  }
  const [host, port, flowinfo = 0, scopeid = 0] = parts;
  if (typeof host !== "string") {
    throw new TypeError(`address[0]: need a string; got ${typeName(host)}`);
  }
  checkNumber("address[1]", port);
  if (parts.length === 2) return [host, port];
  checkInteger("address[2]", flowinfo, 0, MAX_UINT32);
  checkInteger("address[3]", scopeid, 0, MAX_UINT32);
  return [host, port, flowinfo, scopeid];
}

function checkNumber(name: string, value: number): void {
  if (typeof value !== "number") {
    throw new TypeError(`${name}: need a number; got ${typeName(value)}`);
  }
}

function checkInteger(name: string, value: number, least: number, most: number): void {
  checkNumber(name, value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name}: need an integer from ${least} to ${most}; got ${value}`);
  }
}

function checkPort(port: number, least: number): number {
  checkInteger("address[1]", port, least, MAX_PORT);
  return port;
}

function freeze(host: string, port: number, flowinfo?: number, scopeid?: number): Address {
  return flowinfo === undefined
    ? Object.freeze([host, port] as const)
    : Object.freeze([host, port, flowinfo, scopeid!] as const);
}

/** True for an IPv4 address in dotted decimal. */
export function isIPv4(host: string): boolean {
  const parts = host.split(".");
  return parts.length === 4 &&
    parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}

/** True for an IPv6 address without a zone. */
export function isIPv6(host: string): boolean {
  return /^[0-9A-Fa-f:.]+$/.test(host) && host.includes(":") && URL.canParse(`http://[${host}]/`);
}

/** The one form of an IP address in which it is compared (RFC 5952); `null` where it is none. */
export function canonicalIPAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  return isIPv6(text) ? new URL(`http://[${text}]/`).hostname.slice(1, -1) : null;
}

/** The value of the `host` header for an address (RFC 9110 §7.2); `null` for sockets with a name. */
export function hostOf(address: Address, defaultPort: number): string | null {
  if (typeof address === "string" || address instanceof Uint8Array) return null;
  const [host, port] = address;
  const shown = host.includes(":") ? `[${withoutZone(host)}]` : host;
  return port === defaultPort ? shown : `${shown}:${port}`;
}

function withoutZone(host: string): string {
  const percent = host.indexOf("%");
  return percent < 0 ? host : host.slice(0, percent);
}

/** Where to connect or listen, as Deno wants it told. */
export type Endpoint =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** Translates an address for Deno. */
export function endpointOf(address: Address): Endpoint {
  if (typeof address === "string") return { transport: "unix", path: address };
  if (address instanceof Uint8Array) {
    return {
      transport: "unix",
      path: new TextDecoder("utf-8", { ignoreBOM: true }).decode(address),
    };
  }
  const [host, port, , scopeid = 0] = address;
  const hostname = scopeid === 0 ? host : `${withoutZone(host)}%${scopeid}`;
  return { transport: "tcp", hostname, port };
}

/** The address that was asked for, with the port or the name that it came to be. */
export function boundAddress(asked: Address, bound: Deno.Addr): Address {
  if (typeof asked === "string") return asked;
  if (asked instanceof Uint8Array) return encoder.encode((bound as Deno.UnixAddr).path);
  const { port } = bound as Deno.NetAddr;
  return asked.length === 2
    ? Object.freeze([asked[0], port] as const)
    : Object.freeze([asked[0], port, asked[2], asked[3]] as const);
}

/** The address of a peer, in the form of the server's; `null` where it has none. */
export function peerAddress(server: Address, peer: unknown): HostAddress | ScopedAddress | null {
  if (typeof server === "string" || server instanceof Uint8Array) return null;
  const { hostname, port } = peer as Deno.NetAddr;
  return server.length === 2
    ? Object.freeze([hostname, port] as const)
    // The kernel has told the scope only by where the connection arrived.
    : Object.freeze([hostname, port, 0, server[3]] as const);
}

/** An address for people: `127.0.0.1:80`, `[fe80::1%3]:80`, `/run/socket`, `@name`. */
export function formatAddress(address: Address): string {
  if (typeof address === "string") return address;
  if (address instanceof Uint8Array) return `@${quote(address.subarray(1)).slice(1, -1)}`;
  const { hostname, port } = endpointOf(address) as { hostname: string; port: number };
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** What a peer is called in logs: its address, or where it has none that of the server and a number. */
export function peerName(server: Address, peer: Address | null, count: number): string {
  return peer === null ? `${formatAddress(server)}#${count}` : formatAddress(peer);
}
