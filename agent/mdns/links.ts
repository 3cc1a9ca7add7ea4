/**
 * mDNS on every interface of this machine: a socket for each, with IPv4 and with IPv6.
 *
 * @module
 */

import type { SocketType } from "node:dgram";
import type { Logger } from "../../net/standard_logger.ts";
import { messageOf } from "../../net/thrown.ts";
import { guardedSocket } from "./guarded_socket.ts";
import { GROUPS, type Interface, type InterfaceAddress, interfacesOf } from "./interfaces.ts";
import {
  type Incoming,
  loadMulticastDns,
  type MakeMulticastDns,
  type MulticastDns,
  type Outgoing,
} from "./packet.ts";

/** How often the interfaces are checked. */
const LOOK_MILLISECONDS = 2000;

/** What differs in a test. */
export interface Network {
  readonly port: number;
  /** The addresses of all interfaces. */
  findInterfaces(): readonly InterfaceAddress[];
}

/** The network that there is. */
export const NETWORK: Network = { port: 5353, findInterfaces: () => Deno.networkInterfaces() };

/** What links report to their user. */
export interface Listener {
  /** A packet has arrived. Must not throw. */
  onPacket(packet: Incoming, link: Link): void;
  /** A link has been added: a new interface, or one with other addresses. */
  onLink(link: Link): void;
}

/** One socket. */
export class Link {
  /** All addresses of its interface, of both protocols. */
  readonly addresses: readonly InterfaceAddress[];
  /** The number of the interface; 0 with IPv4. */
  readonly scope: number;
  readonly #name: string;
  readonly #socket: MulticastDns;
  readonly #logger: Logger;

  /** Takes an open socket. */
  constructor({ addresses, scope, name }: Interface, socket: MulticastDns, logger: Logger) {
    this.addresses = addresses;
    this.scope = scope;
    this.#name = name;
    this.#socket = socket;
    this.#logger = logger;
  }

  /** Sends a query; never rejects. */
  query(packet: Outgoing): Promise<void> {
    return this.#sent((done) => this.#socket.query(packet, done));
  }

  /** Sends a response; never rejects. */
  respond(packet: Outgoing): Promise<void> {
    return this.#sent((done) => this.#socket.respond(packet, done));
  }

  /** Closes it. */
  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.destroy(resolve));
  }

  async #sent(send: (done: (error?: unknown) => void) => void): Promise<void> {
    try {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      send((error) => error ? reject(error) : resolve());
      await promise;
    } catch (error) {
      // The cable may be out.
      this.#logger.debug(`mDNS on ${this.#name}: ${messageOf(error)}`);
    }
  }
}

/** The sockets, which follow the interfaces as they come and go. */
export class Links implements AsyncDisposable {
  readonly #network: Network;
  readonly #types: readonly SocketType[];
  readonly #listener: Listener;
  readonly #logger: Logger;
  readonly #make: MakeMulticastDns;
  readonly #links = new Map<string, Link>();
  readonly #ready = new Set<Link>();
  readonly #closing = new Set<Promise<void>>();
  #timer: ReturnType<typeof setInterval> | undefined;

  private constructor(
    network: Network,
    types: readonly SocketType[],
    listener: Listener,
    logger: Logger,
    make: MakeMulticastDns,
  ) {
    this.#network = network;
    this.#types = types;
    this.#listener = listener;
    this.#logger = logger;
    this.#make = make;
  }

  /**
   * Opens a socket for each interface. The listener hears of each link.
   *
   * @param types The protocols that are permitted.
   */
  static async open(
    network: Network,
    types: readonly SocketType[],
    listener: Listener,
    logger: Logger,
  ): Promise<Links> {
    const links = new Links(network, types, listener, logger, await loadMulticastDns());
    links.#look();
    links.#timer = setInterval(() => links.#lookAgain(), LOOK_MILLISECONDS);
    return links;
  }

  /** How many links there are that have joined the group. */
  get size(): number {
    return this.#ready.size;
  }

  /** Sends a query on every link. */
  async query(packet: Outgoing): Promise<void> {
    await Promise.all([...this.#ready].map((link) => link.query(packet)));
  }

  /** Sends on every link the response that is made for it. */
  async respond(responseFor: (link: Link) => Outgoing): Promise<void> {
    await Promise.all([...this.#ready].map((link) => link.respond(responseFor(link))));
  }

  /** Not awaited, and it must not end the process: anything that fails is retried the next time. */
  #lookAgain(): void {
    try {
      this.#look();
    } catch (error) {
      this.#logger.debug(`mDNS: ${messageOf(error)}`);
    }
  }

  /** Opens what is new and closes what is gone. */
  #look(): void {
    const interfaces = interfacesOf(this.#network.findInterfaces())
      .filter(({ type }) => this.#types.includes(type));
    const keys = new Set(interfaces.map(({ key }) => key));
    for (const key of this.#links.keys()) if (!keys.has(key)) this.#close(key);
    for (const each of interfaces) if (!this.#links.has(each.key)) this.#open(each);
  }

  #open(on: Interface): void {
    const { type, bind, key, name } = on;
    const { port } = this.#network;
    const options = { type, ip: GROUPS[type], bind, interface: on.libraryName, port };
    const guarded = guardedSocket(type, port, (host) => on.accept(host));
    const socket = this.#make({ ...options, socket: guarded });
    const link = new Link(on, socket, this.#logger);
    this.#links.set(key, link);
    const tell = (error: unknown) => this.#logger.debug(`mDNS on ${name}: ${messageOf(error)}`);
    socket.on("warning", tell);
    socket.on("error", (error) => {
      tell(error);
      // Retried at the next check.
      if (this.#links.get(key) === link) this.#close(key);
    });
    socket.on("packet", (packet) => {
      if (this.#links.get(key) === link) this.#listener.onPacket(packet, link);
    });
    socket.on("networkInterface", () => {
      if (this.#links.get(key) !== link) return;
      this.#ready.add(link);
      this.#listener.onLink(link);
    });
  }

  #close(key: string): void {
    const link = this.#links.get(key)!;
    this.#links.delete(key);
    this.#ready.delete(link);
    const closed = link.close();
    this.#closing.add(closed);
    closed.finally(() => this.#closing.delete(closed));
  }

  /** Closes all sockets. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const key of [...this.#links.keys()]) this.#close(key);
    await Promise.all(this.#closing);
  }
}
