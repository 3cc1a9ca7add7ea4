import { quote } from "../../internal/quote.ts";
import {
  type Certificate,
  EXTENSION,
  formatExtension,
  formatPem,
  readKeyBits,
} from "./certificate.ts";
import { readDer } from "./der.ts";
import { publicKeyOf } from "./keys.ts";

/** The critical extensions that the TLS library supports in a local certificate. */
const SUPPORTED_CRITICAL_EXTENSIONS: readonly string[] = [
  EXTENSION.basicConstraints,
  EXTENSION.keyUsage,
  EXTENSION.extendedKeyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.nameConstraints,
  EXTENSION.cRLDistributionPoints,
];

/**
 * The library's messages about a certificate or key that it can't use. `node:tls` uses a
 * certificate of version 1.
 */
const UNUSABLE =
  /^(?:invalid peer certificate: (?!.*UnsupportedCertVersion)|.*failed to parse private key)/;

/**
 * Finds out why the TLS library can't use a certificate with its key, as the predicate of a
 * sentence about the certificate. `node:tls` doesn't report such a certificate, and then each
 * handshake fails. A client of `fetch` checks the certificate at once, with the same library and
 * without a permission.
 */
export function findLibraryProblem(certificate: Certificate, key: string): string | null {
  const extension = findUnsupportedExtension(certificate);
  if (extension !== null) {
    const name = formatExtension(extension);
    return `has a critical extension that the TLS library doesn't support, ${name}: make a ` +
      "certificate without it, or one in which it isn't critical";
  }
  if (publicKeyOf(certificate)?.asymmetricKeyType === "ec" && !hasUncompressedKey(certificate)) {
    return "has a compressed public key, which the TLS library doesn't support";
  }
  try {
    Deno.createHttpClient({ cert: formatPem(certificate.raw), key }).close();
    return null;
  } catch (error) {
    if (!(error instanceof Error) || !UNUSABLE.test(error.message)) return null;
    return `can't be used by the TLS library (${quote(error.message)})`;
  }
}

/** Reports whether the key of ECDSA has both coordinates (RFC 5480 §2.2). */
function hasUncompressedKey({ publicKey }: Certificate): boolean {
  return readDer(publicKey, readKeyBits)[0] === 0x04;
}

/** Finds a critical extension for which the TLS library refuses a certificate. */
export function findUnsupportedExtension({ criticalExtensions }: Certificate): string | null {
  return criticalExtensions.find((type) => !SUPPORTED_CRITICAL_EXTENSIONS.includes(type)) ?? null;
}
