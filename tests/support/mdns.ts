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
import type { Network } from "@degu/internal/agent/mdns/links.ts";
import {
  type Incoming,
  loadPacketCoder,
  type Outgoing,
  type PacketCoder,
} from "@degu/internal/agent/mdns/packet.ts";
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
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await closed(socket);
  return { port, findInterfaces: () => interfaceOf(null, "127.0.0.1", ADDRESS) };
}

/** Somebody else on the network, who hears everything and can say anything. */
export class Stranger implements AsyncDisposable {
  readonly heard: Incoming[] = [];
  /** The same as it came. */
  readonly bytes: Uint8Array[] = [];
  readonly #port: number;
  readonly #socket: Socket;
  readonly #coder: PacketCoder;
  #waiting: (() => void)[] = [];

  private constructor(port: number, socket: Socket, coder: PacketCoder) {
    [this.#port, this.#socket, this.#coder] = [port, socket, coder];
    socket.on("message", (bytes) => {
      if (bytes.length > 2000) return; // only it says so much
      try {
        this.heard.push(coder.decode(bytes));
      } catch {
        return; // its own
      }
      this.bytes.push(bytes);
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  /** Joins the network. */
  static async join({ port }: Network): Promise<Stranger> {
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    await new Promise<void>((resolve) => socket.bind(port, GROUP, resolve));
    socket.addMembership(GROUP, "127.0.0.1");
    socket.setMulticastInterface("127.0.0.1");
    return new Stranger(port, socket, await loadPacketCoder());
  }

  /** Waits until it has heard so many packets that are looked for, since `from`. */
  async hears(
    what: string,
    isIt: (packet: Incoming) => boolean,
    { from = 0, count = 1 } = {},
  ): Promise<Incoming> {
    const find = async () => {
      for (;;) {
        const found = this.heard.slice(from).filter(isIt);
        if (found.length >= count) return found[count - 1]!;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    };
    return await within(find(), what);
  }

  /** Sends a packet, or bytes. */
  async send(packet: Outgoing | Uint8Array): Promise<void> {
    const bytes = packet instanceof Uint8Array ? packet : this.#coder.encode(packet);
    await new Promise((resolve) =>
      this.#socket.send(Buffer.from(bytes), this.#port, GROUP, resolve)
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closed(this.#socket);
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.close(() => resolve()));
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
export function interfaceOf(scopeid: number | null, ...addresses: string[]) {
  return addresses.map((address) => ({
    family: address.includes(":") ? "IPv6" as const : "IPv4" as const,
    name: "eth0",
    address,
    netmask: "255.0.0.0",
    scopeid,
  }));
}
