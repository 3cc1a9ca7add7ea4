/**
 * A paired device.
 *
 * @module
 */

import { formatAddress, parseAddress } from "../base/address.ts";
import { type Address, isUnixAddress } from "../base/address_rules.ts";
import { type Authority, readAuthorityText } from "../identity/authority.ts";
import { isDeviceId, isDeviceName } from "../identity/names.ts";
import { checkClientAddress } from "../net/addresses.ts";

/** A device that this one is paired with, as it was last read. */
export interface Peer {
  /**
   * SHA-256 of the public key of its authority, in base32: 52 characters. It does not change as long as the device
   * keeps its identity, and no other device can have it.
   */
  readonly id: string;
  /** Its name on this device; unique among the peers, ignoring case. */
  readonly name: string;
  /** Where it can be reached, as far as that is known. */
  readonly addresses: readonly Address[];
  /** When the two were last paired. */
  readonly pairedAt: Date;
  /** Its authority's certificate, as PEM text. */
  readonly certificate: string;
}

/** Files that are written here have a few kilobytes at most; a foreign file may have any size. */
export const MAX_PEER_FILE_BYTES = 16384;

const VERSION = 1;
const EXTENSION = ".json";
const FIELDS = ["addresses", "certificate", "name", "pairedAt", "version"];

/** The name of the file of a peer. */
export function peerFileName(id: string): string {
  return id + EXTENSION;
}

/** The id of the peer whose file has this name; `null` if it is not such a name. */
export function idOfFileName(name: string): string | null {
  const id = name.slice(0, -EXTENSION.length);
  return name.endsWith(EXTENSION) && isDeviceId(id) ? id : null;
}

/**
 * Creates a peer.
 *
 * @throws {TypeError} or `RangeError` if a client could not connect to an address.
 */
export function makePeer(
  { id, certificate }: Authority,
  name: string,
  addresses: readonly Address[],
  pairedAt: Date,
): Peer {
  const checked = Object.freeze(addresses.map(withoutFlow));
  return Object.freeze({ id, name, addresses: checked, pairedAt, certificate });
}

/**
 * The text of the file of a peer.
 *
 * @throws {RangeError} if an address can't be read back.
 */
export function formatPeer({ name, addresses, pairedAt, certificate }: Peer): string {
  const fields = {
    version: VERSION,
    name,
    addresses: addresses.map(textOf),
    pairedAt: pairedAt.toISOString(),
    certificate,
  };
  return `${JSON.stringify(fields, null, 2)}\n`;
}

/**
 * Reads the text of the file of a peer.
 *
 * @throws {RangeError} if it was not written here, is truncated, or belongs to another peer.
 */
export async function parsePeer(id: string, text: string): Promise<Peer> {
  const { version, name, addresses, pairedAt, certificate } = readFields(text);
  if (version !== VERSION) throw new RangeError("another version has written it");
  if (typeof name !== "string" || !isDeviceName(name)) {
    throw new RangeError("its name is not valid");
  }
  const authority = await readAuthorityText(certificate as string);
  if (authority.id !== id) throw new RangeError("it has the authority of another device");
  return makePeer(authority, name, readAddresses(addresses), readTime(pairedAt));
}

function readFields(text: string): Record<string, unknown> {
  let fields;
  try {
    fields = JSON.parse(text);
  } catch {
    // The error of the parser quotes the file, which may be any file.
    throw new RangeError("it is truncated, or not JSON");
  }
  const isObject = typeof fields === "object" && fields !== null && !Array.isArray(fields);
  if (isObject && Object.keys(fields).toSorted().join() === FIELDS.join()) return fields;
  throw new RangeError(`it must have the fields ${FIELDS.join(", ")} and no others`);
}

function readAddresses(addresses: unknown): Address[] {
  if (!Array.isArray(addresses)) throw new RangeError("its addresses are not a list");
  return addresses.map((text) => {
    if (typeof text !== "string") throw new RangeError("one of its addresses is not a string");
    return parseAddress(text);
  });
}

function readTime(pairedAt: unknown): Date {
  const time = new Date(typeof pairedAt === "string" ? pairedAt : NaN);
  if (!Number.isNaN(time.getTime()) && time.toISOString() === pairedAt) return time;
  throw new RangeError("its pairing time is not valid");
}

/** An address that can't be read back would make the whole file useless. */
function textOf(address: Address): string {
  const text = formatAddress(address);
  parseAddress(text);
  return text;
}

/** Flow information has no meaning elsewhere, and the text form has none. */
function withoutFlow(address: Address): Address {
  const checked = checkClientAddress(address);
  if (isUnixAddress(checked)) return checked;
  const [host, port, flowinfo, scopeid] = checked;
  return flowinfo === undefined ? checked : Object.freeze([host, port, 0, scopeid!] as const);
}
