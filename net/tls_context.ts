/**
 * The contexts of TLS: what an end trusts and who it is, checked once and used for every connection.
 *
 * @module
 */

import type { SecureContext } from "node:tls";
import { quote, typeName } from "../base/errors.ts";
import { checkDenoVersion } from "./deno_version.ts";
import { Authorities } from "./tls_authority.ts";
import {
  type Identity,
  type PemCertificate,
  type Read,
  readAuthorities,
  readIdentity,
} from "./tls_files.ts";
import { loadBuiltin } from "./tls_modules.ts";
import { CIPHERS, LIBRARY_OPTIONS, MAX_VERSION, MIN_VERSION } from "./tls_policy.ts";

/** What a client trusts, and who it is: plain JSON, every path absolute. */
export interface ClientSslconfig {
  /**
   * Whether the server's certificate has to be for the host that is connected to. It can be `false`
   * only together with an authority of one's own.
   *
   * @default {true}
   */
  checkHostname?: boolean | undefined;
  /** PEM file with the authorities whose servers are trusted, and no others. */
  caFile?: string | undefined;
  /**
   * Directory of such files, whose names end with `.pem`, `.crt` or `.cer`, or are those that OpenSSL
   * makes from hashes. Without `caFile` and `caPath` Deno's default trust store counts.
   */
  caPath?: string | undefined;
  /** PEM file with the client's certificate, followed by those that lead to its authority. */
  certFile?: string | undefined;
  /** PEM file with the private key of that certificate. */
  keyFile?: string | undefined;
}

/** Which clients a server trusts, and who it is: plain JSON, every path absolute. */
export interface ServerSslconfig {
  /** PEM file with the server's certificate, followed by those that lead to its authority. */
  certFile: string;
  /** PEM file with the private key of that certificate. */
  keyFile: string;
  /** PEM file with the authorities whose clients are let in, and no others. */
  caFile?: string | undefined;
  /** Directory of such files, as for {@linkcode ClientSslconfig.caPath}. */
  caPath?: string | undefined;
  /** In place of `caFile` and `caPath`: lets every client in, without asking who it is. */
  allowUnauthenticatedClients?: true | undefined;
}

/** The policy that holds for both ends, and what is doubtful about the files. */
export interface Sslctx {
  /** The oldest version of TLS. */
  readonly minVersion: "TLSv1.2";
  /** The newest version of TLS. */
  readonly maxVersion: "TLSv1.3";
  /** The cipher suites, by OpenSSL's name. */
  readonly ciphers: readonly string[];
  /** Certificates that have expired or are not valid yet, and others that peers will not like. */
  readonly warnings: readonly string[];
}

/** A client's context; made by {@linkcode buildClientSslctx}, and of use there alone. */
export interface ClientSslctx extends Sslctx {
  /** The server's certificate is verified. */
  readonly verify: true;
  /** Whether it also has to be for the host that is connected to. */
  readonly checkHostname: boolean;
}

/** A server's context; made by {@linkcode buildServerSslctx}, and of use there alone. */
export interface ServerSslctx extends Sslctx {
  /** Whether clients need a certificate, which is then verified. */
  readonly verify: boolean;
}

/** What the TLS library is given to make a server. */
export interface ServerMaterial {
  /** The options of `tls.createServer`. */
  readonly options: Identity & typeof LIBRARY_OPTIONS & {
    readonly ca?: readonly string[];
    readonly requestCert: boolean;
    readonly rejectUnauthorized: true;
  };
  /** The authorities whose clients are let in; none where everybody is, or nobody yet. */
  readonly authorities: Authorities;
  /** Whether the key of one of them has this SHA-256, as `PeerAuthority.publicKey256` tells it. */
  trusts(publicKey256: string): boolean;
  /** Fingerprints of the certificates that this context has verified, the latest last. */
  readonly verified: Set<string>;
}

/** What the TLS library is given to make a client, and what it trusts. */
export interface ClientMaterial {
  readonly secureContext: SecureContext;
  /** `null` where the system's store is trusted. */
  readonly authorities: Authorities | null;
}

/** The keys are kept beside the contexts, where nothing that prints or copies one finds them. */
const clientMaterials = new WeakMap<object, ClientMaterial>();
const serverMaterials = new WeakMap<object, ServerMaterial>();

const CLIENT_OPTIONS = ["checkHostname", "caFile", "caPath", "certFile", "keyFile"];
const SERVER_OPTIONS = ["certFile", "keyFile", "caFile", "caPath", "allowUnauthenticatedClients"];
const ABSOLUTE_PATH = /^(?:\/|[A-Za-z]:[\\/]|\\\\)/;

/**
 * Reads and checks the files of a client's *sslconfig*. Needs `--allow-read` of them.
 *
 * `{}` stands for the authorities that Deno trusts by default, and for checking the server's name. With `caFile`
 * or `caPath` those authorities are the only ones. The server's certificate is always verified.
 *
 * @throws {TypeError} for a value of a wrong type and for an option that does not exist.
 * @throws {RangeError} for a relative path; for files that hold no certificate or no key, that don't
 * belong together, or whose key is encrypted; for `checkHostname: false` without an authority.
 * @throws {Deno.errors.NotFound} where a file is missing, and other errors of reading files.
 * @throws {DeguError} where Deno is older than 2.9.6.
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
export function buildClientSslctx(config: ClientSslconfig): ClientSslctx {
  checkDenoVersion();
  checkConfig(config, CLIENT_OPTIONS);
  const { checkHostname = true, caFile, caPath, certFile, keyFile } = config;
  if (typeof checkHostname !== "boolean") {
    throw new TypeError(`checkHostname: need a boolean; got ${typeName(checkHostname)}`);
  }
  const hasAuthority = caFile !== undefined || caPath !== undefined;
  if (!checkHostname && !hasAuthority) {
    throw new RangeError(
      "checkHostname: false needs a caFile or caPath: the default trust store vouches for every " +
        "server in the world, and only the name tells them apart",
    );
  }
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new RangeError("certFile, keyFile: need both or neither");
  }
  const identity: Read<Identity> | null = certFile === undefined || keyFile === undefined
    ? null
    : readIdentity(certFile, keyFile, "clientAuth");
  const authorities = hasAuthority ? readAuthorities(caFile, caPath) : null;
  const { createSecureContext } = loadBuiltin("node:tls");
  const secureContext = createSecureContext({
    ...LIBRARY_OPTIONS,
    ...identity?.value,
    ...(authorities === null ? {} : { ca: authorities.value.map(({ pem }) => pem) }),
  });
  const sslctx = Object.freeze({
    ...makeSslctx(identity, authorities),
    verify: true as const,
    checkHostname,
  });
  clientMaterials.set(sslctx, {
    secureContext,
    authorities: authorities === null ? null : makeAuthorities(authorities.value),
  });
  return sslctx;
}

/**
 * Reads and checks the files of a server's *sslconfig*. Needs `--allow-read` of them.
 *
 * With `caFile` or `caPath` only clients of those authorities are let in;
 * `allowUnauthenticatedClients: true` is the one other choice. Giving both, or neither, is an error.
 *
 * @throws {TypeError} for a value of a wrong type and for an option that does not exist.
 * @throws {RangeError} for a relative path; for files that hold no certificate or no key, that don't
 * belong together, or whose key is encrypted; where not exactly one of the two choices was made.
 * @throws {Deno.errors.NotFound} where a file is missing, and other errors of reading files.
 * @throws {DeguError} where Deno is older than 2.9.6.
 *
 * @example Let in the clients of one authority
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
export function buildServerSslctx(config: ServerSslconfig): ServerSslctx {
  checkDenoVersion();
  checkConfig(config, SERVER_OPTIONS);
  const { certFile, keyFile, caFile, caPath } = config;
  for (const [name, value] of Object.entries({ certFile, keyFile })) {
    if (value === undefined) throw new TypeError(`${name}: need a string; a server has to have it`);
  }
  const verify = checkClientTrust(config);
  const identity = readIdentity(certFile, keyFile, "serverAuth");
  const authorities = verify ? readAuthorities(caFile, caPath) : null;
  const sslctx = Object.freeze({ ...makeSslctx(identity, authorities), verify });
  const trusted = makeAuthorities(authorities?.value ?? []);
  serverMaterials.set(sslctx, {
    options: {
      ...LIBRARY_OPTIONS,
      ...identity.value,
      ...(authorities === null ? {} : { ca: authorities.value.map(({ pem }) => pem) }),
      requestCert: verify,
      rejectUnauthorized: true,
    },
    authorities: trusted,
    trusts: (publicKey256) => trusted.trusts(publicKey256),
    verified: new Set(),
  });
  return sslctx;
}

/** The context itself, or one for the config. For clients. */
export function asClientSslctx(value: ClientSslctx | ClientSslconfig): ClientSslctx {
  return clientMaterials.has(value) ? value as ClientSslctx : buildClientSslctx(value);
}

/** The context itself, or one for the config. For servers. */
export function asServerSslctx(value: ServerSslctx | ServerSslconfig): ServerSslctx {
  return serverMaterials.has(value)
    ? value as ServerSslctx
    : buildServerSslctx(value as ServerSslconfig);
}

/** What belongs to a client's context. */
export function clientMaterialOf(sslctx: ClientSslctx): ClientMaterial {
  return clientMaterials.get(sslctx)!;
}

/** What belongs to a server's context. */
export function serverMaterialOf(sslctx: ServerSslctx): ServerMaterial {
  return serverMaterials.get(sslctx)!;
}

function makeAuthorities(certificates: readonly PemCertificate[]): Authorities {
  return new Authorities(certificates.map(({ certificate }) => certificate.raw));
}

function makeSslctx(...read: readonly (Read<unknown> | null)[]): Sslctx {
  return {
    minVersion: MIN_VERSION,
    maxVersion: MAX_VERSION,
    ciphers: CIPHERS,
    warnings: Object.freeze(read.flatMap((each) => each?.warnings ?? [])),
  };
}

function checkConfig(config: ClientSslconfig | ServerSslconfig, known: readonly string[]): void {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new TypeError(`sslconfig: need an object or an sslctx; got ${typeName(config)}`);
  }
  for (const [name, value] of Object.entries(config)) {
    if (!known.includes(name)) {
      throw new TypeError(
        `sslconfig: unknown option ${quote(name)}; there are ${known.join(", ")}`,
      );
    }
    if (value !== undefined && /(?:File|Path)$/.test(name)) checkPath(name, value);
  }
}

function checkPath(name: string, value: unknown): void {
  if (typeof value !== "string") {
    throw new TypeError(`${name}: need a string; got ${typeName(value)}`);
  }
  if (!ABSOLUTE_PATH.test(value) || value.includes("\0")) {
    throw new RangeError(`${name}: need an absolute path; got ${quote(value)}`);
  }
}

/** Whether clients need a certificate; exactly one of the two choices has to be made. */
function checkClientTrust(config: ServerSslconfig): boolean {
  const allow: unknown = config.allowUnauthenticatedClients;
  if (allow !== undefined && typeof allow !== "boolean") {
    throw new TypeError(`allowUnauthenticatedClients: need true; got ${typeName(allow)}`);
  }
  if (allow === false) {
    throw new RangeError("allowUnauthenticatedClients: need true, or leave it out");
  }
  const hasAuthority = config.caFile !== undefined || config.caPath !== undefined;
  if (hasAuthority === (allow === true)) {
    throw new RangeError(
      "sslconfig: need either caFile or caPath, for the clients of those authorities alone, or " +
        `allowUnauthenticatedClients: true; got ${hasAuthority ? "both" : "neither"}`,
    );
  }
  return hasAuthority;
}
