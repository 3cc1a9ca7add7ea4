/**
 * The line of an invitation, as text.
 *
 * The text is `degu:` and base64url (RFC 4648 §5, without padding) of these bytes, the numbers
 * big-endian:
 *
 * | bytes | content                                                                         |
 * | ----- | ------------------------------------------------------------------------------- |
 * | 1     | the version: 2                                                                  |
 * | 4     | the first bytes of the SHA-256 of all other bytes                               |
 * | 32    | SHA-256 of the public key of the inviter's authority: its id                    |
 * | 16    | the secret                                                                      |
 * | 8     | the time at which the invitation expires, in milliseconds since 1970            |
 * | …     | 1 to 6 addresses, each as the next three rows                                   |
 * | 1     | 4 or 16, the bytes of the IP address                                            |
 * | 4, 16 | the IP address                                                                  |
 * | 4     | the port for TLS, then the plain port                                           |
 */

import { createHash } from "node:crypto";
import { type HostAddress, parseHost } from "../../base.ts";
import { checkString } from "../../internal/checks.ts";
import { formatDeviceId } from "../identity/names.ts";
import { PairingError } from "../errors.ts";

export type LineAddress = readonly [host: string, port: number, plainPort: number];

export interface InvitationLine {
  readonly keyHash: Uint8Array;
  readonly addresses: readonly LineAddress[];
  readonly secret: Uint8Array;
  /** The time at which the invitation expires, by the clock of the inviter. */
  readonly expires: Date;
}

/** The maximum number of addresses that a device sends: the other device tries each address. */
export const MAX_ADDRESSES = 6;
/** A stranger can't guess 128 bits. */
export const SECRET_BYTES = 16;

const PREFIX = "degu:";
const VERSION = 2;
const CHECKSUM_BYTES = 4;
const KEY_HASH_BYTES = 32;
/**
 * The largest difference between the clocks of two devices. Until this time after the expiry, the
 * joiner still connects, because the inviter's clock decides whether the invitation has expired.
 */
const MAX_CLOCK_DIFFERENCE_MILLISECONDS = 24 * 60 * 60 * 1000;
const MAX_DATE_MILLISECONDS = 8.64e15;

export function encodeLine({ keyHash, addresses, secret, expires }: InvitationLine): string {
  const time = new DataView(new ArrayBuffer(8));
  time.setBigUint64(0, BigInt(expires.getTime()));
  const content = Uint8Array.from([
    ...keyHash,
    ...secret,
    ...new Uint8Array(time.buffer),
    ...addresses.flatMap(encodeAddress),
  ]);
  return PREFIX +
    encodeBase64Url(Uint8Array.from([VERSION, ...computeChecksum(VERSION, content), ...content]));
}

/**
 * Parses the line of an invitation, without joining. Use this function to show the inviter, or to
 * check that a typed or scanned line is complete. White space in the line is ignored.
 *
 * @param line The {@linkcode Invitation.prototype.line | line} of the other device.
 * @throws {TypeError} if the line is not a string.
 * @throws {PairingError} with the code `"NOT_AN_INVITATION"` if the text is not a line; `"GARBLED"`
 * if a part is missing or was changed; `"OTHER_VERSION"` if another version of Degu has made the
 * line; `"EXPIRED"` if the line expired more than a day ago. The message doesn't quote the line.
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
export function parseInvitation(line: string): {
  /** The id of the device that invites. */
  readonly id: string;
  /** The {@linkcode Invitation.prototype.addresses}, at which a device can join by a number. */
  readonly addresses: readonly HostAddress[];
  /** The time at which the invitation expires, by the clock of the device that invites. */
  readonly expires: Date;
} {
  const { keyHash, addresses, expires } = decodeLine(line);
  const plainAddresses = addresses.map(([host, , port]) => Object.freeze([host, port] as const));
  return Object.freeze({
    id: formatDeviceId(keyHash),
    addresses: Object.freeze(plainAddresses),
    expires,
  });
}

export function decodeLine(line: string): InvitationLine {
  checkString("line", line);
  const text = line.replaceAll(/\s+/g, "");
  if (!text.startsWith(PREFIX)) {
    throw new PairingError(
      "NOT_AN_INVITATION",
      `line: must be the line of an invitation, which begins with "${PREFIX}"`,
    );
  }
  const bytes = decodeBase64Url(text.slice(PREFIX.length));
  if (bytes === null) throw garbledLineError();
  const [version = 0] = bytes;
  const content = bytes.subarray(1 + CHECKSUM_BYTES);
  // The checksum has the same position, and covers the same bytes, in every version.
  const isIntact = computeChecksum(version, content).every((byte, index) =>
    byte === bytes[1 + index]
  );
  if (!isIntact) throw garbledLineError();
  if (version !== VERSION) {
    throw new PairingError(
      "OTHER_VERSION",
      `line: it has version ${version}, and this program reads version ${VERSION}: use the same ` +
        "version of Degu on both devices",
    );
  }
  const invitationLine = readContent(content);
  const now = Date.now();
  if (now - invitationLine.expires.getTime() > MAX_CLOCK_DIFFERENCE_MILLISECONDS) {
    throw new PairingError(
      "EXPIRED",
      `line: it expired at ${invitationLine.expires.toISOString()}, and the clock of this device says ` +
        `${new Date(now).toISOString()}: make a new invitation, or set the clock that is wrong`,
    );
  }
  return invitationLine;
}

function garbledLineError(): PairingError {
  const details = "a part is missing or was changed on the way; copy the whole line again";
  const problem = `the line is garbled: ${details}`;
  return new PairingError("GARBLED", `line: it is garbled: ${details}`, { problem });
}

/** Detects accidental changes, but not deliberate changes. */
function computeChecksum(version: number, content: Uint8Array): Uint8Array {
  const hash = createHash("sha256");
  return hash.update(Uint8Array.of(version)).update(content).digest().subarray(0, CHECKSUM_BYTES);
}

function readContent(content: Uint8Array): InvitationLine {
  let position = 0;
  const readBytes = (count: number) => {
    const bytes = content.slice(position, position += count);
    if (bytes.length < count) throw garbledLineError();
    return bytes;
  };
  const readUint = (count: number) =>
    readBytes(count).reduce((value, byte) => value * 256 + byte, 0);
  const checkRange = (value: number, min: number, max: number) => {
    if (value >= min && value <= max) return value;
    throw garbledLineError();
  };
  const keyHash = readBytes(KEY_HASH_BYTES);
  const secret = readBytes(SECRET_BYTES);
  const expires = new Date(checkRange(readUint(8), 0, MAX_DATE_MILLISECONDS));
  const readPort = () => checkRange(readUint(2), 1, 65535);
  const addresses: LineAddress[] = [];
  while (position < content.length) {
    const length = readUint(1);
    if (length !== 4 && length !== 16) throw garbledLineError();
    const host = formatHost(readBytes(length));
    addresses.push(Object.freeze([host, readPort(), readPort()] as const));
  }
  checkRange(addresses.length, 1, MAX_ADDRESSES);
  return { keyHash, addresses, secret, expires };
}

function formatHost(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  return parseHost(bytes.toHex().replaceAll(/(.{4})(?!$)/g, "$1:"))!.text;
}

function encodeAddress([host, ...ports]: LineAddress): number[] {
  const bytes = parseHost(host)!.bytes!;
  return [bytes.length, ...bytes, ...ports.flatMap((port) => [port >> 8, port & 0xff])];
}

export function encodeBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

export function decodeBase64Url(text: unknown): Uint8Array | null {
  try {
    const bytes = Uint8Array.fromBase64(text as string, { alphabet: "base64url" });
    // The decoder also accepts white space, padding and unused bits, so several texts mean the same
    // bytes.
    return encodeBase64Url(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}
