/**
 * Whether a certificate is for the intended server (RFC 9525): by its subjectAltName only, never by its
 * subject.
 *
 * @module
 */

import { canonicalDnsName, canonicalIPAddress, withoutZone } from "../../base/address_rules.ts";
import { quote } from "../../base/errors.ts";
import type { Certificate, CertificateName } from "./certificate.ts";

/** The IP address of a host in the form in which it is compared, without its zone; `null` for a name. */
export function hostAddress(host: string): string | null {
  return canonicalIPAddress(withoutZone(host));
}

/** Why a certificate is not for this host; `null` if it is. */
export function nameProblem({ names }: Certificate, host: string): string | null {
  if (names === null) return "has no subjectAltName, and its subject does not count";
  const address = hostAddress(host);
  const name = address === null ? canonicalDnsName(host) : null;
  const matches = address !== null
    ? names.some(({ type, value }) => type === "IP Address" && value === address)
    : name !== null && names.some((each) => matchesDnsName(each, name));
  if (matches) return null;
  const listed = names.map(({ type, value }) => `${type}:${value}`).join(", ");
  return `is not for ${quote(host)}; its names are ${quote(listed)}`;
}

/** A wildcard matches exactly one label, and at least two must follow it (RFC 9525 §6.3). */
function matchesDnsName({ type, value }: CertificateName, name: string): boolean {
  if (type !== "DNS") return false;
  const presented = value.toLowerCase();
  if (!presented.startsWith("*.")) return presented === name;
  const parent = presented.slice(2);
  const dot = name.indexOf(".");
  return parent.includes(".") && dot > 0 && name.slice(dot + 1) === parent;
}
