/**
 * Which keys are good enough, for both ends and for authorities.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";

/** Keys that the TLS library can use, and that are strong enough (RFC 9325 §4.5). */
const MIN_RSA_BITS = 2048;
/** Verifying a signature takes the longer the larger these are: with them a stranger could keep a device busy. */
const MAX_RSA_BITS = 8192;
const MAX_RSA_EXPONENT = 2n ** 32n;
const CURVES = ["prime256v1", "secp384r1", "secp521r1"];

/** The supported keys, for messages. */
export const USABLE_KEYS =
  `ECDSA with P-256, P-384 or P-521, Ed25519, or RSA with ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits`;

/** Whether a key can be used, and is strong enough. */
export function isUsableKey(
  { asymmetricKeyType, asymmetricKeyDetails }: Pick<
    KeyObject,
    "asymmetricKeyType" | "asymmetricKeyDetails"
  >,
): boolean {
  switch (asymmetricKeyType) {
    case "ec":
      return CURVES.includes(asymmetricKeyDetails?.namedCurve ?? "");
    case "ed25519":
      return true;
    case "rsa": {
      const { modulusLength = 0, publicExponent = Infinity } = asymmetricKeyDetails ?? {};
      return modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS &&
        publicExponent <= MAX_RSA_EXPONENT;
    }
    default:
      return false;
  }
}
