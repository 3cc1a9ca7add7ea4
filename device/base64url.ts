/**
 * Bytes as text that fits into a line (RFC 4648 §5, without padding).
 *
 * @module
 */

/** Writes bytes in the URL-safe alphabet, without padding. */
export function encodeBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Reads what {@linkcode encodeBase64Url} writes; `null` for everything else, also padding. */
export function decodeBase64Url(text: string): Uint8Array | null {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
    // Several texts would stand for the same bytes: white space, padding, and bits that are unused.
    return encodeBase64Url(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}
