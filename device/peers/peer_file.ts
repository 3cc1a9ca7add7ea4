import {
  type Address,
  checkAddress,
  formatAddress,
  parseAddress,
  type ScopedAddress,
} from "../../base.ts";
import { quoteName } from "../../internal/quote.ts";
import { isUnixAddress } from "../../base/address.ts";
import { isUnsupportedVersion } from "../identity/device_directory.ts";
import { type DeviceAuthority, readAuthority } from "../identity/authority.ts";
import { checkDeviceName, isDeviceId, isDeviceName } from "../identity/names.ts";

/** A device that is paired with this device, as last read. */
export interface Peer {
  /**
   * SHA-256 of the public key of the peer's authority, in base32: 52 characters. The id does not
   * change as long as the device keeps its identity, and no other device can have the same id.
   */
  readonly id: string;
  /** The name of the peer on this device; unique among the peers, ignoring case. */
  readonly name: string;
  /** The stored addresses of the peer; the address that was stored last is first. */
  readonly addresses: readonly Address[];
  /** The time of the last pairing of the two devices. */
  readonly pairedAt: Date;
  /** The certificate of the peer's authority, as PEM text. */
  readonly ca: string;
}

/** A peer, and the texts of those of its addresses that were found after the pairing. */
export type StoredPeer = Peer & { readonly foundAddresses?: readonly string[] };

export interface FileProblem {
  readonly text: string;
  readonly peer?: Pick<Peer, "id" | "name">;
}

const VERSION = 1;
const FILE_EXTENSION = ".json";

export function makePeerFileName(id: string): string {
  return id + FILE_EXTENSION;
}

export function parsePeerFileName(name: string): string | null {
  const id = name.slice(0, -FILE_EXTENSION.length);
  return name.endsWith(FILE_EXTENSION) && isDeviceId(id) ? id : null;
}

/** A client must be able to connect to each address, which must have a text form. */
export function makePeer(
  { id, ca }: Pick<DeviceAuthority, "id" | "ca">,
  name: string,
  addresses: readonly Address[],
  pairedAt: Date,
  foundAddresses: readonly string[] = [],
): StoredPeer {
  const storedAddresses = addresses.map((address) => {
    const checkedAddress = checkAddress(address, "client");
    const [host, port, , scopeid] = checkedAddress as ScopedAddress;
    // Flow information is valid only for one connection, and the text form doesn't contain it.
    const isScoped = !isUnixAddress(checkedAddress) && checkedAddress.length === 4;
    const addressWithoutFlow = isScoped ? [host, port, 0, scopeid] as const : checkedAddress;
    // The address must be the same as after it is read from the file.
    return parseAddress(formatAddress(addressWithoutFlow));
  });
  const peer = { id, name, addresses: Object.freeze(storedAddresses), pairedAt, ca };
  return Object.freeze(foundAddresses.length === 0 ? peer : { ...peer, foundAddresses });
}

export function formatPeer(
  { name, addresses, foundAddresses, pairedAt, ca }: StoredPeer,
): string {
  const fields = {
    version: VERSION,
    name,
    addresses: addresses.map(formatAddress),
    found: foundAddresses,
    pairedAt: pairedAt.toISOString(),
    certificate: ca,
  };
  return `${JSON.stringify(fields, null, 2)}\n`;
}

/** The peer of such a file isn't trusted, but its name stays taken. */
export function findVersionProblem(id: string, text: string): FileProblem | null {
  try {
    const { version, name: field } = JSON.parse(text);
    if (!isUnsupportedVersion(version, VERSION)) return null;
    const name = typeof field === "string" && isDeviceName(field) ? field : id;
    const fileName = quoteName(makePeerFileName(id));
    return {
      text: `the peer ${quoteName(name)} can't be used: its file ${fileName} has version ` +
        `${version}, and this version of Degu reads version ${VERSION}; use the version that has ` +
        "written it, or pair the two devices again",
      peer: { id, name },
    };
  } catch {
    return null;
  }
}

/**
 * Only the exact output of {@linkcode formatPeer} is accepted.
 *
 * @throws {RangeError} if the text is foreign or truncated, or has the authority of another peer.
 * The message doesn't quote the text, because the file may be any file.
 */
export function parsePeer(id: string, text: string): Peer {
  let peer: Peer | null = null;
  let canonicalText = "";
  try {
    const { name, addresses, found = [], pairedAt, certificate } = JSON.parse(text);
    checkDeviceName("name", name);
    const authority = readAuthority(certificate);
    peer = makePeer(authority, name, addresses.map(parseAddress), new Date(pairedAt), [...found]);
    canonicalText = formatPeer(peer);
  } catch {
    // The text is foreign or damaged.
  }
  if (peer === null || canonicalText !== text) {
    throw new RangeError("it is truncated, or not of the form that this version writes");
  }
  if (peer.id !== id) throw new RangeError("it has the authority of another device");
  return peer;
}
