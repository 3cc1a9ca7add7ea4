/**
 * The parts of an mDNS packet (RFC 6762) that are read and written here, and the library that codes them.
 *
 * @module
 */

import type { Socket } from "node:dgram";

/** A service instance: where it is. */
export interface ServiceData {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}

/** A record of one of the types that are used here. */
export type KnownRecord =
  & RecordHead
  & ({ type: "PTR"; data: string } | { type: "SRV"; data: ServiceData } | {
    type: "TXT";
    data: readonly Uint8Array[];
  } | { type: "A" | "AAAA"; data: string });

interface RecordHead {
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  /** Whether it replaces what others have said about this name and type. */
  readonly flush?: boolean;
}

/** A question. */
export interface Question {
  readonly name: string;
  readonly type: string;
}

/** What is sent. */
export interface Outgoing {
  readonly questions?: readonly Question[];
  readonly answers?: readonly KnownRecord[];
  readonly authorities?: readonly KnownRecord[];
}

/** What was received: decoded, but of unknown types and sense. */
export interface Incoming {
  readonly type: "query" | "response";
  readonly questions: readonly Question[];
  readonly answers: readonly { readonly type: string }[];
  readonly authorities: readonly { readonly type: string }[];
  readonly additionals: readonly { readonly type: string }[];
}

/** One socket of the library. */
export interface MulticastDns {
  on(event: "packet", listener: (packet: Incoming) => void): void;
  on(event: "error" | "warning", listener: (error: unknown) => void): void;
  on(event: "networkInterface", listener: () => void): void;
  query(packet: Outgoing, done: (error?: unknown) => void): void;
  respond(packet: Outgoing, done: (error?: unknown) => void): void;
  destroy(done: () => void): void;
}

/** Makes a socket of the library. */
export type MakeMulticastDns = (options: {
  socket: Socket;
  type: "udp4" | "udp6";
  ip: string;
  bind: string;
  interface: string;
  port: number;
}) => MulticastDns;

const KNOWN = new Set(["PTR", "SRV", "TXT", "A", "AAAA"]);

/** Loads the library, which is only needed when something is announced or looked for. */
export async function loadMulticastDns(): Promise<MakeMulticastDns> {
  const { default: make } = await import("npm:multicast-dns@^7.2.5");
  // The package has no types of its own.
  return make as unknown as MakeMulticastDns;
}

/** The records of the types that are used here; the library has decoded their data by their type. */
export function knownRecords(records: readonly { readonly type: string }[]): KnownRecord[] {
  return records.filter(({ type }) => KNOWN.has(type)) as KnownRecord[];
}

/** Whether two names are the same: ASCII letters in either case (RFC 6762 §16). */
export function isSameName(a: string, b: string): boolean {
  return asciiLower(a) === asciiLower(b);
}

/** A name in the form in which names are compared. */
export function asciiLower(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
