import type { KeyObject } from "node:crypto";
import type { Certificate } from "./certificate.ts";
import { loadBuiltin } from "../transport/runtime.ts";

/** The smallest RSA key that is allowed (RFC 9325 §4.5). */
const MIN_RSA_BITS = 2048;
/**
 * The limits of RSA keys: signatures of larger keys could keep a device busy, and Deno doesn't read
 * larger public keys.
 */
const MAX_RSA_BITS = 4096;
const MAX_RSA_EXPONENT = 2n ** 32n;
const USABLE_CURVES = ["prime256v1", "secp384r1", "secp521r1"];

const USABLE_KEYS_TEXT =
  `ECDSA with P-256, P-384 or P-521, Ed25519, or RSA with ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits`;

export function isUsableKey(
  { asymmetricKeyType, asymmetricKeyDetails }: Pick<
    KeyObject,
    "asymmetricKeyType" | "asymmetricKeyDetails"
  >,
): boolean {
  switch (asymmetricKeyType) {
    case "ec":
      return USABLE_CURVES.includes(asymmetricKeyDetails?.namedCurve ?? "");
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

/** Describes an unusable key, as the end of a sentence; `null` is a key that can't be read. */
export function describeUnusableKey(key: KeyObject | null): string {
  const bitCount = key?.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS;
  const kind = bitCount < MIN_RSA_BITS || bitCount > MAX_RSA_BITS
    ? `an RSA key of ${bitCount} bits`
    : "a key of an unsupported kind or size";
  return `${kind}; must be ${USABLE_KEYS_TEXT}`;
}

const publicKeys = new WeakMap<Certificate, KeyObject | null>();

/** Returns `null` if the key isn't usable. */
export function publicKeyOf(certificate: Certificate): KeyObject | null {
  return publicKeys.getOrInsertComputed(certificate, () => {
    const key = parsePublicKey(certificate);
    return key !== null && isUsableKey(key) ? key : null;
  });
}

function parsePublicKey({ publicKey }: Certificate): KeyObject | null {
  const { createPublicKey } = loadBuiltin("node:crypto");
  try {
    return createPublicKey({ key: publicKey as Buffer, format: "der", type: "spki" });
  } catch {
    // Keys of unknown kinds, and of RSA with more than 4096 bits, can't be parsed.
    return null;
  }
}

/** Finds the problem of a key, as the predicate of a sentence about its certificate. */
export function findKeyProblem(certificate: Certificate): string | null {
  return publicKeyOf(certificate) !== null
    ? null
    : `has ${describeUnusableKey(parsePublicKey(certificate))}`;
}

interface Algorithm {
  readonly keyType: "ec" | "ed25519" | "rsa";
  readonly hashes: readonly (string | null)[];
  readonly isPss?: true;
}

const ECDSA_SHA256 = "1.2.840.10045.4.3.2";

/** The TLS library doesn't accept hashes older than SHA-2. */
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  [ECDSA_SHA256]: { keyType: "ec", hashes: ["sha256"] },
  "1.2.840.10045.4.3.3": { keyType: "ec", hashes: ["sha384"] },
  "1.2.840.10045.4.3.4": { keyType: "ec", hashes: ["sha512"] },
  // The parameters, which name the hash, are not parsed: every hash is tried.
  "1.2.840.113549.1.1.10": { keyType: "rsa", hashes: ["sha256", "sha384", "sha512"], isPss: true },
  "1.2.840.113549.1.1.11": { keyType: "rsa", hashes: ["sha256"] },
  "1.2.840.113549.1.1.12": { keyType: "rsa", hashes: ["sha384"] },
  "1.2.840.113549.1.1.13": { keyType: "rsa", hashes: ["sha512"] },
  "1.3.101.112": { keyType: "ed25519", hashes: [null] },
};

/**
 * The maximum size of a signature with P-384 in DER. A P-521 signature rarely has fewer than 136
 * bytes.
 */
const MAX_P384_SIGNATURE_BYTES = 104;

/**
 * Finds a signature with P-521 and SHA-256, which `node:crypto` can't verify: it rejects a hash
 * that is shorter than half of the curve's order.
 */
export function findSignatureProblem({ algorithm, signature }: Certificate): string | null {
  return algorithm === ECDSA_SHA256 && signature.length > MAX_P384_SIGNATURE_BYTES
    ? "is signed with SHA-256 by a key on P-521, which can't be verified: sign it with SHA-512"
    : null;
}

export function verifySignature(certificate: Certificate, key: KeyObject): boolean {
  const algorithm = ALGORITHMS[certificate.algorithm];
  if (algorithm === undefined || algorithm.keyType !== key.asymmetricKeyType) return false;
  const { constants, verify } = loadBuiltin("node:crypto");
  const pssPadding = constants.RSA_PKCS1_PSS_PADDING;
  const saltLength = constants.RSA_PSS_SALTLEN_DIGEST;
  const verificationKey = algorithm.isPss === true ? { key, padding: pssPadding, saltLength } : key;
  return algorithm.hashes.some((hash) => {
    try {
      return verify(hash, certificate.signedPart, verificationKey, certificate.signature);
    } catch {
      return false;
    }
  });
}
