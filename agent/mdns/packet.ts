/**
 * The parts of an mDNS packet (RFC 6762) that this program uses, the records of a device (RFC
 * 6763), and the library that encodes and decodes packets.
 */

import { Buffer } from "node:buffer";
import { canonicalDnsName, canonicalIPAddress, isLoopback } from "../../base/address.ts";

/** An address of an interface, with the fields that this program uses. */
export type InterfaceAddress = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask" | "scopeid"
>;

type RecordData =
  | { readonly type: "PTR" | "A" | "AAAA"; readonly data: string }
  | { readonly type: "TXT"; readonly data: readonly Uint8Array[] }
  | { readonly type: "SRV"; readonly data: { readonly port: number; readonly target: string } };

/**
 * A record of a type that this program uses. Records of other types may arrive, and are not read.
 */
export type KnownRecord = RecordData & {
  readonly name: string;
  /** The time to keep the record, in seconds. */
  readonly ttl: number;
  /** Whether the record replaces all other records with the same name and type. */
  readonly flush?: boolean;
};

interface Question {
  readonly name: string;
  readonly type: string;
}

export interface Outgoing {
  readonly type: "query" | "response";
  readonly questions?: readonly Question[];
  readonly answers?: readonly KnownRecord[];
}

export interface Incoming extends Required<Outgoing> {
  readonly additionals: readonly KnownRecord[];
}

export interface PacketCoder {
  encode(packet: Outgoing & { flags?: number }): Uint8Array;
  /** Throws if the bytes are no packet. */
  decode(bytes: Uint8Array): Incoming;
}

/** Loads the library, which only announcing and searching need. */
export async function loadPacketCoder(): Promise<PacketCoder> {
  const { default: coder } = await import("npm:dns-packet@^5.6.1");
  // The package has no types of its own.
  return coder as unknown as PacketCoder;
}

/** Whether a name equals a name of a device, in either case (RFC 6762 §16). */
function isName(text: string, name: string): boolean {
  return canonicalDnsName(text) === canonicalDnsName(name);
}

/** The types of services: a server, an invitation to pair, and files that are sent once. */
export const SERVICE = "_degu._tcp.local";
export const PAIR_SERVICE = "_degu-pair._tcp.local";
export const SEND_SERVICE = "_degu-send._tcp.local";
/** The name under which the types of services are listed (RFC 6763 §9). */
const SERVICE_TYPES = "_services._dns-sd._udp.local";
/** The number of characters of the announced id: 80 bits, enough to tell devices apart. */
const ID_CHARACTERS = 16;
/** The largest number of bytes in a label (RFC 1035 §2.3.4). */
const MAX_LABEL = 63;
/**
 * The times to keep records, in seconds: 120 for records about a host, 4500 for others (RFC 6762
 * §10).
 */
const HOST_SECONDS = 120;
const OTHER_SECONDS = 4500;
/** The largest number of announced addresses of an interface, which keeps the packet small. */
const MAX_ADDRESSES = 8;

/** The announced service, with the name and the id of the device. */
export interface Service {
  readonly name: string;
  readonly id: string;
  readonly port: number;
  /** The service type; that of `degu serve` if left out. */
  readonly type?: string;
}

export function shortId(id: string): string {
  return id.slice(0, ID_CHARACTERS);
}

/**
 * The full name of an instance: the name of the device, for people in other browsers, and its id.
 * The id makes the name unique, so no probe has to ask whether the name is free (RFC 6762 §8.1).
 */
export function instanceName({ name, id, type }: Service): string {
  return shortName(name) + instanceSuffix(id, type);
}

/** The name of a device, cut to the characters that fit into an announcement. */
export function shortName(name: string): string {
  return name.slice(0, MAX_LABEL - ID_CHARACTERS - 1);
}

/** The end of the instance name of a device, independent of the name that people gave to it. */
export function instanceSuffix(id: string, type: string = SERVICE): string {
  return `-${shortId(id)}.${type}`;
}

export function recordsOf(
  service: Service,
  addresses: readonly InterfaceAddress[],
): KnownRecord[] {
  const [name, host] = [instanceName(service), hostName(service.id)];
  const { type = SERVICE } = service;
  const srv = { priority: 0, weight: 0, port: service.port, target: host };
  // The library wants a Buffer.
  const id = Buffer.from(`id=${shortId(service.id)}`);
  // The library can't encode an address with a scope.
  const useful = addresses.filter(({ address }) =>
    canonicalIPAddress(address) !== null && !isLoopback(address)
  );
  return [
    { name: type, type: "PTR", ttl: OTHER_SECONDS, data: name },
    { name: SERVICE_TYPES, type: "PTR", ttl: OTHER_SECONDS, data: type },
    { name, type: "TXT", ttl: OTHER_SECONDS, flush: true, data: [id] },
    { name, type: "SRV", ttl: HOST_SECONDS, flush: true, data: srv },
    ...useful.slice(0, MAX_ADDRESSES).map(({ family, address }): KnownRecord => {
      const type = family === "IPv4" ? "A" : "AAAA";
      return { name: host, type, ttl: HOST_SECONDS, flush: true, data: address };
    }),
  ];
}

/**
 * The records that revoke the announcement. Addresses stay: other programs may announce them, too.
 */
export function goodbyes(service: Service): KnownRecord[] {
  const [pointer, , ...unique] = recordsOf(service, []);
  return [pointer!, ...unique].map((record) => ({ ...record, ttl: 0 }));
}

/** Whether a record answers a question. */
export function isAsked(questions: readonly Question[], records: readonly KnownRecord[]): boolean {
  return questions.some((question) =>
    records.some(({ name, type }) =>
      (question.type === type || question.type === "ANY") && isName(question.name, name)
    )
  );
}

/** Whether the querier knows the instance already, for at least half its time (RFC 6762 §7.1). */
export function isKnown(known: readonly KnownRecord[], service: Service): boolean {
  return known.some((record) =>
    record.type === "PTR" && isName(record.name, service.type ?? SERVICE) &&
    record.ttl >= OTHER_SECONDS / 2 &&
    isName(record.data, instanceName(service))
  );
}

/**
 * The host name for the addresses. It contains the id, so it never equals the machine's own name.
 */
export function hostName(id: string): string {
  return `degu-${shortId(id)}.local`;
}
