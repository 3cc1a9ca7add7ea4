/**
 * Listening for TLS connections.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import { DeguError } from "../base/errors.ts";
import type { Address } from "../base/session.ts";
import { peerName } from "./addresses.ts";
import { bounded } from "./connect.ts";
import type { Accepted, Listener, ListenerLog } from "./listener.ts";
import { Queue } from "./queue.ts";
import { serverMaterialOf, type ServerSslctx } from "./tls_context.ts";
import { reasonOf } from "./tls_errors.ts";
import { Handshakes } from "./tls_handshakes.ts";
import { listenRaw, type RawConnection, type RawListener } from "./tls_listen.ts";
import { PendingHandshakes } from "./tls_pending.ts";
import { TlsSocket } from "./tls_socket.ts";
import type { TlsStream } from "./tls_stream.ts";

/** Clients whose handshake is done that may wait behind the one that waits for a place. */
const MAX_WAITING = 64;

/** What a listener has to know of its server. */
export interface ServerSide {
  /** Seconds that a handshake may take, or `null`. */
  readonly timeout: number | null;
  /** Where to tell what happens. */
  readonly logger: ListenerLog & { info(message: string): void };
}

/**
 * Listens for TLS connections, and gives out those whose handshake has succeeded. The handshakes are
 * done side by side, however long a connection has to wait until it is taken.
 */
export class TlsListener implements Listener {
  readonly ready: Promise<void>;
  readonly #raw: RawListener;
  readonly #side: ServerSide;
  readonly #findSslctx: () => ServerSslctx;
  readonly #pending = new PendingHandshakes();
  readonly #letIn = new Queue<Accepted>(MAX_WAITING);
  readonly #running = new Set<Promise<void>>();
  #receiving: Promise<void> | null = null;
  #handshakes: Handshakes | null = null;
  #count = 0;
  #closed = false;

  /**
   * Binds a checked address.
   *
   * @param findSslctx Tells the context, from when the caller is back in the event loop.
   */
  constructor(address: Address, side: ServerSide, findSslctx: () => ServerSslctx) {
    this.#raw = listenRaw(address, side.logger);
    this.#side = side;
    this.#findSslctx = findSslctx;
    this.ready = this.#raw.ready.then(() => {
      if (this.#findSslctx().verify) return;
      side.logger.warn(
        "every client is let in, whoever it is: allowUnauthenticatedClients is true",
      );
    });
    // serveForever() reports it, and whoever waits for `ready`.
    this.ready.catch(() => {});
  }

  get address(): Address {
    return this.#raw.address;
  }

  accept(): Promise<Accepted> {
    this.#receiving ??= this.#receive();
    return this.#letIn.next();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#raw.close();
    this.#pending.close();
    for (const { socket } of this.#letIn.close()) socket.close();
  }

  async ended(): Promise<void> {
    await this.#receiving;
    await Promise.all(this.#running);
  }

  /** Begins a handshake with everybody who connects, until the listener is closed. */
  async #receive(): Promise<void> {
    for (;;) {
      const connection = await this.#raw.accept().catch(() => null);
      if (connection === null) return;
      await this.#pending.makeRoom();
      if (this.#closed) return connection.below.close();
      const running = this.#welcome(connection).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /** Lets in a peer whose handshake succeeds. Never rejects. */
  async #welcome({ below, address }: RawConnection): Promise<void> {
    const name = peerName(this.address, address, ++this.#count);
    const handshake = this.#pending.add(() => !below.heard);
    try {
      const socket = await this.#open(below, handshake.signal);
      if (this.#letIn.push({ name, address, socket })) return;
      socket.close();
      if (!this.#closed) this.#side.logger.info(`${name}: too many wait for a place`);
    } catch (error) {
      below.close();
      const why = error instanceof Error ? error.message : String(error);
      this.#side.logger.info(`${name}: the handshake failed: ${why}`);
    } finally {
      this.#pending.delete(handshake);
    }
  }

  /** Does the handshake. No error of it has words that the peer has chosen. */
  async #open(below: TlsStream, signal: AbortSignal): Promise<Socket> {
    this.#handshakes ??= new Handshakes(serverMaterialOf(this.#findSslctx()));
    const handshakes = this.#handshakes;
    return await bounded("the TLS handshake", { timeout: this.#side.timeout, signal }, async () => {
      try {
        const { socket, peerCertificate } = await handshakes.shake(below.stream);
        return new TlsSocket(socket, below, peerCertificate);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        throw new DeguError(reasonOf(error), { cause: error });
      }
    });
  }
}
