/**
 * The line of an invitation, as text.
 *
 * The text is `degu:` and base64url (RFC 4648 §5, without padding) of these bytes, the numbers
 * big-endian:
 *
 * | bytes | what                                                                            |
 * | ----- | ------------------------------------------------------------------------------- |
 * | 1     | the version: 2                                                                  |
 * | 4     | SHA-256 over all other bytes, cut                                               |
 * | 32    | SHA-256 of the public key of the inviter's authority: its id                    |
 * | 16    | the secret                                                                      |
 * | 8     | when it expires, in milliseconds since 1970                                     |
 * | …     | 1 to 6 addresses, each as the next three rows                                   |
 * | 1     | 4 or 16, the bytes of the IP address                                            |
 * | 4, 16 | the IP address                                                                  |
 * | 4     | the port of TLS, then the plain one                                             |
 */

import { createHash } from "node:crypto";
import { type Address, type HostAddress, parseHost, type ScopedAddress } from "../base.ts";
import { formatIPAddress, withPort } from "../base/address.ts";
import { checkString } from "../internal/checks.ts";
import { deviceId } from "./identity/names.ts";
import { PairingError } from "./errors.ts";

/** Where an inviter listens: an IP address without a scope, the port of TLS and the plain one. */
export type LineAddress = readonly [host: string, port: number, plainPort: number];

export interface InvitationLine {
  /** SHA-256 of the public key of the inviter's authority. */
  readonly keyHash: Uint8Array;
  readonly addresses: readonly LineAddress[];
  /** Proves that a device has the line; valid once. */
  readonly secret: Uint8Array;
  /** When it expires, by the clock of the inviter. */
  readonly expires: Date;
}

/** Addresses that a device sends to another: bounds how many that one tries. */
export const MAX_ADDRESSES = 6;
/** Bytes of the secret: 128 bits, against which guessing gains nothing. */
export const SECRET_BYTES = 16;

const PREFIX = "degu:";
const VERSION = 2;
const CHECKSUM_BYTES = 4;
const KEY_HASH_BYTES = 32;
/**
 * The clocks of two devices may differ; within this time only the inviter decides what has expired.
 */
const EXPIRED_FOR_CERTAIN_MILLISECONDS = 24 * 60 * 60 * 1000;
const MAX_TIME = 8.64e15;

/** Writes a line, whose content was checked before. */
export function encodeLine({ keyHash, addresses, secret, expires }: InvitationLine): string {
  const time = new DataView(new ArrayBuffer(8));
  time.setBigUint64(0, BigInt(expires.getTime()));
  const rest = Uint8Array.from([
    ...keyHash,
    ...secret,
    ...new Uint8Array(time.buffer),
    ...addresses.flatMap(encodeAddress),
  ]);
  return PREFIX + encodeBase64Url(Uint8Array.from([VERSION, ...checksum(VERSION, rest), ...rest]));
}

/** What the line of an invitation says to people: all of it but its secret. */
export interface ParsedInvitation {
  /** The id of the device that invites. */
  readonly id: string;
  /** The {@linkcode Invitation.prototype.addresses}, where a device can join by a number. */
  readonly addresses: readonly HostAddress[];
  /** When the invitation expires, by the clock of the device that invites. */
  readonly expires: Date;
}

/**
 * Parses the line of an invitation, without joining: to show who invites, or to find out whether a
 * line that is typed or scanned is complete. White space anywhere in the line is ignored.
 *
 * @param line The {@linkcode Invitation.prototype.line | line} of the other device.
 * @throws {TypeError} if the line is not a string.
 * @throws {PairingError} with the code `"NOT_A_LINE"` if it is something else; `"GARBLED"` if a
 * part is missing or was changed; `"OTHER_VERSION"` if another version of Degu has made it;
 * `"EXPIRED"` if it expired more than a day ago. The message quotes nothing of the line.
 *
 * @example
 * ```ts
 * import { Device, PairingError, parseInvitation } from "@degu/degu/device";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using camera = await Device.open(dir, { name: "camera" });
 * await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
 *
 * const { id, addresses } = parseInvitation(invitation.line);
 * assertEquals([id, addresses[0]![0]], [camera.id, "127.0.0.1"]);
 * const part = invitation.line.slice(0, -1);
 * assertEquals(assertThrows(() => parseInvitation(part), PairingError).code, "GARBLED");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export function parseInvitation(line: string): ParsedInvitation {
  const { keyHash, addresses, expires } = decodeLine(line);
  const listening = addresses.map(([host, , plain]) => Object.freeze([host, plain] as const));
  return Object.freeze({
    id: deviceId(keyHash),
    addresses: Object.freeze(listening),
    expires,
  });
}

/**
 * Reads a line. White space anywhere in it is ignored.
 *
 * @throws {PairingError} if it is not a line, was changed on the way, is of another version, or
 * expired more than a day ago. The message says which, and quotes nothing of the line.
 */
export function decodeLine(line: string): InvitationLine {
  checkString("line", line);
  const text = line.replaceAll(/\s+/g, "");
  if (!text.startsWith(PREFIX)) {
    throw new PairingError(
      "NOT_A_LINE",
      `line: must be the line of an invitation, which begins with "${PREFIX}"`,
    );
  }
  const bytes = decodeBase64Url(text.slice(PREFIX.length));
  if (bytes === null) throw garbledLineError();
  const [version = 0] = bytes;
  const rest = bytes.subarray(1 + CHECKSUM_BYTES);
  // The checksum has the same position, and covers the same bytes, in every version.
  if (!isIntact(bytes, version, rest)) throw garbledLineError();
  if (version !== VERSION) {
    throw new PairingError(
      "OTHER_VERSION",
      `line: it has version ${version}, and this program reads version ${VERSION}: use the same ` +
        "version of Degu on both devices",
    );
  }
  const read = readContent(rest);
  if (Date.now() - read.expires.getTime() > EXPIRED_FOR_CERTAIN_MILLISECONDS) {
    throw new PairingError(
      "EXPIRED",
      `line: it expired at ${read.expires.toISOString()}: make a new invitation; if that time is in the ` +
        "future, the clock of this device is wrong",
    );
  }
  return read;
}

function garbledLineError(): PairingError {
  const why = "a part is missing or was changed on the way; copy the whole line again";
  const problem = `the line is garbled: ${why}`;
  return new PairingError("GARBLED", `line: it is garbled: ${why}`, { problem });
}

function isIntact(bytes: Uint8Array, version: number, rest: Uint8Array): boolean {
  return checksum(version, rest).every((byte, index) => byte === bytes[1 + index]);
}

/** The checksum finds accidental changes, and is no protection against deliberate ones. */
function checksum(version: number, rest: Uint8Array): Uint8Array {
  const hash = createHash("sha256");
  return hash.update(Uint8Array.of(version)).update(rest).digest().subarray(0, CHECKSUM_BYTES);
}

/** Reads what follows the version and the checksum. */
function readContent(rest: Uint8Array): InvitationLine {
  let at = 0;
  const take = (count: number) => {
    const taken = rest.slice(at, at += count);
    if (taken.length < count) throw garbledLineError();
    return taken;
  };
  const uint = (count: number) => take(count).reduce((value, byte) => value * 256 + byte, 0);
  const within = (value: number, least: number, most: number) => {
    if (value >= least && value <= most) return value;
    throw garbledLineError();
  };
  const keyHash = take(KEY_HASH_BYTES);
  const secret = take(SECRET_BYTES);
  const expires = new Date(within(uint(8), 0, MAX_TIME));
  const port = () => within(uint(2), 1, 65535);
  const addresses: LineAddress[] = [];
  while (at < rest.length) {
    const bytes = uint(1);
    if (bytes !== 4 && bytes !== 16) throw garbledLineError();
    const host = formatIPAddress(take(bytes))!;
    addresses.push(Object.freeze([host, port(), port()] as const));
  }
  within(addresses.length, 1, MAX_ADDRESSES);
  return { keyHash, addresses, secret, expires };
}

function encodeAddress([host, ...ports]: LineAddress): number[] {
  const bytes = parseHost(host)!.bytes!;
  return [bytes.length, ...bytes, ...ports.flatMap((port) => [port >> 8, port & 0xff])];
}

/** The host of an address as it is in a line: a canonical IP address without a scope. */
export function lineHost(address: Address): string {
  return parseHost((address as HostAddress)[0])!.text;
}

/** The address beside another one, for what listens at two: with the next port, or any free one. */
export function withNextPort(address: HostAddress | ScopedAddress): HostAddress | ScopedAddress {
  const [, port] = address;
  return withPort(address, port === 0 ? 0 : port + 1);
}

export function encodeBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/**
 * Reads the texts that {@linkcode encodeBase64Url} writes; `null` for anything else, of any type.
 */
export function decodeBase64Url(text: unknown): Uint8Array | null {
  try {
    const bytes = Uint8Array.fromBase64(text as string, { alphabet: "base64url" });
    // The decoder also accepts white space, padding and unused bits: several texts for the same
    // bytes.
    return encodeBase64Url(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}
