/**
 * The parts of an mDNS packet (RFC 6762) that are read and written here, the records of a device (RFC 6763), and the library
 * that codes them.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { canonicalIPAddress, isLoopback } from "../../base/address_rules.ts";

/** An address of an interface, as the system lists them: the fields that are used here. */
export type InterfaceAddress = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask" | "scopeid"
>;

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
}

/** What was received: decoded, but of unknown types and sense. */
export interface Incoming {
  readonly type: "query" | "response";
  readonly questions: readonly Question[];
  readonly answers: readonly { readonly type: string }[];
  readonly additionals: readonly { readonly type: string }[];
}

/** What codes packets. */
export interface PacketCoder {
  encode(packet: Outgoing & { type: string; flags?: number }): Uint8Array;
  /** Throws if the bytes are no packet. */
  decode(bytes: Uint8Array): Incoming;
}

const KNOWN = new Set(["PTR", "SRV", "TXT", "A", "AAAA"]);

/** Loads the library, which is only needed when something is announced or looked for. */
export async function loadPacketCoder(): Promise<PacketCoder> {
  const { default: coder } = await import("npm:dns-packet@^5.6.1");
  // The package has no types of its own.
  return coder as unknown as PacketCoder;
}

/** The records of the types that are used here; the library has decoded their data by their type. */
export function knownRecords(records: readonly { readonly type: string }[]): KnownRecord[] {
  return records.filter(({ type }) => KNOWN.has(type)) as KnownRecord[];
}

/** Whether two names are the same: ASCII letters in either case (RFC 6762 §16). */
export function isSameName(a: string, b: string): boolean {
  const [left, right] = [a, b].map((name) => name.replace(/[A-Z]+/g, (all) => all.toLowerCase()));
  return left === right;
}

/** The service type. */
export const SERVICE = "_degu._tcp.local";
/** Where the types of services are listed (RFC 6763 §9). */
const SERVICE_TYPES = "_services._dns-sd._udp.local";
/** How many characters of the id are announced: 80 bits, enough to tell devices apart. */
const ID_CHARACTERS = 16;
/** The most bytes of a label (RFC 1035 §2.3.4). */
const MAX_LABEL = 63;
/** The seconds that records may be kept: those that name an address or a host, and others (RFC 6762 §10). */
const HOST_SECONDS = 120;
const OTHER_SECONDS = 4500;
/** The most addresses of an interface that are announced: with more the packet gets large. */
const MAX_ADDRESSES = 8;

/** What is announced. */
export interface Service {
  /** The name of the device. */
  readonly name: string;
  /** The id of the device, all of it or its beginning. */
  readonly id: string;
  readonly port: number;
}

/** The part of an id that is announced. */
export function shortId(id: string): string {
  return id.slice(0, ID_CHARACTERS);
}

/**
 * The full name of an instance: the name of the device, which other browsers show to people, and the id, so that no other
 * device wants the same one: none has to ask whether it is free (RFC 6762 §8.1).
 */
export function instanceName({ name, id }: Service): string {
  return name.slice(0, MAX_LABEL - ID_CHARACTERS - 1) + instanceSuffix(id);
}

/** What the instance of a device ends with, whatever the device is called. */
export function instanceSuffix(id: string): string {
  return `-${shortId(id)}.${SERVICE}`;
}

/** The records that no other device has, without the addresses. */
export function uniqueRecords(service: Service): KnownRecord[] {
  const name = instanceName(service);
  const data = { priority: 0, weight: 0, port: service.port, target: hostName(service.id) };
  const id = Buffer.from(`id=${shortId(service.id)}`); // the library wants a Buffer
  return [
    { name, type: "TXT", ttl: OTHER_SECONDS, flush: true, data: [id] },
    { name, type: "SRV", ttl: HOST_SECONDS, flush: true, data },
  ];
}

/** All records, with the addresses of one interface. */
export function allRecords(
  service: Service,
  addresses: readonly InterfaceAddress[],
): KnownRecord[] {
  const name = hostName(service.id);
  const useful = addresses.filter(({ address }) => isUseful(address)).slice(0, MAX_ADDRESSES);
  const hosts = useful.map(({ family, address }): KnownRecord => ({
    name,
    type: family === "IPv4" ? "A" : "AAAA",
    ttl: HOST_SECONDS,
    flush: true,
    data: address,
  }));
  return [...pointers(service), ...uniqueRecords(service), ...hosts];
}

/** The records that take the others back. The addresses may be those of another program, too. */
export function goodbyes(service: Service): KnownRecord[] {
  const [pointer] = pointers(service);
  return [pointer!, ...uniqueRecords(service)].map((record) => ({ ...record, ttl: 0 }));
}

/** Whether any record is an answer to a question. */
export function isAsked(questions: readonly Question[], records: readonly KnownRecord[]): boolean {
  return questions.some((question) =>
    records.some(({ name, type }) =>
      (question.type === type || question.type === "ANY") && isSameName(question.name, name)
    )
  );
}

/** Whether the querier already knows the instance, and for long enough (RFC 6762 §7.1). */
export function isKnown(known: readonly KnownRecord[], service: Service): boolean {
  return known.some((record) =>
    record.type === "PTR" && isSameName(record.name, SERVICE) && record.ttl >= OTHER_SECONDS / 2 &&
    isSameName(record.data, instanceName(service))
  );
}

/** Whether an address is of use to others. The library can't encode a text that is none. */
function isUseful(address: string): boolean {
  return canonicalIPAddress(address) !== null && !isLoopback(address);
}

function pointers(service: Service): KnownRecord[] {
  const data = instanceName(service);
  return [
    { name: SERVICE, type: "PTR", ttl: OTHER_SECONDS, data },
    { name: SERVICE_TYPES, type: "PTR", ttl: OTHER_SECONDS, data: SERVICE },
  ];
}

/** The name for the addresses: of the id, so that it is never the one by which the machine itself is known. */
export function hostName(id: string): string {
  return `degu-${shortId(id)}.local`;
}
