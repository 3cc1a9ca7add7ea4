/**
 * The names that a certificate is issued for: DNS names and IP addresses of its subjectAltName.
 *
 * @module
 */

import { canonicalIPAddress } from "../net/addresses.ts";
import { normaliseDnsName } from "../net/tls/names.ts";

/** One entry of a certificate's subjectAltName (RFC 5280 §4.2.1.6). */
export interface AlternativeName {
  /** Whether {@linkcode AlternativeName.value} is a DNS name or an IP address. */
  readonly type: "dns" | "ip";
  /** The DNS name in lower case, or the IP address in its canonical text form. */
  readonly value: string;
}

/** Without what some hosts have in their names, but no certificate may: underscores, hyphens at an end. */
const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/**
 * Reads a DNS name or a literal IP address.
 *
 * A DNS name has letters, digits, hyphens and dots alone (RFC 1123 §2.1): no wildcard, no trailing
 * dot, and no last label of digits, which could be taken for an IPv4 address.
 *
 * @param text The name, for example `"camera-1.local"`, `"192.168.7.2"` or `"fe80::1"`.
 * @returns The name in canonical form.
 * @throws {RangeError} if it is neither; an IPv6 address with a zone (`fe80::1%eth0`) is one of
 * these, because a certificate has no place for it.
 */
export function parseAlternativeName(text: string): AlternativeName {
  const address = canonicalIPAddress(text);
  if (address !== null) return { type: "ip", value: address };
  const name = text.endsWith(".") ? null : normaliseDnsName(text);
  if (name !== null && isDnsName(name)) return { type: "dns", value: name };
  throw new RangeError(
    `Cannot issue a certificate for ${JSON.stringify(text)}: expected a DNS name or an IP address`,
  );
}

/**
 * Tells whether a text is a DNS name in lower case, by the rules of
 * {@linkcode parseAlternativeName}.
 *
 * @param text The text to check.
 * @returns Whether it is one.
 */
export function isDnsName(text: string): boolean {
  return normaliseDnsName(text) === text &&
    text.split(".").every((label) => HOST_LABEL.test(label));
}
