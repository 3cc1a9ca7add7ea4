/**
 * The parts of an mDNS packet (RFC 6762) that are read and written here, the records of a device (RFC 6763), and the library
 * that codes them.
 */

import { Buffer } from "node:buffer";
import { canonicalDnsName, canonicalIPAddress, isLoopback } from "../../base/address.ts";

/** An address of an interface, as the system lists them: the fields that are used here. */
export type InterfaceAddress = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask" | "scopeid"
>;

type RecordData =
  | { readonly type: "PTR" | "A" | "AAAA"; readonly data: string }
  | { readonly type: "TXT"; readonly data: readonly Uint8Array[] }
  | { readonly type: "SRV"; readonly data: { readonly port: number; readonly target: string } };

/** A record of one of the types that are used here. What was received may have others, of which nothing is read. */
export type KnownRecord = RecordData & {
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  /** Whether it replaces what others have said about this name and type. */
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

/** Loads the library, which is only needed when something is announced or looked for. */
export async function loadPacketCoder(): Promise<PacketCoder> {
  const { default: coder } = await import("npm:dns-packet@^5.6.1");
  // The package has no types of its own.
  return coder as unknown as PacketCoder;
}

/** Whether a name is one of those of a device: in letters of either case (RFC 6762 §16). */
function isName(text: string, name: string): boolean {
  return canonicalDnsName(text) === canonicalDnsName(name);
}

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

/** What is announced, with the name and the id of the device. */
export interface Service {
  readonly name: string;
  readonly id: string;
  readonly port: number;
}

function shortId(id: string): string {
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

export function recordsOf(
  service: Service,
  addresses: readonly InterfaceAddress[],
): KnownRecord[] {
  const [name, host] = [instanceName(service), hostName(service.id)];
  const srv = { priority: 0, weight: 0, port: service.port, target: host };
  const id = Buffer.from(`id=${shortId(service.id)}`); // the library wants a Buffer
  // The library can't encode a text that is no address.
  const useful = addresses.filter(({ address }) =>
    canonicalIPAddress(address) !== null && !isLoopback(address)
  );
  return [
    { name: SERVICE, type: "PTR", ttl: OTHER_SECONDS, data: name },
    { name: SERVICE_TYPES, type: "PTR", ttl: OTHER_SECONDS, data: SERVICE },
    { name, type: "TXT", ttl: OTHER_SECONDS, flush: true, data: [id] },
    { name, type: "SRV", ttl: HOST_SECONDS, flush: true, data: srv },
    ...useful.slice(0, MAX_ADDRESSES).map(({ family, address }): KnownRecord => {
      const type = family === "IPv4" ? "A" : "AAAA";
      return { name: host, type, ttl: HOST_SECONDS, flush: true, data: address };
    }),
  ];
}

/** The records that take the others back, but for the addresses, which may be those of another program, too. */
export function goodbyes(service: Service): KnownRecord[] {
  const [pointer, , ...unique] = recordsOf(service, []);
  return [pointer!, ...unique].map((record) => ({ ...record, ttl: 0 }));
}

/** Whether any record is an answer to a question. */
export function isAsked(questions: readonly Question[], records: readonly KnownRecord[]): boolean {
  return questions.some((question) =>
    records.some(({ name, type }) =>
      (question.type === type || question.type === "ANY") && isName(question.name, name)
    )
  );
}

/** Whether the querier already knows the instance, and for long enough (RFC 6762 §7.1). */
export function isKnown(known: readonly KnownRecord[], service: Service): boolean {
  return known.some((record) =>
    record.type === "PTR" && isName(record.name, SERVICE) && record.ttl >= OTHER_SECONDS / 2 &&
    isName(record.data, instanceName(service))
  );
}

/** The name for the addresses: of the id, so that it is never the one by which the machine itself is known. */
export function hostName(id: string): string {
  return `degu-${shortId(id)}.local`;
}
