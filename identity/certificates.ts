/**
 * Makes keys with WebCrypto and X.509 certificates for them with `@peculiar/x509`: a certificate
 * authority, and the certificates that the authority signs. No file is touched here.
 *
 * The library is loaded with the first certificate. It brings `reflect-metadata`, which then adds
 * its functions to the global `Reflect`; loading needs no permission.
 */

import type { Extension, X509Certificate } from "npm:@peculiar/x509@^1.14.3";
import { canonicalDnsName, canonicalIPAddress } from "../base/address.ts";
import { quote } from "../base/quote.ts";

/** A certificate and its private key, as unencrypted PKCS #8, both as PEM text. */
export interface PemPair {
  readonly certificate: string;
  readonly privateKey: string;
}

/** The purposes of a certificate's key (RFC 5280 §4.2.1.12). */
type CertificateUsage = "serverAuth" | "clientAuth";

/** A certificate's subject: each attribute has at most 64 characters (RFC 5280 appendix A.1). */
export interface Subject {
  readonly commonName: string;
  readonly organization?: string;
}

/** The contents of a certificate for a server, for a client or for both. */
export interface LeafProfile {
  readonly subject: Subject;
  readonly usages: readonly CertificateUsage[];
  readonly alternativeNames: readonly AlternativeName[];
  /** Days until the certificate expires, which is never after its authority does. */
  readonly days: number;
}

type X509 = typeof import("npm:@peculiar/x509@^1.14.3");

const DAY = 24 * 60 * 60 * 1000;
/**
 * Certificates are valid from a day before they are made, because the clock of a peer may treat
 * local time as UTC.
 */
const CLOCK_SKEW = DAY;

const KEY_ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING_ALGORITHM = { name: "ECDSA", hash: "SHA-256" } as const;

/**
 * Makes a certificate authority: an ECDSA P-256 key and a self-signed certificate that may sign the
 * certificates of servers and clients, but no further authority.
 *
 * @param subject The name, which should differ from the names of all other authorities.
 */
export async function createAuthority(subject: Subject, days: number): Promise<PemPair> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerialNumber(),
    name: distinguishedName(subject),
    ...validity(days),
    keys,
    signingAlgorithm: SIGNING_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
    ],
  }, crypto);
  return await toPemPair(x509, certificate, keys.privateKey);
}

/** Makes an ECDSA P-256 key, and a certificate for the key that the authority signs. */
export async function createLeaf(authority: PemPair, profile: LeafProfile): Promise<PemPair> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const certificate = await signLeaf(x509, authority, keys.publicKey, profile);
  return await toPemPair(x509, certificate, keys.privateKey);
}

/** Makes a new certificate for the key of an old one; both are PEM text. */
export async function renewLeaf(
  authority: PemPair,
  certificate: string,
  profile: LeafProfile,
): Promise<string> {
  const x509 = await loadX509();
  const { publicKey } = new x509.X509Certificate(certificate);
  const key = await publicKey.export(KEY_ALGORITHM, ["verify"], crypto);
  return toPem(await signLeaf(x509, authority, key, profile));
}

async function signLeaf(
  x509: X509,
  authority: PemPair,
  publicKey: CryptoKey,
  profile: LeafProfile,
): Promise<X509Certificate> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const key = x509.PemConverter.decodeFirst(authority.privateKey);
  const extensions: Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension(profile.usages.map((usage) => x509.ExtendedKeyUsage[usage])),
    await x509.SubjectKeyIdentifierExtension.create(publicKey, false, crypto),
    await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, crypto),
  ];
  if (profile.alternativeNames.length > 0) {
    extensions.push(new x509.SubjectAlternativeNameExtension([...profile.alternativeNames]));
  }
  return await x509.X509CertificateGenerator.create({
    serialNumber: randomSerialNumber(),
    subject: distinguishedName(profile.subject),
    issuer: issuer.subjectName,
    ...validity(profile.days, issuer.notAfter),
    publicKey,
    signingKey: await crypto.subtle.importKey("pkcs8", key, KEY_ALGORITHM, false, ["sign"]),
    signingAlgorithm: SIGNING_ALGORITHM,
    extensions,
  }, crypto);
}

function loadX509(): Promise<X509> {
  return import("npm:@peculiar/x509@^1.14.3");
}

/** Keys are extractable because they go to files. */
async function generateKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(KEY_ALGORITHM, true, ["sign", "verify"]);
}

async function toPemPair(
  x509: X509,
  certificate: X509Certificate,
  privateKey: CryptoKey,
): Promise<PemPair> {
  const der = await crypto.subtle.exportKey("pkcs8", privateKey);
  const pem = x509.PemConverter.encode(der, x509.PemConverter.PrivateKeyTag);
  return { certificate: toPem(certificate), privateKey: `${pem}\n` };
}

function toPem(certificate: X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

/** Writes a name as a list of attributes, so that no character of a value counts as syntax. */
function distinguishedName({ organization, commonName }: Subject): Record<string, string[]>[] {
  const name = [{ CN: [commonName] }];
  return organization === undefined ? name : [{ O: [organization] }, ...name];
}

function validity(days: number, limit?: Date): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  const end = Math.min(now + days * DAY, limit?.getTime() ?? Infinity);
  return { notBefore: new Date(now - CLOCK_SKEW), notAfter: new Date(end) };
}

/**
 * 126 random bits in 16 bytes, as hexadecimal digits. The first two bits are 0 and 1: positive,
 * and without a leading zero byte, as DER wants an integer (RFC 5280 §4.1.2.2).
 */
function randomSerialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0]! &= 0x3f;
  bytes[0]! |= 0x40;
  return bytes.toHex();
}

/** One entry of a certificate's subjectAltName (RFC 5280 §4.2.1.6), in canonical form. */
export interface AlternativeName {
  readonly type: "dns" | "ip";
  readonly value: string;
}

/**
 * Certificates may not contain names that some hosts have: with underscores, or hyphens at an end.
 */
const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/**
 * Reads a DNS name or a literal IP address: `camera-1.local`, `192.168.7.2`, `fe80::1`.
 *
 * A DNS name has letters, digits, hyphens and dots only (RFC 1123 §2.1): no wildcard, no trailing
 * dot, and no last label of digits, which could be taken for an IPv4 address.
 *
 * @throws {RangeError} if the text is neither, or an IPv6 address with a zone, which a certificate
 * can't hold.
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
