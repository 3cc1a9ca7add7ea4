/**
 * Objects of another copy of this package. A program has two copies if its packages need versions
 * that aren't compatible. The classes of two copies differ, also in their private fields, so each
 * copy refuses the objects of the other.
 */

import { propertyOf } from "./caught_errors.ts";

/** The version in `deno.json`, which a published package doesn't load. */
const VERSION = "0.1.0";

/** The only registered symbol, because the other copies of the package must find the property. */
const COPY = Symbol.for("degu.copy");

/** The value of the property; in each copy another object. */
const copy = { version: VERSION };

/** Marks an object, and all objects that have the object as their prototype. */
export function markCopy<O extends object>(object: O): O {
  return Object.defineProperty(object, COPY, { value: copy });
}

export function isOfAnotherCopy(value: unknown): boolean {
  return formatAnotherCopy(value) !== "";
}

/** Returns the end of a message about an object of another copy; `""` for any other value. */
export function formatAnotherCopy(value: unknown): string {
  const otherCopy = propertyOf(value, COPY) as typeof copy | undefined;
  if (otherCopy === undefined || otherCopy === copy) return "";
  return ` of another copy of @degu/degu: this program has two copies, ${VERSION} and ` +
    `${otherCopy.version} ("deno why @degu/degu" shows which packages need them)`;
}
