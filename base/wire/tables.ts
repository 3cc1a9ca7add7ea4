/**
 * The bytes that are allowed in each region of a message, and the one form of a number. A table has
 * 256 entries, 1 where the byte is allowed; every other byte is rejected everywhere.
 */

import { MAX_LENGTH } from "./limits.ts";

const DIGITS = "0123456789";
const UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER = "abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC = DIGITS + UPPER + LOWER;

function tableOf(allowed: string): Uint8Array {
  const table = new Uint8Array(256);
  for (let i = 0; i < allowed.length; i++) table[allowed.charCodeAt(i)] = 1;
  return table;
}

/** Methods, known to a server or not (RFC 9110 §5.6.2, token). */
export const TOKEN: Uint8Array = tableOf(ALPHANUMERIC + "!#$%&'*+-.^_`|~");
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

/**
 * Reads the canonical decimal `0|[1-9][0-9]{0,15}` up to 2⁵³ − 1, or returns -1: no sign, no
 * leading zero, no space, so two readers always see the same number.
 */
export function parseDecimal(text: string): number {
  const digits = text.length;
  if (digits === 0 || digits > 16) return -1;
  if (text.charCodeAt(0) === 0x30) return digits === 1 ? 0 : -1;
  let value = 0;
  for (let i = 0; i < digits; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  // 16 digits are at most 10¹⁶ − 1: beyond the exact integers, but not by so much that the sum
  // could round down to a safe one.
  return value <= MAX_LENGTH ? value : -1;
}
