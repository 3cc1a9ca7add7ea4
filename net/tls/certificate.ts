/**
 * A parser of certificates (RFC 5280). Names are parsed from the DER, because in a text form a
 * forged name can look like two names.
 */

import { formatIPAddress } from "../../base/address.ts";
import type { PeerAuthority, PeerCertificate } from "../../base/app/session.ts";
import { checkString, notAllowedError } from "../../internal/checks.ts";
import {
  decodeString,
  decodeTime,
  type DerElement,
  type DerReader,
  formatObjectIdentifier,
  readDer,
  TAG,
} from "./der.ts";
import { loadBuiltin } from "../transport/runtime.ts";

/** The purposes of a certificate, by the object identifiers of RFC 5280 §4.2.1.12. */
export const PURPOSE = {
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** `anyExtendedKeyUsage`, which allows an authority every purpose. */
export const ANY_PURPOSE = "2.5.29.37.0";

export interface CertificateName {
  /** `"DNS"`, `"IP Address"`, `"URI"`, `"email"` or another type. */
  readonly type: string;
  /** The name as written in the certificate; a literal IP address for `"IP Address"`. */
  readonly value: string;
}

export interface Certificate {
  readonly version: number;
  /** The subject, one line per attribute, for display. */
  readonly subject: string;
  readonly issuer: string;
  /** The subject in DER, as hex: names are compared only in this form. */
  readonly subjectDer: string;
  readonly issuerDer: string;
  readonly validFrom: Date;
  readonly validTo: Date;
  readonly names: readonly CertificateName[] | null;
  readonly isAuthority: boolean;
  readonly purposes: readonly string[] | null;
  /** Whether the key may sign a handshake; true without a keyUsage. */
  readonly maySign: boolean;
  readonly raw: Uint8Array<ArrayBuffer>;
  /** The SubjectPublicKeyInfo, in DER. */
  readonly publicKey: Uint8Array;
  /** The SHA-256 of the whole certificate: `AB:CD:…`. */
  readonly certificate256: string;
  /** The SHA-256 of its SubjectPublicKeyInfo: `AB:CD:…`. */
  readonly publicKey256: string;
  readonly subjectKeyId: string | null;
  readonly authorityKeyId: string | null;
  readonly pathLength: number | null;
  /** Whether its key may sign certificates; true without a keyUsage. */
  readonly maySignCertificates: boolean;
  readonly hasKeyUsage: boolean;
  /**
   * The object identifier of an extension that this package doesn't check: nameConstraints, or an
   * unknown critical extension; `null` without such an extension.
   */
  readonly uncheckedExtension: string | null;
  /** The object identifiers of the critical extensions. */
  readonly criticalExtensions: readonly string[];
  readonly signedPart: Uint8Array;
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

export const EXTENSION = {
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  cRLDistributionPoints: "2.5.29.31",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
} as const;

/** The extensions that may be critical in an authority. */
const CHECKED_EXTENSIONS: readonly string[] = [
  EXTENSION.subjectKeyIdentifier,
  EXTENSION.keyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.basicConstraints,
  EXTENSION.authorityKeyIdentifier,
  EXTENSION.extendedKeyUsage,
];

/** The critical extensions that the TLS library supports in a leaf. */
const SUPPORTED_CRITICAL_EXTENSIONS: readonly string[] = [
  EXTENSION.basicConstraints,
  EXTENSION.keyUsage,
  EXTENSION.extendedKeyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.nameConstraints,
  EXTENSION.cRLDistributionPoints,
];

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

const KEY_USAGE = { digitalSignature: 0x80, keyCertSign: 0x04 } as const;

/** The types of names, by their tag with class and form (RFC 5280 §4.2.1.6). */
const NAME_TYPES: ReadonlyMap<number, string> = new Map([
  [0xa0, "othername"],
  [0x81, "email"],
  [0x82, "DNS"],
  [0xa3, "X400Name"],
  [0xa4, "DirName"],
  [0xa5, "EDIPartyName"],
  [0x86, "URI"],
  [0x87, "IP Address"],
  [0x88, "Registered ID"],
]);

/** @throws {RangeError} if the bytes aren't a certificate in DER. */
export function parseCertificate(der: Uint8Array): Certificate {
  const raw = Uint8Array.from(der);
  return readDer(raw, (reader) =>
    reader.readNested(TAG.sequence, (certificate) => {
      const signedPart = certificate.readWhole(TAG.sequence);
      const algorithmDer = certificate.readWhole(TAG.sequence);
      const signature = certificate.readBitString(0);
      const readSigned = (fields: DerReader) => readSignedPart(fields, algorithmDer.toHex());
      const signedFields = readDer(
        signedPart,
        (reader) => reader.readNested(TAG.sequence, readSigned),
      );
      const algorithm = readDer(algorithmDer, readAlgorithm);
      const certificate256 = computeFingerprint(raw);
      return { ...signedFields, raw, certificate256, signedPart, algorithm, signature };
    }));
}

/** Reads the signed part, which also names the algorithm of the signature (RFC 5280 §4.1.2.3). */
function readSignedPart(fields: DerReader, algorithmDer: string) {
  const version = readVersion(fields.readContentIf(0xa0));
  fields.readInteger();
  if (fields.readWhole(TAG.sequence).toHex() !== algorithmDer) {
    throw notAllowedError("DER", "two algorithms of one signature");
  }
  const issuer = fields.readContent(TAG.sequence);
  const [validFrom, validTo] = fields.readNested(TAG.sequence, readValidity);
  const subject = fields.readContent(TAG.sequence);
  const publicKey = fields.readWhole(TAG.sequence);
  readDer(publicKey, readKeyBits);
  const { extensions, criticalExtensions } = readExtensions(fields);
  const readValue = <T>(type: string, read: (value: DerReader) => T): T | null => {
    const value = extensions.get(type);
    return value === undefined ? null : readDer(value, read);
  };
  // Refuse a certificate that the TLS library can't read: a client of Deno 2.9.6 then takes the
  // signature of the handshake for valid. The library also reads these two extensions.
  for (const type of [EXTENSION.nameConstraints, EXTENSION.cRLDistributionPoints]) {
    readValue(type, (value) => value.readContent(TAG.sequence));
  }
  const constraints = readValue(EXTENSION.basicConstraints, readBasicConstraints);
  const keyUsage = readValue(EXTENSION.keyUsage, (value) => value.readBitString());
  return {
    version,
    subject: readDer(subject, readName),
    issuer: readDer(issuer, readName),
    subjectDer: subject.toHex(),
    issuerDer: issuer.toHex(),
    validFrom,
    validTo,
    names: readValue(EXTENSION.subjectAltName, readAlternativeNames),
    isAuthority: constraints?.isAuthority ?? false,
    purposes: readValue(EXTENSION.extendedKeyUsage, readPurposes),
    maySign: hasUsage(keyUsage, KEY_USAGE.digitalSignature),
    publicKey,
    publicKey256: computeFingerprint(publicKey),
    subjectKeyId: readValue(
      EXTENSION.subjectKeyIdentifier,
      (value) => value.readContent(TAG.octetString).toHex(),
    ),
    authorityKeyId: readValue(EXTENSION.authorityKeyIdentifier, readAuthorityKeyId),
    pathLength: constraints?.pathLength ?? null,
    maySignCertificates: hasUsage(keyUsage, KEY_USAGE.keyCertSign),
    hasKeyUsage: keyUsage !== null,
    uncheckedExtension: extensions.has(EXTENSION.nameConstraints)
      ? EXTENSION.nameConstraints
      : criticalExtensions.find((type) => !CHECKED_EXTENSIONS.includes(type)) ?? null,
    criticalExtensions,
  };
}

export function describeCertificate(
  certificate: Certificate,
  authority: PeerAuthority | null,
): PeerCertificate {
  const cachedDescription = peerDescriptions.get(certificate);
  if (cachedDescription?.authority === authority) return cachedDescription;
  const { subject, issuer, names, validFrom, validTo, raw, certificate256, publicKey256 } =
    certificate;
  const subjectAltNames = (names ?? []).map(({ type, value }) => `${type}:${escapeText(value)}`);
  const description: PeerCertificate = Object.freeze({
    subject,
    issuer,
    // Arrays, dates and bytes are copied, because the receiver may change them.
    get subjectAltNames() {
      return [...subjectAltNames];
    },
    fingerprint256: certificate256,
    publicKey256,
    authority,
    get validFrom() {
      return new Date(validFrom);
    },
    get validTo() {
      return new Date(validTo);
    },
    get raw() {
      return Uint8Array.from(raw);
    },
  });
  peerDescriptions.set(certificate, description);
  return description;
}

/** The descriptions of certificates, which all connections of a peer share. */
const peerDescriptions = new WeakMap<Certificate, PeerCertificate>();
const authorityDescriptions = new WeakMap<Certificate, PeerAuthority>();

export function describeAuthority(certificate: Certificate): PeerAuthority {
  const { subject, raw, certificate256, publicKey256 } = certificate;
  return authorityDescriptions.getOrInsertComputed(certificate, () =>
    Object.freeze({
      subject,
      fingerprint256: certificate256,
      publicKey256,
      // Bytes are copied, because the receiver may change them.
      get raw() {
        return Uint8Array.from(raw);
      },
    }));
}

export function computeFingerprint(der: Uint8Array): string {
  const { createHash } = loadBuiltin("node:crypto");
  const digest = createHash("sha256").update(der).digest("hex");
  return digest.toUpperCase().replaceAll(/(..)(?!$)/g, "$1:");
}

/**
 * Computes the SHA-256 of the public key of a certificate, `AB:CD:…`, of its SubjectPublicKeyInfo
 * (RFC 5280 §4.1.2.7), to compare with the `publicKey256` of a peer or of its authority.
 *
 * @param pem The text of a PEM file; if it has several certificates, the first one is used.
 * @throws {TypeError} if the text is not a string.
 * @throws {RangeError} if the text holds no certificate.
 *
 * @example Know a client by its authority
 * ```ts
 * import { type App, publicKey256, SSLClient, SSLServer } from "@degu/degu";
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const known = publicKey256(await Deno.readTextFile(pki.serverSslconfig.caFile!));
 * const app: App = (_request, session) => {
 *   const isKnown = session.peerCertificate?.authority?.publicKey256 === known;
 *   return [200, "OK", { known: `${isKnown}` }, null];
 * };
 * await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * assertEquals((await client.request("GET", "/")).headers["known"], "true");
 * ```
 */
export function publicKey256(pem: string): string {
  checkString("pem", pem);
  const { X509Certificate } = loadBuiltin("node:crypto");
  let der;
  try {
    der = new X509Certificate(pem).raw;
  } catch {
    throw notAllowedError(
      "pem",
      'must be a certificate in PEM form, which begins with "-----BEGIN CERTIFICATE-----"',
    );
  }
  return parseCertificate(der).publicKey256;
}

/**
 * Formats a certificate as PEM text, so that the TLS library gets only checked bytes, and not the
 * text of a file.
 */
export function formatPem(der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

export function isSelfIssued({ subjectDer, issuerDer }: Certificate): boolean {
  return subjectDer === issuerDer;
}

/** The first and the last moment count as valid (RFC 5280 §4.1.2.5). */
export function findValidityProblem(
  { validFrom, validTo }: Pick<Certificate, "validFrom" | "validTo">,
  now: number,
): string | null {
  const isEarly = now < validFrom.getTime();
  if (!isEarly && now <= validTo.getTime()) return null;
  return `${isEarly ? "is not valid yet" : "has expired"}: it is valid from ` +
    `${validFrom.toISOString()} to ${validTo.toISOString()}, and ${formatClock(now)}`;
}

export function formatClock(now: number): string {
  return `the clock of this device says ${new Date(now).toISOString()}`;
}

export function findUsageProblem(
  certificate: Certificate,
  purpose: keyof typeof PURPOSE,
): string | null {
  if (certificate.version !== 3) return `has version ${certificate.version} instead of 3`;
  if (certificate.isAuthority) return "is the certificate of an authority";
  if (certificate.purposes !== null && !certificate.purposes.includes(PURPOSE[purpose])) {
    return `has an extendedKeyUsage without ${purpose}`;
  }
  if (!certificate.maySign) return "has a keyUsage without digitalSignature";
  return null;
}

/** Finds a critical extension for which the TLS library refuses a leaf. */
export function findUnsupportedExtension({ criticalExtensions }: Certificate): string | null {
  return criticalExtensions.find((type) => !SUPPORTED_CRITICAL_EXTENSIONS.includes(type)) ?? null;
}

function readAlgorithm(identifier: DerReader): string {
  return identifier.readNested(TAG.sequence, (sequence) => {
    const algorithm = formatObjectIdentifier(sequence.readContent(TAG.objectIdentifier));
    if (!sequence.isAtEnd) sequence.readElement();
    return algorithm;
  });
}

export function readKeyBits(publicKey: DerReader): Uint8Array {
  return publicKey.readNested(TAG.sequence, (info) => {
    readAlgorithm(info);
    return info.readBitString(0);
  });
}

function readValidity(sequence: DerReader): [from: Date, to: Date] {
  return [decodeTime(sequence.readElement()), decodeTime(sequence.readElement())];
}

function readName(sequence: DerReader): string {
  const lines: string[] = [];
  const readAttribute = (attribute: DerReader) => {
    const type = formatObjectIdentifier(attribute.readContent(TAG.objectIdentifier));
    lines.push(`${ATTRIBUTES[type] ?? type}=${escapeText(decodeString(attribute.readElement()))}`);
  };
  while (!sequence.isAtEnd) {
    sequence.readNested(TAG.set, (set) => {
      while (!set.isAtEnd) set.readNested(TAG.sequence, readAttribute);
    });
  }
  return lines.join("\n");
}

/** Escapes backslashes, and in hex all characters that could end a line or hide text. */
function escapeText(text: string): string {
  return text.replaceAll(
    // deno-lint-ignore no-control-regex
    /[\\\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => character === "\\" ? "\\\\" : `\\u{${character.charCodeAt(0).toString(16)}}`,
  );
}

function readExtensions(
  fields: DerReader,
): { extensions: Map<string, Uint8Array>; criticalExtensions: string[] } {
  const extensions = new Map<string, Uint8Array>();
  const criticalExtensions: string[] = [];
  const readExtension = (extension: DerReader) => {
    const type = formatObjectIdentifier(extension.readContent(TAG.objectIdentifier));
    if (extension.hasTag(TAG.boolean) && extension.readBoolean()) criticalExtensions.push(type);
    if (extensions.has(type)) throw notAllowedError("DER", `two extensions of the type ${type}`);
    extensions.set(type, extension.readContent(TAG.octetString));
  };
  const extensionsDer = fields.readContentIf(0xa3);
  if (extensionsDer !== null) {
    readDer(extensionsDer, (extensionList) =>
      extensionList.readNested(TAG.sequence, (sequence) => {
        while (!sequence.isAtEnd) sequence.readNested(TAG.sequence, readExtension);
      }));
  }
  return { extensions, criticalExtensions };
}

function readAlternativeNames(extension: DerReader): CertificateName[] {
  return extension.readNested(TAG.sequence, (elements) => {
    const names: CertificateName[] = [];
    while (!elements.isAtEnd) names.push(readAlternativeName(elements.readElement()));
    return names;
  });
}

function readAlternativeName(element: DerElement): CertificateName {
  const type = NAME_TYPES.get(element.tag);
  switch (type) {
    case "email":
    case "DNS":
    case "URI":
      return { type, value: decodeString(element) };
    case "IP Address":
      return { type, value: formatIPAddress(element.content) ?? "<invalid>" };
    case "DirName":
      return {
        type,
        value: readDer(element.content, (name) => name.readNested(TAG.sequence, readName)),
      };
    case "Registered ID":
      return { type, value: formatObjectIdentifier(element.content) };
    case undefined:
      // Other libraries read some of these elements as names.
      throw notAllowedError("DER", `the tag ${element.tag} isn't that of a GeneralName`);
    default:
      return { type, value: "<unsupported>" };
  }
}

/** Version 1 has the number 0, and is omitted (RFC 5280 §4.1.2.1). */
function readVersion(versionDer: Uint8Array | null): number {
  return versionDer === null ? 1 : readDer(versionDer, (version) => version.readNatural() + 1);
}

function readBasicConstraints(
  extension: DerReader,
): { isAuthority: boolean; pathLength: number | null } {
  return extension.readNested(TAG.sequence, (constraints) => ({
    isAuthority: constraints.hasTag(TAG.boolean) && constraints.readBoolean(),
    pathLength: constraints.hasTag(TAG.integer) ? constraints.readNatural() : null,
  }));
}

function readPurposes(extension: DerReader): string[] {
  return extension.readNested(TAG.sequence, (elements) => {
    const purposes = [];
    while (!elements.isAtEnd) {
      purposes.push(formatObjectIdentifier(elements.readContent(TAG.objectIdentifier)));
    }
    return purposes;
  });
}

function readAuthorityKeyId(extension: DerReader): string | null {
  return extension.readNested(TAG.sequence, (fields) => {
    const key = fields.readContentIf(0x80)?.toHex() ?? null;
    // Skip the name and the serial number of the issuer's certificate.
    fields.readContentIf(0xa1);
    fields.readContentIf(0x82);
    return key;
  });
}

/** Reports whether a bit of the first byte is set (RFC 5280 §4.2.1.3). */
function hasUsage(keyUsage: Uint8Array | null, bit: number): boolean {
  return keyUsage === null || ((keyUsage[0] ?? 0) & bit) !== 0;
}
