/**
 * The parts of addresses: hosts, scopes, ports, paths and names.
 *
 * @module
 */

import { checkInteger, checkString, wrongType } from "./checks.ts";
import { quote } from "./errors.ts";

/** An IPv4 or IPv6 address, or a DNS name, and a port. */
export type HostAddress = readonly [host: string, port: number];
/** An IPv6 address with flow information and the index of the interface it is on. */
export type ScopedAddress = readonly [
  host: string,
  port: number,
  flowinfo: number,
  scopeid: number,
];

/**
 * The address of a server: a host and a port, an IPv6 address with its scope, the absolute path of a Unix
 * socket, or the bytes of a Linux abstract name, which begin with NUL.
 */
export type Address = HostAddress | ScopedAddress | string | Uint8Array;

const MAX_PATH_BYTES = 107;
const MAX_NAME_BYTES = 108;
const MAX_PORT = 65535;
/** The largest number of an interface. */
export const MAX_UINT32: number = 2 ** 32 - 1;
const MAX_DNS_NAME_LENGTH = 253;
/** The underscore is accepted because some host names have it, although RFC 1123 §2.1 forbids it. */
const DNS_LABEL = /^[0-9A-Za-z_-]{1,63}$/;
/** The zone of an IPv6 address: the name or the number of an interface. A padded number would be a second text for one. */
const ZONE = /^(?!0[0-9]+$)[-.0-9A-Z_a-z]+$/;
const PREFIX = /\/[0-9]{1,3}$/;
const encoder = new TextEncoder();

/**
 * The form in which DNS names are compared: in lower case, without a trailing dot; `null` if the text is
 * not a DNS name. The last label of one is not all digits: it could be taken for an IPv4 address.
 */
export function canonicalDnsName(text: string): string | null {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length > MAX_DNS_NAME_LENGTH) return null;
  const labels = name.split(".");
  const isName = labels.every((label) => DNS_LABEL.test(label)) &&
    !/^[0-9]+$/.test(labels.at(-1) ?? "");
  // Checked first, because other letters have an ASCII one in lower case: the Kelvin sign has k.
  return isName ? name.toLowerCase() : null;
}

/** True for a host that needs no zone: a DNS name or an IPv4 address. */
export function isNameOrIPv4(host: string): boolean {
  return isIPv4(host) || canonicalDnsName(host) !== null;
}

/**
 * Removes the length of a prefix, `/64`, from an IPv6 address. A client takes it in a four-tuple, as systems print the
 * address of an interface.
 */
export function withoutPrefix(host: string): string {
  return host.replace(PREFIX, "");
}

/** Checks the scope of an IPv6 address: the zone after it or the number given with it. */
export function checkScope(host: string, scopeid = 0): void {
  const zone = zoneOf(host);
  if (zone !== null && !ZONE.test(zone)) {
    throw new RangeError(
      "address[0]: must have the name or the number of an interface after %, without zeros before it; " +
        `got ${quote(host)}`,
    );
  }
  if (zone !== null && scopeid !== 0 && zone !== String(scopeid)) {
    throw new RangeError(`address: must give the scope once; got ${quote(host)} and ${scopeid}`);
  }
  const scoped = scopeid !== 0 || (zone !== null && zone !== "0");
  if (scoped || !isLinkLocal(host)) return;
  throw new RangeError(
    `address[0]: must have a scope, the interface of a link-local address; got ${quote(host)}: ` +
      `write ["${withoutZone(host)}%eth0", port] or ["${withoutZone(host)}", port, 0, scopeid]`,
  );
}

/** The error for text that is not a host, with what it looks like. */
export function badHost(host: string, wanted: string): RangeError {
  const mistake = mistakeOf(host);
  const hint = mistake === null ? "" : `; this looks like ${mistake}`;
  // The text before an at sign may be a password.
  const got = host.includes("@") ? "" : `; got ${quote(host)}`;
  return new RangeError(`address[0]: must be ${wanted}${got}${hint}`);
}

/** What was probably given instead of a host; `null` if there is no good guess. */
function mistakeOf(host: string): string | null {
  if (host.includes("://")) return "a URL: give its host, and the port as the second item";
  if (host.includes("@")) return "a host with a user: give the host alone";
  if (host.startsWith("[")) return "an IPv6 address in brackets: leave them out";
  if (host.includes("/")) {
    const isPrefix = canonicalIPAddress(withoutZone(withoutPrefix(host))) !== null;
    return isPrefix
      ? "an address with the length of its prefix: leave it out"
      : "a host with a path: give the host alone";
  }
  if (/^[^:]+:[0-9]*$/.test(host)) return "a host with a port: give the port as the second item";
  if (host.includes("%")) return "a zone, which only an IPv6 address has";
  return host.includes(":") ? "an IPv6 address, but is none" : null;
}

/** Checks and copies an abstract name; for an empty one the kernel chooses the name. */
export function checkName(name: Uint8Array): Uint8Array {
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

/** Checks the path of a Unix socket. */
export function checkPath(path: string): string {
  const problem = pathProblem(path);
  if (problem === null) return path;
  throw new RangeError(`address: the path of a Unix socket ${problem}; got ${quote(path)}`);
}

function pathProblem(path: string): string | null {
  if (!path.startsWith("/")) return "must be absolute, and a host is given as [host, port]";
  if (path.includes("\0")) return "must not contain a NUL";
  const components = path.slice(1).split("/");
  if (components.some((component) => ["", ".", ".."].includes(component))) {
    return 'must be normalized, without "//", "/./", "/../" and a trailing slash';
  }
  if (!path.isWellFormed()) return "must be valid Unicode";
  if (encoder.encode(path).length > MAX_PATH_BYTES) {
    return `must have at most ${MAX_PATH_BYTES} bytes`;
  }
  return null;
}

/** The parts of a tuple; flowinfo and scopeid are undefined in a pair. */
export type Parts = [host: string, port: number, flowinfo?: number, scopeid?: number];

/** Checks the length of a tuple, and its items except for the text of the host and the port. */
export function checkTuple(address: Address): Parts {
  if (!Array.isArray(address)) {
    const wanted = "[host, port], [host, port, flowinfo, scopeid], a string or a Uint8Array";
    throw wrongType("address", wanted, address);
  }
  const parts = [...address] as unknown as Parts;
  if (parts.length !== 2 && parts.length !== 4) {
    throw new TypeError(`address: must have 2 or 4 items; got ${parts.length}`);
  }
  const [host, port, flowinfo = 0, scopeid = 0] = parts;
  checkString("address[0]", host);
  if (parts.length === 2) return [host, port];
  checkInteger("address[2]", flowinfo, 0, MAX_UINT32);
  checkInteger("address[3]", scopeid, 0, MAX_UINT32);
  return [host, port, flowinfo, scopeid];
}

/** Checks a port. */
export function checkPort(port: number, least: number): number {
  checkInteger("address[1]", port, least, MAX_PORT);
  return port;
}

/** Builds a tuple from its parts. */
export function makeTuple(
  host: string,
  port: number,
  flowinfo?: number,
  scopeid?: number,
): Address {
  return flowinfo === undefined
    ? Object.freeze([host, port] as const)
    : Object.freeze([host, port, flowinfo, scopeid!] as const);
}

/** True for the path or the abstract name of a Unix socket. */
export function isUnixAddress(address: Address): address is string | Uint8Array {
  return typeof address === "string" || address instanceof Uint8Array;
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

/** The form in which IP addresses are compared (RFC 5952); `null` if the text is not one. */
export function canonicalIPAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  return isIPv6(text) ? new URL(`http://[${text}]/`).hostname.slice(1, -1) : null;
}

/** The same form of an address in 4 or 16 bytes; `null` for any other number of bytes. */
export function formatIPAddress(bytes: Uint8Array): string | null {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return null;
  const groups = [];
  for (let at = 0; at < 16; at += 2) groups.push((bytes[at]! * 256 + bytes[at + 1]!).toString(16));
  return canonicalIPAddress(groups.join(":"));
}

/** Removes the zone, `%eth0`, from an IPv6 address. */
export function withoutZone(host: string): string {
  const percent = host.indexOf("%");
  return percent < 0 ? host : host.slice(0, percent);
}

/** The zone of an IPv6 address; `null` if it has none. */
export function zoneOf(host: string): string | null {
  const percent = host.indexOf("%");
  return percent < 0 ? null : host.slice(percent + 1);
}

/** True for an IP address of the machine itself (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3), in its canonical form. */
export function isLoopback(host: string): boolean {
  return host === "::1" || host.startsWith("127.");
}

/** True for an IPv4 address that is valid on one link only (RFC 3927). */
export function isIPv4LinkLocal(host: string): boolean {
  return host.startsWith("169.254.");
}

/** True for an IPv6 address that is valid on one link only (RFC 4291 §2.5.6). */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(host);
}
