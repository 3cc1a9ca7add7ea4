/**
 * A UDP socket that passes on only packets worth decoding.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";

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
