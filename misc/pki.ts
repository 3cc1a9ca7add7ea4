import { join } from "node:path";
import {
  checkArray,
  checkBoolean,
  checkConstructorKey,
  checkString,
  CONSTRUCTOR_KEY,
  copyOptions,
} from "../internal/checks.ts";
import {
  createAuthority,
  createLeaf,
  parseAlternativeName,
} from "../net/tls/certificate_writer.ts";

/** Whether clients have certificates, and the names of the server. */
export interface TempPKIOptions {
  /**
   * Whether to make a second authority, for clients, and a certificate of a client.
   *
   * @default {true}
   */
  clientPki?: boolean | undefined;
  /**
   * Further DNS names and IP addresses for the server's certificate, besides `localhost`,
   * `127.0.0.1` and `::1`.
   *
   * @default {[]}
   */
  names?: readonly string[] | undefined;
}

/**
 * A {@linkcode TempPKI} with a certificate of a client, which {@linkcode TempPKI.create} makes by
 * default.
 */
export interface TempClientPKI extends TempPKI {
  /** For a server that accepts only the clients of this PKI. */
  readonly serverSslconfig: {
    readonly certFile: string;
    readonly keyFile: string;
    readonly caFile: string;
  };
  /** For a client with a certificate of this PKI. */
  readonly clientSslconfig: {
    readonly caFile: string;
    readonly checkHostname: false;
    readonly certFile: string;
    readonly keyFile: string;
  };
}

const SERVER_NAMES = ["localhost", "127.0.0.1", "::1"] as const;

const FILE_NAMES = {
  serverCa: "server_ca.pem",
  server: "server.pem",
  serverKey: "server_key.pem",
  clientCa: "client_ca.pem",
  client: "client.pem",
  clientKey: "client_key.pem",
} as const;

/**
 * A private authority for servers and another for clients, with a certificate of each, in a
 * temporary directory that is removed on dispose. Keys are ECDSA P-256, certificates don't expire,
 * and the directory has mode 0700. The private keys of the two authorities are not stored, so they
 * can't issue more certificates. The four configurations are plain JSON with absolute paths, so
 * they can be sent to a worker.
 *
 * Clients don't check the server's name (`checkHostname: false`): the authority that they trust has
 * issued only one certificate, so another server can't impersonate it. The certificate is issued
 * for `localhost`, `127.0.0.1`, `::1` and the `names` of the options, so over TCP
 * `{ ...pki.clientSslconfig, checkHostname: true }` works as well.
 *
 * Without `await using`, call {@linkcode TempPKI.prototype.close}: the directory and its keys stay
 * until then, even after the end of the process or garbage collection.
 *
 * Needs `--allow-write` of the temporary directory (`TMPDIR`, else `/tmp`); using the
 * configurations also needs `--allow-read` of that directory.
 *
 * @example Configure both ends
 * ```ts
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * assertEquals(Object.keys(pki.serverSslconfig), ["certFile", "keyFile", "caFile"]);
 * assertEquals(pki.clientSslconfig.checkHostname, false);
 *
 * const pem = await Deno.readTextFile(pki.serverSslconfig.certFile);
 * assertEquals(pem.startsWith("-----BEGIN CERTIFICATE-----"), true);
 * ```
 */
export class TempPKI implements AsyncDisposable {
  /** For a server that accepts only the clients of this PKI; see {@linkcode TempPKI.create}. */
  readonly serverSslconfig:
    & { readonly certFile: string; readonly keyFile: string }
    & (
      | { readonly caFile: string; readonly allowUnauthenticatedClients?: never }
      | { readonly caFile?: never; readonly allowUnauthenticatedClients: true }
    );
  /** For a client with a certificate of this PKI; see {@linkcode TempPKI.create}. */
  readonly clientSslconfig: {
    readonly caFile: string;
    readonly checkHostname: false;
    readonly certFile?: string;
    readonly keyFile?: string;
  };
  /** For a server that accepts every client. */
  readonly anonymousServerSslconfig: {
    readonly certFile: string;
    readonly keyFile: string;
    readonly allowUnauthenticatedClients: true;
  };
  /** For a client without a certificate. */
  readonly anonymousClientSslconfig: { readonly caFile: string; readonly checkHostname: false };

  readonly #dir: string;
  #removal: Promise<void> | null = null;

  private constructor(key: symbol, dir: string, clientPki: boolean) {
    checkConstructorKey(key, "TempPKI", 'TempPKI.create() of "@degu/degu/misc"');
    this.#dir = dir;
    const server = {
      certFile: join(dir, FILE_NAMES.server),
      keyFile: join(dir, FILE_NAMES.serverKey),
    };
    this.anonymousServerSslconfig = Object.freeze({ ...server, allowUnauthenticatedClients: true });
    this.anonymousClientSslconfig = Object.freeze({
      checkHostname: false,
      caFile: join(dir, FILE_NAMES.serverCa),
    });
    this.serverSslconfig = clientPki
      ? Object.freeze({ ...server, caFile: join(dir, FILE_NAMES.clientCa) })
      : this.anonymousServerSslconfig;
    this.clientSslconfig = clientPki
      ? Object.freeze({
        ...this.anonymousClientSslconfig,
        certFile: join(dir, FILE_NAMES.client),
        keyFile: join(dir, FILE_NAMES.clientKey),
      })
      : this.anonymousClientSslconfig;
  }

  /**
   * Makes the authorities, certificates and files. After an error, the directory is removed.
   *
   * With `clientPki: false` clients have no identity: `serverSslconfig` is
   * `anonymousServerSslconfig` and `clientSslconfig` is `anonymousClientSslconfig`.
   *
   * @param options The names of the server, and whether clients have an identity.
   * @throws {TypeError} if an option is unknown or has the wrong type.
   * @throws {RangeError} if one of `names` is neither a DNS name nor an IP address.
   *
   * @example Name the server, and have clients check the name
   * ```ts
   * import { TempPKI } from "@degu/degu/misc";
   * import { assertEquals } from "@std/assert";
   * import { X509Certificate } from "node:crypto";
   *
   * await using pki = await TempPKI.create({ clientPki: false, names: ["camera-1", "fe80::1"] });
   * const clientSslconfig = { ...pki.clientSslconfig, checkHostname: true };
   * assertEquals(Object.keys(clientSslconfig), ["checkHostname", "caFile"]);
   *
   * const pem = await Deno.readTextFile(pki.serverSslconfig.certFile);
   * assertEquals(new X509Certificate(pem).checkHost("camera-1"), "camera-1");
   * ```
   */
  static create(
    options?: TempPKIOptions & { clientPki?: true | undefined },
  ): Promise<TempClientPKI>;
  /** The same, with or without an identity of clients. */
  static create(options?: TempPKIOptions): Promise<TempPKI>;
  static async create(options: TempPKIOptions = {}): Promise<TempPKI> {
    const { clientPki = true, names = [] } = copyOptions(options, ["clientPki", "names"]);
    checkBoolean("clientPki", clientPki);
    checkArray("names", names);
    names.forEach((name, index) => checkString(`names[${index}]`, name));
    for (const name of names) parseAlternativeName("names", name);
    const server = makeCertificates("server", [...SERVER_NAMES, ...names]);
    const client = clientPki ? makeCertificates("client", []) : null;
    const files = {
      [FILE_NAMES.serverCa]: server.ca,
      [FILE_NAMES.server]: server.certificate,
      [FILE_NAMES.serverKey]: server.privateKey,
      ...client && {
        [FILE_NAMES.clientCa]: client.ca,
        [FILE_NAMES.client]: client.certificate,
        [FILE_NAMES.clientKey]: client.privateKey,
      },
    };
    const dir = await Deno.makeTempDir({ prefix: "degu-pki-" });
    try {
      for (const [name, text] of Object.entries(files)) {
        await Deno.writeTextFile(join(dir, name), text, { createNew: true, mode: 0o600 });
      }
    } catch (error) {
      await Deno.remove(dir, { recursive: true });
      throw error;
    }
    return new TempPKI(CONSTRUCTOR_KEY, dir, clientPki);
  }

  /** Removes the directory and its files; a second call has no effect. */
  close(): Promise<void> {
    return this.#removal ??= this.#remove();
  }

  /** Removes the directory: {@linkcode TempPKI.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #remove(): Promise<void> {
    try {
      await Deno.remove(this.#dir, { recursive: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      this.#removal = null; // the next call tries again
      throw error;
    }
  }
}

function makeCertificates(role: "server" | "client", alternativeNames: readonly string[]) {
  const commonName = `TempPKI ${role} CA ${crypto.getRandomValues(new Uint8Array(8)).toHex()}`;
  const authority = createAuthority({ commonName });
  const leaf = createLeaf(authority, {
    subject: { commonName: `TempPKI ${role}` },
    purposes: [`${role}Auth`],
    alternativeNames,
  });
  return { ca: authority.certificate, ...leaf };
}
