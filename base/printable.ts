/** Text that somebody else has chosen, in messages and logs. */

import { checkString } from "./checks.ts";

/** Characters that are invisible in a log, end its line, or change the order of what follows. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Makes text safe to print on one line of a terminal or of a log: names of files, of devices, of anything that a peer has
 * chosen, and messages that they are in. Control characters (ends of lines, escape sequences), characters that are
 * invisible or change the order of what follows, and halves of surrogate pairs become visible; all others stay.
 *
 * @param text The text.
 * @returns The text, with each such character as its code point in hexadecimal digits: `\u{1b}`. It is for people:
 * a text that has contained `\u{1b}` before looks the same.
 * @throws {TypeError} if it is not a string.
 *
 * @example A name that would clear the screen
 * ```ts
 * import { printable } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(printable("Zoë's photos/1.jpg"), "Zoë's photos/1.jpg");
 * assertEquals(printable("1.jpg\n\x1b[2J\u202egpj"), "1.jpg\\u{a}\\u{1b}[2J\\u{202e}gpj");
 * ```
 */
export function printable(text: string): string {
  checkString("text", text);
  return text.replaceAll(
    UNSEEN,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/**
 * Formats a value as one line of JSON with visible characters only.
 *
 * @returns JSON with each invisible character as `\\u` and four hexadecimal digits, once for each UTF-16 unit.
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
