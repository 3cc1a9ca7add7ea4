/**
 * Paths in messages.
 *
 * @module
 */

/** What would not be seen in a line of a log, would end it, or would change the order of what follows. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Makes a message fit for a log: peers that may write choose the names that are in it.
 *
 * @returns The message with each character that is not seen as its code point in hexadecimal digits.
 */
export function printable(message: string): string {
  return message.replaceAll(
    UNSEEN,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
