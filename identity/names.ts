/**
 * The names of devices and of peers.
 *
 * @module
 */

import { quote, typeName } from "../base/errors.ts";

/** The most characters in a name: the limit of a DNS label. */
export const MAX_NAME_LENGTH = 63;
const NAME = /^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$/;

/** Reports whether a text is a valid name of a device. */
export function isDeviceName(text: string): boolean {
  return NAME.test(text) && !isDeviceId(text.toLowerCase());
}

/**
 * Checks the name of a device.
 *
 * @param option The name of the option in errors.
 * @throws {TypeError} if it is not a string.
 * @throws {RangeError} if it is not valid.
 */
export function checkDeviceName(option: string, name: string): string {
  if (typeof name !== "string") {
    throw new TypeError(`${option}: must be a string; got ${typeName(name)}`);
  }
  if (isDeviceName(name)) return name;
  throw new RangeError(
    `${option}: must be 1 to ${MAX_NAME_LENGTH} letters, digits, "-" and "_", the first a letter or digit, ` +
      `and not an id of a device; got ${quote(name)}`,
  );
}

/** The form in which names are compared. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

/** A name that is not taken: the given one, or with `-2`, `-3` and so on, shortened to fit. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  let free = name;
  for (let number = 2; taken.has(nameKey(free)); number++) {
    const suffix = `-${number}`;
    free = name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
  }
  return free;
}

/** RFC 4648 §6, in lower case. */
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
/** 256 bits are 51 characters and one bit: the last character has only two possible values. */
const ID = /^[a-z2-7]{51}[aq]$/;

/** Reports whether a text is an id: 52 characters of base32 in lower case, for exactly 256 bits. */
export function isDeviceId(text: string): boolean {
  return ID.test(text);
}

/** The id of the device whose authority's key has this SHA-256, given as 32 bytes. */
export function deviceId(sha256: Uint8Array): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of sha256) {
    value = value << 8 | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[value >> bits & 31];
      value &= (1 << bits) - 1;
    }
  }
  return bits === 0 ? text : text + ALPHABET[value << 5 - bits & 31];
}
