/**
 * Options of constructors and functions.
 *
 * @module
 */

import { checkObject } from "./checks.ts";
import { quote } from "./errors.ts";

/**
 * Copies options, so that what was checked is what counts.
 *
 * @param label What errors call them.
 * @throws {TypeError} if they are not an object, or one of them is unknown, most often misspelled.
 */
export function copyOptions<T extends object>(
  options: T,
  known: readonly string[],
  label = "options",
): T {
  checkObject(label, options);
  const copy = { ...options };
  for (const name of Object.keys(copy)) {
    if (known.includes(name)) continue;
    throw new TypeError(
      `${label}: unknown option ${quote(name)}; the options are ${known.join(", ")}`,
    );
  }
  return copy;
}
