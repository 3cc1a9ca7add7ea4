/**
 * Listening for TLS connections.
 *
 * @module
 */

import { TlsError } from "../../base/errors.ts";
import type { Address } from "../../base/address_rules.ts";
import { peerName } from "../addresses.ts";
import {
  type Accepted,
  type Listener,
  type ListenerSide,
  NOT_SHARED,
  type PortSharing,
} from "../listener.ts";
import { Queue } from "../queue.ts";
import { isStillTrusted } from "./client_checks.ts";
import type { ContextInForce } from "./context.ts";
import { tlsErrorOf } from "./errors.ts";
import { Handshakes } from "./server_handshakes.ts";
import { listenRaw, type RawConnection, type RawListener } from "./raw_listener.ts";
import { PendingHandshakes } from "./pending_handshakes.ts";
import { TlsSocket } from "./socket.ts";
import type { RawStream } from "./raw_stream.ts";

/** The warning of a listener that authenticates nobody. */
export const EVERY_CLIENT_IS_ACCEPTED =
  "every client is accepted, whoever it is: allowUnauthenticatedClients is true";

/** How many clients with a finished handshake may wait behind the one that waits for a slot. */
const MAX_WAITING = 64;

/**
 * Listens for TLS connections, and accepts those whose handshake succeeds. The handshakes are done side
 * by side, however long a connection must wait for a slot.
 */
export class TlsListener implements Listener {
  readonly ready: Promise<void>;
  readonly #raw: RawListener;
  readonly #side: ListenerSide;
  readonly #handshakes: Handshakes;
  readonly #pending: PendingHandshakes;
  readonly #accepted = new Queue<Accepted>(MAX_WAITING);
  readonly #running = new Set<Promise<void>>();
  #receiving: Promise<void> | null = null;
  readonly #context: ContextInForce;
  #count = 0;
  #closed = false;

  /**
   * Binds a checked address.
   *
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
    this.#raw = listenRaw(address, side.logger, sharing);
    this.#side = side;
    this.#pending = new PendingHandshakes(side.timeout);
    this.#context = context;
    this.#handshakes = new Handshakes(context, protocol);
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
    this.#receiving ??= this.#receive();
    return this.#accepted.next();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#raw.close();
    this.#pending.close();
    for (const { socket } of this.#accepted.close()) socket.close();
  }

  async ended(): Promise<void> {
    await this.#receiving;
    await Promise.all(this.#running);
  }

  /** Begins a handshake with every peer that connects, until the listener is closed. */
  async #receive(): Promise<void> {
    for (;;) {
      const connection = await this.#raw.accept().catch(() => null);
      if (connection === null) return;
      await this.#pending.makeRoom();
      if (this.#closed) return connection.below.close();
      const running = this.#admit(connection).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /** Accepts a peer if its handshake succeeds. Never rejects. */
  async #admit({ below, address }: RawConnection): Promise<void> {
    const name = peerName(this.address, address, ++this.#count);
    const handshake = this.#pending.add(() => !below.heard);
    try {
      const socket = await handshake.race(this.#open(below));
      const isTrusted = () => isStillTrusted(socket.peerCertificate, this.#context.material);
      if (this.#accepted.push({ name, address, socket, isTrusted })) return;
      socket.close();
      if (!this.#closed) this.#side.logger.info(`${name}: too many wait for a slot`);
    } catch (error) {
      below.close();
      const code = error instanceof TlsError ? `${error.code}: ` : "";
      const why = error instanceof Error ? code + error.message : String(error);
      // What was cut to make room is no error of the peer, and there can be hundreds a second.
      const level = handshake.isCut ? "debug" : "info";
      this.#side.logger[level](`${name}: the handshake failed: ${why}`);
    } finally {
      this.#pending.delete(handshake);
    }
  }

  /** Does the handshake. None of its errors contains text chosen by the peer. */
  async #open(below: RawStream): Promise<TlsSocket> {
    try {
      return await this.#handshakes.handshake(
        below.stream,
        ({ socket, peerCertificate }) => new TlsSocket(socket, below, peerCertificate),
      );
    } catch (error) {
      throw error instanceof Error ? tlsErrorOf("client", error) : error;
    }
  }
}
