/** mDNS on the loopback interface, with a separate port. */
import type { InterfaceAddress } from "@degu/internal/device/discovery/mdns_network.ts";
import type { Network } from "@degu/internal/device/discovery/mdns_links.ts";
import { createSocket, type Socket } from "node:dgram";

/** The announced address of this machine, which isn't its own: packets can't leave from IPv6. */
export const ADDRESS = "fd00::7";

/** A logger that discards all messages. */
export const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

/** Makes a network with only the loopback interface, and a port that no other program uses. */
export async function openLoopbackNetwork(): Promise<Network> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await waitForClose(socket);
  return { port, findInterfaces: () => makeInterfaces("127.0.0.1", ADDRESS) };
}

export function waitForClose(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.close(() => resolve()));
}

/** Makes the addresses of an interface, as the system lists them. */
export function makeInterfaces(...addresses: string[]) {
  return addresses.map((address) => makeInterface("eth0", address, "255.0.0.0"));
}

export function makeInterface(name: string, address: string, netmask = "") {
  const family = address.includes(":") ? "IPv6" : "IPv4";
  return { name, address, netmask, family } satisfies InterfaceAddress;
}
