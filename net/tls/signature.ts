/**
 * Whether one certificate was signed with the key of another.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";
import type { Certificate } from "./certificate.ts";
import { isUsableKey } from "./keys.ts";
import { loadBuiltin } from "./modules.ts";

/** `"maybe"` is for what the TLS library can verify and `node:crypto` can't. */
export type Verdict = "yes" | "no" | "maybe";

/** An algorithm by which certificates are signed. */
interface Algorithm {
  /** The type of the keys, as `node:crypto` calls it. */
  readonly keyType: "ec" | "ed25519" | "rsa";
  /** The hashes that it may use. */
  readonly hashes: readonly (string | null)[];
  readonly isPss?: true;
}

/** By object identifier; the TLS library accepts nothing older than SHA-2. */
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  "1.2.840.10045.4.3.2": { keyType: "ec", hashes: ["sha256"] },
  "1.2.840.10045.4.3.3": { keyType: "ec", hashes: ["sha384"] },
  "1.2.840.10045.4.3.4": { keyType: "ec", hashes: ["sha512"] },
  // The hash is in parameters that are not looked at: only one of them can be right.
  "1.2.840.113549.1.1.10": { keyType: "rsa", hashes: ["sha256", "sha384", "sha512"], isPss: true },
  "1.2.840.113549.1.1.11": { keyType: "rsa", hashes: ["sha256"] },
  "1.2.840.113549.1.1.12": { keyType: "rsa", hashes: ["sha384"] },
  "1.2.840.113549.1.1.13": { keyType: "rsa", hashes: ["sha512"] },
  "1.3.101.112": { keyType: "ed25519", hashes: [null] },
};

/** The key of a certificate; `null` if it can't be used. */
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
  const algorithm = ALGORITHMS[links.algorithm];
  if (algorithm === undefined || algorithm.keyType !== key.asymmetricKeyType) return "no";
  const { hashes, isPss = false } = algorithm;
  // `node:crypto` takes no hash that is shorter than half of a number of the curve.
  if (key.asymmetricKeyDetails?.namedCurve === "secp521r1" && hashes[0] === "sha256") {
    return "maybe";
  }
  return hashes.some((hash) => verifies(links, key, hash, isPss)) ? "yes" : "no";
}

function verifies(
  { signed, signature }: Certificate["links"],
  key: KeyObject,
  hash: string | null,
  isPss: boolean,
): boolean {
  const { constants, verify } = loadBuiltin("node:crypto");
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  const saltLength = constants.RSA_PSS_SALTLEN_DIGEST;
  try {
    return verify(hash, signed, isPss ? { key, padding, saltLength } : key, signature);
  } catch {
    return false;
  }
}
