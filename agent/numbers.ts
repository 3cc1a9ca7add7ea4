/**
 * Numbers of options.
 *
 * @module
 */

import { InvalidArgumentError } from "npm:commander@^15.1.0";

/** Reads a number of seconds; which ones are allowed is up to who uses it. */
export function parseSeconds(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("need a number of seconds in decimal digits.");
}
