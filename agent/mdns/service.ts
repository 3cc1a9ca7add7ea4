/**
 * The records of a device (RFC 6763).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { canonicalIPAddress, isLoopback } from "../../base/address_rules.ts";
import type { InterfaceAddress } from "./interfaces.ts";
import { isSameName, type KnownRecord, type Question } from "./packet.ts";

/** The service type. */
export const SERVICE = "_degu._tcp.local";
/** Where the types of services are listed (RFC 6763 §9). */
const SERVICE_TYPES = "_services._dns-sd._udp.local";
/** How many characters of the id are announced: 80 bits, enough to tell devices apart. */
const ID_CHARACTERS = 16;
/** The first letters of the string that has the id. */
const ID_KEY = "id=";
/** The seconds that records may be kept: those that name an address or a host, and others (RFC 6762 §10). */
const HOST_SECONDS = 120;
const OTHER_SECONDS = 4500;
/** The most addresses of an interface that are announced: with more the packet gets large. */
const MAX_ADDRESSES = 8;
/** The most strings of a TXT record in which the id is looked for. */
const MAX_STRINGS = 16;

/** What is announced. */
export interface Service {
  /** The name of the instance. */
  readonly name: string;
  /** The id of the device, all of it or its beginning. */
  readonly id: string;
  readonly port: number;
}

/** The part of an id that is announced. */
export function shortId(id: string): string {
  return id.slice(0, ID_CHARACTERS);
}

/** The id in a TXT record; `null` if it has none. */
export function idIn(strings: readonly Uint8Array[]): string | null {
  for (const bytes of strings.slice(0, MAX_STRINGS)) {
    const text = String.fromCharCode(...bytes);
    if (text.toLowerCase().startsWith(ID_KEY)) return text.slice(ID_KEY.length);
  }
  return null;
}

/** The full name of an instance. */
export function instanceName({ name }: Service): string {
  return `${name}.${SERVICE}`;
}

/** The records that no other device may have, without the addresses, in the order of their types. */
export function uniqueRecords(service: Service): KnownRecord[] {
  const name = instanceName(service);
  const data = { priority: 0, weight: 0, port: service.port, target: hostName(service) };
  const id = Buffer.from(ID_KEY + shortId(service.id)); // the library wants a Buffer
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
  const name = hostName(service);
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

/** Whether an address is of use to others. The library ends the process over one that it can't encode. */
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
function hostName({ id }: Service): string {
  return `degu-${shortId(id)}.local`;
}
