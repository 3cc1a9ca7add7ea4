/**
 * Whether a certificate is for the server that was meant (RFC 9525): by its subjectAltName alone, never
 * by its subject.
 *
 * @module
 */

import { quote } from "../../base/errors.ts";
import { canonicalIPAddress } from "../addresses.ts";
import type { AlternativeName, Certificate } from "./certificate.ts";

const MAX_NAME_LENGTH = 253;
const LABEL = /^[0-9A-Za-z_-]{1,63}$/;

/** The IP address in the form that it is compared in, without a zone; `null` where it is none. */
export function normaliseIpAddress(host: string): string | null {
  const [address = ""] = host.split("%");
  return canonicalIPAddress(address);
}

/** The DNS name in the form that it is compared in, without a last dot; `null` where it is none. */
export function normaliseDnsName(host: string): string | null {
  const name = host.endsWith(".") ? host.slice(0, -1) : host;
  if (name.length > MAX_NAME_LENGTH) return null;
  const labels = name.split(".");
  const isName = labels.every((label) => LABEL.test(label)) &&
    !/^[0-9]+$/.test(labels.at(-1) ?? "");
  // Checked before, as other letters have an ASCII one in lower case: the Kelvin sign has k.
  return isName ? name.toLowerCase() : null;
}

/** Why a certificate is not for this host; `null` where it is. */
export function nameProblem({ names }: Certificate, host: string): string | null {
  if (names === null) return "has no subjectAltName, and its subject does not count";
  const address = normaliseIpAddress(host);
  const name = address === null ? normaliseDnsName(host) : null;
  const matches = address !== null
    ? names.some(({ type, value }) => type === "IP Address" && value === address)
    : name !== null && names.some((each) => matchesDnsName(each, name));
  if (matches) return null;
  const listed = names.map(({ type, value }) => `${type}:${value}`).join(", ");
  return `is not for ${quote(host)}; its names are ${quote(listed)}`;
}

/** A wildcard stands for exactly one label, and two have to follow it (RFC 9525 §6.3). */
function matchesDnsName({ type, value }: AlternativeName, name: string): boolean {
  if (type !== "DNS") return false;
  const presented = value.toLowerCase();
  if (!presented.startsWith("*.")) return presented === name;
  const parent = presented.slice(2);
  const dot = name.indexOf(".");
  return parent.includes(".") && dot > 0 && name.slice(dot + 1) === parent;
}
