/**
 * Parses the canonical decimal `0|[1-9][0-9]{0,15}` up to 2⁵³ − 1; returns -1 for any other text.
 * Refuses a sign, leading zeros and spaces, because another reader of the message, such as a proxy,
 * could parse them as another number.
 */
export function parseDecimal(text: string): number {
  const digitCount = text.length;
  if (digitCount === 0 || digitCount > 16) return -1;
  if (text.charCodeAt(0) === 0x30) return digitCount === 1 ? 0 : -1;
  let value = 0;
  for (let i = 0; i < digitCount; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  // 16 digits are at most 10¹⁶ − 1. Sums above 2⁵³ − 1 are inexact, but never round down to a safe
  // integer.
  return value <= Number.MAX_SAFE_INTEGER ? value : -1;
}
