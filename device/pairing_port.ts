/**
 * The port of an invitation: servers that strangers can connect to, but can't keep busy.
 *
 * @module
 */

import type { App, AppFunction, Socket } from "../base/app/app.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import type { Address } from "../base/address_rules.ts";
import type { Session } from "../base/app/session.ts";
import type { Logger } from "../net/standard_logger.ts";
import { buildServerSslctx, ContextInForce, type ServerSslconfig } from "../net/tls/context.ts";
import { TlsListener } from "../net/tls/listener.ts";
import { Server } from "../server.ts";
import { limitReading } from "./bounded_socket.ts";
import { MAX_MESSAGE_BYTES, PAIRING_PROTOCOL } from "./pairing_messages.ts";

/** Time from the end of the handshake to the end of the request: stops slow peers. */
const REQUEST_MILLISECONDS = 2000;
/**
 * Connections that have not sent the secret yet. For one more the oldest is closed: a peer with the secret
 * sends it at once, so idle strangers can't keep it out.
 */
const MAX_WAITING = 64;
/** Seconds that a handshake may take. */
const HANDSHAKE_SECONDS = 5;

/** A connection to the port. */
export interface Visit {
  readonly session: Session;
  readonly socket: Socket;
}

/** Answers a request to the port. */
export type Answering = (
  request: Parameters<AppFunction>[0],
  visit: Visit,
) => ReturnType<AppFunction>;

/** Who this device is, as PEM text. */
export type Identity = () => { cert: string; key: string };

/** A connection and its time limit. */
interface Entry {
  readonly visit: Visit;
  timer?: ReturnType<typeof setTimeout>;
}

/** The servers of an invitation, one for each of its addresses. */
export class PairingPort {
  readonly #identity: Identity;
  /** Accepts every client until the first one is known. */
  readonly #context: ContextInForce;
  readonly #servers: Server[] = [];
  readonly #visits = new Map<Session, Entry>();
  /** Those that have not sent the secret or the value yet, the oldest first. */
  readonly #waiting = new Set<Session>();
  readonly #app: App;
  readonly #logger: Logger;

  /**
   * Creates a port that listens nowhere yet.
   *
   * @param answer Answers the requests.
   */
  constructor(identity: Identity, answer: Answering, logger: Logger) {
    this.#identity = identity;
    this.#context = new ContextInForce(this.#build({ allowUnauthenticatedClients: true }));
    this.#logger = logger;
    this.#app = {
      onConnect: (session, socket) => this.#welcome({ session, socket }),
      handle: (request, session) => answer(request, this.#visitOf(session)),
    };
  }

  /**
   * Listens on an address, and accepts every client.
   *
   * @returns The address with its port.
   */
  async open(address: Address): Promise<Address> {
    const options = {
      maxConnections: Infinity,
      timeout: HANDSHAKE_SECONDS,
      logger: this.#logger,
    };
    const server = new Server(address, this.#app, options, (checked, side) => {
      const listener = new TlsListener(checked, side, this.#context, PAIRING_PROTOCOL);
      return limitReading(listener, MAX_MESSAGE_BYTES);
    });
    server.serveForever().catch(() => {});
    this.#servers.push(server);
    await server.ready;
    return server.address;
  }

  #build(trust: Pick<ServerSslconfig, "ca" | "allowUnauthenticatedClients">) {
    return buildServerSslctx({ ...this.#identity(), ...trust });
  }

  #visitOf(session: Session): Visit {
    const entry = this.#visits.get(session);
    if (entry === undefined) throw new ConnectionClosedError();
    return entry.visit;
  }

  #welcome(visit: Visit): true {
    const { session } = visit;
    this.#visits.set(session, { visit });
    this.#waiting.add(session);
    session.store.set("visit", { [Symbol.dispose]: () => this.#forget(session) });
    this.limit(session);
    if (this.#waiting.size > MAX_WAITING) {
      const [oldest] = this.#waiting;
      this.#forget(oldest!);
      oldest!.close(new ConnectionClosedError("closed in favor of a newer connection"));
    }
    return true;
  }

  /** Closes a connection after a time from now, 2 s by default; `null` for no limit. */
  limit(session: Session, milliseconds: number | null = REQUEST_MILLISECONDS): void {
    const entry = this.#visits.get(session);
    if (entry === undefined) return;
    clearTimeout(entry.timer);
    if (milliseconds === null) return;
    const end = () => session.close(new Deno.errors.TimedOut("the request took too long"));
    entry.timer = setTimeout(end, milliseconds);
  }

  /** Marks a connection that has sent the secret or the value: it is not closed for a newer one. */
  settle(session: Session): void {
    this.#waiting.delete(session);
  }

  #forget(session: Session): void {
    clearTimeout(this.#visits.get(session)?.timer);
    this.#visits.delete(session);
    this.#waiting.delete(session);
  }

  /**
   * Closes all connections but one, and from then on accepts only clients of one authority.
   *
   * @throws {RangeError} if the authority can't be used; then nothing has changed.
   */
  trustOnly(authority: string, except: Session): void {
    this.#context.replace(this.#build({ ca: authority }));
    for (const session of [...this.#visits.keys()]) {
      if (session !== except) session.close(new ConnectionClosedError("another device was first"));
    }
  }

  /** Closes all connections and frees the addresses. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#servers.map((server) => server[Symbol.asyncDispose]()));
  }
}
