/**
 * Addresses: what is accepted, and what to connect to or to listen on.
 *
 * @module
 */

import { quote, typeName } from "../base/errors.ts";
import type { Address, HostAddress, ScopedAddress } from "../base/session.ts";

const MAX_PATH_BYTES = 107;
const MAX_NAME_BYTES = 108;
const MAX_PORT = 65535;
const MAX_UINT32 = 2 ** 32 - 1;
/** DNS names, and zones of IPv6 addresses, as far as they can be told from everything else. */
const DNS_NAME = /^[-.0-9A-Z_a-z]+$/;
const PREFIX = /\/[0-9]{1,3}$/;
const MAPPED_IPV4 = /^::ffff:([0-9.]+)$/i;
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
      throw new RangeError(
        "address: an abstract name must begin with a NUL byte; got an empty array",
      );
    }
    return checkName(address);
  }
  if (typeof address === "string") return checkPath(address);
  const [host, port, flowinfo, scopeid] = checkTuple(address);
  // A program may have the address of an interface as the system prints it, with the length of its prefix.
  const checked = flowinfo === undefined ? host : host.replace(PREFIX, "");
  if (isIPv6(withoutZone(checked))) checkScope(checked, scopeid);
  else if (!DNS_NAME.test(host)) throw badHost(host, "an IP address or a DNS name");
  return freeze(host, checkPort(port, 1), flowinfo, scopeid);
}

/** Checks an address that a server listens on, and copies it; as {@linkcode checkClientAddress}. */
export function checkServerAddress(address: Address): Address {
  if (address instanceof Uint8Array) return checkName(address);
  if (typeof address === "string") return checkPath(address);
  const [host, port, flowinfo, scopeid] = checkTuple(address);
  if (isIPv6(withoutZone(host))) {
    checkScope(host, scopeid);
  } else if (flowinfo !== undefined || !isIPv4(host)) {
    throw badHost(host, flowinfo === undefined ? "an IPv4 or IPv6 address" : "an IPv6 address");
  }
  return freeze(host, checkPort(port, 0), flowinfo, scopeid);
}

/** Checks what says, behind an IPv6 address or beside it, which interface it is on. */
function checkScope(host: string, scopeid = 0): void {
  const zone = zoneOf(host);
  if (zone !== null && !DNS_NAME.test(zone)) {
    throw new RangeError(
      `address[0]: what follows % has to be the name or the number of an interface; got ${
        quote(host)
      }`,
    );
  }
  if (zone !== null && scopeid !== 0 && zone !== String(scopeid)) {
    throw new RangeError(`address: the scope is given twice: ${quote(host)} and ${scopeid}`);
  }
  const scoped = scopeid !== 0 || (zone !== null && !/^0+$/.test(zone));
  if (scoped || !isLinkLocal(host)) return;
  throw new RangeError(
    `address[0]: ${quote(host)} is link-local and needs a scope, the interface that it is on: ` +
      `["${withoutZone(host)}%eth0", port] or ["${withoutZone(host)}", port, 0, scopeid]`,
  );
}

function badHost(host: string, wanted: string): RangeError {
  const mistake = mistakeOf(host);
  const hint = mistake === null ? "" : `; this looks like ${mistake}`;
  // What stands before an at sign may be a password.
  const got = host.includes("@") ? "" : `; got ${quote(host)}`;
  return new RangeError(`address[0]: need ${wanted}${got}${hint}`);
}

/** What was given in place of a host, as far as that can be told. */
function mistakeOf(host: string): string | null {
  if (host.includes("://")) return "a URL: give its host, and the port as the second item";
  if (host.includes("@")) return "a host with a user: give the host alone";
  if (host.startsWith("[")) return "an IPv6 address in brackets: leave them out";
  if (host.includes("/")) {
    const isPrefix = canonicalIPAddress(withoutZone(host.replace(PREFIX, ""))) !== null;
    return isPrefix
      ? "an address with the length of its prefix: leave it out"
      : "a host with a path: give the host alone";
  }
  if (/^[^:]+:[0-9]*$/.test(host)) return "a host with a port: give the port as the second item";
  if (host.includes("%")) return "a zone, which only an IPv6 address has";
  return host.includes(":") ? "an IPv6 address, but is none" : null;
}

function checkName(name: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(name);
  if (copy.length > MAX_NAME_BYTES) {
    throw new RangeError(
      `address: an abstract name must have at most ${MAX_NAME_BYTES} bytes; got ${copy.length}`,
    );
  }
  if (copy.length > 0 && copy[0] !== 0) {
    throw new RangeError(
      `address: an abstract name must begin with a NUL byte; got ${quote(copy)}`,
    );
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(copy);
  } catch {
    throw new RangeError(`address: an abstract name must be valid UTF-8; got ${quote(copy)}`);
  }
  return copy;
}

function checkPath(path: string): string {
  const problem = pathProblem(path);
  if (problem === null) return path;
  throw new RangeError(`address: the path of a Unix socket ${problem}; got ${quote(path)}`);
}

function pathProblem(path: string): string | null {
  if (!path.startsWith("/")) return "must be absolute";
  if (path.includes("\0")) return "must not have a NUL";
  const components = path.slice(1).split("/");
  if (components.some((component) => ["", ".", ".."].includes(component))) {
    return 'must be normalised, without "//", "/./", "/../" and a slash at the end';
  }
  if (!path.isWellFormed()) return "must be valid Unicode";
  if (encoder.encode(path).length > MAX_PATH_BYTES) {
    return `must have at most ${MAX_PATH_BYTES} bytes`;
  }
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

function zoneOf(host: string): string | null {
  const percent = host.indexOf("%");
  return percent < 0 ? null : host.slice(percent + 1);
}

/** True for an IPv6 address that means something on one link only (RFC 4291 §2.5.6). */
function isLinkLocal(host: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(host);
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

/**
 * The address of a peer, in the form of the server's, but for IPv4 peers of a server that listens on
 * IPv6; `null` where it has none.
 */
export function peerAddress(server: Address, peer: unknown): HostAddress | ScopedAddress | null {
  if (typeof server === "string" || server instanceof Uint8Array) return null;
  const { hostname, port } = peer as Deno.NetAddr;
  const host = MAPPED_IPV4.exec(hostname)?.[1] ?? hostname;
  if (isIPv4(host)) return Object.freeze([host, port] as const);
  const [ownHost, , , ownScope] = server;
  // The system tells the scope of a peer only by where its connection has arrived.
  const shares = isLinkLocal(host) && isLinkLocal(ownHost);
  const zone = shares ? zoneOf(ownHost) : null;
  const shown = zone === null ? host : `${host}%${zone}`;
  return ownScope === undefined
    ? Object.freeze([shown, port] as const)
    : Object.freeze([shown, port, 0, shares ? ownScope : 0] as const);
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
