/**
 * Which keys are good enough, for both ends and for authorities.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";

/** Keys that the TLS library can use, and that are strong enough (RFC 9325 §4.5). */
const MIN_RSA_BITS = 2048;
const CURVES = ["prime256v1", "secp384r1", "secp521r1"];

/** The supported keys, for messages. */
export const USABLE_KEYS =
  `ECDSA with P-256, P-384 or P-521, Ed25519, or RSA with ${MIN_RSA_BITS} bits or more`;

/** Whether a key can be used, and is strong enough. */
export function isUsableKey({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  switch (asymmetricKeyType) {
    case "ec":
      return CURVES.includes(asymmetricKeyDetails?.namedCurve ?? "");
    case "ed25519":
      return true;
    case "rsa":
      return (asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS;
    default:
      return false;
  }
}
