/**
 * Listening for TLS connections.
 *
 * @module
 */

import type { Address } from "../../base/address.ts";
import { peerName } from "../addresses.ts";
import {
  type Accepted,
  type Listener,
  type ListenerSide,
  NOT_SHARED,
  type PortSharing,
} from "../listener.ts";
import { Admission } from "./admission.ts";
import { type ServerMaterial, serverMaterialOf, type ServerSslctx } from "./context.ts";
import { listenRaw, type RawConnection, type RawListener } from "./raw_listener.ts";
import { isStillTrusted, makeServerHandshake, type ServerHandshake } from "./server_handshake.ts";

/** The warning of a listener that authenticates nobody. */
export const EVERY_CLIENT_IS_ACCEPTED =
  "every client is accepted, whoever it is: allowUnauthenticatedClients is true";

/** A connection that has arrived, with the name of its peer in logs. */
type NamedConnection = RawConnection & { readonly name: string };

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
    if (opened) { for (const listener of this.#openedListeners) listener(); }
  }

  /** Calls a function whenever every client is accepted from then on, and was not before. */
  onOpened(listener: () => void): void {
    this.#openedListeners.push(listener);
  }
}

/**
 * Listens for TLS connections, and accepts those whose handshake succeeds. The handshakes are done side
 * by side, however long a connection must wait for a slot.
 */
export class TlsListener implements Listener {
  readonly ready: Promise<void>;
  readonly #raw: RawListener;
  readonly #context: ContextInForce;
  readonly #handshake: ServerHandshake;
  readonly #admission: Admission<NamedConnection>;
  #count = 0;

  /**
   * Binds a checked address.
   *
   * @param context Decides which clients are accepted, also after it was replaced.
   * @param protocol The name by ALPN that both ends must give, or `null` for none. With one there is no
   * warning that all clients are accepted: the protocol is for strangers.
   * @param sharing How the port is shared with other listeners.
   */
  constructor(
    address: Address,
    side: ListenerSide,
    context: ContextInForce,
    protocol: string | null = null,
    sharing: PortSharing = NOT_SHARED,
  ) {
    this.#context = context;
    this.#handshake = makeServerHandshake(context, protocol);
    this.#admission = new Admission(side, (connection) => this.#open(connection));
    this.#raw = listenRaw(address, side.logger, (connection) => this.#receive(connection), sharing);
    const warn = () => {
      if (protocol === null) side.logger.warn(EVERY_CLIENT_IS_ACCEPTED);
    };
    this.ready = this.#raw.ready.then(() => {
      if (!context.sslctx.verify) warn();
      context.onOpened(warn);
    });
    // serveForever() and `ready` report the error.
    this.ready.catch(() => {});
  }

  get address(): Address {
    return this.#raw.address;
  }

  /** Duplicates the file descriptor of the listening socket; `null` if it can't. */
  duplicate(): number | null {
    return this.#raw.duplicate();
  }

  accept(): Promise<Accepted> {
    this.#raw.start();
    return this.#admission.accept();
  }

  close(): void {
    this.#raw.close();
    this.#admission.close();
  }

  async ended(): Promise<void> {
    await Promise.all([this.#raw.ended(), this.#admission.ended()]);
  }

  #receive(raw: RawConnection): void {
    const connection = { ...raw, name: peerName(this.address, raw.address, ++this.#count) };
    const { stream } = raw.rawStream;
    stream.once("close", () => this.#admission.delete(connection));
    // Into the stream's own buffer, up to its limit: so it is known who has sent something.
    stream.read(0);
    this.#admission.push(connection);
  }

  async #open({ name, address, rawStream }: NamedConnection): Promise<Accepted> {
    const socket = await this.#handshake(rawStream);
    const isTrusted = () => isStillTrusted(socket.peerCertificate, this.#context.material);
    return { name, address, socket, isTrusted };
  }
}
