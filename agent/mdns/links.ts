/**
 * mDNS on every interface of this machine: a socket for each, with IPv4 and with IPv6, that passes on only packets worth
 * decoding.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import { createSocket, type RemoteInfo, type Socket, type SocketType } from "node:dgram";
import { isLinkLocal, isLoopback } from "../../base/address_rules.ts";
import type { Logger } from "../../net/standard_logger.ts";
import { messageOf } from "../../net/thrown.ts";
import {
  type Incoming,
  type InterfaceAddress,
  loadMulticastDns,
  type MakeMulticastDns,
  type MulticastDns,
  type Outgoing,
} from "./packet.ts";

/** How often the interfaces are checked. */
const POLL_MILLISECONDS = 2000;

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
    links.#poll();
    links.#timer = setInterval(() => links.#pollAgain(), POLL_MILLISECONDS);
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
  #pollAgain(): void {
    try {
      this.#poll();
    } catch (error) {
      this.#logger.debug(`mDNS: ${messageOf(error)}`);
    }
  }

  /** Opens what is new and closes what is gone. */
  #poll(): void {
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
    const logError = (error: unknown) => this.#logger.debug(`mDNS on ${name}: ${messageOf(error)}`);
    socket.on("warning", logError);
    socket.on("error", (error) => {
      logError(error);
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

/** An interface, with one of the two protocols. */
export interface Interface {
  /** Changes when the interface or an address of it does. */
  readonly key: string;
  /** The protocol, as sockets call it. */
  readonly type: SocketType;
  /** The name of the interface. */
  readonly name: string;
  /** The number of the interface; 0 with IPv4. */
  readonly scope: number;
  /** What the socket is bound to: the group itself, so that nothing sent to this machine alone is received. */
  readonly bind: string;
  /** What the library calls the interface. */
  readonly libraryName: string;
  /** All addresses of the interface, of both protocols. */
  readonly addresses: readonly InterfaceAddress[];
  /** Whether a packet from this address can have come over this interface. */
  accept(host: string): boolean;
}

/** The groups of mDNS (RFC 6762 §3). */
export const GROUPS = { udp4: "224.0.0.251", udp6: "ff02::fb" } as const;

/** The interfaces for mDNS: all but the loopback interface, which is used only if there is no other. */
export function interfacesOf(addresses: readonly InterfaceAddress[]): Interface[] {
  const all = [...Map.groupBy(addresses, ({ name }) => name)];
  const outward = all.filter(([, own]) => !own.some(({ address }) => isLoopback(address)));
  return (outward.length > 0 ? outward : all).flatMap(([name, own]) =>
    [interfaceWithIPv4(name, own), interfaceWithIPv6(name, own)].filter((each) => each !== null)
  );
}

function interfaceWithIPv4(name: string, addresses: readonly InterfaceAddress[]): Interface | null {
  const own = addresses.filter(({ family }) => family === "IPv4");
  const [first] = own;
  if (first === undefined) return null;
  return {
    key: keyOf("udp4", name, 0, addresses),
    type: "udp4",
    name,
    scope: 0,
    bind: GROUPS.udp4,
    libraryName: first.address,
    addresses,
    // A socket also gets what arrives at another interface, where another socket has joined the group.
    accept: (host) => own.some(({ address, netmask }) => isInNetwork(host, address, netmask)),
  };
}

function interfaceWithIPv6(name: string, addresses: readonly InterfaceAddress[]): Interface | null {
  const linkLocal = addresses.find(({ address, scopeid }) => isLinkLocal(address) && scopeid);
  if (linkLocal === undefined) return null;
  const scope = linkLocal.scopeid!;
  return {
    key: keyOf("udp6", name, scope, addresses),
    type: "udp6",
    name,
    scope,
    bind: `${GROUPS.udp6}%${name}`,
    libraryName: `::%${name}`,
    addresses,
    // A socket that is bound to a group of a link gets what arrives at this link alone.
    accept: () => true,
  };
}

function keyOf(
  type: string,
  name: string,
  scope: number,
  addresses: readonly InterfaceAddress[],
): string {
  return [type, name, scope, ...addresses.map(({ address }) => address)].join(" ");
}

function isInNetwork(host: string, own: string, mask: string): boolean {
  const [a, b, bits] = [numberOf(host), numberOf(own), numberOf(mask)];
  return (a & bits) === (b & bits);
}

function numberOf(ipv4: string): number {
  return ipv4.split(".").reduce((number, part) => number << 8 | Number(part), 0);
}

/**
 * The protocols whose group may be used.
 *
 * @throws {Deno.errors.NotCapable} if none may be: opening a socket would then end the process. Also if the interfaces
 * may not be looked at: that happens in the background, and its error would be no more than a warning.
 */
export function permittedTypes(port: number): SocketType[] {
  const interfaces = { name: "sys", kind: "networkInterfaces" } as const;
  // As elsewhere, Deno asks on a terminal.
  if (Deno.permissions.requestSync(interfaces).state !== "granted") {
    throw new Deno.errors.NotCapable(
      "mDNS needs sys access to the interfaces of this machine; run again with " +
        "--allow-sys=networkInterfaces",
    );
  }
  const hosts = { udp4: `${GROUPS.udp4}:${port}`, udp6: `[${GROUPS.udp6}]:${port}` };
  const types = (["udp4", "udp6"] as const).filter((type) =>
    Deno.permissions.querySync({ name: "net", host: hosts[type] }).state === "granted"
  );
  if (types.length > 0) return types;
  throw new Deno.errors.NotCapable(
    `mDNS needs net access to ${hosts.udp4} or ${hosts.udp6}; run again with ` +
      `--allow-net=${hosts.udp4},${hosts.udp6}`,
  );
}

/** The most bytes of a packet (RFC 6762 §17): more would only make decoding slow. */
const MAX_PACKET_BYTES = 9000;
/**
 * How many bytes are decoded a second, and at once after a quiet time, which bounds the time that a flood takes. In
 * bytes, because that of a malicious packet grows with the square of its size.
 */
const BYTES_PER_SECOND = 50_000;
const BURST_BYTES = 100_000;
/** The least that a packet counts. */
const LEAST_BYTES = 200;

/** Says whether packets from an address are listened to. */
export type Accept = (host: string) => boolean;

/**
 * Makes a socket that shares its port with other mDNS programs of the machine, and drops packets that are too large,
 * too many, from another port or from another network, before anyone hears of them.
 *
 * @param port The port that packets come from.
 */
export function guardedSocket(type: "udp4" | "udp6", port: number, accept: Accept): Socket {
  const socket = createSocket({ type, reuseAddr: true });
  const emit = socket.emit.bind(socket);
  const budget = new Budget();
  socket.emit = (event: string, ...args: unknown[]): boolean => {
    if (event === "message" && !isWorthDecoding(...args as [Uint8Array, RemoteInfo])) return false;
    return emit(event as "message", ...args as [Buffer, RemoteInfo]);
  };
  const isWorthDecoding = (message: Uint8Array, from: RemoteInfo): boolean => {
    // A response from another port is to be ignored (RFC 6762 §6); a query from one asks for a response to
    // its sender alone, which a forged address could direct at a victim.
    if (from.port !== port || message.length > MAX_PACKET_BYTES) return false;
    return accept(from.address) && budget.take(message.length);
  };
  return socket;
}

/** So many bytes a second, and more after a quiet time. */
class Budget {
  #left = BURST_BYTES;
  #since = performance.now();

  /** Whether a packet of so many bytes may be decoded now. */
  take(size: number): boolean {
    const now = performance.now();
    const refilled = this.#left + (now - this.#since) / 1000 * BYTES_PER_SECOND;
    this.#left = Math.min(BURST_BYTES, refilled);
    this.#since = now;
    const cost = Math.max(size, LEAST_BYTES);
    if (this.#left < cost) return false;
    this.#left -= cost;
    return true;
  }
}
