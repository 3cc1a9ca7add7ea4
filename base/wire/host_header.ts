import { checkString, notAllowedError } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { isLinkLocal } from "../address.ts";
import { isCanonicalLoopback, type ParsedHost, parseHost } from "../host.ts";

/** The parts of a `host` header. */
export interface HostHeader {
  /** The host as it was sent, without brackets and zone. */
  readonly host: string;
  /** The parsed host; `null` if the host is a name that DNS doesn't have, or empty. */
  readonly parsed: ParsedHost | null;
  /** The port with its colon, or `""`. */
  readonly port: string;
}

/** A registered name, and a port (RFC 3986 §3.2.2, §3.2.3). */
const NAME = /^((?:[-\w.~!$&'()*+,;=]|%[\dA-Fa-f]{2})+)(:\d*)?$/;
const BRACKETED_ADDRESS = /^\[([\dA-Fa-f:.]+)(%(?:[-\w.~]|%[\dA-Fa-f]{2})+)?\](:\d*)?$/;
/** Several programs send a link-local address with its zone and without brackets. */
const ADDRESS_WITH_ZONE = /^([\dA-Fa-f:]+)(%[-\w.~]+)(:\d*)?$/;

/** The last parsed value: most requests of a connection, and of a program, have the same. */
let lastHost: { readonly value: string; readonly header: HostHeader | null } | null = null;

/**
 * Parses the value of `host` (RFC 9110 §7.2): empty, or a host and perhaps a port. A link-local
 * address can have a zone, also as `%25` and its name (RFC 6874), which means nothing to a server.
 * Returns `null` for any other value.
 */
export function parseHostHeader(value: string): HostHeader | null {
  if (lastHost?.value !== value) lastHost = { value, header: parse(value) };
  return lastHost.header;
}

function parse(value: string): HostHeader | null {
  if (value === "") return { host: "", parsed: null, port: "" };
  const [, name, port = ""] = NAME.exec(value) ?? [];
  if (name !== undefined) return { host: name, parsed: parseHost(name), port };
  const [, address = "", zone, addressPort = ""] = BRACKETED_ADDRESS.exec(value) ??
    ADDRESS_WITH_ZONE.exec(value) ?? [];
  const parsed = parseHost(address);
  if (parsed === null || parsed.type !== "IPv6") return null;
  if (zone !== undefined && !isLinkLocal(parsed.text)) return null;
  return { host: address, parsed, port: addressPort };
}

export function isHostHeader(value: string): boolean {
  return parseHostHeader(value) !== null;
}

/** Checks a host of the caller. */
export function checkHost(label: string, host: string): void {
  checkString(label, host);
  if (isHostHeader(host)) return;
  // The part before an at sign may be a password.
  const got = host.includes("@") ? "this looks like a host with a user" : `got ${quote(host)}`;
  throw notAllowedError(label, `must be a host, and perhaps a colon and a port; ${got}`);
}

/**
 * Reports whether a server serves the host of a request: an IP address, `localhost`, or one of the
 * names. A web page that another name leads to can't send these (DNS rebinding).
 *
 * @param names The names in their canonical form.
 */
export function isServedHost(value: string, names: ReadonlySet<string>): boolean {
  const parsed = parseHostHeader(value)?.parsed ?? null;
  if (parsed === null) return false;
  return parsed.type !== "name" || parsed.text === "localhost" || names.has(parsed.text);
}

/** Domains that public DNS doesn't have. */
const LOCAL_DOMAINS = /\.(?:local|internal|home\.arpa|test|lan|home|localdomain)$/;

/**
 * Reports whether a web page can send this host by DNS rebinding: whether it is a name that public
 * DNS can resolve, or a client on this machine sends a name of a local network, which each machine
 * of the network can resolve as it likes. A machine of the network gains nothing by sending another
 * client to a server that it reaches itself.
 */
export function canBeRebound(value: string, peerAddress: string): boolean {
  if (value === "") return false;
  const parsed = parseHostHeader(value)?.parsed ?? null;
  if (parsed === null) return true;
  const { type, text, reach } = parsed;
  if (type !== "name" || reach === "loopback" || !text.includes(".")) return false;
  return isCanonicalLoopback(peerAddress) || !LOCAL_DOMAINS.test(text);
}
