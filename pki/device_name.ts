/**
 * Derives the name of a device's identity from the name that a person gave to the device.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import { isHostName } from "./alternative_names.ts";

/** A common name has at most this many characters (RFC 5280 appendix A.1, ub-common-name). */
const MAX_NAME_LENGTH = 64;

/** The suffix of a derived name: 64 bits, so two device names don't collide by chance. */
const DIGEST_DIGITS = 16;

/** A label of a DNS name has at most 63 characters (RFC 1035 §2.3.4). */
const MAX_READABLE_LENGTH = 63 - DIGEST_DIGITS - 1;

/** The prefix of a name without ASCII letters and digits. */
const NOT_READABLE = "device";

const LINE_BREAK_OR_CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u;

/**
 * Derives the name of a device's directory and certificate: always a DNS name in lower case, of at
 * most 64 characters, and the same for all time.
 *
 * A name that already is such a DNS name is used as it is. Every other one becomes the letters and
 * digits that it has or is composed of, with hyphens between, and 16 hexadecimal digits of its SHA-256
 * (of the UTF-8 of its Normalization Form C), which keep names apart that look alike without what was
 * left out: `"Anna's camera"` becomes `"anna-s-camera-ca91…"`.
 *
 * @throws {RangeError} if it is empty, begins or ends with white space, or has a control character,
 * a line break or half of a surrogate pair.
 */
export async function deriveDnsName(name: string): Promise<string> {
  checkName(name);
  if (name.length <= MAX_NAME_LENGTH && isHostName(name)) return name;
  const text = new TextEncoder().encode(name.normalize("NFC"));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex();
  return `${readablePart(name)}-${digest.slice(0, DIGEST_DIGITS)}`;
}

/** What keeps control characters out also finds the line that was read with its end, from a file. */
function checkName(name: string): void {
  const rule = name.trim() === ""
    ? "must not be empty"
    : name.trim() !== name
    ? "must not begin or end with white space"
    : LINE_BREAK_OR_CONTROL.test(name)
    ? "must not have a control character or a line break"
    : name.isWellFormed()
    ? null
    : "must not have half of a surrogate pair";
  if (rule !== null) throw new RangeError(`name: ${rule}; got ${quote(name)}`);
}

/** Only for people who look into the directory or at a certificate. */
function readablePart(name: string): string {
  const letters = name.normalize("NFKD").replaceAll(/\p{M}+/gu, "").toLowerCase();
  const words = letters.match(/[0-9a-z]+/g) ?? [NOT_READABLE];
  return words.join("-").slice(0, MAX_READABLE_LENGTH).replace(/-$/, "");
}
