/**
 * A UDP socket that hands on only what is worth decoding.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";

/** The most bytes of a packet (RFC 6762 §17): more would only make decoding slow. */
const MAX_PACKET_BYTES = 9000;
/** How many packets are decoded a second, and at once after a quiet time: a flood costs no more than this. */
const PACKETS_PER_SECOND = 100;
const BURST_PACKETS = 200;

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
  const turns = new Turns();
  socket.emit = (event: string, ...args: unknown[]): boolean => {
    if (event === "message" && !isWorthDecoding(...args as [Uint8Array, RemoteInfo])) return false;
    return emit(event as "message", ...args as [Buffer, RemoteInfo]);
  };
  const isWorthDecoding = (message: Uint8Array, from: RemoteInfo): boolean => {
    // A response from another port is to be ignored (RFC 6762 §6); a query from one wants a response sent to
    // it alone, and so to whomever a forged address names.
    if (from.port !== port || message.length > MAX_PACKET_BYTES) return false;
    return accept(from.address) && turns.take();
  };
  return socket;
}

/** Counts packets: so many a second, and more after a quiet time. */
class Turns {
  #left = BURST_PACKETS;
  #since = performance.now();

  /** Whether one more packet may be decoded now. */
  take(): boolean {
    const now = performance.now();
    const refilled = this.#left + (now - this.#since) / 1000 * PACKETS_PER_SECOND;
    this.#left = Math.min(BURST_PACKETS, refilled);
    this.#since = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
