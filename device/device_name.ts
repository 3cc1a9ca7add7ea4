/**
 * The names of devices and of peers.
 *
 * @module
 */

import { quote, typeName } from "../base/errors.ts";
import { isDeviceId } from "./device_id.ts";

/** Characters of a name: as many as a label of DNS has. */
export const MAX_NAME_LENGTH = 63;
const NAME = /^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$/;

/** Reports whether a text is a valid name of a device. */
export function isDeviceName(text: string): boolean {
  return NAME.test(text) && !isDeviceId(text.toLowerCase());
}

/**
 * Checks the name of a device.
 *
 * @param option The name of the option in errors.
 * @throws {TypeError} if it is not a string.
 * @throws {RangeError} if it is not valid.
 */
export function checkDeviceName(option: string, name: string): string {
  if (typeof name !== "string") {
    throw new TypeError(`${option}: need a string; got ${typeName(name)}`);
  }
  if (isDeviceName(name)) return name;
  throw new RangeError(
    `${option}: need 1 to ${MAX_NAME_LENGTH} letters, digits, "-" and "_", the first a letter or digit, ` +
      `and not an id of a device; got ${quote(name)}`,
  );
}

/** The form in which names are compared. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

/** A name that is not taken: the given one, or with `-2`, `-3` and so on, shortened to fit. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  let free = name;
  for (let number = 2; taken.has(nameKey(free)); number++) {
    const suffix = `-${number}`;
    free = name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
  }
  return free;
}
