/**
 * Names that nobody else chooses.
 *
 * @module
 */

/**
 * Makes 64 random bits, as 16 hexadecimal digits, to keep apart what would have the same name: temporary files, authorities.
 *
 * @returns The digits.
 */
export function randomSuffix(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}
