/**
 * The names that a certificate is issued for: DNS names and IP addresses of its subjectAltName.
 *
 * @module
 */

import { canonicalDnsName, canonicalIPAddress } from "../base/address_rules.ts";
import { quote } from "../base/errors.ts";

/** One entry of a certificate's subjectAltName (RFC 5280 §4.2.1.6). */
export interface AlternativeName {
  /** Whether {@linkcode AlternativeName.value} is a DNS name or an IP address. */
  readonly type: "dns" | "ip";
  /** The DNS name in lower case, or the IP address in its canonical text form. */
  readonly value: string;
}

/** Excludes what some host names contain but no certificate may: underscores, and hyphens at either end. */
const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/**
 * Reads a DNS name or a literal IP address.
 *
 * A DNS name has letters, digits, hyphens and dots only (RFC 1123 §2.1): no wildcard, no trailing dot,
 * and no last label of digits, which could be taken for an IPv4 address.
 *
 * @param label The name of the value in errors.
 * @param text The name, for example `"camera-1.local"`, `"192.168.7.2"` or `"fe80::1"`.
 * @returns The name in canonical form.
 * @throws {RangeError} if it is neither. An IPv6 address with a zone (`fe80::1%eth0`) is neither,
 * because a certificate can't hold the zone.
 */
export function parseAlternativeName(label: string, text: string): AlternativeName {
  const address = canonicalIPAddress(text);
  if (address !== null) return { type: "ip", value: address };
  const name = text.endsWith(".") ? null : canonicalDnsName(text);
  if (name !== null && isHostName(name)) return { type: "dns", value: name };
  throw new RangeError(`${label}: must be a DNS name or an IP address; got ${quote(text)}`);
}

/** True for a DNS name in lower case, by the rules of {@linkcode parseAlternativeName}. */
export function isHostName(text: string): boolean {
  return canonicalDnsName(text) === text &&
    text.split(".").every((label) => HOST_LABEL.test(label));
}
