import { parseHost } from "../../base.ts";
import { checkString, notAllowedError } from "../../internal/checks.ts";
import { quoteName } from "../../internal/quote.ts";
import { isReservedByWindows } from "../../internal/system.ts";
import { HOST_LABEL } from "../../net/tls/certificate_writer.ts";

/**
 * The name in the certificate of each device, which peers ignore. The certificate must not contain
 * the name of the device, because strangers can read the certificate.
 */
export const DEVICE_IDENTITY_NAME = "device";
/** The limit of a DNS label. */
const MAX_NAME_LENGTH = 63;
const DEVICE_NAME_PATTERN = /^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$/;

/**
 * Reports whether a text can be the name of a device or of a peer: 1 to 63 letters, digits, `-` and
 * `_`, the first a letter or digit, and neither an id nor a name that Windows reserves, such as
 * `con`. Such a name is safe in a path, in a URI and on a terminal.
 *
 * @param text The text, for example as typed by a person or sent by a peer.
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
  return DEVICE_NAME_PATTERN.test(text) && !isDeviceId(text.toLowerCase()) &&
    !isReservedByWindows(text);
}

export function checkDeviceName(option: string, name: string): void {
  checkString(option, name);
  if (isDeviceName(name)) return;
  throw notAllowedError(
    option,
    `must be 1 to ${MAX_NAME_LENGTH} letters, digits, "-" and "_", the first a letter or digit, ` +
      "and neither an id of a device nor a name that Windows reserves, such as con; got " +
      quoteName(name),
  );
}

export function makeNameKey(name: string): string {
  return name.toLowerCase();
}

export function findFreeName(name: string, takenKeys: ReadonlySet<string>): string {
  let candidate = name;
  for (let number = 2; takenKeys.has(makeNameKey(candidate)); number++) {
    const suffix = `-${number}`;
    candidate = name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
  }
  return candidate;
}

/** The base32 alphabet (RFC 4648 §6), in lower case. */
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
/** 256 bits are 51 characters and one bit, so the last character has only two possible values. */
const ID_PATTERN = /^[a-z2-7]{51}[aq]$/;

export function isDeviceId(text: string): boolean {
  return ID_PATTERN.test(text);
}

export function formatDeviceId(sha256: Uint8Array): string {
  // 52 digits of 5 bits have 4 bits more than the hash.
  const bits = BigInt(`0x${sha256.toHex()}`) << 4n;
  return bits.toString(32).padStart(52, "0")
    .replaceAll(/./g, (digit) => ALPHABET[parseInt(digit, 32)]!);
}

/** The maximum of RFC 5280 appendix A.1, ub-common-name. */
const MAX_COMMON_NAME_LENGTH = 64;

/** Checks the name of an identity, which is used for its directory and in its certificate. */
export function checkIdentityName(name: string): void {
  checkString("name", name);
  const { type, text } = parseHost(name) ?? {};
  const isDnsName = name.length <= MAX_COMMON_NAME_LENGTH && type === "name" && text === name &&
    name.split(".").every((label) => HOST_LABEL.test(label));
  if (isDnsName && !isReservedByWindows(name)) return;
  throw notAllowedError(
    "name",
    `must be a DNS name in lower case of at most ${MAX_COMMON_NAME_LENGTH} characters, such as ` +
      `camera-1, and not a name that Windows reserves, such as con; got ${quoteName(name)}`,
  );
}
