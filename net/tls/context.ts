/**
 * The contexts of TLS: what an end trusts, and its identity, checked once and used for every connection.
 *
 * @module
 */

import type { SecureContext } from "node:tls";
import { checkDenoVersion } from "../deno_version.ts";
import { Authorities } from "./authority.ts";
import {
  authoritySources,
  checkClientConfig,
  checkServerConfig,
  type ClientSslconfig,
  identitySources,
  type ServerSslconfig,
} from "./config.ts";
import {
  type PemCertificate,
  readAuthorities,
  readIdentity,
  type TlsIdentity,
  type WithWarnings,
} from "./files.ts";
import { loadBuiltin } from "./modules.ts";
import { CIPHERS, LIBRARY_OPTIONS, MAX_VERSION, MIN_VERSION } from "./policy.ts";

export type { ClientSslconfig, ServerSslconfig } from "./config.ts";

/** The policy of both ends, and warnings about the configuration. */
export interface Sslctx {
  /** The oldest version of TLS. */
  readonly minVersion: "TLSv1.2";
  /** The newest version of TLS. */
  readonly maxVersion: "TLSv1.3";
  /** The cipher suites, by OpenSSL's name. */
  readonly ciphers: readonly string[];
  /**
   * Certificates that have expired or are not valid yet, or that peers will refuse; no trusted authority
   * yet.
   */
  readonly warnings: readonly string[];
}

/** A client's context. Only {@linkcode buildClientSslctx} makes one. */
export interface ClientSslctx extends Sslctx {
  /** The server's certificate is verified. */
  readonly verify: true;
  /** Whether it must also be for the host that is connected to. */
  readonly checkHostname: boolean;
}

/** A server's context. Only {@linkcode buildServerSslctx} makes one. */
export interface ServerSslctx extends Sslctx {
  /** Whether clients need a certificate, which is then verified. */
  readonly verify: boolean;
}

/** The input of the TLS library to make a server. */
export interface ServerMaterial {
  /** The options of `tls.createServer`. */
  readonly options: TlsIdentity & typeof LIBRARY_OPTIONS & {
    readonly ca?: readonly string[];
    readonly requestCert: boolean;
    readonly rejectUnauthorized: true;
  };
  /** The authorities whose clients are accepted; none if every client is, or none yet. */
  readonly authorities: Authorities;
  /** Whether the key of one of them has this SHA-256, as in `PeerAuthority.publicKey256`. */
  trusts(publicKey256: string): boolean;
}

/** The input of the TLS library to make a client, and what the client trusts. */
export interface ClientMaterial {
  readonly secureContext: SecureContext;
  /** `null` if Deno's default store is trusted. */
  readonly authorities: Authorities | null;
}

const NOBODY = "ca: no authority is trusted yet, so no client is accepted";

/** Keys are kept outside the contexts, so printing or copying a context can't expose them. */
const clientMaterials = new WeakMap<object, ClientMaterial>();
const serverMaterials = new WeakMap<object, ServerMaterial>();

/**
 * Reads and checks the files, or the PEM text, of a client's *sslconfig*. Needs `--allow-read` of the files.
 *
 * With `ca`, `caFile` or `caPath` only servers of those authorities are trusted. `{}` means the authorities that
 * Deno trusts by default, and checking the server's name. The server's certificate is always verified.
 *
 * @param sslconfig The authorities that are trusted, and the identity of the client.
 * @throws {TypeError} if a value has a wrong type, an option is unknown, or text and files are given
 * together.
 * @throws {RangeError} if a path is relative; if files or text hold no certificate or no key, don't
 * belong together, or the key is encrypted; if `checkHostname` is `false` without an authority.
 * @throws {Deno.errors.NotFound} if a file is missing; other errors of reading files.
 * @throws {DeguError} if Deno is older than 2.9.6.
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
  const config = checkClientConfig(sslconfig);
  const { checkHostname = true } = config;
  const own = identitySources(config);
  const identity = own === null ? null : readIdentity(own, "clientAuth");
  const sources = authoritySources(config);
  const authorities = sources === null ? null : readAuthorities(sources);
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
 * Reads and checks the files, or the PEM text, of a server's *sslconfig*. Needs `--allow-read` of the files.
 *
 * With `ca`, `caFile` or `caPath` only clients of those authorities are accepted;
 * `allowUnauthenticatedClients: true` is the only alternative. Giving both, or neither, is an error.
 * With `ca: []` no client is accepted yet, and there is a warning.
 *
 * @param sslconfig The identity of the server, and which clients are accepted.
 * @throws {TypeError} if a value has a wrong type, an option is unknown, or text and files are given
 * together.
 * @throws {RangeError} if a path is relative; if files or text hold no certificate or no key, don't
 * belong together, or the key is encrypted; unless exactly one of the two choices was made.
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
  const config = checkServerConfig(sslconfig);
  // Checked above: a server's configuration has them.
  const identity = readIdentity(identitySources(config)!, "serverAuth");
  const sources = authoritySources(config);
  const verify = sources !== null;
  const authorities = verify ? readAuthorities(sources) : null;
  const nobody = sources?.length === 0 ? { value: null, warnings: [NOBODY] } : null;
  const sslctx = Object.freeze({ ...makeSslctx(identity, authorities, nobody), verify });
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

/**
 * A configuration in text that makes the same context again, without any file. It has the private key.
 */
export function serverTextsOf(sslctx: ServerSslctx): ServerSslconfig {
  const { cert, key, ca } = serverMaterialOf(sslctx).options;
  const trust = sslctx.verify ? { ca } : { allowUnauthenticatedClients: true };
  // It was made above, of strings alone.
  return { cert, key, ...trust } as ServerSslconfig;
}

/** What belongs to a client's context. */
export function clientMaterialOf(sslctx: ClientSslctx): ClientMaterial {
  return clientMaterials.get(sslctx)!;
}

/** What belongs to a server's context. */
export function serverMaterialOf(sslctx: ServerSslctx): ServerMaterial {
  return serverMaterials.get(sslctx)!;
}

/** The context of a server that runs, which its listeners share; replacing it takes effect at once. */
export class ContextInForce {
  #sslctx: ServerSslctx;
  readonly #openedListeners: (() => void)[] = [];

  /** Begins with a context. */
  constructor(sslctx: ServerSslctx) {
    this.#sslctx = sslctx;
  }

  /** The context itself. */
  get sslctx(): ServerSslctx {
    return this.#sslctx;
  }

  /** What belongs to it. */
  get material(): ServerMaterial {
    return serverMaterialOf(this.#sslctx);
  }

  /** Replaces it. */
  replace(sslctx: ServerSslctx): void {
    const opened = this.#sslctx.verify && !sslctx.verify;
    this.#sslctx = sslctx;
    if (opened) for (const listener of this.#openedListeners) listener();
  }

  /** Calls a function whenever every client is accepted from then on, and was not before. */
  onOpened(listener: () => void): void {
    this.#openedListeners.push(listener);
  }
}

function makeAuthorities(certificates: readonly PemCertificate[]): Authorities {
  return new Authorities(certificates.map(({ certificate }) => certificate.raw));
}

function makeSslctx(...read: readonly (WithWarnings<unknown> | null)[]): Sslctx {
  return {
    minVersion: MIN_VERSION,
    maxVersion: MAX_VERSION,
    ciphers: CIPHERS,
    warnings: Object.freeze(read.flatMap((each) => each?.warnings ?? [])),
  };
}
