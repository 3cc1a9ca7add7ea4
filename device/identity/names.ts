/** Names and ids: of devices and peers, of a device's certificate, and of a device's key. */

import { checkString, notAllowed } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { isReservedByWindows } from "../../internal/disk/file_names.ts";
import { isHostName } from "../../net/tls/certificate_writer.ts";

/** The largest number of characters in a name: the limit of a DNS label. */
export const MAX_NAME_LENGTH = 63;
const DEVICE_NAME = /^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$/;

/**
 * Reports whether a text can be the name of a device or of a peer: 1 to 63 letters, digits, `-` and
 * `_`, the first a letter or digit, and neither an id nor a name that Windows reserves, such as
 * `con`. Such a name is safe in a path, in a URI and on a terminal.
 *
 * @param text The text, as a person has typed it or a peer has sent it.
 * @throws {TypeError} if the text is not a string.
 *
 * @example
 * ```ts
 * import { isDeviceName } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isDeviceName("camera-1"), true);
 * assertEquals(isDeviceName("Anna's camera"), false);
 * ```
 */
export function isDeviceName(text: string): boolean {
  checkString("text", text);
  return DEVICE_NAME.test(text) && !isDeviceId(text.toLowerCase()) && !isReservedByWindows(text);
}

export function checkDeviceName(option: string, name: string): void {
  checkString(option, name);
  if (isDeviceName(name)) return;
  throw notAllowed(
    option,
    `must be 1 to ${MAX_NAME_LENGTH} letters, digits, "-" and "_", the first a letter or digit, ` +
      `and neither an id of a device nor a name that Windows reserves, such as con; got ${
        quote(name)
      }`,
  );
}

export function nameKey(name: string): string {
  return name.toLowerCase();
}

/** Finds a free name: the given name, or the name with `-2`, `-3` and so on, shortened to fit. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  let free = name;
  for (let number = 2; taken.has(nameKey(free)); number++) {
    const suffix = `-${number}`;
    free = name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
  }
  return free;
}

/** The base32 alphabet (RFC 4648 §6), in lower case. */
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
/** 256 bits are 51 characters and one bit: the last character has only two possible values. */
const ID = /^[a-z2-7]{51}[aq]$/;

/** Tells whether a text is an id: 52 characters of base32 in lower case, for exactly 256 bits. */
export function isDeviceId(text: string): boolean {
  return ID.test(text);
}

/** The id of a device: the SHA-256 of its authority's key, given as 32 bytes, in base32. */
export function deviceId(sha256: Uint8Array): string {
  // 52 digits of 5 bits have 4 bits more than the hash.
  const bits = BigInt(`0x${sha256.toHex()}`) << 4n;
  return bits.toString(32).padStart(52, "0")
    .replaceAll(/./g, (digit) => ALPHABET[parseInt(digit, 32)]!);
}

/** The largest number of characters in a common name (RFC 5280 appendix A.1, ub-common-name). */
const MAX_COMMON_NAME_LENGTH = 64;
/** The digits behind a derived name: 64 bits, so two device names don't collide by chance. */
const DIGEST_DIGITS = 16;
/** A label of a DNS name has at most 63 characters (RFC 1035 §2.3.4). */
const MAX_READABLE_LENGTH = 63 - DIGEST_DIGITS - 1;
const LINE_BREAK_OR_CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u;

/**
 * Derives the name of a device's directory and certificate: always a DNS name in lower case, of at
 * most 64 characters, and the same for all time.
 *
 * A name that already is such a DNS name stays as it is. Any other name keeps its letters and
 * digits, with hyphens between, and gets 16 hexadecimal digits of its SHA-256 (of the UTF-8 of its
 * Normalization Form C), which keep similar names apart: `"Anna's camera"` becomes
 * `"anna-s-camera-ca91…"`.
 *
 * @throws {RangeError} if the name is empty, begins or ends with white space, or has a control
 * character, a line break or half of a surrogate pair.
 */
export async function deriveDnsName(name: string): Promise<string> {
  checkGivenName(name);
  if (name.length <= MAX_COMMON_NAME_LENGTH && isHostName(name)) return name;
  const text = new TextEncoder().encode(name.normalize("NFC"));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex();
  return `${readablePart(name)}-${digest.slice(0, DIGEST_DIGITS)}`;
}

/** Refuses control characters, and with them a name that was read from a file with its line end. */
function checkGivenName(name: string): void {
  const rule = name.trim() === ""
    ? "must not be empty"
    : name.trim() !== name
    ? "must not begin or end with white space"
    : LINE_BREAK_OR_CONTROL.test(name)
    ? "must not have a control character or a line break"
    : !name.isWellFormed()
    ? "must not have half of a surrogate pair"
    : isReservedByWindows(name)
    ? "must not be one that Windows reserves, such as con"
    : null;
  if (rule !== null) throw notAllowed("name", `${rule}; got ${quote(name)}`);
}

/** The readable part of a derived name, for people who look at the directory or the certificate. */
function readablePart(name: string): string {
  const letters = name.normalize("NFKD").replaceAll(/\p{M}+/gu, "").toLowerCase();
  const words = letters.match(/[0-9a-z]+/g) ?? ["device"];
  return words.join("-").slice(0, MAX_READABLE_LENGTH).replace(/-$/, "");
}
