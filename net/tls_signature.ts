/**
 * Whether one certificate was signed with the key of another, as the TLS library judges it.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";
import type { Certificate } from "./tls_certificate.ts";
import { isUsableKey } from "./tls_keys.ts";
import { loadBuiltin } from "./tls_modules.ts";

/**
 * `"maybe"` is said of what `node:crypto` can't verify, and of what the TLS library may have refused
 * although it is right.
 */
export type Verdict = "yes" | "no" | "maybe";

/** An algorithm by which certificates are signed. */
interface Algorithm {
  /** The type of the keys, as `node:crypto` calls it. */
  readonly keyType: "ec" | "ed25519" | "rsa";
  readonly hash: "sha256" | "sha384" | "sha512" | null;
}

/** By object identifier; there is nothing older than SHA-2. */
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  "1.2.840.10045.4.3.2": { keyType: "ec", hash: "sha256" },
  "1.2.840.10045.4.3.3": { keyType: "ec", hash: "sha384" },
  "1.2.840.10045.4.3.4": { keyType: "ec", hash: "sha512" },
  "1.2.840.113549.1.1.11": { keyType: "rsa", hash: "sha256" },
  "1.2.840.113549.1.1.12": { keyType: "rsa", hash: "sha384" },
  "1.2.840.113549.1.1.13": { keyType: "rsa", hash: "sha512" },
  "1.3.101.112": { keyType: "ed25519", hash: null },
};
/** RSASSA-PSS has parameters that the TLS library is choosy about. */
const RSA_PSS = "1.2.840.113549.1.1.10";

/** The key of a certificate; `null` where there is no way to use it. */
export function publicKeyOf({ publicKey }: Certificate): KeyObject | null {
  const { createPublicKey } = loadBuiltin("node:crypto");
  try {
    const key = createPublicKey({ key: publicKey as Buffer, format: "der", type: "spki" });
    return isUsableKey(key) ? key : null;
  } catch {
    return null;
  }
}

/** Whether a certificate was signed with a key. */
export function verifySignature({ links }: Certificate, key: KeyObject): Verdict {
  const type = key.asymmetricKeyType;
  if (links.algorithm === RSA_PSS) return type === "rsa" ? "maybe" : "no";
  const algorithm = ALGORITHMS[links.algorithm];
  if (algorithm === undefined || algorithm.keyType !== type) return "no";
  const { hash } = algorithm;
  const curve = key.asymmetricKeyDetails?.namedCurve;
  // `node:crypto` refuses a hash that is shorter than half of the curve's field.
  if (curve === "secp521r1" && hash === "sha256") return "maybe";
  if (!verifies(hash, links.signed, key, links.signature)) return "no";
  const isUncommon = curve === "secp521r1" || (type === "ec" && hash === "sha512");
  return isUncommon ? "maybe" : "yes";
}

function verifies(
  hash: string | null,
  signed: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): boolean {
  try {
    return loadBuiltin("node:crypto").verify(hash, signed, key, signature);
  } catch {
    return false;
  }
}
