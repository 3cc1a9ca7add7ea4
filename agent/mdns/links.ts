/**
 * mDNS on every interface of this machine, with a socket for IPv4 and a socket for IPv6 each. Only
 * packets that are worth decoding are passed on.
 */

import { createSocket, type RemoteInfo, type Socket, type SocketType } from "node:dgram";
import {
  bytesOfIPAddress,
  canonicalIPAddress,
  isLinkLocal,
  isLoopback,
} from "../../base/address.ts";
import type { Logger } from "../../net/logger.ts";
import { messageOf } from "../../net/thrown.ts";
import {
  type Incoming,
  type InterfaceAddress,
  loadPacketCoder,
  type Outgoing,
  type PacketCoder,
} from "./packet.ts";

/** The interval of looking for new and changed interfaces. */
const POLL_MILLISECONDS = 2000;
/** The time to live of packets, 255 on all links (RFC 6762 §11). */
const TTL = 255;
/** The flag of responses (RFC 1035 §4.1.1, RFC 6762 §18.4). */
const AUTHORITATIVE_ANSWER = 1 << 10;
/** The groups of mDNS (RFC 6762 §3). */
export const GROUPS = { udp4: "224.0.0.251", udp6: "ff02::fb" } as const;

/** The parts of the network that a test replaces. */
export interface Network {
  readonly port: number;
  findInterfaces(): readonly InterfaceAddress[];
}

/** The real network. */
export const NETWORK: Network = { port: 5353, findInterfaces: () => Deno.networkInterfaces() };

/** The settings of all links, and their callbacks, which may not throw. */
interface LinkUse {
  readonly network: Network;
  readonly types: readonly SocketType[];
  readonly logger: Logger;
  onPacket(packet: Incoming, link: Link): void;
  /** Called when a link is ready: after an interface has appeared or its addresses have changed. */
  onLink(link: Link): void;
}

/**
 * The sockets of all interfaces, opened and closed as interfaces come and go. Disposing closes all.
 */
export class Links implements AsyncDisposable {
  readonly #open = new Map<string, Link>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** Resolves when every socket that was closed so far is gone. */
  #closed = Promise.resolve();

  private constructor(use: LinkUse, coder: PacketCoder) {
    this.#follow(use, coder);
    this.#timer = setInterval(() => {
      // A failure of this timer must not end the process; the next check tries again.
      try {
        this.#follow(use, coder);
      } catch (error) {
        use.logger.debug(`mDNS: ${messageOf(error)}`);
      }
    }, POLL_MILLISECONDS);
  }

  /** Opens a socket for each interface, with the protocols that are permitted. */
  static async open(use: LinkUse): Promise<Links> {
    return new Links(use, await loadPacketCoder());
  }

  /** Opens sockets for new interfaces and closes the sockets of interfaces that are gone. */
  #follow(use: LinkUse, coder: PacketCoder): void {
    const all = interfacesOf(use.network.findInterfaces());
    const interfaces = all.filter(({ type }) => use.types.includes(type));
    const keys = new Set(interfaces.map(({ key }) => key));
    for (const link of this.#open.values()) if (!keys.has(link.on.key)) this.#close(link);
    for (const on of interfaces) {
      // A socket that has failed was removed, so this check opens it again.
      if (this.#open.has(on.key)) continue;
      this.#open.set(on.key, new Link(on, use, coder, (link) => this.#close(link)));
    }
  }

  #close(link: Link): void {
    this.#open.delete(link.on.key);
    const closed = link.close();
    // A chain, not `Promise.all`: its results would nest without end if a link failed every time.
    this.#closed = this.#closed.then(() => closed);
  }

  /** Sends a packet on every link; never rejects. */
  async send(packet: Outgoing): Promise<void> {
    await Promise.all(Array.from(this.#open.values(), (link) => link.send(packet)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const link of this.#open.values()) this.#close(link);
    await this.#closed;
  }
}

/**
 * The socket of one interface and one protocol. Other mDNS programs of the machine use the same
 * port.
 */
export class Link {
  readonly on: Interface;
  readonly #use: LinkUse;
  readonly #coder: PacketCoder;
  readonly #socket: Socket;
  #state: "opening" | "ready" | "closed" = "opening";

  /** @param fail Called if the link has become useless. */
  constructor(on: Interface, use: LinkUse, coder: PacketCoder, fail: (link: Link) => void) {
    this.on = on;
    this.#use = use;
    this.#coder = coder;
    this.#socket = createSocket({ type: on.type, reuseAddr: true });
    const onError = (error: unknown) => {
      this.#log(error);
      if (this.#state !== "closed") fail(this);
    };
    const isWorthDecoding = makePacketFilter(use.network.port, on.accept);
    this.#socket.on("error", onError);
    this.#socket.on("message", (bytes, from) => {
      if (isWorthDecoding(bytes.length, from)) this.#receive(bytes);
    });
    this.#socket.bind(use.network.port, on.bind, () => {
      try {
        this.#join();
      } catch (error) {
        onError(error);
      }
    });
  }

  #join(): void {
    if (this.#state === "closed") return;
    const { type, multicastInterface } = this.on;
    this.#socket.addMembership(GROUPS[type], multicastInterface);
    this.#socket.setMulticastInterface(multicastInterface);
    this.#socket.setMulticastTTL(TTL);
    this.#socket.setMulticastLoopback(true);
    this.#state = "ready";
    this.#use.onLink(this);
  }

  #receive(bytes: Uint8Array): void {
    if (this.#state === "closed") return;
    let packet: Incoming;
    try {
      packet = this.#coder.decode(bytes);
    } catch (error) {
      return this.#log(error);
    }
    this.#use.onPacket(packet, this);
  }

  /** Sends a packet as soon as the link is ready; never rejects. */
  async send(packet: Outgoing): Promise<void> {
    if (this.#state !== "ready") return;
    const flags = packet.type === "response" ? AUTHORITATIVE_ANSWER : 0;
    const { port } = this.#use.network;
    try {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const done = (error: unknown) => error ? reject(error) : resolve();
      this.#socket.send(this.#coder.encode({ ...packet, flags }), port, GROUPS[this.on.type], done);
      await promise;
    } catch (error) {
      // A cable may be unplugged.
      this.#log(error);
    }
  }

  close(): Promise<void> {
    this.#state = "closed";
    return new Promise((resolve) => void this.#socket.close(() => resolve()));
  }

  #log(error: unknown): void {
    this.#use.logger.debug(`mDNS on ${this.on.name}: ${messageOf(error)}`);
  }
}

/** An interface, with one of the two protocols. */
interface Interface {
  /** A text that changes with the interface and with each of its addresses. */
  readonly key: string;
  readonly type: SocketType;
  readonly name: string;
  /** The number of the interface; 0 with IPv4. */
  readonly scope: number;
  /**
   * The address to bind: the group itself, so that the socket gets no packets sent to this machine
   * alone.
   */
  readonly bind: string;
  /** The name of the interface for joining the group and for sending. */
  readonly multicastInterface: string;
  /** All addresses of the interface, of both protocols. */
  readonly addresses: readonly InterfaceAddress[];
  /** Whether a packet from this address can have arrived at this interface. */
  accept(host: string): boolean;
}

/** The interfaces for mDNS: all but the loopback interface, unless no other interface is there. */
export function interfacesOf(all: readonly InterfaceAddress[]): Interface[] {
  const named = [...Map.groupBy(all, ({ name }) => name)];
  const outward = named.filter(([, own]) => !own.some(({ address }) => isLoopback(address)));
  return (outward.length > 0 ? outward : named).flatMap(([name, addresses]) => {
    const found: Interface[] = [];
    const texts = addresses.map(({ address }) => address).join(" ");
    const ipv4 = addresses.filter(({ family }) => family === "IPv4");
    if (ipv4.length > 0) {
      found.push({
        ...{ key: `udp4 ${name} ${texts}`, type: "udp4", name, scope: 0, addresses },
        bind: GROUPS.udp4,
        multicastInterface: ipv4[0]!.address,
        // A socket also gets packets from other interfaces on which another socket has joined the
        // group.
        accept: (host) => ipv4.some(({ address, netmask }) => isInNetwork(host, address, netmask)),
      });
    }
    const linkLocal = addresses.find(({ address, scopeid }) => isLinkLocal(address) && scopeid);
    if (linkLocal !== undefined) {
      const scope = linkLocal.scopeid!;
      found.push({
        ...{ key: `udp6 ${name} ${scope} ${texts}`, type: "udp6", name, scope, addresses },
        bind: `${GROUPS.udp6}%${name}`,
        multicastInterface: `::%${name}`,
        // A socket bound to a link-local group gets packets of this link alone.
        accept: () => true,
      });
    }
    return found;
  });
}

/** Whether an IP address is in the network of an address with this mask. */
export function isInNetwork(host: string, own: string, mask: string): boolean {
  const [a, b, bits] = [host, own, mask].map((text) => {
    const canonical = canonicalIPAddress(text);
    return canonical === null ? [] : bytesOfIPAddress(canonical);
  }) as [number[], number[], number[]];
  return a.length === b.length && b.length === bits.length &&
    bits.every((byte, i) => (a[i]! & byte) === (b[i]! & byte));
}

/**
 * The protocols whose group Deno permits. Throws if none is permitted, since opening a socket would
 * then end the process. Also throws if the interfaces may not be listed, because the background
 * timer could only warn of that.
 */
export function permittedTypes(port: number): SocketType[] {
  const interfaces = { name: "sys", kind: "networkInterfaces" } as const;
  // Deno asks the user on a terminal.
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

/** The largest packet (RFC 6762 §17): decoding a larger one would only be slow. */
const MAX_PACKET_BYTES = 9000;
/**
 * The number of bytes decoded in a second, and at once after a silence, so a flood can't take all
 * time. The limit counts bytes because decoding a malicious packet takes the square of its size.
 */
const BYTES_PER_SECOND = 50_000;
const BURST_BYTES = 100_000;
/** The least number of bytes that a packet counts as. */
const LEAST_BYTES = 200;

/**
 * Makes a filter that tells whether a packet may be decoded now. The filter refuses packets that
 * are too large or too many, or come from another port or network.
 */
export function makePacketFilter(
  port: number,
  accept: (host: string) => boolean,
): (size: number, from: Pick<RemoteInfo, "port" | "address">) => boolean {
  let left = BURST_BYTES;
  let since = performance.now();
  return (size, from) => {
    // A response from another port is to be ignored (RFC 6762 §6). A query from another port asks
    // for a response to its sender alone, and a forged address could direct that at a victim.
    if (from.port !== port || size > MAX_PACKET_BYTES || !accept(from.address)) return false;
    const now = performance.now();
    left = Math.min(BURST_BYTES, left + (now - since) / 1000 * BYTES_PER_SECOND);
    since = now;
    const cost = Math.max(size, LEAST_BYTES);
    if (left < cost) return false;
    left -= cost;
    return true;
  };
}
