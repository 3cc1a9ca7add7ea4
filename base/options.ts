/**
 * Options of constructors and functions.
 *
 * @module
 */

import { quote, typeName } from "./errors.ts";

/**
 * Copies options, so that what was checked is what counts.
 *
 * @throws {TypeError} where they are no object, or one of them is unknown: it is most often a known
 * one, misspelt.
 */
export function copyOptions<T extends object>(options: T, known: readonly string[]): T {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`options: need an object; got ${typeName(options)}`);
  }
  const copy = { ...options };
  for (const name of Object.keys(copy)) {
    if (!known.includes(name)) {
      throw new TypeError(`options: unknown option ${quote(name)}; there are ${known.join(", ")}`);
    }
  }
  return copy;
}
