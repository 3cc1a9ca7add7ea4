/**
 * Addresses as text.
 *
 * @module
 */

import {
  badHost,
  checkName,
  checkPath,
  checkPort,
  checkScope,
  checkTuple,
  isIPv6,
  isNameOrIPv4,
  makeTuple,
  MAX_UINT32,
  withoutPrefix,
  withoutZone,
  zoneOf,
} from "./address_rules.ts";
import { checkInteger, checkString } from "./checks.ts";
import { quote } from "./errors.ts";
import type { Address } from "./address_rules.ts";

const UNIX = "unix:";
const HOST_AND_PORT = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([0-9]+)$/;
/** A scope by its number; anything else after `%` is the name of an interface. */
const SCOPE_NUMBER = /^(?:0|[1-9][0-9]*)$/;
/** Characters that would be invisible in a log line, or would end it. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}%]/gu;
const encoder = new TextEncoder();

/**
 * Formats an address as text: the inverse of {@linkcode parseAddress}. Logs and session names use it.
 *
 * A numeric scope looks the same in a pair and in a four-tuple, and is parsed as a four-tuple. A four-tuple
 * with scope 0, which means none, is parsed as a pair. The length of a prefix, which a client takes in a four-tuple, is
 * left out.
 *
 * @param address The address of a server or a client.
 * @throws {TypeError} if it has none of the forms of an address.
 * @throws {RangeError} if a part of it is not allowed, or can't be written as text: flowinfo other
 * than 0, and the host `unix`; `UNIX` is the same name.
 *
 * @example
 * ```ts
 * import { formatAddress } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatAddress(["127.0.0.1", 80]), "127.0.0.1:80");
 * assertEquals(formatAddress(["fe80::1", 80, 0, 3]), "[fe80::1%3]:80");
 * assertEquals(formatAddress("/run/a.socket"), "unix:/run/a.socket");
 * assertEquals(formatAddress(new TextEncoder().encode("\0name")), "unix:@name");
 * ```
 */
export function formatAddress(address: Address): string {
  if (address instanceof Uint8Array) return addressText(checkName(address));
  if (typeof address === "string") return addressText(checkPath(address));
  const [given, port, flowinfo, scopeid] = checkTuple(address);
  const host = flowinfo === undefined ? given : withoutPrefix(given);
  checkHost(host, flowinfo !== undefined, scopeid);
  checkPort(port, 0);
  if (flowinfo) {
    throw new RangeError(`address[2]: must be 0, as text has no flowinfo; got ${flowinfo}`);
  }
  const text = addressText(makeTuple(host, port, flowinfo, scopeid));
  if (!text.startsWith(UNIX)) return text;
  throw new RangeError(
    `address[0]: must not be "unix", as ${
      quote(text)
    } is read as a Unix socket; write "UNIX", the same name`,
  );
}

/**
 * Parses an address as written in a configuration or on a command line.
 *
 * `127.0.0.1:80`, `camera.local:80`, `[::1]:80`, `[fe80::1%eth0]:80`; with a scope by number,
 * `[fe80::1%3]:80`, a four-tuple; `unix:/run/a.socket`, and `unix:@name` for an abstract name. In those
 * two `%`, control characters and other invisible characters are written as `%25`, `%0A` and so on. The
 * port may be 0, for a server.
 *
 * @param text The address as text.
 * @throws {TypeError} if it is not a string.
 * @throws {RangeError} if the text is not an address, or not as {@linkcode formatAddress} writes it;
 * the message says what is wrong.
 *
 * @example
 * ```ts
 * import { parseAddress } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseAddress("camera.local:80"), ["camera.local", 80]);
 * assertEquals(parseAddress("[fe80::1%3]:80"), ["fe80::1", 80, 0, 3]);
 * assertEquals(parseAddress("[fe80::1%eth0]:80"), ["fe80::1%eth0", 80]);
 * assertEquals(parseAddress("unix:/run/a.socket"), "/run/a.socket");
 * ```
 */
export function parseAddress(text: string): Address {
  checkString("address", text);
  return text.startsWith(UNIX) ? parseSocketName(text.slice(UNIX.length)) : parseHostAndPort(text);
}

/** The text of an address that was checked; flowinfo, which it can't have, is left out. For logs. */
export function addressText(address: Address): string {
  if (typeof address === "string" || address instanceof Uint8Array) {
    return UNIX + socketName(address);
  }
  const [given, port, , scopeid = 0] = address;
  const host = withoutPrefix(given);
  const zone = scopeid === 0 ? zoneOf(host) : String(scopeid);
  const scoped = zone === null || zone === "0" ? withoutZone(host) : `${withoutZone(host)}%${zone}`;
  return scoped.includes(":") ? `[${scoped}]:${port}` : `${scoped}:${port}`;
}

/** The path or the name of a Unix socket as text, `/run/a.socket` or `@name`; else the address. */
export function socketName(address: Address): string {
  if (typeof address === "string") return address.replace(UNSEEN, encodeURIComponent);
  if (!(address instanceof Uint8Array)) return addressText(address);
  // An empty name: the kernel chooses one.
  if (address.length === 0) return "";
  const name = new TextDecoder("utf-8", { ignoreBOM: true }).decode(address.subarray(1));
  return `@${name.replace(UNSEEN, encodeURIComponent)}`;
}

/** Checks a host for either end; in a pair it may be a name. */
function checkHost(host: string, isScoped: boolean, scopeid: number | undefined): void {
  if (isIPv6(withoutZone(host))) {
    checkScope(host, scopeid);
    const zone = zoneOf(host);
    if (zone !== null && SCOPE_NUMBER.test(zone)) {
      checkInteger("address: the scope", Number(zone), 0, MAX_UINT32);
    }
  } else if (isScoped || !isNameOrIPv4(host)) {
    throw badHost(host, isScoped ? "an IPv6 address" : "an IP address or a DNS name");
  }
}

function parseHostAndPort(text: string): Address {
  const [, literal, name, digits = ""] = HOST_AND_PORT.exec(text) ?? [];
  if ((literal === undefined && !name) || String(Number(digits)) !== digits) throw badText(text);
  const port = checkPort(Number(digits), 0);
  const host = literal ?? name!;
  if (literal !== undefined && !isIPv6(withoutZone(host))) throw badHost(host, "an IPv6 address");
  checkHost(host, false, undefined);
  const zone = zoneOf(host);
  if (zone === null || !SCOPE_NUMBER.test(zone)) return makeTuple(host, port);
  if (zone !== "0") return makeTuple(withoutZone(host), port, 0, Number(zone));
  throw new RangeError(`address: must have no scope instead of 0; got ${quote(text)}`);
}

function parseSocketName(text: string): Address {
  const name = unescape(text);
  const address = name === ""
    ? new Uint8Array(0)
    : name.startsWith("@")
    ? checkName(encoder.encode(`\0${name.slice(1)}`))
    : checkPath(name);
  if (socketName(address) === text) return address;
  throw new RangeError(
    `address: must be ${quote(addressText(address))}, the one way to write this; got ${
      quote(UNIX + text)
    }`,
  );
}

function unescape(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    const hint = "write a percent sign as %25, and escape only invisible characters";
    throw new RangeError(`address: a percent sign that escapes nothing in ${quote(text)}; ${hint}`);
  }
}

/** The error for text that doesn't have the form of an address. */
function badText(text: string): RangeError {
  // The text before an at sign may be a password.
  const got = text.includes("@") ? "" : `; got ${quote(text)}`;
  return new RangeError(`address: ${problemOf(text)}${got}`);
}

function problemOf(text: string): string {
  if (text.startsWith("/")) return "the path of a Unix socket must be written unix:/path";
  if (text.startsWith("@")) return "an abstract name must be written unix:@name";
  if (text.includes("://")) return "must be host:port, not a URL";
  if (text.includes("@")) return "must be host:port, without a user";
  if (!text.startsWith("[") && text.split(":").length > 2) {
    return "an IPv6 address must be in brackets, as in [::1]:80";
  }
  const digits = /:([0-9]*)$/.exec(text)?.[1];
  if (digits === undefined) return "must have a port, as in 127.0.0.1:80 or [::1]:80";
  if (digits === "" || (digits.startsWith("0") && digits !== "0")) {
    return "must have a port from 0 to 65535 in plain decimal digits";
  }
  return "must be host:port, [IPv6 address]:port or unix:/path";
}
