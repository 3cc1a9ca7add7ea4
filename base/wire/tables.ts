/**
 * The bytes that are allowed in each region of a message. A table has 256 entries, 1 where the byte
 * is allowed; every other byte is rejected everywhere.
 */

const DIGITS = "0123456789";
const UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER = "abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC = DIGITS + UPPER + LOWER;

function tableOf(allowed: string): Uint8Array {
  const table = new Uint8Array(256);
  for (let i = 0; i < allowed.length; i++) table[allowed.charCodeAt(i)] = 1;
  return table;
}

/** Header names as they arrive: RFC 9110 §5.1 tokens, restricted to letters, digits and `-`. */
export const NAME: Uint8Array = tableOf(ALPHANUMERIC + "-");
/** Header names as they are sent: in lower case. */
export const NAME_LOWER: Uint8Array = tableOf(DIGITS + LOWER + "-");
/** Header values (RFC 9110 §5.5, without quoted pairs, tabs and obs-text). */
export const VALUE: Uint8Array = tableOf(ALPHANUMERIC + " -+.:_~%&=/?\"'()*,;<>[]");
/** Request targets (RFC 9112 §3.2, origin-form only). */
export const URI: Uint8Array = tableOf(ALPHANUMERIC + "-+.:_~%&=/?");
/** Path components: no percent sign, so no second spelling of anything. */
export const PATH: Uint8Array = tableOf(ALPHANUMERIC + "-+.:_~");
/** Queries. */
export const QUERY: Uint8Array = tableOf(ALPHANUMERIC + "-+.:_~%&=");
/** Reason phrases. */
export const REASON: Uint8Array = tableOf(ALPHANUMERIC + "- ");
/** Keys of chunk extensions (RFC 9112 §7.1.1). */
export const EXTENSION_KEY: Uint8Array = tableOf(ALPHANUMERIC + "-");
/** Values of chunk extensions. */
export const EXTENSION_VALUE: Uint8Array = tableOf(ALPHANUMERIC + "-+.:_~\"'()*,;<>[]");

/** True if the table allows every character of the text; true for an empty text. */
export function allows(table: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    // A code above 255 finds `undefined`.
    if (table[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}
