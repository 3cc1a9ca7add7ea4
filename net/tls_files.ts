/**
 * Reads keys and certificates, and finds every mistake in them before anything is connected. No
 * message here shows what is in a file.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";
import { quote } from "../base/errors.ts";
import {
  type Certificate,
  fingerprint256,
  parseCertificate,
  type PURPOSE,
  usageProblem,
  validityProblem,
} from "./tls_certificate.ts";
import { isUsableKey, USABLE_KEYS } from "./tls_keys.ts";
import { loadBuiltin } from "./tls_modules.ts";

/** What the TLS library is given, in PEM. */
export interface Identity {
  /** The certificate, and those that lead to its authority. */
  readonly cert: string;
  /** Its private key. */
  readonly key: string;
}

/** What was read, and what is doubtful about it. */
export interface Read<T> {
  readonly value: T;
  readonly warnings: readonly string[];
}

const KEY_BLOCK = /-----BEGIN ((?:RSA |EC |)PRIVATE KEY)-----[^-]+-----END \1-----/g;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED/;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g;
const CERTIFICATE_BEGIN = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;

/** The files that a directory of authorities is made of; OpenSSL names them by hash and number. */
const AUTHORITY_FILE = /\.(?:pem|crt|cer)$|^[0-9a-f]{8}\.[0-9]+$/i;

/** A certificate with its PEM. */
export interface PemCertificate {
  readonly pem: string;
  readonly certificate: Certificate;
}

/**
 * Reads a certificate with its chain, and its private key.
 *
 * @throws {RangeError} where they can't be used; an error of the file system where they can't be read.
 */
export function readIdentity(
  certFile: string,
  keyFile: string,
  purpose: keyof typeof PURPOSE,
): Read<Identity> {
  const chain = readCertificates("certFile", certFile);
  const { pem: key, keyObject } = readKey(keyFile);
  const [leaf] = chain;
  const { X509Certificate } = loadBuiltin("node:crypto");
  if (!new X509Certificate(leaf!.pem).checkPrivateKey(keyObject)) {
    throw new RangeError(
      `keyFile: the key in ${quote(keyFile)} does not belong to the first certificate in ` +
        `${quote(certFile)}`,
    );
  }
  const usage = usageProblem(leaf!.certificate, purpose);
  const warnings = chain.flatMap((each, index) => validityWarnings("certFile", each, index));
  if (usage !== null) warnings.unshift(`certFile: the certificate ${usage}; peers will refuse it`);
  return { value: { cert: chain.map(({ pem }) => pem).join(""), key }, warnings };
}

/**
 * Reads the authorities to trust: those in a file, those in a directory, or both together.
 *
 * @throws {RangeError} where there is none, or one that can't sign; an error of the file system
 * where they can't be read.
 */
export function readAuthorities(
  caFile: string | undefined,
  caPath: string | undefined,
): Read<readonly PemCertificate[]> {
  const authorities = new Map<string, PemCertificate>();
  const warnings: string[] = [];
  const add = (option: string, path: string) => {
    for (const [index, each] of readCertificates(option, path).entries()) {
      const fingerprint = fingerprint256(each.certificate.raw);
      if (authorities.has(fingerprint)) continue;
      checkAuthority(option, path, each.certificate, index);
      authorities.set(fingerprint, each);
      warnings.push(...validityWarnings(option, each, index, path));
    }
  };
  if (caFile !== undefined) add("caFile", caFile);
  if (caPath !== undefined) {
    for (const path of listAuthorityFiles(caPath)) add("caPath", path);
  }
  return { value: [...authorities.values()], warnings };
}

function listAuthorityFiles(caPath: string): string[] {
  const names = attempt("caPath", () => Array.from(Deno.readDirSync(caPath), ({ name }) => name));
  const separator = /[\\/]$/.test(caPath) ? "" : "/";
  const paths = names.filter((name) => AUTHORITY_FILE.test(name)).sort()
    .map((name) => `${caPath}${separator}${name}`)
    .filter((path) => attempt("caPath", () => Deno.statSync(path)).isFile);
  if (paths.length > 0) return paths;
  throw new RangeError(
    `caPath: ${quote(caPath)} has no file whose name ends with .pem, .crt or .cer`,
  );
}

/** Version 1 has no extension to say so; version 3 has to say it (RFC 5280 §4.2.1.9). */
function checkAuthority(
  option: string,
  path: string,
  { version, isAuthority, subject }: Certificate,
  index: number,
): void {
  if (isAuthority || version === 1) return;
  throw new RangeError(
    `${option}: certificate ${index + 1} in ${quote(path)}, of ${quote(subject)}, is not the ` +
      "certificate of an authority: its basicConstraints don't say CA:TRUE",
  );
}

function validityWarnings(
  option: string,
  { certificate }: PemCertificate,
  index: number,
  path?: string,
): string[] {
  const problem = validityProblem(certificate, Date.now());
  if (problem === null) return [];
  const where = path === undefined ? "" : ` in ${quote(path)}`;
  return [
    `${option}: certificate ${index + 1}${where}, of ${quote(certificate.subject)}, ${problem}`,
  ];
}

/** All certificates in a file, of which there has to be one at least. */
function readCertificates(option: string, path: string): PemCertificate[] {
  const text = readText(option, path);
  const blocks = [...text.matchAll(CERTIFICATE_BLOCK)];
  const begun = [...text.matchAll(CERTIFICATE_BEGIN)].length;
  if (begun === 0) {
    throw new RangeError(
      `${option}: ${quote(path)} holds no certificate in PEM form, which begins with ` +
        '"-----BEGIN CERTIFICATE-----"',
    );
  }
  return Array.from({ length: begun }, (_, index) => {
    const certificate = parseBlock(blocks[index]?.[1]);
    if (certificate === null) {
      throw new RangeError(
        `${option}: certificate ${index + 1} in ${quote(path)} can't be read; ` +
          "is the file cut, or of another format?",
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

/** The TLS library gets what was checked, and not what stands around it in the file. */
function formatPem(der: Uint8Array): string {
  const base64 = btoa(Array.from(der, (byte) => String.fromCharCode(byte)).join(""));
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function readKey(path: string): { pem: string; keyObject: KeyObject } {
  const text = readText("keyFile", path);
  if (ENCRYPTED_KEY.test(text)) {
    throw new RangeError(
      `keyFile: the key in ${quote(path)} is encrypted; decrypt it with "openssl pkey", and ` +
        "protect the file by its permissions",
    );
  }
  const blocks = text.match(KEY_BLOCK) ?? [];
  if (blocks.length !== 1) {
    throw new RangeError(
      `keyFile: need one private key in PEM form in ${quote(path)}; found ${blocks.length}`,
    );
  }
  const pem = `${blocks[0]}\n`;
  return { pem, keyObject: parseKey(pem, path) };
}

function parseKey(pem: string, path: string): KeyObject {
  const { createPrivateKey } = loadBuiltin("node:crypto");
  let keyObject;
  try {
    keyObject = createPrivateKey(pem);
  } catch {
    // The error of the library may show what it could not read.
    throw new RangeError(`keyFile: the private key in ${quote(path)} can't be read`);
  }
  if (isUsableKey(keyObject)) return keyObject;
  throw new RangeError(
    `keyFile: the key in ${quote(path)} is of a kind that can't be used; need ${USABLE_KEYS}`,
  );
}

function readText(option: string, path: string): string {
  return attempt(option, () => Deno.readTextFileSync(path));
}

/** Says for which option the file system refused; the class of the error stays. */
function attempt<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error) error.message = `${option}: ${error.message}`;
    throw error;
  }
}
