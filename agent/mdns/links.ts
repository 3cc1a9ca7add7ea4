/**
 * mDNS on every interface of this machine: a socket for each, with IPv4 and with IPv6, that passes on only packets worth
 * decoding.
 */

import { createSocket, type RemoteInfo, type Socket, type SocketType } from "node:dgram";
import { isLinkLocal, isLoopback } from "../../base/address.ts";
import type { Logger } from "../../net/logger.ts";
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
/** The groups of mDNS (RFC 6762 §3). */
const GROUPS = { udp4: "224.0.0.251", udp6: "ff02::fb" } as const;

/** What differs in a test. */
export interface Network {
  readonly port: number;
  findInterfaces(): readonly InterfaceAddress[];
}

/** The network that there is. */
export const NETWORK: Network = { port: 5353, findInterfaces: () => Deno.networkInterfaces() };

/** What all links share, and what they report; neither may throw. */
interface LinkUse {
  readonly network: Network;
  readonly types: readonly SocketType[];
  readonly logger: Logger;
  onPacket(packet: Incoming, link: Link): void;
  /** A link can be used: of a new interface, or one with other addresses. */
  onLink(link: Link): void;
}

/** The sockets of all interfaces, which follow these as they come and go. Disposing of it closes them. */
export class Links implements AsyncDisposable {
  readonly #open = new Map<string, Link>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** Resolves when those that were given up are closed. */
  #closed = Promise.resolve();

  private constructor(use: LinkUse, coder: PacketCoder) {
    this.#follow(use, coder);
    this.#timer = setInterval(() => {
      // Nobody awaits this, and it must not end the process: anything that fails is retried the next time.
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

  /** Opens what is new and closes what is gone. */
  #follow(use: LinkUse, coder: PacketCoder): void {
    const all = interfacesOf(use.network.findInterfaces());
    const interfaces = all.filter(({ type }) => use.types.includes(type));
    const keys = new Set(interfaces.map(({ key }) => key));
    for (const link of this.#open.values()) if (!keys.has(link.on.key)) this.#close(link);
    for (const on of interfaces) {
      // One that fails is tried again at the next check.
      if (this.#open.has(on.key)) continue;
      this.#open.set(on.key, new Link(on, use, coder, (link) => this.#close(link)));
    }
  }

  #close(link: Link): void {
    this.#open.delete(link.on.key);
    const closed = link.close();
    // Not of all at once: the values of each would be in those of the next, without end where a link fails every time.
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

/** The socket of one interface, with one of the two protocols; it shares its port with other mDNS programs of the machine. */
export class Link {
  readonly on: Interface;
  readonly #use: LinkUse;
  readonly #coder: PacketCoder;
  readonly #socket: Socket;
  #state: "opening" | "ready" | "closed" = "opening";

  /** @param fail Called if it is of no use any more. */
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

  /** Sends a packet, once the link can be used; never rejects. */
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
      // The cable may be out.
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
  /** Changes when the interface or an address of it does. */
  readonly key: string;
  readonly type: SocketType;
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

/** The interfaces for mDNS: all but the loopback interface, which is used only if there is no other. */
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
        // A socket also gets what arrives at another interface, where another socket has joined the group.
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
        // A socket that is bound to a group of a link gets what arrives at this link alone.
        accept: () => true,
      });
    }
    return found;
  });
}

function isInNetwork(host: string, own: string, mask: string): boolean {
  const [a, b, bits] = [host, own, mask].map((ipv4) =>
    ipv4.split(".").reduce((number, part) => number << 8 | Number(part), 0)
  ) as [number, number, number];
  return (a & bits) === (b & bits);
}

/**
 * The protocols whose group may be used. Throws if none may be, as opening a socket would then end the process; also if the
 * interfaces may not be looked at: that happens in the background, and its error would be no more than a warning.
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

/**
 * Makes what tells whether a packet of so many bytes may be decoded now: not if it is too large, one of too many, from another
 * port or from another network.
 */
export function makePacketFilter(
  port: number,
  accept: (host: string) => boolean,
): (size: number, from: Pick<RemoteInfo, "port" | "address">) => boolean {
  let left = BURST_BYTES;
  let since = performance.now();
  return (size, from) => {
    // A response from another port is to be ignored (RFC 6762 §6); a query from one asks for a response to
    // its sender alone, which a forged address could direct at a victim.
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
