/**
 * What a certificate says (RFC 5280). The signatures are the business of the TLS library; this reads
 * names without the doubts of a text form, in which one name can be made to look like two.
 *
 * @module
 */

import type { PeerCertificate } from "../base/session.ts";
import {
  decodeString,
  decodeTime,
  type DerElement,
  DerReader,
  formatObjectIdentifier,
  TAG,
} from "./tls_der.ts";
import { loadBuiltin } from "./tls_modules.ts";

/** What an end may use its certificate for, as the object identifiers of RFC 5280 §4.2.1.12. */
export const PURPOSE = {
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** One name of a certificate (RFC 5280 §4.2.1.6). */
export interface AlternativeName {
  /** `"DNS"`, `"IP Address"`, `"URI"`, `"email"` or another type. */
  readonly type: string;
  /** The name, as it stands in the certificate; a literal IP address for `"IP Address"`. */
  readonly value: string;
}

/** A certificate, taken apart. */
export interface Certificate {
  /** The version, 3 for all that have extensions. */
  readonly version: number;
  /** Whom it is for, a line per attribute. */
  readonly subject: string;
  /** Who signed it. */
  readonly issuer: string;
  /** The first moment at which it is valid. */
  readonly validFrom: Date;
  /** The last one. */
  readonly validTo: Date;
  /** The names it is for; `null` without the extension. */
  readonly names: readonly AlternativeName[] | null;
  /** Whether it may sign other certificates. */
  readonly isAuthority: boolean;
  /** What it may be used for; `null` without the extension. */
  readonly purposes: readonly string[] | null;
  /** Whether it may sign a handshake; true without the extension. */
  readonly maySign: boolean;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array;
}

/** The extensions that are looked at. */
const EXTENSION = {
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extendedKeyUsage: "2.5.29.37",
} as const;

/** The short names of the attributes that distinguished names have. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.9": "street",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "title",
  "2.5.4.42": "GN",
  "0.9.2342.19200300.100.1.1": "UID",
  "0.9.2342.19200300.100.1.25": "DC",
  "1.2.840.113549.1.9.1": "emailAddress",
};

const NAME_TYPES = [
  "othername",
  "email",
  "DNS",
  "X400Name",
  "DirName",
  "EDIPartyName",
  "URI",
  "IP Address",
  "Registered ID",
] as const;

/**
 * Takes a certificate apart.
 *
 * @param der The certificate in DER.
 * @throws {RangeError} where it isn't one.
 */
export function parseCertificate(der: Uint8Array): Certificate {
  const raw = Uint8Array.from(der);
  const body = new DerReader(raw).enter(TAG.sequence).enter(TAG.sequence);
  const version = (body.takeIf(0xa0)?.at(-1) ?? 0) + 1;
  body.take(TAG.integer);
  body.take(TAG.sequence);
  const issuer = readName(body.enter(TAG.sequence));
  const validity = body.enter(TAG.sequence);
  const validFrom = decodeTime(validity.next());
  const validTo = decodeTime(validity.next());
  const subject = readName(body.enter(TAG.sequence));
  body.take(TAG.sequence);
  const extensions = readExtensions(body);
  return {
    version,
    subject,
    issuer,
    validFrom,
    validTo,
    names: readAlternativeNames(extensions.get(EXTENSION.subjectAltName)),
    isAuthority: readAuthority(extensions.get(EXTENSION.basicConstraints)),
    purposes: readPurposes(extensions.get(EXTENSION.extendedKeyUsage)),
    maySign: readMaySign(extensions.get(EXTENSION.keyUsage)),
    raw,
  };
}

/** What a session or a socket tells of the certificate of its peer. */
export function describeCertificate(certificate: Certificate): PeerCertificate {
  const { subject, issuer, names, validFrom, validTo, raw } = certificate;
  return Object.freeze({
    subject,
    issuer,
    subjectAltNames: (names ?? []).map(({ type, value }) => `${type}:${escapeText(value)}`),
    fingerprint256: fingerprint256(raw),
    validFrom,
    validTo,
    raw,
  });
}

/** The SHA-256 of a certificate in DER: `AB:CD:…`. */
export function fingerprint256(der: Uint8Array): string {
  const { createHash } = loadBuiltin("node:crypto");
  const digest = createHash("sha256").update(der).digest("hex");
  return digest.toUpperCase().replaceAll(/(..)(?!$)/g, "$1:");
}

/** Why a certificate can't be used at this time; `null` where it can. */
export function validityProblem({ validFrom, validTo }: Certificate, now: number): string | null {
  if (now < validFrom.getTime()) return `is not valid before ${validFrom.toISOString()}`;
  if (now > validTo.getTime()) return `has expired at ${validTo.toISOString()}`;
  return null;
}

/** Why a certificate can't stand for an end of a connection; `null` where it can. */
export function usageProblem(
  certificate: Certificate,
  purpose: keyof typeof PURPOSE,
): string | null {
  if (certificate.version !== 3) return `has version ${certificate.version} in place of 3`;
  if (certificate.isAuthority) return "is the certificate of an authority";
  if (certificate.purposes !== null && !certificate.purposes.includes(PURPOSE[purpose])) {
    return `has an extendedKeyUsage without ${purpose}`;
  }
  if (!certificate.maySign) return "has a keyUsage without digitalSignature";
  return null;
}

function readName(sequence: DerReader): string {
  const lines: string[] = [];
  while (!sequence.done) {
    const set = sequence.enter(TAG.set);
    while (!set.done) {
      const attribute = set.enter(TAG.sequence);
      const type = formatObjectIdentifier(attribute.take(TAG.objectIdentifier));
      lines.push(`${ATTRIBUTES[type] ?? type}=${escapeText(decodeString(attribute.next()))}`);
    }
  }
  return lines.join("\n");
}

/** What could be taken for the end of a line, or hide something, is shown in hex. */
function escapeText(text: string): string {
  return text.replaceAll(
    // deno-lint-ignore no-control-regex
    /[\\\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => character === "\\" ? "\\\\" : `\\u{${character.charCodeAt(0).toString(16)}}`,
  );
}

function readExtensions(body: DerReader): Map<string, DerReader> {
  const extensions = new Map<string, DerReader>();
  while (!body.done) {
    const { tag, content } = body.next();
    // [3] is the list of extensions; [1] and [2] are identifiers that nobody uses.
    if (tag !== 0xa3) continue;
    const list = new DerReader(content).enter(TAG.sequence);
    while (!list.done) {
      const extension = list.enter(TAG.sequence);
      const type = formatObjectIdentifier(extension.take(TAG.objectIdentifier));
      extension.takeIf(TAG.boolean);
      if (extensions.has(type)) throw new RangeError(`DER: two extensions of the type ${type}`);
      extensions.set(type, extension.enter(TAG.octetString));
    }
  }
  return extensions;
}

function readAlternativeNames(extension: DerReader | undefined): AlternativeName[] | null {
  if (extension === undefined) return null;
  const names: AlternativeName[] = [];
  const list = extension.enter(TAG.sequence);
  while (!list.done) names.push(readAlternativeName(list.next()));
  return names;
}

function readAlternativeName(element: DerElement): AlternativeName {
  const type = NAME_TYPES[element.tag & 0x1f] ?? "unknown";
  switch (type) {
    case "email":
    case "DNS":
    case "URI":
      return { type, value: decodeString(element) };
    case "IP Address":
      return { type, value: formatIpAddress(element.content) };
    case "DirName":
      return { type, value: readName(new DerReader(element.content).enter(TAG.sequence)) };
    case "Registered ID":
      return { type, value: formatObjectIdentifier(element.content) };
    default:
      return { type, value: "<unsupported>" };
  }
}

/** Formats an address as `normaliseIpAddress` does; other than 4 or 16 bytes are no address. */
function formatIpAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return "<invalid>";
  const groups = [];
  for (let at = 0; at < 16; at += 2) groups.push((bytes[at]! * 256 + bytes[at + 1]!).toString(16));
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}

function readAuthority(extension: DerReader | undefined): boolean {
  return (extension?.enter(TAG.sequence).takeIf(TAG.boolean)?.[0] ?? 0) !== 0;
}

function readPurposes(extension: DerReader | undefined): string[] | null {
  if (extension === undefined) return null;
  const purposes = [];
  const list = extension.enter(TAG.sequence);
  while (!list.done) purposes.push(formatObjectIdentifier(list.take(TAG.objectIdentifier)));
  return purposes;
}

/** The first bit after the count of unused bits is digitalSignature (RFC 5280 §4.2.1.3). */
function readMaySign(extension: DerReader | undefined): boolean {
  return extension === undefined || ((extension.take(TAG.bitString)[1] ?? 0) & 0x80) !== 0;
}
