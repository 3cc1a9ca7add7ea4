/**
 * Options of constructors and functions.
 *
 * @module
 */

import { checkObject } from "./checks.ts";
import { quote } from "./errors.ts";

/**
 * Copies options, so later changes can't bypass the checks.
 *
 * @param label The name of the options in errors.
 * @throws {TypeError} if they are not an object, or one of them is unknown (usually misspelled).
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
