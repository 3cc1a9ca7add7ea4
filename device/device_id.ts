/**
 * The ids of devices.
 *
 * @module
 */

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
