/**
 * Bytes as text that fits into a line (RFC 4648 §5, without padding).
 *
 * @module
 */

/** Writes bytes in the URL-safe alphabet, without padding. */
export function encodeBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Reads what {@linkcode encodeBase64Url} writes; `null` for anything else. */
export function decodeBase64Url(text: string): Uint8Array | null {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
    // The decoder also accepts white space, padding and unused bits: several texts for the same bytes.
    return encodeBase64Url(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}
