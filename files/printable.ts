/**
 * Paths in messages.
 *
 * @module
 */

/** Characters that are invisible in a log, end its line, or change the order of what follows. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Makes a message safe for a log: peers that may write choose the names in it.
 *
 * @returns The message with each such character replaced by its code point in hexadecimal digits.
 */
export function printable(message: string): string {
  return message.replaceAll(
    UNSEEN,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/**
 * Formats a value as one line of JSON in which every character is seen.
 *
 * @returns JSON with each character that is not seen as `\\u` and four hexadecimal digits, twice where it needs two.
 */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(UNSEEN, (character) => {
    const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

/**
 * Makes an error safe for a log: a file system error has its path in its message and in
 * its stack.
 *
 * @returns The error itself if its message is safe; otherwise a safe one with the same name and code.
 */
export function printableError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const message = printable(error.message);
  if (message === error.message) return error;
  const shown = new Error(message);
  const { name, code } = error as { name: string; code?: unknown };
  return Object.assign(shown, { name, ...(code === undefined ? {} : { code }) });
}
