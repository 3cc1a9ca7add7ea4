import type { KeyObject } from "node:crypto";
import { TlsError } from "../../base/errors.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { quote, quoteName } from "../../internal/quote.ts";
import { groupBySubject, readCertificate } from "./authority.ts";
import {
  type Certificate,
  findUnsupportedExtension,
  findUsageProblem,
  findValidityProblem,
  formatPem,
  isSelfIssued,
  type PURPOSE,
  readKeyBits,
} from "./certificate.ts";
import { readDer } from "./der.ts";
import {
  describeUnusableKey,
  findKeyProblem,
  findSignatureProblem,
  isUsableKey,
  publicKeyOf,
  verifySignature,
} from "./keys.ts";
import { copyWithMessage, plainMessageOf } from "../../internal/caught_errors.ts";
import { loadBuiltin } from "../transport/runtime.ts";

export interface PemConfig {
  cert?: string | undefined;
  certFile?: string | undefined;
  key?: string | undefined;
  keyFile?: string | undefined;
  ca?: string | readonly string[] | undefined;
  caFile?: string | undefined;
  caPath?: string | undefined;
}

/**
 * A certificate, followed by the intermediates that lead to its authority, and its private key, as
 * PEM text: read and checked.
 */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly warnings: readonly string[];
}

export interface TrustedAuthorities {
  readonly authorities: readonly Certificate[];
  readonly warnings: readonly string[];
}

interface PemText {
  readonly option: string;
  readonly name: string;
  readonly text: string;
}

const KEY_BLOCK = /-----BEGIN ((?:RSA |EC |)PRIVATE KEY)-----[^-]+-----END \1-----/g;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED/;
const CERTIFICATE_BLOCK = /-----BEGIN (X509 |)CERTIFICATE-----([^-]+)-----END \1CERTIFICATE-----/g;
const CERTIFICATE_BEGIN = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;
/** The names of files in a directory of authorities, also OpenSSL's names of hash and number. */
const AUTHORITY_FILE = /\.(?:pem|crt|cer)$|^[0-9a-f]{8}\.[0-9]+$/i;
/**
 * The maximum number of authorities with one subject that the TLS library tries for a signature.
 */
const MAX_AUTHORITIES_PER_SUBJECT = 100;

export function findIdentityOptions(
  { cert, key }: PemConfig,
): readonly ["cert", "key"] | readonly ["certFile", "keyFile"] {
  return cert !== undefined || key !== undefined ? ["cert", "key"] : ["certFile", "keyFile"];
}

/** Takes as long as a handshake, so a caller should read an identity once for many contexts. */
export function readIdentity(config: PemConfig, purpose: keyof typeof PURPOSE): Identity {
  const [certOption, keyOption] = findIdentityOptions(config);
  const warnings: string[] = [];
  const source = readPem(certOption, config[certOption]!);
  const chain = readCertificates(source);
  const [leaf] = chain;
  const keySource = readPem(keyOption, config[keyOption]!);
  const { key, keyObject } = readKey(keySource);
  const libraryProblem = probeLibraryProblem(leaf!, key);
  if (libraryProblem !== null) {
    throw notAllowedError(
      certOption,
      `${formatCertificateLabel(leaf!, 0, ` in ${source.name}`)}, ${libraryProblem}`,
    );
  }
  const { X509Certificate } = loadBuiltin("node:crypto");
  if (!new X509Certificate(leaf!.raw).checkPrivateKey(keyObject)) {
    throw notAllowedError(
      keyOption,
      `the key in ${keySource.name} does not belong to the first certificate in ` +
        source.name,
    );
  }
  const usageProblem = findUsageProblem(leaf!, purpose);
  if (usageProblem !== null) {
    warnings.push(
      `${certOption}: the certificate ${usageProblem}; peers with Degu, and many other programs, ` +
        "will refuse it",
    );
  }
  if (isSelfIssued(leaf!) && !hasOtherIssuerKey(leaf!) && !isSelfSigned(leaf!)) {
    warnings.push(
      `${certOption}: the certificate has the name of its authority, and no key identifiers that ` +
        "differ: programs with OpenSSL, such as curl, take it for self-signed; give it another name",
    );
  }
  for (const [index, certificate] of chain.entries()) {
    const problem = findValidityProblem(certificate, Date.now()) ??
      findSignatureProblem(certificate) ??
      findKeyProblem(certificate) ??
      (index > 0 ? findIntermediateProblem(certificate) : null);
    if (problem !== null) {
      warnings.push(`${certOption}: ${formatCertificateLabel(certificate, index)}, ${problem}`);
    }
  }
  return { cert: chain.map(({ raw }) => formatPem(raw)).join(""), key, warnings };
}

export function readAuthorities({ ca, caFile, caPath }: PemConfig): TrustedAuthorities {
  const warnings: string[] = [];
  const sources = typeof ca === "string"
    ? [readPem("ca", ca)]
    : ca !== undefined
    ? ca.map((text, index) => ({ option: "ca", name: `text ${index + 1}`, text }))
    : [
      ...(caFile === undefined ? [] : [readPem("caFile", caFile)]),
      ...(caPath === undefined ? [] : readDirectory("caPath", caPath)),
    ];
  const authorities = new Map<string, Certificate>();
  const keyErrors = new Map<string, TlsError>();
  for (const source of sources) {
    for (const [index, certificate] of readCertificates(source).entries()) {
      const fingerprint = certificate.certificate256;
      if (authorities.has(fingerprint) || keyErrors.has(fingerprint)) continue;
      const certificateLabel = formatCertificateLabel(certificate, index, ` in ${source.name}`);
      const problem = findAuthorityProblem(certificate);
      if (problem !== null) throw notAllowedError(source.option, `${certificateLabel}, ${problem}`);
      const messagePrefix = `${source.option}: ${certificateLabel}, `;
      const keyProblem = findKeyProblem(certificate);
      if (keyProblem !== null) {
        const message = messagePrefix + keyProblem;
        keyErrors.set(fingerprint, new TlsError("WEAK", message));
        warnings.push(`${message}: it is not trusted`);
        continue;
      }
      authorities.set(fingerprint, certificate);
      const validityProblem = findValidityProblem(certificate, Date.now());
      if (validityProblem !== null) warnings.push(messagePrefix + validityProblem);
    }
  }
  const [error] = keyErrors.values();
  if (authorities.size === 0 && error !== undefined) throw error;
  for (const { length, 0: firstAuthority } of groupBySubject(authorities.values()).values()) {
    if (length <= MAX_AUTHORITIES_PER_SUBJECT) continue;
    const name = quote(firstAuthority!.subject);
    warnings.push(
      `${length} authorities have the name ${name}, and the TLS library tries only the first ` +
        `${MAX_AUTHORITIES_PER_SUBJECT} of them: give each its own name`,
    );
  }
  return { authorities: [...authorities.values()], warnings };
}

function formatCertificateLabel({ subject }: Certificate, index: number, location = ""): string {
  return `certificate ${index + 1}${location}, of ${quote(subject)}`;
}

/**
 * A certificate of version 1 has no extensions. A certificate of version 3 must have CA:TRUE (RFC
 * 5280 §4.2.1.9), and may limit the use of its key (§4.2.1.3).
 */
function findAuthorityProblem(certificate: Certificate): string | null {
  const { version, isAuthority, maySignCertificates, uncheckedExtension } = certificate;
  if (!isAuthority && version !== 1) {
    return "is not the certificate of an authority: its basicConstraints don't have CA:TRUE";
  }
  if (!maySignCertificates) {
    return "may not sign certificates: it has a keyUsage without keyCertSign";
  }
  if (uncheckedExtension !== null) {
    return `has an extension that can't be checked, ${uncheckedExtension}: make an authority ` +
      "without it";
  }
  const problem = isSelfIssued(certificate) ? findSignatureProblem(certificate) : null;
  return problem === null ? null : `${problem}, and also the certificates that it signs`;
}

function hasOtherIssuerKey({ subjectKeyId, authorityKeyId }: Certificate): boolean {
  return subjectKeyId !== null && authorityKeyId !== null && subjectKeyId !== authorityKeyId;
}

function isSelfSigned(certificate: Certificate): boolean {
  const key = publicKeyOf(certificate);
  return key !== null && verifySignature(certificate, key);
}

/** Other programs accept such an intermediate, and check its constraints. */
function findIntermediateProblem(certificate: Certificate): string | null {
  const extension = certificate.uncheckedExtension ?? findUnsupportedExtension(certificate);
  return extension === null
    ? null
    : `has an extension that peers with Degu don't check, ${extension}: they ` +
      "will refuse the certificate";
}

function readPem(option: string, value: string): PemText {
  return option.endsWith("File")
    ? readFile(option, value)
    : { option, name: "the text", text: value };
}

function readFile(option: string, path: string): PemText {
  return {
    option,
    name: quotePath(path),
    text: withOptionName(option, () => Deno.readTextFileSync(path)),
  };
}

/** Quotes a path; not the text of a key, which a program may pass in place of its path. */
function quotePath(path: string): string {
  return path.includes("-----BEGIN") ? quote(path) : quoteName(path);
}

function readDirectory(option: string, directory: string): PemText[] {
  const names = withOptionName(
    option,
    () => Array.from(Deno.readDirSync(directory), ({ name }) => name),
  );
  const separator = /[\\/]$/.test(directory) ? "" : "/";
  const paths = names.filter((name) => AUTHORITY_FILE.test(name)).sort()
    .map((name) => `${directory}${separator}${name}`)
    .filter((path) => withOptionName(option, () => Deno.statSync(path)).isFile);
  if (paths.length === 0) {
    throw notAllowedError(
      option,
      `${quotePath(directory)} has no file whose name ends with .pem, .crt or .cer`,
    );
  }
  return paths.map((path) => readFile(option, path));
}

function withOptionName<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw copyWithMessage(error, `${option}: ${error.message}`);
  }
}

function readCertificates({ option, name, text }: PemText): Certificate[] {
  const blocks = [...text.matchAll(CERTIFICATE_BLOCK)];
  const blockCount = [...text.matchAll(CERTIFICATE_BEGIN)].length;
  if (blockCount === 0) {
    throw notAllowedError(
      option,
      `${name} holds no certificate in PEM form, which begins with ` +
        '"-----BEGIN CERTIFICATE-----"',
    );
  }
  const { X509Certificate } = loadBuiltin("node:crypto");
  return Array.from({ length: blockCount }, (_, index) => {
    const problem = `certificate ${index + 1} in ${name} can't be read`;
    let der;
    try {
      der = Uint8Array.fromBase64(blocks[index]![2]!);
      // Two parsers must agree that the text is a certificate.
      new X509Certificate(der);
    } catch {
      throw notAllowedError(option, `${problem}; is it truncated, or in another format?`);
    }
    try {
      return readCertificate(der);
    } catch (error) {
      // Other programs also accept forms that aren't DER.
      throw notAllowedError(option, `${problem}: ${plainMessageOf(error)}`, { cause: error });
    }
  });
}

function readKey({ option, name, text }: PemText): { key: string; keyObject: KeyObject } {
  if (ENCRYPTED_KEY.test(text)) {
    throw notAllowedError(
      option,
      `the key in ${name} is encrypted; decrypt it with "openssl pkey", and restrict who ` +
        "can read it",
    );
  }
  const blocks = text.match(KEY_BLOCK) ?? [];
  if (blocks.length !== 1) {
    throw notAllowedError(
      option,
      `must have one private key in PEM form in ${name}; got ${blocks.length}`,
    );
  }
  const key = `${blocks[0]}\n`;
  const { createPrivateKey } = loadBuiltin("node:crypto");
  let keyObject;
  try {
    keyObject = createPrivateKey(key);
  } catch {
    // Don't use the library's error, which may quote the key.
    throw notAllowedError(option, `the private key in ${name} can't be read`);
  }
  if (isUsableKey(keyObject)) return { key, keyObject };
  throw notAllowedError(option, `the key in ${name} is ${describeUnusableKey(keyObject)}`);
}

// ───────────────────────── what the TLS library can use

/**
 * The library's messages about a certificate or key that it can't use; its errors have no code.
 * `node:tls` uses a certificate of version 1.
 */
const UNUSABLE =
  /^(?:invalid peer certificate: (?!.*UnsupportedCertVersion)|.*failed to parse private key)/;

/**
 * Finds out why the TLS library can't use a certificate with its key, as the predicate of a
 * sentence about the certificate. `node:tls` doesn't report such a certificate, and then each
 * handshake fails. A client of `fetch` checks the certificate at once, with the same library and
 * without a permission.
 */
function probeLibraryProblem(certificate: Certificate, key: string): string | null {
  const extension = findUnsupportedExtension(certificate);
  if (extension !== null) {
    return `has a critical extension that the TLS library doesn't support, ${extension}: make a ` +
      "certificate without it, or one in which it isn't critical";
  }
  if (publicKeyOf(certificate)?.asymmetricKeyType === "ec" && !hasUncompressedKey(certificate)) {
    return "has a compressed public key, which the TLS library doesn't support";
  }
  try {
    Deno.createHttpClient({ cert: formatPem(certificate.raw), key }).close();
    return null;
  } catch (error) {
    if (!(error instanceof Error) || !UNUSABLE.test(error.message)) return null;
    return `can't be used by the TLS library (${quote(error.message)})`;
  }
}

/** Reports whether the key of ECDSA has both coordinates (RFC 5480 §2.2). */
function hasUncompressedKey({ publicKey }: Certificate): boolean {
  return readDer(publicKey, readKeyBits)[0] === 0x04;
}
