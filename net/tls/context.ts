/**
 * The configuration of TLS: the authorities that an end trusts, and its identity, checked once and
 * used for every connection.
 *
 * {@linkcode buildServerSslctx} and {@linkcode buildClientSslctx} have the rules of each end. The
 * checks of the options, the readers of files, and the makers of contexts follow, in this order. No
 * message shows the content of a file or a text.
 */

import type { KeyObject } from "node:crypto";
import type { SecureContext } from "node:tls";
import { checkBoolean, checkString, copyOptions, wrongType } from "../../base/checks.ts";
import { quote } from "../../base/quote.ts";
import { checkDenoVersion } from "../deno_version.ts";
import { Authorities, groupBySubject, readCertificate } from "./authority.ts";
import {
  type Certificate,
  formatPem,
  isSelfIssued,
  type PURPOSE,
  usageProblem,
  validityProblem,
} from "./certificate.ts";
import { isUsableKey, signatureProblem, USABLE_KEYS } from "./keys.ts";
import { loadBuiltin } from "./modules.ts";
import { CIPHERS, LIBRARY_OPTIONS, MAX_VERSION, MIN_VERSION } from "./policy.ts";

/** The authorities that a client trusts, and its identity: plain JSON, every path absolute. */
export interface ClientSslconfig {
  /**
   * Whether the server's certificate must be for the host of the connection. `false` is possible
   * only together with `ca`, `caFile` or `caPath`.
   *
   * @default {true}
   */
  checkHostname?: boolean | undefined;
  /**
   * Instead of `caFile` and `caPath`: PEM text with the authorities, in one string or in several.
   */
  ca?: string | readonly string[] | undefined;
  /** PEM file with the only authorities whose servers are trusted. */
  caFile?: string | undefined;
  /**
   * Directory of such files, whose names end with `.pem`, `.crt` or `.cer`, or have the form that
   * OpenSSL makes from hashes. Without `ca`, `caFile` and `caPath` the default trust store of Deno
   * is used.
   */
  caPath?: string | undefined;
  /** Instead of `certFile`, together with `key`: PEM text. */
  cert?: string | undefined;
  /** PEM file with the client's certificate, followed by those that lead to its authority. */
  certFile?: string | undefined;
  /** Instead of `keyFile`, together with `cert`: PEM text. */
  key?: string | undefined;
  /** PEM file with the private key of that certificate. */
  keyFile?: string | undefined;
}

/**
 * The authorities whose clients a server trusts, and its identity: plain JSON, every path absolute.
 */
export interface ServerSslconfig {
  /** Instead of `certFile`, together with `key`: PEM text. */
  cert?: string | undefined;
  /** PEM file with the server's certificate, followed by those that lead to its authority. */
  certFile?: string | undefined;
  /** Instead of `keyFile`, together with `cert`: PEM text. */
  key?: string | undefined;
  /** PEM file with the private key of that certificate. */
  keyFile?: string | undefined;
  /**
   * Instead of `caFile` and `caPath`: PEM text with the authorities, in one string or in several.
   * `[]` is for a server that accepts no client yet.
   */
  ca?: string | readonly string[] | undefined;
  /** PEM file with the only authorities whose clients are accepted. */
  caFile?: string | undefined;
  /** Directory of such files, like {@linkcode ClientSslconfig.caPath}. */
  caPath?: string | undefined;
  /** Instead of the authorities: accepts every client, without a certificate. */
  allowUnauthenticatedClients?: true | undefined;
}

/** The policy of both ends, and warnings about the configuration. */
export interface Sslctx {
  /** The oldest version of TLS. */
  readonly minVersion: "TLSv1.2";
  /** The newest version of TLS. */
  readonly maxVersion: "TLSv1.3";
  /** The cipher suites, by OpenSSL's name. */
  readonly ciphers: readonly string[];
  /**
   * Certificates that have expired or are not valid yet, or that peers will refuse; no trusted
   * authority yet.
   */
  readonly warnings: readonly string[];
}

/**
 * The authorities that a client trusts, and its identity: read and checked by {@linkcode
 * buildClientSslctx}.
 */
export interface ClientSslctx extends Sslctx {
  /** The server's certificate is verified. */
  readonly verify: true;
  /** Whether the certificate must also be for the host of the connection. */
  readonly checkHostname: boolean;
}

/**
 * The authorities that a server trusts, and its identity: read and checked by {@linkcode
 * buildServerSslctx}.
 */
export interface ServerSslctx extends Sslctx {
  /** Whether clients need a certificate, which is then verified. */
  readonly verify: boolean;
}

/**
 * Reads and checks the files, or the PEM text, of a server's *sslconfig*. Needs `--allow-read` of
 * the files.
 *
 * With `ca`, `caFile` or `caPath` only clients of those authorities are accepted;
 * `allowUnauthenticatedClients: true` is the only alternative. Giving both, or neither, is an
 * error. With `ca: []` no client is accepted yet, and there is a warning.
 *
 * @param sslconfig The identity of the server, and the authorities whose clients are accepted.
 * @throws {TypeError} if a value has a wrong type, an option is unknown, or text and files are
 * given together.
 * @throws {RangeError} if a path is relative; if files or text hold no certificate or no key, don't
 * belong together, or the key is encrypted; unless exactly one of the two choices was made.
 * @throws {RangeError} if an authority has nameConstraints or an unknown critical extension, or has
 * signed itself with P-521 and SHA-256: an authority that can't be checked is not trusted.
 * @throws {Deno.errors.NotFound} if a file is missing; other errors of reading files.
 * @throws {DeguError} if Deno is older than 2.9.6.
 *
 * @example Accept the clients of one authority
 * ```ts
 * import { buildServerSslctx } from "@degu/degu/server";
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * assertEquals(buildServerSslctx(pki.serverSslconfig).verify, true);
 * assertEquals(buildServerSslctx(pki.anonymousServerSslconfig).verify, false);
 * ```
 */
export function buildServerSslctx(sslconfig: ServerSslconfig): ServerSslctx {
  checkDenoVersion();
  const config = checkConfig(sslconfig, SERVER_TLS_OPTIONS);
  for (const name of identityOptions(config)) {
    if (config[name] === undefined) throw wrongType(name, "a string for a server", undefined);
  }
  // There is no default: strangers are accepted only if the option says so, and no other is given.
  const allow: unknown = config.allowUnauthenticatedClients;
  if (allow !== undefined && typeof allow !== "boolean") {
    throw wrongType("allowUnauthenticatedClients", "true", allow);
  }
  if (allow === false) {
    throw new RangeError("allowUnauthenticatedClients: must be true or left out; got false");
  }
  const verify = namesAuthorities(config);
  const acceptsAll = allow === true;
  if (verify === acceptsAll) {
    throw new RangeError(
      "sslconfig: must have either ca, caFile or caPath, to accept the clients of those authorities only, or " +
        `allowUnauthenticatedClients: true; got ${verify ? "both" : "neither"}`,
    );
  }
  const own = readIdentity(config, "serverAuth");
  return makeServerSslctx(own, verify ? readAuthorities(config) : null);
}

/**
 * Reads and checks the files, or the PEM text, of a client's *sslconfig*. Needs `--allow-read` of
 * the files.
 *
 * With `ca`, `caFile` or `caPath` only servers of those authorities are trusted. `{}` means the
 * authorities that Deno trusts by default, and checking the server's name. The server's certificate
 * is always verified.
 *
 * @param sslconfig The authorities that are trusted, and the identity of the client.
 * @throws {RangeError} if `checkHostname` is `false` without an authority.
 * @throws the errors of {@linkcode buildServerSslctx} for such files and text.
 *
 * @example Trust one authority alone
 * ```ts
 * import { buildClientSslctx } from "@degu/degu/client";
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const sslctx = buildClientSslctx(pki.clientSslconfig);
 * assertEquals(sslctx.minVersion, "TLSv1.2");
 * assertEquals(sslctx.checkHostname, false);
 * assertEquals(sslctx.warnings, []);
 * ```
 */
export function buildClientSslctx(sslconfig: ClientSslconfig): ClientSslctx {
  checkDenoVersion();
  const config = checkConfig(sslconfig, CLIENT_TLS_OPTIONS);
  const { checkHostname = true, ca } = config;
  checkBoolean("checkHostname", checkHostname);
  if (Array.isArray(ca) && ca.length === 0) {
    throw new RangeError("ca: must have an authority or be left out, for a client; got none");
  }
  const isPrivate = namesAuthorities(config);
  if (!checkHostname && !isPrivate) {
    throw new RangeError(
      "checkHostname: must be true without ca, caFile or caPath; got false: the default trust store " +
        "vouches for every server in the world, and only the name tells them apart",
    );
  }
  const options = identityOptions(config);
  const given = options.filter((name) => config[name] !== undefined).length;
  if (given === 1) {
    throw new RangeError(`${options.join(", ")}: must both be given or both be left out; got one`);
  }
  const own = given === 0 ? null : readIdentity(config, "clientAuth");
  return makeClientSslctx(own, isPrivate ? readAuthorities(config) : null, checkHostname);
}

// ───────────────────────── the options

type Config = ClientSslconfig | ServerSslconfig;

const TRUST_OPTIONS = ["ca", "caFile", "caPath"];
const IDENTITY_OPTIONS = ["cert", "certFile", "key", "keyFile"];
const CLIENT_TLS_OPTIONS = ["checkHostname", ...TRUST_OPTIONS, ...IDENTITY_OPTIONS];
const SERVER_TLS_OPTIONS = [...IDENTITY_OPTIONS, ...TRUST_OPTIONS, "allowUnauthenticatedClients"];
const ABSOLUTE_PATH = /^(?:\/|[A-Za-z]:[\\/]|\\\\)/;
const PEM_BEGIN = "-----BEGIN ";

/**
 * Checks each option by itself, and returns a copy: a later change of the original has no effect.
 */
function checkConfig<C extends Config>(given: C, known: readonly string[]): C {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw wrongType("sslconfig", "an object or an sslctx", given);
  }
  const config = copyOptions(given, known, "sslconfig");
  if (Array.isArray(config.ca)) config.ca = Array.from(config.ca);
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined) continue;
    if (/(?:File|Path)$/.test(name)) checkFilePath(name, value);
    else if (name === "ca") checkAuthorityTexts(value);
    else if (/^(?:cert|key)$/.test(name) && typeof value !== "string") {
      throw wrongType(name, "a string, PEM text", value);
    }
  }
  // Text and file could belong to two identities.
  checkNotBoth(config, ["ca"], ["caFile", "caPath"]);
  checkNotBoth(config, ["cert", "key"], ["certFile", "keyFile"]);
  return config;
}

function checkFilePath(name: string, value: unknown): void {
  checkString(name, value);
  if (ABSOLUTE_PATH.test(value) && !value.includes("\0")) return;
  // The value given as a path may be a key.
  const got = value.includes(PEM_BEGIN)
    ? `PEM text, which belongs in ${name.replace(/(?:File|Path)$/, "")}`
    : name === "keyFile"
    ? "other text, not shown because it may be a key"
    : quote(value);
  throw new RangeError(`${name}: must be an absolute path; got ${got}`);
}

function checkAuthorityTexts(ca: unknown): void {
  if (typeof ca === "string") return;
  if (!Array.isArray(ca)) throw wrongType("ca", "a string or an array of strings, PEM text", ca);
  // Not forEach(), which skips the gaps of an array.
  for (const text of ca) {
    if (typeof text !== "string") throw wrongType("ca", "an array of strings, PEM texts", text);
  }
}

function checkNotBoth<N extends keyof Config>(config: Config, texts: N[], files: N[]): void {
  const [text, file] = [texts, files].map((all) => all.find((name) => config[name] !== undefined));
  if (text === undefined || file === undefined) return;
  const choice = `give ${texts.join(" and ")}, or ${files.join(" and ")}`;
  throw new TypeError(`${text}, ${file}: must be text or files; got both: ${choice}`);
}

function namesAuthorities({ ca, caFile, caPath }: Config): boolean {
  return ca !== undefined || caFile !== undefined || caPath !== undefined;
}

function identityOptions(
  { cert, key }: Config,
): readonly ["cert", "key"] | readonly ["certFile", "keyFile"] {
  return cert !== undefined || key !== undefined ? ["cert", "key"] : ["certFile", "keyFile"];
}

// ───────────────────────── certificates, keys and authorities

/**
 * A certificate, followed by those that lead to its authority, and its private key, as PEM text:
 * read and checked.
 */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly warnings: readonly string[];
}

/** The authorities that are trusted, read and checked. */
interface Trust {
  readonly authorities: readonly Certificate[];
  readonly warnings: readonly string[];
}

interface PemText {
  /** The option that names the authority. */
  readonly option: string;
  /** The name in messages. */
  readonly name: string;
  readonly text: string;
}

const KEY_BLOCK = /-----BEGIN ((?:RSA |EC |)PRIVATE KEY)-----[^-]+-----END \1-----/g;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED/;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g;
const CERTIFICATE_BEGIN = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;
/** The names of files in a directory of authorities; OpenSSL names them by hash and number. */
const AUTHORITY_FILE = /\.(?:pem|crt|cer)$|^[0-9a-f]{8}\.[0-9]+$/i;
/** The most authorities of one name that the TLS library tries for a signature. */
const MAX_NAMESAKES = 100;

/**
 * Reads a certificate with its chain, and the private key, which must belong to the certificate:
 * once for any number of contexts, since the checks take as long as a handshake.
 */
export function readIdentity(config: Config, purpose: keyof typeof PURPOSE): Identity {
  const [certOption, keyOption] = identityOptions(config);
  const warnings: string[] = [];
  const source = readPem(certOption, config[certOption]!);
  const chain = readCertificates(source);
  const keySource = readPem(keyOption, config[keyOption]!);
  const { key, keyObject } = readKey(keySource);
  const [leaf] = chain;
  const { X509Certificate } = loadBuiltin("node:crypto");
  if (!new X509Certificate(leaf!.raw).checkPrivateKey(keyObject)) {
    throw new RangeError(
      `${keyOption}: the key in ${keySource.name} does not belong to the first certificate in ` +
        source.name,
    );
  }
  const usage = usageProblem(leaf!, purpose);
  if (usage !== null) {
    warnings.push(`${certOption}: the certificate ${usage}; peers will refuse it`);
  }
  for (const [index, certificate] of chain.entries()) {
    const problem = validityProblem(certificate, Date.now()) ?? signatureProblem(certificate);
    if (problem !== null) warnings.push(`${certOption}: ${nameOf(certificate, index)}, ${problem}`);
  }
  return { cert: chain.map(({ raw }) => formatPem(raw)).join(""), key, warnings };
}

/** Reads the authorities to trust: all of those that the options name together. */
export function readAuthorities({ ca, caFile, caPath }: Config): Trust {
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
  for (const source of sources) {
    for (const [index, certificate] of readCertificates(source).entries()) {
      const fingerprint = certificate.certificate256;
      if (authorities.has(fingerprint)) continue;
      const where = `${source.option}: ${nameOf(certificate, index, ` in ${source.name}`)}, `;
      const problem = authorityProblem(certificate);
      if (problem !== null) throw new RangeError(where + problem);
      authorities.set(fingerprint, certificate);
      const validity = validityProblem(certificate, Date.now());
      if (validity !== null) warnings.push(where + validity);
    }
  }
  for (const { length, 0: first } of groupBySubject(authorities.values()).values()) {
    if (length <= MAX_NAMESAKES) continue;
    const name = quote(first!.subject);
    warnings.push(
      `${length} authorities have the name ${name}, and the TLS library tries only the first ` +
        `${MAX_NAMESAKES} of them: give each its own name`,
    );
  }
  return { authorities: [...authorities.values()], warnings };
}

function nameOf({ subject }: Certificate, index: number, where = ""): string {
  return `certificate ${index + 1}${where}, of ${quote(subject)}`;
}

/**
 * The reason why a certificate can't be trusted to sign others; `null` if it can. Version 1 has no
 * extensions; version 3 must have CA:TRUE (RFC 5280 §4.2.1.9), and may limit the use of its key
 * (§4.2.1.3).
 */
function authorityProblem(certificate: Certificate): string | null {
  const { version, isAuthority, maySignCertificates, uncheckedRules } = certificate;
  if (!isAuthority && version !== 1) {
    return "is not the certificate of an authority: its basicConstraints don't say CA:TRUE";
  }
  if (!maySignCertificates) {
    return "may not sign certificates: it has a keyUsage without keyCertSign";
  }
  if (uncheckedRules !== null) {
    return `has an extension that is not checked here, ${uncheckedRules}: make an authority without`;
  }
  const problem = isSelfIssued(certificate) ? signatureProblem(certificate) : null;
  return problem === null ? null : `${problem}, and what it signs, too`;
}

function readPem(option: string, value: string): PemText {
  return option.endsWith("File")
    ? readFile(option, value)
    : { option, name: "the text", text: value };
}

function readFile(option: string, path: string): PemText {
  return {
    option,
    name: quote(path),
    text: namingOption(option, () => Deno.readTextFileSync(path)),
  };
}

function readDirectory(option: string, path: string): PemText[] {
  const names = namingOption(option, () => Array.from(Deno.readDirSync(path), ({ name }) => name));
  const separator = /[\\/]$/.test(path) ? "" : "/";
  const files = names.filter((name) => AUTHORITY_FILE.test(name)).sort()
    .map((name) => `${path}${separator}${name}`)
    .filter((file) => namingOption(option, () => Deno.statSync(file)).isFile);
  if (files.length === 0) {
    throw new RangeError(
      `${option}: ${quote(path)} has no file whose name ends with .pem, .crt or .cer`,
    );
  }
  return files.map((file) => readFile(option, file));
}

/** Adds the option to an error of the file system, and keeps its class. */
function namingOption<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error) error.message = `${option}: ${error.message}`;
    throw error;
  }
}

function readCertificates({ option, name, text }: PemText): Certificate[] {
  const blocks = [...text.matchAll(CERTIFICATE_BLOCK)];
  const begun = [...text.matchAll(CERTIFICATE_BEGIN)].length;
  if (begun === 0) {
    throw new RangeError(
      `${option}: ${name} holds no certificate in PEM form, which begins with ` +
        '"-----BEGIN CERTIFICATE-----"',
    );
  }
  const { X509Certificate } = loadBuiltin("node:crypto");
  return Array.from({ length: begun }, (_, index) => {
    try {
      const der = Uint8Array.fromBase64(blocks[index]![1]!);
      // Two parsers must agree that the text is a certificate.
      new X509Certificate(der);
      return readCertificate(der);
    } catch {
      throw new RangeError(
        `${option}: certificate ${index + 1} in ${name} can't be read; ` +
          "is it truncated, or in another format?",
      );
    }
  });
}

function readKey({ option, name, text }: PemText): { key: string; keyObject: KeyObject } {
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
  const key = `${blocks[0]}\n`;
  const { createPrivateKey } = loadBuiltin("node:crypto");
  let keyObject;
  try {
    keyObject = createPrivateKey(key);
  } catch {
    // The library's own error may show the text that it could not parse.
    throw new RangeError(`${option}: the private key in ${name} can't be read`);
  }
  if (isUsableKey(keyObject)) return { key, keyObject };
  throw new RangeError(
    `${option}: the key in ${name} is of an unsupported kind; must be ${USABLE_KEYS}`,
  );
}

// ───────────────────────── the contexts

const POLICY = { minVersion: MIN_VERSION, maxVersion: MAX_VERSION, ciphers: CIPHERS } as const;

/** Keys are kept outside the contexts, so printing or copying a context can't expose them. */
const clientMaterials = new WeakMap<object, ClientMaterial>();
const serverMaterials = new WeakMap<object, ServerMaterial>();

/**
 * The input of the TLS library to make a server, and the authorities whose clients are accepted.
 */
export interface ServerMaterial {
  readonly options: typeof LIBRARY_OPTIONS & {
    readonly cert: string;
    readonly key: string;
    readonly ca?: string[];
    readonly requestCert: boolean;
    readonly rejectUnauthorized: boolean;
  };
  /**
   * Whether a client needs a certificate; if not, a certificate that is not good counts as none.
   */
  readonly insists: boolean;
  /** The authorities whose clients are accepted; none if every client is, or none yet. */
  readonly authorities: Authorities;
}

/** The input of the TLS library to make a client, and the authorities that the client trusts. */
interface ClientMaterial {
  readonly secureContext: SecureContext;
  /** `null` if Deno's default store is trusted. */
  readonly authorities: Authorities | null;
}

/**
 * Makes a server's context. Without authorities, not even none, every client is accepted.
 *
 * @param insists With `false` a client is asked for a certificate of the authorities, and accepted
 * without one.
 */
export function makeServerSslctx(
  { cert, key, warnings }: Identity,
  trust: Trust | null,
  insists = true,
): ServerSslctx {
  const verify = trust !== null && insists;
  const isClosed = trust?.authorities.length === 0;
  const sslctx = Object.freeze({
    ...POLICY,
    warnings: Object.freeze([
      ...warnings,
      ...trust?.warnings ?? [],
      ...isClosed ? ["ca: no authority is trusted yet, so no client is accepted"] : [],
    ]),
    verify,
  });
  serverMaterials.set(sslctx, {
    options: {
      ...LIBRARY_OPTIONS,
      cert,
      key,
      ...trustedBy(trust),
      requestCert: trust !== null,
      rejectUnauthorized: insists,
    },
    insists: verify,
    authorities: new Authorities(trust?.authorities ?? []),
  });
  return sslctx;
}

/** Makes a client's context. A client without an identity shows no certificate. */
export function makeClientSslctx(
  own: Identity | null,
  trust: Trust | null,
  checkHostname: boolean,
): ClientSslctx {
  const sslctx = Object.freeze({
    ...POLICY,
    warnings: Object.freeze([...own?.warnings ?? [], ...trust?.warnings ?? []]),
    verify: true as const,
    checkHostname,
  });
  clientMaterials.set(sslctx, {
    secureContext: loadBuiltin("node:tls").createSecureContext({
      ...LIBRARY_OPTIONS,
      ...own === null ? {} : { cert: own.cert, key: own.key },
      ...trustedBy(trust),
    }),
    authorities: trust && new Authorities(trust.authorities),
  });
  return sslctx;
}

/**
 * The option that makes the TLS library trust these authorities alone; without it, the default
 * store.
 */
function trustedBy(trust: Trust | null): { ca?: string[] } {
  return trust === null ? {} : { ca: trust.authorities.map(({ raw }) => formatPem(raw)) };
}

export function asClientSslctx(value: ClientSslctx | ClientSslconfig): ClientSslctx {
  return clientMaterials.has(value) ? value as ClientSslctx : buildClientSslctx(value);
}

export function asServerSslctx(value: ServerSslctx | ServerSslconfig): ServerSslctx {
  return serverMaterials.has(value)
    ? value as ServerSslctx
    : buildServerSslctx(value as ServerSslconfig);
}

export function clientMaterialOf(sslctx: ClientSslctx): ClientMaterial {
  return clientMaterials.get(sslctx)!;
}

export function serverMaterialOf(sslctx: ServerSslctx): ServerMaterial {
  return serverMaterials.get(sslctx)!;
}
