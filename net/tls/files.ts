/**
 * Reads and checks keys and certificates before anything is connected. No message here shows the contents of
 * a file.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";
import { quote } from "../../base/errors.ts";
import {
  type Certificate,
  fingerprint256,
  parseCertificate,
  type PURPOSE,
  usageProblem,
  validityProblem,
} from "./certificate.ts";
import { isUsableKey, USABLE_KEYS } from "./keys.ts";
import { loadBuiltin } from "./modules.ts";

/** The input of the TLS library, in PEM. */
export interface TlsIdentity {
  /** The certificate, and those that lead to its authority. */
  readonly cert: string;
  /** Its private key. */
  readonly key: string;
}

/** A value that was read, and warnings about it. */
export interface WithWarnings<T> {
  readonly value: T;
  readonly warnings: readonly string[];
}

const KEY_BLOCK = /-----BEGIN ((?:RSA |EC |)PRIVATE KEY)-----[^-]+-----END \1-----/g;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED/;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g;
const CERTIFICATE_BEGIN = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;

const MAX_NAMESAKES = 100;

/** The files that a directory of authorities is made of; OpenSSL names them by hash and number. */
const AUTHORITY_FILE = /\.(?:pem|crt|cer)$|^[0-9a-f]{8}\.[0-9]+$/i;

/** A source of PEM text. */
export interface PemSource {
  /** The option that names it. */
  readonly option: string;
  /** The name of the source in messages. */
  readonly name: string;
  /** Reads it. */
  read(): string;
}

/** The sources of a certificate and its key. */
export interface IdentitySources {
  readonly certificates: PemSource;
  readonly privateKey: PemSource;
}

/** A certificate with its PEM. */
export interface PemCertificate {
  readonly pem: string;
  readonly certificate: Certificate;
}

/**
 * Reads a certificate with its chain, and its private key.
 *
 * @throws {RangeError} if they can't be used; an error of the file system if they can't be read.
 */
export function readIdentity(
  { certificates, privateKey }: IdentitySources,
  purpose: keyof typeof PURPOSE,
): WithWarnings<TlsIdentity> {
  const chain = readCertificates(certificates);
  const { pem: key, keyObject } = readKey(privateKey);
  const [leaf] = chain;
  const { X509Certificate } = loadBuiltin("node:crypto");
  if (!new X509Certificate(leaf!.pem).checkPrivateKey(keyObject)) {
    throw new RangeError(
      `${privateKey.option}: the key in ${privateKey.name} does not belong to the first ` +
        `certificate in ${certificates.name}`,
    );
  }
  const { option } = certificates;
  const usage = usageProblem(leaf!.certificate, purpose);
  const warnings = chain.flatMap((each, index) => validityWarnings(option, each, index));
  if (usage !== null) warnings.unshift(`${option}: the certificate ${usage}; peers will refuse it`);
  return { value: { cert: chain.map(({ pem }) => pem).join(""), key }, warnings };
}

/**
 * Reads the authorities to trust, all of those in the sources together.
 *
 * @throws {RangeError} if a source has none, or one that can't sign; an error of the file system if
 * it can't be read.
 */
export function readAuthorities(
  sources: readonly PemSource[],
): WithWarnings<readonly PemCertificate[]> {
  const authorities = new Map<string, PemCertificate>();
  const warnings: string[] = [];
  for (const source of sources) {
    for (const [index, each] of readCertificates(source).entries()) {
      const fingerprint = fingerprint256(each.certificate.raw);
      if (authorities.has(fingerprint)) continue;
      checkAuthority(source, each.certificate, index);
      authorities.set(fingerprint, each);
      warnings.push(...validityWarnings(source.option, each, index, source.name));
    }
  }
  const read = [...authorities.values()];
  return { value: read, warnings: [...warnings, ...nameWarnings(read)] };
}

/** A file of PEM text. */
export function pemFile(option: string, path: string): PemSource {
  const read = () => attempt(option, () => Deno.readTextFileSync(path));
  return { option, name: quote(path), read };
}

/**
 * The files of a directory of authorities.
 *
 * @throws {RangeError} if there is none; an error of the file system if it can't be read.
 */
export function pemDirectory(option: string, path: string): PemSource[] {
  return listAuthorityFiles(option, path).map((file) => pemFile(option, file));
}

/** Text that was given directly; never shown. */
export function pemText(option: string, text: string, name = "the text"): PemSource {
  return { option, name, read: () => text };
}

function listAuthorityFiles(option: string, caPath: string): string[] {
  const names = attempt(option, () => Array.from(Deno.readDirSync(caPath), ({ name }) => name));
  const separator = /[\\/]$/.test(caPath) ? "" : "/";
  const paths = names.filter((name) => AUTHORITY_FILE.test(name)).sort()
    .map((name) => `${caPath}${separator}${name}`)
    .filter((path) => attempt(option, () => Deno.statSync(path)).isFile);
  if (paths.length > 0) return paths;
  throw new RangeError(
    `${option}: ${quote(caPath)} has no file whose name ends with .pem, .crt or .cer`,
  );
}

/**
 * Version 1 has no extensions; version 3 must have CA:TRUE (RFC 5280 §4.2.1.9), and may say what its key is for
 * (§4.2.1.3).
 */
function checkAuthority(
  { option, name }: PemSource,
  { version, isAuthority, subject, links }: Certificate,
  index: number,
): void {
  const problem = !isAuthority && version !== 1
    ? "is not the certificate of an authority: its basicConstraints don't say CA:TRUE"
    : !links.maySignCertificates
    ? "may not sign certificates: it has a keyUsage without keyCertSign"
    : null;
  if (problem === null) return;
  throw new RangeError(
    `${option}: certificate ${index + 1} in ${name}, of ${quote(subject)}, ${problem}`,
  );
}

/** The TLS library stops after this many signatures; authorities with another name cost none. */
function nameWarnings(authorities: readonly PemCertificate[]): string[] {
  const byName = Map.groupBy(authorities, ({ certificate }) => certificate.links.subject.toHex());
  return [...byName.values()].filter(({ length }) => length > MAX_NAMESAKES).map((namesakes) =>
    `${namesakes.length} authorities have the name ` +
    `${quote(namesakes[0]!.certificate.subject)}, of which the TLS library tries the first ` +
    `${MAX_NAMESAKES}: give each its own name`
  );
}

function validityWarnings(
  option: string,
  { certificate }: PemCertificate,
  index: number,
  name?: string,
): string[] {
  const problem = validityProblem(certificate, Date.now());
  if (problem === null) return [];
  const where = name === undefined ? "" : ` in ${name}`;
  return [
    `${option}: certificate ${index + 1}${where}, of ${quote(certificate.subject)}, ${problem}`,
  ];
}

/** All certificates in a source, which must have at least one. */
function readCertificates({ option, name, read }: PemSource): PemCertificate[] {
  const text = read();
  const blocks = [...text.matchAll(CERTIFICATE_BLOCK)];
  const begun = [...text.matchAll(CERTIFICATE_BEGIN)].length;
  if (begun === 0) {
    throw new RangeError(
      `${option}: ${name} holds no certificate in PEM form, which begins with ` +
        '"-----BEGIN CERTIFICATE-----"',
    );
  }
  return Array.from({ length: begun }, (_, index) => {
    const certificate = parseBlock(blocks[index]?.[1]);
    if (certificate === null) {
      throw new RangeError(
        `${option}: certificate ${index + 1} in ${name} can't be read; ` +
          "is it truncated, or in another format?",
      );
    }
    return { pem: formatPem(certificate.raw), certificate };
  });
}

function parseBlock(base64: string | undefined): Certificate | null {
  if (base64 === undefined) return null;
  try {
    const der = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const { X509Certificate } = loadBuiltin("node:crypto");
    new X509Certificate(der);
    return parseCertificate(der);
  } catch {
    return null;
  }
}

/** PEM text of a certificate: the TLS library gets what was checked, and nothing else from the file. */
export function formatPem(der: Uint8Array): string {
  const base64 = btoa(Array.from(der, (byte) => String.fromCharCode(byte)).join(""));
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function readKey(source: PemSource): { pem: string; keyObject: KeyObject } {
  const { option, name } = source;
  const text = source.read();
  if (ENCRYPTED_KEY.test(text)) {
    throw new RangeError(
      `${option}: the key in ${name} is encrypted; decrypt it with "openssl pkey", and restrict who ` +
        "can read it",
    );
  }
  const blocks = text.match(KEY_BLOCK) ?? [];
  if (blocks.length !== 1) {
    throw new RangeError(
      `${option}: must have one private key in PEM form in ${name}; got ${blocks.length}`,
    );
  }
  const pem = `${blocks[0]}\n`;
  return { pem, keyObject: parseKey(pem, source) };
}

function parseKey(pem: string, { option, name }: PemSource): KeyObject {
  const { createPrivateKey } = loadBuiltin("node:crypto");
  let keyObject;
  try {
    keyObject = createPrivateKey(pem);
  } catch {
    // The library's own error may show what it could not parse.
    throw new RangeError(`${option}: the private key in ${name} can't be read`);
  }
  if (isUsableKey(keyObject)) return keyObject;
  throw new RangeError(
    `${option}: the key in ${name} is of an unsupported kind; must be ${USABLE_KEYS}`,
  );
}

/** Adds the option to an error of the file system, and keeps its class. */
function attempt<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error) error.message = `${option}: ${error.message}`;
    throw error;
  }
}
