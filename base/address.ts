import {
  checkInteger,
  checkString,
  makeChoiceCheck,
  notAllowedError,
  wrongArgumentError,
  wrongTypeError,
} from "../internal/checks.ts";
import { quote, quoteName } from "../internal/quote.ts";

/** An IPv4 or IPv6 address, or a DNS name, and a port. */
export type HostAddress = readonly [host: string, port: number];
/** An IPv6 address with flow information and the index of its interface. */
export type ScopedAddress = readonly [
  host: string,
  port: number,
  flowinfo: number,
  scopeid: number,
];

/**
 * The address of a server: a host and a port, an IPv6 address with its scope, the absolute path of
 * a Unix socket, or the bytes of a Linux abstract name, which begin with NUL.
 */
export type Address = HostAddress | ScopedAddress | string | Uint8Array;

// ───────────────────────── text

const UNIX_PREFIX = "unix:";
const checkSide = makeChoiceCheck("client", "server");
const HOST_AND_PORT = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([0-9]+)$/;
/** The zone of an IPv6 address, if it is a number; any other zone is the name of an interface. */
const SCOPE_NUMBER = /^(?:0|[1-9][0-9]*)$/;

/**
 * Formats an address as text: the inverse of {@linkcode parseAddress}. Logs and session names use
 * it.
 *
 * If the text has a numeric scope, {@linkcode parseAddress} returns a four-tuple, even if the
 * formatted address was a pair. A four-tuple with scope 0, which means no scope, becomes a pair. A
 * prefix length, such as `/64`, which a client accepts in a four-tuple, is removed.
 *
 * @param address The address of a server or a client.
 * @throws {TypeError} if the value is not an address.
 * @throws {RangeError} if a part is not allowed, or can't be written as text: a flowinfo other than
 * 0, and the host `unix`, because the text would mean a Unix socket. Write `UNIX`, which is the
 * same DNS name.
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
  if (address instanceof Uint8Array) return formatCheckedAddress(checkAbstractName(address));
  if (typeof address === "string") return formatCheckedAddress(checkSocketPath(address));
  const [hostText, port, flowinfo, scopeid] = checkTuple(address);
  const host = flowinfo === undefined ? hostText : removePrefixLength(hostText);
  checkHost(host, flowinfo !== undefined, scopeid);
  checkPort(port, 0);
  if (flowinfo) {
    throw notAllowedError("address[2]", `must be 0, as text has no flowinfo; got ${flowinfo}`);
  }
  const text = formatCheckedAddress(makeTuple(host, port, flowinfo, scopeid));
  if (!text.startsWith(UNIX_PREFIX)) return text;
  throw notAllowedError(
    "address[0]",
    `must not be "unix", as ${quote(text)} is read as a Unix socket; write "UNIX", the same name`,
  );
}

/**
 * Parses an address as written in a configuration or on a command line.
 *
 * The forms are `127.0.0.1:80`, `camera.local:80`, `[::1]:80`, `[fe80::1%eth0]:80`;
 * `[fe80::1%3]:80`, which becomes a four-tuple; `unix:/run/a.socket`, and `unix:@name` for an
 * abstract name. In the last two, `%`, control characters and other invisible characters are
 * escaped as `%25`, `%0A` and so on. The port may be 0, for a server.
 *
 * @param text The address as text.
 * @throws {TypeError} if the text is not a string.
 * @throws {RangeError} if the text is not an address, or not in the form of
 * {@linkcode formatAddress}; the message has the reason.
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
  return text.startsWith(UNIX_PREFIX)
    ? parseSocketName(text.slice(UNIX_PREFIX.length))
    : parseHostAndPort(text);
}

/**
 * Parses an address of a host and a port: {@linkcode parseAddress} without Unix sockets. The option
 * `listen` of an invitation of `@degu/degu/device` takes such addresses.
 *
 * @param text The address as text.
 * @throws {TypeError} if the text is not a string.
 * @throws {RangeError} if the text is not an address, or is that of a Unix socket.
 *
 * @example
 * ```ts
 * import { parseHostAddress } from "@degu/degu/base";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * assertEquals(parseHostAddress("192.168.1.20:7443"), ["192.168.1.20", 7443]);
 * assertThrows(() => parseHostAddress("unix:/run/a.socket"), RangeError, "not a Unix socket");
 * ```
 */
export function parseHostAddress(text: string): HostAddress | ScopedAddress {
  const address = parseAddress(text);
  if (!isUnixAddress(address)) return address;
  throw notAllowedError("address", `must be host:port, not a Unix socket; got ${quoteName(text)}`);
}

/**
 * Checks and copies an address, as the constructors of clients and servers do, so that a program
 * can refuse an invalid configuration early. The function doesn't resolve names or connect.
 *
 * @param address The address.
 * @param side The side that will use the address. A `"client"` connects to it: the host may be a
 * name, and the port isn't 0. A `"server"` listens at it: the host is an IP address, and the port
 * may be 0.
 * @returns The address, a frozen copy of a tuple and a copy of an abstract name.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the address is not allowed, or `side` is another text.
 *
 * @example
 * ```ts
 * import { checkAddress } from "@degu/degu/base";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * assertEquals(checkAddress(["camera.local", 80], "client"), ["camera.local", 80]);
 * assertThrows(() => checkAddress(["camera.local", 80], "server"), RangeError, "address[0]");
 * assertThrows(() => checkAddress(["fe80::1", 80], "client"), RangeError, "must have a scope");
 * ```
 */
export function checkAddress(address: Address, side: "client" | "server"): Address {
  checkSide("side", side);
  const isClient = side === "client";
  if (address instanceof Uint8Array) {
    if (isClient && address.length === 0) {
      throw notAllowedError(
        "address",
        "an abstract name must begin with a NUL byte; got an empty array",
      );
    }
    return checkAbstractName(address);
  }
  if (typeof address === "string") return checkSocketPath(address);
  const [host, port, flowinfo, scopeid] = checkTuple(address);
  const isScoped = flowinfo !== undefined;
  // A program may pass the address of an interface as the system prints it, with a prefix length.
  const bareHost = isClient && isScoped ? removePrefixLength(host) : host;
  if (isIPv6(removeZone(bareHost))) {
    checkScope(bareHost, scopeid);
  } else if (isClient) {
    if (!isNameOrIPv4(host)) throw invalidHostError(host, "an IP address or a DNS name");
  } else if (isScoped || !isIPv4(host)) {
    throw invalidHostError(host, isScoped ? "an IPv6 address" : "an IPv4 or IPv6 address");
  }
  return makeTuple(host, checkPort(port, isClient ? 1 : 0), flowinfo, scopeid);
}

/** Formats a checked address for logs, without its flowinfo, which has no text. */
export function formatCheckedAddress(address: Address): string {
  if (isUnixAddress(address)) {
    return UNIX_PREFIX + formatSocketName(address);
  }
  const [hostText, port, , scopeid = 0] = address;
  // Only an IPv6 address has a zone, a prefix length or brackets.
  if (!hostText.includes(":") && scopeid === 0) return `${hostText}:${port}`;
  const host = removePrefixLength(hostText);
  const zone = scopeid === 0 ? zoneOf(host) : String(scopeid);
  const bareHost = removeZone(host);
  const scopedHost = zone === null || zone === "0" ? bareHost : `${bareHost}%${zone}`;
  return scopedHost.includes(":") ? `[${scopedHost}]:${port}` : `${scopedHost}:${port}`;
}

export function formatSocketName(address: Address): string {
  if (typeof address === "string") return escapeName(address);
  if (!(address instanceof Uint8Array)) return formatCheckedAddress(address);
  // The kernel chooses a name in place of an empty name.
  if (address.length === 0) return "";
  const name = new TextDecoder("utf-8", { ignoreBOM: true }).decode(address.subarray(1));
  return `@${escapeName(name)}`;
}

/** Escapes characters that are invisible in a log or end a line of it, and percent signs. */
function escapeName(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}%]/gu, encodeURIComponent);
}

function checkHost(host: string, isScoped: boolean, scopeid: number | undefined): void {
  if (isIPv6(removeZone(host))) {
    checkScope(host, scopeid);
  } else if (isScoped || !isNameOrIPv4(host)) {
    throw invalidHostError(host, isScoped ? "an IPv6 address" : "an IP address or a DNS name");
  }
}

function parseHostAndPort(text: string): Address {
  const [, literal, name, digits = ""] = HOST_AND_PORT.exec(text) ?? [];
  if ((literal === undefined && !name) || String(Number(digits)) !== digits) {
    throw invalidAddressError(text);
  }
  const port = checkPort(Number(digits), 0);
  const host = literal ?? name!;
  if (literal !== undefined && !isIPv6(removeZone(host))) {
    throw invalidHostError(host, "an IPv6 address");
  }
  checkHost(host, false, undefined);
  const zone = zoneOf(host);
  if (zone === null || !SCOPE_NUMBER.test(zone)) return makeTuple(host, port);
  if (zone !== "0") return makeTuple(removeZone(host), port, 0, Number(zone));
  throw notAllowedError("address", `must have no scope instead of 0; got ${quote(text)}`);
}

function parseSocketName(text: string): Address {
  const name = unescape(text);
  const address = name === ""
    ? new Uint8Array(0)
    : name.startsWith("@")
    ? checkAbstractName(encoder.encode(`\0${name.slice(1)}`))
    : checkSocketPath(name);
  if (formatSocketName(address) === text) return address;
  throw notAllowedError(
    "address",
    `must be ${quoteName(formatCheckedAddress(address))}, the one way to write this; got ${
      quoteName(UNIX_PREFIX + text)
    }`,
  );
}

function unescape(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    const hint = "write a percent sign as %25, and escape only invisible characters";
    throw notAllowedError(
      "address",
      `an invalid percent escape in ${quoteName(text)}; ${hint}`,
    );
  }
}

function invalidAddressError(text: string): RangeError {
  // Don't quote a text with an at sign: the part before the sign may be a password.
  const got = text.includes("@") ? "" : `; got ${quote(text)}`;
  return notAllowedError("address", `${describeInvalidAddress(text)}${got}`);
}

function describeInvalidAddress(text: string): string {
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

// ───────────────────────── parts

const MAX_PATH_BYTES = 107;
const MAX_NAME_BYTES = 108;
const MAX_PORT = 65535;
const MAX_UINT32 = 2 ** 32 - 1;
const MAX_DNS_NAME_LENGTH = 253;
/** Allows the underscore, which is common in names, although RFC 1123 §2.1 forbids it. */
const DNS_LABEL = /^[0-9A-Za-z_-]{1,63}$/;
/** Leading zeros are refused, because each zone must have one spelling. */
const ZONE = /^(?!0[0-9]+$)[-.0-9A-Z_a-z]+$/;
const PREFIX_LENGTH = /\/(?:[0-9]{1,2}|1[01][0-9]|12[0-8])$/;
const encoder = new TextEncoder();

/**
 * A text whose last label is a decimal or hexadecimal number is not a name: systems and URLs parse
 * it as an IPv4 address (WHATWG URL §3.5).
 */
export function canonicalizeDnsName(text: string): string | null {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length > MAX_DNS_NAME_LENGTH) return null;
  const labels = name.split(".");
  const isName = labels.every((label) => DNS_LABEL.test(label)) &&
    !/^(?:[0-9]+|0[Xx][0-9A-Fa-f]*)$/.test(labels.at(-1) ?? "");
  // Check before converting: the lower case of the Kelvin sign, which is not allowed, is k.
  return isName ? name.toLowerCase() : null;
}

function isNameOrIPv4(host: string): boolean {
  return isIPv4(host) || canonicalizeDnsName(host) !== null;
}

export function removePrefixLength(host: string): string {
  return host.replace(PREFIX_LENGTH, "");
}

export function isZone(text: string): boolean {
  return ZONE.test(text) && !(SCOPE_NUMBER.test(text) && Number(text) > MAX_UINT32);
}

function checkScope(host: string, scopeid = 0): void {
  const zone = zoneOf(host);
  if (zone !== null && !ZONE.test(zone)) {
    throw notAllowedError(
      "address[0]",
      "must have the name or the number of an interface after %, without zeros before it; " +
        `got ${quote(host)}`,
    );
  }
  if (zone !== null && SCOPE_NUMBER.test(zone)) {
    checkInteger("address: the scope", Number(zone), 0, MAX_UINT32);
  }
  if (zone !== null && scopeid !== 0 && zone !== String(scopeid)) {
    throw notAllowedError("address", `must give the scope once; got ${quote(host)} and ${scopeid}`);
  }
  const isScoped = scopeid !== 0 || (zone !== null && zone !== "0");
  if (isScoped || !isLinkLocal(host)) return;
  throw notAllowedError(
    "address[0]",
    `must have a scope, the interface of a link-local address; got ${quote(host)}: ` +
      `write ["${removeZone(host)}%eth0", port] or ["${removeZone(host)}", port, 0, scopeid]`,
  );
}

function invalidHostError(host: string, expected: string): RangeError {
  const mistake = guessMistake(host);
  const hint = host.toLowerCase() === "localhost"
    ? '; write "127.0.0.1" or "::1"'
    : mistake === null
    ? ""
    : `; this looks like ${mistake}`;
  // Don't quote a text with an at sign: the part before the sign may be a password.
  const got = host.includes("@") ? "" : `; got ${quote(host)}`;
  return notAllowedError("address[0]", `must be ${expected}${got}${hint}`);
}

function guessMistake(host: string): string | null {
  if (host.includes("://")) return "a URL: give its host, and the port as the second item";
  if (host.includes("@")) return "a host with a user: give the host alone";
  if (host.startsWith("[")) return "an IPv6 address in brackets: leave them out";
  if (host.includes("/")) {
    const hasPrefixLength = canonicalizeIPAddress(removeZone(removePrefixLength(host))) !== null;
    return hasPrefixLength
      ? "an address with the length of its prefix: leave it out"
      : "a host with a path: give the host alone";
  }
  if (/^[^:]+:[0-9]*$/.test(host)) return "a host with a port: give the port as the second item";
  if (host.includes("%")) return "a zone, which only an IPv6 address has";
  return host.includes(":") ? "an invalid IPv6 address" : null;
}

function checkAbstractName(name: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(name);
  if (copy.length > MAX_NAME_BYTES) {
    throw notAllowedError(
      "address",
      `an abstract name must have at most ${MAX_NAME_BYTES} bytes; got ${copy.length}`,
    );
  }
  if (copy.length > 0 && copy[0] !== 0) {
    throw notAllowedError(
      "address",
      `an abstract name must begin with a NUL byte; got ${quoteName(copy)}`,
    );
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(copy);
  } catch {
    throw notAllowedError(
      "address",
      `an abstract name must be valid UTF-8; got ${quoteName(copy)}`,
    );
  }
  return copy;
}

export function checkSocketPath(path: string): string {
  const problem = findSocketPathProblem(path);
  if (problem === null) return path;
  throw notAllowedError("address", `the path of a Unix socket ${problem}; got ${quoteName(path)}`);
}

function findSocketPathProblem(path: string): string | null {
  if (!path.startsWith("/")) {
    return 'must be absolute, and a host is given with its port, as in ["127.0.0.1", 8080]';
  }
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

type AddressParts = [host: string, port: number, flowinfo?: number, scopeid?: number];

function checkTuple(address: Address): AddressParts {
  if (!Array.isArray(address)) {
    const expected = "[host, port], [host, port, flowinfo, scopeid], a string or a Uint8Array";
    throw wrongTypeError("address", expected, address);
  }
  const parts = [...address] as unknown as AddressParts;
  if (parts.length !== 2 && parts.length !== 4) {
    throw wrongArgumentError("address", `must have 2 or 4 items; got ${parts.length}`);
  }
  const [host, port, flowinfo = 0, scopeid = 0] = parts;
  checkString("address[0]", host);
  if (parts.length === 2) return [host, port];
  checkInteger("address[2]", flowinfo, 0, MAX_UINT32);
  checkInteger("address[3]", scopeid, 0, MAX_UINT32);
  return [host, port, flowinfo, scopeid];
}

function checkPort(port: number, min: number): number {
  if (port === 0 && min > 0) {
    throw notAllowedError(
      "address[1]",
      `must be an integer from ${min} to ${MAX_PORT}; got 0: await the \`ready\` of the server ` +
        "before you read its address",
    );
  }
  checkInteger("address[1]", port, min, MAX_PORT);
  return port;
}

export function makeTuple(
  host: string,
  port: number,
  flowinfo?: number,
  scopeid?: number,
): HostAddress | ScopedAddress {
  return flowinfo === undefined
    ? Object.freeze([host, port] as const)
    : Object.freeze([host, port, flowinfo, scopeid!] as const);
}

export function isUnixAddress(address: Address): address is string | Uint8Array {
  return typeof address === "string" || address instanceof Uint8Array;
}

export function isIPv4(host: string): boolean {
  const parts = host.split(".");
  return parts.length === 4 &&
    parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}

/** Reports whether a host is an IPv6 address without a zone. */
export function isIPv6(host: string): boolean {
  return /^[0-9A-Fa-f:.]+$/.test(host) && host.includes(":") && URL.canParse(`http://[${host}]/`);
}

/** Returns the canonical form of an IP address (RFC 5952); `null` for any other text. */
export function canonicalizeIPAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  return isIPv6(text) ? new URL(`http://[${text}]/`).hostname.slice(1, -1) : null;
}

export function formatIPAddress(bytes: Uint8Array): string | null {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return null;
  const groups = [];
  for (let offset = 0; offset < 16; offset += 2) {
    groups.push((bytes[offset]! * 256 + bytes[offset + 1]!).toString(16));
  }
  return canonicalizeIPAddress(groups.join(":"));
}

export function bytesOfIPAddress(canonical: string): number[] {
  if (isIPv4(canonical)) return canonical.split(".").map(Number);
  const [front = "", back = ""] = canonical.split("::");
  const parseGroups = (text: string) =>
    text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
  const [leadingGroups, trailingGroups] = [parseGroups(front), parseGroups(back)];
  const zeros = Array.from({ length: 8 - leadingGroups.length - trailingGroups.length }, () => 0);
  return [...leadingGroups, ...zeros, ...trailingGroups].flatMap((
    group,
  ) => [group >> 8, group & 0xff]);
}

export function removeZone(host: string): string {
  const percent = host.indexOf("%");
  return percent < 0 ? host : host.slice(0, percent);
}

export function zoneOf(host: string): string | null {
  const percent = host.indexOf("%");
  return percent < 0 ? null : host.slice(percent + 1);
}

/** Reports whether an IPv6 address is valid only on one link (RFC 4291 §2.5.6). */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(host);
}
