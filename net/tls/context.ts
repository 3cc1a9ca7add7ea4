/** Messages don't quote the contents of files or texts. */

import type { SecureContext, TLSSocket } from "node:tls";
import {
  checkBoolean,
  checkString,
  copyOptions,
  notAllowedError,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { checkDenoVersion } from "./deno_version.ts";
import { Authorities } from "./authority.ts";
import { formatPem } from "./certificate.ts";
import {
  findIdentityOptions,
  type Identity,
  type PemConfig,
  readAuthorities,
  readIdentity,
  type TrustedAuthorities,
} from "./pem.ts";
import { TlsError } from "../../base/errors.ts";
import { loadBuiltin } from "../transport/runtime.ts";

/** The certificate of a client or server and its private key, as PEM files. */
export interface CertificateFiles {
  /** PEM file with the certificate, followed by the intermediates that lead to its authority. */
  certFile?: string | undefined;
  /** PEM file with the private key of that certificate. */
  keyFile?: string | undefined;
  /** Not together with `certFile` and `keyFile`. */
  cert?: undefined;
  /** Not together with `certFile` and `keyFile`. */
  key?: undefined;
}

/** The certificate of a client or server and its private key, as PEM text. */
export interface CertificateTexts {
  /** PEM text of the certificate, followed by the intermediates that lead to its authority. */
  cert?: string | undefined;
  /** PEM text of the private key of that certificate. */
  key?: string | undefined;
  /** Not together with `cert` and `key`. */
  certFile?: undefined;
  /** Not together with `cert` and `key`. */
  keyFile?: undefined;
}

/** The only trusted authorities, as PEM files; both options can be combined. */
export interface AuthorityFiles {
  /** PEM file with authorities. */
  caFile?: string | undefined;
  /**
   * Directory of such files, whose names end with `.pem`, `.crt` or `.cer`, or have the form that
   * OpenSSL makes from hashes.
   */
  caPath?: string | undefined;
  /** Not together with `caFile` or `caPath`. */
  ca?: undefined;
}

/** The only trusted authorities, as PEM text. */
export interface AuthorityTexts {
  /**
   * PEM text with authorities, in one string or in several. A server may have no authority, `[]`.
   */
  ca?: string | readonly string[] | undefined;
  /** Not together with `ca`. */
  caFile?: undefined;
  /** Not together with `ca`. */
  caPath?: undefined;
}

/**
 * The authorities that a client trusts, and its identity: plain JSON, every path absolute. The
 * identity can be left out. Without authorities the client trusts the default store of Deno.
 */
export type ClientSslconfig =
  & (CertificateFiles | CertificateTexts)
  & (AuthorityFiles | AuthorityTexts)
  & {
    /**
     * Whether the server's certificate must be for the host of the connection. `false` is possible
     * only together with `ca`, `caFile` or `caPath`.
     *
     * @default {true}
     */
    checkHostname?: boolean | undefined;
  };

/**
 * The identity of a server, and the authorities whose clients the server accepts: plain JSON, every
 * path absolute. A server must have an identity, and `ca`, `caFile`, `caPath` or
 * `allowUnauthenticatedClients`.
 */
export type ServerSslconfig =
  // The last type is the most common, because the compiler reports the last of several types that
  // match equally well.
  & (
    | CertificateTexts & { cert: string; key: string }
    | CertificateFiles & { certFile: string; keyFile: string }
  )
  & (
    | (AuthorityFiles | AuthorityTexts) & { allowUnauthenticatedClients: boolean }
    | AuthorityTexts & { ca: string | readonly string[] }
    | AuthorityFiles & ({ caPath: string } | { caFile: string })
  )
  & {
    /**
     * Whether every client is accepted. With authorities, the server requests a certificate from
     * each client, and ignores an invalid one. Without authorities the server requests no
     * certificates, and this option must be `true`.
     *
     * @default {false}
     */
    allowUnauthenticatedClients?: boolean | undefined;
  };

/**
 * The authorities that a server trusts, and its identity: read and checked by
 * {@linkcode buildServerSslctx}.
 */
export interface ServerSslctx {
  /** Whether clients need a certificate, which is then verified. */
  readonly verify: boolean;
  /** The oldest version of TLS. */
  readonly minVersion: "TLSv1.2";
  /** The newest version of TLS. */
  readonly maxVersion: "TLSv1.3";
  /** The cipher suites, by OpenSSL's name. */
  readonly ciphers: readonly string[];
  /**
   * Warnings about certificates that have expired, are not valid yet, or will be refused by peers,
   * about authorities whose keys can't be used, and about a server that trusts no authority yet.
   */
  readonly warnings: readonly string[];
}

/**
 * The authorities that a client trusts, and its identity: read and checked by
 * {@linkcode buildClientSslctx}.
 */
export interface ClientSslctx extends ServerSslctx {
  /** The server's certificate is verified. */
  readonly verify: true;
  /** Whether the certificate must also be for the host of the connection. */
  readonly checkHostname: boolean;
}

/**
 * Reads and checks the files, or the PEM text, of a server's *sslconfig*. Needs `--allow-read` of
 * the files.
 *
 * With `ca`, `caFile` or `caPath` only clients of those authorities are accepted. With
 * `allowUnauthenticatedClients: true` every client is accepted; with both, a client of those
 * authorities also has a `peerCertificate`. One of the two is required. With `ca: []` alone no
 * client is accepted yet, and there is a warning.
 *
 * @param sslconfig The identity of the server, and the authorities whose clients are accepted.
 * @throws {TypeError} if a value has a wrong type, an option is unknown, text and files are given
 * together, or no option determines which clients are accepted.
 * @throws {RangeError} if a path is relative; if files or text hold no certificate or no key, don't
 * belong together, or the key is encrypted or of an unsupported kind.
 * @throws {RangeError} if the TLS library can't use the server's own certificate.
 * @throws {RangeError} if an authority may not sign certificates; if it has nameConstraints or an
 * unknown critical extension, or has signed itself with P-521 and SHA-256: an authority that can't
 * be checked is not trusted.
 * @throws {TlsError} if the key of no authority can be used.
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
  for (const name of findIdentityOptions(config)) {
    if (config[name] === undefined) throw wrongTypeError(name, "a string for a server", undefined);
  }
  const { allowUnauthenticatedClients: allowsUnauthenticatedClients = false } = config;
  checkBoolean("allowUnauthenticatedClients", allowsUnauthenticatedClients);
  const requestsCertificates = hasAuthorities(config);
  // A server has no default trust: it accepts unauthenticated clients only with the option.
  if (!requestsCertificates && !allowsUnauthenticatedClients) {
    throw wrongArgumentError(
      "sslconfig",
      "must have ca, caFile or caPath, to accept the clients of those authorities only, or " +
        "allowUnauthenticatedClients: true, to accept every client; got neither",
    );
  }
  const identity = readIdentity(config, "serverAuth");
  const trustedAuthorities = requestsCertificates ? readAuthorities(config) : null;
  return makeServerSslctx(identity, trustedAuthorities, !allowsUnauthenticatedClients);
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
    throw notAllowedError("ca", "must have an authority or be left out, for a client; got none");
  }
  const hasOwnAuthorities = hasAuthorities(config);
  if (!checkHostname && !hasOwnAuthorities) {
    throw notAllowedError(
      "checkHostname",
      "must be true without ca, caFile or caPath; got false: the default trust store " +
        "trusts the authorities of all public servers, so only the name distinguishes them",
    );
  }
  const identityOptions = findIdentityOptions(config);
  const givenOptionCount = identityOptions.filter((name) => config[name] !== undefined).length;
  if (givenOptionCount === 1) {
    throw notAllowedError(
      identityOptions.join(", "),
      `must both be given or both be left out; got one`,
    );
  }
  const identity = givenOptionCount === 0 ? null : readIdentity(config, "clientAuth");
  const trustedAuthorities = hasOwnAuthorities ? readAuthorities(config) : null;
  return makeClientSslctx(identity, trustedAuthorities, checkHostname);
}

// ───────────────────────── the options

interface Config
  extends
    PemConfig,
    Pick<ClientSslconfig, "checkHostname">,
    Pick<ServerSslconfig, "allowUnauthenticatedClients"> {}

const TRUST_OPTIONS = ["ca", "caFile", "caPath"];
const IDENTITY_OPTIONS = ["cert", "certFile", "key", "keyFile"];
const CLIENT_TLS_OPTIONS = ["checkHostname", ...TRUST_OPTIONS, ...IDENTITY_OPTIONS];
const SERVER_TLS_OPTIONS = [...IDENTITY_OPTIONS, ...TRUST_OPTIONS, "allowUnauthenticatedClients"];
const ABSOLUTE_PATH = /^(?:\/|[A-Za-z]:[\\/]|\\\\)/;
const PEM_BEGIN = "-----BEGIN ";

/** Returns a copy, so that a later change of the original has no effect. */
function checkConfig(given: Config, optionNames: readonly string[]): Config {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw wrongTypeError("sslconfig", "an object or an sslctx", given);
  }
  const config = copyOptions(given, optionNames, "sslconfig");
  if (Array.isArray(config.ca)) config.ca = Array.from(config.ca);
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined) continue;
    if (/(?:File|Path)$/.test(name)) checkFilePath(name, value);
    else if (name === "ca") checkAuthorityTexts(value);
    else if (/^(?:cert|key)$/.test(name) && typeof value !== "string") {
      throw wrongTypeError(name, "a string, PEM text", value);
    }
  }
  // A text and a file could belong to different identities.
  checkTextOrFiles(config, ["ca"], ["caFile", "caPath"]);
  checkTextOrFiles(config, ["cert", "key"], ["certFile", "keyFile"]);
  return config;
}

function checkFilePath(name: string, value: unknown): void {
  checkString(name, value);
  if (ABSOLUTE_PATH.test(value) && !value.includes("\0")) return;
  // A value that isn't a path may be a key.
  const description = value.includes(PEM_BEGIN)
    ? `PEM text, which belongs in ${name.replace(/(?:File|Path)$/, "")}`
    : name === "keyFile"
    ? "other text, not shown because it may be a key"
    : quote(value);
  throw notAllowedError(name, `must be an absolute path; got ${description}`);
}

function checkAuthorityTexts(ca: unknown): void {
  if (typeof ca === "string") return;
  if (!Array.isArray(ca)) {
    throw wrongTypeError("ca", "a string or an array of strings, PEM text", ca);
  }
  for (const text of ca) {
    if (typeof text !== "string") {
      throw wrongTypeError("ca", "an array of strings, PEM texts", text);
    }
  }
}

function checkTextOrFiles<N extends keyof Config>(
  config: Config,
  textOptions: N[],
  fileOptions: N[],
): void {
  const isGiven = (name: N) => config[name] !== undefined;
  const textOption = textOptions.find(isGiven);
  const fileOption = fileOptions.find(isGiven);
  if (textOption === undefined || fileOption === undefined) return;
  const choice = `give ${textOptions.join(" and ")}, or ${fileOptions.join(" and ")}`;
  throw wrongArgumentError(
    `${textOption}, ${fileOption}`,
    `must be text or files; got both: ${choice}`,
  );
}

function hasAuthorities({ ca, caFile, caPath }: Config): boolean {
  return ca !== undefined || caFile !== undefined || caPath !== undefined;
}

// ───────────────────────── the policy

// The TLS policy of clients and servers. The policy follows RFC 9325, and is strict wherever the
// standard leaves a choice.
//
// - TLS 1.2 or 1.3.
// - For TLS 1.2, only suites with forward secrecy and authenticated encryption.
// - The peer's certificate is verified: no environment variable, and no option except
//   `allowUnauthenticatedClients`, disables this.
// - A session is resumed only if its certificate was verified before, and its authority is still
//   trusted.
// - No compression and no renegotiation: the TLS library supports neither.

const MIN_VERSION = "TLSv1.2";
const MAX_VERSION = "TLSv1.3";

export const CIPHERS: readonly string[] = Object.freeze([
  "TLS_AES_256_GCM_SHA384",
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-RSA-CHACHA20-POLY1305",
]);

const POLICY_FIELDS = {
  minVersion: MIN_VERSION,
  maxVersion: MAX_VERSION,
  ciphers: CIPHERS,
} as const;

const LIBRARY_OPTIONS = Object.freeze({ ...POLICY_FIELDS, ciphers: CIPHERS.join(":") });

/**
 * Checks that the policy allows the negotiated version and cipher suite, and that both sides have
 * selected the same protocol by ALPN (RFC 7301): `node:tls` accepts a peer without ALPN.
 */
export function checkNegotiatedParameters(socket: TLSSocket, alpnProtocol: string | null): void {
  const selectedProtocol = socket.alpnProtocol;
  if (alpnProtocol !== null && selectedProtocol !== alpnProtocol) {
    const description = selectedProtocol ? quote(selectedProtocol) : "none";
    throw new TlsError(
      "POLICY",
      `the protocol by ALPN must be ${alpnProtocol}; got ${description}`,
    );
  }
  const version = socket.getProtocol();
  if (version !== MIN_VERSION && version !== MAX_VERSION) {
    throw new TlsError("POLICY", `the version is ${quote(String(version))}`);
  }
  const { name } = socket.getCipher();
  if (!CIPHERS.includes(name)) {
    throw new TlsError("POLICY", `the cipher suite is ${quote(String(name))}`);
  }
}

const PROTOCOL_NAME = /^[!-~]{1,255}$/;

export function checkProtocol(protocol: string | undefined): string | null {
  if (protocol === undefined) return null;
  checkString("protocol", protocol);
  if (PROTOCOL_NAME.test(protocol)) return protocol;
  throw notAllowedError(
    "protocol",
    `must be 1 to 255 visible ASCII characters; got ${quote(protocol)}`,
  );
}

// ───────────────────────── the contexts

/**
 * Keys are stored outside the contexts, so that printing or copying a context can't expose them.
 */
const clientMaterials = new WeakMap<object, ClientMaterial>();
const serverMaterials = new WeakMap<object, ServerMaterial>();

export interface ServerMaterial {
  readonly options: typeof LIBRARY_OPTIONS & {
    readonly cert: string;
    readonly key: string;
    readonly ca?: string[];
    readonly requestCert: boolean;
    readonly rejectUnauthorized: boolean;
  };
  /** Whether a client must present a certificate; if not, an invalid certificate is ignored. */
  readonly requiresCertificate: boolean;
  readonly authorities: Authorities;
  /**
   * The warnings of the context, with a warning if every client is accepted, and without the
   * warning that no authority is trusted yet.
   */
  readonly loggedWarnings: readonly string[];
}

interface ClientMaterial {
  readonly secureContext: SecureContext;
  /** `null` if Deno's default store is trusted. */
  readonly authorities: Authorities | null;
}

const EVERY_CLIENT_ACCEPTED_WARNING =
  "every client is accepted, because allowUnauthenticatedClients is true";

/** If `trustedAuthorities` is `null`, the server requests no certificates. */
function makeServerSslctx(
  { cert, key, warnings }: Identity,
  trustedAuthorities: TrustedAuthorities | null,
  verify: boolean,
): ServerSslctx {
  const acceptsNoClient = verify && trustedAuthorities?.authorities.length === 0;
  const pemWarnings = [...warnings, ...trustedAuthorities?.warnings ?? []];
  const sslctx = Object.freeze({
    ...POLICY_FIELDS,
    warnings: Object.freeze([
      ...pemWarnings,
      ...acceptsNoClient ? ["ca: no authority is trusted yet, so no client is accepted"] : [],
    ]),
    verify,
  });
  serverMaterials.set(sslctx, {
    options: {
      ...LIBRARY_OPTIONS,
      cert,
      key,
      ...makeCaOption(trustedAuthorities),
      requestCert: trustedAuthorities !== null,
      rejectUnauthorized: verify,
    },
    requiresCertificate: verify,
    authorities: new Authorities(trustedAuthorities?.authorities ?? []),
    loggedWarnings: [...pemWarnings, ...verify ? [] : [EVERY_CLIENT_ACCEPTED_WARNING]],
  });
  return sslctx;
}

function makeClientSslctx(
  identity: Identity | null,
  trustedAuthorities: TrustedAuthorities | null,
  checkHostname: boolean,
): ClientSslctx {
  const sslctx = Object.freeze({
    ...POLICY_FIELDS,
    warnings: Object.freeze([...identity?.warnings ?? [], ...trustedAuthorities?.warnings ?? []]),
    verify: true as const,
    checkHostname,
  });
  clientMaterials.set(sslctx, {
    secureContext: loadBuiltin("node:tls").createSecureContext({
      ...LIBRARY_OPTIONS,
      ...identity === null ? {} : { cert: identity.cert, key: identity.key },
      ...makeCaOption(trustedAuthorities),
    }),
    authorities: trustedAuthorities && new Authorities(trustedAuthorities.authorities),
  });
  return sslctx;
}

/**
 * Makes the option by which the TLS library trusts only these authorities; without the option, the
 * library uses the default store.
 */
function makeCaOption(trustedAuthorities: TrustedAuthorities | null): { ca?: string[] } {
  return trustedAuthorities === null
    ? {}
    : { ca: trustedAuthorities.authorities.map(({ raw }) => formatPem(raw)) };
}

export function resolveClientSslctx(value: ClientSslctx | ClientSslconfig): ClientSslctx {
  return clientMaterials.has(value) ? value as ClientSslctx : buildClientSslctx(value);
}

export function resolveServerSslctx(value: ServerSslctx | ServerSslconfig): ServerSslctx {
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
