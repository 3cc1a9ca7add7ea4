/**
 * Listening for TLS connections.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import { DeguError } from "../base/errors.ts";
import type { Address } from "../base/session.ts";
import { bounded } from "./connect.ts";
import type { Accepted, Listener } from "./listener.ts";
import { serverMaterialOf, type ServerSslctx } from "./tls_context.ts";
import { reasonOf } from "./tls_errors.ts";
import { Handshakes } from "./tls_handshakes.ts";
import { listenRaw, type RawListener } from "./tls_listen.ts";
import { TlsSocket } from "./tls_socket.ts";
import type { TlsStream } from "./tls_stream.ts";

/** What a listener has to know of its server. */
export interface ServerSide {
  /** Seconds that a handshake may take, or `null`. */
  readonly timeout: number | null;
  /** Where to tell of security concerns. */
  readonly logger: { warn(message: string): void };
}

/** Listens for TLS connections. */
export class TlsListener implements Listener {
  readonly ready: Promise<void>;
  readonly #raw: RawListener;
  readonly #timeout: number | null;
  readonly #findSslctx: () => ServerSslctx;
  #handshakes: Handshakes | null = null;

  /**
   * Binds a checked address.
   *
   * @param findSslctx Tells the context, from when the caller is back in the event loop.
   */
  constructor(address: Address, { timeout, logger }: ServerSide, findSslctx: () => ServerSslctx) {
    this.#raw = listenRaw(address);
    this.#timeout = timeout;
    this.#findSslctx = findSslctx;
    this.ready = this.#raw.ready.then(() => {
      if (this.#findSslctx().verify) return;
      logger.warn("every client is let in, whoever it is: allowUnauthenticatedClients is true");
    });
    // serveForever() reports it, and whoever waits for `ready`.
    this.ready.catch(() => {});
  }

  get address(): Address {
    return this.#raw.address;
  }

  async accept(): Promise<Accepted> {
    const { below, address } = await this.#raw.accept();
    let closed = false;
    return {
      address,
      open: () => this.#open(below, () => closed),
      close: () => {
        closed = true;
        below.close();
      },
    };
  }

  close(): void {
    this.#raw.close();
  }

  /** Does the handshake. No error of it has words that the peer has chosen. */
  async #open(below: TlsStream, isClosed: () => boolean): Promise<Socket> {
    this.#handshakes ??= new Handshakes(serverMaterialOf(this.#findSslctx()), this.#timeout);
    const handshakes = this.#handshakes;
    const bounds = { timeout: this.#timeout, signal: undefined };
    return await bounded("the TLS handshake", bounds, async () => {
      try {
        const { socket, peerCertificate } = await handshakes.shake(below.stream);
        return new TlsSocket(socket, below, peerCertificate);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        const reason = isClosed() ? "the server closed the connection" : reasonOf(error);
        throw new DeguError(reason, { cause: error });
      }
    });
  }
}
