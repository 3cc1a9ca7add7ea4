/** mDNS over IPv4 (RFC 6762): an instance of `multicast-dns` for each address of this machine. */

import type { Buffer } from "node:buffer";
import type { RemoteInfo, Socket } from "node:dgram";
import process from "node:process";
import type { Logger } from "../../server.ts";
import {
  ANY_HOST,
  groupByInterface,
  type InterfaceAddress,
  isInNetworks,
  MDNS_PORT,
  parseAddressBytes,
  parseNetworks,
} from "./mdns_network.ts";

const POLL_MILLISECONDS = 5000;

/** The parts of the network that a test replaces. */
export interface Network {
  readonly port: number;
  findInterfaces(): readonly InterfaceAddress[];
}

export const NETWORK: Network = { port: MDNS_PORT, findInterfaces: () => Deno.networkInterfaces() };

type RecordData =
  | { readonly type: "PTR" | "A" | "AAAA"; readonly data: string }
  | { readonly type: "TXT"; readonly data: readonly Uint8Array[] }
  | { readonly type: "SRV"; readonly data: { readonly port: number; readonly target: string } };

export type DnsRecord = RecordData & {
  readonly name: string;
  /** The time to live, in seconds. */
  readonly ttl: number;
  /** True if the record replaces all other records with the same name and type. */
  readonly flush?: boolean;
};

export interface Packet {
  readonly type: "query" | "response";
  readonly questions: readonly { readonly name: string; readonly type: string }[];
  readonly answers: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

type OutgoingPacket = Pick<Packet, "type"> & Partial<Packet>;

/** The used part of `multicast-dns`, which has no types. */
interface Multicast {
  on(event: "packet", listener: (packet: Packet) => void): void;
  on(event: "ready" | "networkInterface", listener: () => void): void;
  on(event: "error" | "warning", listener: (error: unknown) => void): void;
  query(packet: OutgoingPacket, onSent: (error: unknown) => void): void;
  respond(packet: OutgoingPacket, onSent: (error: unknown) => void): void;
  destroy(onDestroyed: () => void): void;
}

/** The modules that only announcements and searches load. */
interface Modules {
  makeMulticast(options: Record<string, unknown>): Multicast;
  makeSocket(): Socket;
}

interface LinkOptions {
  readonly network: Network;
  readonly logger: Logger;
  onPacket(packet: Packet, link: Link): void;
  /** Called when an interface is ready, and again when its addresses have changed. */
  onLink(link: Link): void;
}

export class Links implements AsyncDisposable {
  readonly #options: LinkOptions;
  readonly #modules: Modules;
  readonly #openLinks = new Map<string, Link>();
  #pollTimer: ReturnType<typeof setInterval> | undefined;
  #linksClosed: Promise<unknown> = Promise.resolve();

  private constructor(options: LinkOptions, modules: Modules) {
    this.#options = options;
    this.#modules = modules;
  }

  static async open(options: LinkOptions): Promise<Links> {
    const [{ default: multicastDns }, { createSocket }] = await Promise.all([
      import("multicast-dns"),
      import("node:dgram"),
    ]);
    const links = new Links(options, {
      makeMulticast: multicastDns as unknown as Modules["makeMulticast"],
      makeSocket: () => createSocket({ type: "udp4", reuseAddr: true }),
    });
    links.#update();
    links.#pollTimer = setInterval(() => {
      try {
        links.#update();
      } catch (error) {
        options.logger.debug(`mDNS: ${error}`);
      }
    }, POLL_MILLISECONDS);
    return links;
  }

  #update(): void {
    const currentLinks = new Map(
      groupByInterface(this.#options.network.findInterfaces()).flatMap(groupByLink)
        .map((addresses) => [JSON.stringify(addresses), addresses]),
    );
    for (const [key, link] of this.#openLinks) {
      if (currentLinks.has(key) && !link.hasFailed) continue;
      this.#openLinks.delete(key);
      this.#close(link);
    }
    for (const [key, addresses] of currentLinks) {
      if (!this.#openLinks.has(key)) {
        this.#openLinks.set(key, new Link(addresses, this.#options, this.#modules));
      }
    }
  }

  #close(link: Link): void {
    const linkClosed = link.close();
    this.#linksClosed = this.#linksClosed.then(() => linkClosed);
  }

  async send(packet: OutgoingPacket): Promise<void> {
    await Promise.all(Array.from(this.#openLinks.values(), (link) => link.send(packet)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#pollTimer);
    for (const link of this.#openLinks.values()) this.#close(link);
    await this.#linksClosed;
  }
}

/**
 * Returns the addresses of an interface once for each IPv4 address, which is the first: a device
 * ignores packets from other networks than its own, and sends from one address of each network.
 */
function groupByLink(addresses: readonly InterfaceAddress[]): InterfaceAddress[][] {
  return addresses.filter(({ family }) => family === "IPv4")
    .map((own) => [own, ...addresses.filter((address) => address !== own)]);
}

/** A socket of an IPv4 address of an interface. */
export class Link {
  /** The addresses of the interface. Packets leave from the first. */
  readonly addresses: readonly InterfaceAddress[];
  readonly #multicast: Multicast;
  readonly #logger: Logger;
  readonly #name: string;
  /**
   * Resolves to true once the socket is bound, or to false once binding has failed. Before that, a
   * socket can be neither used nor closed.
   */
  readonly #bound: Promise<boolean>;
  /**
   * Whether the socket has joined the group at its interface. Before that, its packets would leave
   * by another interface.
   */
  #hasJoined = false;
  /** Whether the link can't be used, for example because another program has the port. */
  hasFailed = false;

  constructor(
    addresses: readonly InterfaceAddress[],
    options: LinkOptions,
    { makeMulticast, makeSocket }: Modules,
  ) {
    const { network: { port }, logger, onPacket, onLink } = options;
    const ownAddress = addresses[0]!;
    const { name, address } = ownAddress;
    this.addresses = addresses;
    this.#logger = logger;
    this.#name = name;
    const socket = makeSocket();
    this.#multicast = makeMulticast({ socket, port, interface: address, bind: ANY_HOST });
    const [decodePacket] = socket.listeners(
      "message",
    ) as ((bytes: Buffer, from: RemoteInfo) => void)[];
    const networks = parseNetworks([ownAddress]);
    const busyTimeLimit = limitOf(name);
    socket.off("message", decodePacket!);
    socket.on("message", (bytes, sender) => {
      // A response from another port must be ignored (RFC 6762 §6). A query from another port
      // requests a response to its sender only, and a forged sender address could direct it at a
      // victim. Each socket receives the packets of all interfaces.
      const isReadable = sender.port === port && bytes.length <= MAX_PACKET_BYTES &&
        canHoldEntries(bytes) && isInNetworks(parseAddressBytes(sender.address), networks);
      if (isReadable) busyTimeLimit.run(() => decodePacket!(bytes, sender));
    });
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#bound = promise;
    this.#multicast.on("ready", () => resolve(true));
    this.#multicast.on("networkInterface", () => {
      this.#hasJoined = true;
      onLink(this);
    });
    this.#multicast.on("error", (error) => {
      this.hasFailed = true;
      this.#log(error);
      resolve(false);
    });
    this.#multicast.on("warning", (error) => this.#log(error));
    this.#multicast.on("packet", (packet) => onPacket(packet, this));
  }

  /** Never rejects: if the packet can't be sent, logs the reason. */
  async send(packet: OutgoingPacket): Promise<void> {
    if (!await this.#bound || !this.#hasJoined) return;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    if (packet.type === "query") this.#multicast.query(packet, resolve);
    else this.#multicast.respond(packet, resolve);
    const error = await promise;
    // Sending fails while the interface is down, for example because its cable is unplugged.
    if (error) this.#log(error);
  }

  async close(): Promise<void> {
    await this.#bound;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#multicast.destroy(resolve);
    await promise;
  }

  #log(error: unknown): void {
    this.#logger.debug(`mDNS on ${this.#name}: ${error}`);
  }
}

/** The largest packet (RFC 6762 §17). */
const MAX_PACKET_BYTES = 9000;
const HEADER_BYTES = 12;
/** The shortest entry, a question about the root (RFC 1035 §4.1.2). */
const MIN_ENTRY_BYTES = 5;

/** The package allocates as many entries as the header counts, before it reads the first. */
function canHoldEntries(packet: Buffer): boolean {
  if (packet.length < HEADER_BYTES) return false;
  const entryCount = [4, 6, 8, 10].reduce((sum, offset) => sum + packet.readUInt16BE(offset), 0);
  return entryCount * MIN_ENTRY_BYTES <= packet.length - HEADER_BYTES;
}

/**
 * The share of the time in which a process reads the packets of an interface, and the longest time
 * at once after a silence, so a flood can't use all the CPU time. The limit counts time and not
 * bytes: a pointer of two bytes can stand for a name of 127 labels.
 */
const MAX_BUSY_SHARE = 0.1;
const MAX_BUSY_MILLISECONDS = 50;

/** Limits the time that the packets of an interface take, for all links of a process. */
export class BusyTimeLimit {
  #availableMilliseconds = MAX_BUSY_MILLISECONDS;
  #refilledAt = performance.now();

  /** Calls the function, unless the time is used up. */
  run(read: () => void): void {
    const startedAt = performance.now();
    this.#availableMilliseconds = Math.min(
      MAX_BUSY_MILLISECONDS,
      this.#availableMilliseconds + (startedAt - this.#refilledAt) * MAX_BUSY_SHARE,
    );
    this.#refilledAt = startedAt;
    if (this.#availableMilliseconds <= 0) return;
    const startCpuUsage = process.cpuUsage();
    read();
    const { user, system } = process.cpuUsage(startCpuUsage);
    // On a busy machine, other processes run meanwhile; in a process with workers, other threads.
    this.#availableMilliseconds -= Math.min(
      performance.now() - startedAt,
      (user + system) / 1000,
    );
  }
}

const limitsByInterface = new Map<string, BusyTimeLimit>();

function limitOf(interfaceName: string): BusyTimeLimit {
  const limit = limitsByInterface.get(interfaceName) ?? new BusyTimeLimit();
  limitsByInterface.set(interfaceName, limit);
  return limit;
}
