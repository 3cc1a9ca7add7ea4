/**
 * mDNS on every interface of this machine: a socket for each, with IPv4 and with IPv6, that passes on only packets worth
 * decoding.
 *
 * @module
 */

import { createSocket, type RemoteInfo, type Socket, type SocketType } from "node:dgram";
import { isLinkLocal, isLoopback } from "../../base/address_rules.ts";
import type { Logger } from "../../net/standard_logger.ts";
import { messageOf } from "../../net/thrown.ts";
import {
  type Incoming,
  type InterfaceAddress,
  loadPacketCoder,
  type Outgoing,
  type PacketCoder,
} from "./packet.ts";

/** How often the interfaces are checked. */
const POLL_MILLISECONDS = 2000;

/** How far packets go: as on all links (RFC 6762 §11). */
const TTL = 255;
/** The flag of responses (RFC 1035 §4.1.1, RFC 6762 §18.4). */
const AUTHORITATIVE_ANSWER = 1 << 10;

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

/** The socket of one interface, with one of the two protocols; it shares its port with other mDNS programs of the machine. */
export class Link {
  /** All addresses of its interface, of both protocols. */
  readonly addresses: readonly InterfaceAddress[];
  /** The number of the interface; 0 with IPv4. */
  readonly scope: number;
  readonly #on: Interface;
  readonly #port: number;
  readonly #socket: Socket;
  readonly #coder: PacketCoder;
  readonly #logger: Logger;

  /** Opens it. A link that fails is of no use any more. */
  constructor(on: Interface, port: number, coder: PacketCoder, logger: Logger, events: LinkEvents) {
    this.addresses = on.addresses;
    this.scope = on.scope;
    this.#on = on;
    this.#port = port;
    this.#coder = coder;
    this.#logger = logger;
    const socket = createSocket({ type: on.type, reuseAddr: true });
    this.#socket = socket;
    const fail = (error: unknown) => {
      this.#logError(error);
      events.onFailure(this);
    };
    const filter = new PacketFilter(port, (host) => on.accept(host));
    socket.on("error", fail);
    socket.on("message", (bytes, from) => {
      if (!filter.isWorthDecoding(bytes.length, from)) return;
      let packet: Incoming;
      try {
        packet = coder.decode(bytes);
      } catch (error) {
        return this.#logError(error);
      }
      events.onPacket(packet, this);
    });
    socket.bind(port, on.bind, () => {
      try {
        socket.addMembership(GROUPS[on.type], on.multicastInterface);
        socket.setMulticastInterface(on.multicastInterface);
        socket.setMulticastTTL(TTL);
        socket.setMulticastLoopback(true);
      } catch (error) {
        return fail(error);
      }
      events.onReady(this);
    });
  }

  /** Sends a query; never rejects. */
  query(packet: Outgoing): Promise<void> {
    return this.#send({ ...packet, type: "query" });
  }

  /** Sends a response; never rejects. */
  respond(packet: Outgoing): Promise<void> {
    return this.#send({ ...packet, type: "response", flags: AUTHORITATIVE_ANSWER });
  }

  async #send(packet: Outgoing & { type: string; flags?: number }): Promise<void> {
    try {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const done = (error: unknown) => error ? reject(error) : resolve();
      this.#socket.send(this.#coder.encode(packet), this.#port, GROUPS[this.#on.type], done);
      await promise;
    } catch (error) {
      // The cable may be out.
      this.#logError(error);
    }
  }

  #logError(error: unknown): void {
    this.#logger.debug(`mDNS on ${this.#on.name}: ${messageOf(error)}`);
  }

  /** Closes it. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.close(() => resolve());
    });
  }
}

/** What a link reports. */
interface LinkEvents {
  onReady(link: Link): void;
  onPacket(packet: Incoming, link: Link): void;
  onFailure(link: Link): void;
}

/** The sockets, which follow the interfaces as they come and go. */
export class Links implements AsyncDisposable {
  readonly #network: Network;
  readonly #types: readonly SocketType[];
  readonly #listener: Listener;
  readonly #logger: Logger;
  readonly #coder: PacketCoder;
  readonly #links = new Map<string, Link>();
  readonly #ready = new Set<Link>();
  readonly #closing = new Set<Promise<void>>();
  #timer: ReturnType<typeof setInterval> | undefined;

  private constructor(
    network: Network,
    types: readonly SocketType[],
    listener: Listener,
    logger: Logger,
    coder: PacketCoder,
  ) {
    this.#network = network;
    this.#types = types;
    this.#listener = listener;
    this.#logger = logger;
    this.#coder = coder;
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
    const links = new Links(network, types, listener, logger, await loadPacketCoder());
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
    const isOpen = (link: Link) => this.#links.get(on.key) === link;
    const link = new Link(on, this.#network.port, this.#coder, this.#logger, {
      onReady: (link) => {
        if (!isOpen(link)) return;
        this.#ready.add(link);
        this.#listener.onLink(link);
      },
      onPacket: (packet, link) => {
        if (isOpen(link)) this.#listener.onPacket(packet, link);
      },
      // Retried at the next check.
      onFailure: (link) => {
        if (isOpen(link)) this.#close(on.key);
      },
    });
    this.#links.set(on.key, link);
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
  /** What sockets call the interface where they join the group and send. */
  readonly multicastInterface: string;
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
    multicastInterface: first.address,
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
    multicastInterface: `::%${name}`,
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

/** Drops packets that are too large, too many, from another port or from another network. */
export class PacketFilter {
  readonly #port: number;
  readonly #accept: (host: string) => boolean;
  #left = BURST_BYTES;
  #since = performance.now();

  /**
   * Has heard nothing yet.
   *
   * @param port The port that packets come from.
   * @param accept Says whether packets from an address are listened to.
   */
  constructor(port: number, accept: (host: string) => boolean) {
    this.#port = port;
    this.#accept = accept;
  }

  /** Whether a packet of so many bytes may be decoded now. */
  isWorthDecoding(size: number, from: Pick<RemoteInfo, "port" | "address">): boolean {
    // A response from another port is to be ignored (RFC 6762 §6); a query from one asks for a response to
    // its sender alone, which a forged address could direct at a victim.
    if (from.port !== this.#port || size > MAX_PACKET_BYTES) return false;
    if (!this.#accept(from.address)) return false;
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
