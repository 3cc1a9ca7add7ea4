/**
 * mDNS on the loopback interface, with a port of its own.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createSocket, type Socket } from "node:dgram";
import type { Logger } from "@degu/degu";
import {
  announce,
  type Announcement,
  type AnnounceOptions,
} from "@degu/internal/agent/mdns/announce.ts";
import { type Link, Links, type Network } from "@degu/internal/agent/mdns/links.ts";
import type { Incoming } from "@degu/internal/agent/mdns/packet.ts";
import { within } from "./raw_peer.ts";

/** The group of IPv4. */
const GROUP = "224.0.0.251";
/** An address that is announced as the one of this machine. No packet goes there. */
export const ADDRESS = "192.0.2.7";

/** Forgets everything. */
export const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** A network of the loopback interface alone, with a port that nobody else uses. */
export async function loopbackNetwork(): Promise<Network> {
  const socket = createSocket("udp4");
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.bind(0, "127.0.0.1", resolve);
  await promise;
  const { port } = socket.address();
  await closed(socket);
  const own = { name: "lo", netmask: "255.0.0.0", family: "IPv4", scopeid: null } as const;
  const addresses = ["127.0.0.1", ADDRESS].map((address) => ({ ...own, address }));
  return { port, findInterfaces: () => addresses };
}

/** Somebody else on the network, who hears everything and can say anything. */
export class Stranger implements AsyncDisposable {
  readonly heard: Incoming[] = [];
  /** The same as it came. */
  readonly bytes: Uint8Array[] = [];
  readonly #network: Network;
  readonly #raw: Socket;
  readonly #links: Links;
  #waiting: (() => void)[] = [];

  private constructor(network: Network, raw: Socket, links: Links) {
    this.#network = network;
    this.#raw = raw;
    this.#links = links;
    raw.on("message", (bytes) => this.bytes.push(bytes));
  }

  /** Joins the network. */
  static async join(network: Network): Promise<Stranger> {
    const ready = Promise.withResolvers<void>();
    const raw = createSocket({ type: "udp4", reuseAddr: true });
    await new Promise<void>((resolve) => raw.bind(network.port, GROUP, resolve));
    raw.setMulticastInterface("127.0.0.1");
    const links = await Links.open(network, ["udp4"], {
      onPacket: (packet) => stranger.#hear(packet),
      onLink: () => ready.resolve(),
    }, SILENT);
    const stranger: Stranger = new Stranger(network, raw, links);
    await within(ready.promise, "the stranger has joined");
    return stranger;
  }

  #hear(packet: Incoming): void {
    this.heard.push(packet);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** What it has heard since `from`, once there is a packet that is looked for. */
  async hears(
    what: string,
    isIt: (packet: Incoming) => boolean,
    from = 0,
  ): Promise<Incoming> {
    const find = async () => {
      for (;;) {
        const found = this.heard.slice(from).find(isIt);
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    };
    return await within(find(), what);
  }

  /** Waits until it has heard so many packets that are looked for. */
  async hearsMany(what: string, isIt: (packet: Incoming) => boolean, count: number): Promise<void> {
    await this.hears(what, () => this.heard.filter(isIt).length >= count);
  }

  /** Sends a query. */
  query(packet: Parameters<Link["query"]>[0]): Promise<void> {
    return this.#links.query(packet);
  }

  /** Sends a response. */
  respond(packet: Parameters<Link["respond"]>[0]): Promise<void> {
    return this.#links.respond(() => packet);
  }

  /** Sends bytes. */
  async send(bytes: Uint8Array): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#raw.send(Buffer.from(bytes), this.#network.port, GROUP, resolve);
    await promise;
  }

  /** Leaves. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#links[Symbol.asyncDispose]();
    await closed(this.#raw);
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.close(() => resolve());
  });
}

/** An id of a device that begins with a letter. */
export function idOf(letter: string): string {
  return letter.repeat(52);
}

/** Announces a device that is named camera, unless something else is asked for. */
export function announceCamera(
  network: Network,
  options: Partial<AnnounceOptions> = {},
): Announcement {
  const camera = { name: "camera", id: idOf("c"), port: 7443, logger: SILENT };
  return announce({ ...camera, ...options }, network);
}

/** The addresses of one interface, as the system lists them. */
export function interfaceOf(scopeid: number, ...addresses: string[]) {
  return addresses.map((address) => ({
    family: address.includes(":") ? "IPv6" as const : "IPv4" as const,
    name: "eth0",
    address,
    netmask: "",
    scopeid,
  }));
}
