/** The identity of an open device: loaded once, and used in contexts of TLS. */

import { checkDenoVersion } from "../../net/deno_version.ts";
import {
  type ClientSslctx,
  type Identity,
  makeClientSslctx,
  makeServerSslctx,
  readAuthorities,
  readIdentity,
  type ServerSslctx,
} from "../../net/tls/context.ts";
import { type Authority, readAuthorityText } from "./authority.ts";
import { createDevicePki, type DevicePkiOptions } from "./device_pki.ts";

/** A peer or an authority, with the PEM text of its certificate. */
type HasCertificate = Readonly<{ certificate: string }>;

/** The identity of a device: its authority, and contexts of TLS with its certificate. */
export class DeviceIdentity {
  readonly authority: Authority;
  /** The certificate, which serves as a client's and as a server's. */
  readonly #own: Identity;
  /**
   * Contexts by peer, because making a context takes longer than a handshake. The object of a peer
   * stays the same until its file changes.
   */
  readonly #clientContexts = new WeakMap<HasCertificate, ClientSslctx>();

  private constructor(authority: Authority, own: Identity) {
    this.authority = authority;
    this.#own = own;
  }

  static async open(
    dir: string,
    name: string,
    options?: DevicePkiOptions,
  ): Promise<DeviceIdentity> {
    checkDenoVersion();
    const { caFile, certFile, keyFile } = await createDevicePki(dir, name, options);
    const authority = readAuthorityText(await Deno.readTextFile(caFile));
    return new DeviceIdentity(authority, readIdentity({ certFile, keyFile }, "serverAuth"));
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
}
