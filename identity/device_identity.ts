/** The identity of an open device: loaded, and renewed as long as it is open. */

import { checkDenoVersion } from "../net/deno_version.ts";
import type { Logger } from "../net/logger.ts";
import { plainMessageOf } from "../net/thrown.ts";
import {
  type ClientSslctx,
  type Identity,
  makeClientSslctx,
  makeServerSslctx,
  readAuthorities,
  readIdentity,
  type ServerSslctx,
} from "../net/tls/context.ts";
import { type Authority, readAuthorityText } from "./authority.ts";
import { type CertificateLife, openDevicePki } from "./device_pki.ts";

/** The files of an identity; the certificate serves as a client's and as a server's. */
type Loaded = Readonly<{ authority: Authority; own: Identity }>;

/** A peer or an authority, with the PEM text of its certificate. */
type HasCertificate = Readonly<{ certificate: string }>;

/** The identity of a device: its authority, and contexts of TLS with its current certificate. */
export class DeviceIdentity {
  readonly authority: Authority;
  readonly #load: () => Promise<Loaded>;
  /** Logs a message; an equal message is logged once only. */
  readonly #log: (level: "warn" | "error", message: string) => void;
  readonly #listeners = new Set<() => void>();
  #own: Identity;
  /**
   * Contexts by peer, because making a context takes longer than a handshake. The object of a peer
   * stays the same until its file changes.
   */
  #clientContexts = new WeakMap<HasCertificate, ClientSslctx>();

  private constructor(
    { authority, own }: Loaded,
    load: () => Promise<Loaded>,
    log: (level: "warn" | "error", message: string) => void,
  ) {
    this.authority = authority;
    this.#own = own;
    this.#load = load;
    this.#log = log;
  }

  static async open(
    dir: string,
    name: string,
    life: CertificateLife,
    logger: Logger,
  ): Promise<DeviceIdentity> {
    checkDenoVersion();
    const logged = new Set<string>();
    const log = (level: "warn" | "error", message: string) => {
      if (!logged.has(message)) logger[level](message);
      logged.add(message);
    };
    const load = async () => {
      const { caFile, certFile, keyFile, warnings } = await openDevicePki(dir, name, {}, life);
      for (const warning of warnings) log("warn", warning);
      return {
        authority: readAuthorityText(await Deno.readTextFile(caFile)),
        own: readIdentity({ certFile, keyFile }, "serverAuth"),
      };
    };
    return new DeviceIdentity(await load(), load, log);
  }

  /**
   * A server's context: for clients of these authorities, or with `null` for every client.
   *
   * @param insists As for {@linkcode makeServerSslctx}.
   */
  serverContext(trusted: readonly HasCertificate[] | null, insists = true): ServerSslctx {
    const ca = trusted?.map(({ certificate }) => certificate);
    return makeServerSslctx(this.#own, ca === undefined ? null : readAuthorities({ ca }), insists);
  }

  /** A client's context, for every server of an authority. */
  clientContext(trusted: HasCertificate): ClientSslctx {
    let context = this.#clientContexts.get(trusted);
    if (context === undefined) {
      const ca = [trusted.certificate];
      context = makeClientSslctx(this.#own, readAuthorities({ ca }), false);
      this.#clientContexts.set(trusted, context);
    }
    return context;
  }

  /** Calls a function after each renewal, until the returned function is called. */
  onRenewal(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Renews the certificate if that is due, or loads the certificate that another process has
   * renewed. Never rejects.
   */
  async refresh(): Promise<void> {
    try {
      const { authority, own } = await this.#load();
      if (authority.id !== this.authority.id) {
        throw new Error("the identity was replaced; open the device again");
      }
      if (own.cert === this.#own.cert && own.key === this.#own.key) return;
      this.#own = own;
      this.#clientContexts = new WeakMap();
      for (const listener of [...this.#listeners]) listener();
    } catch (error) {
      this.#log("error", `the identity of the device can't be looked at: ${plainMessageOf(error)}`);
    }
  }
}
